"""Search spaces: every name has one, and it names only settings that there are."""

import optuna
import pytest

from sb3_infomax.compare.algorithms import SB3_ALGORITHMS
from sb3_infomax.compare.spec import UserError
from sb3_infomax.registry import ALGORITHMS, AUXILIARY, REWARDS
from sb3_infomax.tune.search import default_settings
from sb3_infomax.tune.spaces import load_space, read_space, space_names

KINDS = {
    **dict.fromkeys([*SB3_ALGORITHMS, *ALGORITHMS], "algorithm"),
    **dict.fromkeys(REWARDS, "reward"),
    **dict.fromkeys(AUXILIARY, "loss"),
}


def test_every_registered_name_has_a_space_and_every_space_a_name():
    assert space_names() == sorted(KINDS)


@pytest.mark.parametrize("name", space_names())
def test_a_space_names_existing_settings_and_holds_every_default(name):
    """What a study starts from, the defaults, has to be a point of its space."""
    space, known = load_space(name), default_settings(KINDS[name], name)
    assert {item.split(".")[0] for item in space.parameters} <= set(known)
    assert space.defaults(known).keys() == space.parameters.keys()


@pytest.mark.parametrize("name", space_names())
def test_what_is_suggested_lies_in_the_space(name):
    space = load_space(name)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    arguments = space.suggest(trial, "x.")
    assert trial.params.keys() == {f"x.{item}" for item in space.parameters}
    for item in space.parameters.values():
        outer, _, inner = item.name.partition(".")
        value = arguments.get(outer) if not inner else arguments.get(outer, {}).get(inner)
        assert item.contains(value)


def test_dots_lists_and_null():
    """A dot goes into a dictionary, a list survives Optuna, null leaves the argument out."""
    records = {"policy_kwargs.net_arch": {"choices": [None, [64, 64]]}, "coef": {"low": 1e-5, "high": 1, "log": True}}
    space = read_space("x", records, "x.yml")
    study = optuna.create_study()
    study.enqueue_trial({"policy_kwargs.net_arch": "[64, 64]", "coef": 1e-3})
    study.enqueue_trial(space.defaults({"coef": 0.5}))
    assert space.suggest(study.ask()) == {"policy_kwargs": {"net_arch": [64, 64]}, "coef": 1e-3}
    assert space.suggest(study.ask()) == {"coef": 0.5}
    assert space.without(["policy_kwargs"]).parameters.keys() == {"coef"}


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ({"coef": 0.5}, "coef is 0.5, not a range"),
        ({"coef": {"low": 0.1}}, "not a range"),
        ({"coef": {"low": 2, "high": 1}}, "low before high"),
        ({"coef": {"low": "little", "high": 1}}, "two numbers"),
        ({"coef": {"low": 0.0, "high": 1.0, "log": True}}, "leave log out"),
        ({"coef": {"choices": []}}, "choices of coef are a list"),
        (["coef"], "no table"),
    ],
)
def test_mistakes_in_a_space_are_told_in_a_sentence(records, sentence):
    with pytest.raises(UserError, match=sentence):
        read_space("x", records, "my.yml")


def test_a_mistyped_name_has_its_neighbours_told(tmp_path):
    with pytest.raises(UserError, match="did you mean"):
        load_space("empowermnt")
    with pytest.raises(UserError, match="There is no file"):
        load_space(tmp_path / "my.yml")
