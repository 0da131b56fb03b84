"""The RL Zoo's experiments, with the state of our callbacks saved beside every model and taken up again with it."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_infomax.callbacks.saved import SavedCallback
from sb3_infomax.common.saving import state_path
from sb3_infomax.compare.spec import UserError
from sb3_infomax.registry import ALGORITHMS

if TYPE_CHECKING:
    from rl_zoo3.exp_manager import ExperimentManager
else:
    # the RL Zoo patches gymnasium when it is imported: not before it is used
    ExperimentManager = object

HYPERPARAMS = Path(__file__).parent / "hyperparams"


def hyperparams_file(algorithm: str, config: str | None) -> str | None:
    """Where the hyper-parameters stand.

    :param algorithm: the RL Zoo's name
    :param config: what the user gave: a file or a Python package, as in the RL Zoo, or the name of one of our files
        (``ppo+emi``); None is our file for our algorithms and the RL Zoo's for its own
    :raises UserError: where there is no such file
    """
    if config is None:
        return str(HYPERPARAMS / f"{algorithm}.yml") if algorithm in ALGORITHMS else None
    ours = HYPERPARAMS / f"{config}.yml"
    if ours.is_file() and not Path(config).is_file():
        return str(ours)
    if config.endswith((".yml", ".yaml", ".py")) and not Path(config).is_file():
        names = ", ".join(sorted(path.stem for path in HYPERPARAMS.glob("*.yml")))
        raise UserError(f"There is no file {config}: give a path, a Python package, or one of {names}.")
    return config


def saved_files(model: str | Path, callbacks: Iterable[SavedCallback]) -> dict[Path, SavedCallback]:
    """Where the state of callbacks stands beside a model.

    :param model: path of the model, with or without ``.zip``
    :param callbacks: all that the model is trained with, in their order
    :return: ``<model>.intrinsic.pt``, ``<model>.auxiliary.pt``, ``<model>_2.auxiliary.pt``, ...
    """
    base = Path(str(model).removesuffix(".zip"))
    found: dict[Path, SavedCallback] = {}
    for callback in callbacks:
        path, number = state_path(base, callback.kind), 1
        while path in found:
            number += 1
            path = state_path(base.with_name(f"{base.name}_{number}"), callback.kind)
        found[path] = callback
    return found


class SaveBeside(BaseCallback):
    """Saves the state of other callbacks beside the models that the RL Zoo saves.

    :param callbacks: whose state
    :param model: path of the model, given the number of steps
    :param save_freq: calls between saves; 0: at the end of training
    """

    def __init__(self, callbacks: list[SavedCallback], model: Callable[[int], Path], save_freq: int = 0) -> None:
        super().__init__()
        self.callbacks, self.model_path, self.save_freq = callbacks, model, save_freq
        self._last_save = -1

    def _on_step(self) -> bool:
        if self.save_freq > 0 and self.n_calls % self.save_freq == 0:
            self._save()
        return True

    def _on_training_end(self) -> None:
        # the RL Zoo ends its first callback twice, once where training was interrupted, and even where it never began
        if self.save_freq == 0 and hasattr(self, "model") and self._last_save != self.model.num_timesteps:
            self._save()

    def _save(self) -> None:
        self._last_save = self.model.num_timesteps
        for path, callback in saved_files(self.model_path(self.model.num_timesteps), self.callbacks).items():
            if callback.is_built():
                callback.save(path)


class ZooExperiment(ExperimentManager):
    """Made a subclass of the RL Zoo's ``ExperimentManager`` where that is in use.

    Our algorithms find their hyper-parameters; modules that callbacks train are saved beside each model (the last, the
    best and the checkpoints) and go on with it.
    """

    def __init__(self, args: Any, algo: str, env_id: str, *others: Any, config: str | None = None, **kwargs: Any) -> None:
        config = hyperparams_file(algo, config)
        super().__init__(args, algo, env_id, *others, config=config, **kwargs)  # type: ignore[misc]

    @property
    def saved_callbacks(self) -> list[SavedCallback]:
        """Those of the callbacks that learn."""
        return [callback for callback in self.callbacks if isinstance(callback, SavedCallback)]

    def read_hyperparameters(self) -> Any:
        """See the RL Zoo, which takes the trial number 0 for none."""
        if self.storage and self.study_name and self.trial_id == 0:
            trial = self.load_trial(self.storage, self.study_name, 0)
            self.custom_hyperparams = trial | (self.custom_hyperparams or {})
        return super().read_hyperparameters()

    def create_callbacks(self) -> None:
        """See the RL Zoo; its evaluation leaves out the ``env_kwargs`` of the file."""
        if self._eval_env_kwargs_args is None:
            self.eval_env_kwargs = self.env_kwargs
        super().create_callbacks()
        callbacks, folder = self.saved_callbacks, Path(self.save_path)
        if not callbacks or self.optimize_hyperparameters:
            return
        for evaluation in [item for item in self.callbacks if isinstance(item, EvalCallback)]:
            best = SaveBeside(callbacks, lambda _: folder / "best_model", save_freq=1)
            others = [evaluation.callback_on_new_best] if evaluation.callback_on_new_best is not None else []
            evaluation.callback_on_new_best = CallbackList([*others, best])
            evaluation.callback_on_new_best.parent = evaluation
        if self.save_freq > 0:
            self.callbacks.append(SaveBeside(callbacks, lambda steps: folder / f"rl_model_{steps}_steps", self.save_freq))
        # first, so that it ends before those that let go of their counters at the end
        self.callbacks.insert(0, SaveBeside(callbacks, lambda _: folder / self.env_name))

    def _load_pretrained_agent(self, hyperparams: dict[str, Any], env: VecEnv) -> BaseAlgorithm:
        model = super()._load_pretrained_agent(hyperparams, env)
        for path, callback in saved_files(self.trained_agent, self.saved_callbacks).items():
            if not path.is_file():
                warnings.warn(f"There is no {path}: {type(callback).__name__} starts afresh.", stacklevel=2)
                continue
            print(f"Going on with {path}")
            steps = callback.continue_from(path)
            if steps != model.num_timesteps:
                warnings.warn(f"{path} was saved at step {steps}, but the model at {model.num_timesteps}.", stacklevel=2)
        return model

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        # where the RL Zoo's record_video looks for them
        self.args.env_kwargs = self.env_kwargs or None
        super()._save_config(saved_hyperparams)
