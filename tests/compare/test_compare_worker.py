import json
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import VecNormalize

from sb3_infomax.compare import worker
from sb3_infomax.compare.algorithms import make_model
from sb3_infomax.compare.comparison import check_spec
from sb3_infomax.compare.environments import make_vec_env
from sb3_infomax.compare.recording import evaluate
from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import RunFolder, read_json, read_rows
from sb3_infomax.compare.worker import execute, normalization, training_env

PPO_SETTINGS = {"n_steps": 64, "batch_size": 64, "n_epochs": 2}
DQN_SETTINGS = {"learning_starts": 64, "buffer_size": 1000}


def spec_of(method="ppo", **changes):
    settings = {
        "algo_kwargs": PPO_SETTINGS if method.startswith("ppo") else DQN_SETTINGS,
        "eval_points": 4,
        "eval_episodes": 2,
    }
    return RunSpec("CartPole-v1", method, **{"timesteps": 512, **settings, **changes})


def run(folder, spec, **kwargs):
    folder = RunFolder(folder)
    folder.claim(spec)
    execute(spec, folder, **kwargs)
    return folder


BATCH_OF_32 = "batch_size=32,dim=8"


@pytest.mark.parametrize(
    ("method", "files"),
    [
        ("ppo", []),
        ("ppo+rnd", ["model.intrinsic.pt"]),
        ("dqn+icm", ["model.intrinsic.pt"]),
        (f"qrdqn+infonce:{BATCH_OF_32}", ["model.auxiliary.pt"]),
        (f"ppo+rnd+infonce:{BATCH_OF_32}+cpc:k=2", ["model.auxiliary.pt", "model.intrinsic.pt", "model1.auxiliary.pt"]),
    ],
)
def test_a_run_leaves_everything_in_its_folder(tmp_path, method, files):
    folder = run(tmp_path, spec_of(method))
    rows = read_rows(folder.evaluations)
    assert len(rows) == 2 * 5 and sorted({row["timesteps"] for row in rows})[0] == 0
    assert read_json(folder.finished)["timesteps"] == 512
    assert read_json(folder.config)["versions"]["torch"] == th.__version__
    assert folder.model.exists() and sorted(path.name for path in tmp_path.glob("*.pt")) == files
    episodes = load_results(str(tmp_path))  # Stable-Baselines3's own reader
    assert all(row["return"] == row["length"] for row in rows)  # no bonus in them
    assert episodes["l"].sum() <= 512 and (episodes["r"] == episodes["l"]).all()


@pytest.mark.parametrize(("method", "actions"), [("ppo", "best"), ("ppo", "sampled"), ("dqn", "sampled")])
def test_evaluations_leave_the_learner_alone(tmp_path, method, actions):
    many = run(tmp_path / "many", spec_of(method, eval_actions=actions, eval_points=16))
    one = run(tmp_path / "one", spec_of(method, eval_actions=actions, eval_points=1))
    cls = PPO if method == "ppo" else DQN
    parameters = [cls.load(folder.model).policy.state_dict() for folder in (many, one)]
    assert all(th.equal(parameters[0][name], parameters[1][name]) for name in parameters[0])


def test_evaluations_are_equal_for_equal_seeds_and_one_episode_each():
    env = make_vec_env("CartPole-v1", 3, 0)
    model = PPO("MlpPolicy", env, seed=0)
    first, second, other = (evaluate(model, env, seed, deterministic=False, threshold=20) for seed in (1, 1, 2))
    assert first == second != other
    assert all(episode.success == (episode.ret >= 20) for episode in first)


def test_endless_episodes_are_cut_and_keep_what_they_gathered():
    env = make_vec_env("CliffWalking-v1", 2, 0)
    model = PPO("MlpPolicy", env, seed=0)
    model.predict = lambda observations, **kwargs: (np.zeros(2, int), None)  # up, for ever
    assert [tuple(episode) for episode in evaluate(model, env, 0, max_steps=7)] == [(-7.0, 7, 0.0)] * 2


class Cut(Exception):
    """Stands for a kill."""


def cut_at(steps):
    def progress(record):
        if record["timesteps"] >= steps:
            raise Cut

    return progress


