"""How a study goes: a line for each trial that ends, and a bar with the best so far on a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sb3_infomax.compare.display import steps_text
from sb3_infomax.compare.spec import duration_text
from sb3_infomax.compare.storage import RunFolder, read_json
from sb3_infomax.tune.work import DONE, is_lost, outcomes

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from sb3_infomax.tune.tuning import Plan

LINE_SECONDS = 30.0  # between two plain lines about trials under way


class StudyDisplay:
    """Reads the study now and then and tells what is new in it, whoever has done it.

    :param study: the study
    :param plan: how it is worked on here
    :param console: where to print
    """

    def __init__(self, study: "optuna.Study", plan: "Plan", console: Console) -> None:
        self.study, self.plan, self.console = study, plan, console
        self.told: set[int] = set()
        self.began = self.last_line = time.monotonic()
        self.done_before = 0
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.completed}/{task.total}"))
        rest = (TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
        self.bars = Progress(*columns, *rest, console=console, transient=True, disable=not console.is_terminal)
        self.task: TaskID | None = None

    def say(self, text: str, style: str | None = None) -> None:
        """Print as it is, without markup or wrapping."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around the workers' work."""
        ended = self.ended()
        self.told = {trial.number for trial in ended}
        self.done_before, self.began = len(ended), time.monotonic()
        if ended:
            best = self.best()
            so_far = "none of them with a score" if best is None else f"best {best.value:.4g}"
            self.say(f"{len(ended)} of {self.plan.n_trials} trials are done already, {so_far}: the search goes on.")
        with self.bars:
            self.task = self.bars.add_task("trials", total=self.plan.n_trials, completed=len(ended), note="")
            yield

    def ended(self) -> "list[FrozenTrial]":
        """The trials of this study that have come to an end, one for each task."""
        return [trial for trial in outcomes(self.study).values() if trial.state.is_finished() and not is_lost(trial)]

    def best(self) -> "FrozenTrial | None":
        """The best trial so far, if any is whole."""
        try:
            return self.study.best_trial
        except ValueError:
            return None

    def poll(self, remarks: list[str]) -> None:
        """Tell what is new.

        :param remarks: lines about workers
        """
        for remark in remarks:
            self.say(remark, style="yellow")
        ended = self.ended()
        for trial in ended:
            if trial.number not in self.told:
                self.told.add(trial.number)
                self.say(self.line(trial, len(ended)), style="red" if trial.state not in DONE else None)
        if self.task is not None:
            self.bars.update(self.task, completed=len(ended), note=self.note(len(ended)))
        if not self.console.is_terminal and time.monotonic() - self.last_line > LINE_SECONDS:
            self.last_line = time.monotonic()
            under_way = self.under_way()
            if under_way:
                done = ", ".join(filter(None, [f"{len(ended)}/{self.plan.n_trials}", self.note(len(ended))]))
                self.say(f"{done}; under way: {', '.join(under_way)}")

    def line(self, trial: "FrozenTrial", n_done: int) -> str:
        """One line about a trial that has ended."""
        if trial.state == DONE[0]:
            best = self.best()
            mark = ", the best so far" if best is not None and best.number == trial.number else ""
            what = f"{trial.value:.4g}{mark}"
        elif trial.state == DONE[1]:
            last = max(trial.intermediate_values, default=None)
            what = "pruned" + ("" if last is None else f" at {trial.intermediate_values[last]:.4g}")
        else:
            what = f"FAILED: {trial.user_attrs.get('reason', 'no reason known')}"
        default = " (the defaults)" if self.plan.spec.is_default(trial) else ""
        return f"trial {trial.number}{default}: {what}  [{n_done}/{self.plan.n_trials}]"

    def note(self, n_done: int) -> str:
        """The best so far, and how long it will take."""
        best = self.best()
        parts = [] if best is None else [f"best {best.value:.4g} (trial {best.number})"]
        here = n_done - self.done_before
        if here and n_done < self.plan.n_trials:
            left = (time.monotonic() - self.began) / here * (self.plan.n_trials - n_done)
            parts.append(f"about {duration_text(left)} left")
        return ", ".join(parts)

    def under_way(self) -> list[str]:
        """Where the trials of this machine are."""
        from sb3_infomax.tune.retry import first_number

        found = []
        for trial in outcomes(self.study).values():
            if trial.state.name != "RUNNING":
                continue
            for seed in reversed(self.plan.spec.seeds):
                folder = RunFolder(self.plan.out / "trials" / str(first_number(trial)) / f"seed_{seed}")
                record = read_json(folder.progress) if folder.path.is_dir() else None
                if record:
                    steps = f"{steps_text(record['timesteps'])}/{steps_text(self.plan.spec.timesteps)}"
                    found.append(f"trial {trial.number} seed {seed} {steps} steps")
                    break
        return found
