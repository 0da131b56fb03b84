"""The numbers of a report as tables: on the terminal, as CSV and as Markdown."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.spec import duration_text
from sb3_infomax.compare.storage import csv_text, write_atomic
from sb3_infomax.report.analysis import Analysis, Summary
from sb3_infomax.report.claims import Comparison, number, probability_text
from sb3_infomax.report.scores import FINAL_SHARE
from sb3_infomax.report.statistics import Estimate, intervals

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("method", "seeds", "final evaluation return", "final training return", "success", "CPU time", "wall time")


def score_text(score: Estimate, digits: int = 4) -> str:
    """``value [low, high]``."""
    if math.isnan(score.value):
        return "-"
    return f"{number(score.value, digits)} [{number(score.low, digits)}, {number(score.high, digits)}]"


def percent_text(score: Estimate) -> str:
    """A share with its interval in percent."""
    if math.isnan(score.value):
        return "-"
    return f"{100 * score.value:.0f} % [{100 * score.low:.0f}, {100 * score.high:.0f}]"


def seconds_text(seconds: float) -> str:
    """Seconds, minutes or hours; a dash where nobody knows."""
    return "-" if math.isnan(seconds) else duration_text(seconds)


def header(rows: list[Summary]) -> tuple[str, ...]:
    """Names of the columns; the environment is one where there are several."""
    return HEADER if len({row.task for row in rows}) < 2 else ("environment", *HEADER)


def cells(row: Summary, with_task: bool = False) -> list[str]:
    """A row as text."""
    seeds = str(row.n_seeds) if row.n_finished == row.n_seeds else f"{row.n_finished} of {row.n_seeds}"
    scores = [score_text(row.evaluation), score_text(row.training), percent_text(row.success)]
    texts = [row.method, seeds, *scores, seconds_text(row.cpu_seconds), seconds_text(row.wall_seconds)]
    return [row.task, *texts] if with_task else texts


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
    names = header(rows)
    for name in names:
        table.add_column(name, justify="left" if name in ("method", "environment") else "right", overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in cells(row, len(names) > len(HEADER))))
    return table


def markdown_table(names: Iterable[str], rows: Iterable[Iterable[str]], n_left: int = 1) -> list[str]:
    """Lines of a Markdown table.

    :param names: of the columns
    :param rows: of texts
    :param n_left: columns of words, which begin at the left
    """
    names = list(names)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * n_left + "---:|" * (len(names) - n_left)]
    return [*lines, *("| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in rows)]


def markdown(rows: list[Summary], title: str, best: set[bool]) -> str:
    """The table of a comparison for a document."""
    names = header(rows)
    with_task = len(names) > len(HEADER)
    lines = markdown_table(names, [cells(row, with_task) for row in rows], 2 if with_task else 1)
    return "\n".join([f"# {title}", "", *lines, "", caption(best), ""])


def csv_rows(rows: list[Summary]) -> str:
    """For a program: full precision, intervals in columns of their own."""
    records = []
    for row in rows:
        record: dict[str, Any] = {"environment": row.task} if len({each.task for each in rows}) > 1 else {}
        record |= {"method": row.method, "seeds_finished": row.n_finished, "seeds": row.n_seeds}
        for name in ("evaluation", "training", "success"):
            record |= estimate_columns(name, getattr(row, name))
        records.append(record | {"cpu_seconds": row.cpu_seconds, "wall_seconds": row.wall_seconds})
    return csv_text(records[0], records)


def estimate_columns(name: str, estimate: Estimate) -> dict[str, float]:
    """An estimate as three columns."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def write_tables(rows: list[Summary], out: Path, title: str, best: set[bool]) -> list[Path]:
    """``table.md`` and ``table.csv`` in the folder of a comparison."""
    paths = [out / "table.md", out / "table.csv"]
    write_atomic(paths[0], markdown(rows, title, best))
    write_atomic(paths[1], csv_rows(rows))
    return paths


# --- every number of a report


def all_tables(analysis: Analysis) -> dict[str, list[dict[str, Any]]]:
    """Every number that a report shows, by the name of its CSV file.

    :param analysis: what to write down
    """
    tables = {
        "runs": run_records(analysis),
        "aggregates": [
            {"method": analysis.full[method], "statistic": name, **estimate_columns("value", estimate)}
            for method, found in analysis.aggregates.items()
            for name, estimate in found.items()
        ],
        "comparisons": [
            comparison_record(analysis, each)
            for each in (*analysis.overall, *(c for found in analysis.by_task.values() for c in found))
        ],
        "curves": curve_records(analysis),
        "profiles": band_records(analysis, "profiles", "threshold", "share"),
        "efficiency": band_records(analysis, "efficiency", "share_of_training", "iqm"),
    }
    return {name: records for name, records in tables.items() if records}


