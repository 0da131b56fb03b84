"""Two modules as one bonus, pre-trained on a replay buffer of random transitions.

python examples/mixture_and_pretraining.py [--timesteps 10000]
"""

import argparse

from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_infomax import IntrinsicReward

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=10_000)
arguments = parser.parse_args()

env = make_vec_env("Acrobot-v1", n_envs=8, seed=0)
random_agent = DQN("MlpPolicy", env, learning_starts=10**9, buffer_size=10_000, seed=0)
random_agent.learn(5_000)

callback = IntrinsicReward(["rnd", "icm"], weights=[1.0, 0.5], coef=0.1)
print("after pre-training:", callback.fit(random_agent.replay_buffer, n_updates=100))
PPO("MlpPolicy", env, n_steps=256, batch_size=256, seed=0).learn(arguments.timesteps, callback=callback)
print("novelty of the first module is", callback.module[0].paper)
