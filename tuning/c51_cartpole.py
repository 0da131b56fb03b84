"""C51 and DQN on CartPole at equal settings: evaluations over 20,000 steps, seed by seed.

    python -m tuning.c51_cartpole runs/c51_cartpole.csv --seeds 0 1 2 3 4

About half a minute a run on one core. What the file has already is not run again.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from sb3_infomax import C51

# The RL Zoo's for DQN, but for a learning rate that falls to zero, three-step returns, and the target network's interval.
SETTINGS: dict[str, Any] = {
    "learning_rate": LinearSchedule(2e-3, 0.0, 1.0),
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "target_update_interval": 250,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.3,
    "exploration_final_eps": 0.04,
    "n_steps": 3,
    "policy_kwargs": {"net_arch": [256, 256]},
}
# returns are at most 1 / (1 - 0.99) = 100
METHODS: dict[str, tuple[type[BaseAlgorithm], dict[str, Any]]] = {
    "c51": (C51, {"v_min": 0.0, "v_max": 100.0, "double_q": True}),
    "dqn": (DQN, {}),
}
N_STEPS = 20_000
FIELDS = ("method", "seed", "timesteps", "mean", "lowest", "cpu_seconds")


def run(method: str, seed: int) -> list[dict[str, Any]]:
    """One training with ten evaluations of 20 episodes, greedy, on environments of their own."""
    algorithm, own = METHODS[method]
    settings: Any = SETTINGS | own
    env, evaluation_env = make_vec_env("CartPole-v1", seed=seed), make_vec_env("CartPole-v1", seed=1000 + seed)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:  # without one the callback keeps nothing
        evaluation = EvalCallback(evaluation_env, eval_freq=N_STEPS // 10, n_eval_episodes=20, verbose=0, log_path=folder)
        algorithm("MlpPolicy", env, seed=seed, device="cpu", **settings).learn(N_STEPS, callback=[evaluation])
    cpu = round(time.process_time() - start, 1)
    return [
        dict(zip(FIELDS, (method, seed, steps, round(float(np.mean(returns)), 1), min(returns), cpu), strict=True))
        for steps, returns in zip(evaluation.evaluations_timesteps, evaluation.evaluations_results, strict=True)
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tuning.c51_cartpole", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, help="a CSV, which is added to")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    arguments = parser.parse_args()
    th.set_num_threads(1)
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    if not arguments.file.exists():
        arguments.file.write_text(",".join(FIELDS) + "\n")
    with arguments.file.open(newline="") as file:
        done = {(row["method"], int(row["seed"])) for row in csv.DictReader(file)}
    for seed in arguments.seeds:
        for method in arguments.methods:
            if (method, seed) not in done:
                rows = run(method, seed)
                with arguments.file.open("a", newline="") as file:
                    csv.DictWriter(file, FIELDS, lineterminator="\n").writerows(rows)
                print(method, seed, [row["mean"] for row in rows], flush=True)


if __name__ == "__main__":
    main()