@pytest.mark.parametrize("method", ["ppo", "ppo+rnd", "dqn+rnd", f"dqn+infonce:{BATCH_OF_32}"])
def test_a_run_that_was_cut_goes_on_from_its_checkpoint(tmp_path, monkeypatch, method):
    monkeypatch.setattr("sb3_infomax.compare.recording.REPORT_SECONDS", 0.0)
    spec = spec_of(method)
    with pytest.raises(Cut):
        run(tmp_path, spec, progress=cut_at(400), checkpoint_seconds=0.0)
    checkpoint = RunFolder(tmp_path).checkpoint()
    steps = read_json(checkpoint / "state.json")["timesteps"]
    assert 0 < steps <= 400
    seen = []
    folder = run(tmp_path, spec, progress=lambda record: seen.append(record["timesteps"]))
    assert seen[0] == steps and read_json(folder.finished)["timesteps"] == 512
    points = list(dict.fromkeys(row["timesteps"] for row in read_rows(folder.evaluations)))
    assert points == sorted(points) and len(points) == 5
    ends = [row["timesteps"] for row in read_rows(folder.monitor)]
    assert ends == sorted(ends) and len(read_rows(folder.evaluations)) == 10
    assert folder.checkpoint() is None


def test_a_run_without_checkpoint_starts_over_with_the_same_outcome(tmp_path, monkeypatch):
    monkeypatch.setattr("sb3_infomax.compare.recording.REPORT_SECONDS", 0.0)
    whole = run(tmp_path / "whole", spec_of())
    with pytest.raises(Cut):
        run(tmp_path / "cut", spec_of(), progress=cut_at(300))
    again = run(tmp_path / "cut", spec_of())
    columns = [[(row["timesteps"], row["return"]) for row in read_rows(folder.evaluations)] for folder in (whole, again)]
    assert columns[0] == columns[1]


def test_a_budget_of_time_ends_the_run_and_its_schedules(tmp_path, monkeypatch):
    monkeypatch.setattr("sb3_infomax.compare.recording.REPORT_SECONDS", 0.0)
    rates = []
    train = PPO.train
    monkeypatch.setattr(PPO, "train", lambda self: (train(self), rates.append(self._current_progress_remaining)))
    spec = spec_of(timesteps=None, cpu_seconds=1.0)
    with pytest.raises(Cut):
        run(tmp_path, spec, progress=cut_at(256), checkpoint_seconds=0.0)
    before = read_json(RunFolder(tmp_path).checkpoint() / "state.json")["seconds"]
    rates.clear()
    folder = run(tmp_path, spec)
    seconds = read_json(folder.finished)["seconds"]
    spent = seconds["cpu"] - seconds["evaluation_cpu"]
    assert 1.0 <= spent < 2.0 and 0 < before["cpu"] < seconds["cpu"]  # what was done before the cut counts
    assert rates == sorted(rates, reverse=True) and 0 <= rates[-1] < 0.5 < rates[0]
    times = [row["cpu_seconds"] for row in read_rows(folder.evaluations)]
    assert times == sorted(times) and len(set(times)) == 5
    assert "_update_current_progress_remaining" not in vars(PPO.load(folder.model))


@pytest.mark.parametrize(("points", "steps"), [(3, [0, 34, 67, 100]), (4, [0, 25, 50, 75, 100])])
def test_evaluations_lie_evenly_over_the_budget(tmp_path, points, steps):
    settings = {"n_steps": 1, "gamma": 0.9}
    folder = run(tmp_path, spec_of("a2c", timesteps=100, algo_kwargs=settings, eval_points=points, eval_episodes=1))
    assert [row["timesteps"] for row in read_rows(folder.evaluations)] == steps


@pytest.mark.parametrize(
    ("env", "method", "default"),
    [
        ("InvertedPendulum-v5", "ppo", "both"),
        ("HalfCheetah-v5", "trpo+emi", "both"),
        ("HalfCheetah-v5", "sac", "none"),
        ("CartPole-v1", "ppo", "none"),
        ("MiniGrid-Empty-5x5-v0", "ppo", "none"),
    ],
)
def test_mujoco_is_normalized_for_on_policy_learners(env, method, default):
    assert normalization(RunSpec(env, method, 100)) == (default, 0.99)


