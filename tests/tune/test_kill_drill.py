"""Two machines in small: processes that share nothing but a database server; one is killed, the server is restarted."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import postgres
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from study_workers import lines, start, wait_until

from sb3_infomax.tune.retry import first_number
from sb3_infomax.tune.storage import create_study, open_storage
from sb3_infomax.tune.work import all_trials, enqueue, outcomes, work


def two_workers(url, n_trials, folder):
    """A victim that has just begun its second trial, a survivor that does trials as well, and what both wrote down."""
    logs = [folder / "victim", folder / "survivor"]
    victim, survivor = (start(url, n_trials, 1.0, log) for log in logs)
    wait_until(lambda: len(lines(logs[0], "begin")) == 2)
    return victim, survivor, lambda word: [line.removeprefix(word) for log in logs for line in lines(log, word)]


def test_a_study_survives_a_killed_worker_and_a_restarted_server(server, database, tmp_path):
    victim, survivor, noted = two_workers(database, 8, tmp_path)
    victim.kill()
    server.control("stop", "-m", "immediate")
    time.sleep(3)
    server.control("start")
    assert survivor.wait(300) == 0 and victim.wait() == -signal.SIGKILL
    trials = all_trials(create_study(open_storage(database, heartbeat=1), "study"))
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(done) == 8 and len({first_number(trial) for trial in done}) == 8
    # what was finished was not done again; what was cut off was, with the parameters that it had
    begun, ended = noted("begin"), noted("end")
    assert len(ended) == 8 and set(ended) == set(begun)
    assert len(begun) - 8 <= len(trials) - 8 <= 3


def test_ctrl_c_ends_a_worker_while_the_server_is_away(server, database):
    stop = threading.Event()
    study = create_study(open_storage(database, heartbeat=1, leaving=stop), "study")
    enqueue(study, "a")

    def worker():
        with contextlib.suppress(KeyboardInterrupt, StorageInternalError):
            work(study, lambda trial: server.control("stop", "-m", "immediate"), stop=stop)

    thread = threading.Thread(target=worker)
    thread.start()
    try:
        thread.join(8)
        assert thread.is_alive()  # waits for the server
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        server.control("start")


def serve(path, port):
    """Optuna's gRPC proxy in a process of its own."""
    code = (
        "import sys, optuna; from sb3_infomax.tune.storage import open_storage; path, port = sys.argv[1:]; "
        "optuna.storages.run_grpc_proxy_server(open_storage(f'sqlite:///{path}'), port=int(port))"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(path), str(port)])
    wait_until(lambda: postgres.is_listening(port))
    return process


def test_through_optunas_proxy_too(tmp_path):
    """Which has no heartbeat, and whose clients die with it in Optuna's own loop."""
    pytest.importorskip("grpc")
    port = postgres.free_port()
    url = f"grpc://127.0.0.1:{port}"
    proxy = serve(tmp_path / "study.db", port)
    victim, survivor, noted = two_workers(url, 8, tmp_path)
    victim.kill()
    proxy.kill()
    proxy.wait()
    proxy = serve(tmp_path / "study.db", port)
    assert survivor.wait(300) == 0
    proxy.kill()
    states = [trial.state for trial in outcomes(create_study(open_storage(folder=tmp_path), "study")).values()]
    assert states == [TrialState.COMPLETE] * 8 and 8 <= len(noted("end")) <= 9


class Machine:
    """A process with a home, a working folder and results of its own, which knows where the server is."""

    def __init__(self, folder, url):
        folder.mkdir()
        self.runs = folder / "out" / "runs" / "CartPole-v1" / "ppo"
        self.folder, self.output = folder, folder / "output"
        what = "ppo --env CartPole-v1 --algo-arg n_steps=64 n_epochs=1 --seeds 4 --timesteps 640 --eval-points 2"
        how = ["--workers", "1", "--out", "out", "--storage", url, "--heartbeat", "1"]
        self.command = [sys.executable, "-m", "sb3_infomax.cli", "compare", *what.split(), *how]
        self.variables = {**os.environ, "HOME": str(folder), "PGPASSWORD": postgres.PASSWORD}
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()

    def start(self):
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.variables, stdout=output, stderr=output)

    def finished(self):
        return {path.parent.name: path.read_text() for path in self.runs.glob("*/finished.json")}

    def under_way(self):
        begun = {path.parent.name for path in self.runs.glob("*/progress.json")}
        assert self.process.poll() is None, self.output.read_text()
        return sorted(begun - set(self.finished()))


@pytest.mark.slow
def test_a_comparison_survives_a_killed_machine_and_a_restarted_server(server, database, tmp_path):
    url = database.replace(":" + postgres.PASSWORD.replace("/", "%2F"), "")
    with Machine(tmp_path / "victim", url) as victim, Machine(tmp_path / "survivor", url) as survivor:
        wait_until(lambda: victim.under_way() and victim.finished())
        (cut,) = victim.under_way()
        victim.process.kill()
        kept = {name: text for name, text in victim.finished().items() if (victim.runs / name / "model.zip").exists()}
        server.control("restart", "-m", "immediate")
        assert survivor.process.wait(300) == 0
        assert set(survivor.finished()) == {f"seed_{seed}" for seed in range(4)}
        # what the victim had finished came over as it was, and what it was doing was done again
        assert all(survivor.finished()[name] == text for name, text in kept.items())
        assert (survivor.runs / cut / "model.zip").exists() and not (victim.runs / cut / "model.zip").exists()
        study = create_study(open_storage(database, heartbeat=1), "compare-CartPole-v1")
        assert [trial.state for trial in outcomes(study).values()] == [TrialState.COMPLETE] * 4
        assert 5 <= len(study.trials) <= 6  # the restart may have cut the survivor off as well
        victim.start()
        assert victim.process.wait(300) == 0 and victim.finished() == survivor.finished()
        assert "started" not in victim.output.read_text()
        tables = [(machine.folder / "out" / "table.csv").read_text() for machine in (victim, survivor)]
        assert tables[0] == tables[1] and postgres.PASSWORD not in survivor.output.read_text()
