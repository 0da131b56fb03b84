"""From the folder of a comparison to ``tuning/results/``: the tables, the picture, and two small CSVs with every seed.

    python -m tuning.publish runs/exploration/minigrid_empty_8x8 [NAME]

Prints the rows for ``tuning/results/README.md``. What is large (models, logs, every training episode) stays where it is.
"""

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np

from sb3_infomax.compare.storage import RunFolder, csv_text, read_rows, write_atomic

RESULTS = Path(__file__).parent / "results"
N_PIECES = 20


def evaluations(method: str, seed: int, folder: RunFolder) -> list[dict[str, float | int | str]]:
    """Every evaluation episode of a run."""
    rows = read_rows(folder.evaluations)
    whole = ("timesteps", "episode", "length")
    return [
        {"method": method, "seed": seed}
        | {
            name: int(row[name]) if name in whole else row[name]
            for name in ("timesteps", "episode", "return", "length", "success")
        }
        for row in rows
    ]


def training(method: str, seed: int, folder: RunFolder) -> list[dict[str, float | int | str]]:
    """Mean return of the training episodes in twenty pieces of the run; pieces in which no episode ended are left out."""
    rows = read_rows(folder.monitor)
    if not rows:
        return []
    steps, returns = np.array([row["timesteps"] for row in rows]), np.array([row["r"] for row in rows])
    edges = np.linspace(0, steps.max(), N_PIECES + 1)[1:]
    pieces = np.searchsorted(edges, steps, side="left")
    return [
        {
            "method": method,
            "seed": seed,
            "until_timestep": round(edges[piece]),
            "episodes": int((pieces == piece).sum()),
            "mean_return": round(float(returns[pieces == piece].mean()), 5),
        }
        for piece in np.unique(pieces)
    ]


def publish(comparison: Path, name: str) -> Path:
    """Copy tables and curves, and write the CSVs.

    :param comparison: what ``sb3-infomax compare --out`` wrote
    :param name: of the folder below ``tuning/results``
    """
    target = RESULTS / name
    target.mkdir(parents=True, exist_ok=True)
    for file in ("table.md", "table.csv", "curves.png"):
        shutil.copyfile(comparison / file, target / file)
    runs = sorted((path.parent.name, int(path.name.removeprefix("seed_")), path) for path in comparison.glob("runs/**/seed_*"))
    for make in (evaluations, training):
        rows = [row for method, seed, path in runs for row in make(method, seed, RunFolder(path))]
        write_atomic(target / f"{make.__name__}.csv", csv_text(rows[0], rows))
    return target


def readme_rows(target: Path) -> list[str]:
    """The published table as Markdown rows: method, seeds, last training episodes, last evaluations, success."""

    def text(row: dict[str, str], column: str, style: str) -> str:
        if not row[column]:
            return "-"  # nothing tells what a success is
        mean, low, high = (format(float(row[key]), style) for key in (column, f"{column}_low", f"{column}_high"))
        return f"{mean} [{low}, {high}]"

    with (target / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    large = max(abs(float(row["evaluation"])) for row in table) >= 10
    style = ".1f" if large else ".2f"
    return [
        f"| {row['method']} | {row['seeds_finished']} | {text(row, 'training', style)} | {text(row, 'evaluation', style)} | "
        f"{text(row, 'success', '.0%')} |"
        for row in table
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tuning.publish", description=__doc__.split("\n\n")[0])
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    parser.add_argument("name", nargs="?", help="of the results; default: the folder's")
    arguments = parser.parse_args()
    if not (arguments.comparison / "table.csv").exists():
        parser.error(f"{arguments.comparison} holds no table.csv: give the folder that `sb3-infomax compare --out` wrote.")
    target = publish(arguments.comparison, arguments.name or arguments.comparison.resolve().name)
    print("| method | seeds | last training episodes | last evaluations | success |\n|---|---:|---:|---:|---:|")
    print("\n".join(readme_rows(target)))


if __name__ == "__main__":
    main()
