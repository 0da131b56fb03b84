from sb3_infomax import DRIML
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
model = DRIML(
    "MlpPolicy",
    env,
    v_min=0,
    v_max=100,
    train_freq=4,
    batch_size=64,
    learning_rate=0.001308,
    gamma=0.995,
    target_update_interval=16,
    exploration_fraction=0.4564,
    coef=0.9529,
    horizon="ada",
    actions="concat",
    seed=0,
    verbose=1,
)
model.learn(3_000)
model.save("tuned")
