"""MIRL where methods are named: the command line's parts and the Zoo's file."""

from pathlib import Path

import pytest
from toys import jump_envs

from sb3_infomax.compare.algorithms import check_method, make_model, parameters_of, resolve_algorithm
from sb3_infomax.compare.spec import RunSpec, UserError, parse_method
from sb3_infomax.mirl.mirl import MIRL

HYPERPARAMETERS = Path(__file__).parents[2] / "tuning" / "hyperparams" / "mirl.yml"
OF_THE_ZOO = {"env_kwargs", "env_wrapper", "frame_stack", "n_timesteps", "policy", "normalize", "n_envs"}


@pytest.mark.parametrize("text", ["mirl", "mirl+emi", "mirl:prior_lr=0.01,beta_schedule=linear+rnd:coef=0.1"])
def test_methods_of_the_command_line(text):
    check_method(parse_method(text))


def test_a_misspelt_setting_is_told_with_the_right_ones():
    with pytest.raises(UserError, match="did you mean prior_lr"):
        check_method(parse_method("mirl:prior_rl=0.01"))


@pytest.mark.parametrize("env", ["atari", "CartPole-v1"])
def test_settings_of_the_zoo_are_parameters(env):
    yaml = pytest.importorskip("yaml")
    settings = yaml.safe_load(HYPERPARAMETERS.read_text())[env]
    assert set(settings) - OF_THE_ZOO <= set(parameters_of(resolve_algorithm("mirl")))
    numbers = {name: value for name, value in settings.items() if name in ("prior_lr", "beta_lr", "learning_rate")}
    assert MIRL("MlpPolicy", jump_envs(1), **numbers).learning_rate == settings["learning_rate"]


def test_a_run_makes_the_model_with_the_settings_of_its_method():
    spec = RunSpec(method="mirl:prior_lr=0.25,learn_prior=False", env="CartPole-v1", timesteps=100, seed=0)
    model = make_model(spec, jump_envs(1), False)
    assert isinstance(model, MIRL) and model.prior_lr == 0.25 and model.learn_prior is False
