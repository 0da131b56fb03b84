"""What a bonus costs in memory: the peak of a process with it, less that of one without, against the size of the buffer.

One process each, on Atari, where observations are large and everything that is kept twice shows.

    python -m benchmarks.memory
"""

import argparse
import csv
import resource
import subprocess
import sys
import warnings
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from stable_baselines3 import DQN, PPO

from benchmarks.cases import CASES, PLAIN, Case, Training, one_thread, variants_of
from benchmarks.overhead import FOLDER, insert

# large buffers, little training; in DQN nearly all is collected before the first update
SETTINGS = {
    "atari-ppo": (PPO, {"n_steps": 512, "batch_size": 256, "n_epochs": 1}, 2),
    "atari-dqn": (DQN, {"buffer_size": 4_000, "learning_starts": 3_600}, 240),
}
VARIANTS = (PLAIN, "rnd", "icm", "emi", "rnd, two heads")


class Result(NamedTuple):
    """The peak of one process."""

    case: str
    variant: str
    peak_mb: float
    buffer_mb: float  # observations of the rollout or replay buffer

    def added(self, plain_mb: float) -> float:
        """Peak beyond plain's, in sizes of the buffer: at 1 the bonus would have doubled it."""
        return (self.peak_mb - plain_mb) / self.buffer_mb


def measure(name: str, variant: str) -> Result:
    """Train a little in this process and read its peak."""
    one_thread()
    algorithm, settings, rollouts = SETTINGS[name]
    case: Case = CASES[name]._replace(algorithm=algorithm, settings=settings)
    training = Training(case, variants_of(case)[variant])
    training.block(rollouts)
    model = training.model
    if isinstance(model, PPO):
        frames, copies = model.n_steps * model.n_envs, 1
    else:
        frames, copies = settings["buffer_size"], 2  # s and s'
    size = frames * copies * model.observation_space.shape[0] * 84 * 84 / 1e6  # type: ignore[index]
    return Result(name, variant, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, size)


def measure_apart(name: str, variant: str) -> Result:
    """The same in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--only", name, variant]
    fields = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1].split("\t")
    return Result(fields[0], fields[1], float(fields[2]), float(fields[3]))


def rows_of(results: list[Result]) -> list[list[str]]:
    """Cells of the table."""
    plain = {result.case: result.peak_mb for result in results if result.variant == PLAIN}
    return [
        [
            CASES[result.case].label,
            result.variant,
            f"{result.buffer_mb:.0f} MB",
            f"{result.peak_mb:.0f} MB",
            "" if result.variant == PLAIN else f"{result.added(plain[result.case]):+.2f}",
        ]
        for result in results
    ]


HEADER = ["case", "variant", "buffer", "peak of the process", "added, in buffers (bar: below 1)"]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs=2, metavar=("CASE", "VARIANT"), help="measure in this process and print the numbers")
    parser.add_argument("--publish", action="store_true", help="write results/memory.csv and the table of README.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only:
        print(*measure(*arguments.only), sep="\t")
        return
    results = [
        measure_apart(name, variant) for name in SETTINGS for variant in VARIANTS if variant in variants_of(CASES[name])
    ]
    rows = rows_of(results)
    table = Table(*HEADER)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if arguments.publish:
        with (FOLDER / "results" / "memory.csv").open("w", newline="") as file:
            csv.writer(file).writerows([Result._fields, *results])
        lines = [HEADER, ["---"] * len(HEADER), *rows]
        insert(FOLDER / "README.md", "memory", "\n".join("| " + " | ".join(line) + " |" for line in lines))


if __name__ == "__main__":
    main()
