from sb3_infomax import C51
from sb3_infomax.compare.environments import make_vec_env

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
model = C51(
    "MlpPolicy",
    env,
    v_min=0,
    v_max=100,
    learning_rate=0.0001007,
    batch_size=256,
    learning_starts=1000,
    gamma=0.98,
    train_freq=64,
    gradient_steps=-1,
    target_update_interval=11,
    exploration_fraction=0.2024,
    exploration_final_eps=0.0622,
    double_q=False,
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
    verbose=1,
)
model.learn(6_000)
model.save("tuned")
