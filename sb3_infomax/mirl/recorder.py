"""What becomes of MIRL's prior in the course of training, and a picture of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.mirl.mirl import MIRL

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PriorRecorder(BaseCallback):
    """Keeps MIRL's prior and diagnostics from time to time, of the last run.

    ::

        recorder = PriorRecorder()
        MIRL("MlpPolicy", env).learn(100_000, callback=recorder)
        recorder.plot("prior.png")

    :param every: steps of the environments between two records
    :param verbose: as in SB3
    :raises ValueError: for another algorithm, before training
    """

    def __init__(self, every: int = 1000, verbose: int = 0) -> None:
        super().__init__(verbose)
        check_arguments([PriorRecorder.__init__], {"every": every})
        self.every = every
        self.timesteps: list[int] = []
        self.priors: list[NDArray[np.float64]] = []
        self.diagnostics: list[dict[str, float]] = []

    def _init_callback(self) -> None:
        if not isinstance(self.model, MIRL):
            raise ValueError(f"PriorRecorder records MIRL, not {type(self.model).__name__}.")

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:  # a run begins, perhaps not the first one
            self.timesteps, self.priors, self.diagnostics = [], [], []
        self._record()

    def _on_step(self) -> bool:
        if self.num_timesteps - self.timesteps[-1] >= self.every:
            self._record()
        return True

    def _on_training_end(self) -> None:
        self._record()

    def _record(self) -> None:
        assert isinstance(self.model, MIRL)
        if self.timesteps and self.model.num_timesteps == self.timesteps[-1]:
            return
        self.timesteps.append(self.model.num_timesteps)
        self.priors.append(self.model.prior)
        self.diagnostics.append(self.model.diagnostics())

    def plot(self, path: str | Path | None = None, actions: Sequence[str] | None = None) -> "Figure":
        """The prior as shares of one, over its entropy beside I(S; A), over beta.

        :param path: where to write the picture, if anywhere
        :param actions: their names; default: their numbers
        :return: the figure
        """
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        if not self.priors:
            raise ValueError("There is nothing to draw before training has started.")
        priors, names = np.array(self.priors), actions or [f"action {index}" for index in range(len(self.priors[0]))]
        figure = Figure(figsize=(7, 7), layout="constrained")
        shares, nats, inverse = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
        # the dark halves of the pairs first: up to twenty actions have a colour of their own
        colours = [colormaps["tab20"](index) for index in (*range(0, 20, 2), *range(1, 20, 2))]
        shares.stackplot(self.timesteps, priors.T, labels=names, colors=colours)
        shares.set(ylim=(0, 1), xlim=(self.timesteps[0], self.timesteps[-1]), ylabel="prior $\\rho(a)$")
        if len(names) <= 20:
            shares.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small", reverse=True)
        for key, label in (("prior_entropy", "$H(\\rho)$"), ("mutual_information", "$I(S; A)$")):
            nats.plot(self.timesteps, [each.get(key, np.nan) for each in self.diagnostics], label=label)
        nats.set(ylabel="nats")
        nats.legend(frameon=False)
        inverse.plot(self.timesteps, [each["beta"] for each in self.diagnostics], color="black")
        inverse.set(ylabel="$\\beta$", yscale="log", xlabel="steps")
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure
