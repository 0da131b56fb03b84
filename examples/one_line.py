"""An intrinsic reward in one line: PPO on a cliff that it does not get past alone.

python examples/one_line.py [--timesteps 60000]
"""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import IntrinsicReward

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=60_000)
arguments = parser.parse_args()

ENV = {"env_id": "CliffWalking-v1", "env_kwargs": {"max_episode_steps": 200}}
settings = {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3, "seed": 0}

for callback in (None, IntrinsicReward("rnd", coef=300.0)):
    model = PPO("MlpPolicy", make_vec_env(**ENV, n_envs=8, seed=0), **settings)
    model.learn(arguments.timesteps, callback=callback)
    mean, _ = evaluate_policy(model, make_vec_env(**ENV, n_envs=1, seed=1), n_eval_episodes=20, deterministic=False)
    print(f"{'PPO' if callback is None else 'PPO + RND'}: mean return {mean:.0f} (the goal is 13 steps of -1 away)")
