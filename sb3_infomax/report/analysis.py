"""All numbers of a report, worked out once; pictures, tables and the page only show them."""

import re
from dataclasses import dataclass, field, replace

import numpy as np

from sb3_infomax.report.claims import Comparison, Sentence, compare_pairs, conclusions, narrow
from sb3_infomax.report.normalization import Scale, choose_scale
from sb3_infomax.report.scores import Curves, RunRecord, Scores, final, time_curve, training_curve
from sb3_infomax.report.statistics import (
    AGGREGATES,
    NOTHING,
    RESAMPLES,
    Estimate,
    aggregate,
    bands,
    bootstrap,
    efficiency_curve,
    performance_profile,
)

N_POINTS = 21  # of curves over several tasks
N_THRESHOLDS = 101
_SETTINGS = re.compile(r":(?=\s*[A-Za-z_][\w.]*\s*=)[^+]*")


@dataclass(frozen=True)
class Bands:
    """A line with its 95 % intervals, each of shape (n_points,)."""

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Summary:
    """One method on one task.

    :param task: the environment
    :param method: its text
    :param n_finished: seeds that finished
    :param n_seeds: seeds that were asked for
    :param evaluation: final evaluation return
    :param training: final training return
    :param success: share of successful final evaluation episodes
    :param wall_seconds: mean wall time of a run, evaluations left out
    :param cpu_seconds: mean CPU time of a run, evaluations left out
    """

    task: str
    method: str
    n_finished: int
    n_seeds: int
    evaluation: Estimate = NOTHING
    training: Estimate = NOTHING
    success: Estimate = NOTHING
    wall_seconds: float = float("nan")
    cpu_seconds: float = float("nan")


@dataclass(frozen=True)
class Analysis:
    """What a report shows.

    :param scores: of all runs, methods under short names
    :param full: the whole text of each method, by its short name
    :param scale: how scores of tasks are made comparable
    :param resamples: of each interval
    :param seed: of the resampling
    :param summaries: a row for each task and method
    :param aggregates: over the tasks that all methods ran on: of each method, each statistic
    :param overall: comparisons over all tasks, or on the only one
    :param by_task: comparisons on each of several tasks
    :param curves: of each task and method
    :param times: the same over wall time, where it is known
    :param profiles: performance profile of each method
    :param efficiency: of each method, interquartile mean over several tasks at shares of the training
    :param said: the short answer
    :param remarks: what a reader should know
    """

    scores: Scores
    full: dict[str, str]
    scale: Scale
    resamples: int
    seed: int
    summaries: list[Summary]
    aggregates: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    overall: list[Comparison] = field(default_factory=list)
    by_task: dict[str, list[Comparison]] = field(default_factory=dict)
    curves: dict[str, dict[str, Curves]] = field(default_factory=dict)
    times: dict[str, dict[str, Curves]] = field(default_factory=dict)
    profiles: dict[str, Bands] = field(default_factory=dict)
    efficiency: dict[str, Bands] = field(default_factory=dict)
    said: tuple[Sentence, ...] = ()
    remarks: tuple[str, ...] = ()


def short_names(methods: list[str], longest: int = 28) -> dict[str, str]:
    """Names without settings where these do not tell methods apart, numbered where they would be too long.

    :param methods: whole texts
    :param longest: characters of a name
    :return: of each whole text, its short name
    """
    bare = {method: _SETTINGS.sub("", method).strip() for method in methods}
    names: dict[str, str] = {}
    for method in methods:
        same = [other for other in methods if bare[other] == bare[method]]
        name = bare[method] if len(same) == 1 else method
        if len(name) > longest:
            base = bare[method] if len(bare[method]) < longest else bare[method][: longest - 1] + "…"
            name = base if len(same) == 1 else f"{base} ({same.index(method) + 1})"
        while name in names.values():
            name += "'"
        names[method] = name
    return names


def summarize(task: str, method: str, runs: list[RunRecord], last_step: int | None = None) -> Summary:
    """The final scores of a method on a task.

    :param runs: all its runs, of which unfinished ones are only counted
    :param last_step: what is later is left out; default: the end of the shortest
    """
    done = [run for run in runs if run.state == "finished"]
    if not done:
        return Summary(task, method, 0, len(runs))
    scores = Scores(tuple(done))
    last = scores.last_step(task) if last_step is None else last_step

    def known(values: list[float]) -> float:
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    return Summary(
        task,
        method,
        len(done),
        len(runs),
        evaluation=bootstrap(scores.final(task, method, "return", last)),
        training=bootstrap(final(training_curve(done, last_step=last), last)),
        success=bootstrap(scores.final(task, method, "success", last)),
        wall_seconds=known([run.wall_seconds for run in done]),
        cpu_seconds=known([run.cpu_seconds for run in done]),
    )


