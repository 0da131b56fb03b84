"""What the callback logs, and that SB3's writers take it."""

import csv

import pytest
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import Step, make

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.registry import REWARDS


def learn(learner, reward, n_steps, folder=None, **settings):
    model = make(learner)
    model.set_logger(configure(None if folder is None else str(folder), [] if folder is None else ["csv", "tensorboard"]))
    model.learn(n_steps, callback=IntrinsicReward(reward, **settings))
    return model


def test_episode_sum_of_the_bonus_goes_on_over_rollouts(tmp_path):
    # a bonus of 1 per step: the sum is the length, 3, 4 and 5 in turn; a rollout of 16 steps cuts through episodes
    learn("PPO", Step, 480, tmp_path, coef=1.0, normalize="none", center=False)
    with open(tmp_path / "progress.csv") as file:
        last = [row for row in csv.DictReader(file) if row["rollout/ep_int_rew_mean"]][-1]
    assert float(last["rollout/ep_int_rew_mean"]) == pytest.approx(4.0, abs=0.05)
    assert float(last["intrinsic/bonus_mean"]) == 1.0 and float(last["intrinsic/bonus_std"]) == 0.0


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_every_reward_logs_under_its_name_into_csv_and_tensorboard(reward, learner, tmp_path):
    learn(learner, reward, 160, tmp_path, coef=1.0)
    with open(tmp_path / "progress.csv") as file:
        columns = set(next(csv.reader(file)))
    assert {
        "intrinsic/bonus_mean",
        "intrinsic/bonus_std",
        "intrinsic/coef",
        "intrinsic/ready",
        f"intrinsic/{reward}_loss",
    } <= columns
    assert all(len(column) <= 36 for column in columns)  # SB3's table cuts longer ones
    events = EventAccumulator(str(tmp_path)).Reload()
    assert "intrinsic/bonus_mean" in events.Tags()["scalars"]
