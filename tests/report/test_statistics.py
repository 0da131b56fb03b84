"""Statistics against closed forms, brute force, and the numbers of rliable and SciPy."""

import json
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest

from sb3_infomax.report.statistics import (
    AGGREGATES,
    Estimate,
    aggregate,
    balanced,
    bands,
    bootstrap,
    difference,
    efficiency_curve,
    holm,
    improvement,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    permutation_p,
    probability_of_improvement,
    runs_needed,
    smallest_p,
)

PEER = json.loads((Path(__file__).parent / "data" / "from_rliable.json").read_text())
OURS, THEIRS = np.array(PEER["ours"]), np.array(PEER["theirs"])


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_are_those_of_rliable(name):
    value, low, high = PEER["aggregates"][name]
    score = aggregate(OURS, AGGREGATES[name], resamples=50_000)
    assert score.value == pytest.approx(value, abs=1e-12)
    # two bootstraps of 2000 and 50000 draws differ by chance only
    assert [score.low, score.high] == pytest.approx([low, high], abs=0.02)


def test_iqm_is_the_trimmed_mean_of_scipy():
    assert iqm(OURS) == pytest.approx(PEER["scipy"]["trim_mean"], abs=1e-12)


def test_improvement_is_that_of_rliable():
    value, low, high = PEER["improvement"]
    score = improvement(OURS, THEIRS, resamples=20_000)
    assert score.value == pytest.approx(value, abs=1e-12)
    assert [score.low, score.high] == pytest.approx([low, high], abs=0.025)


def test_profiles_are_those_of_rliable():
    peer = PEER["profile"]
    thresholds = np.array(peer["thresholds"])
    value, low, high = bands(OURS, lambda draws: performance_profile(draws, thresholds), resamples=20_000)
    assert value == pytest.approx(peer["value"], abs=1e-12)
    assert low == pytest.approx(peer["low"], abs=0.051) and high == pytest.approx(peer["high"], abs=0.051)


def test_without_ties_the_permutation_test_is_the_exact_mann_whitney_test_of_scipy():
    found = [permutation_p(ranks[:5], ranks[5:]) for ranks in np.array(PEER["scipy"]["no_ties"])]
    assert found == pytest.approx(PEER["scipy"]["mannwhitneyu_p"])


def test_simple_cases():
    scores = np.array([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [3.0, 40.0]])
    assert iqm(scores) == np.mean([2, 3, 10, 20]) and mean(scores) == 13.25 and median(scores) == 13.25
    assert median(np.array([1.0, 2.0, 9.0])) == 2.0
    assert optimality_gap(np.array([0.5, 2.0])) == 0.25
    assert performance_profile(np.array([1.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist() == [1.0, 0.5, 0.0]


def test_each_task_weighs_the_same_however_many_runs_it_has():
    scores = np.array([[1.0, 0.0], [1.0, np.nan], [1.0, np.nan]])
    assert mean(scores) == 0.5 and balanced(scores).tolist() == [[1, 0]] * 3
    assert aggregate(scores, mean, 200) == Estimate(0.5, 0.5, 0.5)


def test_the_bootstrap_is_stratified_and_reproducible():
    scores = np.array([[0.0, 100.0], [0.0, 100.0]])  # no run differs from another on its task
    assert aggregate(scores, mean, 500) == Estimate(50.0, 50.0, 50.0)
    assert aggregate(OURS, seed=3) == aggregate(OURS, seed=3) != aggregate(OURS, seed=4)


def test_the_interval_of_a_normal_sample_is_that_of_its_mean():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    score = bootstrap(values)
    assert score.value == pytest.approx(values.mean())
    assert (score.high - score.low) / 2 == pytest.approx(1.96 / 20, rel=0.1)
    assert bootstrap(values) == score


def test_one_seed_has_no_width_and_no_seed_no_number():
    assert bootstrap(np.array([2.0])).low == bootstrap(np.array([2.0])).high == 2.0
    assert np.isnan(bootstrap(np.array([np.nan])).value)


def test_with_three_seeds_the_interval_goes_from_the_lowest_to_the_highest():
    assert bootstrap(np.array([1.0, 5.0, 6.0])) == Estimate(4.0, 1.0, 6.0)


def test_five_normal_seeds_have_intervals_that_cover_83_times_in_100():
    values = np.random.default_rng(1).normal(size=(1500, 5))
    scores = [bootstrap(row, resamples=400) for row in values]
    assert np.mean([score.low <= 0 <= score.high for score in scores]) == pytest.approx(0.83, abs=0.03)


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2)), np.array([[1.0, np.nan]]), np.array([np.inf, 1.0]), np.zeros((0, 1))])
def test_what_is_no_array_of_scores_is_refused(bad):
    with pytest.raises(ValueError, match=r"Scores have|No run|infinite"):
        aggregate(bad)


def test_improvement_counts_pairs_with_ties_as_half():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.0])
    by_hand = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y])
    assert probability_of_improvement(x, y) == pytest.approx(by_hand)
    assert probability_of_improvement(y, x) == pytest.approx(1 - by_hand)
    assert improvement(x, x + 9).high == 0.0
    assert difference(x + 2, x).value == 2.0


def test_improvement_is_quick_where_every_task_has_another_number_of_runs():
    """Their least common multiple is 2520, and 2520 squared pairs for each resample would not fit into any memory."""
    x = np.arange(40.0).reshape(10, 4)
    for task, runs in enumerate((10, 9, 8, 7)):
        x[runs:, task] = np.nan
    assert improvement(x, x, resamples=200).value == 0.5
    assert probability_of_improvement(x + 100, x) == 1.0
    with pytest.raises(ValueError, match="same tasks"):
        improvement(x, x[:, :2])


def brute_force_p(x, y):
    """Every way to deal out the names on two tasks."""

    def deals(a, b):
        pooled = np.concatenate([a, b])
        for chosen in combinations(range(len(pooled)), len(a)):
            yield probability_of_improvement(pooled[list(chosen)], np.delete(pooled, chosen))

    values = [(u + v) / 2 for u in deals(x[:, 0], y[:, 0]) for v in deals(x[:, 1], y[:, 1])]
    observed = abs(probability_of_improvement(x, y) - 0.5)
    return np.mean([abs(value - 0.5) >= observed - 1e-9 for value in values])


def test_the_permutation_test_counts_all_deals_also_with_ties_and_several_tasks():
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 4, (3, 2)).astype(float), rng.integers(1, 5, (4, 2)).astype(float)
    assert permutation_p(x, y) == pytest.approx(brute_force_p(x, y))


def test_the_test_makes_false_claims_as_rarely_as_it_says():
    rng = np.random.default_rng(3)
    p_values = [permutation_p(*rng.normal(size=(2, 5, 2))) for _ in range(400)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.08


def test_so_many_runs_are_needed():
    assert smallest_p(np.zeros(3), np.ones(3)) == permutation_p(np.zeros(3), np.ones(3)) == 2 / comb(6, 3) == 0.1
    assert [runs_needed(k) for k in (1, 3, 6, 10)] == [4, 5, 5, 6]
    assert runs_needed(1, n_tasks=2) == 3 and permutation_p(np.zeros((1, 1)), np.ones((1, 1))) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_an_efficiency_curve_is_the_iqm_at_every_point():
    curves = np.random.default_rng(4).normal(size=(5, 3, 7))
    curves[4, 0] = np.nan
    value, low, high = efficiency_curve(curves, resamples=300)
    assert value[2] == pytest.approx(iqm(curves[:, :, 2]))
    assert (low <= value).all() and (value <= high).all()
