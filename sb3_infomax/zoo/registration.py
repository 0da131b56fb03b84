"""Our algorithms in the RL Zoo's own tables: no fork, no copy, nothing of it changed on disk."""

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.environments import PROCGEN
from sb3_infomax.compare.spec import UserError
from sb3_infomax.registry import ALGORITHMS, resolve
from sb3_infomax.tune.spaces import load_space
from sb3_infomax.zoo.experiment import ZooExperiment

if TYPE_CHECKING:
    import optuna


def import_zoo(module: str = "rl_zoo3") -> Any:
    """A module of the RL Zoo.

    :param module: its name
    :raises UserError: where the RL Zoo or what it needs is not installed
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"The RL Zoo cannot be used, {error.name!r} is missing: pip install 'sb3-infomax[zoo]'") from error


def register() -> None:
    """Tell the RL Zoo of our algorithms, of how to tune them, and of experiments that save what our callbacks have learned."""
    zoo, experiments, tuning = map(import_zoo, ("rl_zoo3", "rl_zoo3.exp_manager", "rl_zoo3.hyperparams_opt"))
    register_environments()
    # these tables are imported by name all over the RL Zoo: they are added to, never exchanged
    for name in ALGORITHMS:
        zoo.ALGOS[name] = resolve(name, ALGORITHMS, "algorithm")
        tuning.HYPERPARAMS_SAMPLER[name] = partial(sample, name)
        tuning.HYPERPARAMS_CONVERTER[name] = partial(convert, name)
    if not issubclass(experiments.ExperimentManager, ZooExperiment):
        experiments.ExperimentManager = type("ExperimentManager", (ZooExperiment, experiments.ExperimentManager), {})


def register_environments() -> None:
    """The papers' environments, and Procgen's games as ``procgen/<game>``."""
    import gymnasium as gym

    from sb3_infomax.vec_env.procgen import TIME_LIMITS

    importlib.import_module("sb3_infomax.envs")
    for game in TIME_LIMITS:
        if f"{PROCGEN}{game}" not in gym.registry:
            gym.register(f"{PROCGEN}{game}", "sb3_infomax.envs.procgen:ProcgenEnv", kwargs={"game": game})


def sample(algorithm: str, trial: "optuna.Trial", n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Constructor arguments of one trial, as the RL Zoo asks for them: from the search space of ``sb3-infomax tune``.

    :param algorithm: name of ours
    :param trial: to ask
    :param n_actions: not needed
    :param n_envs: not needed
    :param additional_args: not needed
    """
    return load_space(algorithm).suggest(trial)


def convert(algorithm: str, params: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of a finished trial, for ``--trial-id``.

    :param algorithm: name of ours
    :param params: as the study has them
    """
    from optuna.trial import FixedTrial

    return load_space(algorithm).suggest(FixedTrial(params))
