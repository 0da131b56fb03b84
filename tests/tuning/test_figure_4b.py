"""The reproduction of figure 4b: its networks, its end of paths, and that a run which was cut short goes on."""

import csv
import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch as th

pytest.importorskip("mujoco")
TUNING = Path(__file__).parents[2] / "tuning"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TUNING / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch):
    module = load("sparse_half_cheetah")
    small = {"N_ENVS": 1, "PATH_STEPS": 50, "STEPS_PER_ITERATION": 50, "ITERATIONS_PER_ROW": 2, "ITERATIONS_PER_CHECKPOINT": 2}
    spec = module.gym.spec(module.SPARSE_HALF_CHEETAH)
    small["SPARSE_HALF_CHEETAH"] = "tests/ShortCheetah-v0"
    monkeypatch.setitem(
        module.gym.registry,
        "tests/ShortCheetah-v0",
        dataclasses.replace(spec, id="tests/ShortCheetah-v0", max_episode_steps=50),
    )
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    return module


def rows(folder, method):
    with (folder / f"{method}_0.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("method", ["trpo", "trpo+emi"])
def test_a_run_that_was_cut_short_goes_on_from_its_checkpoint(script, tmp_path, method):
    script.run(method, 0, 200, tmp_path, tmp_path / "checkpoints")
    first = rows(tmp_path, method)
    with (tmp_path / f"{method}_0.csv").open("a") as file:
        file.write(f"{method},0,6,300" + "," * (len(script.COLUMNS) - 5) + ",1\n")  # a row after the last checkpoint
    script.run(method, 0, 400, tmp_path, tmp_path / "checkpoints")
    table = rows(tmp_path, method)
    assert [int(row["step"]) for row in table] == [100, 200, 300, 400]
    assert table[:2] == first and table[2]["return_mean"] == "0"
    assert float(table[3]["cpu_seconds"]) > float(table[1]["cpu_seconds"]) > 0
    assert bool(table[3]["mi_state"]) == (method == "trpo+emi")


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_the_bonus_keeps_the_papers_scale_when_resumed(script, tmp_path):
    script.run("trpo+emi", 0, 100, tmp_path, tmp_path / "checkpoints")
    script.run("trpo+emi", 0, 200, tmp_path, tmp_path / "checkpoints")
    assert all(0 < float(row["bonus_std"]) < 0.1 for row in rows(tmp_path, "trpo+emi"))  # 1 if it were standardised


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_lean_forward_pass_equals_that_of_sb3(script):
    env = script.make_vec_env(script.SPARSE_HALF_CHEETAH, 2, seed=0)
    policy = script.new_run("trpo", env, 0)[0].policy
    observations = th.as_tensor(env.reset())
    actions, values, log_prob = policy(observations)
    values_sb3, log_prob_sb3, _ = policy.evaluate_actions(observations.float(), actions)
    th.testing.assert_close((values, log_prob), (values_sb3, log_prob_sb3))
    mean, _, _ = policy(observations, deterministic=True)
    np.testing.assert_allclose(mean.detach(), policy.predict(observations.numpy(), deterministic=True)[0], rtol=1e-5)
    assert policy.log_std.abs().max() == 0 and [layer.out_features for layer in policy.mlp_extractor.policy_net[::2]] == [
        64,
        32,
    ]


def test_time_limit_is_an_end_without_bootstrap(script):
    env = script.EndAtTimeLimit(script.gym.make(script.SPARSE_HALF_CHEETAH, max_episode_steps=2))
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(2)]
    assert ends == [(False, False), (True, True)]  # SB3 bootstraps where truncated and not terminated


def test_report_cuts_all_curves_at_the_common_step(tmp_path):
    report = load("sparse_half_cheetah_report")
    for method, seed, n_rows in [("trpo", 0, 3), ("trpo+emi", 0, 4), ("trpo+emi", 1, 5)]:
        with (tmp_path / f"{method}_{seed}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["method", "seed", "step", "return_mean", "rewarded_paths", "bonus_mean", "cpu_seconds"])
            writer.writerows(
                [method, seed, 50_000 * (i + 1), 10 * i if "emi" in method else 0, 0.5, "", 60] for i in range(n_rows)
            )
    report.report(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "before step 150,000" in text and "| trpo+emi | 2 | 10.0 [10.0, 10.0] | 10.0, 10.0 | 0.50 |" in text
    assert (tmp_path / "figure_4b.png").stat().st_size > 5_000
