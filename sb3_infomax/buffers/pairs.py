"""Pairs of observations k steps apart, out of live replay and rollout buffers.

Stored transitions are numbered step by step from the oldest one, age * n_envs + environment, whatever a ring buffer has
overwritten; a place is where one is, row * n_envs + environment. A pair is valid where no episode ends strictly between its
two observations, both are stored, and the environments were not reset in between by a new ``learn()``. The observation that
ends an episode is a fine later one.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from sb3_infomax.auxiliary.horizon import Horizon
from sb3_infomax.buffers.replay import ReplayReader, to_device, unscale_actions
from sb3_infomax.types import Frames, KStepPairs, Transitions, map_frames

UNFINISHED = np.iinfo(np.int64).max // 2  # no step, however many are added to it
MOST_LOTS = 8  # of further candidates, twice as many as are missing; what is not valid then is marked so

Integers = np.ndarray


class Places(NamedTuple):
    """Where a batch of pairs is, before any observation is touched."""

    where: Integers  # (batch,), the transition (s_t, a_t): row * n_envs + environment
    later: Integers | None  # (batch,), the one that leads to s_{t+k}, that at t where the pair is not valid; None for k = 0
    k: Integers  # (batch,)
    valid: np.ndarray  # (batch,), bool
    window: np.ndarray | None = None  # (batch, max_k + 1, *action_shape), see KStepPairs
    length: Integers | None = None  # (batch,), see KStepPairs
    trajectory: Integers | None = None  # (batch,)


def ends_of_episodes(dones: np.ndarray) -> Integers:
    """The step that begins the episode after that of each step, UNFINISHED where there is none; shape (n_steps, n_envs).

    :param dones: whether a step ends an episode, bool, of the same shape
    """
    ends = np.where(dones, np.arange(1, len(dones) + 1)[:, None], UNFINISHED)
    return np.minimum.accumulate(ends[::-1])[::-1]


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

    def place(self, numbers: Integers) -> Integers:
        """Where the transitions of the given numbers are, shape (n,)."""
        raise NotImplementedError

    def steps_left(self, numbers: Integers, where: Integers) -> Integers:
        """How many stored steps of its episode there are from each given one on, with itself; shape (n,).

        :param numbers: shape (n,)
        :param where: places of the same transitions
        """
        raise NotImplementedError

    def episode(self, where: int) -> Integers:
        """Ages of all stored steps of the episode that a transition belongs to."""
        raise NotImplementedError

    def known(self, where: Integers) -> np.ndarray:
        """Whether s' of the given transitions is stored; bool."""
        raise NotImplementedError

    def actions(self, where: Integers) -> np.ndarray:
        """What the environments received, shape (*where.shape, *action_shape); any action where places go too far."""
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
            return None if values is None else to_device(values, self.device)

        return KStepPairs(
            observations=observations,
            later_observations=observations if places.later is None else self.next_observations(places.later),
            actions=tensor(actions),
            k=tensor(places.k),
            valid=tensor(places.valid),
            window=tensor(places.window),
            window_length=tensor(places.length),
            trajectory=tensor(places.trajectory),
        )

    def look(self, numbers: Integers, horizon: Horizon) -> Places:
        """k of every given transition, and whether the pair is valid.

        :param numbers: shape (n,)
        :param horizon: says how far apart they are
        """
        n, most, window, length = len(numbers), horizon.max_k, None, None
        where = self.place(numbers)
        if horizon.wants_window:
            window = self.actions(where[:, None] + np.arange(0, (most + 1) * self.n_envs, self.n_envs))
            length = np.minimum(self.steps_left(numbers, where), most + 1)
            k = horizon.sample(n, window, length)
            valid = k <= length
        else:
            k = horizon.sample(n)
            valid = k <= self.steps_left(numbers, where) if most > 1 else np.ones(n, dtype=bool)
        if most == 0:
            return Places(where, None, k, valid, window, length)
        later = where if most == 1 else self.place(numbers + (k - 1) * valid * self.n_envs)
        return Places(where, later, k, valid & self.known(later), window, length)

    def places(self, batch_size: int, horizon: Horizon) -> Places:
        """Places of valid pairs, each as likely as any other; where too few are found, places of others too."""
        draw = self._source()
        # a few more than needed, as a second look costs as much as the first; those who see the window do not look too far
        more = batch_size // 8 + 4 if horizon.max_k > 1 and not horizon.wants_window else 0
        places = self.look(draw(batch_size + more), horizon)
        for _ in range(MOST_LOTS):
            n_missing = batch_size - int(np.count_nonzero(places.valid))
            if n_missing <= 0:
                break
            numbers = draw(2 * n_missing)
            if len(numbers) == 0:
                break
            places = _join([places, self.look(numbers, horizon)])
        return _valid_first(places, batch_size)

    def trajectory_places(self, batch_size: int, horizon: Horizon, n_trajectories: int) -> Places:
        """Places in a few episodes: of each at most its share of the batch, none twice."""
        share = -(-batch_size // n_trajectories)
        found: list[Places] = []
        n_valid = 0
        for trajectory in range(n_trajectories + batch_size):
            anchor = self.places(1, horizon)
            place = int(anchor.where[0])
            numbers = self.episode(place) * self.n_envs + place % self.n_envs
            places = _valid_first(self.look(numbers[th.randperm(len(numbers)).numpy()], horizon), share)
            found.append(places._replace(trajectory=np.full(len(places.k), trajectory)))
            n_valid += int(places.valid.sum())
            if n_valid >= batch_size:
                break
        return _valid_first(_join(found), batch_size)

    def _source(self) -> Callable[[int], Integers]:
        """A function that draws so many numbers of transitions, fewer where there are no more."""
        n_transitions = self.n_steps * self.n_envs
        return lambda n: th.randint(n_transitions, (n,)).numpy()


def _valid_first(places: Places, n: int) -> Places:
    """The first n valid places, filled up by others."""
    rows: Any = slice(n)
    if np.count_nonzero(places.valid) == len(places.valid) == n:
        return places
    if not places.valid[:n].all():
        rows = np.flatnonzero(places.valid)[:n]
        if len(rows) < n:
            rows = np.concatenate([rows, np.flatnonzero(~places.valid)[: n - len(rows)]])
    return Places(*[None if part is None else part[rows] for part in places])  # type: ignore[arg-type]


def _join(parts: list[Places]) -> Places:
    return Places(*(None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]


class ReplayPairs(PairSampler):
    """k-step pairs of a replay buffer of any kind: several environments, wrapped around, one array for s and s' or two.

    :param reader: of the buffer; it knows the transitions whose s' is unknown
    """

    def __init__(self, reader: ReplayReader) -> None:
        self.reader, self.buffer = reader, reader.buffer
        self.n_envs, self.device = self.buffer.n_envs, self.buffer.device
        # steps are counted from the oldest one that was there at first; of each row, the step that begins the next episode
        self.until = np.empty((self.buffer.buffer_size, self.n_envs), dtype=np.int64)
        self._start_over()

    def mark_seam(self) -> None:
        """The newest row may have no successor: the environments were possibly reset after it."""
        self.reader.mark_seam()
        self._catch_up()
        for env in np.flatnonzero(self.began < self.n_seen):
            self._close(int(env), self.n_seen, self.n_seen)
        self.began[:] = self.n_seen

    def mark_next_row(self, unknown: np.ndarray) -> None:
        """A row is about to be stored; which of its s' nobody tells, shape (n_envs,)."""
        self.reader.mark_next_row(unknown)
        self.n_marked += 1

    def _start_over(self) -> None:
        """Read all rows there are, whoever stored them."""
        self.n_seen, self.began = 0, np.zeros(self.n_envs, dtype=np.int64)
        self._read(len(self.reader))

    def _catch_up(self) -> None:
        """Read the rows that were stored since, mostly one or a few."""
        n_new = (self.buffer.pos - self.pos) % self.buffer.buffer_size
        if self.n_marked >= self.buffer.buffer_size or len(self.reader) != min(self.n_seen + n_new, self.buffer.buffer_size):
            self._start_over()  # all rows are new, or the buffer was emptied
        elif n_new:
            self._read(n_new)

    def _read(self, n_new: int) -> None:
        """Find the ends of episodes in the newest rows."""
        n_seen, self.n_seen = self.n_seen, self.n_seen + n_new
        self.pos, self.n_marked = self.buffer.pos, 0
        self.n_readable = self.reader.n_readable
        self.oldest = self.pos - self.n_readable  # the row of age 0
        rows = self._rows(np.arange(n_seen, self.n_seen))
        dones = self.buffer.dones[rows] > 0
        self.until[rows] = UNFINISHED
        if not dones.any():
            return
        self.until[rows] = until = n_seen + ends_of_episodes(dones)
        for env in np.flatnonzero(dones.any(axis=0)):
            self._close(int(env), int(until[0, env]), n_seen)
            self.began[env] = self.n_seen - dones[::-1, env].argmax()

    def _close(self, env: int, until: int, known: int) -> None:
        """The next episode begins with step ``until``: tell those steps of the last one that are there, before ``known``."""
        first = max(self.began[env], self.n_seen - self.buffer.buffer_size)
        self.until[self._rows(np.arange(first, known)), env] = until

    def _rows(self, steps: Integers) -> Integers:
        """Rows of the ring."""
        return (steps + (self.pos - self.n_seen)) % self.buffer.buffer_size

    @property
    def n_steps(self) -> int:
        self._catch_up()
        return self.n_readable

    def place(self, numbers: Integers) -> Integers:
        return (numbers + self.oldest * self.n_envs) % self.until.size

    def numbers(self, rows: Integers, envs: Integers) -> Integers:
        """Of the transitions in the given rows of the ring, shape (n,)."""
        self._catch_up()
        return (rows - self.oldest) % self.buffer.buffer_size * self.n_envs + envs

    def steps_left(self, numbers: Integers, where: Integers) -> Integers:
        until = np.minimum(self.until.reshape(-1).take(where), self.n_seen)
        return until - numbers // self.n_envs - (self.n_seen - self.n_readable)

    def episode(self, where: int) -> Integers:
        row, env = divmod(where, self.n_envs)
        rows = (np.arange(self.n_readable) + self.oldest) % self.buffer.buffer_size
        return np.flatnonzero(self.until[rows, env] == self.until[row, env])

    def known(self, where: Integers) -> np.ndarray:
        return np.array(True) if self.reader.all_known else self.reader.known(where)

    def actions(self, where: Integers) -> np.ndarray:
        stored = self.buffer.actions.reshape(-1, self.buffer.action_dim).take(where, axis=0, mode="wrap")
        space = self.buffer.action_space
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
        self.until, self.valid = ends_of_episodes(dones), transitions.valid.numpy()

    @property
    def n_steps(self) -> int:
        return self.shape[0]

    def place(self, numbers: Integers) -> Integers:
        return numbers

    def steps_left(self, numbers: Integers, where: Integers) -> Integers:
        return np.minimum(self.until.reshape(-1)[where], self.n_steps) - numbers // self.n_envs

    def episode(self, where: int) -> Integers:
        row, env = divmod(where, self.n_envs)
        return np.flatnonzero(self.until[:, env] == self.until[row, env])

    def known(self, where: Integers) -> np.ndarray:
        return self.valid[where]

    def actions(self, where: Integers) -> np.ndarray:
        return self.transitions.actions.numpy().take(where, axis=0, mode="clip")

    def observations(self, where: Integers) -> Frames:
        return self._frames(self.transitions.index, where)

    def next_observations(self, where: Integers) -> Frames:
        return self._frames(self.transitions.next_index, where)

    def _frames(self, index: Tensor, where: Integers) -> Frames:
        rows = index[th.from_numpy(where)]
        return map_frames(lambda frames: frames[rows].to(self.device), self.transitions.frames)

    def _source(self) -> Callable[[int], Integers]:
        # none twice: rollouts are short, and an observation is no negative of itself
        order = iter(th.randperm(self.n_steps * self.n_envs).numpy())
        return lambda n: np.fromiter(islice(order, n), dtype=np.int64)
