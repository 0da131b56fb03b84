"""One form for the runs of every source: task x method x seed x step, with return, length, success and time."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FINAL_SHARE = 0.1  # "final" is the last tenth of the steps
N_BINS = 20  # points of a curve of training episodes
MEASURES = {
    "return": "evaluation return",
    "success": "success of evaluations",
    "length": "length of evaluation episodes",
    "training": "return of training episodes",
}


@dataclass(frozen=True)
class Curves:
    """A measure of one method over the steps.

    :param steps: shape (n_points,)
    :param values: of each seed at each point, NaN where a seed has none, shape (n_seeds, n_points)
    """

    steps: np.ndarray
    values: np.ndarray


def no_numbers() -> np.ndarray:
    """An empty column."""
    return np.zeros(0)


@dataclass(frozen=True)
class Episodes:
    """Episodes of one run, each column of shape (n_episodes,), in the order in which they ended.

    :param steps: environment steps of the training until then
    :param returns: the environment's own, undiscounted
    :param lengths: steps of the episode
    :param success: 1, 0, or NaN where nobody says what success is
    :param seconds: wall time of the run until then, NaN where nobody measured it
    """

    steps: np.ndarray = field(default_factory=no_numbers)
    returns: np.ndarray = field(default_factory=no_numbers)
    lengths: np.ndarray = field(default_factory=no_numbers)
    success: np.ndarray = field(default_factory=no_numbers)
    seconds: np.ndarray = field(default_factory=no_numbers)

    def __len__(self) -> int:
        return len(self.steps)

    def column(self, measure: str) -> np.ndarray:
        """The numbers of a measure."""
        return {"success": self.success, "length": self.lengths}.get(measure, self.returns)


@dataclass(frozen=True)
class RunRecord:
    """What is known of one run.

    :param task: the environment, as the report calls it
    :param method: its text
    :param seed: or another number that tells runs of a method apart
    :param source: folder or file
    :param state: ``finished``, ``failed`` or ``unfinished``
    :param timesteps: the budget, or the last known step
    :param timed: the budget was a time, not a number of steps
    :param evaluations: episodes of the evaluations
    :param training: training episodes
    :param cpu_seconds: CPU time without evaluations, NaN where it is not known
    :param wall_seconds: wall time without evaluations, NaN where it is not known
    :param settings: what else decided the outcome, by name
    :param versions: of the packages
    """

    task: str
    method: str
    seed: int
    source: Path
    state: str = "finished"
    timesteps: int = 0
    timed: bool = False
    evaluations: Episodes = field(default_factory=Episodes)
    training: Episodes = field(default_factory=Episodes)
    cpu_seconds: float = float("nan")
    wall_seconds: float = float("nan")
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"{self.method} seed {self.seed} on {self.task}"

    def points(self, measure: str = "return") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean of each evaluation.

        :return: steps, means of the measure, and seconds, each of shape (n_evaluations,)
        """
        steps, which = np.unique(self.evaluations.steps, return_inverse=True)
        counts = np.maximum(np.bincount(which, minlength=len(steps)), 1)
        means = [
            np.bincount(which, column, minlength=len(steps)) / counts
            for column in (self.evaluations.column(measure), self.evaluations.seconds)
        ]
        return steps, means[0], means[1]


def evaluation_curve(runs: list[RunRecord], measure: str = "return", last_step: float | None = None) -> Curves:
    """The mean of each seed at each evaluation.

    Evaluations are matched by their order where all runs have as many at about the same steps: algorithms that collect
    rollouts pass a point a few steps late. Otherwise they are read off on common points, linearly between evaluations.

    :param runs: of one method on one task
    :param measure: ``return``, ``success`` or ``length``
    :param last_step: what is later is left out
    """
    series = []
    for run in runs:
        steps, values, _ = run.points(measure)
        spacing = np.diff(steps).mean() if len(steps) > 1 else 0.0
        kept = steps <= (np.inf if last_step is None else last_step + spacing / 2)
        series.append((steps[kept], values[kept]))
    counts = {len(steps) for steps, _ in series}
    if counts == {0}:
        return Curves(np.zeros(0), np.zeros((len(runs), 0)))
    if len(counts) == 1:
        together = np.array([steps for steps, _ in series])
        middle = together.mean(axis=0)
        if np.abs(together - middle).max() <= (np.diff(middle).min(initial=np.inf) / 2):
            return Curves(middle, np.array([values for _, values in series]))
    series = [(steps, values) if len(steps) else (np.zeros(1), np.full(1, np.nan)) for steps, values in series]
    known = [steps for steps, values in series if not np.isnan(values).all()] or [series[0][0]]
    grid = np.linspace(max(s[0] for s in known), min(s[-1] for s in known), max(min(map(len, known)), 1))
    return Curves(grid, np.array([np.interp(grid, steps, values) for steps, values in series]))