def analyse(
    scores: Scores, normalize: str = "auto", baseline: str | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Analysis:
    """Work out everything that a report shows.

    :param scores: from :func:`~sb3_infomax.report.sources.load_scores`
    :param normalize: as in :func:`~sb3_infomax.report.normalization.choose_scale`
    :param baseline: a method, where only comparisons with it are of interest
    :param resamples: bootstrap samples of each interval
    :param seed: of the resampling
    """
    everyone = (*scores.runs, *(run for run in scores.left_out if run not in scores.runs))
    texts = sorted(dict.fromkeys(run.method for run in everyone), key=lambda method: "+" in method)
    names = short_names(texts)
    scores = replace(
        scores,
        runs=tuple(replace(run, method=names[run.method]) for run in scores.runs),
        left_out=tuple(replace(run, method=names[run.method]) for run in scores.left_out),
    )
    full = {short: whole for whole, short in names.items()}
    rows = summaries(scores)
    if not scores.runs:
        return Analysis(scores, full, Scale(), resamples, seed, rows, remarks=scores.remarks)
    scale = choose_scale(scores, normalize)
    baseline = names.get(baseline, baseline) if baseline else None
    overall = compare_pairs(scores, scale, "" if len(scores.tasks) > 1 else scores.tasks[0], baseline, resamples, seed)
    several = scores.tasks if len(scores.tasks) > 1 else []
    by_task = {task: compare_pairs(scores, scale, task, baseline, resamples, seed) for task in several}
    caution = narrow(scores)
    return Analysis(
        scores,
        full,
        scale,
        resamples,
        seed,
        rows,
        aggregates=_aggregates(scores, scale, resamples, seed),
        overall=overall,
        by_task=by_task,
        curves=scores.all_curves(),
        times=_times(scores),
        profiles=_profiles(scores, scale, seed),
        efficiency=_efficiency(scores, scale, seed),
        said=tuple(conclusions(scores, overall, by_task)),
        remarks=(*scores.remarks, *(("".join(caution),) if caution else ())),
    )


def summaries(scores: Scores) -> list[Summary]:
    """A row for each task and method, also where nothing is finished."""
    runs = [*scores.runs, *(run for run in scores.left_out if run not in scores.runs)]
    order = sorted(dict.fromkeys((run.task, run.method) for run in runs), key=lambda pair: "+" in pair[1])
    tasks = list(dict.fromkeys(run.task for run in runs))
    order.sort(key=lambda pair: tasks.index(pair[0]))
    last = {task: scores.last_step(task) for task in scores.tasks}
    return [summarize(t, m, [run for run in runs if (run.task, run.method) == (t, m)], last.get(t)) for t, m in order]


def _aggregates(scores: Scores, scale: Scale, resamples: int, seed: int) -> dict[str, dict[str, Estimate]]:
    """Every statistic of every method; no optimality gap without a target."""
    if not scores.compared:
        return {}
    wanted = {name: statistic for name, statistic in AGGREGATES.items() if scale.has_target or name != "optimality gap"}
    return {
        method: {
            name: aggregate(scores.matrix(method, scale.limits), statistic, resamples, seed)
            for name, statistic in wanted.items()
        }
        for method in scores.methods
    }


def _times(scores: Scores) -> dict[str, dict[str, Curves]]:
    """Curves over time, of tasks where every run has times."""
    if scores.measure == "training":
        return {}
    found = {}
    for task in scores.tasks:
        curves = {m: time_curve(scores.of(task, m), scores.measure) for m in scores.methods if scores.of(task, m)}
        known = {method: curve for method, curve in curves.items() if curve is not None}
        if len(known) == len(curves):
            found[task] = known
    return found


def _profiles(scores: Scores, scale: Scale, seed: int) -> dict[str, Bands]:
    """Performance profiles over the range of all scores."""
    if not scores.compared:
        return {}
    arrays = {method: scores.matrix(method, scale.limits) for method in scores.methods}
    everything = np.concatenate([array[~np.isnan(array)] for array in arrays.values()])
    low, high = everything.min(), everything.max()
    margin = 0.02 * (high - low) or 0.5
    thresholds = np.linspace(low - margin, high + margin, N_THRESHOLDS)
    return {
        method: Bands(thresholds, *bands(array, lambda draws: performance_profile(draws, thresholds), seed=seed))
        for method, array in arrays.items()
    }


def _efficiency(scores: Scores, scale: Scale, seed: int) -> dict[str, Bands]:
    """Interquartile mean over several tasks at each twentieth of the training."""
    if len(scores.compared) < 2:
        return {}
    shares = np.linspace(0, 1, N_POINTS)
    found = {}
    for method in scores.methods:
        tasks = []
        for task in scores.compared:
            low, high = scale.limits.get(task, (0.0, 1.0))
            curves = scores.curves(task, method)
            steps = shares * scores.last_step(task)
            tasks.append([(np.interp(steps, curves.steps, row) - low) / (high - low) for row in _filled(curves)])
        rows = max(map(len, tasks))
        block = np.full((rows, len(tasks), N_POINTS), np.nan)
        for index, task_rows in enumerate(tasks):
            block[: len(task_rows), index] = task_rows
        found[method] = Bands(shares, *efficiency_curve(block, seed=seed))
    return found


def _filled(curves: Curves) -> np.ndarray:
    """Curves with gaps filled linearly: a twentieth of the training in which no episode ended lies on the line around it."""
    filled = []
    for row in curves.values:
        known = ~np.isnan(row)
        filled.append(np.interp(curves.steps, curves.steps[known], row[known]))
    return np.array(filled)
