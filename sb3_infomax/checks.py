"""Numbers that are refused in one sentence, before or while training."""

from numbers import Real


class NonFiniteError(FloatingPointError):
    """NaN or infinity in observations, a loss or a bonus; the message says where and what to do."""


def check_positive(**values: float) -> None:
    """:raises ValueError: naming the first value that is not a finite number above 0"""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a number above 0, got {value!r}.")
