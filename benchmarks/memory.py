"""What a bonus costs in memory: the peak of a process with it, less that of one without, for two sizes of the buffer.

One process each, on Atari, where observations are large and all that is kept twice shows. What a bonus adds is its networks'
working memory, which does not depend on the buffer, and what it keeps of the buffer: the difference between the sizes.

    python -m benchmarks.memory
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import warnings
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from benchmarks.cases import CASES, PLAIN, Case, Training, one_thread, variants_of
from benchmarks.overhead import FOLDER, insert

# for both sizes: algorithm, settings, rollouts; in DQN nearly all is collected before the first update
SETTINGS: dict[str, list[tuple[type[BaseAlgorithm], dict[str, Any], int]]] = {
    "atari-ppo": [
        (PPO, {"n_steps": 64, "batch_size": 256, "n_epochs": 1}, 2),
        (PPO, {"n_steps": 256, "batch_size": 256, "n_epochs": 1}, 2),
    ],
    "atari-dqn": [
        (DQN, {"buffer_size": 1_000, "learning_starts": 800}, 62),
        (DQN, {"buffer_size": 4_000, "learning_starts": 3_800}, 250),
    ],
}
VARIANTS = (PLAIN, "rnd", "icm", "emi", "rnd, two heads")


class Result(NamedTuple):
    """The peak of one process."""

    case: str
    variant: str
    size: int  # 0 the small buffer, 1 the large one
    buffer_mb: float  # observations of the rollout or replay buffer
    peak_mb: float


def measure(name: str, variant: str, size: int) -> Result:
    """Train a little in this process and read its peak."""
    one_thread()
    algorithm, settings, rollouts = SETTINGS[name][size]
    case: Case = CASES[name]._replace(algorithm=algorithm, settings=settings)
    training = Training(case, variants_of(case)[variant])
    training.block(rollouts)
    # a replay buffer holds s and s'
    n_frames = settings["n_steps"] * training.model.n_envs if algorithm is PPO else 2 * settings["buffer_size"]
    buffer_mb = n_frames * np.prod(training.model.observation_space.shape) / 1e6
    return Result(name, variant, size, float(buffer_mb), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def measure_apart(name: str, variant: str, size: int) -> Result:
    """The same in a process of its own, whose C library returns what is freed; it would keep blocks of changing sizes."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--only", name, variant, str(size)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    fields = done.stdout.strip().splitlines()[-1].split("\t")
    return Result(fields[0], fields[1], int(fields[2]), float(fields[3]), float(fields[4]))


def rows_of(results: list[Result]) -> list[list[str]]:
    """Cells of the table."""
    found = {(result.case, result.variant, result.size): result for result in results}
    rows = []
    for name, variant in dict.fromkeys((result.case, result.variant) for result in results if result.size == 1):
        small, large = found[name, variant, 0], found[name, variant, 1]
        row = [CASES[name].label, variant, f"{small.peak_mb:.0f} MB", f"{large.peak_mb:.0f} MB"]
        if variant != PLAIN:
            added = [found[name, variant, size].peak_mb - found[name, PLAIN, size].peak_mb for size in (0, 1)]
            kept = (added[1] - added[0]) / (large.buffer_mb - small.buffer_mb)
            row += [f"{added[0]:+.0f} MB", f"{kept:+.2f}"]
        else:
            row += ["", ""]
        rows.append(row)
    return rows


HEADER = ["case", "variant", "peak, small buffer", "peak, large buffer", "working memory", "kept of a buffer (bar: below 1)"]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only", nargs=3, metavar=("CASE", "VARIANT", "SIZE"), help="measure in this process and print the numbers"
    )
    parser.add_argument("--publish", action="store_true", help="write results/memory.csv and the table of README.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only:
        name, variant, size = arguments.only
        print(*measure(name, variant, int(size)), sep="\t")
        return
    results: list[Result] = []
    for name in SETTINGS:
        for variant in VARIANTS:
            if variant in variants_of(CASES[name]):
                results += [measure_apart(name, variant, size) for size in (0, 1)]
                if arguments.publish:
                    publish(results)
    table = Table(*HEADER)
    for row in rows_of(results):
        table.add_row(*row)
    Console().print(table)


def publish(results: list[Result]) -> None:
    """Into ``results/`` and the README."""
    with (FOLDER / "results" / "memory.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Result._fields, *results])
    lines = [HEADER, ["---"] * len(HEADER), *rows_of(results)]
    insert(FOLDER / "README.md", "memory", "\n".join("| " + " | ".join(line) + " |" for line in lines))


if __name__ == "__main__":
    main()