def run_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A record for each run, with its raw and its normalized score."""
    scores, records = analysis.scores, []
    for task in scores.tasks:
        low, high = analysis.scale.limits.get(task, (math.nan, math.nan))
        for method in scores.methods:
            for run, value in zip(scores.of(task, method), scores.final(task, method), strict=False):
                records.append(
                    {
                        "task": task,
                        "method": analysis.full[method],
                        "seed": run.seed,
                        "state": run.state,
                        "timesteps": run.timesteps,
                        "score": float(value),
                        "normalized": float((value - low) / (high - low)),
                        "cpu_seconds": run.cpu_seconds,
                        "wall_seconds": run.wall_seconds,
                        "source": str(run.source),
                    }
                )
    taken = {id(run) for run in scores.runs}
    for run in (run for run in scores.left_out if id(run) not in taken):
        records.append(
            {
                "task": run.task,
                "method": analysis.full[run.method],
                "seed": run.seed,
                "state": run.state,
                "timesteps": run.timesteps,
                "source": str(run.source),
            }
        )
    return records


def comparison_record(analysis: Analysis, each: Comparison) -> dict[str, Any]:
    """A comparison in full precision."""
    return {
        "task": each.where,
        "first": analysis.full[each.first],
        "second": analysis.full[each.second],
        "first_iqm": each.first_score,
        "second_iqm": each.second_score,
        **estimate_columns("probability_of_improvement", each.probability),
        "p": each.p,
        "p_holm": each.corrected,
        "least_p": each.least_p,
        "comparisons": each.n_comparisons,
        "seeds_first": each.n_first[0],
        "seeds_second": each.n_second[0],
        "shown": int(each.shown),
    }


def curve_records(analysis: Analysis) -> list[dict[str, Any]]:
    """Points of all learning curves, over steps and over time."""
    records = []
    for axis, found in (("steps", analysis.curves), ("seconds", analysis.times)):
        for task, curves in found.items():
            for method, curve in curves.items():
                for x, value, low, high in zip(curve.steps, *intervals(curve.values), strict=True):
                    record = {"task": task, "method": analysis.full[method], "axis": axis, "x": float(x)}
                    records.append(record | estimate_columns("mean", Estimate(float(value), float(low), float(high))))
    return records


def band_records(analysis: Analysis, name: str, x: str, y: str) -> list[dict[str, Any]]:
    """Points of profiles or of the efficiency curve."""
    return [
        {"method": analysis.full[method], x: float(at), **estimate_columns(y, Estimate(float(value), float(low), float(high)))}
        for method, line in getattr(analysis, name).items()
        for at, value, low, high in zip(line.x, line.value, line.low, line.high, strict=True)
    ]


# --- Markdown


def comparison_cells(each: Comparison) -> list[str]:
    """A comparison as texts."""
    verdict = "shown" if each.shown else "too few seeds" if each.hopeless else "not shown"
    values = f"{number(each.first_score, 3)} : {number(each.second_score, 3)}"
    return [each.first, each.second, values, probability_text(each), f"{each.corrected:.2g}", verdict]


def report_markdown(analysis: Analysis, title: str) -> str:
    """The report as a Markdown document, pictures linked.

    :param analysis: what to show
    :param title: heading
    """
    lines = [f"# {title}", "", "## What this says", ""]
    lines += [f"- {''.join(sentence)}" for sentence in analysis.said] or ["- Nothing yet: no run is finished."]
    if analysis.remarks:
        lines += ["", "Mind:", "", *(f"- {remark}" for remark in analysis.remarks)]
    if analysis.aggregates:
        names = list(next(iter(analysis.aggregates.values())))
        rows = [[method, *(score_text(found[name]) for name in names)] for method, found in analysis.aggregates.items()]
        lines += ["", "## Scores", "", *markdown_table(["method", *names], rows), "", analysis.scale.words]
    if analysis.overall:
        names = ["ahead", "behind", "IQM", "P", "p", "difference"]
        lines += ["", "## Comparisons", "", *markdown_table(names, [comparison_cells(c) for c in analysis.overall], 2)]
    columns = header(analysis.summaries)
    texts = [cells(row, len(columns) > len(HEADER)) for row in analysis.summaries]
    lines += ["", "## Methods", "", *markdown_table(columns, texts, len(columns) - len(HEADER) + 1), "", caption(set()), ""]
    return "\n".join(lines)
