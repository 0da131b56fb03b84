"""PPO on the continual PacMan, whose deadly ghost changes, and a picture of what it sees.

python examples/pacman.py [--timesteps 20000] [--out runs/pacman.png]
"""

import argparse
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_infomax import IntrinsicReward
from sb3_infomax.envs import CONTINUAL_PACMAN, PACMAN, PACMAN_ISING

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=20_000)
parser.add_argument("--out", type=Path, default=Path("runs/pacman.png"))
arguments = parser.parse_args()

# each of 8 environments goes to the next task after 4 episodes; info["task"] is for us, the agent does not see it
env = make_vec_env(CONTINUAL_PACMAN, 8, seed=0, env_kwargs={"n_episodes": 4}, monitor_kwargs={"info_keywords": ("task",)})
# 21 x 19 pixels are too few for NatureCNN (scale=4 enlarges them), and not too many for a multilayer perceptron
model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=0)
model.learn(arguments.timesteps, callback=IntrinsicReward("rnd", coef=0.5))
for task in range(4):
    returns = [episode["r"] for episode in model.ep_info_buffer if episode["task"] == task]
    print(f"deadly ghost {task}: {len(returns)} of the last episodes, mean return {np.mean(returns or [np.nan]):.0f}")

views = {
    "red ghost deadly": gym.make(PACMAN, task=0),
    "blue ghost deadly, its own food": gym.make(PACMAN, task=3),
    "Ising noise in the walls": gym.make(PACMAN_ISING),
}
figure, axes = plt.subplots(len(views), 6, figsize=(12, 2.3 * len(views)), layout="constrained")
for row, (title, view) in zip(axes, views.items(), strict=True):
    observation, _ = view.reset(seed=1)
    for step, axis in enumerate(row):
        axis.imshow(observation)
        axis.set(xticks=[], yticks=[], xlabel=f"step {4 * step}")
        for _ in range(4):
            observation, *_ = view.step(model.predict(observation)[0])
    row[0].set_title(title, loc="left")
arguments.out.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(arguments.out, dpi=100)
print("picture:", arguments.out)
