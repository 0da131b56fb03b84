"""What is searched for a whole method: the spaces of its parts side by side, without what its text has settled."""

import inspect
from typing import Any

from sb3_infomax.registry import AUXILIARY, resolve


def constructor_defaults(cls: type) -> dict[str, Any]:
    """Defaults of a class's constructor arguments; where it hands ``**kwargs`` on, those of its base classes too.

    :param cls: any class
    """
    from sb3_infomax.compare.algorithms import parameters_of

    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
                if parameter.default is not inspect.Parameter.empty:
                    found.setdefault(name, parameter.default)
    known = parameters_of(cls)
    return {name: value for name, value in found.items() if name in known}


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
