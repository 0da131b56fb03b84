from sb3_infomax import MIRL
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
model = MIRL(
    "MlpPolicy",
    env,
    train_freq=4,
    learning_rate=0.0001081,
    batch_size=128,
    learning_starts=100,
    gamma=0.95,
    gradient_steps=-1,
    target_update_interval=239,
    exploration_fraction=0.2518,
    exploration_final_eps=0.01463,
    prior_lr=0.004075,
    beta_lr=0.001187,
    beta_max=2000.0,
    loss="huber",
    double_q=False,
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
    verbose=1,
)
model.learn(4_000)
model.save("tuned")
