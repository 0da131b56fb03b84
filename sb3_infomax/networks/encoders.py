"""Small networks out of which every method is built."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.networks.normalization import RunningMoments
from sb3_infomax.networks.preprocessing import (
    NewestChannels,
    encode_observations,
    encoded_dim,
    image_shape,
    is_image_space,
    observation_keys,
)
from sb3_infomax.types import Frames


class Conv(NamedTuple):
    """One convolution of an encoder."""

    channels: int
    kernel: int
    stride: int
    padding: int = 0


def initialize(module: nn.Module, scheme: Literal["xavier", "orthogonal"], gain: float = 1.0) -> None:
    """Xavier-uniform or orthogonal weights and zero biases, in place, for all linear and convolution layers."""
    fill = nn.init.xavier_uniform_ if scheme == "xavier" else nn.init.orthogonal_
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fill(layer.weight, gain=gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def make_mlp(
    input_dim: int, net_arch: Sequence[int], output_dim: int | None = None, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with an activation after each but the output.

    :param input_dim: size of the input
    :param net_arch: sizes of the hidden layers
    :param output_dim: size of a last linear layer; None ends with the last activation
    :param activation: class of the activation
    """
    layers: list[nn.Module] = []
    for width in net_arch:
        layers += [nn.Linear(input_dim, width), activation()]
        input_dim = width
    if output_dim is not None:
        layers.append(nn.Linear(input_dim, output_dim))
    return nn.Sequential(*layers)


def fit_convolutions(convolutions: Sequence[Conv], height: int, width: int) -> list[Conv]:
    """The same convolutions, or 3x3 ones of stride 1 and equal channels where the image is too small for them.

    The papers' kernels are made for 84x84 and 42x42 pictures; MiniGrid's view has 7x7.
    """
    h, w = height, width
    for conv in convolutions:
        h, w = ((size + 2 * conv.padding - conv.kernel) // conv.stride + 1 for size in (h, w))
        if min(h, w) < 1:
            return [Conv(conv.channels, kernel=3, stride=1, padding=1) for conv in convolutions]
    return list(convolutions)


def make_cnn(
    shape: tuple[int, int, int], convolutions: Sequence[Conv], activation: type[nn.Module] = nn.ReLU
) -> tuple[nn.Sequential, int]:
    """Convolutions and a flattening.

    :param shape: (channels, height, width) of the input
    :param convolutions: from the paper; see :func:`fit_convolutions`
    :param activation: class of the activation
    :return: the network, (batch, channels, height, width) -> (batch, dim), and dim
    """
    layers: list[nn.Module] = []
    channels = shape[0]
    for conv in fit_convolutions(convolutions, shape[1], shape[2]):
        layers += [nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding), activation()]
        channels = conv.channels
    network = nn.Sequential(*layers, nn.Flatten())
    with th.no_grad():
        dim = network(th.zeros(1, *shape)).shape[1]
    return network, dim


class ObservationPreprocessor(nn.Module):
    """Raw observations -> what the encoders take, standardised by running statistics where a method wants that.

    :param space: the observation space
    :param newest_channels: keep only the newest frame of a stack, see ``encode_observations``
    :param keys: which keys of a Dict; default all but ``desired_goal``
    :param normalize: keep a running mean and variance of every feature and standardise by it
    :param clip: bound of the standardised features
    """

    def __init__(
        self,
        space: spaces.Space,
        newest_channels: NewestChannels = None,
        keys: Sequence[str] | None = None,
        normalize: bool = False,
        clip: float = 5.0,
    ) -> None:
        super().__init__()
        if keys is not None and not isinstance(space, spaces.Dict):
            raise ValueError(
                f"keys are those of a Dict observation, and this one is a {type(space).__name__}: leave them out."
            )
        self.space, self.newest_channels, self.keys, self.clip = space, newest_channels, keys, clip
        parts = (
            {key: space.spaces[key] for key in observation_keys(space, keys)}
            if isinstance(space, spaces.Dict)
            else {"": space}
        )
        self.shapes = {
            key: image_shape(part, newest_channels) if is_image_space(part) else (encoded_dim(part),)  # type: ignore[arg-type]
            for key, part in parts.items()
        }
        # a ModuleDict does not take "" nor dots
        self.moments = nn.ModuleList([RunningMoments(shape) for shape in self.shapes.values()] if normalize else [])

    def update(self, observations: Frames) -> None:
        """Merge observations into the running statistics, where they are kept; shape (n, *obs_shape)."""
        if len(self.moments):
            for moments, values in zip(self.moments, self._encode(observations).values(), strict=True):
                moments.update(values)  # type: ignore[operator]

    def forward(self, observations: Frames) -> dict[str, Tensor]:
        """:return: one float32 tensor per key ("" where the space is no Dict), (n, dim) or (n, channels, height, width)"""
        encoded = self._encode(observations)
        if not len(self.moments):
            return encoded
        pairs = zip(encoded.items(), self.moments, strict=True)
        return {key: moments.normalize(values, self.clip) for (key, values), moments in pairs}  # type: ignore[operator]

    def _encode(self, observations: Frames) -> dict[str, Tensor]:
        encoded = encode_observations(observations, self.space, newest_channels=self.newest_channels, keys=self.keys)
        return encoded if isinstance(encoded, dict) else {"": encoded}


class ObservationEncoder(nn.Module):
    """Preprocessed observations -> features: convolutions for images, joined with the vectors, then an MLP.

    :param shapes: of the preprocessed parts, see ``ObservationPreprocessor.shapes``
    :param net_arch: hidden layers where there are only vectors
    :param convolutions: for every image
    :param image_net_arch: hidden layers where there is an image
    :param output_dim: size of a last linear layer; None ends with the last activation
    :param activation: of every hidden layer
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        net_arch: Sequence[int],
        convolutions: Sequence[Conv],
        image_net_arch: Sequence[int],
        output_dim: int | None = None,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.cnns = nn.ModuleList()
        self.image_keys = [key for key, shape in shapes.items() if len(shape) == 3]
        self.vector_keys = [key for key, shape in shapes.items() if len(shape) == 1]
        joined = sum(shapes[key][0] for key in self.vector_keys)
        for key in self.image_keys:
            cnn, dim = make_cnn(shapes[key], convolutions, activation)  # type: ignore[arg-type]
            self.cnns.append(cnn)
            joined += dim
        hidden = image_net_arch if self.image_keys else net_arch
        self.mlp = make_mlp(joined, hidden, output_dim, activation)
        self.output_dim = output_dim if output_dim is not None else (hidden[-1] if hidden else joined)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """:return: features, shape (batch, output_dim)"""
        parts = [cnn(observations[key]) for key, cnn in zip(self.image_keys, self.cnns, strict=True)]
        parts += [observations[key] for key in self.vector_keys]
        return self.mlp(parts[0] if len(parts) == 1 else th.cat(parts, dim=1))
