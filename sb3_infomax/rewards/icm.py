"""The intrinsic curiosity module: surprise, measured in features that matter for control."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from sb3_infomax.checks import check_positive
from sb3_infomax.networks.encoders import Conv, ObservationEncoder, initialize, make_mlp
from sb3_infomax.networks.preprocessing import (
    NewestChannels,
    check_observation_space,
    encode_actions,
    encoded_dim,
    is_image_space,
)
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.types import Frames, Transitions

# The authors' code multiplies the mean square by the size of their features, so that settings do not depend on it.
PAPER_FEATURES = 288


class ICM(RewardModule):
    r"""The intrinsic curiosity module (Pathak, Agrawal, Efros and Darrell, 2017, `arXiv 1705.05363
    <https://arxiv.org/abs/1705.05363>`_; code: github.com/pathak22/noreward-rl).

    An encoder :math:`\phi` and an inverse model :math:`g` learn which action led from :math:`s` to :math:`s'`, so that
    :math:`\phi` keeps what the agent can influence; a forward model :math:`f` predicts :math:`\phi(s')`, and its error is the
    bonus (equations 5 to 7 of the paper):

    .. math::
        b(s, a, s') &= \tfrac12 \lVert f(\phi(s), a) - \phi(s') \rVert^2 \\
        L &= (1 - \beta)\, L_I\bigl(g(\phi(s), \phi(s')), a\bigr) + \beta\, \mathbb E\, b(s, a, s')

    The paper's factor :math:`\eta` is the callback's ``coef``.

    Differences from the paper:

    1. The square norm is 288 times the mean square over the features, as in the authors' code: the sum where there are 288
       features (the paper's 42x42 images), and independent of their number elsewhere.
    2. Images much larger than 42x42, the paper's size, are averaged down by a whole factor (``image_size``).
    3. The paper knows images and one discrete action only. For vectors the convolutions are replaced by ``net_arch``. The
       inverse loss is a cross-entropy for Discrete, the mean of those of the components for MultiDiscrete, binary
       cross-entropy for MultiBinary, and for Box the mean square error of the actions mapped to [-1, 1].
    4. The authors' factor :math:`1 / \lambda` between the policy's loss and L has no place here: the module has its own Adam.
    5. All layers start Xavier-uniform; the authors' linear ones start at norm .01 per output.
    6. By default the bonus is centred and divided by the running deviation of its returns (RND's), vectors are standardised,
       and only the newest frame of a stack of images is looked at; heads are 64 wide. ``preset="paper"`` undoes all five.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param beta: weight of the forward loss, between 0 and 1 (paper: .2)
    :param hidden_dim: the hidden layer of the inverse and of the forward model (paper: 256; default 64, for speed)
    :param net_arch: layers of the encoder where there is no image (ours); the last is the size of the features
    :param conv_channels: of each of the four 3x3 convolutions of stride 2 (paper: 32)
    :param image_size: images are averaged down by the whole factor that brings them nearest to this (paper: 42; None: not)
    :param learning_rate: of Adam (paper's text: 1e-3; its code: 1e-4 with a loss scaled by 200, which Adam undoes)
    :param batch_size: transitions per gradient step (ours; paper: 20 steps of each of 20 asynchronous workers)
    :param max_grad_norm: clip the gradient's norm (paper's code: 40, of a loss scaled by 200; default None)
    :param normalize_observations: standardise by running moments; None: where there is no image
    :param newest_channels: default ``"auto"``, the newest frame of a stack of images, for speed (paper: None, the whole stack)
    :param kwargs: ``n_epochs`` (1, as in the paper), ``update_fraction`` and ``keys`` of
        :class:`~sb3_infomax.rewards.base.RewardModule`

    Logged: ``loss``; ``forward_loss``, which is the mean bonus of the minibatches; ``inverse_loss`` (nats for discrete
    actions), to be compared with log n of a uniform guess: where it stays there, the features know nothing of the actions.
    """

    paper: ClassVar[str] = "Pathak et al., 2017, arXiv 1705.05363"
    defaults: ClassVar[dict[str, Any]] = {"coef": 1.0, "normalize": "return_std", "center": True}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cheap": {},  # the defaults under a name
        "paper": {
            "coef": 0.01,
            "normalize": "none",
            "center": False,
            "hidden_dim": 256,
            "net_arch": (256, 288),
            "learning_rate": 1e-3,
            "max_grad_norm": 0.2,  # 40 / 200, see the parameter
            "normalize_observations": False,
            "newest_channels": None,
        },
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        beta: float = 0.2,
        hidden_dim: int = 64,
        net_arch: Sequence[int] = (64, 64),
        conv_channels: int = 32,
        image_size: int | None = 42,
        learning_rate: float = 1e-3,
        batch_size: int = 256,
        max_grad_norm: float | None = None,
        normalize_observations: bool | None = None,
        newest_channels: NewestChannels = "auto",
        **kwargs: Any,
    ) -> None:
        if normalize_observations is None:
            check_observation_space(observation_space)
            parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
            normalize_observations = not any(is_image_space(part) for part in parts)
        super().__init__(
            observation_space,
            action_space,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_grad_norm=max_grad_norm,
            normalize_observations=normalize_observations,
            newest_channels=newest_channels,
            **kwargs,
        )
        check_positive(hidden_dim=hidden_dim, conv_channels=conv_channels)
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta, the weight of the forward loss, must lie between 0 and 1, got {beta}.")
        self.beta = beta
        self.pooling = {key: pooling_factor(shape, image_size) for key, shape in self.preprocess.shapes.items()}
        shapes = {
            key: (shape[0], *(size // self.pooling[key] for size in shape[1:]))
            for key, shape in self.preprocess.shapes.items()
        }
        self.encoder = ObservationEncoder(shapes, net_arch, [Conv(conv_channels, 3, 2, 1)] * 4, (), None, nn.ELU)
        feature_dim, action_dim = self.encoder.output_dim, encoded_dim(action_space)
        self.inverse_model = make_mlp(2 * feature_dim, [hidden_dim], action_dim)
        self.forward_model = make_mlp(feature_dim + action_dim, [hidden_dim], feature_dim)
        initialize(self, "xavier")

    def bonus(self, transitions: Transitions) -> Tensor:
        features, next_features = transitions.encode(self._features)
        return self._forward_error(features, encode_actions(transitions.actions, self.action_space), next_features)

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        actions = encode_actions(transitions.actions, self.action_space)
        features, next_features = transitions.encode(self._features)
        prediction = self.inverse_model(th.cat([features, next_features], dim=1))
        inverse_loss = action_loss(prediction, actions, self.action_space)
        # no detach: as in the paper, both losses shape the encoder
        forward_loss = self._forward_error(features, actions, next_features).mean()
        loss = (1.0 - self.beta) * inverse_loss + self.beta * forward_loss
        return loss, {"forward_loss": forward_loss, "inverse_loss": inverse_loss}

    def _features(self, frames: Frames) -> Tensor:
        observations = self.preprocess(frames)
        pooled = {
            key: F.avg_pool2d(values, self.pooling[key]) if self.pooling[key] > 1 else values
            for key, values in observations.items()
        }
        return self.encoder(pooled)

    def _forward_error(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        prediction = self.forward_model(th.cat([features, actions], dim=1))
        return 0.5 * PAPER_FEATURES * (prediction - next_features).square().mean(dim=1)


def pooling_factor(shape: tuple[int, ...], image_size: int | None) -> int:
    """By which whole factor an image is averaged down to come nearest to ``image_size``; 1 for vectors.

    :param shape: (channels, height, width) of an image, or (dim,)
    :param image_size: wanted size of the shorter side; None leaves images as they are
    """
    if image_size is None or len(shape) != 3:
        return 1
    return max(1, round(min(shape[1:]) / image_size))


def action_loss(prediction: Tensor, actions: Tensor, action_space: spaces.Space) -> Tensor:
    """How badly an inverse model predicts actions: mean over the batch and over the components of an action.

    :param prediction: logits, or for Box the actions themselves, shape (batch, action_dim)
    :param actions: as ``encode_actions`` gives them, shape (batch, action_dim)
    :param action_space: the action space
    :return: a scalar; nats per component for discrete spaces, mean square error for Box
    """
    if isinstance(action_space, spaces.Discrete):
        return F.cross_entropy(prediction, actions)
    if isinstance(action_space, spaces.MultiDiscrete):
        sizes = action_space.nvec.reshape(-1).tolist()
        pairs = zip(prediction.split(sizes, dim=1), actions.split(sizes, dim=1), strict=True)
        return th.stack([F.cross_entropy(logits, one_hot) for logits, one_hot in pairs]).mean()
    if isinstance(action_space, spaces.MultiBinary):
        return F.binary_cross_entropy_with_logits(prediction, actions)
    return F.mse_loss(prediction, actions)
