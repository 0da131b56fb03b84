"""DQN with empowerment on a MiniGrid and on an Atari game (needs the extras minigrid and atari).

Before DQN starts, the module learns from the random moves that fill the replay buffer. On pictures it looks at features that
an inverse model has learned: in random ones what an action does is lost in the forward model's error, and the estimate is 0.

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
TASKS = {"MiniGrid-Empty-5x5-v0": ("MlpPolicy", "random"), "ALE/Freeway-v5": ("CnnPolicy", "learned")}
for env_id, (policy, encoder) in TASKS.items():
    steps = arguments.timesteps if policy == "MlpPolicy" else arguments.timesteps // 2
    env = make_vec_env(env_id, n_envs=4, seed=0)
    model = DQN(policy, env, buffer_size=5_000, learning_starts=steps // 4, train_freq=4, seed=0)
    model.learn(steps // 4)  # random moves

    settings = {"encoder": encoder, "batch_size": 64}
    callback = IntrinsicReward("empowerment", coef=0.01, module_kwargs=settings, seed=0)
    callback.fit(model.replay_buffer, n_updates=steps // 25)
    model.learn(steps - steps // 4, callback=callback, reset_num_timesteps=False)

    module, sampled = callback.module, model.replay_buffer.sample(256).observations
    share = module.empowerment(sampled).mean().item() / module.ceiling
    returns = [episode["r"] for episode in model.ep_info_buffer]
    print(f"{env_id}: empowerment is {share:.0%} of the most that {env.action_space.n} actions can have;", end=" ")
    print(f"{len(returns)} episodes" + (f", mean return {sum(returns) / len(returns):.2f}" if returns else ""))
