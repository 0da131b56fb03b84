"""MIRL on a corridor with twelve actions that do nothing: what becomes of its prior, and how it fares beside DQN.

python examples/mirl_useless_actions.py [--timesteps 15000] [--picture prior.png]
"""

import argparse

from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import MIRL
from sb3_infomax.envs import CORRIDOR_3X20
from sb3_infomax.mirl.recorder import PriorRecorder

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=15_000)
parser.add_argument("--picture", help="where to write the prior over training")
arguments = parser.parse_args()

ENV = {"env_id": CORRIDOR_3X20, "env_kwargs": {"useless_actions": 12}}
settings = {"learning_rate": 1e-3, "learning_starts": 1000, "batch_size": 64, "train_freq": 1, "target_update_interval": 500}

recorder = PriorRecorder(every=200)
for algorithm, callback in ((DQN, None), (MIRL, recorder)):
    model = algorithm("MlpPolicy", make_vec_env(**ENV, n_envs=4, seed=0), exploration_fraction=0.3, seed=0, **settings)
    model.learn(arguments.timesteps, callback=callback)
    mean, _ = evaluate_policy(model, make_vec_env(**ENV, n_envs=1, seed=1), n_eval_episodes=20)
    print(f"{algorithm.__name__}: mean return {mean:.1f}")

prior = recorder.priors[-1]
print(f"prior on up, right, down, left: {prior[:4].round(3)}, on the twelve others together: {prior[4:].sum():.3f}")
if arguments.picture:
    recorder.plot(arguments.picture, ["up", "right", "down", "left", *(f"nothing {index}" for index in range(1, 13))])
