"""Are values that a user wrote of the kind that a signature asks for? One sentence where they are not."""

import contextlib
import inspect
import types
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

#: in words, and what has it; True is no number to a user
KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
    bool: ("True or False", lambda value: isinstance(value, bool)),
    str: ("a string", lambda value: isinstance(value, str)),
    Path: ("a path", lambda value: isinstance(value, Path)),
    dict: ("a dict", lambda value: isinstance(value, dict)),
    types.NoneType: ("None", lambda value: value is None),
}


def constructors_of(cls: type, root: type = object) -> list[Callable]:
    """The constructor of a class, and those of its bases that it hands ``**kwargs`` on to.

    :param cls: any class
    :param root: the last base to look at
    """
    found: list[Callable] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            found.append(vars(base)["__init__"])
            kinds = [parameter.kind for parameter in inspect.signature(found[-1]).parameters.values()]
            if base is root or inspect.Parameter.VAR_KEYWORD not in kinds:
                break
    return found


def parameters_of(cls: type, root: type = object) -> list[str]:
    """Names that a class is made with; where it hands ``**kwargs`` on, those of its base classes too.

    :param cls: any class
    :param root: the last base to look at
    """
    parameters = [p for constructor in constructors_of(cls, root) for p in inspect.signature(constructor).parameters.values()]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    return list(dict.fromkeys(names))


def check_arguments(signatures: Sequence[Callable], values: dict[str, Any], owner: str = "") -> None:
    """Hold values against annotations, as far as these are of numbers, text, flags, choices, and sequences of those.

    :param signatures: functions; of two with an argument of one name the first counts
    :param values: by name of the argument
    :param owner: whose arguments they are, for the sentence; none for those of the function that the user called
    :raises ValueError: for the first value of the wrong kind
    """
    hints: dict[str, Any] = {}
    for signature in signatures:
        hints = _annotations(signature) | hints
    for name, value in values.items():
        wanted = _wanted(hints.get(name, Any), value)
        if wanted is not None:
            raise ValueError(f"{owner and owner + chr(39) + 's '}{name} must be {wanted}, got {value!r}.")


def _annotations(signature: Callable) -> dict[str, Any]:
    """What ``typing.get_type_hints`` would say, without the names that only type checkers can resolve."""
    found = {}
    for name, annotation in signature.__annotations__.items():
        with contextlib.suppress(NameError):
            found[name] = eval(annotation, signature.__globals__) if isinstance(annotation, str) else annotation
    return found


def _wanted(annotation: Any, value: Any) -> str | None:
    """What the annotation asks for, in words; None where the value is that or where nobody can tell."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        answers = [_wanted(part, value) for part in parts]
        # None is said by leaving an argument out
        return None if None in answers else " or ".join(answer for answer in answers if answer not in ("None", None))
    if origin is Literal:
        return None if value in parts else " or ".join(map(repr, parts))
    if origin is dict:
        annotation = dict
    if origin in (Sequence, list) or (origin is tuple and parts[1:] == (...,)):
        return _wanted_items(parts[0], value)
    if annotation not in KINDS:
        return None
    words, fits = KINDS[annotation]
    return None if fits(value) else words


def _wanted_items(annotation: Any, value: Any) -> str | None:
    words = {int: "whole numbers", float: "numbers", str: "strings"}.get(annotation)
    if words is None:
        return None
    fits = isinstance(value, Sequence) and not isinstance(value, str)
    return None if fits and all(_wanted(annotation, item) is None for item in value) else f"a list of {words}"