@pytest.mark.parametrize(("method", "what"), [("ppo", "both"), ("ppo:gamma=0.9", "rewards")])
def test_normalized_runs_go_on_with_their_moments_and_report_raw_returns(tmp_path, monkeypatch, method, what):
    monkeypatch.setattr("sb3_infomax.compare.recording.REPORT_SECONDS", 0.0)
    spec = replace(spec_of(method), env="InvertedPendulum-v5", timesteps=200, normalize=None if what == "both" else what)
    with pytest.raises(Cut):
        run(tmp_path, spec, progress=cut_at(128), checkpoint_seconds=0.0)
    folder = run(tmp_path, spec)
    # it pays 1 at every step, the last excepted
    assert {row["length"] - row["return"] for row in read_rows(folder.evaluations)} <= {0, 1}
    assert {row["l"] - row["r"] for row in read_rows(folder.monitor)} <= {0, 1}
    saved = VecNormalize.load(str(folder.path / "vecnormalize.pkl"), make_vec_env(spec.env, 1, 0))
    assert (saved.norm_obs, saved.gamma) == (what == "both", 0.99 if what == "both" else 0.9)
    assert saved.ret_rms.count > 200  # those of before the cut are in it


@pytest.mark.parametrize(
    ("method", "sigma"),
    [("td3", 0.1), ("ddpg:noise_std=0.3", 0.3), ("sac", None), ("tqc:noise_std=0.2", 0.2), ("td3:action_noise=None", None)],
)
def test_deterministic_learners_explore_with_noise_unless_told_otherwise(method, sigma):
    spec = RunSpec("Pendulum-v1", method, 100)
    noise = make_model(spec, training_env(spec), video_game=False).action_noise
    assert noise is None if sigma is None else noise._sigma == [sigma]


@pytest.mark.parametrize(("env", "what"), [("Taxi-v4", "both"), ("sb3_infomax/PacMan-v0", "observations")])
def test_observations_without_moments_are_not_normalized(env, what):
    with pytest.raises(UserError, match="cannot be normalized"):
        training_env(RunSpec(env, "ppo", 100, normalize=what))


def test_a_failure_is_stored_as_one_line(tmp_path, monkeypatch, capsys):
    folder = RunFolder(tmp_path)
    folder.claim(spec_of())

    def fail(*args):
        raise RuntimeError("the disk is on fire\nsecond line")

    monkeypatch.setattr(worker, "execute", fail)
    assert worker.main(str(tmp_path)) == 1
    assert json.loads(folder.failed.read_text()) == {"reason": "RuntimeError: the disk is on fire"}
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("env", "method"),
    [
        ("procgen/coinrun", "ppo+rnd"),
        ("HalfCheetah-v5", "sac+emi"),
        ("InvertedPendulum-v5", "ppo+emi"),
        ("MiniGrid-Empty-5x5-v0", "qrdqn+infonce:batch_size=32"),
        ("ALE/Breakout-v5", "ppo+icm"),
        ("PointMaze_UMaze-v3", "sac+rnd"),
    ],
)
def test_every_family_of_environments_runs_by_its_id(tmp_path, env, method):
    pytest.importorskip("envpool" if env.startswith("procgen") else "gymnasium")
    small = {"n_steps": 64, "batch_size": 64, "n_epochs": 1} if method.startswith("ppo") else {**DQN_SETTINGS, "train_freq": 8}
    limit = {} if env.startswith(("ALE", "procgen")) else {"max_episode_steps": 50}
    spec = RunSpec(env, method, 128, env_kwargs=limit, algo_kwargs=small, n_envs=2, eval_points=1, eval_episodes=1)
    check_spec(spec)
    rows = read_rows(run(tmp_path, spec).evaluations)
    assert [row["timesteps"] for row in rows] == [0, 128] and all(np.isfinite(row["return"]) for row in rows)


def test_maskable_ppo_runs_where_there_are_no_masks(tmp_path):
    run(tmp_path, spec_of("maskableppo", algo_kwargs=PPO_SETTINGS))


@pytest.mark.parametrize("method", ["ppo+rnd:preset=paper", "ppo+rnd+emi"])
def test_two_value_heads_and_mixtures_run_by_name(tmp_path, method):
    folder = run(tmp_path, spec_of(method))
    assert folder.finished.exists()


def test_evaluations_are_told_and_may_end_the_run(tmp_path):
    told = []

    def stop_at_the_second(timesteps, returns):
        told.append((timesteps, len(returns)))
        if len(told) == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        run(tmp_path, spec_of(), on_evaluation=stop_at_the_second)
    assert told == [(0, 2), (128, 2)]
    assert len(read_rows(tmp_path / "evaluations.csv")) == 4 and not (tmp_path / "finished.json").exists()
