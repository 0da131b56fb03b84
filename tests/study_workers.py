"""Processes that work on one study, to be started and killed by tests: ``python workers.py URL N_TRIALS SECONDS LOG``."""

import subprocess
import sys
import time
from pathlib import Path


def objective_of(seconds: float, log: str):
    """Four reports, the time between them, and a line in a file when it begins and ends."""
    from sb3_infomax.tune.retry import first_number

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        note(log, f"begin {first_number(trial)} {x}")
        for step in range(4):
            trial.report(x, step)
            time.sleep(seconds / 4)
        note(log, f"end {first_number(trial)} {x}")
        return x

    return objective


def note(log: str, line: str) -> None:
    with open(log, "a") as file:
        file.write(line + "\n")


def lines(log: Path, start: str = "") -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith(start)] if log.exists() else []


def start(url: str, n_trials: int, seconds: float, log: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, url, str(n_trials), str(seconds), str(log)])


def wait_until(condition, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


if __name__ == "__main__":
    import optuna

    from sb3_infomax.tune.storage import create_study, open_storage
    from sb3_infomax.tune.work import work

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url, n_trials, seconds, log = sys.argv[1:]
    work(create_study(open_storage(url, heartbeat=1), "study"), objective_of(float(seconds), log), int(n_trials))
