"""A comparison that any number of independent processes, on any machines, work through together.

Every run is a task of an Optuna study (:mod:`sb3_infomax.tune.work`). Each process has its own folder; what a report needs of
a finished run travels through the study, so that each process ends with the whole comparison. Models stay where they were
trained. Where processes share a folder, a run that was cut off goes on from its checkpoint, else from its beginning.
"""

import base64
import hashlib
import json
import math
import os
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from sb3_infomax.compare.runner import POLL_SECONDS, Run, plan, run_all
from sb3_infomax.compare.spec import RunSpec, UserError, folder_name
from sb3_infomax.compare.storage import RunFolder, locked, locked_when_free, make_folder, read_rows, taking_turns, write_atomic
from sb3_infomax.tune.storage import HEARTBEAT_SECONDS, alone, create_study, open_storage
from sb3_infomax.tune.work import DONE, Watch, claim, enqueue, key_of, outcomes, run_trial, through_outages, work

if TYPE_CHECKING:
    from sb3_infomax.compare.display import LineDisplay

FILES = ("config.json", "evaluations.csv", "monitor.csv", "finished.json")  # the last one says that all are there
MAX_BYTES = 200_000_000  # of a run's files, unpacked


@dataclass(frozen=True)
class Sharing:
    """Where a shared comparison is kept.

    :param url: of the storage, see :mod:`sb3_infomax.tune.storage`
    :param study: its name there; ``None`` is ``compare-`` and the environments
    :param heartbeat: seconds between two signs of life
    """

    url: str
    study: str | None = None
    heartbeat: int = HEARTBEAT_SECONDS


# --- a run as a task


def task_of(spec: RunSpec) -> str:
    """The key of a run: readable, and different for all that differ in anything."""
    digest = hashlib.sha256(json.dumps(spec.to_json(), sort_keys=True, default=repr).encode()).hexdigest()
    return f"{spec.env} {spec.label} seed {spec.seed} {digest[:12]}"


def pack(folder: RunFolder) -> str:
    """What a report needs of a finished run, as compressed text."""
    files = {name: (folder.path / name).read_text(encoding="utf-8") for name in FILES}
    return base64.b85encode(zlib.compress(json.dumps(files).encode(), 9)).decode()


def unpack(text: str, run: Run) -> None:
    """Put the files of a run that another process has finished into its folder here.

    :param text: from :func:`pack`; only known names are read, so that nothing else can be written
    :param run: whose files they must be
    :raises UserError: where they are another run's, or damaged; nothing is written then
    """
    inflate = zlib.decompressobj()
    try:
        files = json.loads(inflate.decompress(base64.b85decode(text), MAX_BYTES))
        stored = RunSpec.from_json(json.loads(files["config.json"])["spec"])
        finished = json.loads(files["finished.json"])
        if not (inflate.eof and isinstance(finished, dict) and all(isinstance(files[name], str) for name in FILES)):
            raise TypeError("it is cut off, or no text of files")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f"What the study holds of {run.name} is damaged: choose another one with --study.") from error
    if run.spec.differences(stored):
        raise UserError(f"The study holds another run under the name of {run.name}: choose another one with --study.")
    for name in FILES:
        write_atomic(run.folder.path / name, files[name])


def final_return(folder: RunFolder) -> float:
    """Mean return of the last evaluation, which is what the study shows of a run."""
    rows = read_rows(folder.evaluations)
    last = [row["return"] for row in rows if row["timesteps"] == rows[-1]["timesteps"]]
    value = sum(last) / max(len(last), 1)
    return value if math.isfinite(value) else -math.inf


class RunFailed(Exception):
    """A run has failed; the message is its reason."""


def here() -> str:
    """This process, as the others call it."""
    return f"{socket.gethostname()}, process {os.getpid()}"


# --- one process of a comparison


