"""What is searched for a whole method: the spaces of its parts side by side, without what its text has settled."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.common.arguments import constructors_of
from sb3_infomax.compare.spec import Part, UserError, check_names, format_method, parse_method
from sb3_infomax.compare.storage import read_yaml
from sb3_infomax.registry import AUXILIARY, resolve, unknown_name
from sb3_infomax.tune.spaces import Parameter, Space, load_space, read_space, space_names

if TYPE_CHECKING:
    import optuna


def constructor_defaults(cls: type) -> dict[str, Any]:
    """Defaults of a class's constructor arguments; where it hands ``**kwargs`` on, those of its base classes too.

    :param cls: any class
    """
    found: dict[str, Any] = {}
    for constructor in constructors_of(cls):
        for name, parameter in inspect.signature(constructor).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found.setdefault(name, parameter.default)
    return found


def default_settings(kind: str, name: str) -> dict[str, Any]:
    """Every setting of a part that can be written in a method's text, with its default.

    :param kind: ``"algorithm"``, ``"reward"`` or ``"loss"``
    :param name: of the part
    """
    from sb3_infomax.compare.algorithms import resolve_algorithm, resolve_reward

    if kind == "algorithm":
        return constructor_defaults(resolve_algorithm(name))
    if kind == "reward":
        from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

        module: Any = resolve_reward(name)
        return {**constructor_defaults(IntrinsicReward), **constructor_defaults(module), **module.defaults}
    from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss

    loss: Any = resolve(name, AUXILIARY, "auxiliary loss")
    return {**constructor_defaults(AuxiliaryLoss), "coef": 1.0, **constructor_defaults(loss), **loss.defaults}


@dataclass(frozen=True)
class Search:
    """A method, what of it is searched, and where that starts.

    :param parts: the algorithm, then what is added to it; their settings are fixed
    :param spaces: of each part, without what is fixed; those of a trial's parameters carry the part's name, as ``emi.coef``
    :param start: parameters of the trial that is the defaults
    """

    parts: tuple[Part, ...]
    spaces: tuple[Space, ...]
    start: dict[str, Any]

    def suggest(self, trial: "optuna.trial.BaseTrial") -> str:
        """The text of the method of a trial.

        :param trial: of Optuna
        """
        found = [space.suggest(trial, f"{part.name}.") for part, space in zip(self.parts, self.spaces, strict=True)]
        parts = [replace(part, settings={**part.settings, **new}) for part, new in zip(self.parts, found, strict=True)]
        return format_method(parts)

    def method_of(self, params: Mapping[str, Any]) -> str:
        """The text of the method with these parameters of a trial."""
        import optuna

        return self.suggest(optuna.trial.FixedTrial(dict(params)))

    @property
    def default(self) -> str:
        """The text of the method as it is without tuning."""
        return format_method(self.parts)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What is searched, by the names of a trial's parameters."""
        parts = zip(self.parts, self.spaces, strict=True)
        return {f"{part.name}.{name}": item for part, space in parts for name, item in space.parameters.items()}

    @property
    def names(self) -> list[str]:
        """Names of the parameters of a trial."""
        return list(self.parameters)


def read_spaces(path: Path) -> dict[str, Space]:
    """Spaces of one's own: a YAML file with a space under the name of each part.

    :param path: of the file
    """
    records = read_yaml(path)
    if not isinstance(records, dict):
        raise UserError(f"{path} has no spaces: write the name of a part of the method, such as emi, above each.")
    return {str(name): read_space(str(name), record, path.name) for name, record in records.items()}


def choose(spaces: dict[str, Space], chosen: Iterable[str]) -> dict[str, Space]:
    """Keep what the user wants tuned.

    :param spaces: by part
    :param chosen: parts, ``emi``, or single settings of them, ``emi.coef``; none is all
    """
    wanted = list(chosen)
    if not wanted:
        return spaces
    known = {name: [f"{name}.{key}" for key in space.parameters] for name, space in spaces.items()}
    everything = [*known, *(key for keys in known.values() for key in keys)]
    for name in wanted:
        if name not in everything:
            raise UserError(str(unknown_name("setting to tune", name, everything)))
    return {
        name: space if name in wanted else space.only({key for key in space.parameters if f"{name}.{key}" in wanted})
        for name, space in spaces.items()
    }


def plan_search(
    text: str,
    own: Mapping[str, Space] | None = None,
    chosen: Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    usual: Mapping[str, Any] | None = None,
) -> Search:
    """What is searched for a method.

    :param text: the method; the settings in it are fixed
    :param own: spaces that replace ours, by part
    :param chosen: see :func:`choose`
    :param fixed: settings of the algorithm that are given beside the method
    :param usual: defaults of the algorithm on this environment
    :raises UserError: where there is nothing to search, or no space for a part
    """
    from sb3_infomax.compare.algorithms import ALIASES

    method = parse_method(text)
    parts = (method.algorithm, *method.rewards, *method.losses)
    kinds = ["algorithm", *["reward"] * len(method.rewards), *["loss"] * len(method.losses)]
    own = dict(own or {})
    for name in own:
        if name not in [part.name for part in parts]:
            raise UserError(str(unknown_name("part of the method", name, [part.name for part in parts])))
    spaces, known = {}, {}
    for part, kind in zip(parts, kinds, strict=True):
        name = ALIASES.get(part.name, part.name)
        if part.name not in own and name not in space_names():
            raise UserError(f"There is no search space for {part.name!r}: write one and name its file with --space.")
        space = own[part.name] if part.name in own else load_space(name)
        settled = {**part.settings, **(fixed or {})} if kind == "algorithm" else part.settings
        spaces[part.name] = space.without(
            [*settled, *(shared_settings() if len(method.rewards) > 1 and kind == "reward" else [])]
        )
        known[part.name] = default_settings(kind, part.name) | preset_settings(kind, part)
    known[method.algorithm.name] |= usual or {}
    spaces = choose(spaces, chosen)
    start: dict[str, Any] = {}
    for name, space in spaces.items():
        check_names({key.split(".")[0] for key in space.parameters}, known[name], name)
        start |= space.defaults(known[name], f"{name}.")
    if not any(space.parameters for space in spaces.values()):
        raise UserError(f"Every setting of {text!r} is settled: leave one out of the text, so that it can be tuned.")
    return Search(parts, tuple(spaces[part.name] for part in parts), start)


def shared_settings() -> list[str]:
    """What the rewards of a mixture have in common and none can search for itself: the callback's settings."""
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

    return list(constructor_defaults(IntrinsicReward))


def preset_settings(kind: str, part: Part) -> dict[str, Any]:
    """What a named preset of a reward or a loss sets."""
    if kind == "algorithm" or "preset" not in part.settings:
        return {}
    from sb3_infomax.compare.algorithms import resolve_reward

    cls: Any = resolve_reward(part.name) if kind == "reward" else resolve(part.name, AUXILIARY, "auxiliary loss")
    return cls.presets.get(part.settings["preset"], {})
