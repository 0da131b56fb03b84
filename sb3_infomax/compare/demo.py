"""The demo's settings, in one place, by the names of the options of ``compare``."""

from typing import Any

# Gymnasium's frozen lake on the map that its own generator makes for size=16, p=0.9, seed=0. It pays 1 at the goal, 30 steps
# away at the least, and nothing anywhere else; every hole ends the episode.
LAKE = [
    "SFFFFHFFFHFFFFFF",
    "FFFFFFFFFFHHFFFF",
    "FFFFFFHFFFFFFFFF",
    "FFFFFFFFFFFFFFFF",
    "FFFHFFFHFHFFFHHF",
    "FFFFFFFHFFHHFFHH",
    "FHFFFFFHFFFHFFFF",
    "FFFFHFFFFFHFFFFF",
    "FFFFFFFFFFHFFFFF",
    "FHFFFFFFFFFFHFFF",
    "FFFHFFFFFFFHFFFF",
    "FHHFFFFFFFFHFFFF",
    "FFHFFFHFFFFFFFHF",
    "FFFFFFFFFFHFHFFF",
    "FFFFFFFFFFFFFFFH",
    "FHFFFFFHFFFFHFFG",
]

DEMO: dict[str, Any] = {
    "env": "FrozenLake-v1",
    "env_arg": {"desc": LAKE, "is_slippery": False, "max_episode_steps": 256},
    "methods": ["ppo", "ppo+rnd", "ppo+icm", "ppo+emi"],
    "algo_arg": {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3},
    "n_envs": 8,
    "timesteps": 100_000,
    "seeds": 3,
    "eval_points": 10,
}
