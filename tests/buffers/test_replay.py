"""Rewards of sampled batches: r + coef * bonus, whatever the buffer."""

import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from toys import jump_envs, make, newest

from sb3_infomax.buffers.replay import Relabeller, ReplayReader, relabelled, unscale_actions

X_SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
NOTHING = {"TimeLimit.truncated": False}


def filled(cls=ReplayBuffer, n_rows=25, n_envs=2, size=20, **kwargs):
    """Episodes of 3 (environment 0) and 4 steps (1), terminated and truncated in turn; x = 100 * episode + step."""
    buffer = cls(size * n_envs, X_SPACE, spaces.Discrete(2), device="cpu", n_envs=n_envs, **kwargs)
    x, steps, episodes = np.zeros(n_envs), np.zeros(n_envs, int), np.zeros(n_envs, int)
    for row in range(n_rows):
        steps += 1
        dones = steps == 3 + np.arange(n_envs) % 2
        truncations = dones & (episodes % 2 == 1)
        infos = [{"TimeLimit.truncated": bool(truncated)} for truncated in truncations]
        ended = np.stack([x + 1, x + 1], axis=1)
        episodes += dones
        after = np.where(dones, 100 * episodes, x + 1)
        next_obs = np.stack([after, after], axis=1) if kwargs.get("optimize_memory_usage") else ended
        buffer.add(np.stack([x, x], axis=1), next_obs, np.zeros((n_envs, 1)), np.full(n_envs, float(row)), dones, infos)
        x, steps = after.astype(float), np.where(dones, 0, steps)
    return buffer


def height(transitions):
    return newest(transitions.next_observations) / 100.0


def step(transitions):
    return th.where(transitions.valid, newest(transitions.next_observations) - newest(transitions.observations), 0.0)


def sample_both(buffer, bonus, coef, ext_coef=1.0, batch_size=64, reader=None, env=None):
    """The same draw, plain and relabelled."""
    np.random.seed(5)
    plain = buffer.sample(batch_size, env=env)
    np.random.seed(5)
    with relabelled(buffer, Relabeller(reader or ReplayReader(buffer, env), bonus, coef, ext_coef)):
        return plain, buffer.sample(batch_size, env=env)


@pytest.mark.parametrize("n_rows", [7, 20, 33], ids=["filling", "full", "wrapped"])
@pytest.mark.parametrize("coef, ext_coef", [(0.5, 1.0), (0.0, 3.0), (2.0, 0.5)])
def test_sampled_rewards_are_the_sum_and_nothing_else_changes(coef, ext_coef, n_rows):
    plain, mixed = sample_both(filled(n_rows=n_rows), height, coef, ext_coef)
    expected = ext_coef * plain.rewards + coef * newest(plain.next_observations).reshape(-1, 1) / 100
    assert th.allclose(mixed.rewards, expected) and mixed.rewards.shape == (64, 1)
    for name in ("observations", "actions", "next_observations", "dones"):
        assert th.equal(getattr(plain, name), getattr(mixed, name))


def span_bonus(buffer, row, env, gamma):
    """The sum that n-step samples carry, as a plain loop over what is stored."""
    total, newest_row = 0.0, (buffer.pos - 1) % buffer.buffer_size
    for i in range(buffer.n_steps):
        place = ((row + i) % buffer.buffer_size, env)
        total += gamma**i * buffer.next_observations[place][0] / 100
        if buffer.dones[place] or buffer.timeouts[place] or place[0] == newest_row:
            break
    return total


@pytest.mark.parametrize("n_rows", [7, 20, 33], ids=["filling", "full", "wrapped"])
@pytest.mark.parametrize("n_steps", [1, 3, 5])
def test_n_step_samples_carry_the_discounted_bonuses_of_the_steps_they_span(n_steps, n_rows):
    buffer = filled(NStepReplayBuffer, n_rows, n_steps=n_steps, gamma=0.9)
    plain, mixed = sample_both(buffer, height, 1.0, batch_size=200)
    # the reward of row t is t: with the observation it says which place was drawn
    places = [(row, env) for row in range(buffer.size()) for env in range(2)]
    by_start = {float(buffer.observations[place][0]) * 10 + place[1]: place for place in places}
    envs = np.random.RandomState(5)
    envs.randint(0, buffer.size(), size=200)
    for start, bonus, env in zip(
        newest(plain.observations), (mixed.rewards - plain.rewards), envs.randint(0, 2, 200), strict=True
    ):
        row, _ = by_start[float(start) * 10 + env]
        assert float(bonus) == pytest.approx(span_bonus(buffer, row, env, 0.9), abs=1e-4)
    assert th.equal(plain.discounts, mixed.discounts)


@pytest.mark.parametrize("n_rows", [7, 19, 33], ids=["filling", "nearly full", "wrapped"])
def test_with_one_array_for_s_and_next_s_lost_next_observations_pay_nothing(n_rows):
    buffer = filled(n_rows=n_rows, optimize_memory_usage=True, handle_timeout_termination=False)
    plain, mixed = sample_both(buffer, step, 1.0, batch_size=300)
    bonus = mixed.rewards - plain.rewards
    assert th.allclose(bonus, 1.0 - plain.dones, atol=1e-4) and 0 < plain.dones.sum() < 300


