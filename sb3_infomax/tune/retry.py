"""What a killed worker has begun is put back into the queue, for anybody to go on with."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

OF_ONE_ATTEMPT = ("reason", "by", "beat")  # user attributes that a copy does not take over
MAX_DEATHS = 3  # after which a trial is left alone: it may be what kills its workers


def queue_again(study: optuna.Study, trial: FrozenTrial, died: bool = True) -> None:
    """Queue a copy of a failed trial: same parameters, same reports, a note of the trials before it; unless it died too often.

    :param study: of the trial
    :param trial: has failed because its worker is gone
    :param died: the worker was killed, rather than stopped by its user
    """
    deaths = trial.user_attrs.get("deaths", 0) + died
    if deaths > MAX_DEATHS:
        return
    trial.user_attrs.update(deaths=deaths, first=first_number(trial))
    for name in OF_ONE_ATTEMPT:
        trial.user_attrs.pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, trial)


def first_number(trial: "FrozenTrial | optuna.Trial") -> int:
    """Number of the first trial of a chain of retries: the name of their common folder with its checkpoint."""
    return int(trial.user_attrs.get("first", trial.number))
