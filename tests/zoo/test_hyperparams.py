"""Every entry of our hyper-parameter files makes an experiment: environment, model, callbacks with their modules."""

import argparse

import pytest
import yaml

from sb3_infomax.compare.environments import PLUGINS, import_plugin
from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.registry import ALGORITHMS, AUXILIARY, REWARDS
from sb3_infomax.tune.forms import zoo_entry
from sb3_infomax.zoo.experiment import HYPERPARAMS, hyperparams_file

FILES = sorted(path.stem for path in HYPERPARAMS.glob("*.yml"))
STANDS_FOR = {"atari": "ALE/Pong-v5", "default": "CartPole-v1"}


def test_every_algorithm_reward_and_loss_of_ours_has_a_file():
    assert {*ALGORITHMS, *REWARDS, *AUXILIARY} <= {part for name in FILES for part in name.split("+")}


@pytest.fixture
def set_up(rl_zoo, tmp_path):
    """An experiment with its model and the modules of its callbacks, small."""
    from sb3_infomax.zoo.registration import register

    register()
    for package in {package for package, _ in PLUGINS.values()}:
        import_plugin(package)
    from rl_zoo3.exp_manager import ExperimentManager

    def make(algorithm, env_id, config):
        small = {"n_envs": 1} | ({"batch_size": 64, "n_steps": 64} if algorithm == "ppo" else {"buffer_size": 500})
        settings = {"n_timesteps": 1, "eval_freq": -1, "config": str(config), "hyperparams": small, "verbose": 0}
        experiment = ExperimentManager(argparse.Namespace(), algorithm, env_id, str(tmp_path), **settings)
        model, _ = experiment.setup_experiment()
        for callback in experiment.callbacks:
            callback.init_callback(model)
        model.env.close()
        return experiment, model

    return make


@pytest.mark.parametrize("name", FILES)
def test_every_entry_can_be_trained(set_up, name):
    entries = yaml.safe_load((HYPERPARAMS / f"{name}.yml").read_text())
    for env_id in {str(entry): env_id for env_id, entry in entries.items()}.values():  # equal entries once
        if env_id.startswith("procgen/"):
            pytest.importorskip("envpool")
        experiment, _ = set_up(name.split("+")[0], STANDS_FOR.get(env_id, env_id), name)
        assert len(experiment.saved_callbacks) == name.count("+")


def test_what_tuning_found_can_be_trained(set_up, tmp_path):
    method = "driml:policy_kwargs={'net_arch': [8]},infonce_kwargs={'dim': 16},coef=0.3+rnd:coef=0.5,batch_size=8"
    (tmp_path / "best.yml").write_text(zoo_entry(RunSpec("ALE/Pong-v5", method, 100)))
    experiment, model = set_up("driml", "ALE/Pong-v5", tmp_path / "best.yml")
    assert experiment.env_kwargs == {"frameskip": 1} and model.observation_space.shape == (4, 84, 84)
    assert model.coef(1.0) == 0.3 and model.policy_kwargs["net_arch"] == [8]
    assert model.policy_kwargs["infonce_kwargs"]["dim"] == 16
    (reward,) = experiment.saved_callbacks
    assert reward.module.batch_size == 8 and reward.plan.coefficients.coef(1.0) == 0.5


def test_a_file_of_the_user_goes_before_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hyperparams_file("ppo", None) is None and hyperparams_file("c51", "own.package") == "own.package"
    assert hyperparams_file("c51", None) == str(HYPERPARAMS / "c51.yml")
    assert hyperparams_file("ppo", "ppo+emi") == str(HYPERPARAMS / "ppo+emi.yml")
    (tmp_path / "ppo+emi").write_text("")
    assert hyperparams_file("ppo", "ppo+emi") == "ppo+emi"