def training_curve(
    runs: list[RunRecord], measure: str = "return", last_step: float | None = None, n_bins: int = N_BINS
) -> Curves:
    """The mean of each seed over the training episodes that ended within each twentieth of the steps.

    :param runs: of one method on one task
    :param measure: ``return``, ``success`` or ``length``
    :param last_step: end of the last twentieth; default: the least budget
    :param n_bins: points of the curve
    """
    last = min(run.timesteps for run in runs) if last_step is None else last_step
    edges = np.linspace(0, last, n_bins + 1)
    values = np.full((len(runs), n_bins), np.nan)
    for index, run in enumerate(runs):
        found, steps = run.training.column(measure), run.training.steps
        # the last bin takes what a rollout went beyond the budget
        late = last if run.timesteps > last else np.inf
        bins = np.minimum(np.searchsorted(edges, steps, side="left"), n_bins) - 1
        for number in np.unique(bins[steps <= late]):
            values[index, number] = found[(bins == number) & (steps <= late)].mean()
    return Curves((edges[1:] + edges[:-1]) / 2, values)


def time_curve(runs: list[RunRecord], measure: str = "return", n_points: int = 21) -> Curves | None:
    """The mean of each seed over wall time in place of steps, linearly between evaluations.

    :param runs: of one method on one task
    :param measure: ``return``, ``success`` or ``length``
    :param n_points: of the curve
    :return: with seconds as steps; ``None`` where a run has no times
    """
    series = [run.points(measure) for run in runs]
    if any(not len(steps) or np.isnan(seconds).any() for steps, _, seconds in series):
        return None
    last = min(seconds[-1] for _, _, seconds in series)
    grid = np.linspace(0, last, n_points)
    return Curves(grid, np.array([np.interp(grid, seconds, values) for _, values, seconds in series]))


def final(curves: Curves, last_step: float) -> np.ndarray:
    """Mean of each seed over the last tenth of the steps; its last known point where there is none.

    :param curves: of one method
    :param last_step: the budget
    :return: shape (n_seeds,)
    """
    late = curves.steps > (1 - FINAL_SHARE) * last_step
    result = []
    for row in curves.values:
        known = row[late & ~np.isnan(row)]
        if not len(known):
            known = row[~np.isnan(row)][-1:]
        result.append(known.mean() if len(known) else np.nan)
    return np.array(result)


@dataclass(frozen=True)
class Scores:
    """All runs that a report is about, and the numbers that come of them.

    :param runs: finished ones, or also others where asked for
    :param measure: a key of :data:`MEASURES`
    :param remarks: what a reader should know about how the runs came together, as sentences
    :param left_out: runs that are not finished
    """

    runs: tuple[RunRecord, ...]
    measure: str = "return"
    remarks: tuple[str, ...] = ()
    left_out: tuple[RunRecord, ...] = ()

    @cached_property
    def tasks(self) -> list[str]:
        """In the order in which they were found."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @cached_property
    def methods(self) -> list[str]:
        """Plain algorithms first, else in the order in which they were found."""
        return sorted(dict.fromkeys(run.method for run in self.runs), key=lambda method: "+" in method)

    @cached_property
    def compared(self) -> list[str]:
        """The tasks on which every method has a run."""
        return [task for task in self.tasks if all(self.of(task, method) for method in self.methods)]

    def of(self, task: str, method: str) -> list[RunRecord]:
        """The runs of a method on a task, by seed."""
        return sorted((r for r in self.runs if r.task == task and r.method == method), key=lambda run: run.seed)

    def last_step(self, task: str) -> int:
        """The step until which every run on a task went."""
        return min(run.timesteps for run in self.runs if run.task == task)

    def curves(self, task: str, method: str, measure: str | None = None, last_step: int | None = None) -> Curves:
        """A measure over the steps, cut where the shortest run on the task ends, or before."""
        measure, runs, last = measure or self.measure, self.of(task, method), last_step or self.last_step(task)
        if measure == "training":
            return training_curve(runs, last_step=last)
        return evaluation_curve(runs, measure, last)

    def all_curves(self) -> dict[str, dict[str, Curves]]:
        """The curves of every task and method."""
        return {task: {m: self.curves(task, m) for m in self.methods if self.of(task, m)} for task in self.tasks}

    def final(self, task: str, method: str, measure: str | None = None, last_step: int | None = None) -> np.ndarray:
        """The score of each run: mean over the last tenth of the steps, or of its own steps where the budget is a time.

        :return: shape (n_seeds,)
        """
        runs, measure, last = self.of(task, method), measure or self.measure, last_step or self.last_step(task)
        if measure != "training" and any(run.timed for run in runs):
            return np.concatenate([final(evaluation_curve([run], measure), run.timesteps) for run in runs])
        return final(self.curves(task, method, measure, last), last)

    def matrix(
        self, method: str, scale: "dict[str, tuple[float, float]] | None" = None, tasks: list[str] | None = None
    ) -> np.ndarray:
        """The scores of a method, in the form that :mod:`sb3_infomax.report.statistics` takes.

        :param method: one of :attr:`methods`
        :param scale: of each task, the raw scores that become 0 and 1; default: raw scores
        :param tasks: default: those on which every method has a run
        :return: shape (n_runs, n_tasks); NaN where a task has fewer runs
        """
        columns = []
        for task in self.compared if tasks is None else tasks:
            low, high = (scale or {}).get(task, (0.0, 1.0))
            columns.append((self.final(task, method) - low) / (high - low))
        rows = max(map(len, columns), default=0)
        return np.stack([np.pad(c, (0, rows - len(c)), constant_values=np.nan) for c in columns], axis=1)
