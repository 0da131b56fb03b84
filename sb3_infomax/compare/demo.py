"""The demo's settings, in one place."""

from typing import Any

# CliffWalking-v1 with a time limit: -1 a step, -100 a fall, the goal pays nothing. Plain PPO learns to stay where it is.
DEMO: dict[str, Any] = {
    "env": "CliffWalking-v1",
    "env_kwargs": {"max_episode_steps": 200},
    "methods": ["ppo", "ppo+rnd:coef=300", "ppo+emi:coef=5"],
    "algo_kwargs": {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3},
    "n_envs": 8,
    "timesteps": 60_000,
    "seeds": 3,
    "eval_points": 15,
    "success_return": -100.0,
}
