"""The wrapper form: the same bonus, paid step by step."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from toys import ForgetfulVecEnv, Height, Step, jump_envs, make

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.saving import SavedFileError, load_state, save_state
from sb3_infomax.rewards.mixture import RewardMixture
from sb3_infomax.vec_env.intrinsic_vec_env import IntrinsicVecEnv


def play(env, n_steps):
    env.reset()
    steps = [env.step(np.zeros(env.num_envs, dtype=np.int64)) for _ in range(n_steps)]
    return np.array([rewards for _, rewards, _, _ in steps]), [infos for *_, infos in steps]


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("kind", ["box", "image", "dict", "discrete"])
def test_bonus_is_of_the_true_successor_at_every_step(kind, n_envs):
    rewards, _ = play(IntrinsicVecEnv(jump_envs(n_envs, kind=kind), Step, coef=1.0, ext_coef=0.0, normalize="none"), 30)
    assert (rewards == 1.0).all()


def test_reward_is_the_weighted_sum_and_infos_tell_both_parts():
    env = IntrinsicVecEnv(jump_envs(2), Height, coef=3.0, ext_coef=0.5, normalize="none")
    rewards, infos = play(env, 10)
    for row, step_infos in zip(rewards, infos, strict=True):
        for reward, info in zip(row, step_infos, strict=True):
            assert reward == pytest.approx(0.5 * info["extrinsic_reward"] + 3.0 * info["intrinsic_reward"], rel=1e-5)


def test_integer_rewards_do_not_cut_the_bonus():
    env = IntrinsicVecEnv(jump_envs(1, reward=lambda x: 1), Height, coef=1.0, normalize="none")
    rewards, _ = play(env, 5)
    assert rewards.dtype == np.float32 and (rewards % 1 > 0).any()  # heights are hundredths, and a whole one may be among them


def test_unknown_successors_get_no_bonus():
    rewards, _ = play(IntrinsicVecEnv(jump_envs(1, ForgetfulVecEnv), Step, coef=1.0, ext_coef=0.0, normalize="none"), 12)
    assert (rewards == 0.0).sum() == 3 and (rewards == 1.0).sum() == 9  # episodes of 3, 4 and 5 steps


def test_modules_learn_from_whole_rollouts_every_so_often(monkeypatch):
    shapes = []
    learn = RewardMixture.learn
    monkeypatch.setattr(
        RewardMixture, "learn", lambda self, rollout: shapes.append((rollout.shape, len(rollout))) or learn(self, rollout)
    )
    env = IntrinsicVecEnv(jump_envs(2), "rnd", update_every=8)
    play(env, 20)
    assert shapes == [((8, 2), 16)] * 2
    env.training = False
    play(env, 20)
    assert len(shapes) == 2


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("module", ["emi", "rnd", "icm"])
def test_a_centred_bonus_is_not_centred_by_the_step_alone(module, n_envs):
    _, infos = play(IntrinsicVecEnv(jump_envs(n_envs), module, update_every=8, seed=0), 40)
    bonus = np.array([[info["intrinsic_reward"] for info in step] for step in infos])
    assert (bonus.sum(axis=1) != 0.0).mean() > 0.5 and bonus[8:].std() > 1e-3


def test_a_centred_bonus_is_centred_by_the_rollouts_before():
    rewards, _ = play(
        IntrinsicVecEnv(jump_envs(1), Step, coef=1.0, ext_coef=0.0, normalize="none", center=True, update_every=8), 20
    )
    assert (rewards[:8] == 1.0).all() and (rewards[8:] == 0.0).all()


def test_learner_is_moved_by_the_bonus_and_the_monitor_is_not():
    def run(coef):
        env = IntrinsicVecEnv(jump_envs(2, monitor=True), "rnd", coef=coef, update_every=8, seed=0)
        model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0).learn(128)
        return th.nn.utils.parameters_to_vector(model.policy.parameters()), [info["l"] for info in model.ep_info_buffer]

    (none, lengths), (some, same_lengths) = run(0.0), run(10.0)
    assert not th.equal(none, some) and lengths == same_lengths


def test_ars_learns_from_the_bonus_even_through_a_monitor():
    env = IntrinsicVecEnv(jump_envs(1, monitor=True, reward=lambda x: 0.0), Height, coef=1.0, normalize="none")
    assert not any(env.env_is_wrapped(Monitor))
    model = ARS("LinearPolicy", env, n_delta=2, n_top=2, seed=0)
    before = th.nn.utils.parameters_to_vector(model.policy.parameters()).clone()
    model.learn(100)
    assert not th.equal(before, th.nn.utils.parameters_to_vector(model.policy.parameters()))


def test_saved_wrapper_pays_the_same(tmp_path):
    env = IntrinsicVecEnv(jump_envs(2), "rnd", update_every=8, coef=2.0, seed=0)
    play(env, 30)
    loaded = IntrinsicVecEnv.load(env.save(tmp_path / "wrapper"), jump_envs(2))
    for wrapper in (env, loaded):
        wrapper.training = False
        wrapper.venv = jump_envs(2)
        wrapper.seed(5)
    np.testing.assert_array_equal(play(env, 12)[0], play(loaded, 12)[0])


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"module": "rdn"}, "did you mean rnd"),
        ({"coef": lambda progress: 1.0}, "does not know the progress"),
        ({"module": "rnd", "preset": "paper"}, "two value heads"),
        ({"update_every": 0}, "at least 1"),
        ({"normalize": "max"}, "normalize must be one of"),
    ],
)
def test_what_a_wrapper_cannot_do_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        IntrinsicVecEnv(jump_envs(1), **settings)


def test_file_of_other_spaces_is_refused(tmp_path):
    path = IntrinsicVecEnv(jump_envs(1), "rnd").save(tmp_path / "wrapper")
    with pytest.raises(SavedFileError, match="was saved for observations"):
        IntrinsicVecEnv.load(path, jump_envs(1, kind="image"))
    with pytest.raises(SavedFileError, match="was saved for actions"):
        IntrinsicVecEnv.load(path, jump_envs(1, action_space=spaces.Discrete(3)))


def test_file_of_a_wrapper_goes_on_in_a_callback_and_back(tmp_path):
    env = IntrinsicVecEnv(jump_envs(1), "rnd", update_every=8)
    play(env, 10)
    callback = IntrinsicReward.load(env.save(tmp_path / "wrapper"))
    make("PPO").learn(64, callback=callback)
    loaded = IntrinsicVecEnv.load(callback.save(tmp_path / "callback"), jump_envs(1))
    assert len(play(loaded, 10)[0]) == 10


def test_file_of_a_callback_with_its_own_discount_is_refused(tmp_path):
    path = IntrinsicVecEnv(jump_envs(1), "rnd").save(tmp_path / "wrapper")
    config, _, state = load_state(path)
    save_state(path, config | {"knobs": {"gamma": 0.9}}, 0, state)
    with pytest.raises(SavedFileError, match="load it as IntrinsicReward"):
        IntrinsicVecEnv.load(path, jump_envs(1))
