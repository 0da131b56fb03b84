"""``sb3-infomax tune``: one process that makes the study, starts the workers, shows how it goes, and says what came out."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.runner import Process, cores_for, how_it_ended, start_process, stop
from sb3_infomax.compare.spec import UserError
from sb3_infomax.compare.storage import locked, make_folder, write_json
from sb3_infomax.tune.study import StudySpec, claim_study
from sb3_infomax.tune.worker import URL_VARIABLE

if TYPE_CHECKING:
    import optuna
    from rich.console import Console

    from sb3_infomax.tune.display import StudyDisplay

POLL_SECONDS = 1.0
MAX_RESTARTS = 10  # of workers that died, over the whole command


@dataclass(frozen=True)
class Plan:
    """A study and how to work on it from here.

    :param spec: what the trials do
    :param name: of the study
    :param out: folder of this machine's part in it
    :param url: of the storage; ``None`` is a file in the folder
    :param n_trials: of the whole study, by all machines together
    :param workers: processes here
    :param sampler: of Optuna
    :param seed: of the samplers; ``None`` takes it from the system
    :param heartbeat: seconds between a worker's signs of life
    :param pin: bind each worker to a core of its own, where there are enough
    """

    spec: StudySpec
    name: str
    out: Path
    url: str | None = None
    n_trials: int = 100
    workers: int = 1
    sampler: str = "tpe"
    seed: int | None = None
    heartbeat: int = 15
    pin: bool = True


@dataclass
class Team:
    """The workers of this machine.

    :param plan: what they work on
    """

    plan: Plan
    processes: dict[int, Process] = field(default_factory=dict)
    restarts: int = 0
    deaths: list[str] = field(default_factory=list)  # why workers died, for the display
    cores: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cores = cores_for(self.plan.workers) if self.plan.pin else []

    def log(self, number: int) -> Path:
        """Where a worker's output goes."""
        return self.plan.out / f"worker_{number}.log"

    def start(self, number: int) -> None:
        """Start a worker."""
        variables = {} if self.plan.url is None else {URL_VARIABLE: self.plan.url}
        arguments = [str(self.plan.out), str(number)]
        core = self.cores[number] if self.cores else None
        self.processes[number] = start_process("sb3_infomax.tune.worker", arguments, self.log(number), variables, core)

    def poll(self) -> bool:
        """Replace workers that died, as what they were doing is done again; whether any still works.

        :raises UserError: where they die again and again
        """
        for number, process in list(self.processes.items()):
            code = process.poll()
            if code is None:
                continue
            assert process.stdin is not None
            process.stdin.close()
            del self.processes[number]
            if code == 0:
                continue
            self.restarts += 1
            why = how_it_ended(code, self.log(number))
            if self.restarts > MAX_RESTARTS:
                raise UserError(f"Workers died {self.restarts} times, the last one {why}: the command stops here.")
            self.deaths.append(f"worker {number} {why}; another one takes its place")
            self.start(number)
        return bool(self.processes)


def tune(plan: Plan, console: "Console", rerun: int | None = None) -> int:
    """Work on a study until all its trials are done, then show the best of it and write everything down.

    :param plan: the study
    :param console: where progress and results are shown
    :param rerun: fresh seeds to compare the best settings with the defaults by, at once
    :return: exit code: 0, or 1 where no trial has come to its end
    """
    from sb3_infomax.tune.display import StudyDisplay
    from sb3_infomax.tune.export import conclude

    make_folder(plan.out)
    busy = f"{plan.out} is in use by another search: wait until it ends, or choose another folder with --out."
    with locked(plan.out, busy):
        study = begin(plan, console)
        run_team(Team(plan), study, StudyDisplay(study, plan, console))
        return conclude(study, plan, console, rerun)


def begin(plan: Plan, console: "Console") -> "optuna.Study":
    """Check everything, make the study where it is not there yet, and queue its trials.

    :param plan: the study
    :param console: for remarks
    :raises UserError: where it cannot work; nothing has been started then
    """
    import optuna

    from sb3_infomax.compare.comparison import check_spec
    from sb3_infomax.tune.storage import create_study, open_storage
    from sb3_infomax.tune.work import enqueue_trials

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for note in check_spec(plan.spec.base):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    study = create_study(open_storage(plan.url, plan.out, plan.heartbeat), plan.name)
    if not study.get_trials(deepcopy=False) and (plan.out / "trials").exists():
        raise UserError(f"{plan.out} holds the trials of another study: choose another folder with --out, or delete this one.")
    claim_study(study, plan.spec)
    record = {"study": plan.name, "sampler": plan.sampler, "seed": plan.seed, "heartbeat": plan.heartbeat}
    write_json(plan.out / "study.json", {**record, "spec": plan.spec.to_json()})
    enqueue_trials(study, plan.n_trials, [plan.spec.search.start])
    return study


def run_team(team: Team, study: "optuna.Study", display: "StudyDisplay") -> None:
    """Let workers work until the study is done; Ctrl-C ends them, and their trials go back into the queue."""
    try:
        with display.watching():
            for number in range(team.plan.workers):
                team.start(number)
            while team.poll():
                display.poll(team.deaths)
                team.deaths.clear()
                time.sleep(POLL_SECONDS)
            display.poll(team.deaths)
    finally:
        stop(team.processes.values())


def default_name(spec: StudySpec) -> str:
    """The name of a study whose user gave none."""
    return f"{spec.base.env} {spec.search.default}"
