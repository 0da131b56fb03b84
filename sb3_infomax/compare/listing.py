"""What there is, read from the registry."""

import inspect
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np

from sb3_infomax.compare.algorithms import SB3_ALGORITHMS, is_on_policy, resolve_algorithm
from sb3_infomax.registry import ALGORITHMS, AUXILIARY, REWARDS, resolve

if TYPE_CHECKING:
    from rich.table import Table

OBSERVATIONS: dict[str, gym.Space] = {
    "vectors": gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
    "images": gym.spaces.Box(0, 255, (84, 84, 4), np.uint8),
    "Dict": gym.spaces.Dict({"a": gym.spaces.Box(-1.0, 1.0, (3,), np.float32), "b": gym.spaces.Discrete(3)}),
    "Discrete": gym.spaces.Discrete(3),
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 3]),
    "MultiBinary": gym.spaces.MultiBinary(3),
}
ACTIONS: dict[str, gym.Space] = {
    "Box": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
    "Discrete": gym.spaces.Discrete(3),
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 3]),
    "MultiBinary": gym.spaces.MultiBinary(3),
}


def first_sentence(cls: type) -> str:
    """The first line of a class's docstring, without the markup."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    return lines[0].rstrip(".").replace("``", "") if lines else ""


def accepted(module: type, spaces: dict[str, gym.Space], of: str) -> str:
    """Which kinds of space a module takes, each with at least one kind of the other.

    :param module: class with ``check_spaces``
    :param spaces: an example of each kind
    :param of: ``"observation"`` or ``"action"``
    """

    def takes(observation_space: gym.Space, action_space: gym.Space) -> bool:
        try:
            module.check_spaces(observation_space, action_space)  # type: ignore[attr-defined]
        except ValueError:
            return False
        return True

    if of == "observation":
        names = [name for name, space in spaces.items() if any(takes(space, action) for action in ACTIONS.values())]
    else:
        names = [name for name, space in spaces.items() if any(takes(other, space) for other in OBSERVATIONS.values())]
    return "all" if len(names) == len(spaces) else ", ".join(names)


def reward_table() -> "Table":
    """Intrinsic rewards: name, paper, observations and actions they take, default coefficient, presets."""
    from rich.table import Table

    table = Table(title="Intrinsic rewards (--reward NAME; every one on- and off-policy)", title_justify="left")
    for name in ("name", "paper", "observations", "actions", "coef", "presets"):
        table.add_column(name, overflow="fold", no_wrap=name == "name")
    for name in sorted(REWARDS):
        module = resolve(name, REWARDS)
        defaults, presets = getattr(module, "defaults", {}), getattr(module, "presets", {})
        paper = getattr(module, "paper", "") or first_sentence(module)
        spaces = (accepted(module, OBSERVATIONS, "observation"), accepted(module, ACTIONS, "action"))
        table.add_row(name, paper, *spaces, str(defaults.get("coef", 1.0)), ", ".join(presets))
    return table


def algorithm_table() -> "Table":
    """Algorithms: name, where from, on- or off-policy, actions they take."""
    from rich.table import Table

    table = Table(title="Algorithms (--algo NAME)", title_justify="left")
    for name in ("name", "from", "kind", "actions", "class"):
        table.add_column(name, overflow="fold", no_wrap=name == "name")
    for name in sorted(SB3_ALGORITHMS | ALGORITHMS):
        algorithm = resolve_algorithm(name)
        kind = "on-policy" if is_on_policy(algorithm) else "off-policy"
        package = algorithm.__module__.partition(".")[0]
        table.add_row(name, package, kind, actions_of(algorithm), algorithm.__name__)
    return table


def actions_of(algorithm: type) -> str:
    """The kinds of action an algorithm takes; Stable-Baselines3 says so only inside the constructors."""
    algorithms = algorithm.__mro__[:-4]  # without the common bases: on- or off-policy, BaseAlgorithm, ABC, object
    sources = [inspect.getsource(base) for base in algorithms]
    lists = [source.partition("supported_action_spaces=(")[2].partition(")")[0] for source in sources]
    names = [name for name in ACTIONS if any(f"spaces.{name}" in text for text in lists)]
    return ", ".join(names) or "see its documentation"


def auxiliary_table() -> "Table":
    """Auxiliary losses: name, paper, observations and actions they take, presets."""
    from rich.table import Table

    table = Table(title="Auxiliary losses (--reward NAME or ALGO+NAME)", title_justify="left")
    for name in ("name", "paper", "observations", "actions", "presets"):
        table.add_column(name, overflow="fold", no_wrap=name == "name")
    for name in sorted(AUXILIARY):
        module = resolve(name, AUXILIARY, kind="auxiliary loss")
        paper = getattr(module, "paper", "") or first_sentence(module)
        spaces = (accepted(module, OBSERVATIONS, "observation"), accepted(module, ACTIONS, "action"))
        table.add_row(name, paper, *spaces, ", ".join(getattr(module, "presets", {})))
    return table
