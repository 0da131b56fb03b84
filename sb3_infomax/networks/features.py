"""What a learner's encoder tells of an observation: a map of local features and one global vector."""

import copy
from typing import Any, NamedTuple

import torch as th
from torch import Tensor, nn

from sb3_infomax.types import Frames


class FeatureShape(NamedTuple):
    """What an encoder gives, without the batch."""

    local_map: tuple[int, int, int] | None  # (channels, height, width); None where there are no images
    global_vector: int


class Features(NamedTuple):
    """What an encoder gives: f3 and f4 in DRIML."""

    local_map: Tensor | None  # (batch, channels, height, width), after the last convolution's activation
    global_vector: Tensor  # (batch, dim), before the activation where the encoder has one

    def at(self, rows: Any) -> "Features":
        """Those of the given rows: a slice, indices or a mask."""
        return Features(None if self.local_map is None else self.local_map[rows], self.global_vector[rows])


class FeatureEncoder(nn.Module):
    """Observations as the buffers give them -> :class:`Features`.

    :param feature_shape: of what :meth:`forward` gives
    """

    def __init__(self, feature_shape: FeatureShape) -> None:
        super().__init__()
        self.feature_shape = feature_shape

    def forward(self, observations: Frames) -> Features:
        """:param observations: shape (batch, *obs_shape), or a dict of such"""
        raise NotImplementedError


class DetachedEncoder(FeatureEncoder):
    """The same features without a gradient to the encoder.

    :param encoder: whose features
    """

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__(encoder.feature_shape)
        self.encoder = encoder

    @th.no_grad()
    def forward(self, observations: Frames) -> Features:
        return self.encoder(observations)


class MomentumEncoder(nn.Module):
    """A copy of an encoder that follows it slowly and is never trained.

    :param encoder: what to follow
    :param rate: share of the encoder in the new copy, in (0, 1]
    """

    def __init__(self, encoder: FeatureEncoder, rate: float) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"The rate of a momentum encoder must lie in (0, 1], got {rate!r}.")
        self.copy = copy.deepcopy(encoder).requires_grad_(False)
        self.rate = rate

    def train(self, mode: bool = True) -> "MomentumEncoder":
        """Always in evaluation mode."""
        return super().train(False)

    @th.no_grad()
    def follow(self, encoder: FeatureEncoder) -> None:
        """One step towards ``encoder``."""
        for slow, fast in zip(self.copy.parameters(), encoder.parameters(), strict=True):
            slow.lerp_(fast, self.rate)
        for copied, buffer in zip(self.copy.buffers(), encoder.buffers(), strict=True):
            copied.copy_(buffer)

    @th.no_grad()
    def forward(self, observations: Frames) -> Features:
        """:param observations: as the encoder takes them"""
        return self.copy(observations)
