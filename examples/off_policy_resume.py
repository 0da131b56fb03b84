"""Off-policy, saved in step with the model, and resumed.

python examples/off_policy_resume.py [--timesteps 4000]
"""

import argparse
import tempfile
from pathlib import Path

from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

from sb3_infomax import IntrinsicReward

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=4_000)
arguments = parser.parse_args()

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
with tempfile.TemporaryDirectory() as folder:
    # writes dqn_<n>_steps.zip and dqn_<n>_steps.intrinsic.pt: at the end, and every save_freq steps
    callback = IntrinsicReward("icm", coef=0.05, save_path=Path(folder) / "dqn", save_freq=arguments.timesteps // 2)
    model = DQN("MlpPolicy", env, learning_starts=200, seed=0)
    model.learn(arguments.timesteps, callback=callback)
    print("saved:", *sorted(path.name for path in Path(folder).iterdir()))

    # the module goes on where it was; the replay buffer only ever held the extrinsic rewards
    name = Path(folder) / f"dqn_{model.num_timesteps}_steps"
    resumed = DQN.load(name, env=env)
    resumed.learn(arguments.timesteps, callback=IntrinsicReward.load(name), reset_num_timesteps=False)
    print("resumed to step", resumed.num_timesteps)
