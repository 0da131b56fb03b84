"""Pairs k steps apart: of one episode, from whatever buffer, each as likely as any other."""

import itertools

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer, RolloutBuffer

from sb3_infomax.auxiliary.horizon import AdaptiveHorizon, FixedHorizon, Horizon, RandomHorizon
from sb3_infomax.buffers.pairs import ReplayPairs, RolloutPairs
from sb3_infomax.buffers.replay import ReplayReader
from sb3_infomax.buffers.rollout import RolloutFrames

# an observation names its episode and its step; terminal observations continue the count
CODE = spaces.Box(-np.inf, np.inf, (3,), np.float32)
FOUR = spaces.Discrete(4)


class Stream:
    """Vector steps of episodes of 2 to 9 steps, environment by environment; a reset begins all anew."""

    def __init__(self, n_envs):
        self.n_envs, self.episode, self.generator = n_envs, itertools.count(), np.random.default_rng(0)
        self.reset()

    def reset(self):
        self.now = np.array([self._begin(env) for env in range(self.n_envs)])

    def _begin(self, env):
        return [env, next(self.episode), 0]

    def step(self):
        before, after = self.now.copy(), self.now + np.array([0, 0, 1])
        dones = (after[:, 2] >= 9) | (self.generator.random(self.n_envs) < 0.15) & (after[:, 2] >= 2)
        self.now = np.array([self._begin(env) if done else after[env] for env, done in enumerate(dones)])
        # the action repeats the step's number
        return before, after, before[:, 2] % 4, dones


def replay(n_rows, n_envs, size=40, reset_at=(), tells_end=True, cls=ReplayBuffer, **kwargs):
    """A buffer of coded observations that was filled as a callback sees it."""
    buffer = cls(size * n_envs, CODE, FOUR, device="cpu", n_envs=n_envs, **kwargs)
    stream, pairs = Stream(n_envs), ReplayPairs(ReplayReader(buffer))
    for row in range(n_rows):
        if row in reset_at:
            stream.reset()
            pairs.mark_seam()
        before, after, actions, dones = stream.step()
        pairs.mark_next_row(dones & (not tells_end))
        told = np.where((dones & (not tells_end))[:, None], stream.now, after)
        stored = stream.now if kwargs.get("optimize_memory_usage") else told
        infos = [{"TimeLimit.truncated": False}] * n_envs
        buffer.add(before, stored, actions[:, None], np.zeros(n_envs), dones, infos)
    return pairs


def rollout(n_steps, n_envs, tells_end=True, device="cpu"):
    buffer = RolloutBuffer(n_steps, CODE, FOUR, device="cpu", n_envs=n_envs)
    frames, stream = RolloutFrames(buffer), Stream(n_envs)
    for _ in range(n_steps):
        before, after, actions, dones = stream.step()
        frames.step(dones, [{"terminal_observation": last} if tells_end else {} for last in after])
        nothing = th.zeros(n_envs)
        buffer.add(before, actions[:, None], np.zeros(n_envs), np.zeros(n_envs), nothing, nothing)
    transitions = frames.transitions(stream.now, buffer.actions.reshape(-1, 1))
    return RolloutPairs(transitions, frames.dones.reshape(n_steps, n_envs))


SAMPLERS = {
    f"{kind}, {n_envs} envs, {state}": lambda kind=kind, n_envs=n_envs, n_rows=n_rows: (
        rollout(n_rows, n_envs)
        if kind == "rollout"
        else replay(
            n_rows,
            n_envs,
            reset_at=(13, 55),
            **({"optimize_memory_usage": True, "handle_timeout_termination": False} if kind == "one array" else {}),
            cls=NStepReplayBuffer if kind == "n-step" else ReplayBuffer,
        )
    )
    for kind in ("replay", "one array", "n-step", "rollout")
    for n_envs in (1, 4)
    for state, n_rows in (("filling", 25), ("full", 40), ("wrapped", 97))
}


class ByRow(Horizon):
    """Somebody's own: k is 1, 2, ... over the rows."""

    def sample(self, n, window=None, length=None):
        return 1 + np.arange(n) % self.max_k


HORIZONS = {"k=1": FixedHorizon(1), "k=3": FixedHorizon(3), "k=1..6": RandomHorizon(6), "by row": ByRow(4)}


