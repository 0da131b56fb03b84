"""PPO that is paid empowerment and nothing else in an empty room of 7 x 7: where does it stay?

python tuning/empowerment_room.py --out FOLDER [--seeds 5] [--timesteps 50000] [--module empowerment] [--sign 1]

Writes room.csv: for each seed, the exact three-step empowerment (bits) of the states visited, in ten pieces of the run. A
random policy has 4.08 on average, the centre 4.64, the corners 3.32.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_infomax import IntrinsicReward
from sb3_infomax.envs import ROOM_7X7
from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.mi.empowerment import empowerment

HORIZON = 3
PIECES = 10


class Visited(BaseCallback):
    """Keeps which states were reached."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[list[int]] = []

    def _on_step(self) -> bool:
        self.states.append([info["state"] for info in self.locals["infos"]])
        return True


def run(seed: int, timesteps: int, module: str, sign: float) -> np.ndarray:
    """One seed; -> the states reached, shape (n_steps, n_envs)."""
    env = make_vec_env(ROOM_7X7, n_envs=8, seed=seed)
    model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=4, learning_rate=1e-3, seed=seed)
    settings = {"horizon": HORIZON, "n_epochs": 32, "warmup_steps": 1000}
    bonus = IntrinsicReward(module, coef=sign, ext_coef=0.0, module_kwargs=settings, seed=seed)
    visited = Visited()
    model.learn(timesteps, callback=[bonus, visited])
    return np.array(visited.states)


def main() -> None:
    """All seeds, a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--timesteps", type=int, default=50_000)
    parser.add_argument("--module", default="empowerment")
    parser.add_argument("--sign", type=float, default=1.0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    exact = empowerment(GridWorldEnv("room_7x7", stay=True).transition_matrix(), HORIZON, unit="bits")
    with open(arguments.out / "room.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", *(f"{100 * (piece + 1) // PIECES}%" for piece in range(PIECES)), "last 20%"])
        for seed in range(arguments.seeds):
            states = run(seed, arguments.timesteps, arguments.module, arguments.sign)
            pieces = [exact[piece].mean() for piece in np.array_split(states, PIECES)]
            row = [*pieces, np.mean(pieces[-2:])]
            writer.writerow([seed, *(f"{value:.4f}" for value in row)])
            file.flush()
            print(seed, *(f"{value:.3f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
