"""A cart-pole kept upright by empowerment alone: PPO never sees the environment's reward.

python examples/empowerment_cartpole.py [--timesteps 60000]
"""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import IntrinsicReward

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=60_000)
arguments = parser.parse_args()

env, test_env = make_vec_env("CartPole-v1", n_envs=8, seed=0), make_vec_env("CartPole-v1", seed=1)
model = PPO("MlpPolicy", env, n_steps=256, batch_size=256, n_epochs=4, learning_rate=1e-3, seed=0)
before, _ = evaluate_policy(model, test_env, n_eval_episodes=20, deterministic=False)

# the next three pushes; paid only once the landscape has taken shape
settings = {"horizon": 3, "n_epochs": 16, "warmup_steps": 500}
model.learn(arguments.timesteps, callback=IntrinsicReward("empowerment", ext_coef=0.0, module_kwargs=settings, seed=0))
after, _ = evaluate_policy(model, test_env, n_eval_episodes=20, deterministic=False)
print(f"upright for {before:.0f} steps untrained, for {after:.0f} after training (at most 500)")
