"""The core without Stable-Baselines3: a reward module in a loop of one's own.

python examples/plain_loop.py [--timesteps 4096]
"""

import argparse
import sys

import gymnasium as gym
import numpy as np
import torch as th

from sb3_infomax.rewards.rnd import RND
from sb3_infomax.types import Transitions

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=4_096)
arguments = parser.parse_args()

env = gym.make("Acrobot-v1")
module = RND(env.observation_space, env.action_space)
observation, _ = env.reset(seed=0)
for _ in range(arguments.timesteps // 512):
    steps = []
    for _ in range(512):
        action = env.action_space.sample()
        following, _, terminated, truncated, _ = env.step(action)
        steps.append((observation, following, action, terminated))
        observation = env.reset()[0] if terminated or truncated else following
    transitions = Transitions.from_pairs(*(th.from_numpy(np.array(column)) for column in zip(*steps, strict=True)))
    module.observe(transitions)
    bonus = module.compute(transitions)  # one batched call, shape (512,)
    print(f"bonus {bonus.mean():.4f}", module.update(transitions))
assert "stable_baselines3" not in sys.modules
