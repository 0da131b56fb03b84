"""DRIML in one line: PacMan, C51 alone and with the auxiliary loss whose horizon the actions decide.

python examples/driml.py [--timesteps 15000]
"""

import argparse

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import DRIML
from sb3_infomax.envs import PACMAN

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=15_000)
arguments = parser.parse_args()


def pacman(n_envs: int, seed: int):
    """Rewards in hundreds, so that returns fit C51's support of -10 to 10; Monitor goes on showing the game's own."""
    scaled = {"wrapper_class": gym.wrappers.TransformReward, "wrapper_kwargs": {"func": lambda reward: reward / 100}}
    return make_vec_env(PACMAN, n_envs, seed=seed, **scaled)


settings = {"buffer_size": 30_000, "batch_size": 64, "train_freq": 2, "target_update_interval": 2000, "seed": 0}

for coef in (0.0, 1.0):
    # the one line; coef=0 is C51 on the same encoder
    model = DRIML("CnnPolicy", pacman(8, seed=0), horizon="ada", coef=coef, **settings).learn(arguments.timesteps)
    logged = model.logger.name_to_value
    mean, deviation = evaluate_policy(model, pacman(1, seed=1), n_eval_episodes=20)
    print(f"{'DRIML' if coef else 'C51'}: return {mean:.0f} +- {deviation:.0f} in 20 episodes", end="")
    print(f", {logged['auxiliary/infonce_mi']:.2f} nats, k {logged['auxiliary/infonce_k_mean']:.1f}" if coef else "")
