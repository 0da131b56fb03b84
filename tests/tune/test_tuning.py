"""``sb3-infomax tune`` from the outside: real processes, real training of a few hundred steps."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import optuna
import pytest
from study_workers import wait_until

from sb3_infomax.cli import main
from sb3_infomax.compare.spec import parse_method
from sb3_infomax.compare.storage import read_rows
from sb3_infomax.tune.storage import open_storage
from sb3_infomax.tune.work import outcomes
from tuning.publish_study import publish

FIXED = "ppo:n_steps=64,batch_size=64,n_epochs=1+rnd"
TASK = ["--env", "CartPole-v1", "--timesteps", "300", "--seeds", "1", "--eval-points", "3", "--eval-episodes", "1"]
SEARCH = ["--tune", "rnd.coef", "rnd.center", "--search-seed", "0", "--heartbeat", "1", "--study", "s"]


def command(out, *options):
    return ["tune", FIXED, *TASK, *SEARCH, "--out", str(out), *options]


def study_in(url_or_folder):
    url = url_or_folder if isinstance(url_or_folder, str) else None
    return optuna.load_study(study_name="s", storage=open_storage(url, None if url else url_or_folder, heartbeat=1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of three trials by two workers, and what was printed."""
    out = tmp_path_factory.mktemp("study")
    done = subprocess.run(
        [sys.executable, "-m", "sb3_infomax.cli", *command(out, "--trials", "3", "--workers", "2")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_two_workers_do_as_many_trials_as_were_asked_for(finished):
    out, text = finished
    trials = outcomes(study_in(out))
    assert [trial.state.name for trial in trials.values()] == ["COMPLETE"] * 3
    assert trials["trial 0"].params == {"rnd.coef": 1.0, "rnd.center": True}
    assert len({trial.params["rnd.coef"] for trial in trials.values()}) == 3  # samplers of different seeds
    assert "trial 0 (the defaults)" in text and "[3/3]" in text


def test_it_ends_with_everything_that_is_needed_to_go_on(finished):
    out, text = finished
    best = study_in(out).best_trial
    assert best.user_attrs["method"] in text
    parse_method(best.user_attrs["method"])
    for name in ("trials.csv", "best.yml", "best.py", "study.png", "slices.png", "study.db"):
        assert (out / name).stat().st_size > 100
    assert "sb3-infomax compare" in text or "No settings were better" in text
    assert list((out / "trials" / str(best.number)).glob("seed_1000/model.zip"))


def test_the_score_is_that_of_the_stored_evaluations(finished):
    """Extrinsic returns in the bare environment, which the bonus is no part of."""
    out, _ = finished
    for trial in outcomes(study_in(out)).values():
        rows = read_rows(out / "trials" / str(trial.number) / "seed_1000" / "evaluations.csv")
        last = [row["return"] for row in rows if row["timesteps"] >= 240]
        assert trial.value == pytest.approx(sum(last) / len(last)) and all(value % 1 == 0 for value in last)


def test_the_same_command_with_more_trials_adds_the_difference(finished, capsys):
    out, _ = finished
    assert main(command(out, "--trials", "4", "--workers", "1")) == 0
    assert len(outcomes(study_in(out))) == len(study_in(out).trials) == 4
    assert "3 of 4 trials are done already" in capsys.readouterr().out


def test_another_search_is_kept_out_of_a_study_and_of_a_folder(finished, tmp_path, capsys):
    out, _ = finished
    assert main([*command(out), "--eval-points", "4"]) == 2
    assert "is another one" in capsys.readouterr().err
    assert main(command(out, "--storage", f"sqlite:///{tmp_path}/other.db")) == 2
    assert "holds the trials of another study" in capsys.readouterr().err


def test_what_is_published_of_a_study_opens_again(finished, tmp_path):
    publish(finished[0], tmp_path)
    assert {"README.md", "trials.csv", "best.yml", "study.png", "study.db"} <= {path.name for path in tmp_path.iterdir()}
    assert "--search-seed 0 --compare 5" in (tmp_path / "README.md").read_text()
    assert len(study_in(tmp_path).trials) == len(study_in(finished[0]).trials)


def test_optuna_dashboard_opens_the_study(finished):
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [f"sqlite:///{finished[0]}/study.db", "--host", "127.0.0.1", "--port", str(port)]
    start = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    dashboard = subprocess.Popen([sys.executable, "-c", start, *arguments], stderr=subprocess.DEVNULL)
    try:
        page = fetch(f"http://127.0.0.1:{port}/dashboard")
        studies = json.loads(fetch(f"http://127.0.0.1:{port}/api/studies"))["study_summaries"]
    finally:
        dashboard.kill()
        dashboard.wait()
    assert "<title>Optuna Dashboard</title>" in page and [study["study_name"] for study in studies] == ["s"]


def fetch(url):
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=10).read().decode()
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


def test_a_killed_worker_is_replaced_and_an_interrupted_search_goes_on(tmp_path, capsys):
    """On a journal: SIGKILL for the worker, then Ctrl-C for the command; in the end there is every trial once."""
    url, out, printed = f"journal:{tmp_path}/study.log", tmp_path / "out", tmp_path / "printed.txt"
    options = ["--trials", "2", "--workers", "1", "--storage", url, "--timesteps", "3000"]
    with open(printed, "w") as log:
        search = subprocess.Popen([sys.executable, "-m", "sb3_infomax.cli", *command(out, *options)], stdout=log, stderr=log)
    wait_until(lambda: list(out.rglob("progress.json")), 90)
    os.kill(json.loads(next(out.rglob("progress.json")).read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: "another one takes its place" in printed.read_text(), 60)
    search.send_signal(signal.SIGINT)
    assert search.wait(60) == 130 and "the same command again goes on" in printed.read_text()
    assert main(command(out, *options)) == 0
    trials = outcomes(study_in(url))
    assert [trial.state.name for trial in trials.values()] == ["COMPLETE"] * 2
    assert trials["trial 0"].params == {"rnd.coef": 1.0, "rnd.center": True}
