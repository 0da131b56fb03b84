"""Numbers that may follow a schedule."""

import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import FloatSchedule

Schedule = Callable[[float], float]


def as_schedule(name: str, value: float | Schedule) -> Schedule:
    """A coefficient as a function of the remaining progress (1 at the start, 0 at the end).

    :param name: for the error
    :param value: a finite number or a schedule as SB3 takes it
    :raises ValueError: for anything else
    """
    if callable(value):
        return FloatSchedule(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(
            f"{name} must be a finite number or a schedule (a function of the remaining progress), got {value!r}."
        )
    return FloatSchedule(float(value))


def value_now(coef: Schedule, model: BaseAlgorithm) -> float:
    """A coefficient at this point of training.

    :raises ValueError: where its schedule returns NaN or infinity
    """
    value = coef(model._current_progress_remaining)
    if not math.isfinite(value):
        raise ValueError(f"The coefficient's schedule returned {value}.")
    return value


class Coefficients(NamedTuple):
    """Weights of the bonus and of the extrinsic reward."""

    coef: Schedule
    ext_coef: Schedule

    def now(self, model: BaseAlgorithm) -> tuple[float, float]:
        """Their values at this point of training.

        :raises ValueError: where a schedule returns NaN or infinity
        """
        progress = model._current_progress_remaining
        values = self.coef(progress), self.ext_coef(progress)
        if not all(map(math.isfinite, values)):
            raise ValueError(f"A coefficient's schedule returned {values} at remaining progress {progress:.3f}.")
        return values
