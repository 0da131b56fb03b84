"""Empowerment of every cell of two rooms, learned from random transitions and drawn beside the exact one.

python examples/empowerment_landscape.py [--timesteps 40000] [--horizon 2]

The same for any small world: sb3-infomax empowerment-map --env ID --learned empowerment
"""

import argparse

import gymnasium as gym
import matplotlib
import numpy as np
import torch as th
from stable_baselines3 import DQN

from sb3_infomax import IntrinsicReward
from sb3_infomax.envs import TWO_ROOMS
from sb3_infomax.envs.finite import read_world
from sb3_infomax.mi import empowerment

matplotlib.use("Agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=40_000)
parser.add_argument("--horizon", type=int, default=2)
parser.add_argument("--picture", default="empowerment_landscape.png")
arguments = parser.parse_args()

# before learning_starts, DQN acts at random: a replay buffer of random transitions
env = gym.make(TWO_ROOMS)
agent = DQN("MlpPolicy", env, learning_starts=10**9, buffer_size=arguments.timesteps, seed=0)
agent.learn(arguments.timesteps)
callback = IntrinsicReward("empowerment", module_kwargs={"horizon": arguments.horizon, "net_arch": (128,)}, seed=0)
print(callback.fit(agent.replay_buffer, n_updates=arguments.timesteps // 16))

world = read_world(env)
exact = empowerment(world.transition, arguments.horizon)
learned = callback.module.empowerment(th.from_numpy(world.observations)).numpy()
print(f"mean absolute error {abs(learned - exact).mean():.3f} nats, correlation {np.corrcoef(exact, learned)[0, 1]:.3f}")

figure, axes = plt.subplots(2, 1, figsize=(6, 6), layout="constrained")
for panel, name, values in zip(axes, ("exact", "learned"), (exact, learned), strict=True):
    image = panel.imshow(world.landscape(values), vmin=0, vmax=exact.max())
    panel.set_title(f"{name} {arguments.horizon}-step empowerment, nats")
figure.colorbar(image, ax=axes)
figure.savefig(arguments.picture)
