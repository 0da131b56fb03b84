import numpy as np
import pytest
from runs_in_memory import scores_of

from sb3_infomax.compare.spec import UserError
from sb3_infomax.report.analysis import analyse
from sb3_infomax.report.claims import place
from sb3_infomax.report.normalization import choose_scale
from sb3_infomax.report.references import reference
from sb3_infomax.report.sources import gather


def said(runs, **settings):
    return ["".join(sentence) for sentence in analyse(gather(runs), resamples=500, **settings).said]


def test_a_clear_difference_is_said_with_its_numbers():
    text = said(scores_of({"ppo": [1, 2, 3, 4, 5], "ppo+emi": [6, 7, 8, 9, 10]}))
    assert text == ["ppo+emi is better than ppo on X: 8 against 3 (P = 1, every run above every other, p = 0.0079, 5 seeds)."]


def test_a_difference_within_chance_is_not_called_one():
    text = said(scores_of({"ppo": [1, 2, 3, 4, 5], "ppo+emi": [2, 1, 4, 6, 5]}))
    assert text[0].startswith("5 seeds do not tell ppo+emi from ppo on X: 3.67 against 3 (P = 0.")


def test_three_seeds_are_too_few_for_any_claim_and_the_number_that_would_do_is_told():
    text = said(scores_of({"ppo": [1, 2, 3], "ppo+emi": [7, 8, 9]}))
    assert text[0].startswith("3 seeds are too few for a claim on X") and "p = 0.10" in text[0]
    assert "From 4 seeds on" in text[0] and text[1].startswith("3 seeds could not tell ppo+emi from ppo")
    remarks = analyse(gather(scores_of({"ppo": [1, 2, 3]})), resamples=500).remarks
    assert "from the lowest run to the highest" in remarks[0]


def test_more_comparisons_need_more_seeds():
    finals = {name: np.arange(5) + 10 * index for index, name in enumerate("abcde")}
    text = said(scores_of(finals))
    assert "10 comparisons are made. From 6 seeds on" in text[0]
    assert len([line for line in said(scores_of(finals), baseline="a") if "is better than a" in line]) == 4


def test_what_a_milder_correction_shows_is_not_called_hopeless_as_well():
    """4 against 4 runs twice would show nothing; beside a comparison that is shown, Holm asks for p of 0.05 only."""
    text = said(scores_of({"ppo": [1, 2, 3, 4], "a": range(5, 13), "b": [6, 7, 8, 9]}), baseline="ppo")
    assert len(text) == 2 and all("is better than ppo" in line for line in text)


def test_three_seeds_on_each_of_three_tasks_can_be_enough():
    runs = [run for task in "XYZ" for run in scores_of({"ppo": [1, 2, 3], "ppo+emi": [7, 8, 9]}, task)]
    text = said(runs)
    assert text[0].startswith("ppo+emi is better than ppo over these 3 tasks: ")
    assert text[-1] == "Task by task, no two methods are told apart."


def test_a_task_that_a_method_did_not_run_on_is_left_out_and_that_is_said():
    analysis = analyse(gather([*scores_of({"a": [1, 2], "b": [3, 4]}), *scores_of({"a": [5, 6]}, "Y")]), resamples=500)
    assert analysis.scores.compared == ["X"] and "b has no run on Y" in analysis.remarks[0]


@pytest.mark.parametrize(
    "runs", [[], scores_of({"ppo": [1]}), scores_of({"ppo": [1], "emi": [2]}), scores_of({"ppo": [2, 2]})]
)
def test_little_data_makes_a_report_all_the_same(runs):
    analysis = analyse(gather(runs), resamples=200)
    assert len(analysis.summaries) == len({run.method for run in runs})


def test_scales():
    runs = [*scores_of({"a": [1, 5]}), *scores_of({"a": [10, 20]}, "Y")]
    assert choose_scale(gather(runs)).limits == {"X": (1, 5), "Y": (10, 20)}
    assert "min-max" in choose_scale(gather(runs)).words
    assert choose_scale(gather(runs), "raw").limits == choose_scale(gather(runs[:2])).limits == {}
    with pytest.raises(UserError, match="no reference for X"):
        choose_scale(gather(runs), "reference")
    games = gather([*scores_of({"a": [0.0]}, "ALE/Pong-v5"), *scores_of({"a": [0.5]}, "MiniGrid-Empty-5x5-v0")])
    assert choose_scale(games).limits == {"ALE/Pong-v5": (-20.7, 14.6), "MiniGrid-Empty-5x5-v0": (0.0, 1.0)}


def test_the_registered_threshold_is_a_reference():
    scale = choose_scale(gather(scores_of({"a": [100, 300]}, "CartPole-v1")), "reference")
    assert scale.limits == {"CartPole-v1": (0.0, 475.0)} and scale.has_target


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"X": [0, 2]}', None),
        ("a.yml", "X: [0, 2]", None),
        ("a.csv", "task,low,high\nX,0,2\n", None),
        ("a.json", '{"Y": [0, 2]}', "does not say"),
        ("a.json", '{"X": [2, 0]}', "low must be less"),
        ("a.json", "{", "Cannot read"),
    ],
)
def test_a_scale_from_a_file(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    scores = gather(scores_of({"a": [1.0]}))
    if message is None:
        assert choose_scale(scores, str(path)).limits == {"X": (0.0, 2.0)}
    else:
        with pytest.raises(UserError, match=message):
            choose_scale(scores, str(path))


@pytest.mark.parametrize(
    ("env", "limits"),
    [("PongNoFrameskip-v4", (-20.7, 14.6)), ("procgen/bigfish", (1.0, 40.0)), ("CartPole-v1", None), ("Pong", None)],
)
def test_published_references(env, limits):
    found = reference(env)
    assert (found and found[0]) == limits


def test_the_place_of_a_claim_is_one_task_several_or_the_only_shared_one():
    assert [place("X", 3), place("", 3)] == ["on X", "over these 3 tasks"]
    assert place("", 1) == "on the only task that all methods ran on"
