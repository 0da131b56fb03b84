from stable_baselines3 import PPO

from sb3_infomax import IntrinsicReward
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env(
    "FrozenLake-v1",
    n_envs=8,
    seed=0,
    env_kwargs={"is_slippery": False, "max_episode_steps": 64},
)
model = PPO(
    "MlpPolicy",
    env,
    n_steps=64,
    n_epochs=4,
    learning_rate=0.001357,
    batch_size=128,
    clip_range=0.4,
    ent_coef=0.0001,
    max_grad_norm=2.0,
    gamma=0.999,
    gae_lambda=0.8,
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
    verbose=1,
)
reward = IntrinsicReward(
    module="icm",
    module_kwargs={"learning_rate": 8.869e-05, "n_epochs": 2, "beta": 0.5587, "hidden_dim": 64},
    coef=0.02922,
    normalize="batch_std",
    center=True,
    seed=0,
)
model.learn(3_000, callback=reward)
model.save("tuned")