def violations(pairs, k=None):
    """Rows whose two observations are not k steps apart in one episode."""
    now, later = pairs.observations, pairs.later_observations
    same = (now[:, :2] == later[:, :2]).all(dim=1)
    wrong = ~same | (later[:, 2] - now[:, 2] != pairs.k) | (pairs.actions.reshape(-1) != now[:, 2] % 4)
    return wrong & pairs.valid


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_valid_pairs_are_k_steps_apart_in_one_episode(sampler, horizon):
    """Over ends of episodes, the write pointer, seams between learn() calls, with one array and with two."""
    pairs = SAMPLERS[sampler]().draw(1024, HORIZONS[horizon])
    assert pairs.valid.any() and not violations(pairs).any()
    if "rollout" not in sampler:
        assert pairs.valid.all()


def all_pairs(sampler, k):
    """Every valid pair, found one by one."""
    pairs = sampler.gather(sampler.look(np.arange(sampler.n_steps * sampler.n_envs), FixedHorizon(k)))
    assert not violations(pairs).any()
    return {tuple(row) for row in pairs.observations[pairs.valid].long().tolist()}


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n_rows", [25, 97], ids=["filling", "wrapped"])
def test_every_pair_there_is_can_be_drawn_and_no_place_more_often(n_rows, k):
    sampler = replay(n_rows, n_envs=2)
    drawn = sampler.draw(20_000, FixedHorizon(k)).observations.long()
    found, counts = np.unique(drawn.numpy(), axis=0, return_counts=True)
    possible = all_pairs(sampler, k)
    assert {tuple(row) for row in found} == possible
    expected = 20_000 / len(possible)
    assert counts.max() < 1.35 * expected and counts.min() > 0.65 * expected


def test_with_k_1_every_stored_transition_is_a_pair():
    assert len(all_pairs(replay(40, 2), 1)) == 80
    assert len(all_pairs(rollout(40, 2), 1)) == 80


@pytest.mark.parametrize("sampler", [replay(40, 2), rollout(40, 2)], ids=["replay", "rollout"])
def test_the_observation_that_ends_an_episode_is_a_later_one(sampler):
    """T6: that of every episode that is over, two steps before it, is in a valid pair."""
    assert sampler.n_steps == 40
    where = sampler.place(np.arange(80))
    before, after = (frames.long().tolist() for frames in (sampler.observations(where), sampler.next_observations(where)))
    newest = {env: episode for env, episode, _ in sorted(after)}
    last = {(env, episode): step for env, episode, step in sorted(after)}
    terminal = {(env, episode, step) for (env, episode), step in last.items() if episode < newest[env]}
    terminal = {(env, episode, step) for env, episode, step in terminal if [env, episode, step - 2] in before}
    pairs = sampler.gather(sampler.look(np.arange(80), FixedHorizon(2)))
    assert len(terminal) > 5 and terminal <= {tuple(row) for row in pairs.later_observations[pairs.valid].long().tolist()}
    assert not violations(pairs).any()


@pytest.mark.parametrize("make", [replay, rollout])
def test_ends_that_nobody_tells_are_no_later_observations(make):
    sampler = make(40, 2, tells_end=False)
    for k in (1, 2):
        pairs = sampler.draw(500, FixedHorizon(k))
        assert not violations(pairs).any()
        # what follows is another episode's, so nothing but the mask keeps it out
        assert len(all_pairs(sampler, k)) < len(all_pairs(make(40, 2), k))


def steps_left(sampler):
    """Of every stored transition."""
    numbers = np.arange(sampler.n_steps * sampler.n_envs)
    return sampler.steps_left(numbers, sampler.place(numbers))


def test_seams_are_forgotten_once_they_are_overwritten():
    once = replay(97, 2, reset_at=(13,))
    assert np.array_equal(steps_left(once), steps_left(ReplayPairs(once.reader))) and len(all_pairs(once, 1)) == 80


def test_without_seams_pairs_would_cross_a_reset(monkeypatch):
    monkeypatch.setattr(ReplayPairs, "mark_seam", lambda self: None)
    sampler = replay(30, 2, reset_at=(13, 21))
    crossing = sampler.draw(2000, FixedHorizon(3))
    now, later = crossing.observations, crossing.later_observations
    assert (now[:, 1] != later[:, 1]).any()


