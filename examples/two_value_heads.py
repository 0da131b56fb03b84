"""RND's arrangement: the bonus has its own value head, discount, and does not end with the episode.

python examples/two_value_heads.py [--timesteps 20000]
"""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_infomax import IntrinsicReward, TwoHeadActorCriticPolicy

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=20_000)
arguments = parser.parse_args()

env = make_vec_env("MountainCar-v0", n_envs=8, seed=0)
model = PPO(TwoHeadActorCriticPolicy, env, gamma=0.999, n_steps=256, batch_size=256, seed=0)
callback = IntrinsicReward("rnd", coef=1.0, ext_coef=2.0, gamma=0.99, episodic=False)
model.learn(arguments.timesteps, callback=callback)
print("best episode so far:", max(info["r"] for info in model.ep_info_buffer))
