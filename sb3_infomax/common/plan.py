"""Which reward modules a user asks for, with what settings, and how they are built."""

import copy
import inspect
import json
import reprlib
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces

from sb3_infomax.auxiliary.base import AuxiliaryModule
from sb3_infomax.common.arguments import check_arguments, constructors_of, parameters_of
from sb3_infomax.common.coefficients import Coefficients, as_schedule
from sb3_infomax.common.saving import SavedFileError
from sb3_infomax.networks.preprocessing import describe_space
from sb3_infomax.randomness import PrivateRNG
from sb3_infomax.registry import AUXILIARY, REWARDS, resolve, unknown_name
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.mixture import RewardMixture
from sb3_infomax.rewards.scaling import RECENT_RATE, RewardScaler

ModuleLike = str | type[RewardModule] | RewardModule
LossLike = str | type[AuxiliaryModule] | AuxiliaryModule

#: what ``defaults`` and ``presets`` of a module may set besides the module's own arguments
CALLBACK_KNOBS = ("coef", "ext_coef", "normalize", "center", "gamma", "episodic")
#: what else of the callback a saved file holds
SAVED_KNOBS = (*CALLBACK_KNOBS, "on_nonfinite", "preset", "weights")


class Kind(NamedTuple):
    """What a callback may be given."""

    noun: str
    argument: str  # of the callback
    callback: str
    table: dict[str, str | type]
    register: str  # the function that adds to the table
    base: type
    knobs: tuple[str, ...]  # what defaults and presets may set of the callback
    saved_knobs: tuple[str, ...]


REWARD = Kind("reward", "module", "IntrinsicReward", REWARDS, "register_reward", RewardModule, CALLBACK_KNOBS, SAVED_KNOBS)
LOSS_KNOBS = ("coef", "every", "learning_rate", "max_grad_norm")
LOSS = Kind(
    "auxiliary loss",
    "loss",
    "AuxiliaryLoss",
    AUXILIARY,
    "register_auxiliary",
    AuxiliaryModule,
    LOSS_KNOBS,
    (*LOSS_KNOBS, "preset"),
)


class ModuleSpec(NamedTuple):
    """One module as the user wrote it."""

    name: str  # for the logger
    cls: Any
    instance: Any  # where the user made it
    registered: str | None  # name in the registry, for the saved file
    kwargs: dict[str, Any]
    knobs: dict[str, Any]  # defaults and preset of the callback's knobs