@pytest.mark.parametrize("every", [1, 7, 39, 40, 41, 90])
@pytest.mark.parametrize("one_array", [False, True])
def test_however_often_it_looks_it_knows_what_reading_the_whole_buffer_tells(every, one_array):
    """Episodes are followed row by row; every 40 rows the ring begins again."""
    options = {"optimize_memory_usage": True, "handle_timeout_termination": False} if one_array else {}
    sampler = replay(0, 3, **options)
    stream, dones = Stream(3), []
    for row in range(1, 250):
        before, after, actions, done = stream.step()
        sampler.mark_next_row(np.zeros(3, dtype=bool))
        sampler.buffer.add(before, after, actions[:, None], np.zeros(3), done, [{}] * 3)
        dones.append(done)
        if row % every == 0:
            n = sampler.n_steps
            expected = [
                min(n, next((end + 1 for end in range(age, n) if dones[row - n + end][env]), n)) - age
                for age in range(n)
                for env in range(3)
            ]
            assert steps_left(sampler).tolist() == expected


def test_a_buffer_that_was_emptied_is_read_anew():
    sampler = replay(35, 2)
    sampler.buffer.reset()
    assert sampler.n_steps == 0


def test_what_is_too_far_apart_is_marked_and_not_made_up():
    pairs = replay(40, 2).draw(64, FixedHorizon(30))
    assert len(pairs) == 64 and not pairs.valid.any()


def test_a_rollout_gives_no_place_twice():
    pairs = rollout(16, 2).draw(512, FixedHorizon(1))
    assert len(pairs) == 32 == len(np.unique(pairs.observations.numpy(), axis=0))


def test_k_0_pairs_an_observation_with_itself():
    pairs = replay(40, 2).draw(32, FixedHorizon(0))
    assert pairs.valid.all() and pairs.later_observations is pairs.observations


@pytest.mark.parametrize("sampler", [replay(97, 2, reset_at=(70,)), rollout(40, 2)], ids=["replay", "rollout"])
def test_windows_hold_the_actions_of_the_episode(sampler):
    horizon = AdaptiveHorizon(FOUR, max_k=5)
    horizon.concordance.fill_(1.0)
    pairs = sampler.draw(200, horizon)
    assert not violations(pairs).any()
    for now, window, length in zip(pairs.observations, pairs.window, pairs.window_length, strict=True):
        expected = (int(now[2]) + np.arange(int(length))) % 4
        assert window.reshape(-1)[: int(length)].tolist() == expected.tolist()
    # concordance 1 goes on for as long as there are actions
    assert th.equal(pairs.k, (pairs.window_length - 1).clamp(min=1, max=5))


@pytest.mark.parametrize("sampler", [replay(97, 2, reset_at=(70,)), rollout(40, 2)], ids=["replay", "rollout"])
@pytest.mark.parametrize("n_trajectories", [1, 3])
def test_rows_of_equal_trajectory_are_of_one_episode(sampler, n_trajectories):
    pairs = sampler.draw(12, FixedHorizon(1), n_trajectories)
    assert len(pairs) == 12 and pairs.valid.all() and not violations(pairs).any()
    for number in pairs.trajectory.unique():
        rows = pairs.observations[pairs.trajectory == number]
        assert len(rows[:, 1].unique()) == 1 and len(rows.unique(dim=0)) == len(rows) <= -(-12 // n_trajectories)


def test_actions_are_those_that_the_environment_received():
    space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([3.0, 10.0], np.float32))
    buffer = ReplayBuffer(20, CODE, space, device="cpu")
    for row in range(10):
        scaled = np.array([[-1.0 + row / 10, row / 10]])
        buffer.add(np.full(3, row), np.full(3, row + 1), scaled, np.zeros(1), np.zeros(1), [{}])
    pairs = ReplayPairs(ReplayReader(buffer)).draw(16, FixedHorizon(1))
    row = pairs.observations[:, 0]
    assert th.allclose(pairs.actions, th.stack([-2.0 + row / 4, 5.0 + row / 2], dim=1), atol=1e-5)


def test_dict_observations():
    space = spaces.Dict(a=CODE, b=spaces.Box(0, 255, (2, 2, 1), np.uint8))
    from stable_baselines3.common.buffers import DictReplayBuffer

    buffer = DictReplayBuffer(20, space, FOUR, device="cpu")
    for row in range(12):
        observation = lambda x: {"a": np.full((1, 3), x), "b": np.full((1, 2, 2, 1), x)}  # noqa: E731
        buffer.add(observation(row), observation(row + 1), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
    pairs = ReplayPairs(ReplayReader(buffer)).draw(16, FixedHorizon(2))
    assert th.equal(pairs.observations["a"][:, 0] + 2, pairs.later_observations["a"][:, 0])
    assert pairs.later_observations["b"].dtype == th.uint8 and pairs.valid.all()
