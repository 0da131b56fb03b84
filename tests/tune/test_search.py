"""What is searched for a method, and the text that a trial's parameters become."""

import optuna
import pytest

from sb3_infomax.compare.algorithms import check_method
from sb3_infomax.compare.spec import UserError, format_method, parse_method
from sb3_infomax.tune.search import plan_search, read_spaces
from sb3_infomax.tune.spaces import space_names

METHODS = [name for name in space_names() if name not in ("emi", "rnd", "icm", "infonce", "cpc", "curl", "stdim", "shift")]
METHODS = [name for name in METHODS if not name.startswith("empowerment")]
ADDED = ["ppo+emi", "ppo+rnd", "dqn+icm", "ppo+empowerment", "dqn+empowerment_mine", "ppo+rnd+emi"]
LOSSES = ["qrdqn+infonce", "dqn+cpc", "dqn+curl", "dqn+stdim", "dqn+shift"]


@pytest.mark.parametrize("text", [*METHODS, *ADDED, *LOSSES])
def test_a_suggestion_is_a_method_text_that_reads_as_it_was_written(text):
    search = plan_search(text)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    found = search.suggest(trial)
    method = parse_method(found)
    assert format_method((method.algorithm, *method.rewards, *method.losses)) == found == search.method_of(trial.params)
    check_method(method)
    assert trial.params.keys() == set(search.names)


@pytest.mark.parametrize("text", ["ppo+emi", "dqn", "driml"])
def test_the_first_trial_is_the_defaults(text):
    """Its text names every default, so that it stays what it was when the search began."""
    search = plan_search(text)
    assert search.start.keys() == set(search.names)
    assert search.default == text


def test_what_the_text_settles_is_not_searched():
    search = plan_search("ppo:n_steps=512+emi:coef=0.1", fixed={"gamma": 0.9})
    assert not {"ppo.n_steps", "ppo.gamma", "emi.coef"} & set(search.names)
    assert {"ppo.learning_rate", "emi.lambda_info"} <= set(search.names)
    assert "n_steps=512" in search.method_of(search.start) and "coef=0.1" in search.method_of(search.start)


def test_a_mixture_leaves_what_its_rewards_share_alone():
    assert not {"rnd.coef", "emi.coef", "emi.center"} & set(plan_search("ppo+rnd+emi").names)


def test_a_preset_is_where_the_search_starts():
    assert plan_search("ppo+emi:preset=atari").start["emi.lambda_error"] == 100.0


def test_some_settings_may_be_chosen():
    assert plan_search("ppo+emi", chosen=["emi.coef", "ppo.learning_rate"]).names == ["ppo.learning_rate", "emi.coef"]
    with pytest.raises(UserError, match=r"did you mean emi\.coef"):
        plan_search("ppo+emi", chosen=["emi.coeff"])


def test_spaces_of_ones_own(tmp_path):
    path = tmp_path / "my.yml"
    path.write_text("emi:\n  coef: {low: 0.1, high: 0.2}\n")
    search = plan_search("ppo+emi", own=read_spaces(path), chosen=["emi"])
    assert search.names == ["emi.coef"] and search.start == {}
    path.write_text("emi:\n  koef: {low: 0.1, high: 0.2}\n")
    with pytest.raises(UserError, match="did you mean coef"):
        plan_search("ppo+emi", own=read_spaces(path))
    with pytest.raises(UserError, match="part of the method"):
        plan_search("ppo+rnd", own=read_spaces(path))


def test_a_class_of_ones_own_needs_a_space():
    with pytest.raises(UserError, match="no search space for"):
        plan_search("ppo+sb3_infomax.rewards.emi:EMI")


def test_nothing_left_to_search_is_told():
    with pytest.raises(UserError, match="is settled"):
        plan_search("dqn+shift:shift=4", chosen=["shift"])
