"""DQN with empowerment on a MiniGrid and on an Atari game (needs the extras minigrid and atari).

python examples/empowerment_dqn.py [--timesteps 20000]
"""

import argparse

from stable_baselines3 import DQN

from sb3_infomax import IntrinsicReward
from sb3_infomax.compare.environments import make_vec_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=20_000)
arguments = parser.parse_args()

# the view in zeros and ones; four frames of 84 x 84, sticky actions
TASKS = {"MiniGrid-Empty-5x5-v0": "MlpPolicy", "ALE/Freeway-v5": "CnnPolicy"}
for env_id, policy in TASKS.items():
    steps = arguments.timesteps if policy == "MlpPolicy" else arguments.timesteps // 4
    env = make_vec_env(env_id, n_envs=4, seed=0)
    model = DQN(policy, env, buffer_size=5_000, learning_starts=steps // 4, train_freq=4, seed=0)
    callback = IntrinsicReward("empowerment", coef=0.01, module_kwargs={"horizon": 1, "encoder": "random"}, seed=0)
    model.learn(steps, callback=callback)
    logged = {name: f"{value:.3f}" for name, value in model.logger.name_to_value.items() if name.startswith("intrinsic/")}
    print(env_id, f"{len(model.ep_info_buffer)} episodes", logged)
