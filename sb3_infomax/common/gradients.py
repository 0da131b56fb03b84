"""The one way into an algorithm's own backward pass.

SB3's ``train()`` methods have no hook between ``optimizer.zero_grad()`` and ``loss.backward()``, but all torch ones call
both, and ``backward`` adds to what is there. So a ``zero_grad`` on the optimizer's instance that also runs a backward of
ours makes the gradient that of the sum of both losses; SB3's clipping and step then see the sum. The attribute is never
saved: optimizers are saved by ``state_dict``.
"""

from collections.abc import Callable

import torch as th


class GradientHook:
    """Runs ``backward`` after every ``optimizer.zero_grad()`` until removed.

    Several hooks on one optimizer form a stack: all run, the last attached first.

    :param optimizer: of the parameters that ``backward`` adds gradients to
    :param backward: calls ``.backward()`` on a loss
    """

    def __init__(self, optimizer: th.optim.Optimizer, backward: Callable[[], None]) -> None:
        self.optimizer, self.backward = optimizer, backward
        stack = getattr(optimizer.zero_grad, "hooks", None)
        if stack is None:
            stack = _shadow_zero_grad(optimizer)
        stack.append(self)

    def remove(self) -> None:
        """Take the hook off; twice is harmless. The last one to go leaves the optimizer as it was."""
        stack = getattr(self.optimizer.zero_grad, "hooks", [])
        if self in stack:
            stack.remove(self)
            if not stack:
                self.optimizer.zero_grad.restore()  # type: ignore[attr-defined]


def _shadow_zero_grad(optimizer: th.optim.Optimizer) -> list[GradientHook]:
    original = optimizer.zero_grad
    was_shadowed = "zero_grad" in vars(optimizer)
    hooks: list[GradientHook] = []

    def zero_grad(set_to_none: bool = True) -> None:
        original(set_to_none=set_to_none)
        for hook in reversed(hooks):
            hook.backward()

    def restore() -> None:
        if was_shadowed:
            optimizer.zero_grad = original  # type: ignore[method-assign]
        else:
            del optimizer.zero_grad  # type: ignore[method-assign]

    zero_grad.hooks, zero_grad.restore = hooks, restore  # type: ignore[attr-defined]
    optimizer.zero_grad = zero_grad  # type: ignore[method-assign]
    return hooks