class RewardPlan:
    """The modules, the knobs of their sum, and how to build both for an environment.

    :param module: one module or a list
    :param preset: a named setting that each of the modules has
    :param module_kwargs: constructor arguments; for a list, a dict of them by name
    :param weights: of the modules of a list; default each one's own coefficient
    :param on_nonfinite: see :class:`RewardMixture`
    :param explicit: the callback's knobs as the user wrote them; None is the modules' default
    :raises ValueError: one sentence for anything that is no module, preset, argument, number or mode
    """

    def __init__(
        self,
        module: ModuleLike | Sequence[ModuleLike],
        preset: str | None,
        module_kwargs: dict[str, Any] | None,
        weights: Sequence[float] | None,
        on_nonfinite: Literal["raise", "zero"],
        explicit: dict[str, Any],
    ) -> None:
        self.specs = module_specs(module, preset, module_kwargs or {})
        self.preset = preset
        self.explicit = {name: _plain(value) for name, value in explicit.items() if value is not None}
        self.weights = _check_weights(weights, len(self.specs))
        if on_nonfinite not in ("raise", "zero"):
            raise ValueError(f"on_nonfinite must be 'raise' or 'zero', got {on_nonfinite!r}.")
        self.on_nonfinite = on_nonfinite
        self.coefficients = Coefficients(
            as_schedule("coef", self.knob("coef", 1.0)), as_schedule("ext_coef", self.knob("ext_coef", 1.0))
        )
        gamma = self.knob("gamma", None)
        if gamma is not None and (isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0 <= gamma <= 1):
            raise ValueError(f"gamma must lie between 0 and 1, got {gamma!r}.")
        if "normalize" in self.explicit:
            RewardScaler(self.explicit["normalize"])  # tells a wrong name now, not after the environments are made
        self._pristine: dict[int, dict[str, Any]] = {}

    def knob(self, name: str, default: Any) -> Any:
        """A knob of the sum: explicit, else what the modules agree on, else the default."""
        if name in self.explicit:
            return self.explicit[name]
        if name == "coef" and (len(self.specs) > 1 or self.weights is not None):
            return default  # the modules' own coefficients are their weights
        values = [spec.knobs[name] for spec in self.specs if name in spec.knobs]
        if len(set(map(repr, values))) > 1:
            raise ValueError(f"The modules want different values of {name} ({values}); pass {name}=... yourself.")
        return values[0] if values else default

    def build_modules(
        self, observation_space: spaces.Space, action_space: spaces.Space, device: th.device, seed: int | None
    ) -> tuple[list[RewardModule], PrivateRNG]:
        """Fresh modules and the private stream they were initialised from; a user's instance starts afresh too."""
        rng = PrivateRNG(seed if seed is not None else int(np.random.SeedSequence().generate_state(1)[0]))
        with rng():
            modules = [self._build_module(spec, observation_space, action_space).to(device) for spec in self.specs]
        return modules, rng

    def _build_module(self, spec: ModuleSpec, observation_space: spaces.Space, action_space: spaces.Space) -> RewardModule:
        if spec.instance is None:
            spec.cls.check_spaces(observation_space, action_space)
            return spec.cls(observation_space, action_space, **spec.kwargs)
        check_same_spaces(spec.name, spec.instance, observation_space, action_space)
        first = id(spec.instance) not in self._pristine
        if first:
            self._pristine[id(spec.instance)] = copy.deepcopy(spec.instance.state_dict())
        else:
            spec.instance.load_state_dict(self._pristine[id(spec.instance)])
        return spec.instance

    def build_mixture(
        self,
        modules: Sequence[RewardModule],
        rng: PrivateRNG,
        on_policy: bool,
        gamma: float,
        recent_rate: float | None = None,
    ) -> RewardMixture:
        """Modules, scalers and weights as one bonus.

        :param modules: from :meth:`build_modules`
        :param rng: from there too
        :param on_policy: whether bonuses come as rollouts in time order
        :param gamma: discount of the intrinsic return
        :param recent_rate: centre by the mean of recent batches with that weight of the newest; default the batch's own
            mean on-policy, :data:`~sb3_infomax.rewards.scaling.RECENT_RATE` off-policy
        """
        if recent_rate is None and not on_policy:
            recent_rate = RECENT_RATE
        scalers = [self._build_scaler(spec, on_policy, gamma, recent_rate) for spec in self.specs]
        if self.weights is not None:
            weights = self.weights
        elif len(self.specs) > 1:
            weights = [float(spec.knobs.get("coef", 1.0)) for spec in self.specs]
        else:
            weights = [1.0]
        names = [spec.name for spec in self.specs]
        return RewardMixture(modules, scalers, weights, names, rng, self.on_nonfinite).to(modules[0].ready.device)

    def _build_scaler(self, spec: ModuleSpec, on_policy: bool, gamma: float, recent_rate: float | None) -> RewardScaler:
        mode = self.explicit.get("normalize", spec.knobs.get("normalize", "return_std" if on_policy else "std"))
        if mode == "return_std" and not on_policy:
            if "normalize" in self.explicit:
                raise ValueError("normalize='return_std' needs rollouts in time order; off-policy use 'std'.")
            mode = "std"
        center = self.explicit.get("center", spec.knobs.get("center", False))
        if recent_rate is None:
            return RewardScaler(mode, center=center, gamma=gamma)
        return RewardScaler(mode, center=center, gamma=gamma, running_center=True, recent_rate=recent_rate)

    def config(self, modules: Sequence[RewardModule]) -> dict[str, Any]:
        """What a saved file needs to make this plan again, as JSON; see :func:`plan_arguments`."""
        knobs = self.explicit | {"on_nonfinite": self.on_nonfinite, "preset": self.preset, "weights": self.weights}
        return plan_config(self.specs, knobs, modules[0])


