"""Progress of many runs: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sb3_infomax.compare.runner import Run

LINE_SECONDS = 15.0  # between two plain lines about runs under way


def steps_text(steps: float) -> str:
    """A number of steps as people say it: 60k, 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if steps >= size:
            return f"{steps / size:.3g}{unit}"
    return f"{steps:.0f}"


def returns_text(record: dict) -> str:
    """The newest returns of a run, as far as there are any."""
    parts = []
    if record.get("evaluation") is not None:
        parts.append(f"eval {record['evaluation']:.4g}")
    if record.get("training") is not None:
        parts.append(f"train {record['training']:.4g}")
    return ", ".join(parts)


class LineDisplay:
    """One line at each start and end of a run, and now and then about those under way.

    :param console: where to print
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.runs: list[Run] = []
        self.last_line = 0.0

    def say(self, text: str) -> None:
        """Print as it is, without markup or wrapping."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def watching(self, runs: list[Run]) -> Iterator[None]:
        """Around the runs."""
        self.runs = runs
        self.last_line = time.monotonic()
        skipped = sum(run.skipped for run in runs)
        if skipped:
            self.say(f"{skipped} of {len(runs)} runs are finished already and are not run again.")
        restarted = [run for run in runs if not run.skipped and run.folder.progress.exists()]
        for run in restarted:
            checkpoint = run.folder.checkpoint()
            where = "starts over (it had no checkpoint)" if checkpoint is None else f"goes on from {checkpoint.name}"
            self.say(f"{run.name} was cut short and {where}.")
        yield

    def changed(self, run: Run) -> None:
        """A run has started, finished or failed."""
        done = sum(other.state in ("finished", "failed") for other in self.runs)
        if run.state == "running":
            self.say(f"{run.name}: started")
        elif run.state == "failed":
            self.say(f"{run.name}: FAILED: {run.reason} [{done}/{len(self.runs)}]")
        else:
            self.say(f"{run.name}: finished, {returns_text(run.progress())} [{done}/{len(self.runs)}]")

    def poll(self) -> None:
        """A few times a second."""
        if time.monotonic() - self.last_line < LINE_SECONDS:
            return
        self.last_line = time.monotonic()
        for run in self.runs:
            record = run.progress() if run.state == "running" else {}
            if record:
                steps = f"{steps_text(record['timesteps'])}/{steps_text(run.spec.timesteps)}"
                self.say(f"{run.name}: {steps} steps, {returns_text(record)}")


class BarDisplay(LineDisplay):
    """A bar over everything and one for each run under way, with its newest returns; ends as lines above the bars.

    :param console: a terminal
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self.total: TaskID | None = None

    @contextmanager
    def watching(self, runs: list[Run]) -> Iterator[None]:
        with super().watching(runs), self.bars:
            steps = sum(run.spec.timesteps for run in runs if not run.skipped)
            self.total = self.bars.add_task("[bold]all runs", total=max(steps, 1), note="")
            yield

    def changed(self, run: Run) -> None:
        if run.state == "running":
            self.tasks[run.name] = self.bars.add_task(run.name.replace("[", r"\["), total=run.spec.timesteps, note="")
            return
        self.bars.remove_task(self.tasks.pop(run.name))
        super().changed(run)

    def poll(self) -> None:
        steps = 0
        for run in self.runs:
            if run.state == "running" and run.name in self.tasks:
                record = run.progress()
                at = min(record.get("timesteps", 0), run.spec.timesteps)
                self.bars.update(self.tasks[run.name], completed=at, note=returns_text(record))
                steps += at
            elif run.state in ("finished", "failed") and not run.skipped:
                steps += run.spec.timesteps
        done = sum(run.state in ("finished", "failed") for run in self.runs)
        if self.total is not None:
            self.bars.update(self.total, completed=steps, note=f"{done} of {len(self.runs)} done")


def make_display(console: Console) -> LineDisplay:
    """Bars on a terminal, lines elsewhere."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)
