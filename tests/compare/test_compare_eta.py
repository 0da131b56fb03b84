import math

import pytest

from sb3_infomax.compare.eta import Pace, clock_text, makespan
from sb3_infomax.compare.runner import Run, seconds_left
from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.compare.storage import RunFolder, write_json


def test_the_pace_counts_from_the_first_report():
    pace = Pace()
    assert math.isnan(pace.whole) and math.isnan(pace.left(0.0))
    pace.add(100.0, 0.5)  # went on from a checkpoint
    assert math.isnan(pace.left(101.0))
    pace.add(110.0, 0.6)
    assert pace.whole == pytest.approx(100) and pace.left(110.0) == pytest.approx(40)
    assert pace.left(120.0) == pytest.approx(30) and pace.left(1000.0) == 0


@pytest.mark.parametrize(
    ("active", "waiting", "workers", "end"),
    [([], [], 2, 0), ([3, 5], [], 2, 5), ([3, 5], [4], 2, 7), ([3], [4], 2, 4), ([], [1, 1, 1], 1, 3), ([2], [2, 2, 2], 2, 4)],
)
def test_a_waiting_run_starts_when_a_worker_is_free(active, waiting, workers, end):
    assert makespan(active, waiting, workers) == end


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (245, "4:05"), (3750, "1:02:30"), (math.nan, "-:--")])
def test_times_are_told_as_on_a_clock(seconds, text):
    assert clock_text(seconds) == text


def test_what_is_left_is_told_by_runs_of_the_same_method(tmp_path):
    runs = [Run(RunSpec("CartPole-v1", name, 10, seed), RunFolder(tmp_path)) for seed in (0, 1) for name in ("ppo", "dqn")]
    assert math.isnan(seconds_left(runs, 1, 0.0))
    runs[0].state, runs[0].seconds = "finished", 10.0
    runs[1].state = "running"
    runs[1].pace.add(0.0, 0.0)
    runs[1].pace.add(10.0, 0.5)  # 20 s in all
    assert seconds_left(runs, 1, 10.0) == pytest.approx(10 + 10 + 20)
    assert seconds_left(runs, 2, 10.0) == pytest.approx(30)
    runs[2].state, runs[2].started = "running", 6.0  # has not reported yet
    assert seconds_left(runs, 2, 10.0) == pytest.approx(6 + 20)


def test_a_report_of_an_earlier_attempt_does_not_count(tmp_path):
    run = Run(RunSpec("CartPole-v1", "ppo", 100), RunFolder(tmp_path))
    run.look()
    assert run.record == {}
    write_json(run.folder.progress, {"timesteps": 50, "share": 0.5, "pid": 7})
    run.process = type("Process", (), {"pid": 8})()
    run.look()
    assert run.record == {}
    run.process.pid = 7
    run.look()
    assert run.record["timesteps"] == 50 and run.pace.last[1] == 0.5
