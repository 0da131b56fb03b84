"""Many runs in parallel processes: start, watch, stop, go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import sb3_infomax
from sb3_infomax.compare.spec import RunSpec, UserError, folder_name
from sb3_infomax.compare.storage import RunFolder, locked, make_folder, read_json

Process: TypeAlias = subprocess.Popen[bytes]

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0  # between asking a process to end and ending it


@dataclass
class Run:
    """One run and where it stands."""

    spec: RunSpec
    folder: RunFolder
    state: str = "waiting"  # waiting, running, finished, failed
    reason: str = ""  # of a failure, one line
    skipped: bool = False  # finished before this call
    process: Process | None = None

    @property
    def name(self) -> str:
        """What progress lines call it."""
        return f"{self.spec.label} seed {self.spec.seed}"

    def progress(self) -> dict[str, Any]:
        """The newest progress record; empty before the first."""
        try:
            return read_json(self.folder.progress) or {}
        except UserError:  # a display does not end a comparison
            return {}


def plan(specs: list[RunSpec], out: Path) -> list[Run]:
    """Give every run its folder and find out which are finished.

    :param specs: one per run
    :param out: folder of the whole comparison
    :raises UserError: where a folder holds another run; nothing has been started then
    """
    names: dict[str, str] = {}
    for spec in specs:
        name = folder_name(spec.label)
        if names.setdefault(name.lower(), spec.method) != spec.method:
            other = names[name.lower()]
            raise UserError(f"{spec.method!r} and {other!r} would share the folder {name!r}: write one differently.")
    runs = []
    for spec in specs:
        folder = RunFolder(out / folder_name(spec.label) / f"seed_{spec.seed}")
        done = folder.claim(spec)
        runs.append(Run(spec, folder, state="finished" if done else "waiting", skipped=done))
    return runs


def worker_environment() -> dict[str, str]:
    """Variables of a worker: one torch thread, and this very package wherever it is imported from."""
    from sb3_infomax.compare.worker import one_thread_environment

    here = str(Path(sb3_infomax.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return {**one_thread_environment(), "PYTHONPATH": os.pathsep.join([here, *([inherited] if inherited else [])])}


def start_process(module: str, arguments: list[str], log: Path, variables: dict[str, str] | None = None) -> Process:
    """Start a worker. It has a session of its own, so that Ctrl-C reaches only us, and ends when we do.

    :param module: of the worker, which calls :func:`~sb3_infomax.compare.worker.end_with_parent`
    :param arguments: of its command line
    :param log: where its output goes
    :param variables: of its environment, beside ours
    """
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env={**worker_environment(), **(variables or {})},
            start_new_session=True,
        )


def start(run: Run) -> None:
    """Start a run's process."""
    run.process = start_process("sb3_infomax.compare.worker", [str(run.folder.path)], run.folder.log)
    run.state = "running"


def how_it_ended(code: int, log: Path) -> str:
    """Why a worker ended that did not say so itself.

    :param code: its exit code
    :param log: where its output is
    """
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name} (out of memory?)"
    return f"ended with exit code {code}, see {log}"


def collect(run: Run) -> bool:
    """Notice the end of a run; whether it has ended."""
    assert run.process is not None and run.process.stdin is not None
    code = run.process.poll()
    if code is None:
        return False
    run.process.stdin.close()
    if run.folder.finished.exists():
        run.state = "finished"
        return True
    run.state = "failed"
    stored = read_json(run.folder.failed)
    if stored is not None:
        run.reason = stored["reason"]
    else:
        run.reason = how_it_ended(code, run.folder.log)
    return True


def stop(processes: Iterable[Process | None]) -> None:
    """End the processes that still run; their folders stay whole."""
    active = [process for process in processes if process is not None and process.poll() is None]
    for process in active:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in active:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_all(runs: list[Run], workers: int, on_change: Callable[[Run], None], on_poll: Callable[[], None]) -> None:
    """Work through the runs that are not finished.

    :param runs: from :func:`plan`; a failed one does not stop the others
    :param workers: processes at a time
    :param on_change: told when a run starts, finishes or fails
    :param on_poll: called a few times a second, for the display
    """
    waiting = [run for run in runs if run.state == "waiting"]
    active: list[Run] = []
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                run = waiting.pop(0)
                start(run)
                active.append(run)
                on_change(run)
            time.sleep(POLL_SECONDS)
            for run in [run for run in active if collect(run)]:
                active.remove(run)
                on_change(run)
            on_poll()
    finally:
        stop(run.process for run in active)


def default_workers() -> int:
    """As many as there are cores for us."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def compare_runs(specs: list[RunSpec], out: Path, workers: int, display: "Any") -> list[Run]:
    """Plan and run a whole comparison, alone in its folder.

    :param specs: one per run
    :param out: folder of the comparison
    :param workers: processes at a time
    :param display: an object of :mod:`sb3_infomax.compare.display`
    :return: the runs with their states
    """
    make_folder(out)
    with locked(out, f"{out} is in use by another comparison: wait until it ends, or choose another folder with --out."):
        runs = plan(specs, out / "runs")
        with display.watching(runs):
            run_all(runs, workers, display.changed, display.poll)
    return runs
