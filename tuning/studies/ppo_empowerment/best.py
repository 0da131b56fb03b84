from stable_baselines3 import PPO

from sb3_infomax import IntrinsicReward
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
model = PPO(
    "MlpPolicy",
    env,
    n_steps=128,
    n_epochs=4,
    learning_rate=0.004125,
    batch_size=64,
    clip_range=0.2,
    ent_coef=0.0,
    max_grad_norm=2.0,
    gamma=0.9,
    gae_lambda=0.95,
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
    verbose=1,
)
reward = IntrinsicReward(
    module="empowerment",
    module_kwargs={
        "warmup_steps": 4,
        "horizon": 2,
        "learning_rate": 0.0002309,
        "n_epochs": 3,
        "n_components": 1,
        "n_alternations": 0,
    },
    coef=0.7794,
    center=True,
    seed=0,
)
model.learn(3_000, callback=reward)
model.save("tuned")
