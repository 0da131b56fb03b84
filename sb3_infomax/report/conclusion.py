"""How a comparison ends: a picture and tables of what is finished, and what failed."""

from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.report.statistics import by_method, summarize
from sb3_infomax.report.tables import rich_table, write_tables

if TYPE_CHECKING:
    from rich.console import Console

    from sb3_infomax.compare.runner import Run


def conclude(runs: "list[Run]", out: Path, console: "Console") -> int:
    """Picture and tables of what is finished, and what failed."""
    from sb3_infomax.compare.worker import evaluates_best_action
    from sb3_infomax.report.figures import plot_curves

    spec = runs[0].spec
    title = f"{spec.env}, {spec.budget}"
    rows = [summarize(method, group) for method, group in by_method(runs).items()]
    picture = plot_curves(runs, out / "curves.png", title)
    best = {evaluates_best_action(run.spec) for run in runs}
    tables = write_tables(rows, out, title, best)
    console.print(rich_table(rows, title, best))
    for name, paths in (("Picture", [picture] if picture else []), ("Tables", tables)):
        if paths:
            text = f"{name}: {', '.join(map(str, paths))}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    failed = [run for run in runs if run.state == "failed"]
    for run in failed:
        text = f"FAILED {run.name}: {run.reason} (log: {run.folder.log})"
        console.print(text, markup=False, highlight=False, soft_wrap=True, style="red")
    return 1 if failed else 0
