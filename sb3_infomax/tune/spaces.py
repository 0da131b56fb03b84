"""Search spaces: which settings of an algorithm, a reward or a loss are searched, and where.

One YAML file for each in the folder ``spaces/``, the same for ``sb3-infomax tune`` and for the RL Zoo's ``--optimize``:

.. code-block:: yaml

    learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}       # a float; whole numbers make it an int, with step if wanted
    train_freq: {choices: [1, 4, 16]}
    policy_kwargs.net_arch: {choices: [null, [64, 64]]}         # a dot goes into a dictionary; null leaves the default
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.spec import UserError
from sb3_infomax.compare.storage import read_yaml
from sb3_infomax.registry import unknown_name

if TYPE_CHECKING:
    import optuna

FOLDER = Path(__file__).with_name("spaces")
_KEYS = {"low", "high", "log", "step", "choices"}


@dataclass(frozen=True)
class Parameter:
    """One setting and its range.

    :param name: of the constructor's argument; a dot goes into a dictionary, as in ``policy_kwargs.net_arch``
    :param choices: what may be chosen, or empty where there are bounds; ``None`` leaves the argument out
    :param low: smallest value
    :param high: largest value
    :param log: search the logarithm
    :param step: of whole numbers
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    step: int = 1

    @property
    def is_int(self) -> bool:
        """Whether it is a whole number between bounds."""
        return not self.choices and isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: "optuna.trial.BaseTrial", prefix: str = "") -> Any:
        """A value for a trial; four digits of it, which is all that a search can tell and a person wants to read.

        :param trial: of Optuna
        :param prefix: before the name of the trial's parameter
        """
        name = prefix + self.name
        if self.choices:
            return decode(trial.suggest_categorical(name, [encode(choice) for choice in self.choices]))
        if self.is_int:
            return trial.suggest_int(name, int(self.low), int(self.high), step=self.step, log=self.log)
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def to_json(self) -> dict[str, Any]:
        """The range as :func:`read_parameter` reads it."""
        if self.choices:
            return {"choices": list(self.choices)}
        rest = ({"log": True} if self.log else {}) | ({"step": self.step} if self.step != 1 else {})
        return {"low": self.low, "high": self.high, **rest}

    def contains(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        if self.choices:
            return encode(value) in [encode(choice) for choice in self.choices]
        if isinstance(value, bool) or not isinstance(value, int if self.is_int else (int, float)):
            return False
        return self.low <= value <= self.high and (not self.is_int or (int(value) - int(self.low)) % self.step == 0)


def encode(value: Any) -> bool | int | float | str | None:
    """A choice as Optuna can store it: lists and dictionaries as their JSON text."""
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value


def decode(value: Any) -> Any:
    """What :func:`encode` was given."""
    return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value


@dataclass(frozen=True)
class Space:
    """What is searched for one algorithm, reward or loss.

    :param name: whose space it is
    :param parameters: by name
    """

    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def suggest(self, trial: "optuna.trial.BaseTrial", prefix: str = "") -> dict[str, Any]:
        """Constructor arguments for a trial.

        :param trial: of Optuna
        :param prefix: before the names of the trial's parameters, such as ``"emi."``
        """
        return self.arguments({name: item.suggest(trial, prefix) for name, item in self.parameters.items()})

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by name as constructor arguments: dots become dictionaries, what is ``None`` is left out."""
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if value is None:
                continue
            *outer, last = name.split(".")
            target = arguments
            for key in outer:
                target = target.setdefault(key, {})
            target[last] = value
        return arguments

    def defaults(self, known: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """A trial's parameters that are the defaults, for a study to start from.

        :param known: the defaults of constructor arguments by name
        :param prefix: before the names of the trial's parameters
        :return: only those that lie in the space
        """
        found = {name: None if None in item.choices else known.get(name) for name, item in self.parameters.items()}
        inside = {name: value for name, value in found.items() if self.parameters[name].contains(value)}
        return {prefix + name: encode(value) for name, value in inside.items()}

    def to_json(self) -> dict[str, Any]:
        """The ranges as :func:`read_space` reads them."""
        return {name: item.to_json() for name, item in self.parameters.items()}

    def only(self, names: Collection[str]) -> "Space":
        """The part of the space with these names."""
        return replace(self, parameters={name: item for name, item in self.parameters.items() if name in names})

    def without(self, names: Iterable[str]) -> "Space":
        """The space without these arguments, dotted ones inside them included."""
        fixed = tuple(names)
        free = [name for name in self.parameters if name not in fixed and name.split(".")[0] not in fixed]
        return self.only(free)


def read_parameter(name: str, record: Any, where: str) -> Parameter:
    """One entry of a space.

    :param name: of the setting
    :param record: ``{low, high, log, step}`` or ``{choices}``
    :param where: it was written, for messages
    :raises UserError: where it cannot be read
    """
    form = "write {low: 0.1, high: 1.0}, with log: true if wanted, or {choices: [1, 2]}"
    if not isinstance(record, dict) or set(record) - _KEYS or not ({"low", "high"} <= set(record) or "choices" in record):
        raise UserError(f"{where}: {name} is {record!r}, not a range: {form}.")
    if "choices" in record:
        choices = record["choices"]
        if len(record) > 1 or not isinstance(choices, list) or not choices:
            raise UserError(f"{where}: the choices of {name} are a list, and stand alone: {form}.")
        return Parameter(name, tuple(choices))
    low, high, log, step = record["low"], record["high"], record.get("log", False), record.get("step", 1)
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (low, high)) or not low < high:
        raise UserError(f"{where}: {name} needs two numbers, low before high, not {low!r} and {high!r}.")
    if log and low <= 0:
        raise UserError(f"{where}: {name} has low = {low!r}, and a logarithm needs more than 0: leave log out.")
    if log and step != 1:
        raise UserError(f"{where}: {name} has log and step: leave one of them out.")
    return Parameter(name, (), low, high, bool(log), step)


def read_space(name: str, records: Any, where: str) -> Space:
    """A space from what YAML gave.

    :param name: whose space it is
    :param records: range by setting
    :param where: it was written, for messages
    """
    if not isinstance(records, dict):
        raise UserError(f"{where}: the space of {name} is no table of settings and ranges.")
    return Space(name, {str(key): read_parameter(str(key), record, where) for key, record in records.items()})


def space_names() -> list[str]:
    """Names with a space of ours."""
    return sorted(path.stem for path in FOLDER.glob("*.yml"))


def load_space(name_or_path: str | Path) -> Space:
    """The search space of an algorithm, a reward or a loss.

    :param name_or_path: a name such as ``"ppo"`` or ``"emi"``, or a YAML file of one's own
    :raises UserError: where there is none, or it cannot be read
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith((".yml", ".yaml")) else FOLDER / f"{text}.yml"
    if path.parent == FOLDER and not path.exists():
        raise UserError(str(unknown_name("search space", text, space_names())))
    return read_space(path.stem, read_yaml(path), path.name)