def plan_config(specs: Sequence[ModuleSpec], knobs: dict[str, Any], module: Any) -> dict[str, Any]:
    """What a saved file needs to make modules and callback again, as JSON; see :func:`plan_arguments`.

    :param specs: of the modules
    :param knobs: of the callback, None where not set; what JSON cannot hold is a schedule
    :param module: one of the modules, for its spaces
    """
    knobs = {name: _plain(value) for name, value in knobs.items() if value is not None}
    return {
        "modules": [
            {
                "name": spec.name,
                "registered": spec.registered if spec.instance is None and _is_json(spec.kwargs) else None,
                "kwargs": spec.kwargs if _is_json(spec.kwargs) else {},
            }
            for spec in specs
        ],
        "knobs": {name: value for name, value in knobs.items() if _is_json(value)},
        "schedules": [name for name, value in knobs.items() if not _is_json(value)],
        "observation_space": describe_space(module.observation_space),
        "action_space": describe_space(module.action_space),
    }


def plan_arguments(config: dict[str, Any], path: Path, given: dict[str, Any], kind: Kind = REWARD) -> dict[str, Any]:
    """The arguments that make a saved plan again. Classes come from the registry alone: a file cannot name code.

    :param config: of the file
    :param path: of the file, for the error
    :param given: arguments of the caller, which go before
    :param kind: of callback
    :raises SavedFileError: where the file cannot hold something that the caller did not give either
    """
    try:
        # nothing else that the constructor takes: a file is not to say where to write
        arguments: dict[str, Any] = {name: config["knobs"][name] for name in kind.saved_knobs if name in config["knobs"]}
        entries = [{key: entry[key] for key in ("name", "registered", "kwargs")} for entry in config["modules"]]
        schedules = list(config["schedules"])
    except (KeyError, TypeError) as error:
        raise SavedFileError(f"{path} is damaged: what it says of its modules is incomplete.") from error
    several = len(entries) > 1
    for name in schedules:
        if name not in given:
            raise SavedFileError(
                f"{path} was saved with a schedule for {name}, which a file cannot hold: pass {name}=... again."
            )
    if kind.argument not in given:
        for entry in entries:
            if entry["registered"] is None:
                raise SavedFileError(
                    f"{path} holds {entry['name']!r}, which was an instance or is not registered: pass {kind.argument}=... "
                    "with it."
                )
            if entry["registered"] not in kind.table:
                # nor which module to import
                raise SavedFileError(
                    f"{path} holds the {kind.noun} {entry['registered']!r}, which is not registered: {kind.register}() it "
                    f"first, or pass {kind.argument}=... with it."
                )
        names = [entry["registered"] for entry in entries]
        arguments[kind.argument] = names if several else names[0]
    # what was an instance has no arguments in the file, and an instance takes none
    if any(entry["kwargs"] for entry in entries):
        by_name = {entry["name"]: entry["kwargs"] for entry in entries}
        arguments[f"{kind.argument}_kwargs"] = by_name if several else entries[0]["kwargs"]
    return arguments | given


