"""The loop of one worker of a study, of whom there may be any number, anywhere, and each may be killed at any time.

A study is a queue of tasks. A task is a trial with a key among its user attributes: ``"trial 7"`` of a search, or the run
that a comparison needs. Three rules make the counts exact, without a process that is in charge:

1. Everybody queues the tasks that are missing. Of two trials with one key the later one is void.
2. A worker takes a waiting trial by setting it to running, which a storage lets only one do, and gives signs of life from
   before that moment on.
3. Trials without signs of life are failed, which again only one can do, and a copy is queued
   (:func:`~sb3_infomax.tune.retry.queue_again`). A worker leaves when no trial is waiting or running.

Optuna's own loop, ``study.optimize``, counts on its own, may end with the server, and loses a trial whose worker dies between
taking it and its first sign of life.
"""

import copy
import threading
import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from sb3_infomax.tune.retry import MAX_DEATHS, queue_again
from sb3_infomax.tune.storage import GRACE_BEATS, HEARTBEAT_SECONDS, SERVER_SECONDS, alone

ALIVE = (TrialState.WAITING, TrialState.RUNNING)
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

Objective = Callable[[Trial], float]
T = TypeVar("T")


# Why a trial failed through no fault of its own, and whether that counts as a death, of which it has only so many.
KILLED, CUT_OFF, STOPPED = "its worker was killed", "its storage was away", "its worker was stopped"
LOST = {KILLED: True, CUT_OFF: True, STOPPED: False}


# --- tasks


def key_of(trial: "FrozenTrial | Trial") -> str | None:
    """The task of a trial; ``None`` where somebody else has added it."""
    return trial.user_attrs.get("task")


