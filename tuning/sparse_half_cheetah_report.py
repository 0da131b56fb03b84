"""
Figure 4b of EMI out of the tables that ``sparse_half_cheetah.py`` wrote: a picture, and a table beside what was published.

    python tuning/sparse_half_cheetah_report.py

All curves are cut at the last step that every seed has reached.
"""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sb3_infomax.report.figures import colours, draw
from sb3_infomax.report.scores import Curves
from sb3_infomax.report.statistics import bootstrap

METHODS = ("trpo", "trpo+emi")
# Ends of the curves in the paper's figure, read off the picture (about 2 % of the axis); 5 seeds, 5 million steps
PUBLISHED = {"trpo": "about 0", "trpo+emi": "about 215 (195 in the table of another version); rises from about 0.6M on"}
ROWS_OF_THE_END = 10  # 100 iterations, 1000 paths

README = """# SparseHalfCheetah, figure 4b of EMI

Made by `python tuning/sparse_half_cheetah_report.py` from the tables beside this file, which
`for seed in 0 1 2 3 4; do python tuning/sparse_half_cheetah.py trpo+emi --seed $seed --steps {steps}; done` and the same
with `trpo` and seeds 0 to 2 wrote. {cpu_hours:.1f} CPU hours in all.

![Learning curves](figure_4b.png)

Mean return of the training paths over the last {window} steps before step {steps:,}, with the 95 % bootstrap interval over
seeds, and the share of paths that were rewarded at all:

| method | seeds | return | each seed | rewarded paths | published, after 5,000,000 steps |
|---|---|---|---|---|---|
{rows}
"""


def read(folder: Path, method: str) -> dict[int, list[dict[str, float]]]:
    """
    The rows of each seed.

    :param folder: of the tables
    :param method: whose
    :return: seed -> rows, in order
    """
    tables = {}
    for path in folder.glob(f"{method}_*.csv"):
        with path.open(newline="") as file:
            rows = [
                {key: float(value) for key, value in row.items() if key != "method" and value} for row in csv.DictReader(file)
            ]
        if rows:
            tables[int(rows[0]["seed"])] = rows
    return dict(sorted(tables.items()))


def table_row(method: str, tables: dict[int, list[dict[str, float]]], n_rows: int) -> str:
    """
    One line of the table.

    :param n_rows: of each seed that count, the last 10 of which are averaged
    """
    ends = [rows[:n_rows][-ROWS_OF_THE_END:] for rows in tables.values()]
    returns = np.array([np.mean([row["return_mean"] for row in end]) for end in ends])
    rewarded = np.mean([row["rewarded_paths"] for end in ends for row in end])
    score = bootstrap(returns)
    each = ", ".join(f"{value:.1f}" for value in returns)
    interval = f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]"
    return f"| {method} | {len(returns)} | {interval} | {each} | {rewarded:.2f} | {PUBLISHED[method]} |"


def report(folder: Path) -> None:
    """
    Write ``figure_4b.png`` and ``README.md`` into the folder of the tables.

    :param folder: where the runs wrote
    """
    tables = {method: read(folder, method) for method in METHODS}
    tables = {method: found for method, found in tables.items() if found}
    if not tables:
        raise SystemExit(f"There are no tables in {folder}: run tuning/sparse_half_cheetah.py first.")
    n_rows = min(len(rows) for found in tables.values() for rows in found.values())
    curves = {}
    for method, found in tables.items():
        values = np.array([[row["return_mean"] for row in rows[:n_rows]] for rows in found.values()])
        curves[method] = Curves(np.array([row["step"] for row in next(iter(found.values()))[:n_rows]]), values)
    steps = int(next(iter(curves.values())).steps[-1])

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    high = max(float(curve.values.max()) for curve in curves.values())
    draw(
        axes,
        curves,
        colours(list(curves)),
        "SparseHalfCheetah: return of the training paths",
        -0.03 * high - 0.1,
        1.05 * high + 1,
    )
    figure.savefig(folder / "figure_4b.png", dpi=130)
    plt.close(figure)

    cpu_hours = sum(rows[-1]["cpu_seconds"] for found in tables.values() for rows in found.values()) / 3600
    lines = "\n".join(table_row(method, found, n_rows) for method, found in tables.items())
    window = f"{min(ROWS_OF_THE_END, n_rows) * 50_000:,}"
    (folder / "README.md").write_text(README.format(steps=steps, window=window, cpu_hours=cpu_hours, rows=lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Picture and table of the figure 4b runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "sparse_half_cheetah")
    report(parser.parse_args().results)


if __name__ == "__main__":
    main()
