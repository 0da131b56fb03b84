"""DRIML's figure 3b on two cores: how InfoNCE's loss falls while ghosts are more or less random.

    python -m tuning.driml_predictability run runs/driml_predictability.csv
    python -m tuning.driml_predictability report runs/driml_predictability.csv

One task, DRIML with the network of ``driml_pacman.py``; eps is the probability that a ghost which sees PacMan moves at random.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from sb3_infomax.compare.algorithms import make_model
from sb3_infomax.compare.environments import make_vec_env
from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.envs import PACMAN
from sb3_infomax.report.figures import COLOURS
from sb3_infomax.report.statistics import bootstrap, intervals
from tuning.driml_pacman import HEADS, REWARD_SCALE, SETTINGS, SUPPORT

EPS = (0.2, 0.5, 0.7, 0.9)
BATCH = 128
N_STEPS, N_ENVS = 5000, 8
EVERY = 20  # updates per point
FIELDS = ("eps", "seed", "update", "loss")
RESULTS = Path(__file__).parent / "results" / "driml_predictability"


class Losses(BaseCallback):
    """The auxiliary loss of every update, in nats."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if (loss := self.logger.name_to_value.get("auxiliary/infonce_loss")) is not None:
            self.losses.append(float(loss))


def run(eps: float, seed: int) -> list[dict[str, Any]]:
    """One training: the mean loss of every twenty updates."""
    settings = SETTINGS | {"batch_size": BATCH, "train_freq": 1, "buffer_size": N_STEPS}
    spec = RunSpec(PACMAN, f"driml:{SUPPORT},{HEADS}", N_STEPS, seed, algo_kwargs=settings)
    env = make_vec_env(PACMAN, N_ENVS, seed, {"eps": eps, "reward_scale": REWARD_SCALE})
    callback = Losses()
    make_model(spec, env, video_game=False).learn(N_STEPS, callback, log_interval=10**9)
    n_points = len(callback.losses) // EVERY
    points = np.reshape(callback.losses[: n_points * EVERY], (n_points, EVERY)).mean(axis=1)
    return [
        dict(zip(FIELDS, (eps, seed, (number + 1) * EVERY, round(float(loss), 4)), strict=True))
        for number, loss in enumerate(points)
    ]


def read(path: Path) -> dict[float, np.ndarray]:
    """Losses by eps, (n_seeds, n_points); seeds that all have."""
    found: dict[float, dict[str, list[float]]] = {eps: {} for eps in EPS}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found[float(row["eps"])].setdefault(row["seed"], []).append(float(row["loss"]))
    shared = set.intersection(*(set(seeds) for seeds in found.values()))
    return {eps: np.array([seeds[seed] for seed in sorted(shared)]) for eps, seeds in found.items()}


def report(path: Path) -> None:
    """Picture and table."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "losses.csv").write_bytes(path.read_bytes())
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    axes.axhline(np.log(BATCH), color="#8C8C8C", linestyle=":", label=f"log {BATCH}")
    print("| eps | updates to half of the plateau | loss at the end |\n|---:|---:|---:|")
    for (eps, losses), colour in zip(read(path).items(), COLOURS, strict=False):
        updates = EVERY * np.arange(1, losses.shape[1] + 1)
        mean, low, high = intervals(losses)
        axes.plot(updates, mean, color=colour, label=f"eps {eps}")
        axes.fill_between(updates, low, high, color=colour, alpha=0.2, linewidth=0)
        below = losses < np.log(BATCH) / 2
        half = bootstrap(np.where(below.any(axis=1), updates[below.argmax(axis=1)], np.nan))
        end = bootstrap(losses[:, -5:].mean(axis=1))
        print(
            f"| {eps} | {half.value:.0f} [{half.low:.0f}, {half.high:.0f}] | {end.value:.2f} [{end.low:.2f}, {end.high:.2f}] |"
        )
    axes.set(xlabel="updates", ylabel="InfoNCE loss (nats)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "losses.png", dpi=80)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tuning.driml_predictability", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("file", type=Path, help="a CSV, which is added to")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    arguments = parser.parse_args()
    if arguments.what == "report":
        return report(arguments.file)
    th.set_num_threads(1)
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    if not arguments.file.exists():
        arguments.file.write_text(",".join(FIELDS) + "\n")
    with arguments.file.open(newline="") as file:
        done = {(float(row["eps"]), int(row["seed"])) for row in csv.DictReader(file)}
    for seed in arguments.seeds:
        for eps in EPS:
            if (eps, seed) not in done:
                rows = run(eps, seed)
                with arguments.file.open("a", newline="") as file:
                    csv.DictWriter(file, FIELDS, lineterminator="\n").writerows(rows)
                print(eps, seed, [row["loss"] for row in rows[::5]], flush=True)


if __name__ == "__main__":
    main()
