"""What a bonus costs: training time with it over the training time of plain Stable-Baselines3.

All variants of a case live in one process and take turns, one block each per round, so that whatever else the machine does
falls on all of them. A block is a PPO iteration, or as many DQN rollouts as last about as long. Of every round we
take the ratio of CPU seconds to plain's; the table has their median and quartiles.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --cases cartpole-ppo cartpole-dqn --variants rnd icm --rounds 50
"""

import argparse
import csv
import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cases import (
    ALGORITHM_CASES,
    CASES,
    EMPOWERMENT_CASES,
    PLAIN,
    Case,
    Training,
    Variant,
    one_thread,
    variants_of,
)

FOLDER = Path(__file__).parent
ALL_CASES = CASES | ALGORITHM_CASES | EMPOWERMENT_CASES
WARM_UP_ROUNDS = 1  # the first blocks allocate, and DQN does not learn from the first step on


class Result(NamedTuple):
    """One cell of the table: a variant of a case."""

    case: str
    variant: str
    ratio: float  # median over the rounds of CPU seconds / plain's CPU seconds
    low: float  # first quartile
    high: float  # third quartile
    bar: float  # nan: none was set
    steps_per_second: float  # median, of CPU time
    setup_seconds: float  # CPU seconds beyond plain's before the first step
    rounds: int


def interleave(
    case: Case, variants: Mapping[str, Variant], rounds: int
) -> tuple[dict[str, list[float]], dict[str, float], int]:
    """Blocks in turn, each round starting with another variant.

    :return: CPU seconds of the blocks by variant, those of the set-up, and the steps in a block
    """
    # imports belong to nobody's set-up
    Training(case, variants[PLAIN]).close()
    trainings = {name: Training(case, variant) for name, variant in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    names, steps = list(trainings), 0
    for index in track(range(WARM_UP_ROUNDS + rounds), case.label, console=Console(stderr=True)):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            spent, steps = trainings[name].block(case.rollouts)
            if index >= WARM_UP_ROUNDS:
                seconds[name].append(spent)
    for training in trainings.values():
        training.close()
    return seconds, {name: training.setup_seconds for name, training in trainings.items()}, steps


def summarise(name: str, seconds: dict[str, list[float]], setup: dict[str, float], steps: int) -> list[Result]:
    """Ratios of each round, their median and quartiles."""
    plain, results = np.array(seconds[PLAIN]), []
    for variant, spent in seconds.items():
        low, ratio, high = np.quantile(np.array(spent) / plain, (0.25, 0.5, 0.75))
        bar = ALL_CASES[name].bars.get(variant, float("nan"))
        extra = setup[variant] - setup[PLAIN]
        results.append(Result(name, variant, ratio, low, high, bar, steps / float(np.median(spent)), extra, len(spent)))
    return results


def cell(result: Result) -> str:
    """``1.04 (1.02 to 1.07), bar 1.06``."""
    if result.variant == PLAIN:
        return f"{result.steps_per_second:,.0f} steps/s"
    text = f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})"
    if np.isnan(result.bar):
        return text
    return f"{text}, bar {result.bar:.2f}{'' if round(result.ratio, 2) <= result.bar else ' missed'}"


def cells(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: variants down, cases across."""
    names = list(dict.fromkeys(result.case for result in results))
    by_place = {(result.variant, result.case): cell(result) for result in results}
    variants = dict.fromkeys(result.variant for result in results)
    rows = [[variant, *(by_place.get((variant, name), "") for name in names)] for variant in variants]
    return ["", *(ALL_CASES[name].label for name in names)], rows


def print_table(results: list[Result], console: Console) -> None:
    """On the terminal."""
    header, rows = cells(results)
    table = Table(*header, title="Training time over that of plain Stable-Baselines3: median (quartiles) of paired ratios")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def markdown(results: list[Result]) -> str:
    """As a Markdown table, with a line on what it was measured with."""
    header, rows = cells(results)
    lines = [header, ["---"] * len(header), *rows]
    packages = ", ".join(f"{name} {version(name)}" for name in ("stable-baselines3", "torch", "gymnasium", "numpy"))
    rounds = ", ".join(f"{result.case} {result.rounds}" for result in results if result.variant == PLAIN)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\nPython {platform.python_version()}, {packages}; one torch thread, CPU. Rounds: {rounds}."


def write_csv(path: Path, results: list[Result]) -> None:
    """One row for each cell of the table; cases that were not measured now stay as they are."""
    measured = {result.case for result in results}
    rows = [row for row in read_csv(path) if row.case not in measured] + results
    order = list(ALL_CASES)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        for row in sorted(rows, key=lambda row: order.index(row.case)):
            writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in row])


def read_csv(path: Path) -> list[Result]:
    """What :func:`write_csv` wrote; nothing where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Result(
                row["case"], row["variant"], *(float(row[name]) for name in Result._fields[2:-1]), rounds=int(row["rounds"])
            )
            for row in csv.DictReader(file)
        ]


def insert(page: Path, mark: str, text: str) -> None:
    """Put ``text`` between the comments ``<!-- mark -->`` and ``<!-- end of mark -->`` of a Markdown page."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--variants", nargs="+", help="such as rnd icm emi; default: all. Plain is always there")
    parser.add_argument("--rounds", type=int, help="blocks of each variant; default: 5 to 25, by case")
    parser.add_argument("--publish", action="store_true", help="write results/overhead.csv and the table of README.md")
    return parser.parse_args()


def select(variants: dict[str, Variant], wanted: list[str] | None) -> dict[str, Variant]:
    """Plain and the wanted ones."""
    if wanted is None:
        return variants
    if strangers := set(wanted) - set(variants):
        raise SystemExit(f"There is no variant {strangers.pop()!r}; there is {', '.join(variants)}.")
    return {name: variant for name, variant in variants.items() if name == PLAIN or name in wanted}


def main() -> None:
    """The command."""
    arguments = parse_arguments()
    one_thread()
    warnings.filterwarnings("ignore", "You are trying to run PPO on the GPU")
    results: list[Result] = []
    for name in arguments.cases:
        case = CASES[name]
        variants = select(variants_of(case), arguments.variants)
        results += summarise(name, *interleave(case, variants, arguments.rounds or case.rounds))
        if arguments.publish:
            publish("overhead", results)
    print_table(results, Console())


def publish(name: str, results: list[Result]) -> None:
    """Into ``results/`` and the README, as far as things are measured: an interrupted run is not lost."""
    path = FOLDER / "results" / f"{name}.csv"
    write_csv(path, results)
    insert(FOLDER / "README.md", name, markdown(read_csv(path)))


if __name__ == "__main__":
    main()
