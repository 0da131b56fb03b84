"""The data that flows between collection, reward modules and learners."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch as th
from torch import Tensor

Frames = Tensor | dict[str, Tensor]

MOST_DISTINCT = 0.8  # share of distinct frames up to which looking for the shared ones pays


def map_frames(function: Callable[[Tensor], Tensor], frames: Frames) -> Frames:
    """Apply ``function`` to the tensor, or to each tensor of a dict observation."""
    if isinstance(frames, dict):
        return {key: function(value) for key, value in frames.items()}
    return function(frames)


def n_frames(frames: Frames) -> int:
    """Number of rows of a batch of observations, dict or not."""
    return len(next(iter(frames.values()))) if isinstance(frames, dict) else len(frames)


@dataclass(frozen=True, eq=False)
class Transitions:
    """A batch of transitions (s, a, s') in which every distinct observation is stored once.

    Consecutive transitions share an observation: s' of one is s of the next. A rollout of T steps therefore holds T + 1
    frames (and the terminal ones), not 2T, and :meth:`encode` sends each through a network once.
    """

    frames: Frames  # (n_frames, *obs_shape), in the space's dtype and layout; a dict of such for Dict spaces
    index: Tensor  # (batch,) int64: frames[index] is s
    next_index: Tensor  # (batch,) int64: frames[next_index] is s'
    actions: Tensor  # (batch, *action_shape), what the environment received
    terminations: Tensor  # (batch,) bool, truncations excluded
    valid: Tensor  # (batch,) bool, False where s' is unknown: bonus 0, not trained on
    shape: tuple[int, int] | None = None  # (n_steps, n_envs) of a whole rollout, step-major; None for any other batch

    @classmethod
    def from_pairs(
        cls,
        observations: Frames,
        next_observations: Frames,
        actions: Tensor,
        terminations: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> "Transitions":
        """Transitions from observations and next observations of equal length, as a replay buffer gives them.

        :param observations: s, shape (batch, *obs_shape), or a dict of such
        :param next_observations: s', same layout
        :param actions: what the environment received, shape (batch, ...)
        :param terminations: True where the episode ended in a terminal state, shape (batch,); default none
        :param valid: False where s' is unknown, shape (batch,); default all known
        """
        batch = n_frames(observations)
        if n_frames(next_observations) != batch or len(actions) != batch:
            raise ValueError(
                f"observations, next_observations and actions must have equal length, got {batch}, "
                f"{n_frames(next_observations)} and {len(actions)}."
            )
        if isinstance(observations, dict):
            assert isinstance(next_observations, dict)
            frames: Frames = {key: th.cat([observations[key], next_observations[key]]) for key in observations}
        else:
            assert isinstance(next_observations, Tensor)
            frames = th.cat([observations, next_observations])
        index = th.arange(batch, device=actions.device)
        return cls(
            frames=frames,
            index=index,
            next_index=index + batch,
            actions=actions,
            terminations=th.zeros_like(index, dtype=th.bool) if terminations is None else terminations.bool(),
            valid=th.ones_like(index, dtype=th.bool) if valid is None else valid.bool(),
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def observations(self) -> Frames:
        """s, shape (batch, *obs_shape)"""
        return map_frames(lambda frames: frames[self.index], self.frames)

    @property
    def next_observations(self) -> Frames:
        """s', shape (batch, *obs_shape)"""
        return map_frames(lambda frames: frames[self.next_index], self.frames)

    def encode(self, function: Callable[[Frames], Tensor]) -> tuple[Tensor, Tensor]:
        """Features of s and of s', each distinct frame sent through ``function`` once where many are shared.

        Consecutive transitions share half of their frames. Random ones share few, and a batch whose size is another each time
        costs more memory than it saves time: convolution libraries keep a plan for every size they have seen.

        :param function: observations (n, *obs_shape) -> features (n, ...)
        :return: features of s and of s', each of shape (batch, ...)
        """
        used = th.cat([self.index, self.next_index])
        if len(used) != n_frames(self.frames):  # a replay batch of pairs shares nothing
            distinct, inverse = th.unique(used, return_inverse=True)
            if len(distinct) < MOST_DISTINCT * len(used):
                features = function(map_frames(lambda frames: frames[distinct], self.frames))
                return features[inverse[: len(self)]], features[inverse[len(self) :]]
        features = function(map_frames(lambda frames: frames[used], self.frames))
        return features[: len(self)], features[len(self) :]

    def select(self, rows: Tensor) -> "Transitions":
        """The transitions of the given rows (indices or mask) over the same frames: nothing large is copied."""
        return replace(
            self,
            index=self.index[rows],
            next_index=self.next_index[rows],
            actions=self.actions[rows],
            terminations=self.terminations[rows],
            valid=self.valid[rows],
            shape=None,
        )

    def minibatches(self, batch_size: int, generator: th.Generator | None = None) -> Iterator["Transitions"]:
        """One epoch of shuffled minibatches; the incomplete last one is dropped, but there is always at least one.

        :param batch_size: transitions per minibatch, clipped to their number
        :param generator: source of the shuffle (on the CPU); default torch's global one
        """
        size = min(batch_size, len(self))
        if size == 0:
            return
        order = th.randperm(len(self), generator=generator).to(self.index.device)
        for start in range(0, len(self) - size + 1, size):
            yield self.select(order[start : start + size])

    def chunks(self, size: int) -> Iterator["Transitions"]:
        """Consecutive pieces of at most ``size`` transitions, in order, none dropped."""
        if len(self) <= size:
            yield self
            return
        for start in range(0, len(self), size):
            yield self.select(th.arange(start, min(start + size, len(self)), device=self.index.device))

    def to(self, device: th.device | str) -> "Transitions":
        """The same transitions on another device (no copy where they are there already)."""
        return Transitions(
            frames=map_frames(lambda frames: frames.to(device), self.frames),
            index=self.index.to(device),
            next_index=self.next_index.to(device),
            actions=self.actions.to(device),
            terminations=self.terminations.to(device),
            valid=self.valid.to(device),
            shape=self.shape,
        )


@dataclass(frozen=True, eq=False)
class KStepPairs:
    """A batch of pairs (s_t, s_{t+k}), k steps apart in one episode, with the actions taken from t on.

    For k = 0 the later observation is s_t itself.
    """

    observations: Frames  # (batch, *obs_shape), s_t in the space's dtype and layout; a dict of such for Dict spaces
    later_observations: Frames  # (batch, *obs_shape), s_{t+k}; any observation of the data where a pair is not valid
    actions: Tensor  # (batch, *action_shape), a_t, what the environment received
    k: Tensor  # (batch,) int64
    valid: Tensor  # (batch,) bool, False where s_{t+k} belongs to another episode or is unknown: not trained on
    window: Tensor | None = None  # (batch, n, *action_shape): a_t, a_{t+1}, ..., for horizons that look at them
    window_length: Tensor | None = None  # (batch,) int64, how many of these belong to the episode of s_t
    trajectory: Tensor | None = None  # (batch,) int64, equal where two rows are of one episode; None if drawn from all

    def __len__(self) -> int:
        return len(self.valid)

    def to(self, device: th.device | str) -> "KStepPairs":
        """The same pairs on another device (no copy where they are there already)."""

        def move(value: Frames | None) -> Any:
            return None if value is None else map_frames(lambda frames: frames.to(device), value)

        return KStepPairs(**{field.name: move(getattr(self, field.name)) for field in fields(self)})
