"""Which modules a user asks for, and with what settings."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from sb3_infomax.registry import REWARDS, resolve, unknown_name
from sb3_infomax.rewards.base import RewardModule

ModuleLike = str | type[RewardModule] | RewardModule

#: what ``defaults`` and ``presets`` of a module may set besides the module's own arguments
CALLBACK_KNOBS = ("coef", "ext_coef", "normalize", "center", "gamma", "episodic")


class ModuleSpec(NamedTuple):
    """One reward module as the user wrote it."""

    name: str  # for the logger
    cls: type[RewardModule]
    instance: RewardModule | None  # where the user made it
    registered: str | None  # name in the registry, for the saved file
    kwargs: dict[str, Any]
    knobs: dict[str, Any]  # defaults and preset of the callback's knobs


def module_specs(
    module: ModuleLike | Sequence[ModuleLike], preset: str | None, module_kwargs: dict[str, Any]
) -> list[ModuleSpec]:
    """What to build, from the arguments of ``IntrinsicReward``.

    :param module: one module or a list
    :param preset: a named setting that each of the modules has
    :param module_kwargs: constructor arguments; for a list, a dict of them by name
    :raises ValueError: one sentence for anything that is no module, preset or argument
    """
    several = isinstance(module, list | tuple)
    entries: list[ModuleLike] = list(module) if several else [module]  # type: ignore[arg-type,list-item]
    if not entries:
        raise ValueError("IntrinsicReward needs at least one module.")
    specs: list[ModuleSpec] = []
    for entry in entries:
        cls = _module_class(entry)
        registered = next(
            (name for name, known in REWARDS.items() if known in (cls, f"{cls.__module__}:{cls.__name__}")), None
        )
        name = registered or cls.__name__.lower()
        if name in [spec.name for spec in specs]:
            name = f"{name}{len(specs) + 1}"
        own = module_kwargs.get(name, {}) if several else module_kwargs
        kwargs, knobs = _settings(cls, preset, own)
        instance = entry if isinstance(entry, RewardModule) else None
        if instance is not None and (own or preset):
            raise ValueError(f"{name} is an instance already: give its settings to its constructor.")
        specs.append(ModuleSpec(name, cls, instance, registered, {} if instance is not None else kwargs, knobs))
    if several and (strangers := set(module_kwargs) - {spec.name for spec in specs}):
        raise unknown_name("module in module_kwargs", strangers.pop(), [spec.name for spec in specs])
    return specs


def _module_class(entry: ModuleLike) -> type[RewardModule]:
    if isinstance(entry, RewardModule):
        return type(entry)
    cls = resolve(entry, REWARDS) if isinstance(entry, str) else entry
    if not (isinstance(cls, type) and issubclass(cls, RewardModule)):
        raise ValueError(f"{entry!r} is not a reward module: give a registered name, a RewardModule class or an instance.")
    return cls


def _settings(cls: type[RewardModule], preset: str | None, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The module's arguments and the callback's knobs, from defaults, preset and what the user wrote."""
    if preset is not None and preset not in cls.presets:
        raise unknown_name(f"preset of {cls.__name__}", preset, list(cls.presets))
    settings = cls.defaults | (cls.presets[preset] if preset is not None else {})
    knobs = {name: value for name, value in settings.items() if name in CALLBACK_KNOBS}
    arguments = {name: value for name, value in settings.items() if name not in CALLBACK_KNOBS} | kwargs
    known = _constructor_arguments(cls)
    for name in kwargs:
        if name in CALLBACK_KNOBS:
            raise ValueError(f"{name} is an argument of IntrinsicReward, not of {cls.__name__}.")
        if known is not None and name not in known:
            raise unknown_name(f"argument of {cls.__name__}", name, known)
    return arguments, knobs


def _constructor_arguments(cls: type[RewardModule]) -> list[str] | None:
    """Names of all keyword arguments, those passed on to ``RewardModule`` included."""
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            names += [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
            if base is RewardModule or not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
    return [name for name in names if name not in ("observation_space", "action_space")]
