"""House rules 2 and 3: what is stored, saved and reported is as without the callback."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch as th
from plain_process import LOAD, OFF_POLICY
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, EvalCallback
from toys import LEARNERS, STEPS, Call, Rude, Step, fingerprint, jump_envs, make, same_run

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward


def test_models_and_buffers_saved_meanwhile_load_and_learn_where_this_package_is_missing(tmp_path):
    """Saved at any moment at which a callback can: by SB3's own one, and at the end of a rollout after ours."""
    names = [name for name, (algorithm, *_) in LEARNERS.items() if algorithm.__name__ == name]
    for name in names:
        model = make(name)
        base = f"{name}_{model.n_envs}"
        every_step = CheckpointCallback(32 // model.n_envs, str(tmp_path), base, save_replay_buffer=name in OFF_POLICY)
        at_end = Call(rollout_end=lambda model, base=base: model.num_timesteps == 32 and model.save(tmp_path / f"{base}_end"))
        model.learn(32, callback=[IntrinsicReward("rnd"), every_step, at_end])
    result = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == sorted(2 * names)


@pytest.mark.parametrize("learner", OFF_POLICY)
def test_stored_rewards_are_the_environments_own(learner):
    plain = make(learner).learn(24)  # no gradient step yet: both act alike
    ours = make(learner).learn(24, callback=IntrinsicReward(Rude, coef=100.0))
    np.testing.assert_array_equal(ours.replay_buffer.rewards, plain.replay_buffer.rewards)
    ours.learn(STEPS, callback=IntrinsicReward(Rude, coef=100.0), reset_num_timesteps=False)
    assert ours.replay_buffer.rewards.max() <= 1.0


def test_monitor_and_episode_statistics_stay_extrinsic(tmp_path):
    env, seen = jump_envs(monitor=True, reward=lambda x: 1.0), []
    log = Call(rollout_end=lambda model: seen.extend(info["r"] / info["l"] for info in model.ep_info_buffer))
    make("PPO", env).learn(64, callback=[IntrinsicReward(Step, coef=100.0), log])
    assert set(seen) == {1.0}
    assert set(np.concatenate([monitor.get_episode_rewards() for monitor in env.envs])) <= {3.0, 4.0, 5.0}


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_evaluation_of_a_policy_does_not_see_the_bonus(learner):
    def evaluation():
        return EvalCallback(
            jump_envs(monitor=True, reward=lambda x: 1.0), n_eval_episodes=3, eval_freq=16, verbose=0, warn=False
        )

    results = []
    for callback in (None, IntrinsicReward(Step, coef=100.0)):
        evaluate = evaluation()
        # a learning rate of 0 freezes the policy
        make(learner, learning_rate=0.0).learn(STEPS, callback=[evaluate] if callback is None else [callback, evaluate])
        results.append(evaluate.last_mean_reward)
    assert results[0] == results[1] == 4.0


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "DQN", "DQN-n-step"])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_an_exception_inside_train_leaves_plain_objects(learner, exception):
    model, callback = make(learner), IntrinsicReward("rnd")
    before, buffer = set(vars(model)), model.rollout_buffer if "PPO" in learner else model.replay_buffer
    buffer_class = type(buffer)

    def interrupt(*args, **kwargs):
        raise exception

    model.policy.optimizer.step = interrupt
    with pytest.raises(exception):
        model.learn(STEPS, callback=callback)
    assert type(buffer) is buffer_class and "_get_samples" not in vars(buffer) and "_relabeller" not in vars(buffer)
    assert "train" not in vars(model) and "zero_grad" not in vars(model.policy.optimizer)
    assert set(vars(model)) - before <= {"start_time", "_custom_logger", "_logger"}


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "DQN"])
def test_after_an_interrupt_plain_learning_goes_on_plainly(learner):
    """The interrupted callback is forgotten, and the next learn() without it is SB3's."""
    runs = []
    for callback in (None, IntrinsicReward("rnd", coef=0.0)):
        model = make(learner)
        interrupt = Call(rollout_end=lambda model: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            model.learn(STEPS, callback=[interrupt] if callback is None else [callback, interrupt])
        runs.append(fingerprint(model.learn(STEPS)))
    assert same_run(*runs)


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "DQN"])
def test_nothing_is_left_after_training_and_ending_again_is_harmless(learner):
    model, callback = make(learner), IntrinsicReward("rnd")
    model.learn(STEPS, callback=callback)
    for end in (callback.on_training_end, callback.detach, callback.detach, callback.on_training_end):
        end()
        assert "train" not in vars(model) and "zero_grad" not in vars(model.policy.optimizer)
        assert model.replay_buffer is None or type(model.replay_buffer) is ReplayBuffer if learner == "DQN" else True


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "DQN"])
@pytest.mark.parametrize("moment", ["rollout_start", "step", "rollout_end"])
def test_detaching_in_the_middle_of_training_is_harmless(learner, moment):
    callback = IntrinsicReward("rnd")
    model = make(learner).learn(STEPS, callback=[callback, Call(**{moment: lambda model: callback.detach()})])
    assert "train" not in vars(model) and callback.stream is None
    model.learn(STEPS, callback=callback)  # attached again
    assert callback.stream is not None


def test_works_in_a_callback_list_with_a_progress_bar_and_new_environments():
    model, callback = make("DQN"), IntrinsicReward("rnd")
    model.learn(STEPS, callback=CallbackList([callback]), progress_bar=True)
    module = callback.module
    model.set_env(jump_envs(2))
    model.learn(STEPS, callback=callback, reset_num_timesteps=False)
    assert callback.module is module and model.num_timesteps == 2 * STEPS


def test_a_buffer_saved_and_loaded_between_two_learn_calls_is_followed(tmp_path):
    model, callback = make("DQN"), IntrinsicReward(Step, normalize="none")
    model.learn(STEPS, callback=callback)
    model.save_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    model.learn(STEPS, callback=callback, reset_num_timesteps=False)
    assert callback.stream.reader.buffer is model.replay_buffer
    assert set(th.cat(callback.module.paid).tolist()) == {1.0}


def test_logged_keys(tmp_path):
    from stable_baselines3.common.logger import configure

    model = make("PPO", jump_envs(2, monitor=True))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64, callback=IntrinsicReward("rnd"))
    columns = pd.read_csv(tmp_path / "progress.csv").columns
    expected = {"bonus_mean", "bonus_std", "coef", "ready", "unknown", "rnd_loss"}
    assert {f"intrinsic/{key}" for key in expected} | {"rollout/ep_int_rew_mean"} <= set(columns)
    assert max(map(len, columns)) <= 36


def test_the_sum_of_the_bonus_over_an_episode_is_logged():
    """Bonus 1 per step: the mean length of the finished episodes, over rollouts that cut them."""
    lengths, sums = [], []

    def compare(model):
        lengths.append(np.mean([info["l"] for info in model.ep_info_buffer]))
        sums.append(model.logger.name_to_value["rollout/ep_int_rew_mean"])

    callback = IntrinsicReward(Step, normalize="none")
    make("PPO", jump_envs(2, monitor=True), n_steps=8).learn(96, callback=[callback, Call(rollout_end=compare)])
    np.testing.assert_allclose(sums, lengths)
