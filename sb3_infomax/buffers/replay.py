"""Transitions out of SB3's replay buffers, and bonuses into what is sampled from them.

The bonus is added when a batch is sampled, never stored: it is fresh, and the buffer stays the extrinsic one that SB3
knows. While training runs the live buffer has a generated subclass of its own class that relabels; it pickles as the
plain class, so a buffer saved at any time loads without this package.
"""

import copyreg
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from sb3_infomax.types import Frames, Transitions


def unscale_actions(actions: Tensor, space: spaces.Space) -> Tensor:
    """What the environment received, from the [-1, 1] that SB3's off-policy algorithms store for Box actions."""
    if not isinstance(space, spaces.Box):
        return actions
    low, high = (th.as_tensor(bound, dtype=th.float32, device=actions.device) for bound in (space.low, space.high))
    return low + 0.5 * (actions.reshape(-1, *space.shape) + 1.0) * (high - low)


def to_device(values: np.ndarray, device: th.device | str) -> Tensor:
    """A tensor with the array's memory where that can be: faster than ``th.as_tensor`` of small arrays.

    :param values: that nobody else writes to
    :param device: where the tensor is to be
    """
    tensor = th.from_numpy(values)
    return tensor if tensor.device == device else tensor.to(device)


def untold_ends(dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
    """Which environments ended an episode without telling its last observation, shape (n_envs,), bool.

    :param dones: of one vector step
    :param infos: of the same
    """
    untold = np.zeros_like(dones)
    for env_index in dones.nonzero()[0]:
        untold[env_index] = infos[env_index].get("terminal_observation") is None
    return untold


class ReplayReader:
    """Gathers stored transitions by place, where SB3 only samples them at random.

    :param buffer: an SB3 replay buffer of any kind
    :param vec_normalize: normalises observations as the learner sees them; None where there is none
    """

    def __init__(self, buffer: ReplayBuffer, vec_normalize: VecNormalize | None = None) -> None:
        self.buffer, self.vec_normalize = buffer, vec_normalize
        # transitions whose s' nobody told, or whose s' a later learn() has overwritten
        self.unknown = np.zeros((buffer.buffer_size, buffer.n_envs), dtype=bool)
        # most buffers have none, and then need not look
        self.all_known = not buffer.optimize_memory_usage
        # of the batch that is being sampled
        self.sampled: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of filled rows, of n_envs transitions each."""
        return self.buffer.size()

    def mark_seam(self) -> None:
        """The newest row may have no successor: the environments were possibly reset after it."""
        if self.buffer.optimize_memory_usage and len(self) > 0:
            self.unknown[self.buffer.pos - 1] = True

    def mark_next_row(self, unknown: np.ndarray) -> None:
        """Which s' of the row that is stored next nobody tells, shape (n_envs,)."""
        self.unknown[self.buffer.pos] = unknown
        if unknown.any():
            self.all_known = False

    def draw(self, batch_size: int) -> Transitions:
        """Transitions drawn uniformly with torch's generator, HER's and n-step's as they were stored."""
        n_rows = self.n_readable
        rows = (th.randint(n_rows, (batch_size,)).numpy() + self.buffer.pos - n_rows) % self.buffer.buffer_size
        return self.gather(rows, th.randint(self.buffer.n_envs, (batch_size,)).numpy())

    def newest(self, n_rows: int, batch_size: int) -> Iterator[Transitions]:
        """The newest rows, in time order, those that were overwritten left out.

        :param n_rows: how many
        :param batch_size: transitions at a time: the first call asks for all that was stored before learning started,
            and a copy of that would double the buffer's memory
        """
        n_rows, n_envs = min(n_rows, self.n_readable), self.buffer.n_envs
        rows_at_a_time = max(1, batch_size // n_envs)
        for start in range(0, n_rows, rows_at_a_time):
            offsets = np.arange(start, min(start + rows_at_a_time, n_rows))
            rows = (self.buffer.pos - n_rows + offsets) % self.buffer.buffer_size
            yield self.gather(np.repeat(rows, n_envs), np.tile(np.arange(n_envs), len(rows)))

    @property
    def n_readable(self) -> int:
        """Rows whose observation is still there."""
        # where one array holds s and s', the oldest row has lost its observation to the newest transition
        return len(self) - int(self.buffer.optimize_memory_usage and self.buffer.full)

    def gather(self, rows: np.ndarray, env_indices: np.ndarray) -> Transitions:
        """The transitions at the given places, shape (batch,) each."""
        buffer, where = self.buffer, rows * self.buffer.n_envs + env_indices
        dones, timeouts = buffer.dones[rows, env_indices] > 0, buffer.timeouts[rows, env_indices] > 0
        return Transitions.from_pairs(
            self.observations(where),
            self.next_observations(where),
            unscale_actions(buffer.to_torch(buffer.actions[rows, env_indices]), buffer.action_space),
            terminations=th.as_tensor(dones & ~timeouts, device=buffer.device),
            valid=th.as_tensor(self.known(where), device=buffer.device),
        )

    def known(self, where: np.ndarray) -> np.ndarray:
        """Where s' was told and kept, bool.

        :param where: row * n_envs + environment, any shape
        """
        known = ~self.unknown.reshape(-1)[where]
        if self.buffer.optimize_memory_usage:
            # one array holds both s and s': the next episode has overwritten the last s'
            known &= self.buffer.dones.reshape(-1)[where] == 0
        return known

    def observations(self, where: np.ndarray) -> Frames:
        """s at the given places, see :meth:`known`, as the learner sees it."""
        return self._picked(self.buffer.observations, where)

    def next_observations(self, where: np.ndarray) -> Frames:
        """s' at the given places, see :meth:`known`, as the learner sees it."""
        buffer = self.buffer
        if buffer.optimize_memory_usage:
            return self._picked(buffer.observations, (where + buffer.n_envs) % (buffer.buffer_size * buffer.n_envs))
        return self._picked(buffer.next_observations, where)

    def _picked(self, arrays: Any, where: np.ndarray) -> Frames:
        def pick(array: np.ndarray) -> np.ndarray:
            return array.reshape(-1, *array.shape[2:]).take(where, axis=0)

        picked = {key: pick(array) for key, array in arrays.items()} if isinstance(arrays, dict) else pick(arrays)
        normalized = self.buffer._normalize_obs(picked, self.vec_normalize)
        # picking has made a copy
        if isinstance(normalized, dict):
            return {key: to_device(value, self.buffer.device) for key, value in normalized.items()}
        return to_device(normalized, self.buffer.device)


class Relabeller(NamedTuple):
    """Turns the rewards of a sampled batch into ext_coef * r + coef * bonus."""

    reader: ReplayReader
    bonus: Callable[[Transitions], Tensor]  # transitions -> (batch,)
    coef: float
    ext_coef: float

    def relabel(self, data: Any, transitions: Transitions, weights: Tensor | None = None) -> Any:
        """The batch with mixed rewards.

        :param data: what SB3's buffer sampled
        :param transitions: the steps it spans, step-minor: (batch * n_steps,) rows
        :param weights: of the bonuses of these steps, shape (batch, n_steps); None for one step of weight 1
        """
        rewards = data.rewards if self.ext_coef == 1.0 else self.ext_coef * data.rewards
        if self.coef != 0.0:
            bonus = self.bonus(transitions).to(rewards.device)
            if weights is not None:
                bonus = (bonus.reshape(weights.shape) * weights).sum(dim=1)
            rewards = rewards + self.coef * bonus.reshape(-1, 1)
        # _replace keeps the discounts of n-step samples
        return data._replace(rewards=rewards)


@contextmanager
def relabelled(buffer: ReplayBuffer, relabeller: Relabeller) -> Iterator[None]:
    """While this lasts, what is sampled from ``buffer`` carries the bonus; nothing stored changes."""
    plain = type(buffer)
    buffer._relabeller = relabeller  # type: ignore[attr-defined]
    buffer.__class__ = _relabelling_class(plain)
    try:
        yield
    finally:
        buffer.__class__ = plain
        del buffer._relabeller  # type: ignore[attr-defined]


@functools.cache
def _relabelling_class(base: type[ReplayBuffer]) -> type[ReplayBuffer]:
    # One base and no slots: the same object layout, so that an instance can change to it and back
    members: dict[str, Any] = {"__reduce_ex__": _reduce_as(base)}
    if issubclass(base, NStepReplayBuffer):
        members["_get_samples"] = _n_step_samples(base)
    else:
        members["sample"], members["_get_samples"] = _one_step_sample(base), _remember_rows(base)
    return type(f"Relabelled{base.__name__}", (base,), members)


def _reduce_as(base: type) -> Callable[[Any, int], tuple]:
    def __reduce_ex__(self: Any, protocol: int) -> tuple:
        # HerReplayBuffer leaves its environment out
        get_state = getattr(base, "__getstate__", None)
        state = dict(self.__dict__ if get_state is None else get_state(self))
        state.pop("_relabeller", None)
        return copyreg._reconstructor, (base, object, None), state  # type: ignore[attr-defined]

    return __reduce_ex__


def _one_step_sample(base: type[ReplayBuffer]) -> Callable:
    def sample(self: Any, batch_size: int, env: VecNormalize | None = None) -> Any:
        relabeller: Relabeller = self._relabeller
        reader = relabeller.reader
        reader.sampled = None
        data = base.sample(self, batch_size, env=env)
        valid = None if reader.sampled is None else th.as_tensor(reader.known(reader.sampled), device=data.dones.device)
        actions = unscale_actions(data.actions, self.action_space)
        transitions = Transitions.from_pairs(
            data.observations, data.next_observations, actions, terminations=data.dones.reshape(-1) > 0, valid=valid
        )
        return relabeller.relabel(data, transitions)

    return sample


def _remember_rows(base: type[ReplayBuffer]) -> Callable:
    def _get_samples(self: Any, batch_inds: np.ndarray, env: VecNormalize | None = None) -> Any:
        reader: ReplayReader = self._relabeller.reader
        if not reader.all_known:
            reader.sampled = batch_inds * self.n_envs + coming_env_indices(self, batch_inds)
        return base._get_samples(self, batch_inds, env=env)

    return _get_samples


def _n_step_samples(base: type[NStepReplayBuffer]) -> Callable:
    def _get_samples(self: Any, batch_inds: np.ndarray, env: VecNormalize | None = None) -> Any:
        env_indices = coming_env_indices(self, batch_inds)
        data = base._get_samples(self, batch_inds, env=env)
        rows, weights = n_step_spans(self, batch_inds, env_indices)
        steps = self._relabeller.reader.gather(rows.reshape(-1), np.repeat(env_indices, rows.shape[1]))
        return self._relabeller.relabel(data, steps, th.as_tensor(weights, device=data.rewards.device))

    return _get_samples


def coming_env_indices(buffer: ReplayBuffer, batch_inds: np.ndarray) -> np.ndarray:
    """The environments that SB3 is about to draw: the same ones, from a copy of its generator."""
    if buffer.n_envs == 1:
        return np.zeros_like(batch_inds)
    generator = np.random.RandomState()
    generator.set_state(np.random.get_state())
    return generator.randint(0, buffer.n_envs, size=batch_inds.shape)


def n_step_spans(buffer: NStepReplayBuffer, batch_inds: np.ndarray, env_indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps that an n-step sample sums over, as SB3's ``NStepReplayBuffer`` delimits them.

    :return: rows and weights gamma^i (0 after the end of the episode or of the data), shape (batch, n_steps) each
    """
    steps = np.arange(buffer.n_steps)
    rows = (batch_inds[:, None] + steps) % buffer.buffer_size
    ends = (buffer.dones[rows, env_indices[:, None]] > 0) | (buffer.timeouts[rows, env_indices[:, None]] > 0)
    # the newest row ends a span too: what follows it is the oldest
    ends |= rows == (buffer.pos - 1) % buffer.buffer_size
    # a step counts if no end lies strictly before it
    ended_before = np.cumsum(ends, axis=1) - ends
    weights = np.where(ended_before == 0, buffer.gamma**steps, 0.0).astype(np.float32)
    return rows, weights
