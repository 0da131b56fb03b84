import os
import subprocess
import sys

import pytest

from sb3_infomax.compare import runner
from sb3_infomax.compare.comparison import finished_before
from sb3_infomax.compare.runner import Run, free_cores, plan, run_all, start, stop, worker_environment
from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.compare.storage import RunFolder, write_json


@pytest.mark.parametrize(
    ("workers", "pin", "cores"),
    [(2, True, [5, 6, 5, 6]), (1, True, [5, 6, 5, 6]), (3, True, [None] * 4), (2, False, [None] * 4)],
)
def test_each_process_has_a_core_of_its_own_where_there_are_enough(tmp_path, monkeypatch, workers, pin, cores):
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(runner, "free_cores", lambda: [5, 6])
    monkeypatch.setattr(runner, "start", lambda run: None)
    monkeypatch.setattr(runner, "collect", lambda run: True)
    runs = [Run(RunSpec("CartPole-v1", "ppo", 10, seed), RunFolder(tmp_path)) for seed in range(4)]
    run_all(runs, workers, lambda run: None, lambda: None, pin)
    assert [run.core for run in runs] == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to cores")
def test_a_process_is_bound_to_its_core(tmp_path):
    (run,) = plan([RunSpec("CartPole-v1", "ppo", 10)], tmp_path)
    run.core = free_cores()[0]
    start(run)
    try:
        assert os.sched_getaffinity(run.process.pid) == {run.core}
    finally:
        stop([run.process])


def test_a_worker_ends_when_whoever_started_it_is_gone(tmp_path):
    code = "import time; from sb3_infomax.compare.worker import end_with_parent; end_with_parent(); time.sleep(600)"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=worker_environment())
    worker.stdin.close()  # as the system does it with a process that was killed
    assert worker.wait(timeout=300) == 1


def test_finished_runs_of_earlier_comparisons_in_the_folder_stand_beside_these(tmp_path):
    specs = [RunSpec("CartPole-v1", method, 10) for method in ("ppo", "dqn", "a2c", "trpo")]
    runs = plan(specs[:3], tmp_path / "runs")
    for run in runs[:2]:
        write_json(run.folder.finished, {"seconds": {"wall": 3.0}})
    found = finished_before(specs, runs[1:2], tmp_path)
    assert [(run.spec.method, run.state, run.seconds) for run in found] == [("ppo", "finished", 3.0)]
    changed = [RunSpec("CartPole-v1", "ppo", 20)]
    assert finished_before(changed, runs[1:2], tmp_path) == []
