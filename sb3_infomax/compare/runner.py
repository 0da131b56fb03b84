"""Many runs in parallel processes: start, watch, stop, go on."""

import contextlib
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import sb3_infomax
from sb3_infomax.compare.eta import Pace, makespan
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
    name: str = ""  # what progress lines call it
    state: str = "waiting"  # waiting, running, finished, failed
    reason: str = ""  # of a failure, one line
    skipped: bool = False  # finished before this call
    process: Process | None = None
    core: int | None = None  # that its process is bound to
    record: dict[str, Any] = field(default_factory=dict)  # the newest report of its process
    pace: Pace = field(default_factory=Pace)
    started: float = math.nan  # on the monotonic clock
    seconds: float = math.nan  # that the finished run took

    def __post_init__(self) -> None:
        self.name = self.name or f"{self.spec.label} seed {self.spec.seed}"

    def hear(self, record: dict[str, Any]) -> None:
        """Note a report of the run's progress."""
        self.record = record
        self.pace.add(time.monotonic(), record["share"])

    def look(self) -> None:
        """Read the newest report; those of an earlier attempt do not count."""
        try:
            record = read_json(self.folder.progress) or {}
        except UserError:  # a display does not end a comparison
            return
        if self.process is not None and record.get("pid") == self.process.pid:
            self.hear(record)

    def finish(self) -> None:
        """Note that it is finished, and how long it took."""
        self.state = "finished"
        self.seconds = float((read_json(self.folder.finished) or {}).get("seconds", {}).get("wall", math.nan))


def run_folder(spec: RunSpec, out: Path) -> RunFolder:
    """Where a run is stored.

    :param out: folder of all runs
    """
    return RunFolder(out / folder_name(spec.env) / folder_name(spec.label) / f"seed_{spec.seed}")


def check_folders(texts: Iterable[str]) -> None:
    """Refuse different texts that would share a folder, also where case does not count."""
    names: dict[str, str] = {}
    for text in texts:
        name = folder_name(text)
        other = names.setdefault(name.lower(), text)
        if other != text:
            raise UserError(f"{text!r} and {other!r} would share the folder {name!r}: write one differently.")


def plan(specs: list[RunSpec], out: Path) -> list[Run]:
    """Give every run its folder and find out which are finished.

    :param specs: one per run
    :param out: folder of the whole comparison
    :raises UserError: where a folder holds another run; nothing has been started then
    """
    several = len({spec.env for spec in specs}) > 1
    check_folders(spec.env for spec in specs)
    check_folders(spec.label for spec in specs)
    runs = []
    for spec in specs:
        folder = run_folder(spec, out)
        done = folder.claim(spec)
        name = f"{spec.env} {spec.label} seed {spec.seed}" if several else ""
        runs.append(Run(spec, folder, name, skipped=done))
        if done:
            runs[-1].finish()
    return runs


def worker_environment() -> dict[str, str]:
    """Variables of a worker: one torch thread, and this very package wherever it is imported from."""
    from sb3_infomax.compare.worker import one_thread_environment

    here = str(Path(sb3_infomax.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return {**one_thread_environment(), "PYTHONPATH": os.pathsep.join([here, *([inherited] if inherited else [])])}


def start_process(
    module: str, arguments: list[str], log: Path, variables: dict[str, str] | None = None, core: int | None = None
) -> Process:
    """Start a worker. It has a session of its own, so that Ctrl-C reaches only us, and ends when we do.

    :param module: of the worker, which calls :func:`~sb3_infomax.compare.worker.end_with_parent`
    :param arguments: of its command line
    :param log: where its output goes
    :param variables: of its environment, beside ours
    :param core: to bind it to
    """
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env={**worker_environment(), **(variables or {})},
            start_new_session=True,
        )
    if core is not None:
        with contextlib.suppress(OSError):  # it is over already, or the core was taken from us
            os.sched_setaffinity(process.pid, {core})
    return process


def start(run: Run) -> None:
    """Start a run's process."""
    run.process = start_process("sb3_infomax.compare.worker", [str(run.folder.path)], run.folder.log, core=run.core)
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
    run.look()
    if code is None:
        return False
    run.process.stdin.close()
    if run.folder.finished.exists():
        run.finish()
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


def run_all(
    runs: list[Run], workers: int, on_change: Callable[[Run], None], on_poll: Callable[[], None], pin: bool = True
) -> None:
    """Work through the runs that are not finished.

    :param runs: from :func:`plan`; a failed one does not stop the others
    :param workers: processes at a time
    :param on_change: told when a run starts, finishes or fails
    :param on_poll: called a few times a second, for the display
    :param pin: bind each process to a core of its own, where there are enough
    """
    waiting = [run for run in runs if run.state == "waiting"]
    active: list[Run] = []
    cores = cores_for(workers) if pin else []
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                run = waiting.pop(0)
                run.core = cores.pop(0) if cores else None
                start(run)
                active.append(run)
                on_change(run)
            time.sleep(POLL_SECONDS)
            for run in [run for run in active if collect(run)]:
                active.remove(run)
                if run.core is not None:
                    cores.append(run.core)
                on_change(run)
            on_poll()
    finally:
        stop(run.process for run in active)


def seconds_left(runs: list[Run], workers: int, now: float) -> float:
    """Until all runs have ended; NaN while too little is known.

    :param runs: of a comparison
    :param workers: how many go on at a time
    :param now: on the monotonic clock
    """
    known: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        seconds = run.seconds if run.state == "finished" else run.pace.whole
        if not math.isnan(seconds):
            known.setdefault((run.spec.env, run.spec.label), []).append(seconds)
    means = {key: statistics.fmean(values) for key, values in known.items()}
    usual = statistics.fmean(means.values()) if means else math.nan  # of methods that nothing is known about
    whole = {id(run): means.get((run.spec.env, run.spec.label), usual) for run in runs}
    active = [
        max(whole[id(run)] - (now - run.started), 0.0) if math.isnan(run.pace.left(now)) else run.pace.left(now)
        for run in runs
        if run.state == "running"
    ]
    waiting = [whole[id(run)] for run in runs if run.state == "waiting"]
    unknown = any(map(math.isnan, [*active, *waiting]))
    return math.nan if unknown else makespan(active, waiting, workers)


def free_cores() -> list[int]:
    """The cores that we may use, from a different one at each call: several comparisons share a machine."""
    try:
        cores = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return []
    first = os.getpid() % len(cores)
    return cores[first:] + cores[:first]


def cores_for(workers: int) -> list[int]:
    """A core for each of so many processes; none where there are too few."""
    cores = free_cores()
    return cores if len(cores) >= workers else []


def default_workers() -> int:
    """As many as there are cores for us."""
    return len(free_cores()) or os.cpu_count() or 1


def compare_runs(specs: list[RunSpec], out: Path, workers: int, display: "Any", pin: bool = True) -> list[Run]:
    """Plan and run a whole comparison, alone in its folder.

    :param specs: one per run
    :param out: folder of the comparison
    :param workers: processes at a time
    :param display: an object of :mod:`sb3_infomax.compare.display`
    :param pin: bind each process to a core of its own
    :return: the runs with their states
    """
    make_folder(out)
    with locked(out, f"{out} is in use by another comparison: wait until it ends, or choose another folder with --out."):
        runs = plan(specs, out / "runs")
        with display.watching(runs, workers):
            run_all(runs, workers, display.changed, display.poll, pin)
    return runs
