"""What the numbers allow to be said: comparisons of two methods, and sentences about them.

Whether one method is better is decided by an exact permutation test with Holm's correction, not by the bootstrap interval:
with few seeds the interval is too narrow (with all runs of one method above those of the other it has no width at all),
while the test knows how little so few runs can show.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sb3_infomax.compare.spec import UserError
from sb3_infomax.report.normalization import Scale
from sb3_infomax.report.scores import Scores
from sb3_infomax.report.statistics import (
    CONFIDENCE,
    FEW,
    RESAMPLES,
    Estimate,
    holm,
    improvement,
    iqm,
    permutation_p,
    runs_needed,
    smallest_p,
)

LEVEL = 1 - CONFIDENCE


class Name(str):
    """A method's name inside a sentence, which a page may set in bold."""


Sentence = tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Two methods on one task, or over all tasks.

    :param first: the one that is ahead
    :param second: the other
    :param where: the task; empty over all tasks
    :param n_first: runs on a task, least and most
    :param n_second: the same of the other
    :param probability: that a run of the first scores more than a run of the second
    :param p: of the exact permutation test
    :param corrected: the same for all comparisons of this kind together (Holm)
    :param least_p: what p would be if every run of the first scored more than every run of the second
    :param n_comparisons: that were made together
    :param first_score: interquartile mean
    :param second_score: the same of the other
    """

    first: str
    second: str
    where: str
    n_first: tuple[int, int]
    n_second: tuple[int, int]
    probability: Estimate
    p: float
    corrected: float
    least_p: float
    n_comparisons: int
    first_score: float
    second_score: float

    @property
    def shown(self) -> bool:
        """Whether the difference is more than chance would make."""
        return self.corrected <= LEVEL

    @property
    def hopeless(self) -> bool:
        """Whether so few runs could not have shown any difference, however large.

        With unequal numbers of runs Holm's correction may still show one: others that are shown make it milder.
        """
        return not self.shown and self.least_p * self.n_comparisons > LEVEL


def compare_pairs(
    scores: Scores,
    scale: Scale,
    task: str = "",
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Every two methods, or every method with a baseline.

    :param task: on which; empty: over all tasks that every method ran on
    :param baseline: the only method that others are compared with
    """
    methods = [method for method in scores.methods if not task or scores.of(task, method)]
    if baseline is not None and baseline not in scores.methods:
        raise UserError(f"There is no method {baseline!r} to be the baseline: the methods are {', '.join(scores.methods)}.")
    pairs = [pair for pair in combinations(methods, 2) if baseline is None or baseline in pair]
    tasks = [task] if task else scores.compared
    if not tasks:
        return []
    arrays = {method: scores.matrix(method, scale.limits, tasks) for method in methods}
    p_values = [permutation_p(arrays[first], arrays[second]) for first, second in pairs]
    found = []
    for (first, second), p, corrected in zip(pairs, p_values, holm(p_values), strict=True):
        probability = improvement(arrays[first], arrays[second], resamples, seed)
        if probability.value < 0.5:
            first, second = second, first
            probability = Estimate(1 - probability.value, 1 - probability.high, 1 - probability.low)
        x, y = arrays[first], arrays[second]
        found.append(
            Comparison(
                first,
                second,
                task,
                _counts(x),
                _counts(y),
                probability,
                p,
                corrected,
                smallest_p(x, y),
                len(pairs),
                float(iqm(x)),
                float(iqm(y)),
            )
        )
    return found


def _counts(array: np.ndarray) -> tuple[int, int]:
    """Least and most runs on a task."""
    counts = (~np.isnan(array)).sum(axis=0)
    return int(counts.min()), int(counts.max())


# --- words


def number(value: float, digits: int = 4) -> str:
    """A few significant digits, a dash where there is no number."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def chance(value: float) -> str:
    """A probability."""
    return f"{value:.2f}"


def p_text(p: float) -> str:
    """``p = 0.008``, or below what is worth telling."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def seeds_text(*counts: tuple[int, int]) -> str:
    """``5 seeds``, or ``3 to 5 seeds``."""
    low, high = min(low for low, _ in counts), max(high for _, high in counts)
    return f"{low} seed{'' if high == 1 else 's'}" if low == high else f"{low} to {high} seeds"


def probability_text(comparison: Comparison) -> str:
    """P with its interval; where that has no width, what happened in its place."""
    estimate = comparison.probability
    if estimate.low == estimate.high == 1.0:
        return "P = 1, every run above every other"
    return f"P = {chance(estimate.value)} [{chance(estimate.low)}, {chance(estimate.high)}]"


