"""Pairs of observations k steps apart, out of live replay and rollout buffers.

A place is the number row * n_envs + environment of a stored transition; its age counts steps from the oldest one, whatever
the ring buffer has overwritten. A pair is valid where no episode ends strictly between its two observations, both are stored,
and the environments were not reset in between by a new ``learn()``. The observation that ends an episode is a fine later one.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from sb3_infomax.auxiliary.horizon import Horizon
from sb3_infomax.buffers.replay import ReplayReader, unscale_actions
from sb3_infomax.types import Frames, KStepPairs, Transitions, map_frames

MOST_LOTS = 8  # of further candidates, twice as many as are missing; what is not valid then is marked so

Integers = np.ndarray


class Places(NamedTuple):
    """Where a batch of pairs is, before any observation is touched."""

    where: Integers  # (batch,), the transition (s_t, a_t): row * n_envs + environment
    later: Integers  # (batch,), the one that leads to s_{t+k}; that at t where the pair is not valid
    k: Integers  # (batch,)
    valid: np.ndarray  # (batch,), bool
    window: np.ndarray | None = None  # (batch, max_k + 1, *action_shape), see KStepPairs
    length: Integers | None = None  # (batch,), see KStepPairs
    trajectory: Integers | None = None  # (batch,)


class PairSampler:
    """Draws :class:`KStepPairs` from stored steps; subclasses say where these are.

    All numbers are drawn with torch's generator.
    """

    n_envs: int
    device: th.device | str

    @property
    def n_steps(self) -> int:
        """Steps there are, of ``n_envs`` transitions each."""
        raise NotImplementedError

    def where(self, ages: Integers, envs: Integers) -> Integers:
        """Places of the steps of the given ages, any shapes that fit; those beyond the newest may be anywhere."""
        raise NotImplementedError

    def ends(self, where: Integers) -> np.ndarray:
        """Whether an episode ends, or the environments were reset, after the given transitions; bool."""
        raise NotImplementedError

    def known(self, where: Integers) -> np.ndarray:
        """Whether s' of the given transitions is stored; bool."""
        raise NotImplementedError

    def actions(self, where: Integers) -> np.ndarray:
        """What the environments received, shape (*where.shape, *action_shape)."""
        raise NotImplementedError

    def observations(self, where: Integers) -> Frames:
        """s of the given transitions, shape (batch,)."""
        raise NotImplementedError

    def next_observations(self, where: Integers) -> Frames:
        """s' of the given transitions, shape (batch,)."""
        raise NotImplementedError

    def draw(self, batch_size: int, horizon: Horizon, n_trajectories: int | None = None) -> KStepPairs:
        """Pairs drawn uniformly from all valid ones.

        :param batch_size: how many; fewer where a rollout has fewer transitions
        :param horizon: says how far apart they are
        :param n_trajectories: take them from that many episodes; those too short are filled up by others
        """
        if n_trajectories is None:
            return self.gather(self.places(batch_size, horizon))
        return self.gather(self.trajectory_places(batch_size, horizon, n_trajectories))

    def gather(self, places: Places, observations: Frames | None = None) -> KStepPairs:
        """The pairs at places that were drawn or, by :meth:`look`, given.

        :param places: where
        :param observations: s_t, where they are known already
        """
        if observations is None:
            observations = self.observations(places.where)
        actions = self.actions(places.where) if places.window is None else places.window[:, 0]

        def tensor(values: np.ndarray | None) -> Any:
            return None if values is None else th.from_numpy(values).to(self.device)

        return KStepPairs(
            observations=observations,
            later_observations=self.next_observations(places.later) if places.k.any() else observations,
            actions=tensor(actions),
            k=tensor(places.k),
            valid=tensor(places.valid),
            window=tensor(places.window),
            window_length=tensor(places.length),
            trajectory=tensor(places.trajectory),
        )

    def look(self, ages: Integers, envs: Integers, horizon: Horizon) -> Places:
        """k of every given step, and whether the pair is valid.

        :param ages: shape (n,)
        :param envs: shape (n,)
        :param horizon: says how far apart they are
        """
        n, window, length = len(ages), None, None
        where = self.where(ages, envs)
        if horizon.wants_window:
            steps = self.where(ages[:, None] + np.arange(horizon.max_k + 1), envs[:, None])
            window, length = self.actions(steps), self._length(ages, steps)
            k = horizon.sample(n, th.from_numpy(window), th.from_numpy(length)).numpy()
            valid = k <= length
        elif horizon.max_k > 1:
            steps = self.where(ages[:, None] + np.arange(horizon.max_k), envs[:, None])
            k = horizon.sample(n).numpy()
            valid = k <= self._length(ages, steps)
        else:
            k, valid = horizon.sample(n).numpy(), np.ones(n, dtype=bool)
        later = where
        if horizon.max_k > 1:
            later = self.where(np.where(valid, ages + (k - 1), ages), envs)
        if horizon.max_k > 0:
            valid &= self.known(later)
        return Places(where, later, k, valid, window, length)

    def _length(self, ages: Integers, steps: Integers) -> Integers:
        """How many of the consecutive steps at places (n, most) are stored and of the first one's episode, shape (n,)."""
        n, most = steps.shape
        ends = self.ends(steps[:, :-1])
        first = ends.argmax(axis=1)
        length = np.where(ends[np.arange(n), first], first + 1, most)
        return np.minimum(length, self.n_steps - ages)

    def places(self, batch_size: int, horizon: Horizon) -> Places:
        """Places of valid pairs, each as likely as any other; where too few are found, places of others too."""
        draw = self._source()
        # a few more than needed: a second look costs as much as the first
        places = self.look(*draw(batch_size + (batch_size // 8 + 4 if horizon.max_k > 1 else 0)), horizon)
        for _ in range(MOST_LOTS):
            n_missing = batch_size - int(places.valid.sum())
            if n_missing <= 0:
                break
            ages, envs = draw(2 * n_missing)
            if len(ages) == 0:
                break
            places = _join([places, self.look(ages, envs, horizon)])
        return _valid_first(places, batch_size)

    def trajectory_places(self, batch_size: int, horizon: Horizon, n_trajectories: int) -> Places:
        """Places in a few episodes: of each at most its share of the batch, none twice."""
        share = -(-batch_size // n_trajectories)
        found: list[Places] = []
        n_valid = 0
        for trajectory in range(n_trajectories + batch_size):
            anchor = self.places(1, horizon)
            ages, envs = self._episode(int(anchor.where[0]))
            order = th.randperm(len(ages)).numpy()
            places = _valid_first(self.look(ages[order], envs[order], horizon), share)
            found.append(places._replace(trajectory=np.full(len(places.k), trajectory)))
            n_valid += int(places.valid.sum())
            if n_valid >= batch_size:
                break
        return _valid_first(_join(found), batch_size)

    def _source(self) -> Callable[[int], tuple[Integers, Integers]]:
        """A function that draws the given number of (ages, envs), fewer where there are no more."""
        return lambda n: (th.randint(self.n_steps, (n,)).numpy(), th.randint(self.n_envs, (n,)).numpy())

    def _episode(self, place: int) -> tuple[Integers, Integers]:
        """(ages, envs) of all stored steps of the episode that a transition belongs to."""
        env, ages = place % self.n_envs, np.arange(self.n_steps)
        column = self.where(ages, np.array(env))
        age = int(np.flatnonzero(column == place)[0])
        ends = np.flatnonzero(self.ends(column))
        after = int(np.searchsorted(ends, age))
        first = int(ends[after - 1]) + 1 if after > 0 else 0
        last = int(ends[after]) if after < len(ends) else self.n_steps - 1
        return ages[first : last + 1], np.full(last + 1 - first, env)


def _valid_first(places: Places, n: int) -> Places:
    """The first n valid places, filled up by others."""
    if len(places.k) == n and places.valid.all():
        return places
    rows = np.flatnonzero(places.valid)[:n]
    if len(rows) < n:
        rows = np.concatenate([rows, np.flatnonzero(~places.valid)[: n - len(rows)]])
    return Places(*(None if part is None else part[rows] for part in places))  # type: ignore[arg-type]


def _join(parts: list[Places]) -> Places:
    return Places(*(None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]


class ReplayPairs(PairSampler):
    """k-step pairs of a replay buffer of any kind: several environments, wrapped around, one array for s and s' or two.

    :param reader: of the buffer; it knows the transitions whose s' is unknown
    """

    def __init__(self, reader: ReplayReader) -> None:
        self.reader, self.buffer = reader, reader.buffer
        self.n_envs, self.device = self.buffer.n_envs, self.buffer.device
        # rows that the next one does not follow: a new learn() has reset the environments
        self.seams = np.zeros(self.buffer.buffer_size, dtype=bool)
        self.n_seams = 0  # mostly none, and then need not look

    def mark_seam(self) -> None:
        """The newest row may have no successor: the environments were possibly reset after it."""
        self.reader.mark_seam()
        if len(self.reader) > 0:
            self.seams[self.buffer.pos - 1] = True
            self.n_seams = int(self.seams.sum())

    def mark_next_row(self, unknown: np.ndarray) -> None:
        """A row is about to be stored; which of its s' nobody tells, shape (n_envs,)."""
        self.reader.mark_next_row(unknown)
        self.n_seams -= int(self.seams[self.buffer.pos])
        self.seams[self.buffer.pos] = False

    @property
    def n_steps(self) -> int:
        return self.reader.n_readable

    @property
    def oldest(self) -> int:
        """The row of age 0."""
        return self.buffer.pos - self.n_steps

    def where(self, ages: Integers, envs: Integers) -> Integers:
        return (ages + self.oldest) % self.buffer.buffer_size * self.n_envs + envs

    def ages(self, rows: Integers) -> Integers:
        """Ages of rows of the ring."""
        return (rows - self.oldest) % self.buffer.buffer_size

    def ends(self, where: Integers) -> np.ndarray:
        ends = self.buffer.dones.reshape(-1)[where] > 0
        return ends | self.seams[where // self.n_envs] if self.n_seams else ends

    def known(self, where: Integers) -> np.ndarray:
        return np.array(True) if self.reader.all_known else self.reader.known(where)

    def actions(self, where: Integers) -> np.ndarray:
        stored, space = self.buffer.actions.reshape(-1, self.buffer.action_dim)[where], self.buffer.action_space
        if not isinstance(space, spaces.Box):
            return stored
        return unscale_actions(th.from_numpy(stored), space).numpy().reshape(*where.shape, *space.shape)

    def observations(self, where: Integers) -> Frames:
        return self.reader.observations(where)

    def next_observations(self, where: Integers) -> Frames:
        return self.reader.next_observations(where)


class RolloutPairs(PairSampler):
    """k-step pairs of one rollout.

    :param transitions: the whole rollout, step-major
    :param dones: where an episode ended, shape (n_steps, n_envs)
    :param device: where pairs are to be
    """

    def __init__(self, transitions: Transitions, dones: np.ndarray, device: th.device | str = "cpu") -> None:
        self.transitions, self.device = transitions, device
        self.shape, self.n_envs = dones.shape, dones.shape[1]
        self.dones, self.valid = dones.reshape(-1), transitions.valid.numpy()

    @property
    def n_steps(self) -> int:
        return self.shape[0]

    def where(self, ages: Integers, envs: Integers) -> Integers:
        return np.minimum(ages, self.n_steps - 1) * self.n_envs + envs

    def ends(self, where: Integers) -> np.ndarray:
        return self.dones[where]

    def known(self, where: Integers) -> np.ndarray:
        return self.valid[where]

    def actions(self, where: Integers) -> np.ndarray:
        return self.transitions.actions.numpy()[where]

    def observations(self, where: Integers) -> Frames:
        return self._frames(self.transitions.index, where)

    def next_observations(self, where: Integers) -> Frames:
        return self._frames(self.transitions.next_index, where)

    def _frames(self, index: Tensor, where: Integers) -> Frames:
        rows = index[th.from_numpy(where)]
        return map_frames(lambda frames: frames[rows].to(self.device), self.transitions.frames)

    def _source(self) -> Callable[[int], tuple[Integers, Integers]]:
        # none twice: rollouts are short, and an observation is no negative of itself
        order = iter(th.randperm(self.n_steps * self.n_envs).numpy())
        return lambda n: np.divmod(np.fromiter(islice(order, n), dtype=np.int64), self.n_envs)
