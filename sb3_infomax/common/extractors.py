"""An SB3 features extractor that shows its local and global features."""

import math
from collections.abc import Sequence

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from sb3_infomax.networks.encoders import Conv, initialize
from sb3_infomax.networks.features import Features, FeatureShape

NATURE = (Conv(32, kernel=8, stride=4), Conv(64, kernel=4, stride=2), Conv(64, kernel=3, stride=1))
#: for pictures below 36 x 36, which the former do not fit: PacMan's 21 x 19 ends in 4 x 4 locations, MiniGrid's 7 x 7 in 1
SMALL = (Conv(32, kernel=3, stride=1, padding=1), Conv(64, kernel=3, stride=2), Conv(64, kernel=3, stride=2))


class LocalGlobalCNN(BaseFeaturesExtractor):
    """Convolutions, one layer, and a ReLU; ``features`` shows the map and what the layer gives before the ReLU.

    DRIML's encoder where the picture has 36 x 36 pixels or more: DQN's convolutions, orthogonal weights.

    :param observation_space: an image, channels first
    :param features_dim: size of the layer (512: DQN)
    :param normalized_image: whether pixels are in [0, 1] already
    :param convolutions: (channels, kernel, stride, padding) of each; default DQN's, or smaller ones for small pictures
    :param ortho_init: orthogonal weights of gain sqrt 2 and zero biases (True: DRIML's code)
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 512,
        normalized_image: bool = False,
        convolutions: Sequence[Sequence[int]] | None = None,
        ortho_init: bool = True,
    ) -> None:
        if not is_image_space(observation_space, check_channels=False, normalized_image=normalized_image):
            raise ValueError(f"LocalGlobalCNN is for images, and this observation is {observation_space}.")
        super().__init__(observation_space, features_dim)
        if convolutions is None:
            convolutions = NATURE if min(observation_space.shape[1:]) >= 36 else SMALL
        layers: list[nn.Module] = []
        channels = observation_space.shape[0]
        for conv in (Conv(*values) for values in convolutions):
            layers += [nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding), nn.ReLU()]
            channels = conv.channels
        self.convolutions = nn.Sequential(*layers)
        try:
            with th.no_grad():
                local_map = self.convolutions(th.zeros(1, *observation_space.shape))
        except RuntimeError as error:
            height, width = observation_space.shape[1:]
            raise ValueError(
                f"Pictures of {height} x {width} pixels are too small for the convolutions: enlarge them or give others."
            ) from error
        self.linear = nn.Linear(local_map[0].numel(), features_dim)
        self.feature_shape = FeatureShape(tuple(local_map.shape[1:]), features_dim)
        if ortho_init:
            initialize(self, "orthogonal", gain=math.sqrt(2))

    def features(self, observations: Tensor) -> Features:
        """:param observations: preprocessed images, shape (batch, channels, height, width)"""
        local_map = self.convolutions(observations)
        return Features(local_map, self.linear(local_map.flatten(1)))

    def output(self, features: Features) -> Tensor:
        """What the extractor gives, from its features: shape (batch, features_dim)"""
        return features.global_vector.relu()

    def forward(self, observations: Tensor) -> Tensor:
        return self.output(self.features(observations))
