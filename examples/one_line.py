"""An intrinsic reward in one line: PPO on a frozen lake that it does not cross alone.

python examples/one_line.py [--timesteps 60000]
"""

import argparse

from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import IntrinsicReward

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=60_000)
arguments = parser.parse_args()

LAKE = generate_random_map(size=16, p=0.9, seed=0)
ENV = {"env_id": "FrozenLake-v1", "env_kwargs": {"desc": LAKE, "is_slippery": False, "max_episode_steps": 256}}
settings = {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3, "seed": 0}

for callback in (None, IntrinsicReward("emi")):
    model = PPO("MlpPolicy", make_vec_env(**ENV, n_envs=8, seed=0), **settings)
    model.learn(arguments.timesteps, callback=callback)
    mean, _ = evaluate_policy(model, make_vec_env(**ENV, n_envs=1, seed=1), n_eval_episodes=20, deterministic=False)
    print(f"{'PPO' if callback is None else 'PPO + EMI'} reaches the goal in {mean:.0%} of the episodes")
