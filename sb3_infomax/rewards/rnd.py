"""Random network distillation: novelty is what a trained network cannot yet say about a random one."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.checks import check_positive
from sb3_infomax.networks.encoders import Conv, ObservationEncoder, initialize, make_mlp
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.types import Transitions, n_frames


class _LeakyReLU(nn.LeakyReLU):
    """The authors' slope (TensorFlow's default, 0.2; PyTorch's is 0.01)."""

    def __init__(self) -> None:
        super().__init__(negative_slope=0.2)


class RND(RewardModule):
    r"""Random network distillation (Burda, Edwards, Storkey and Klimov, 2018, `arXiv 1810.12894
    <https://arxiv.org/abs/1810.12894>`_; code: github.com/openai/random-network-distillation).

    A predictor :math:`\hat f` learns the output of a fixed random network :math:`f` on the observations that are visited.
    Where it still errs, the agent has not been:

    .. math:: b(s') = \frac{1}{k} \lVert \hat f(s') - f(s') \rVert^2, \qquad \hat f, f: s' \mapsto \mathbb R^k

    with :math:`s'` standardised by running moments and clipped to :math:`\pm 5`. The action and :math:`s` play no part.

    Differences from the paper:

    1. The default is smaller and trained less: for images the convolutions that the authors' code calls "small" (16, 32, 32
       channels for 32, 64, 64), one epoch for four. ``preset="paper"`` has the published sizes and numbers.
    2. The paper knows images only. For vectors the convolutions are replaced by the hidden layers ``net_arch``, with the same
       activation, initialisation and, in the predictor, the same additional layers.
    3. The paper fills the moments of the observations by stepping a random agent (6,400 steps in each environment) and then
       updates them after the bonus of a rollout. Here a rollout enters the moments before its bonus is computed, so that
       no environment is stepped in advance.
    4. The share ``update_fraction`` is drawn once per update and the rest is not computed; the authors' code draws a mask for
       each minibatch and multiplies the finished loss by it. Paper: .25 at 128 environments, 1 at 32 and fewer.
    5. The predictor has its own optimizer; in the authors' code its loss is part of PPO's.
    6. By default the bonus is centred, since with one value head it ends with the episode, and a positive bonus would pay for
       staying alive; ``preset="paper"`` does not.

    The non-episodic intrinsic return and the two discounts of the paper are knobs of the callback (``episodic``, ``gamma``;
    they need a policy with two value heads). The preset sets the discount of the bonus; that of the environment's
    reward is the algorithm's own ``gamma``, .999 in the paper's best runs.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param feature_dim: k, the outputs of both networks (paper: 512)
    :param conv_channels: of the first convolution, the other two have twice as many (paper: 32; "small" in the code: 16)
    :param net_arch: hidden layers of both networks where there is no image (ours)
    :param predictor_arch: additional layers of the predictor; default twice 16 ``conv_channels`` for images (paper: twice
        512, which is that) and once 64 for vectors (ours)
    :param learning_rate: of Adam; paper: 1e-4 (there with four epochs of four minibatches a rollout)
    :param n_epochs: passes over a rollout; paper: 4
    :param batch_size: transitions per gradient step; paper: 1024 (a quarter of a minibatch of 4096)
    :param update_fraction: share of the transitions that an update trains on; paper: .25 at 128 environments
    :param normalize_observations: standardise by running moments and clip (paper: yes; without it a fixed random network
        sees little of features that vary little)
    :param kwargs: ``max_grad_norm`` (None, as in the paper), ``newest_channels`` (``"auto"``: only the newest frame of a
        stack, as in the paper) and ``keys`` of :class:`~sb3_infomax.rewards.base.RewardModule`

    Logged: ``loss``; ``feature_var``, the variance of the target's features over a minibatch, averaged over the features:
    the loss of a predictor that has learned only their mean. Near 0 the target does not tell observations apart.
    """

    paper: ClassVar[str] = "Burda et al., 2018, arXiv 1810.12894"
    defaults: ClassVar[dict[str, Any]] = {"coef": 1.0, "normalize": "return_std", "center": True}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cheap": {},  # the defaults under a name
        "paper": {
            "coef": 1.0,
            "ext_coef": 2.0,
            "gamma": 0.99,
            "episodic": False,
            "normalize": "return_std",
            "center": False,
            "feature_dim": 512,
            "conv_channels": 32,
            "net_arch": (512, 512),
            "predictor_arch": (512, 512),
            "learning_rate": 1e-4,
            "n_epochs": 4,
            "batch_size": 1024,
            "update_fraction": 0.25,
        },
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        feature_dim: int = 64,
        conv_channels: int = 16,
        net_arch: Sequence[int] = (64,),
        predictor_arch: Sequence[int] | None = None,
        learning_rate: float = 1e-3,
        n_epochs: int = 1,
        batch_size: int = 256,
        update_fraction: float = 1.0,
        normalize_observations: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            learning_rate=learning_rate,
            n_epochs=n_epochs,
            batch_size=batch_size,
            update_fraction=update_fraction,
            normalize_observations=normalize_observations,
            **kwargs,
        )
        check_positive(feature_dim=feature_dim, conv_channels=conv_channels)
        shapes = self.preprocess.shapes
        if predictor_arch is None:
            has_images = any(len(shape) == 3 for shape in shapes.values())
            predictor_arch = [16 * conv_channels] * 2 if has_images else [64]
        convolutions = [Conv(conv_channels, 8, 4), Conv(2 * conv_channels, 4, 2), Conv(2 * conv_channels, 3, 1)]
        self.target = ObservationEncoder(shapes, net_arch, convolutions, (), feature_dim, _LeakyReLU)
        encoder = ObservationEncoder(shapes, net_arch, convolutions, (), None, _LeakyReLU)
        self.predictor = nn.Sequential(encoder, make_mlp(encoder.output_dim, predictor_arch, feature_dim))
        initialize(self.target, "orthogonal", gain=2**0.5)
        initialize(self.predictor, "orthogonal", gain=2**0.5)
        self.target.requires_grad_(False)
        self._target_of_frame: Tensor | None = None

    def bonus(self, transitions: Transitions) -> Tensor:
        observations = self.preprocess(transitions.next_observations)
        return distillation_error(self.predictor(observations), self.target(observations))

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        observations = self.preprocess(transitions.next_observations)
        target = self.target(observations) if self._target_of_frame is None else self._cached_target(transitions, observations)
        # by hand: var() over the first axis takes seven times as long
        feature_var = (target - target.mean(dim=0)).square().mean()
        return distillation_error(self.predictor(observations), target).mean(), {"feature_var": feature_var}

    def update(self, transitions: Transitions) -> dict[str, float]:
        if transitions.shape is not None and self.n_epochs > 1:
            # the target is fixed: what it says of a frame in the first epoch it says in the others
            size = (n_frames(transitions.frames), self.target.output_dim)
            self._target_of_frame = th.full(size, th.nan, device=self.ready.device)
        try:
            return super().update(transitions)
        finally:
            self._target_of_frame = None

    def _cached_target(self, transitions: Transitions, observations: dict[str, Tensor]) -> Tensor:
        assert self._target_of_frame is not None
        target = self._target_of_frame[transitions.next_index]
        unknown = th.isnan(target[:, 0])
        if unknown.any():
            target[unknown] = self.target({key: values[unknown] for key, values in observations.items()})
            self._target_of_frame[transitions.next_index] = target
        return target


def distillation_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error averaged over the features.

    :param prediction: shape (batch, k)
    :param target: shape (batch, k)
    :return: shape (batch,)
    """
    return (prediction - target).square().mean(dim=1)
