"""The table at the end of a comparison: on the terminal, as CSV and as Markdown."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.storage import csv_text, write_atomic
from sb3_infomax.report.statistics import FINAL_SHARE, Score, Summary

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("method", "seeds", "final evaluation return", "final training return", "success", "CPU time", "wall time")


def number(value: float) -> str:
    """Four significant digits, a dash where there is none."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def score_text(score: Score) -> str:
    """``mean [low, high]``."""
    if math.isnan(score.mean):
        return "-"
    return f"{number(score.mean)} [{number(score.low)}, {number(score.high)}]"


def percent_text(score: Score) -> str:
    """A share with its interval in percent."""
    if math.isnan(score.mean):
        return "-"
    return f"{100 * score.mean:.0f} % [{100 * score.low:.0f}, {100 * score.high:.0f}]"


def seconds_text(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if math.isnan(seconds):
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def cells(row: Summary) -> list[str]:
    """A row as text."""
    seeds = str(row.n_seeds) if row.n_finished == row.n_seeds else f"{row.n_finished} of {row.n_seeds}"
    scores = [score_text(row.evaluation), score_text(row.training), percent_text(row.success)]
    return [row.method, seeds, *scores, seconds_text(row.cpu_seconds), seconds_text(row.wall_seconds)]


def caption(best: set[bool]) -> str:
    """What the numbers are.

    :param best: whether evaluations took the best action; both where algorithms of both kinds are compared
    """
    how = "sampled actions on-policy and best ones off-policy"
    if len(best) == 1:
        how = "the policy's best actions" if True in best else "sampled actions, as training episodes do"
    return (
        f"Mean over seeds of the last {FINAL_SHARE:.0%} of the steps, in brackets the 95 % bootstrap interval over seeds. "
        f"Returns are the environment's own, never with a bonus. Evaluations take {how}. "
        "Success is that of the evaluations. Times are per run, without evaluations."
    )


def rich_table(rows: list[Summary], title: str, best: set[bool]) -> "Table":
    """For a terminal."""
    from rich.table import Table

    table = Table(title=title, caption=caption(best), title_justify="left", caption_justify="left")
    for name in HEADER:
        table.add_column(name, justify="left" if name == "method" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in cells(row)))
    return table


def markdown(rows: list[Summary], title: str, best: set[bool]) -> str:
    """For a document."""
    lines = [f"# {title}", "", "| " + " | ".join(HEADER) + " |", "|---" + "|---:" * (len(HEADER) - 1) + "|"]
    lines += ["| " + " | ".join(text.replace("|", r"\|") for text in cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", caption(best), ""])


def csv_rows(rows: list[Summary]) -> str:
    """For a program: full precision, intervals in columns of their own."""
    records = []
    for row in rows:
        record = {"method": row.method, "seeds_finished": row.n_finished, "seeds": row.n_seeds}
        for name in ("evaluation", "training", "success"):
            score = getattr(row, name)
            record |= {name: score.mean, f"{name}_low": score.low, f"{name}_high": score.high}
        records.append(record | {"cpu_seconds": row.cpu_seconds, "wall_seconds": row.wall_seconds})
    return csv_text(records[0], records)


def write_tables(rows: list[Summary], out: Path, title: str, best: set[bool]) -> list[Path]:
    """``table.md`` and ``table.csv`` in the folder of a comparison."""
    paths = [out / "table.md", out / "table.csv"]
    write_atomic(paths[0], markdown(rows, title, best))
    write_atomic(paths[1], csv_rows(rows))
    return paths
