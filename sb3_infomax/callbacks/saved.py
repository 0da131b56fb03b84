"""What callbacks with a state of their own share: where they may be used, and files in step with the model's."""

import warnings
from pathlib import Path
from typing import Any, ClassVar

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from sb3_infomax.common.saving import SavedFileError, load_state, save_state, state_path, write_atomically
from sb3_infomax.networks.preprocessing import describe_space


class SavedCallback(BaseCallback):
    """A callback that is saved beside the model, as ``<save_path>_<n>_steps.<kind>.pt`` beside ``.zip``.

    :param save_path: as a path without extension; None saves nothing
    :param save_freq: steps between saves; 0 saves at the end of training only
    :param verbose: 1 tells what is attached
    """

    #: in the name of files
    kind: ClassVar[str]

    def __init__(self, save_path: str | Path | None, save_freq: int, verbose: int) -> None:
        super().__init__(verbose)
        self.save_path = None if save_path is None else Path(save_path)
        if save_freq > 0 and save_path is None:
            raise ValueError("save_freq needs a save_path: say where to save.")
        if save_freq < 0:
            raise ValueError(f"save_freq is a number of steps and must be at least 0, got {save_freq}.")
        self.save_freq = save_freq
        self._last_save = 0
        # what load() has read, until there is a model
        self._pending: dict[str, Any] | None = None
        self._pending_steps = 0

    def detach(self) -> None:
        """Take everything off the model; harmless at any time and twice."""
        raise NotImplementedError

    def _config(self) -> dict[str, Any]:
        """What is needed to build the callback again, as JSON; both spaces among it."""
        raise NotImplementedError

    def _state(self) -> dict[str, Any]:
        """Tensors and plain containers."""
        raise NotImplementedError

    def _load_state(self, state: dict[str, Any]) -> None:
        """The counterpart of :meth:`_state`."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """All of the callback's state into one file, written whole or not at all.

        :param path: the extension is added where it lacks that
        :return: the file
        """
        if not self.is_built():
            raise ValueError("There is nothing to save before training has started.")
        target = state_path(path, self.kind)
        save_state(target, self._config(), self.model.num_timesteps, self._state(), self.kind)
        return target

    def continue_from(self, path: str | Path) -> int:
        """Go on with what :meth:`save` wrote, once training starts, the optimizer's learning rate included; other settings
        stay this callback's own.

        Nothing in the file is executed: tensors and JSON only.

        :param path: of the file
        :return: the step of the model at which it was saved
        :raises SavedFileError: where the file is damaged or not ours; what does not fit is told when training starts
        """
        config, num_timesteps, state = load_state(state_path(path, self.kind), self.kind)
        self._pending, self._pending_steps = {"config": config, "state": state}, num_timesteps
        return num_timesteps

    def is_built(self) -> bool:
        """Whether training has started, so that there is something to save."""
        raise NotImplementedError

    def _save_in_step(self) -> None:
        assert self.save_path is not None
        base = self.save_path.parent / f"{self.save_path.name}_{self.model.num_timesteps}_steps"
        write_atomically(base.with_name(base.name + ".zip"), self.model.save)
        self.save(base)
        self._last_save = self.model.num_timesteps

    def _save_if_due(self) -> None:
        """Between two rollouts, when model and callback have both been trained on the last one."""
        if self.save_path is not None and 0 < self.save_freq <= self.model.num_timesteps - self._last_save:
            self._save_in_step()

    def _save_at_end(self) -> None:
        if self.save_path is not None and self.model.num_timesteps > self._last_save:
            self._save_in_step()

    def _check_parent(self) -> None:
        if self.parent is not None:
            raise ValueError(
                f"{type(self).__name__} cannot work inside {type(self.parent).__name__}, which passes on no rollouts: give it "
                "to learn() directly or in a list."
            )

    def _restore_pending(self) -> None:
        """Take over what :meth:`load` has read, now that there is a model."""
        if self._pending is None:
            return
        name, config = type(self).__name__, self._pending["config"]
        saved, present = _module_names(config), _module_names(self._config())
        if saved != present:
            raise SavedFileError(f"The file holds {saved}, but this {name} has {present}: give it the same modules.")
        for kind in ("observation_space", "action_space"):
            found = describe_space(getattr(self.model, kind))
            if config.get(kind) != found:
                raise SavedFileError(f"The saved module's {kind} was {config.get(kind)}, but the model's is {found}.")
        try:
            self._load_state(self._pending["state"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise SavedFileError(
                "The saved module was built with other settings, or for a model of another kind; pass those it was saved with."
            ) from error
        if self.model.num_timesteps not in (0, self._pending_steps):
            warnings.warn(
                f"{name} was saved at step {self._pending_steps}, but the model is at step "
                f"{self.model.num_timesteps}: load files of the same step.",
                stacklevel=2,
            )
        self._pending = None


def callbacks_in(callback: Any) -> list[Any]:
    """The callbacks of a list, and of the lists in it."""
    if isinstance(callback, CallbackList):
        return [member for each in callback.callbacks for member in callbacks_in(each)]
    return [callback]


def _module_names(config: dict[str, Any]) -> str:
    """For comparison and for messages; a damaged file has none."""
    try:
        return ", ".join(str(module["name"]) for module in config["modules"])
    except (KeyError, TypeError):
        return "nothing"
