"""Names of what there is: the one list that command line, zoo, search spaces, README and tests read.

The lowest layer: an entry is the text ``"module:Class"``, imported only when it is asked for.
"""

import difflib
import importlib
from typing import Any

REWARDS: dict[str, str | type] = {
    "emi": "sb3_infomax.rewards.emi:EMI",
    "empowerment": "sb3_infomax.rewards.empowerment_variational:VariationalEmpowerment",
    "empowerment_mine": "sb3_infomax.rewards.empowerment_mine:MINEEmpowerment",
    "icm": "sb3_infomax.rewards.icm:ICM",
    "rnd": "sb3_infomax.rewards.rnd:RND",
}
AUXILIARY: dict[str, str | type] = {
    "cpc": "sb3_infomax.auxiliary.cpc:CPC",
    "curl": "sb3_infomax.auxiliary.curl:CURL",
    "infonce": "sb3_infomax.auxiliary.infonce:InfoNCE",
    "shift": "sb3_infomax.auxiliary.shift:RandomShift",
    "stdim": "sb3_infomax.auxiliary.stdim:STDIM",
}
ALGORITHMS: dict[str, str | type] = {
    "c51": "sb3_infomax.c51.c51:C51",
    "driml": "sb3_infomax.driml.driml:DRIML",
    "mirl": "sb3_infomax.mirl.mirl:MIRL",
}


class UnknownNameError(ValueError):
    """A name that no table knows; the message lists the nearest ones."""


def unknown_name(kind: str, name: str, known: list[str]) -> UnknownNameError:
    """One sentence for a mistyped name.

    :param kind: what the name should be of, such as ``"reward"``
    :param name: what was asked for
    :param known: all names there are
    """
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(known))}."
    return UnknownNameError(f"Unknown {kind} {name!r}: {hint}")


def resolve(name: str, table: dict[str, str | type], kind: str = "reward") -> type:
    """The class behind a registered name or behind ``"package.module:Class"``.

    :param name: a key of ``table``, or the path of any importable class
    :param table: one of this module's tables
    :param kind: what the table holds, for the error message
    :raises UnknownNameError: where neither exists
    """
    entry: Any = table.get(name, name if ":" in name else None)
    if entry is None:
        raise unknown_name(kind, name, list(table))
    if isinstance(entry, type):
        return entry
    module_name, _, class_name = entry.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            raise  # the module is there, something that it imports is not
        raise UnknownNameError(f"Cannot find the {kind} {name!r}: there is no module {module_name!r}.") from error
    except AttributeError as error:
        raise UnknownNameError(f"Cannot find the {kind} {name!r}: {module_name!r} has no {class_name!r}.") from error
    if not isinstance(found, type):
        raise UnknownNameError(f"The {kind} {name!r} is not a class but {type(found).__name__}.")
    return found


def register_reward(name: str, cls_or_path: str | type) -> None:
    """Make a reward module available by name to ``IntrinsicReward``, the command line and the tests.

    :param name: the short name, lower case
    :param cls_or_path: the class, or ``"package.module:Class"``
    :raises ValueError: where the name is taken by another class
    """
    _register(name, cls_or_path, REWARDS, "reward")


def register_auxiliary(name: str, cls_or_path: str | type) -> None:
    """Make an auxiliary loss available by name to ``AuxiliaryLoss``, the command line and the tests.

    :param name: the short name, lower case
    :param cls_or_path: the class, or ``"package.module:Class"``
    :raises ValueError: where the name is taken by another class
    """
    _register(name, cls_or_path, AUXILIARY, "auxiliary loss")


def _register(name: str, cls_or_path: str | type, table: dict[str, str | type], kind: str) -> None:
    if table.get(name, cls_or_path) != cls_or_path:
        raise ValueError(f"The {kind} name {name!r} is taken by {table[name]}; choose another one.")
    table[name] = cls_or_path
