"""One worker of a study: ``python -m sb3_infomax.tune.worker FOLDER NUMBER``, as ``sb3-infomax tune`` starts it.

The folder's ``study.json`` says what to do; the storage's URL, which may hold a password, comes by an environment variable.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.storage import RunFolder, read_json
from sb3_infomax.compare.worker import end_with_parent
from sb3_infomax.tune.study import StudySpec, make_pruner, make_sampler

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

URL_VARIABLE = "SB3_INFOMAX_STORAGE"


def sampler_seed(seed: int | None, worker: int, n_known: int) -> int | None:
    """A seed for the sampler of one process: equal ones would propose the same settings in each, and again after a pause.

    :param seed: of the whole command; ``None`` leaves it to the system
    :param worker: number of the process
    :param n_known: trials that the study has already begun
    """
    import numpy as np

    return None if seed is None else int(np.random.SeedSequence([seed, worker, n_known]).generate_state(1)[0])


def open_study(record: dict[str, Any], folder: Path, worker: int) -> "tuple[optuna.Study, StudySpec]":
    """The study of a folder, with a sampler of this process's own.

    :param record: its ``study.json``
    :param folder: of the study
    :param worker: number of the process
    """
    from optuna.trial import TrialState

    from sb3_infomax.tune.storage import create_study, open_storage

    spec = StudySpec.from_json(record["spec"])
    storage = open_storage(os.environ.get(URL_VARIABLE), folder, record["heartbeat"])
    study = create_study(storage, record["study"], pruner=make_pruner(spec))
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    study.sampler = make_sampler(record["sampler"], sampler_seed(record["seed"], worker, len(begun)))
    return study, spec


def tidy(folder: Path, keep_models: bool) -> None:
    """Drop what only a run under way needs, and models that are not wanted.

    :param folder: of a trial's runs
    :param keep_models: leave the trained models
    """
    for run in folder.glob("seed_*"):
        checkpoint = RunFolder(run).checkpoint()
        if checkpoint is not None:
            shutil.rmtree(checkpoint)
        for path in () if keep_models else (RunFolder(run).model, *run.glob("model*.pt")):
            path.unlink(missing_ok=True)


def main(path: str, number: str) -> int:
    """Work until all trials are done; Ctrl-C and the end of the parent give the trial under way back.

    :param path: folder of the study
    :param number: of this worker
    """
    import torch as th

    from sb3_infomax.tune.objective import Objective
    from sb3_infomax.tune.retry import first_number
    from sb3_infomax.tune.work import DONE, is_lost, work

    th.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(path)
    study, spec = open_study(read_json(folder / "study.json"), folder, int(number))

    def on_trial(trial: "FrozenTrial") -> None:
        if is_lost(trial):
            return  # we were believed dead: the folder is its retry's
        best = trial.state == DONE[0] and study.best_trial.number == trial.number
        tidy(folder / "trials" / str(first_number(trial)), keep_models=best)

    try:
        work(study, Objective(spec, folder), on_trial=on_trial)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1], sys.argv[2]))
