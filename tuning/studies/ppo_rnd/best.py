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
    learning_rate=0.009739,
    batch_size=64,
    clip_range=0.2,
    ent_coef=0.001,
    max_grad_norm=2.0,
    gamma=0.9,
    gae_lambda=0.98,
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
    verbose=1,
)
reward = IntrinsicReward(
    module="rnd",
    module_kwargs={"learning_rate": 0.001179, "n_epochs": 3, "feature_dim": 16},
    coef=0.08035,
    normalize="batch_std",
    center=True,
    seed=0,
)
model.learn(3_000, callback=reward)
model.save("tuned")
