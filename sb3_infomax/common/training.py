"""The one way around an algorithm's next ``train()``."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

Context = Callable[[], AbstractContextManager]


class NextTrain:
    """The next ``train()`` of a model, and only that one, runs inside the given contexts, whether it returns or raises.

    It shadows the method on the instance and takes itself off before the algorithm's own method starts, so that an interrupt
    leaves a plain model. A model that is saved while it waits is saved without it.

    :param model: any algorithm with a ``train()``
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self.model = model
        self.contexts: list[Context] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        contexts = list(self.contexts)
        self._take_off()
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context())
            self.model.train(*args, **kwargs)  # type: ignore[attr-defined]

    def put_on(self) -> None:
        """Shadow ``train()``, and keep that out of what ``model.save()`` writes."""
        model, plain = self.model, type(self.model)._excluded_save_params
        model.train = self  # type: ignore[attr-defined]
        model._excluded_save_params = lambda: [*plain(model), "train", "_excluded_save_params"]  # type: ignore[method-assign]

    def _take_off(self) -> None:
        del self.model.train, self.model._excluded_save_params  # type: ignore[attr-defined]

    def remove(self, context: Context) -> None:
        """Wait without ``context``; harmless where it is not waited with."""
        if context in self.contexts:
            self.contexts.remove(context)
            if not self.contexts:
                self._take_off()


def wrap_next_train(model: BaseAlgorithm, context: Context) -> None:
    """Run the next ``train()`` inside ``context()``; several nest, the last one given innermost.

    :param model: any algorithm
    :param context: makes a context manager
    """
    waiting = vars(model).get("train")
    if not isinstance(waiting, NextTrain):
        waiting = NextTrain(model)
        waiting.put_on()
    waiting.contexts.append(context)


def unwrap_next_train(model: BaseAlgorithm, context: Context) -> None:
    """Take back what :func:`wrap_next_train` was given; harmless where it has run."""
    waiting = vars(model).get("train")
    if isinstance(waiting, NextTrain):
        waiting.remove(context)