class SharedComparison:
    """One process of a shared comparison.

    :param runs: all of them, with their folders here
    :param study: the queue
    :param display: for runs of this process, and for news from the others
    :param stopping: set to end it
    """

    def __init__(
        self, runs: list[Run], study: optuna.Study, display: "LineDisplay", stopping: threading.Event | None = None
    ) -> None:
        self.runs = {task_of(run.spec): run for run in runs}
        self.study, self.display = study, display
        self.lock = threading.Lock()
        self.stopping = stopping or threading.Event()
        self.announced: set[int] = set()

    def queue(self) -> None:
        """Queue what is missing; what is finished here already is handed over at once."""
        with alone(self.study._storage):
            for key in self.runs:
                enqueue(self.study, key, again=True)
        finished = {key for key, run in self.runs.items() if run.state == "finished"}
        for key, trial in outcomes(self.study).items():
            if key in finished and trial.state == TrialState.RUNNING:
                self.hand_over(self.runs[key], trial)
        watch = Watch(self.study)
        while (waiting := claim(watch, finished)) is not None:
            run_trial(watch, waiting, self.objective)

    def hand_over(self, run: Run, trial: FrozenTrial) -> None:
        """Tell the outcome of a run that is finished here: we were killed before we could, and maybe another has begun it."""
        with suppress(UpdateFinishedTrialError):
            self.study._storage.set_trial_user_attr(trial._trial_id, "files", pack(run.folder))
            self.study.tell(trial.number, final_return(run.folder), skip_if_finished=True)

    def objective(self, trial: Trial) -> float:
        """Train a run in a process of its own and hand its files over."""
        run = self.runs[str(key_of(trial))]
        trial.set_user_attr("by", here())
        if run.state != "finished":
            self.train(run)
        trial.set_user_attr("files", pack(run.folder))
        return final_return(run.folder)

    def train(self, run: Run) -> None:
        """Run it here, unless a process that was believed dead has it, or has just finished it, in this very folder."""
        with locked_when_free(run.folder.path, self.check_stop):
            pass  # the process that trains it takes the lock for itself
        if run.folder.finished.exists():
            run.finish()
            return
        run.state, run.reason = "waiting", ""
        run_all([run], 1, self.changed, self.check_stop, pin=False)
        if run.state == "failed":
            raise RunFailed(run.reason)

    def changed(self, run: Run) -> None:
        """Show the start or end of a run; worker threads take turns."""
        with self.lock:
            self.display.changed(run)

    def check_stop(self) -> None:
        """End a worker thread where the user wants to stop."""
        if self.stopping.is_set():
            raise KeyboardInterrupt

    def fetch(self) -> None:
        """Note what the others do, and take over the files of what they have finished."""
        for key, trial in through_outages(self.study, partial(outcomes, self.study)).items():
            run = self.runs.get(key)
            if run is not None and run.state not in ("running", "finished"):
                with self.lock:
                    self.note(run, trial)

    def note(self, run: Run, trial: FrozenTrial) -> None:
        """Say what another process does with a run."""
        by = trial.user_attrs.get("by")
        if trial.state in DONE:
            if not run.folder.finished.exists():
                unpack(trial.user_attrs["files"], run)
            run.finish()
            self.display.say(f"{run.name}: finished by {by} [{self.display.ended_text()}]")
        elif trial.state == TrialState.RUNNING and by not in (None, here()) and trial.number not in self.announced:
            self.announced.add(trial.number)
            self.display.say(f"{run.name}: under way at {by}")

    def run(self, workers: int) -> None:
        """Work until all runs are done, here or elsewhere.

        :param workers: processes at a time here
        """

        def worker() -> None:
            with suppress(KeyboardInterrupt):
                work(self.study, self.objective, keys=self.runs, stop=self.stopping)

        pause, next_fetch = 2.0, 0.0
        with ThreadPoolExecutor(workers) as pool:
            try:
                threads = [pool.submit(worker) for _ in range(workers)]
                while wait(threads, timeout=POLL_SECONDS).not_done:
                    with self.lock:
                        self.display.poll()
                    if time.monotonic() > next_fetch:
                        self.fetch()
                        next_fetch = time.monotonic() + pause
            except BaseException:
                self.stopping.set()
                raise
        for thread in threads:
            thread.result()
        self.conclude()

    def conclude(self) -> None:
        """Take over the last runs, and the reasons of those that failed elsewhere."""
        self.fetch()
        for key, trial in through_outages(self.study, partial(outcomes, self.study)).items():
            run = self.runs.get(key)
            if run is not None and run.state not in ("finished", "failed"):
                run.state = "failed"
                run.reason = f"{trial.user_attrs.get('reason', 'nobody knows why')} (at {trial.user_attrs.get('by')})"


def share(specs: list[RunSpec], out: Path, workers: int, display: Any, sharing: Sharing) -> list[Run]:
    """:func:`~sb3_infomax.compare.runner.compare_runs` together with other processes that do the same.

    :param specs: one per run
    :param out: folder of this process, or one that several share
    :param workers: runs at a time in this process
    :param display: an object of :mod:`sb3_infomax.compare.display`
    :param sharing: where the others are met
    :return: the runs with their states
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stopping = threading.Event()
    storage = open_storage(sharing.url, heartbeat=sharing.heartbeat, leaving=stopping)
    environments = dict.fromkeys(folder_name(spec.env) for spec in specs)
    name = sharing.study or "-".join(["compare", *environments])[:200]
    study = create_study(storage, name, sampler=optuna.samplers.RandomSampler())
    make_folder(out)
    busy = f"{out} is in use by another comparison: wait until it ends, or choose another folder with --out."
    with locked(out, busy, shared=True):
        with taking_turns(out):
            runs = plan(specs, out / "runs")
        comparison = SharedComparison(runs, study, display, stopping)
        with display.watching(runs, workers):
            through_outages(study, comparison.queue)
            comparison.run(workers)
    return runs
