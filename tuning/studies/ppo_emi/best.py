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
    learning_rate=0.003645,
    batch_size=128,
    clip_range=0.3,
    ent_coef=0.05,
    max_grad_norm=1.0,
    gamma=0.98,
    gae_lambda=0.95,
    seed=0,
    verbose=1,
)
reward = IntrinsicReward(
    module="emi",
    module_kwargs={
        "bonus": "diversity",
        "learning_rate": 1.78e-05,
        "n_epochs": 4,
        "embedding_dim": 2,
        "lambda_error": 0.03019,
        "lambda_info": 0.0469,
        "lambda_kl": 0.7074,
    },
    coef=0.000101,
    center=False,
    seed=0,
)
model.learn(3_000, callback=reward)
model.save("tuned")