def all_trials(study: optuna.Study, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
    """The trials in their order, not to be changed; those that are void are left out."""
    trials = study.get_trials(deepcopy=False, states=None if states is None else tuple(states))
    return [trial for trial in trials if not trial.user_attrs.get("void")]


def enqueue(
    study: optuna.Study, key: str, params: dict[str, Any] | None = None, again: bool = False, **attributes: Any
) -> bool:
    """Queue a task, unless it is there already.

    :param study: the queue
    :param key: names the task
    :param params: where the search shall begin; those left out are suggested by the sampler
    :param again: also where it has failed
    :param attributes: for the trial's user attributes
    :return: whether it was missing
    """
    if any(key_of(trial) == key and (trial.state != TrialState.FAIL or not again) for trial in all_trials(study)):
        return False
    study.enqueue_trial(params or {}, user_attrs={"task": key, **attributes})
    return True


def enqueue_trials(study: optuna.Study, n_trials: int, starts: Iterable[dict[str, Any]] = ()) -> None:
    """Queue what is missing of the first ``n_trials`` of a search.

    :param study: the queue
    :param n_trials: of the whole study
    :param starts: parameters of the first ones, such as the defaults; the sampler suggests the others
    """
    first = list(starts)
    with alone(study._storage):
        known = {key_of(trial) for trial in all_trials(study)}
        for index in range(n_trials):
            if f"trial {index}" not in known:
                enqueue(study, f"trial {index}", first[index] if index < len(first) else None)


def outcomes(study: optuna.Study) -> dict[str, FrozenTrial]:
    """The trial that speaks for each task: the finished one, else the newest of its retries."""
    found: dict[str, FrozenTrial] = {}
    for trial in all_trials(study):
        key = key_of(trial)
        if key is not None and (key not in found or found[key].state not in DONE):
            found[key] = trial
    return found


# --- signs of life


class Watch:
    """Signs of life of our own trial, and those missing of others'.

    Databases keep them by Optuna's heartbeat, with one clock for all machines. Elsewhere they are an attribute of the
    trial, and a worker is dead when it has stayed the same for the grace time on the observer's clock: what it says does not
    count, as clocks of machines differ.

    :param study: whose trials to watch
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.storage: Any = study._storage
        interval = self.storage.get_heartbeat_interval() if hasattr(self.storage, "get_heartbeat_interval") else None
        self.by_database = interval is not None
        self.interval: float = interval or getattr(self.storage, "heartbeat_interval", None) or HEARTBEAT_SECONDS
        self.suspects: dict[int, tuple[Any, float]] = {}  # trial -> what was seen, and since when

    def beat(self, trial_id: int) -> None:
        """Give a sign of life."""
        if self.by_database:
            self.storage.record_heartbeat(trial_id)
        else:
            self.storage.set_trial_user_attr(trial_id, "beat", time.time())

    @contextmanager
    def beating(self, trial_id: int) -> Iterator[None]:
        """Give signs of life from a thread; it survives whatever happens to the server."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(self.interval):
                with suppress(Exception):
                    self.beat(trial_id)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def dead(self) -> list[int]:
        """Trials whose workers have been silent for too long in two looks, so that an outage kills nobody.

        :return: their identifiers
        """
        now = time.monotonic()
        if self.by_database:
            seen: dict[int, Any] = dict.fromkeys(self.storage._get_stale_trial_ids(self.study._study_id))
            wait = self.interval
        else:
            running = all_trials(self.study, (TrialState.RUNNING,))
            seen = {trial._trial_id: trial.user_attrs.get("beat") for trial in running}
            wait = GRACE_BEATS * self.interval
        old = self.suspects
        self.suspects = {key: old[key] if key in old and old[key][0] == what else (what, now) for key, what in seen.items()}
        return [key for key, (_, since) in self.suspects.items() if now - since >= wait]


def lose(study: optuna.Study, trial_id: int, reason: str) -> None:
    """Fail a trial that was cut off and queue it again, unless another worker was faster or it has finished.

    :param study: of the trial
    :param trial_id: the trial
    :param reason: of :data:`LOST`
    """
    storage = study._storage
    with suppress(UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, "reason", reason)
        if storage.set_trial_state_values(trial_id, state=TrialState.FAIL):
            queue_again(study, copy.deepcopy(storage.get_trial(trial_id)), LOST[reason])


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial was cut off and is to be done again: its copy is queued, or will be in a moment."""
    reason = trial.user_attrs.get("reason")
    if trial.state != TrialState.FAIL or reason not in LOST:
        return False
    return trial.user_attrs.get("deaths", 0) + LOST[reason] <= MAX_DEATHS


def repair(study: optuna.Study) -> None:
    """Queue again what was lost by a worker that was itself killed between failing it and queueing the copy."""
    for trial in outcomes(study).values():
        if is_lost(trial):
            queue_again(study, copy.deepcopy(trial), LOST[trial.user_attrs["reason"]])


# --- one worker


def claim(watch: Watch, keys: Container[str] | None = None) -> Trial | None:
    """Take a waiting trial; ``None`` where there is none.

    :param watch: of the study
    :param keys: the tasks to choose from, ``None`` for all
    """
    study, storage = watch.study, watch.storage
    for waiting in all_trials(study, (TrialState.WAITING,)):
        trial_id = waiting._trial_id
        if keys is not None and key_of(waiting) not in keys:
            continue
        with suppress(UpdateFinishedTrialError):
            watch.beat(trial_id)  # before it runs: a trial that runs and never gave a sign is never missed
            if not storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
                continue
            same = [trial for trial in all_trials(study) if key_of(trial) == key_of(waiting) is not None]
            if any(trial.number < waiting.number and trial.state in (*ALIVE, *DONE) for trial in same):
                storage.set_trial_user_attr(trial_id, "void", True)
                storage.set_trial_state_values(trial_id, state=TrialState.FAIL)
                continue
            return Trial(study, trial_id)
    return None


def run_trial(watch: Watch, trial: Trial, objective: Objective) -> None:
    """Run the objective and tell the outcome; one that comes after the trial was given to another is dropped."""
    study, state, value = watch.study, None, None
    with watch.beating(trial._trial_id):
        try:
            value = objective(trial)
        except TrialPruned:
            state = TrialState.PRUNED
        except (KeyboardInterrupt, SystemExit):
            lose(study, trial._trial_id, STOPPED)
            raise
        except outages():
            raise
        except Exception as error:
            state = TrialState.FAIL
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr("reason", f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
    with suppress(UpdateFinishedTrialError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a value that is no number fails the trial
        study.tell(trial, value, state, skip_if_finished=True)


def outages() -> tuple[type[Exception], ...]:
    """What a storage raises when its server is away."""
    try:
        import grpc
    except ImportError:
        return (StorageInternalError,)
    return StorageInternalError, grpc.RpcError


def wait_for(study: optuna.Study, stop: threading.Event | None = None) -> None:
    """Wait until the storage answers again.

    :param study: in it
    :param stop: set by another thread to give up
    """
    stop = stop or threading.Event()
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            study._storage.get_study_user_attrs(study._study_id)
            return
        except outages():
            if time.monotonic() > deadline or stop.wait(1.0):
                raise


def through_outages(study: optuna.Study, call: Callable[[], T]) -> T:
    """What a call returns that may be made again, once the server is there.

    :param study: that the call is about
    :param call: without arguments
    """
    for _ in range(5):
        try:
            return call()
        except outages():
            wait_for(study)
    return call()


def is_over(study: optuna.Study, keys: Container[str] | None = None) -> bool:
    """Whether no task, of those with these keys, is waiting or being worked on."""

    def alive() -> bool:
        found = {key_of(trial) for trial in all_trials(study, ALIVE)} - {None}
        return any(keys is None or key in keys for key in found)

    if alive():
        return False
    repair(study)
    return not alive()


def work(
    study: optuna.Study,
    objective: Objective,
    n_trials: int | None = None,
    on_trial: Callable[[FrozenTrial], None] | None = None,
    starts: Iterable[dict[str, Any]] = (),
    keys: Container[str] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Work on a study, beside any number of others, until all its tasks are done.

    An exception of the objective fails its trial and ends nobody. Ctrl-C gives the trial back to the others. A trial that
    another worker has begun has its reports, and its checkpoint under :func:`~sb3_infomax.tune.retry.first_number`.

    :param study: from :func:`~sb3_infomax.tune.storage.create_study`
    :param objective: of a trial, which may be a retry
    :param n_trials: of the whole study, by all workers together; ``None``: what :func:`enqueue` has queued
    :param on_trial: told the outcome of each trial of this worker
    :param starts: parameters of the first trials
    :param keys: the tasks to work on and to wait for, ``None`` for all
    :param stop: set by another thread to end this worker before its next trial
    """
    stop = stop or threading.Event()
    if n_trials is not None:
        through_outages(study, partial(enqueue_trials, study, n_trials, list(starts)))
    watch = Watch(study)
    while not stop.is_set():
        trial = None
        try:
            for trial_id in watch.dead():
                lose(study, trial_id, KILLED)
            trial = claim(watch, keys)
            if trial is None:
                if is_over(study, keys):
                    return
                stop.wait(min(watch.interval / 2, 5.0))
                continue
            run_trial(watch, trial, objective)
            if on_trial is not None:
                on_trial(watch.storage.get_trial(trial._trial_id))
        except outages():
            wait_for(study, stop)
            if trial is not None:
                through_outages(study, partial(lose, study, trial._trial_id, CUT_OFF))
