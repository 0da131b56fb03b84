import numpy as np
import pytest
from runs_in_memory import record
from runs_on_disk import stored_run

from sb3_infomax.report.analysis import short_names, summaries, summarize
from sb3_infomax.report.scores import (
    Curves,
    Scores,
    evaluation_curve,
    final,
    time_curve,
    training_curve,
)
from sb3_infomax.report.sources import gather, read_run


def read(*runs):
    return [read_run(run.folder.path) for run in runs]


def test_curves_are_read_from_the_stored_runs(tmp_path):
    runs = read(stored_run(tmp_path, 0, [0, 1, 2]), stored_run(tmp_path, 1, [0, 1, 4]))
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
    done, waiting = read(stored_run(tmp_path, 0, [0, 1, 2]))[0], record([1.0], state="failed")
    row = summarize("CartPole-v1", "ppo", [done, waiting])
    assert (row.n_finished, row.n_seeds) == (1, 2)
    assert (row.evaluation.value, row.training.value, row.success.value) == (2.0, 5.0, 1.0)
    assert (row.wall_seconds, row.cpu_seconds) == (2.0, 2.0)
    assert np.isnan(summarize("X", "ppo", [waiting]).evaluation.value)


def test_runs_of_different_length_are_compared_at_the_common_step_and_that_is_said():
    scores = gather([record([0, 5, 10], budget=100), record([0, 1, 2, 3, 4], seed=1, budget=200)])
    assert scores.final("X", "ppo").tolist() == [10.0, 2.0]
    assert "compared at step 100" in scores.remarks[0]


def test_different_numbers_of_evaluations_are_read_off_on_common_points():
    curve = evaluation_curve([record([0, 10]), record([0, 5, 10])])
    assert curve.steps.tolist() == [0, 100] and curve.values.tolist() == [[0, 10], [0, 10]]


def test_a_budget_of_time_scores_each_run_at_its_own_end():
    runs = [record([0, 5, 10], timed=True), record([0, 1, 2], seed=1, budget=200, timed=True)]
    scores = gather(runs)
    assert scores.final("X", "ppo").tolist() == [10.0, 2.0] and scores.remarks == ()
    assert time_curve(runs).steps[-1] == 10.0


def test_unequal_seeds_are_gaps_in_the_matrix():
    scores = Scores((record([1]), record([2], seed=1), record([3], task="Y")))
    np.testing.assert_equal(scores.matrix("ppo", {"X": (1.0, 3.0)}), [[0.0, 3.0], [0.5, np.nan]])


@pytest.mark.parametrize(
    ("methods", "names"),
    [
        (["ppo", "ppo:n_steps=512+emi:coef=0.1"], ["ppo", "ppo+emi"]),
        (["ppo+emi:coef=0.1", "ppo+emi:coef=1"], ["ppo+emi:coef=0.1", "ppo+emi:coef=1"]),
        (["ppo:" + "a=1," * 9 + "b=1", "ppo:" + "a=1," * 9 + "b=2"], ["ppo (1)", "ppo (2)"]),
    ],
)
def test_names_are_short_and_tell_methods_apart(methods, names):
    assert list(short_names(methods).values()) == names


def test_the_table_of_methods_ends_at_the_common_step_too():
    runs = [record([0, 5, 10], budget=100), record([0, 1, 2, 3, 4], method="ppo+emi", budget=200)]
    assert [row.evaluation.value for row in summaries(gather(runs))] == [10.0, 2.0]
