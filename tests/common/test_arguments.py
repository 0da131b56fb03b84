"""Values of the wrong kind are refused in a sentence that names argument, kind and value."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from samples import FOUR_ACTIONS, VECTOR

from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.registry import REWARDS, resolve
from sb3_infomax.rewards.rnd import RND


def function(
    whole: int = 1,
    number: float | None = None,
    flag: bool = True,
    choice: Literal["a", 2] = "a",
    layers: Sequence[int] = (),
    several: Literal["most"] | int | None = None,
    settings: dict[str, Any] | None = None,
    schedule: float | Callable[[float], float] = 1.0,
) -> None: ...


def other(whole: str = "") -> None: ...


WRONG = [
    ("whole", 2.5, "a whole number"),
    ("whole", True, "a whole number"),
    ("number", "1", "a number"),
    ("flag", "no", "True or False"),
    ("flag", 0, "True or False"),
    ("choice", "b", "'a' or 2"),
    ("layers", 64, "a list of whole numbers"),
    ("layers", [64, 1.5], "a list of whole numbers"),
    ("layers", "64", "a list of whole numbers"),
    ("several", "all", "'most' or a whole number"),
    ("settings", [1], "a dict"),
]
RIGHT = [
    {"whole": np.int64(3), "number": np.float32(0.5), "flag": False, "choice": 2, "layers": (64, 32)},
    {"number": 1, "layers": [], "several": None, "settings": {}, "unheard": object()},
    {"number": None, "several": 3, "schedule": "whoever takes it has to tell"},
]


@pytest.mark.parametrize(("name", "value", "kind"), WRONG)
def test_a_wrong_kind_is_told(name, value, kind):
    with pytest.raises(ValueError) as caught:
        check_arguments([function], {name: value}, "EMI")
    assert str(caught.value) == f"EMI's {name} must be {kind}, got {value!r}."


@pytest.mark.parametrize("values", RIGHT)
def test_a_right_kind_passes(values):
    check_arguments([function], values)


def test_the_first_of_two_signatures_counts():
    check_arguments([other, function], {"whole": "text", "layers": [1]})
    with pytest.raises(ValueError, match=r"^whole must be a whole number, got 'text'\.$"):
        check_arguments([function, other], {"whole": "text"})


def test_annotations_that_only_type_checkers_know_are_no_obstacle(monkeypatch):
    monkeypatch.setattr(function, "__annotations__", {"whole": "NowhereDefined", "flag": "bool"})
    check_arguments([function], {"whole": "x", "flag": True})
    with pytest.raises(ValueError, match="flag must be True or False"):
        check_arguments([function], {"flag": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "center": "yes",
        "episodic": "no",
        "seed": "a",
        "start_after": 1e4,
        "save_freq": -1,
        "weights": 2.0,
        "normalize": 1,
        "module_kwargs": [1],
        "save_path": 3,
        "preset": 1,
    }.items(),
)
def test_the_callback_refuses_values_of_the_wrong_kind(name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        IntrinsicReward("rnd", **{name: value})


@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_every_reward_refuses_arguments_of_the_wrong_kind_before_there_is_an_environment(reward):
    cls = resolve(reward, REWARDS).__name__
    for name, value in (("batch_size", 32.5), ("learning_rate", "fast"), ("n_epochs", None), ("keys", "x")):
        with pytest.raises(ValueError, match=f"^{cls}'s {name} must be"):
            IntrinsicReward(reward, module_kwargs={name: value})
    with pytest.raises(ValueError, match=r"^InfoNCE's batch_size must be a whole number, got 'x'"):
        AuxiliaryLoss("infonce", loss_kwargs={"batch_size": "x"})


def test_settings_that_would_do_nothing_are_refused():
    with pytest.raises(ValueError, match="keys are those of a Dict observation, and this one is a Box"):
        RND(VECTOR, FOUR_ACTIONS, keys=["x"])
    with pytest.raises(ValueError, match="max_grad_norm must be a number above 0, got -1"):
        RND(VECTOR, FOUR_ACTIONS, max_grad_norm=-1)
