"""
Tables and picture of MIRL's deep results: what ``mirl.sh`` ran, on one page.

    python tuning/mirl_report.py [RUNS_FOLDER]

With a folder, its finished runs are first put into one small table per task, ``<task>.csv``, in the place of earlier ones
of the same method and seed; page and picture come from these.
"""

import argparse
import csv
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from sb3_infomax.report.figures import COLOURS, GREYS, draw, limits
from sb3_infomax.report.scores import Curves, evaluation_curve, final, training_curve
from sb3_infomax.report.sources import RunRecord, read_run
from sb3_infomax.report.statistics import Estimate, bootstrap

TASKS = {
    task + extra: title + (", 12 useless actions" if extra else "")
    for task, title in {
        "corridor": "corridor 3x20",
        "pocket": "pocket 8x8",
        "cartpole": "CartPole-v1",
        "empty": "MiniGrid-Empty-6x6",
        "four_rooms": "MiniGrid-FourRooms",
        "ms_pacman": "MsPacman",
    }.items()
    for extra in ("", "+12")
}
NAMES = {"dqn": "DQN", "mirl:learn_prior=False": "soft Q", "mirl": "MIRL"}
COLOUR = {"DQN": GREYS[0], "soft Q": COLOURS[1], "MIRL": COLOURS[0]}
KINDS = {"evaluation": evaluation_curve, "training": training_curve}

README = """# DQN, soft Q-learning and MIRL with networks

`bash tuning/mirl.sh runs/mirl` made the runs, `python tuning/mirl_report.py runs/mirl` this page. All methods have the same
DQN settings (in the script); what MIRL adds is at its defaults, soft Q-learning is MIRL with `learn_prior=False`. DQN's
loss is Huber's, the others' the square.

![Learning curves](curves.png)

Means over seeds with 95 % bootstrap intervals. Greedy evaluations: mean over all of them, which tells who learns sooner, and
over the last tenth of the steps. Training episodes: the last tenth, with exploration.

| task | method | seeds | evaluations, all | evaluations, last | training, last |
|---|---|---:|---:|---:|---:|
{rows}
"""


def collect(runs: Path, results: Path) -> None:
    """
    Finished runs into one table per task.

    :param runs: where ``mirl.sh`` wrote
    :param results: where the tables go
    """
    for task in TASKS:
        path = results / f"{task}.csv"
        runs_of: dict[tuple[str, int], list[list[str]]] = {}
        if path.exists():
            with path.open(newline="") as file:
                for row in list(csv.reader(file))[1:]:
                    runs_of.setdefault((row[0], int(row[1])), []).append(row)
        for config in (runs / task).glob("runs/**/seed_*/config.json"):
            run = read_run(config.parent)
            if run.state == "finished":
                runs_of[run.method, run.seed] = rows_of(run)
        if runs_of:
            with path.open("w", newline="") as file:
                header = ["method", "seed", "kind", "step", "return"]
                csv.writer(file).writerows([header, *(row for run in sorted(runs_of) for row in runs_of[run])])


def rows_of(run: RunRecord) -> list[list[str]]:
    """A run's evaluations and training returns: method, seed, kind, step, return."""
    rows = []
    for kind, curve in KINDS.items():
        found = curve([run])
        for step, value in zip(found.steps, found.values[0], strict=True):
            rows.append([run.method, str(run.seed), kind, f"{step:.0f}", f"{value:.5g}"])
    return rows


def read(path: Path) -> dict[str, dict[str, Curves]]:
    """
    The curves in a task's table.

    :return: of each kind and method
    """
    series: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            seeds = series.setdefault((row["kind"], NAMES[row["method"]]), {})
            seeds.setdefault(row["seed"], []).append((float(row["step"]), float(row["return"])))
    curves: dict[str, dict[str, Curves]] = {kind: {} for kind in KINDS}
    for (kind, name), seeds in sorted(series.items(), key=lambda item: list(COLOUR).index(item[0][1])):
        points = np.array(list(seeds.values()))  # (n_seeds, n_points, 2)
        curves[kind][name] = Curves(points[..., 0].mean(axis=0), points[..., 1])
    return curves


def text(score: Estimate) -> str:
    digits = 0 if abs(score.high) >= 100 else 1 if abs(score.high) >= 10 else 2
    return f"{score.value:.{digits}f} [{score.low:.{digits}f}, {score.high:.{digits}f}]"


def table_rows(title: str, curves: dict[str, dict[str, Curves]]) -> list[str]:
    """A line for each method."""
    rows = []
    for name, evaluation in curves["evaluation"].items():
        last = evaluation.steps[-1]
        scores = [evaluation.values.mean(axis=1), final(evaluation, last), final(curves["training"][name], last)]
        cells = [text(bootstrap(values)) for values in scores]
        rows.append(f"| {title} | {name} | {len(evaluation.values)} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables and picture of MIRL's deep results")
    parser.add_argument("runs", type=Path, nargs="?", help="where mirl.sh wrote")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "mirl")
    arguments = parser.parse_args()
    results = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    if arguments.runs is not None:
        collect(arguments.runs, results)
    found = {title: read(path) for task, title in TASKS.items() if (path := results / f"{task}.csv").exists()}
    if not found:
        raise SystemExit(f"There are no tables in {results}: run tuning/mirl.sh and name its folder.")
    figure, panels = plt.subplots(-(-len(found) // 2), 2, figsize=(12, 3.2 * -(-len(found) // 2)), layout="constrained")
    for axes, (title, curves) in zip(panels.flat, found.items(), strict=False):
        draw(axes, curves["evaluation"], COLOUR, f"{title}: evaluation return", *limits(list(curves["evaluation"].values())))
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    figure.savefig(results / "curves.png", dpi=70)
    plt.close(figure)
    rows = [row for title, curves in found.items() for row in table_rows(title, curves)]
    (results / "README.md").write_text(README.format(rows="\n".join(rows)))


if __name__ == "__main__":
    main()
