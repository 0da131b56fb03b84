from stable_baselines3 import PPO

from sb3_infomax import IntrinsicReward
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
model = PPO(
    "MlpPolicy",
    env,
    n_steps=128,
    n_epochs=4,
    learning_rate=0.004387,
    batch_size=128,
    clip_range=0.2,
    ent_coef=0.05,
    max_grad_norm=0.3,
    gamma=0.995,
    gae_lambda=0.95,
    policy_kwargs={"net_arch": [64, 64]},
    seed=0,
    verbose=1,
)
reward = IntrinsicReward(
    module="empowerment_mine",
    module_kwargs={
        "warmup_steps": 4,
        "horizon": 1,
        "bound": "jsd",
        "learning_rate": 0.0002707,
        "n_epochs": 2,
    },
    coef=0.002771,
    center=False,
    seed=0,
)
model.learn(3_000, callback=reward)
model.save("tuned")
