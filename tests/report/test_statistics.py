import numpy as np
import pytest
from runs_on_disk import stored_run

from sb3_infomax.compare.runner import Run
from sb3_infomax.report.statistics import (
    Curves,
    bootstrap,
    evaluation_curve,
    final,
    summarize,
    training_curve,
)


def test_the_interval_of_a_normal_sample_is_that_of_its_mean():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    score = bootstrap(values)
    assert score.mean == pytest.approx(values.mean())
    assert (score.high - score.low) / 2 == pytest.approx(1.96 / 20, rel=0.1)
    assert bootstrap(values) == score


def test_one_seed_has_no_width_and_no_seed_no_number():
    assert bootstrap(np.array([2.0])).low == bootstrap(np.array([2.0])).high == 2.0
    assert np.isnan(bootstrap(np.array([np.nan])).mean)


def test_curves_are_read_from_the_stored_runs(tmp_path):
    runs = [stored_run(tmp_path, 0, [0, 1, 2]), stored_run(tmp_path, 1, [0, 1, 4])]
    curve = evaluation_curve(runs)
    assert curve.steps.tolist() == [0, 50, 100]
    assert curve.values.tolist() == [[0, 1, 2], [0, 1, 4]]
    training = training_curve(runs, n_bins=5)
    assert training.steps.tolist() == [10, 30, 50, 70, 90]
    # the episode past the budget counts for the last bin
    np.testing.assert_equal(training.values[0], [2, np.nan, np.nan, np.nan, 5])


def test_final_is_the_last_tenth_or_the_last_known_point():
    curves = Curves(np.array([10, 91, 100]), np.array([[0.0, 2.0, 4.0], [0.0, 2.0, np.nan], [7.0, np.nan, np.nan]]))
    assert final(curves, 100).tolist() == [3.0, 2.0, 7.0]


def test_a_summary_counts_unfinished_seeds_and_leaves_evaluation_time_out(tmp_path):
    done = stored_run(tmp_path, 0, [0, 1, 2])
    waiting = Run(done.spec, done.folder, state="failed")
    row = summarize("ppo", [done, waiting])
    assert (row.n_finished, row.n_seeds) == (1, 2)
    assert (row.evaluation.mean, row.training.mean, row.success.mean) == (2.0, 5.0, 1.0)
    assert (row.wall_seconds, row.cpu_seconds) == (2.0, 2.0)
    assert np.isnan(summarize("ppo", [waiting]).evaluation.mean)
