"""Every source ends as the same records; what is damaged, unfinished or double is told."""

import json
import shutil

import numpy as np
import pytest
from runs_on_disk import stored_run

from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import write_json
from sb3_infomax.report.sources import gather, load_scores, read_run, read_zoo_run

CONFIG = """!!python/object/apply:collections.OrderedDict
- - - callback
    - - sb3_infomax.IntrinsicReward:
          module: emi
          coef: 0.1
  - - n_timesteps
    - 200.0
  - - policy
    - MlpPolicy
"""
ARGUMENTS = """!!python/object/apply:collections.OrderedDict
- - - algo
    - ppo
  - - env
    - CartPole-v1
  - - seed
    - {seed}
  - - n_timesteps
    - -1
"""


def zoo_run(logs, number=1, seed=7):
    """What ``rl_zoo3.train`` leaves: two environments, three evaluations of two episodes."""
    folder = logs / "ppo" / f"CartPole-v1_{number}"
    (folder / "CartPole-v1").mkdir(parents=True)
    (folder / "CartPole-v1" / "config.yml").write_text(CONFIG)
    (folder / "CartPole-v1" / "args.yml").write_text(ARGUMENTS.format(seed=seed))
    results = np.array([[10.0, 20.0], [30.0, 50.0], [90.0, 110.0]]) + number
    np.savez(folder / "evaluations.npz", timesteps=[64, 128, 192], results=results, ep_lengths=results.astype(int))
    for index, start in enumerate((100.0, 100.5)):
        header = json.dumps({"t_start": start, "env_id": "CartPole-v1"})
        (folder / f"{index}.monitor.csv").write_text(f"#{header}\nr,l,t\n{10 + index},60,1.0\n{20 + index},40,2.0\n")
    return folder


def test_a_folder_of_the_zoo(tmp_path):
    run = read_zoo_run(zoo_run(tmp_path / "logs"))
    assert (run.task, run.method, run.seed, run.timesteps, run.state) == ("CartPole-v1", "ppo+emi", 7, 200, "finished")
    steps, values, _ = run.points()
    assert steps.tolist() == [64, 128, 192] and values.tolist() == [16, 41, 101]
    # episodes of both environments in the order in which they ended
    assert run.training.returns.tolist() == [10, 11, 20, 21] and run.training.steps.tolist() == [60, 120, 160, 200]


def test_an_unknown_seed_of_the_zoo_is_the_number_of_the_run(tmp_path):
    for number in (1, 2):
        zoo_run(tmp_path, number, seed=-1)
    assert [run.seed for run in load_scores(tmp_path).runs] == [1, 2]


def test_objects_in_a_yaml_file_are_not_made(tmp_path):
    folder = zoo_run(tmp_path)
    made = tmp_path / "made"
    attack = f"!!python/object/apply:pathlib.Path.touch\n- !!python/object/apply:pathlib.Path [{made}]\n"
    (folder / "CartPole-v1" / "config.yml").write_text(attack)
    read_zoo_run(folder)
    assert not made.exists()


def test_a_pickle_in_an_archive_is_refused(tmp_path):
    folder = zoo_run(tmp_path)
    np.savez(folder / "evaluations.npz", timesteps=np.array([1]), results=np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"evaluations.npz is damaged"):
        load_scores(tmp_path)


def test_monitor_files_take_their_names_from_folders_or_a_label(tmp_path):
    for seed in range(2):
        folder = tmp_path / "mine" / f"run_{seed}"
        folder.mkdir(parents=True)
        (folder / "monitor.csv").write_text('#{"t_start": 0, "env_id": "Pendulum-v1"}\nr,l,t\n-5,200,1\n-3,200,2\n')
    scores = load_scores(tmp_path / "mine", measure="training")
    assert {(run.task, run.method, run.seed) for run in scores.runs} == {("Pendulum-v1", "mine", seed) for seed in (0, 1)}
    assert load_scores(f"my method={tmp_path / 'mine'}", measure="training").methods == ["my method"]
    with pytest.raises(UserError, match="No run has a return"):
        load_scores(tmp_path / "mine")


