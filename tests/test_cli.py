import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sb3_infomax
from sb3_infomax.cli import main, make_parser
from sb3_infomax.compare.options import method_text
from sb3_infomax.compare.runner import plan
from sb3_infomax.compare.settings import DEFAULTS, merge, parse_seeds, read_file, run_specs
from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import RunFolder, read_json, write_json

CARTPOLE = ["--env", "CartPole-v1", "--eval-points", "2", "--eval-episodes", "1"]
QUICK = ["--algo-arg", "n_steps=64", "batch_size=64", "n_epochs=2"]


def run(argv, capsys):
    """Exit code, standard output and standard error of one command."""
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["train"], "required: --env"),
        (["train", "--env", "CartPol-v1"], "did you mean CartPole-v1"),
        (["train", *CARTPOLE, "--algo", "pppo"], "Unknown algorithm 'pppo': did you mean ppo"),
        (["train", *CARTPOLE, "--reward", "emy"], "Unknown reward 'emy': did you mean emi"),
        (["train", *CARTPOLE, "--reward", "rnd", "--reward-arg", "cof=1"], "Unknown setting of rnd 'cof': did you mean coef"),
        (["train", *CARTPOLE, "--reward", "rnd", "--preset", "papr"], "Unknown preset of RND 'papr': did you mean paper"),
        (["train", *CARTPOLE, "--reward", "rnd", "--coef", "nan"], "finite number"),
        (["train", *CARTPOLE, "--algo-arg", "nsteps=3"], "Unknown setting of ppo 'nsteps': did you mean n_steps"),
        (["train", *CARTPOLE, "--algo-arg", "n_steps=-4"], "ppo cannot be made for CartPole-v1"),
        (["train", *CARTPOLE, "--algo-arg", "n_steps=many"], "ppo's n_steps must be a whole number, got 'many'"),
        (["train", *CARTPOLE, "--reward", "emi", "--reward-arg", "embedding_dim=2.5"], "embedding_dim must be a whole number"),
        (["train", *CARTPOLE, "--reward", "rnd", "--reward-arg", "center=yes"], "center must be True or False"),
        (["train", *CARTPOLE, "--algo", "td3", "--algo-arg", "noise_type=pink"], "noise_type is one of normal"),
        (["train", *CARTPOLE, "--algo-arg", "noise_std=1"], "Unknown setting of ppo 'noise_std'"),
        (["train", *CARTPOLE, "--algo", "sac"], "sac cannot be made for CartPole-v1"),
        (["train", *CARTPOLE, "--algo", "dqn", "--reward", "rnd", "--preset", "paper"], "use ppo or a2c"),
        (["train", *CARTPOLE, "--coef", "1"], "name it with --reward"),
        (["train", *CARTPOLE, "--seed", "-1"], "A seed is a whole number"),
        (["train", *CARTPOLE, "--timesteps", "many"], "not a number of time steps"),
        (["compare", *CARTPOLE], "compare needs methods"),
        (["compare", "ppo", "ppo", *CARTPOLE], "given twice"),
        (["compare", "ppo", *CARTPOLE, "--seeds", "0"], "at least 1"),
        (["compare", "ppo", *CARTPOLE, "--workers", "0"], "at least 1"),
        (["compare", "ppo", "dqn+rnd:coef=x", *CARTPOLE], "finite number"),
        (["check", "--env", "CartPole-v1"], "check needs a reward"),
    ],
)
def test_mistakes_get_one_sentence_and_code_2_before_anything_starts(argv, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(argv, capsys)
    lines = [line for line in err.splitlines() if line.startswith("sb3-infomax: error: ")]
    assert code == 2 and len(lines) == 1 and sentence in lines[0]
    assert "Traceback" not in err and list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(capsys):
    code, _, err = run(["train", "--env", "CartPol-v1", "--debug"], capsys)
    assert code == 2 and "Traceback" in err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "ppo"),
        (["--reward", "none"], "ppo"),
        (["--algo", "dqn", "--reward", "emi"], "dqn+emi"),
        (["--reward", "rnd", "--coef", "0.5", "--preset", "paper"], "ppo+rnd:coef=0.5,preset=paper"),
        (
            ["--reward", "icm", "--reward-arg", "eta=1", "beta=2", "--reward-arg", "center=True"],
            "ppo+icm:eta=1,beta=2,center=True",
        ),
    ],
)
def test_train_and_compare_share_one_notation(argv, text):
    assert method_text(make_parser().parse_args(["train", "--env", "X", *argv])) == text


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("7,3", [7, 3]), ("5,", [5]), ("5,x", None), ("x", None), ("1,1", None)]
)
def test_seeds_are_a_number_or_a_list(text, seeds):
    if seeds is None:
        with pytest.raises(UserError):
            parse_seeds(text)
    else:
        assert parse_seeds(text) == seeds