def place(where: str, n_tasks: int) -> str:
    """``on X``, ``over these 4 tasks``, or of several the only one that every method ran on."""
    if where:
        return f"on {where}"
    return f"over these {n_tasks} tasks" if n_tasks > 1 else "on the only task that all methods ran on"


def sentence(comparison: Comparison, n_tasks: int = 1) -> Sentence:
    """What can be said about two methods.

    :param comparison: of them
    :param n_tasks: over how many tasks, where it is over several
    """
    c, where = comparison, place(comparison.where, n_tasks)
    first, second, counts = Name(c.first), Name(c.second), seeds_text(c.n_first, c.n_second)
    numbers = f"{probability_text(c)}, {p_text(c.corrected)}, {counts}"
    values = f"{number(c.first_score, 3)} against {number(c.second_score, 3)}"
    if c.shown:
        return (first, " is better than ", second, f" {where}: {values} ({numbers}).")
    if c.hopeless:
        return (f"{counts} could not tell ", first, " from ", second, f" {where}: {values} ({probability_text(c)}).")
    return (f"{counts} do not tell ", first, " from ", second, f" {where}: {values} ({numbers}).")


def too_few(comparisons: list[Comparison], n_tasks: int = 1) -> Sentence | None:
    """That no difference could have been shown with so few runs, and how many would do."""
    hopeless = [c for c in comparisons if c.hopeless]
    if not hopeless:
        return None
    c = min(hopeless, key=lambda each: each.least_p)
    needed = runs_needed(c.n_comparisons, 1 if c.where else n_tasks)
    together = f", and {c.n_comparisons} comparisons are made" if c.n_comparisons > 1 else ""
    counts = seeds_text(c.n_first, c.n_second)
    verb = "is" if counts == "1 seed" else "are"
    return (
        f"{counts} {verb} too few for a claim {place(c.where, n_tasks)}: even if every run of one method scored more than "
        "every run of another, dealing out the methods' names at random would give the same with "
        f"{p_text(c.least_p)}{together}. From {needed} seeds on, a difference can be shown.",
    )


def narrow(scores: Scores) -> Sentence | None:
    """What few seeds do to the intervals."""
    least = min((len(scores.of(task, m)) for task in scores.tasks for m in scores.methods if scores.of(task, m)), default=0)
    if least == 0 or least >= FEW:
        return None
    if least == 1:
        return ("One seed has no interval: nothing is known about how much runs of one method differ.",)
    if least <= 3:
        # (1/3)**3 > 2.5 %: the percentiles are the extremes
        return (f"With {least} seeds a 95 % bootstrap interval on one task goes from the lowest run to the highest, no more.",)
    return (
        f"With {least} seeds the bootstrap intervals are too narrow: even at 5 they cover the truth 83 times in 100, not 95.",
    )


def conclusions(scores: Scores, overall: list[Comparison], by_task: dict[str, list[Comparison]]) -> list[Sentence]:
    """The short answer: what is better than what, what is not known, and why.

    :param overall: comparisons over all tasks, or on the only one
    :param by_task: comparisons on each of several tasks
    """
    n_tasks = len(scores.compared)
    said: list[Sentence] = [sentence(c, n_tasks) for c in overall if c.shown]
    said += [s for s in (too_few(overall, n_tasks),) if s is not None]
    open_pairs = [c for c in overall if not c.shown]
    if len(open_pairs) <= 6:
        said += [sentence(c, n_tasks) for c in open_pairs]
    else:
        said.append((f"The other {len(open_pairs)} pairs of methods are not told apart {place('', n_tasks)}.",))
    if len(by_task) > 1:
        said += _task_sentences(by_task)
    return said


def _task_sentences(by_task: dict[str, list[Comparison]]) -> list[Sentence]:
    """On which tasks one method is better than another."""
    better: dict[tuple[str, str], list[str]] = {}
    for comparisons in by_task.values():
        for c in comparisons:
            if c.shown:
                better.setdefault((c.first, c.second), []).append(c.where)
    said: list[Sentence] = []
    for (first, second), tasks in better.items():
        listed = ", ".join(tasks[:-1]) + (" and " if len(tasks) > 1 else "") + tasks[-1]
        said.append(("Task by task, ", Name(first), " is better than ", Name(second), f" on {listed}."))
    if not said:
        said.append(("Task by task, no two methods are told apart.",))
    return said
