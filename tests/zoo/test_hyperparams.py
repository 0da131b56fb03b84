"""Every entry of our hyper-parameter files makes an experiment: environment, model, callbacks with their modules."""

import argparse

import pytest

from sb3_infomax.compare.environments import PLUGINS, import_plugin
from sb3_infomax.registry import ALGORITHMS, AUXILIARY, REWARDS
from sb3_infomax.zoo.experiment import HYPERPARAMS, hyperparams_file

FILES = sorted(path.stem for path in HYPERPARAMS.glob("*.yml"))
STANDS_FOR = {"atari": "ALE/Pong-v5", "default": "CartPole-v1"}


def test_every_algorithm_reward_and_loss_of_ours_has_a_file():
    assert {*ALGORITHMS, *REWARDS, *AUXILIARY} <= {part for name in FILES for part in name.split("+")}


@pytest.mark.parametrize("name", FILES)
def test_every_entry_can_be_trained(rl_zoo, tmp_path, name):
    yaml = pytest.importorskip("yaml")
    from sb3_infomax.zoo.registration import register

    register()
    for package in {package for package, _ in PLUGINS.values()}:
        import_plugin(package)
    from rl_zoo3.exp_manager import ExperimentManager

    algorithm = name.split("+")[0]
    small = {"n_envs": 1} | ({"batch_size": 64, "n_steps": 64} if algorithm == "ppo" else {"buffer_size": 500})
    entries = yaml.safe_load((HYPERPARAMS / f"{name}.yml").read_text())
    for env_id in {str(entry): env_id for env_id, entry in entries.items()}.values():  # equal entries once
        if env_id.startswith("procgen/"):
            pytest.importorskip("envpool")
        experiment = ExperimentManager(
            argparse.Namespace(),
            algorithm,
            STANDS_FOR.get(env_id, env_id),
            str(tmp_path),
            n_timesteps=1,
            eval_freq=-1,
            config=name,
            hyperparams=dict(small),
            verbose=0,
        )
        model, _ = experiment.setup_experiment()
        for callback in experiment.callbacks:
            callback.init_callback(model)
        assert len(experiment.saved_callbacks) == name.count("+")
        model.env.close()


def test_a_file_of_the_user_goes_before_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hyperparams_file("ppo", None) is None and hyperparams_file("c51", "own.package") == "own.package"
    assert hyperparams_file("c51", None) == str(HYPERPARAMS / "c51.yml")
    assert hyperparams_file("ppo", "ppo+emi") == str(HYPERPARAMS / "ppo+emi.yml")
    (tmp_path / "ppo+emi").write_text("")
    assert hyperparams_file("ppo", "ppo+emi") == "ppo+emi"
