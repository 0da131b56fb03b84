"""How a comparison ends: a picture, tables and a report of what is finished, and what failed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.spec import UserError, folder_name
from sb3_infomax.compare.storage import make_folder
from sb3_infomax.report.analysis import Analysis, analyse, summaries
from sb3_infomax.report.report import write_report
from sb3_infomax.report.scores import RunRecord, training_curve
from sb3_infomax.report.sources import gather, read_run
from sb3_infomax.report.tables import rich_table, write_tables

if TYPE_CHECKING:
    from rich.console import Console

    from sb3_infomax.compare.runner import Run


def conclude(runs: "list[Run]", out: Path, console: "Console") -> int:
    """Picture and tables of what is finished, a page about all of it, and what failed.

    :param runs: of one comparison; with several environments each has a folder of its own for picture and tables
    :param out: folder of the comparison
    :param console: where tables and the short answer are shown
    :return: exit code: 0, or 1 where a run failed
    """
    envs = list(dict.fromkeys(run.spec.env for run in runs))
    try:
        for env in envs:
            folder = out if len(envs) == 1 else make_folder(out / folder_name(env))
            conclude_environment([run for run in runs if run.spec.env == env], folder, console)
        analysis = analyse(gather(record(run) for run in runs))
        show_answer(analysis, console)
        say(console, f"Report: {write_report(analysis, out)}")
    except UserError as error:  # such as a return that is no number: the runs are stored all the same
        say(console, f"No report: {error}", style="red")
        return 1
    failed = [run for run in runs if run.state == "failed"]
    for run in failed:
        say(console, f"FAILED {run.name}: {run.reason} (log: {run.folder.log})", style="red")
    return 1 if failed else 0


def conclude_environment(runs: "list[Run]", out: Path, console: "Console") -> None:
    """``curves.png``, ``table.md`` and ``table.csv`` of the runs on one environment.

    :param runs: finished or not
    :param out: folder for the files
    :param console: where the table is shown
    """
    from sb3_infomax.compare.worker import evaluates_best_action
    from sb3_infomax.report.figures import plot_curves

    title = f"{runs[0].spec.env}, {runs[0].spec.budget}"
    scores = gather(record(run) for run in runs)
    training = {
        task: {m: training_curve(scores.of(task, m), last_step=scores.last_step(task)) for m in scores.methods}
        for task in scores.tasks
    }
    picture = plot_curves(scores.all_curves(), training, out / "curves.png", title)
    rows, best = summaries(scores), {evaluates_best_action(run.spec) for run in runs}
    tables = write_tables(rows, out, title, best)
    console.print(rich_table(rows, title, best))
    for name, paths in (("Picture", [picture] if picture else []), ("Tables", tables)):
        if paths:
            say(console, f"{name}: {', '.join(map(str, paths))}")


def record(run: "Run") -> RunRecord:
    """A run of a comparison as a report sees it: what the comparison knows of its end counts more than its files."""
    found = read_run(run.folder.path)
    if run.state == "finished":
        return found
    return replace(found, state="failed" if run.state == "failed" else "unfinished")


def show_answer(analysis: Analysis, console: "Console") -> None:
    """The short answer on a terminal."""
    for sentence in analysis.said:
        say(console, f"- {''.join(sentence)}")
    for remark in analysis.remarks:
        say(console, f"Note: {remark}")


def say(console: "Console", text: str, style: str = "") -> None:
    """A line as it is, however long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)