def check_same_spaces(name: str, module: Any, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """:raises ValueError: where a module was made for other spaces"""
    for kind, theirs in (("observation", observation_space), ("action", action_space)):
        mine = describe_space(getattr(module, f"{kind}_space"))
        if mine != describe_space(theirs):
            raise ValueError(
                f"The {name} module was made for the {kind} space {mine}, but the model's is {describe_space(theirs)}: "
                f"make it from model.{kind}_space."
            )


def _check_weights(weights: Sequence[float] | None, n_modules: int) -> list[float] | None:
    if weights is None:
        return None
    if len(weights) != n_modules:
        raise ValueError(f"There are {n_modules} modules and {len(weights)} weights; give one for each.")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, Real) or not np.isfinite(weight):
            raise ValueError(f"A weight must be a finite number, got {weight!r}.")
    return [float(weight) for weight in weights]


def _plain(value: Any) -> Any:
    """Numpy's scalars as Python's, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def module_specs(module: Any, preset: str | None, module_kwargs: dict[str, Any], kind: Kind = REWARD) -> list[ModuleSpec]:
    """What to build, from the arguments of a callback.

    :param module: one module or a list
    :param preset: a named setting that each of the modules has
    :param module_kwargs: constructor arguments; for a list, a dict of them by name
    :param kind: of callback
    :raises ValueError: one sentence for anything that is no module, preset or argument
    """
    several = isinstance(module, list | tuple)
    entries: list[Any] = list(module) if several else [module]
    if not entries:
        raise ValueError(f"{kind.callback} needs at least one module.")
    specs: list[ModuleSpec] = []
    for entry in entries:
        cls = _module_class(entry, kind)
        registered = next(
            (name for name, known in kind.table.items() if known in (cls, f"{cls.__module__}:{cls.__name__}")), None
        )
        name = registered or cls.__name__.lower()
        if name in [spec.name for spec in specs]:
            name = f"{name}{len(specs) + 1}"
        own = module_kwargs.get(name, {}) if several else module_kwargs
        kwargs, knobs = _settings(cls, preset, own, kind)
        kwargs = {key: _plain(value) for key, value in kwargs.items()}
        instance = entry if isinstance(entry, kind.base) else None
        if instance is not None and (own or preset):
            raise ValueError(f"{name} is an instance already: give its settings to its constructor.")
        specs.append(ModuleSpec(name, cls, instance, registered, {} if instance is not None else kwargs, knobs))
    if several and (strangers := set(module_kwargs) - {spec.name for spec in specs}):
        raise unknown_name("module in module_kwargs", strangers.pop(), [spec.name for spec in specs])
    return specs


def _module_class(entry: Any, kind: Kind) -> Any:
    if isinstance(entry, kind.base):
        return type(entry)
    cls = resolve(entry, kind.table, kind.noun) if isinstance(entry, str) else entry
    if not (isinstance(cls, type) and issubclass(cls, kind.base)):
        raise ValueError(
            f"{reprlib.repr(entry)} is no {kind.noun}: give a registered name, a class derived from "
            f"{kind.base.__name__} or an instance."
        )
    return cls


def _settings(cls: Any, preset: str | None, kwargs: dict[str, Any], kind: Kind) -> tuple[dict[str, Any], dict[str, Any]]:
    """The module's arguments and the callback's knobs, from defaults, preset and what the user wrote."""
    if preset is not None and preset not in cls.presets:
        raise unknown_name(f"preset of {cls.__name__}", preset, list(cls.presets))
    settings = cls.defaults | (cls.presets[preset] if preset is not None else {})
    knobs = {name: value for name, value in settings.items() if name in kind.knobs}
    arguments = {name: value for name, value in settings.items() if name not in kind.knobs} | kwargs
    # the callback gives the spaces, and what else every module is made of
    given = [p.name for p in inspect.signature(kind.base).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    known = [name for name in parameters_of(cls, kind.base) if name not in given]
    for name in kwargs:
        if name in kind.knobs:
            raise ValueError(f"{name} is an argument of {kind.callback}, not of {cls.__name__}.")
        if name not in known:
            raise unknown_name(f"argument of {cls.__name__}", name, known)
    check_arguments(constructors_of(cls, kind.base), kwargs, cls.__name__)
    return arguments, knobs