def test_a_table_of_evaluations(tmp_path):
    folder = tmp_path / "cart_pole"
    folder.mkdir()
    rows = [f"{method},{seed},{step},{step + seed}" for method in ("a", "b") for seed in (0, 1) for step in (0, 10)]
    (folder / "evaluations.csv").write_text("\n".join(["method,seed,timesteps,return", *rows]) + "\n")
    scores = load_scores(folder)
    assert (scores.tasks, scores.methods) == (["cart_pole"], ["a", "b"])
    assert scores.final("cart_pole", "a").tolist() == [10, 11]


def test_folders_are_walked_and_merged(tmp_path):
    for seed in range(2):
        stored_run(tmp_path / "ours" / "deep" / "ppo", seed, [0, 1, 2])
    zoo_run(tmp_path / "logs")
    scores = load_scores(tmp_path / "ours", tmp_path / "logs")
    assert (scores.tasks, scores.methods) == (["CartPole-v1"], ["ppo", "ppo+emi"])
    assert len(scores.runs) == 3 and "different budgets" in scores.remarks[0]


def test_unfinished_and_failed_runs_are_said_and_left_out(tmp_path):
    runs = [stored_run(tmp_path, seed, [0, 1, 2]) for seed in range(3)]
    runs[1].folder.finished.unlink()
    runs[2].folder.finished.unlink()
    write_json(runs[2].folder.failed, {"reason": "none"})
    scores = load_scores(tmp_path)
    assert [run.seed for run in scores.runs] == [0]
    assert "1 run is unfinished and left out (--partial" in scores.remarks[0] and "ppo seed 1" in scores.remarks[0]
    assert scores.remarks[1].startswith("1 run failed")
    assert [run.seed for run in load_scores(tmp_path, partial=True).runs] == [0, 1]


@pytest.mark.parametrize("file", ["config.json", "evaluations.csv"])
def test_a_damaged_run_is_refused_or_skipped_when_asked(tmp_path, file):
    stored_run(tmp_path, 0, [0, 1, 2])
    (stored_run(tmp_path, 1, [0, 1, 2]).folder.path / file).write_text("{")
    with pytest.raises(UserError, match=r"seed_1.*--skip-damaged"):
        load_scores(tmp_path)
    scores = load_scores(tmp_path, skip_damaged=True)
    assert len(scores.runs) == 1 and "cannot be read" in scores.remarks[0]


def test_a_return_that_is_no_number_is_refused(tmp_path):
    run = stored_run(tmp_path, 0, [0, 1, 2])
    run.folder.evaluations.write_text(run.folder.evaluations.read_text().replace(",1,", ",nan,"))
    with pytest.raises(UserError, match="no number at step 50"):
        load_scores(tmp_path)


def test_a_copy_counts_once_and_another_run_under_the_same_name_is_refused(tmp_path):
    run = stored_run(tmp_path / "a", 0, [0, 1, 2])
    shutil.copytree(run.folder.path, tmp_path / "b" / "seed_0")
    assert len(load_scores(tmp_path).runs) == 1
    stored_run(tmp_path / "c", 0, [0, 1, 9])
    with pytest.raises(UserError, match="LABEL=FOLDER"):
        load_scores(tmp_path)


def test_settings_that_differ_are_in_the_names(tmp_path):
    found = []
    for index, settings in enumerate(({"n_steps": 64}, {"n_steps": 128})):
        run = stored_run(tmp_path / str(index), 0, [0, 1, 2])
        spec = RunSpec("CartPole-v1", "ppo", 100, algo_kwargs=settings, env_kwargs={"max_episode_steps": 50})
        write_json(run.folder.config, {"format": 1, "spec": spec.to_json(), "versions": {}})
        found.append(read_run(run.folder.path))
    scores = gather(found)
    assert scores.methods == ["ppo (n_steps=64)", "ppo (n_steps=128)"] and scores.tasks == ["CartPole-v1"]


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_nothing_to_read_is_one_sentence(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"There (is no folder|are no runs)"):
        load_scores(source)
