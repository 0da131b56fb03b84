"""Statistics of few runs: aggregate scores with intervals, comparisons of two methods, and what so few runs can show.

Pure functions of arrays. The scores of a method are an array of shape (n_runs, n_tasks), one score of one run in each
place; NaN marks a run that is not there, so that tasks may have different numbers of runs. Each task weighs the same.
The statistics and their names are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (https://arxiv.org/abs/2108.13264), and give the numbers that their library rliable gives.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
FEW = 5  # seeds, fewer than which a report warns about
_CHUNK = 4_000_000  # numbers that a resampling holds in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval.

    :param value: the estimate (a mean over seeds, an interquartile mean, ...)
    :param low: lower end
    :param high: upper end
    """

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)

# --- aggregates


def as_scores(scores: np.ndarray) -> np.ndarray:
    """Scores as an array of shape (n_runs, n_tasks), refusing what cannot be one.

    :param scores: shape (n_runs, n_tasks), or (n_runs,) for one task
    """
    array = np.asarray(scores, dtype=float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ValueError(f"Scores have the shape (n_runs, n_tasks), not {np.shape(scores)}.")
    if np.isinf(array).any():
        raise ValueError("A score is infinite: leave that run out, or mend it.")
    empty = [str(index) for index in np.flatnonzero(np.isnan(array).all(axis=0))]
    if empty or not array.size:
        raise ValueError(f"No run has a score on task {', '.join(empty) or '0'}: leave the task out.")
    return array


def balanced(scores: np.ndarray) -> np.ndarray:
    """The same scores without gaps: runs of tasks that have fewer are repeated until all tasks have the same number.

    :param scores: shape (n_runs, n_tasks)
    :return: shape (least common multiple of the numbers of runs, n_tasks), no NaN
    """
    columns = _columns(scores)
    length = math.lcm(*map(len, columns))
    return np.stack([np.repeat(column, length // len(column)) for column in columns], axis=1)


def _columns(scores: np.ndarray) -> list[np.ndarray]:
    """The runs of each task."""
    return [column[~np.isnan(column)] for column in as_scores(scores).T]


def _pooled(scores: np.ndarray) -> np.ndarray:
    """Sorted scores of all runs on all tasks, shape (..., n_runs * n_tasks)."""
    dense = balanced(scores) if np.ndim(scores) < 3 else scores
    return np.sort(dense.reshape(*dense.shape[:-2], -1), axis=-1)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean: the mean of the middle half of all runs on all tasks.

    Less moved by single runs than the mean, and more by all of them than the median.

    :param scores: shape (..., n_runs, n_tasks); without leading axes, NaN marks a run that is not there
    :return: shape (...)
    """
    values = _pooled(scores)
    cut = int(0.25 * values.shape[-1])
    return values[..., cut : values.shape[-1] - cut].mean(axis=-1)


def median(scores: np.ndarray) -> np.ndarray:
    """Median over tasks of the mean over runs; with one task, the median over runs.

    :param scores: shape (..., n_runs, n_tasks)
    :return: shape (...)
    """
    dense = balanced(scores) if np.ndim(scores) < 3 else scores
    if dense.shape[-1] == 1:
        return np.median(dense[..., 0], axis=-1)
    return np.median(dense.mean(axis=-2), axis=-1)


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over tasks of the mean over runs.

    :param scores: shape (..., n_runs, n_tasks)
    :return: shape (...)
    """
    return _pooled(scores).mean(axis=-1)


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """By how much runs fall short of a target, on average; what is above it does not make up for what is below.

    :param scores: normalised, shape (..., n_runs, n_tasks)
    :param target: the score that is good enough
    :return: shape (...); 0 is best
    """
    return np.maximum(target - _pooled(scores), 0.0).mean(axis=-1)


AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "IQM": iqm,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}

# --- intervals


def picks(scores: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """A stratified bootstrap: runs are drawn with replacement within each task.

    :param scores: shape (n_runs, n_tasks)
    :param rng: where the draws come from
    :param resamples: how many
    :return: shape (resamples, least common multiple of the numbers of runs, n_tasks), no NaN
    """
    drawn = _drawn(_columns(scores), rng, resamples)
    length = math.lcm(*(draw.shape[1] for draw in drawn))
    return np.stack([np.repeat(draw, length // draw.shape[1], axis=1) for draw in drawn], axis=-1)


def _drawn(columns: list[np.ndarray], rng: np.random.Generator, resamples: int) -> list[np.ndarray]:
    """Of each task as many runs as it has, drawn with replacement, shape (resamples, n_runs)."""
    return [column[rng.integers(0, len(column), (resamples, len(column)))] for column in columns]


def _chunks(resamples: int, size: int) -> list[int]:
    """Resamples in portions that fit into memory."""
    each = max(1, min(resamples, _CHUNK // max(size, 1)))
    return [each] * (resamples // each) + ([resamples % each] if resamples % each else [])


def _interval(estimate: float, draws: np.ndarray) -> Estimate:
    """An estimate with the percentile interval of its resamples."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(estimate), float(low), float(high))


def aggregate(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = iqm, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A statistic of a method's scores with its 95 % stratified percentile bootstrap interval.

    :param scores: shape (n_runs, n_tasks)
    :param statistic: one of this module, or any function from (..., n_runs, n_tasks) to (...)
    :param resamples: bootstrap samples
    :param seed: of the resampling; the same seed gives the same interval
    """
    dense, rng = balanced(scores), np.random.default_rng(seed)
    draws = [statistic(picks(scores, rng, size)) for size in _chunks(resamples, dense.size)]
    return _interval(float(statistic(dense)), np.concatenate(draws))


def bootstrap(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean over seeds of one task and its 95 % percentile bootstrap interval, the same at every call.

    :param values: one number per seed, shape (n_seeds,); NaNs are left out
    :param seed: of the resampling
    :param resamples: bootstrap samples
    """
    values = np.asarray(values, dtype=float)
    if np.isnan(values).all():
        return NOTHING
    return aggregate(values, mean, resamples, seed)


def intervals(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`bootstrap` at every point of a curve.

    :param values: shape (n_seeds, n_points)
    :param seed: of the resampling
    :return: mean, lower and upper end, each of shape (n_points,)
    """
    scores = [bootstrap(column, seed, 2000) for column in values.T]
    middle, low, high = (np.array([getattr(score, name) for score in scores]) for name in ("value", "low", "high"))
    return middle, low, high


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The share of runs, each task weighing the same, that score more than a threshold.

    :param scores: shape (..., n_runs, n_tasks)
    :param thresholds: shape (n_thresholds,)
    :return: shape (..., n_thresholds)
    """
    values = _pooled(scores)
    return (values[..., None] > np.asarray(thresholds)).mean(axis=-2)


def bands(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic with many values and their 95 % pointwise intervals, such as a profile.

    :param scores: shape (n_runs, n_tasks)
    :param statistic: from (..., n_runs, n_tasks) to (..., n_values)
    :return: estimate, lower and upper end, each of shape (n_values,)
    """
    dense, rng = balanced(scores), np.random.default_rng(seed)
    estimate = statistic(dense)
    sizes = _chunks(resamples, dense.size * len(estimate))
    draws = np.concatenate([statistic(picks(scores, rng, size)) for size in sizes])
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return estimate, low, high


def efficiency_curve(curves: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interquartile mean over runs and tasks at every point of the training, with 95 % intervals.

    A resample takes whole runs, so that neighbouring points move together.

    :param curves: normalised, shape (n_runs, n_tasks, n_points); a run that is not there is NaN at all points
    :return: estimate, lower and upper end, each of shape (n_points,)
    """
    number = np.arange(curves.shape[0] * curves.shape[1], dtype=float).reshape(curves.shape[:2])
    number[np.isnan(curves).all(axis=-1)] = np.nan
    by_number = curves.reshape(-1, curves.shape[-1])

    def statistic(numbers: np.ndarray) -> np.ndarray:
        return iqm(np.moveaxis(by_number[numbers.astype(int)], -1, -3))

    return bands(number, statistic, resamples, seed)


# --- two methods


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> float:
    """The probability that a run of X scores more than a run of Y on the same task, mean over tasks; a tie counts half.

    On each task it is the Mann-Whitney U divided by the number of pairs.

    :param x: shape (n_runs, n_tasks)
    :param y: shape (m_runs, n_tasks), the same tasks
    """
    return float(np.mean([_wins(first, second) for first, second in _both(x, y)]))


def _both(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The runs of two methods on each task."""
    first, second = _columns(x), _columns(y)
    if len(first) != len(second):
        raise ValueError(f"Two methods are compared on the same tasks, not on {len(first)} and {len(second)}.")
    return list(zip(first, second, strict=True))


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The share of pairs of runs in which the first scores more, a tie for half.

    :param first: shape (..., n_runs)
    :param second: shape (..., m_runs)
    :return: shape (...)
    """
    first, second = first[..., :, None], second[..., None, :]
    return ((first > second).mean(axis=(-2, -1)) + (first >= second).mean(axis=(-2, -1))) / 2


def improvement(x: np.ndarray, y: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """:func:`probability_of_improvement` with its 95 % stratified bootstrap interval.

    :param x: shape (n_runs, n_tasks)
    :param y: shape (m_runs, n_tasks)
    :param resamples: bootstrap samples
    :param seed: of the resampling
    """
    pairs, rng = _both(x, y), np.random.default_rng(seed)
    ours, theirs = [first for first, _ in pairs], [second for _, second in pairs]
    draws = []
    for size in _chunks(resamples, sum(len(first) * len(second) for first, second in pairs)):
        both = zip(_drawn(ours, rng, size), _drawn(theirs, rng, size), strict=True)
        draws.append(np.mean([_wins(first, second) for first, second in both], axis=0))
    return _interval(probability_of_improvement(x, y), np.concatenate(draws))


def difference(x: np.ndarray, y: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """How much higher the interquartile mean of X is than that of Y, with its 95 % stratified bootstrap interval.

    :param x: shape (n_runs, n_tasks)
    :param y: shape (m_runs, n_tasks)
    :param resamples: bootstrap samples
    :param seed: of the resampling
    """
    first, second, rng = balanced(x), balanced(y), np.random.default_rng(seed)
    sizes = _chunks(resamples, max(first.size, second.size))
    draws = [iqm(picks(x, rng, size)) - iqm(picks(y, rng, size)) for size in sizes]
    return _interval(float(iqm(first) - iqm(second)), np.concatenate(draws))


def permutation_p(x: np.ndarray, y: np.ndarray) -> float:
    """Two-sided p-value of an exact permutation test of :func:`probability_of_improvement`.

    The question: if the name of the method did not matter, how often would dealing out the names anew, within each task,
    give a probability at least as far from one half? Exact for any numbers of runs and with ties; with one task and no
    ties it is the Mann-Whitney test.

    :param x: shape (n_runs, n_tasks)
    :param y: shape (m_runs, n_tasks)
    """
    values: np.ndarray = np.zeros(1)
    chances: np.ndarray = np.ones(1)
    pairs = _both(x, y)
    for first, second in pairs:
        ours, theirs = _deals(first, second)
        values = np.round((values[:, None] + ours / len(pairs)).ravel(), 9)
        values, where = np.unique(values, return_inverse=True)
        chances = np.bincount(where.ravel(), (chances[:, None] * theirs).ravel())
    observed = probability_of_improvement(x, y)
    return float(min(chances[np.abs(values - 0.5) >= abs(observed - 0.5) - 1e-7].sum(), 1.0))


def _deals(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the probability of improvement on one task can be when the names are dealt out anew, and how likely each is.

    Counts subsets by their size and their sum of ranks, run after run.
    """
    pooled = np.concatenate([first, second])
    ranks = (pooled[:, None] > pooled).sum(axis=1) * 2 + (pooled[:, None] == pooled).sum(axis=1) + 1  # twice the midrank
    counts = np.zeros((len(first) + 1, int(ranks.sum()) + 1))
    counts[0, 0] = 1
    for rank in ranks:
        for size in range(len(first), 0, -1):
            counts[size, rank:] += counts[size - 1, : counts.shape[1] - rank]
    sums = np.flatnonzero(counts[-1])
    n, m = len(first), len(second)
    u = sums / 2 - n * (n + 1) / 2
    return u / (n * m), counts[-1, sums] / counts[-1].sum()


def smallest_p(x: np.ndarray, y: np.ndarray) -> float:
    """The smallest p-value that so many runs could give: that of every run of one method above every run of the other.

    :param x: shape (n_runs, n_tasks); only which runs there are matters
    :param y: shape (m_runs, n_tasks)
    """
    ways = math.prod(math.comb(len(a) + len(b), len(a)) for a, b in _both(x, y))
    return min(2 / ways, 1.0)


def runs_needed(comparisons: int = 1, n_tasks: int = 1, level: float = 1 - CONFIDENCE) -> int:
    """The least number of runs of each method on each task with which a difference could be shown at all.

    :param comparisons: how many are made (each is then tested at ``level / comparisons``)
    :param n_tasks: tasks
    :param level: the chance of a false claim that is accepted
    """
    runs = 1
    while min(2 / math.comb(2 * runs, runs) ** n_tasks, 1.0) * comparisons > level:
        runs += 1
    return runs


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction for making several comparisons: the chance of one false claim among all stays below the level.

    :param p_values: of the single comparisons
    :return: corrected, in the order of the input
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min((len(p_values) - rank) * p_values[index], 1.0))
        corrected[index] = largest
    return corrected
