"""C51 learns a task: the settings are those of ``tuning/c51_cartpole.py``, where five seeds of them are."""

import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

from sb3_infomax import C51


@pytest.mark.slow
def test_it_solves_cartpole():
    model = C51(
        "MlpPolicy",
        make_vec_env("CartPole-v1", seed=0),
        learning_rate=LinearSchedule(2e-3, 0.0, 1.0),
        v_min=0.0,
        v_max=100.0,
        n_steps=3,
        double_q=True,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1000,
        target_update_interval=250,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.3,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=0,
        device="cpu",
    ).learn(20_000)
    mean, _ = evaluate_policy(model, make_vec_env("CartPole-v1", seed=1000), n_eval_episodes=100)
    assert mean >= 475