def test_with_one_array_the_seam_of_a_second_learn_pays_nothing():
    buffer = filled(n_rows=7, n_envs=1, optimize_memory_usage=True, handle_timeout_termination=False)
    reader = ReplayReader(buffer)
    reader.mark_seam()
    buffer.add(np.full((1, 2), 500.0), np.full((1, 2), 501.0), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [NOTHING])
    plain, mixed = sample_both(buffer, step, 1.0, batch_size=200, reader=reader)
    bonus, seam = (mixed.rewards - plain.rewards).flatten(), newest(plain.next_observations) == 500
    assert seam.any() and not bonus[seam].any() and set(bonus.tolist()) == {0.0, 1.0}


def test_with_one_array_the_oldest_row_is_never_drawn_once_it_is_overwritten():
    buffer = filled(n_rows=33, optimize_memory_usage=True, handle_timeout_termination=False)
    batch = ReplayReader(buffer).draw(500)
    kept = np.delete(buffer.observations[..., 0], buffer.pos, axis=0)
    assert th.allclose(step(batch)[batch.valid], th.ones(())) and set(newest(batch.observations).tolist()) == set(
        kept.flatten()
    )


@pytest.mark.parametrize("n_rows, n_new", [(7, 7), (25, 4), (33, 40)])
@pytest.mark.parametrize("batch_size", [1, 6, 1000])
def test_newest_rows_come_in_time_order_at_most_once_and_in_pieces(n_rows, n_new, batch_size):
    buffer = filled(n_rows=n_rows)
    rows = (n_rows - min(n_new, 20) + np.arange(min(n_new, 20))) % 20
    pieces = list(ReplayReader(buffer).newest(n_new, batch_size))
    assert max(map(len, pieces)) <= max(batch_size, buffer.n_envs)
    observations = th.cat([newest(piece.observations) for piece in pieces])
    np.testing.assert_array_equal(observations.reshape(-1, 2), buffer.observations[rows][..., 0])
    n_terminations = sum(piece.terminations.sum() for piece in pieces)
    assert n_terminations == (buffer.dones[rows] * (1 - buffer.timeouts[rows])).sum()


def test_box_actions_are_those_of_the_environment():
    space = spaces.Box(np.float32([-2.0, 0.0]), np.float32([4.0, 0.5]))
    assert th.allclose(unscale_actions(th.tensor([[-1.0, 1.0], [0.0, 0.0]]), space), th.tensor([[-2.0, 0.5], [1.0, 0.25]]))


@pytest.mark.parametrize("n_steps", [1, 3])
def test_observations_are_normalised_as_the_learner_sees_them_and_the_bonus_is_not(n_steps):
    env = VecNormalize(jump_envs(2), clip_obs=1e6)
    model = make("DQN", env, n_steps=n_steps).learn(60)
    seen = []

    def bonus(transitions):
        seen.append(newest(transitions.observations))
        return th.full((len(transitions),), 7.0)

    plain, mixed = sample_both(model.replay_buffer, bonus, 1.0, env=model._vec_normalize_env)
    assert set(seen[0].tolist()) >= set(newest(plain.observations).tolist())
    assert (mixed.rewards - plain.rewards).min() == pytest.approx(7.0, abs=1e-4)


def test_hindsight_transitions_carry_their_own_reward_and_the_bonus():
    model = make("DQN-HER").learn(60)
    plain, mixed = sample_both(
        model.replay_buffer, lambda transitions: transitions.next_observations["achieved_goal"].sum(1), 0.1
    )
    assert th.allclose(mixed.rewards, plain.rewards + 0.1 * plain.next_observations["achieved_goal"].sum(1, keepdim=True))
    assert 0 < (plain.rewards == 0).float().mean() < 1  # goals in hindsight are reached


def test_relabelling_ends_with_the_block_also_by_an_exception():
    buffer = filled()
    before, rewards = set(vars(buffer)), buffer.rewards.copy()
    with pytest.raises(KeyboardInterrupt), relabelled(buffer, Relabeller(ReplayReader(buffer), height, 1.0, 1.0)):
        assert isinstance(buffer, ReplayBuffer) and type(buffer) is not ReplayBuffer
        raise KeyboardInterrupt
    assert type(buffer) is ReplayBuffer and set(vars(buffer)) == before
    np.testing.assert_array_equal(buffer.rewards, rewards)


@pytest.mark.parametrize("learner", ["DQN", "DQN-n-step"])
def test_relabelling_draws_what_plain_sampling_draws(learner):
    """Also where it has to know which environments SB3 draws."""
    model = make(learner).learn(60)
    reader = ReplayReader(model.replay_buffer)
    reader.mark_next_row(np.array([True, False]))
    plain, mixed = sample_both(model.replay_buffer, height, 0.0, reader=reader)
    assert th.equal(plain.observations, mixed.observations) and th.equal(plain.rewards, mixed.rewards)


@pytest.mark.parametrize("learner", ["DQN", "DQN-n-step", "DQN-HER"])
def test_a_buffer_pickled_while_it_relabels_is_a_plain_one(learner):
    buffer = make(learner).learn(60).replay_buffer
    with relabelled(buffer, Relabeller(ReplayReader(buffer), height, 1.0, 1.0)):
        pickled = pickle.dumps(buffer)
    assert b"sb3_infomax" not in pickled
    loaded = pickle.loads(pickled)
    assert type(loaded) is type(buffer) and set(vars(loaded)) == set(vars(buffer))
    np.testing.assert_array_equal(loaded.rewards, buffer.rewards)