def test_list_names_every_reward_and_algorithm(capsys):
    code, out, _ = run(["list"], capsys)
    assert code == 0
    assert all(name in out for name in ("emi", "rnd", "icm", "recurrentppo", "crossq", "off-policy", "arXiv"))


def test_train_writes_its_folder_and_refuses_to_overwrite_it(capsys, tmp_path):
    argv = ["train", *CARTPOLE, *QUICK, "--reward", "rnd", "--timesteps", "128", "--out", str(tmp_path / "run")]
    code, out, _ = run(argv, capsys)
    assert code == 0 and str(tmp_path / "run") in out
    assert {"model.zip", "model.intrinsic.pt", "config.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    code, _, err = run(argv, capsys)
    assert code == 2 and "finished" in err and "--overwrite" in err
    assert run([*argv, "--overwrite"], capsys)[0] == 0


def test_train_resumes_only_when_told(capsys, tmp_path):
    argv = ["train", *CARTPOLE, *QUICK, "--timesteps", "128", "--out", str(tmp_path)]
    code, _, err = run([*argv, "--resume"], capsys)
    assert code == 2 and "no run to resume" in err
    RunFolder(tmp_path).claim(
        RunSpec(
            "CartPole-v1",
            "ppo",
            128,
            algo_kwargs={"n_steps": 64, "batch_size": 64, "n_epochs": 2},
            eval_points=2,
            eval_episodes=1,
        )
    )
    code, _, err = run(argv, capsys)
    assert code == 2 and "unfinished" in err
    code, out, _ = run([*argv, "--resume"], capsys)
    assert code == 0 and "starts over" in out


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_check_finds_the_bonus_and_its_cost(capsys, algo):
    settings = QUICK if algo == "ppo" else ["--timesteps", "800"]
    code, out, err = run(["check", "--env", "CartPole-v1", "--algo", algo, "--reward", "rnd", *settings], capsys)
    assert code == 0, out + err
    assert "The bonus varies" in out and "It reaches the learner" in out and "largest difference is 0" in out
    assert "times the CPU time of the plain run" in out and "coef" in out


def start(argv, cwd):
    """A command in a process of its own."""
    path = os.pathsep.join([str(Path(sb3_infomax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "sb3_infomax.cli", *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, seconds=900.0):
    """Until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


COMPARISON = ["compare", *CARTPOLE, *QUICK, "--seeds", "1", "--timesteps", "1500", "--workers", "1", "--out", "out"]


def end_second_run(folder, end):
    """Start a comparison, wait until its second run is under way, end it somehow, and give its exit code and output.

    :param end: told the process of the comparison and the number of that of the run
    """
    progress = folder / "out" / "runs" / "CartPole-v1" / "ppo+rnd" / "seed_0" / "progress.json"
    progress.unlink(missing_ok=True)
    process = start([*COMPARISON, "ppo", "ppo+rnd"], folder)
    wait_for(progress.exists)
    end(process, json.loads(progress.read_text())["pid"])
    out, _ = process.communicate(timeout=600)
    return process.returncode, out


def kill_everything(process, worker):
    process.kill()
    os.kill(worker, signal.SIGKILL)


def test_a_comparison_that_was_ended_goes_on_and_repeats_no_finished_run(tmp_path):
    finished = [tmp_path / "out" / "runs" / "CartPole-v1" / name / "seed_0" / "finished.json" for name in ("ppo", "ppo+rnd")]
    code, out = end_second_run(tmp_path, lambda process, worker: os.kill(worker, signal.SIGKILL))
    assert code == 1 and "ppo+rnd seed 0: FAILED: ended by signal SIGKILL" in out
    before = finished[0].stat().st_mtime_ns
    for end, exit_code in [
        (kill_everything, -signal.SIGKILL),
        (lambda process, worker: process.send_signal(signal.SIGINT), 130),
    ]:
        code, out = end_second_run(tmp_path, end)
        assert code == exit_code and not finished[1].exists()
    assert "the same command again goes on" in out
    again = start([*COMPARISON, "ppo+rnd"], tmp_path)  # the other method stays where it is, and in the table
    out, _ = again.communicate(timeout=900)
    assert again.returncode == 0 and "ppo+rnd seed 0 was cut short and starts over" in out, out
    assert finished[0].stat().st_mtime_ns == before and finished[1].exists()
    rows = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["ppo", "ppo+rnd"] and (tmp_path / "out" / "curves.png").exists()
    assert read_file(tmp_path / "out" / "compare.yml")["methods"] == ["ppo", "ppo+rnd"]


FILE = """
env:
  InvertedPendulum-v5: {n_envs: 2}
  MiniGrid-Empty-5x5-v0: {env_arg: {max_episode_steps: 20}, eval_episodes: 2}
methods:
  mine: {ppo: {n_steps: 32, batch_size: 32, n_epochs: 1}, rnd: {coef: 0.1}}
budget: 1s
"""


def test_a_file_compares_environments_of_two_families_and_is_stored(tmp_path, capsys):
    (tmp_path / "file.yml").write_text(FILE)
    out = tmp_path / "out"
    argv = ["compare", "--config", str(tmp_path / "file.yml"), "--seeds", "1", "--eval-points", "2", "--out", str(out)]
    code, told, err = run(argv, capsys)
    assert code == 0, told + err
    assert "MiniGrid-Empty-5x5-v0 mine seed 0: finished" in told and (out / "report.html").exists()
    specs = run_specs(merge(DEFAULTS, read_file(out / "compare.yml")))
    assert [(spec.env, spec.label, spec.cpu_seconds, spec.timesteps) for spec in specs] == [
        ("InvertedPendulum-v5", "mine", 1.0, None),
        ("MiniGrid-Empty-5x5-v0", "mine", 1.0, None),
    ]
    for spec in specs:
        folder = RunFolder(out / "runs" / spec.env / "mine" / "seed_0")
        assert folder.spec() == spec and read_json(folder.finished)["seconds"]["cpu"] >= 1


BROKEN = '''
from sb3_infomax.rewards.rnd import RND


class Broken(RND):
    """Fails when asked."""

    def bonus(self, transitions):
        raise RuntimeError("no bonus today")
'''


def test_a_failed_run_is_shown_and_does_not_end_the_others(tmp_path):
    (tmp_path / "broken_reward.py").write_text(BROKEN)
    argv = [
        "compare",
        "ppo+broken_reward:Broken",
        "ppo",
        *CARTPOLE,
        *QUICK,
        "--seeds",
        "1",
        "--timesteps",
        "128",
        "--out",
        "out",
    ]
    process = start(argv, tmp_path)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 1
    assert "FAILED: RuntimeError: no bonus today" in out and "Traceback" not in out
    assert "1 of 1" not in out and "0 of 1" in out
    assert (tmp_path / "out" / "runs" / "CartPole-v1" / "ppo" / "seed_0" / "finished.json").exists()
    log = tmp_path / "out" / "runs" / "CartPole-v1" / "ppo+broken_reward-Broken" / "seed_0" / "log.txt"
    assert "Traceback" in log.read_text()


def test_a_plan_refuses_folders_of_other_runs_and_skips_finished_ones(tmp_path):
    spec = RunSpec("CartPole-v1", "ppo", 100)
    (first,) = plan([spec], tmp_path)
    assert (first.state, first.skipped) == ("waiting", False)
    write_json(first.folder.finished, {})
    assert plan([spec], tmp_path)[0].skipped
    with pytest.raises(UserError, match="timesteps = 100, not 7"):
        plan([RunSpec("CartPole-v1", "ppo", 7)], tmp_path)
    with pytest.raises(UserError, match="share the folder"):
        plan([RunSpec("CartPole-v1", text, 7) for text in ("ppo:n_steps=2", "PPO:n_steps=2")], tmp_path / "other")


def test_the_demo_is_a_comparison_with_fixed_settings(capsys, tmp_path, monkeypatch):
    from sb3_infomax.compare import comparison
    from sb3_infomax.compare.demo import DEMO

    seen = {}
    monkeypatch.setattr(comparison, "compare", lambda settings, out, *_: seen.update(specs=run_specs(settings), out=out) or 0)
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert len(seen["specs"]) == len(DEMO["methods"]) * DEMO["seeds"]
    assert {(spec.env, spec.timesteps) for spec in seen["specs"]} == {("FrozenLake-v1", 100_000)} and seen["out"] == tmp_path
    assert seen["specs"][0].env_kwargs["desc"][0] == "SFFFFHFFFHFFFFFF" and seen["specs"][0].algo_kwargs["n_steps"] == 256
    assert main(["demo", "--seeds", "5,7", "--out", str(tmp_path)]) == 0
    assert {spec.seed for spec in seen["specs"]} == {5, 7}
