"""DRIML in one line: PacMan, C51 alone and with the auxiliary loss whose horizon the actions decide.

python examples/driml.py [--timesteps 60000]
"""

import argparse

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_infomax import DRIML
from sb3_infomax.envs import PACMAN

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=60_000)
arguments = parser.parse_args()


def pacman(n_envs: int, seed: int):
    """Rewards in hundreds, so that returns fit the support."""
    return make_vec_env(PACMAN, n_envs, seed=seed, env_kwargs={"reward_scale": 0.01})


# those of tuning/driml_pacman.py: short returns suit a short run
settings = {"learning_rate": 2e-3, "gamma": 0.9, "n_steps": 3, "v_min": -2, "v_max": 10, "batch_size": 32, "train_freq": 1}
settings |= {"buffer_size": 60_000, "target_update_interval": 200, "learning_starts": 1000, "seed": 0}
settings |= {"infonce_kwargs": {"dim": 128}}  # and a network for 21 x 19 pixels
network = {"convolutions": [[16, 3, 2, 1], [32, 3, 2, 1], [32, 3, 2, 1]], "features_dim": 128}
settings |= {"policy_kwargs": {"features_extractor_kwargs": network, "net_arch": [], "optimizer_kwargs": {"eps": 1e-5}}}

for coef in (0.0, 0.3):
    # the one line; coef=0 is C51 on the same encoder
    model = DRIML("CnnPolicy", pacman(8, seed=0), horizon="ada", coef=coef, **settings).learn(arguments.timesteps)
    logged = model.logger.name_to_value
    mean, deviation = evaluate_policy(model, pacman(10, seed=1), n_eval_episodes=20)
    print(f"{'DRIML' if coef else 'C51'}: return {100 * mean:.0f} +- {100 * deviation:.0f} in 20 episodes", end="")
    print(f", {logged['auxiliary/infonce_mi']:.2f} nats, k {logged['auxiliary/infonce_k_mean']:.1f}" if coef else "")
