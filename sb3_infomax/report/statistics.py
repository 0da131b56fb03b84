"""Numbers out of the stored runs: curves over steps and final scores, with intervals over seeds."""

from dataclasses import dataclass

import numpy as np

from sb3_infomax.compare.runner import Run
from sb3_infomax.compare.storage import read_json, read_rows

FINAL_SHARE = 0.1  # "final" is the last tenth of the steps
RESAMPLES = 10_000


@dataclass(frozen=True)
class Curves:
    """Mean returns of one method over the steps.

    :param steps: shape (n_points,)
    :param values: mean return of each seed at each point, NaN where a seed has none, shape (n_seeds, n_points)
    """

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Score:
    """A mean over seeds with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, seed: int = 0) -> Score:
    """Mean over seeds and its 95 % percentile bootstrap interval, the same at every call.

    :param values: one number per seed, shape (n_seeds,); NaNs are left out
    :param seed: of the resampling
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Score(float("nan"), float("nan"), float("nan"))
    picks = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return Score(float(values.mean()), float(low), float(high))


def intervals(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`bootstrap` at every point of a curve.

    :param values: shape (n_seeds, n_points)
    :param seed: of the resampling
    :return: mean, lower and upper end, each of shape (n_points,)
    """
    scores = [bootstrap(column, seed) for column in values.T]
    mean, low, high = (np.array([getattr(score, name) for score in scores]) for name in ("mean", "low", "high"))
    return mean, low, high


def evaluation_curve(runs: list[Run], column: str = "return") -> Curves:
    """Mean evaluation return (or success) of each seed at each evaluation.

    Evaluations are matched by their order: algorithms that collect rollouts pass a point a few steps late.

    :param runs: finished runs of one method
    :param column: of ``evaluations.csv``
    """
    per_seed = []
    for run in runs:
        points: dict[float, list[float]] = {}
        for row in read_rows(run.folder.evaluations):
            points.setdefault(row["timesteps"], []).append(row[column])
        per_seed.append({step: float(np.mean(found)) for step, found in points.items()})
    length = min(map(len, per_seed))
    steps = np.array([list(points)[:length] for points in per_seed]).mean(axis=0)
    return Curves(steps, np.array([list(points.values())[:length] for points in per_seed]))


def training_curve(runs: list[Run], n_bins: int = 20, column: str = "r") -> Curves:
    """Mean return (or success) of the training episodes that ended within each twentieth of the steps.

    :param runs: finished runs of one method
    :param n_bins: points of the curve
    :param column: of ``monitor.csv``
    """
    edges = np.linspace(0, max(run.last_step for run in runs), n_bins + 1)
    values = np.full((len(runs), n_bins), np.nan)
    for index, run in enumerate(runs):
        rows = read_rows(run.folder.monitor)
        found = np.array([row[column] for row in rows])
        # the last bin takes what a rollout went beyond the budget
        bins = np.minimum(np.searchsorted(edges, [row["timesteps"] for row in rows], side="left"), n_bins) - 1
        for number in np.unique(bins):
            values[index, number] = found[bins == number].mean()
    return Curves((edges[1:] + edges[:-1]) / 2, values)


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
class Summary:
    """One method's row of the table.

    :param method: its text
    :param n_finished: seeds that finished
    :param n_seeds: seeds that were asked for
    :param evaluation: final evaluation return
    :param training: final training return
    :param success: share of successful final evaluation episodes
    :param wall_seconds: mean wall time of a run, evaluations left out
    :param cpu_seconds: mean CPU time of a run, evaluations left out
    """

    method: str
    n_finished: int
    n_seeds: int
    evaluation: Score
    training: Score
    success: Score
    wall_seconds: float
    cpu_seconds: float


def summarize(method: str, runs: list[Run]) -> Summary:
    """The final scores of a method.

    :param method: its text
    :param runs: all its runs, of which unfinished ones are only counted
    """
    done = [run for run in runs if run.state == "finished"]
    nothing = Score(float("nan"), float("nan"), float("nan"))
    if not done:
        return Summary(method, 0, len(runs), nothing, nothing, nothing, float("nan"), float("nan"))
    last = max(run.last_step for run in done)
    seconds = [read_json(run.folder.finished)["seconds"] for run in done]
    return Summary(
        method,
        len(done),
        len(runs),
        evaluation=bootstrap(final(evaluation_curve(done), last)),
        training=bootstrap(final(training_curve(done), last)),
        success=bootstrap(final(evaluation_curve(done, "success"), last)),
        wall_seconds=float(np.mean([each["wall"] - each["evaluation_wall"] for each in seconds])),
        cpu_seconds=float(np.mean([each["cpu"] - each["evaluation_cpu"] for each in seconds])),
    )


def by_method(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs of each method, in the order in which methods were given."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.spec.label, []).append(run)
    return groups
