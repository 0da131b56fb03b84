"""Writing a report: one page, and beside it every picture and every number in a file of its own."""

import shlex
import sys
from pathlib import Path

from sb3_infomax.compare.storage import csv_text, make_folder, write_atomic
from sb3_infomax.report.analysis import Analysis
from sb3_infomax.report.figures import all_figures, house_style, save_png, svg_text
from sb3_infomax.report.page import render
from sb3_infomax.report.tables import all_tables, report_markdown


def default_title(analysis: Analysis) -> str:
    """What the report is about."""
    scores = analysis.scores
    runs = [*scores.runs, *scores.left_out]
    tasks = list(dict.fromkeys(run.task for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    where = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"
    what = " and ".join(methods) if len(methods) < 3 else f"{len(methods)} methods"
    return f"{what} on {where}"


def write_report(analysis: Analysis, out: Path, title: str | None = None, command: str | None = None) -> Path:
    """``report.html``, and in ``report/`` each picture as PNG and SVG, each table as CSV, and ``report.md``.

    :param analysis: what to show
    :param out: folder; made where it is missing
    :param title: heading
    :param command: how the report was made; default: this process's command line
    :return: the path of the page
    """
    title = title or default_title(analysis)
    files = make_folder(make_folder(out) / "report")
    pictures: dict[str, str] = {}
    with house_style():
        for name, figure in all_figures(analysis).items():
            pictures[name] = svg_text(figure, name)
            figure.set_layout_engine("none")  # it is laid out; doing so again would cost as much as drawing
            write_atomic(files / f"{name}.svg", pictures[name], durable=False)
            save_png(figure, files / f"{name}.png")
    for name, records in all_tables(analysis).items():
        write_atomic(files / f"{name}.csv", csv_text(records[0], records), durable=False)
    write_atomic(files / "report.md", report_markdown(analysis, title), durable=False)
    path = out / "report.html"
    write_atomic(path, render(analysis, pictures, title, command or this_command()))
    return path


def this_command() -> str:
    """The command line of this process, as it can be typed again."""
    name = Path(sys.argv[0]).name
    return shlex.join(["sb3-infomax" if name in ("cli.py", "__main__.py") else name, *sys.argv[1:]])
