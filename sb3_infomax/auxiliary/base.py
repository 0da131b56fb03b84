"""What an auxiliary loss is: the contract between papers and learners."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.auxiliary.horizon import FixedHorizon, Horizon
from sb3_infomax.networks.augmentation import has_images, shift_images
from sb3_infomax.networks.features import FeatureEncoder, Features, MomentumEncoder
from sb3_infomax.networks.preprocessing import check_action_space, check_observation_space
from sb3_infomax.types import Frames, KStepPairs

Encode = Callable[[Frames], Features]


class AuxiliaryModule(nn.Module):
    """An auxiliary loss: heads on a learner's encoder, and a number to be minimised beside the learner's own.

    A subclass builds its heads in ``__init__`` and writes :meth:`loss`. It says which pairs of observations it wants by its
    ``horizon``, ``batch_size`` and ``n_trajectories``, and never holds the encoder itself: the learner owns and trains that.
    All of its state is in ``state_dict()`` and loads with ``weights_only=True``.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param encoder: the learner's; only its ``feature_shape`` is used, and a copy of it where ``ema`` is given
    :param horizon: how many steps lie between the two observations; default one
    :param batch_size: pairs per loss
    :param negatives: ``"batch"``: all pairs of the batch contrast with each other, drawn from everywhere;
        ``"trajectory"``: pairs contrast with those of the same episode only, which a background cannot tell apart
    :param n_trajectories: episodes per batch where negatives are of the same one; short ones are filled up by others
    :param ema: the later observations' features come from a copy of the encoder that follows it at this rate, without a
        gradient; None takes the encoder itself
    :param shift: move images by up to that many pixels at random before they are encoded
    """

    paper: ClassVar[str] = ""
    #: what the loss wants of the callback: ``coef``, ``every``, ...
    defaults: ClassVar[dict[str, Any]] = {}
    #: named settings of module and callback together
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: True for those that have no loss but change the learner's own pictures by :meth:`transform`
    augments_learner: ClassVar[bool] = False

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        encoder: FeatureEncoder,
        *,
        horizon: Horizon | None = None,
        batch_size: int = 256,
        negatives: Literal["batch", "trajectory"] = "batch",
        n_trajectories: int = 1,
        ema: float | None = None,
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.check_spaces(observation_space, action_space)
        for name, value, least in (("batch_size", batch_size, 2), ("n_trajectories", n_trajectories, 1), ("shift", shift, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        if negatives not in ("batch", "trajectory"):
            raise ValueError(f"negatives must be 'batch' or 'trajectory', got {negatives!r}.")
        if shift > 0 and not has_images(observation_space):
            raise ValueError("shift moves images, and there are none in the observation: leave it at 0.")
        self.observation_space, self.action_space = observation_space, action_space
        self.feature_shape = encoder.feature_shape
        self.horizon = FixedHorizon(1) if horizon is None else horizon
        self.batch_size, self.shift = batch_size, shift
        #: episodes that a batch is drawn from; None for all there are
        self.n_trajectories = n_trajectories if negatives == "trajectory" else None
        self.momentum = None if ema is None else MomentumEncoder(encoder, ema)

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        """:raises ValueError: one sentence where the loss cannot work on these spaces"""
        check_observation_space(observation_space)
        check_action_space(action_space)

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """What the learner minimises beside its own loss.

        Rows that are not valid must neither change the value nor get a gradient.

        :param pairs: as the module's ``horizon``, ``batch_size`` and ``n_trajectories`` ask for them
        :param encode: the learner's encoder, raw observations -> features, with gradient
        :param features: of ``pairs.observations``, where the learner has them already; None encodes them here
        :return: a scalar, and scalars to log by name
        """
        raise NotImplementedError

    def transform(self, images: Tensor) -> Tensor:
        """What the learner's pictures become while it trains, where ``augments_learner``; shape (batch, channels, h, w)."""
        raise NotImplementedError

    def encode_pairs(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Features, Features]:
        """Features of s_t and of s_{t+k}: one pass of the encoder over both where it trains on both.

        :param pairs: the batch
        :param encode: the learner's encoder
        :param features: of s_t, where they are known
        """
        later = self.augment(pairs.later_observations)
        if self.momentum is not None:
            if self.training:
                assert isinstance(encode, FeatureEncoder)
                self.momentum.follow(encode)
            return features or encode(self.augment(pairs.observations)), self.momentum(later)
        if features is not None:
            return features, encode(later)
        both = encode(concatenate(self.augment(pairs.observations), later))
        return both.at(slice(None, len(pairs))), both.at(slice(len(pairs), None))

    def augment(self, observations: Frames) -> Frames:
        """Raw observations with images shifted at random by up to ``shift`` pixels."""
        return shift_images(observations, self.observation_space, self.shift)


def concatenate(first: Frames, second: Frames) -> Frames:
    """Two batches of observations as one."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return {key: th.cat([first[key], second[key]]) for key in first}
    assert isinstance(second, Tensor)
    return th.cat([first, second])
