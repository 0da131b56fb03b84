"""Progress of many runs: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from sb3_infomax.compare.eta import clock_text
from sb3_infomax.compare.runner import Run, seconds_left
from sb3_infomax.compare.spec import RunSpec

LINE_SECONDS = 15.0  # until the first plain lines about runs under way; later ones come ever more rarely
LONGEST_LINE_SECONDS = 300.0
NARROW = 110  # columns of a terminal that does not take everything
ENDED = ("finished", "failed")


def steps_text(steps: float) -> str:
    """A number of steps as people say it: 60k, 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if steps >= size:
            return f"{steps / size:.3g}{unit}"
    return f"{steps:.0f}"


def done_text(spec: RunSpec, record: Mapping[str, Any]) -> str:
    """The steps that a run has made, of those it is to make where that is known."""
    done = steps_text(record.get("timesteps", 0))
    return f"{done} steps" if spec.timesteps is None else f"{done}/{steps_text(spec.timesteps)} steps"


def returns_text(record: Mapping[str, Any]) -> str:
    """The newest returns of a run, as far as there are any."""
    names = (("evaluation", "eval"), ("training", "train"))
    parts = [f"{short} {record[key]:.4g}" for key, short in names if record.get(key) is not None]
    return ", ".join(parts)


def shorten(text: str, length: int) -> str:
    """The text with dots in its middle where it is too long: methods differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


class LineDisplay:
    """One line at each start and end of a run, and now and then about those under way.

    :param console: where to print
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.runs: list[Run] = []
        self.workers = 1
        self.next_line = 0.0
        self.pause = LINE_SECONDS

    def say(self, text: str) -> None:
        """Print as it is, without markup or wrapping."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def watching(self, runs: list[Run], workers: int) -> Iterator[None]:
        """Around the runs.

        :param runs: of the comparison
        :param workers: how many go on at a time
        """
        self.runs, self.workers = runs, workers
        self.next_line = time.monotonic() + self.pause
        skipped = sum(run.skipped for run in runs)
        if skipped:
            self.say(f"{skipped} of {len(runs)} runs are finished already and are not run again.")
        restarted = [run for run in runs if not run.skipped and run.folder.progress.exists()]
        for run in restarted:
            checkpoint = run.folder.checkpoint()
            where = "starts over (it had no checkpoint)" if checkpoint is None else f"goes on from {checkpoint.name}"
            self.say(f"{run.name} was cut short and {where}.")
        yield

    def ended_text(self) -> str:
        """How many of the runs have ended."""
        return f"{sum(run.state in ENDED for run in self.runs)}/{len(self.runs)}"

    def changed(self, run: Run) -> None:
        """A run has started, finished or failed."""
        if run.state == "running":
            self.say(f"{run.name}: started")
        elif run.state == "failed":
            self.say(f"{run.name}: FAILED: {run.reason} [{self.ended_text()}]")
        else:
            self.say(f"{run.name}: finished, {returns_text(run.record)} [{self.ended_text()}]")

    def poll(self) -> None:
        """A few times a second."""
        now = time.monotonic()
        if now < self.next_line:
            return
        self.pause = min(1.5 * self.pause, LONGEST_LINE_SECONDS)
        self.next_line = now + self.pause
        for run in self.runs:
            if run.state == "running" and run.record:
                left = f"{clock_text(run.pace.left(now))} left"
                self.say(f"{run.name}: {done_text(run.spec, run.record)}, {returns_text(run.record)}, {left}")
        if len(self.runs) > 1:
            self.say(f"all runs: {self.ended_text()} done, {clock_text(seconds_left(self.runs, self.workers, now))} left")


class BarDisplay(LineDisplay):
    """A bar over everything and one for each run under way, with its newest returns; ends as lines above the bars.

    :param console: a terminal
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.narrow = console.width < NARROW
        self.bars = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10 if self.narrow else 24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]:>7} left"),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self.total: TaskID | None = None

    @contextmanager
    def watching(self, runs: list[Run], workers: int) -> Iterator[None]:
        with super().watching(runs, workers), self.bars:
            to_do = sum(not run.skipped for run in runs)
            if to_do > 1:
                self.total = self.bars.add_task("[bold]all runs", total=to_do, note="", left=clock_text(float("nan")))
            yield

    def changed(self, run: Run) -> None:
        if run.state == "running":
            name = shorten(run.name, 26 if self.narrow else 60).replace("[", r"\[")
            self.tasks[run.name] = self.bars.add_task(name, total=1.0, note="", left=clock_text(float("nan")))
            return
        self.bars.remove_task(self.tasks.pop(run.name))
        super().changed(run)

    def note(self, run: Run) -> str:
        """What is said about a run under way, as much as there is room for."""
        if not run.record:
            return "starting"
        returns = returns_text(run.record)
        return returns if self.narrow else f"{done_text(run.spec, run.record)}, {returns}"

    def poll(self) -> None:
        now, done = time.monotonic(), 0.0
        for run in self.runs:
            if run.state == "running" and run.name in self.tasks:
                share = run.record.get("share", 0.0)
                left = clock_text(run.pace.left(now))
                self.bars.update(self.tasks[run.name], completed=share, note=self.note(run), left=left)
                done += share
            elif run.state in ENDED and not run.skipped:
                done += 1
        if self.total is not None:
            left = clock_text(seconds_left(self.runs, self.workers, now))
            self.bars.update(self.total, completed=done, note=f"{self.ended_text()} done", left=left)


def make_display(console: Console) -> LineDisplay:
    """Bars on a terminal, lines elsewhere."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)
