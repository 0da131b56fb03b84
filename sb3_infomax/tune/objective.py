"""What a trial is worth: its runs, one for each seed, and the score of their evaluations on the bare environment."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_infomax.compare.spec import RunSpec, format_method, parse_method
from sb3_infomax.compare.storage import RunFolder, locked_when_free, read_rows, write_json
from sb3_infomax.compare.worker import execute
from sb3_infomax.tune.retry import first_number
from sb3_infomax.tune.study import StudySpec

if TYPE_CHECKING:
    import optuna

Train = Callable[..., Any]


class Diverged(ValueError):
    """A run whose scores are no numbers."""


class Objective:
    """Runs a trial and returns the mean of its seeds' scores.

    A trial that another worker has begun goes on from its last checkpoint; seeds that are finished are not run again.

    :param spec: of the study
    :param folder: of the study; a trial's runs are in ``trials/<number>/seed_<n>``, which are run folders as any others
    :param train: runs one, see :func:`~sb3_infomax.compare.worker.execute`
    """

    def __init__(self, spec: StudySpec, folder: Path, train: Train = execute) -> None:
        self.spec, self.folder, self.train = spec, folder, train

    def __call__(self, trial: "optuna.Trial") -> float:
        method = self.spec.search.suggest(trial)
        trial.set_user_attr("method", method)
        number = first_number(trial)
        parsed = parse_method(method)
        labelled = format_method((parsed.algorithm, *parsed.rewards, *parsed.losses), label=f"trial {number}")
        scores: list[float] = []
        for index, seed in enumerate(self.spec.seeds):
            folder = RunFolder(self.folder / "trials" / str(number) / f"seed_{seed}")
            scores.append(self.run(trial, self.spec.spec(labelled, seed), folder, first=index == 0))
            trial.set_user_attr("scores", scores)
            if self.spec.pruning == "wilcoxon":
                self.report(trial, scores[-1], index)
        return float(np.mean(scores))

    def run(self, trial: "optuna.Trial", spec: RunSpec, folder: RunFolder, first: bool) -> float:
        """One run, from where it stands, and its score.

        :param trial: it belongs to
        :param spec: of the run
        :param folder: of the run
        :param first: it is the trial's first, whose evaluations the median pruner looks at
        """
        points, steps = spec.eval_points, self.spec.timesteps

        def on_evaluation(timesteps: int, returns: np.ndarray) -> None:
            # the same steps in all trials, whatever the length of their rollouts
            point = min(round(timesteps * points / steps), points)
            if point > 0 and not self.spec.is_late(timesteps):
                self.report(trial, float(returns.mean()), point * steps // points)

        if not folder.claim(spec):
            with locked_when_free(folder.path):
                if not folder.finished.exists():
                    self.train(
                        spec,
                        folder,
                        lambda record: write_json(folder.progress, {**record, "pid": os.getpid()}, durable=False),
                        on_evaluation=on_evaluation if first and self.spec.pruning == "median" else None,
                    )
        score = self.spec.score_of(read_rows(folder.evaluations))
        if not math.isfinite(score):
            raise Diverged(f"the evaluations of seed {spec.seed} are no numbers.")
        return score

    def report(self, trial: "optuna.Trial", value: float, step: int) -> None:
        """Tell the pruner an intermediate value, and end the trial where it says so; a retry says nothing twice."""
        import optuna

        if not math.isfinite(value):
            raise Diverged(f"the returns at step {step} are no numbers.")
        if step not in trial.storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
