"""A study: what it searches, on which task, by which seeds and with which score, as a record that all its workers share."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_infomax.compare.spec import RunSpec, UserError, jsonable, parse_method
from sb3_infomax.tune.search import Search
from sb3_infomax.tune.spaces import read_space

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

FORMAT = 1
SCORES = ("last", "area")
SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("auto", "median", "wilcoxon", "none")
WILCOXON_SEEDS = 4  # with fewer, no difference between two trials can be significant at the pruner's level of 0.1
LAST = 0.2  # the part of training, at its end, whose evaluations are the score "last"
FIRST_SEED = 1000  # seeds of a search start here, so that compare's 0, 1, 2, ... are fresh


@dataclass(frozen=True)
class StudySpec:
    """Everything that decides what a study's trials do.

    :param base: the run that all trials vary: task, steps, evaluations, and the method's text with what is fixed
    :param seeds: of each trial, one run for each
    :param search: what is searched
    :param score: ``"last"``, the mean of the evaluations in the last fifth of training, or ``"area"``, the mean of all
    :param pruner: one of ``PRUNERS``
    """

    base: RunSpec
    seeds: tuple[int, ...]
    search: Search
    score: str = "last"
    pruner: str = "auto"

    def __post_init__(self) -> None:
        if self.pruner == "wilcoxon" and len(self.seeds) < WILCOXON_SEEDS:
            raise UserError(
                f"The Wilcoxon pruner compares seeds and needs at least {WILCOXON_SEEDS} of them, not {len(self.seeds)}: "
                "give more --seeds or leave --pruner out."
            )

    def is_default(self, trial: "optuna.trial.FrozenTrial") -> bool:
        """Whether a trial is the defaults: the first one, where the space of every setting has its default in it."""
        return trial.user_attrs.get("task") == "trial 0" and set(self.search.start) == set(self.search.names)

    @property
    def timesteps(self) -> int:
        """Of each run."""
        assert self.base.timesteps is not None
        return self.base.timesteps

    @property
    def pruning(self) -> str:
        """The pruner, with ``"auto"`` decided: Wilcoxon's where there are seeds enough for it, else the median's."""
        if self.pruner != "auto":
            return self.pruner
        return "wilcoxon" if len(self.seeds) >= WILCOXON_SEEDS else "median"

    def spec(self, method: str, seed: int) -> RunSpec:
        """One run of a trial.

        :param method: its text
        :param seed: one of ``seeds``
        """
        return replace(self.base, method=method, seed=seed)

    def score_of(self, evaluations: list[dict[str, float]]) -> float:
        """The score of one run from the returns of its evaluations, each of them the environment's own.

        :param evaluations: rows with ``timesteps`` and ``return``
        """
        start = (1 - LAST) * self.timesteps if self.score == "last" else 1.0
        steps = [step for step in sorted({row["timesteps"] for row in evaluations}) if not self.is_late(step)]
        steps = [step for step in steps if step >= start] or steps[-1:]
        means = [np.mean([row["return"] for row in evaluations if row["timesteps"] == step]) for step in steps]
        return float(np.mean(means)) if means else float("nan")

    def is_late(self, timesteps: float) -> bool:
        """Whether an evaluation comes after the budget, as the one at the end of a rollout far longer than what was left.

        Long rollouts would have more training than others.
        """
        return timesteps >= self.timesteps * (1 + 1 / self.base.eval_points)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return {
            "format": FORMAT,
            "base": self.base.to_json(),
            "seeds": list(self.seeds),
            "spaces": {space.name: space.to_json() for space in self.search.spaces},
            "start": self.search.start,
            "score": self.score,
            "pruner": self.pruner,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "StudySpec":
        """Read what :meth:`to_json` wrote."""
        if record.get("format") != FORMAT:
            raise UserError("The study was not written by this version: choose another name with --study.")
        base = RunSpec.from_json(record["base"])
        method = parse_method(base.method)
        parts = (method.algorithm, *method.rewards, *method.losses)
        spaces = tuple(read_space(name, records, "the study") for name, records in record["spaces"].items())
        search = Search(parts, spaces, record["start"])
        return cls(base, tuple(record["seeds"]), search, record["score"], record["pruner"])


def claim_study(study: "optuna.Study", spec: StudySpec) -> None:
    """Make a study this specification's, or find that it is already.

    :param study: of that name in the storage
    :param spec: what its trials shall do
    :raises UserError: where it is another's
    """
    stored = study.user_attrs.get("spec")
    mine = jsonable(spec.to_json())
    if stored is None:
        study.set_user_attr("spec", json.dumps(mine))
        return
    theirs = json.loads(stored)
    for name, value in mine.items():
        if theirs.get(name) != value:
            found = differing(value, theirs.get(name))
            raise UserError(
                f"The study {study.study_name!r} is another one, its {name} differs{found}: choose another name with --study."
            )


def differing(mine: Any, theirs: Any) -> str:
    """Where two records differ, for a message."""
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return f" ({theirs!r}, not {mine!r})"
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    return f" ({names[0]} = {theirs.get(names[0])!r}, not {mine.get(names[0])!r})" if names else ""


def make_sampler(name: str, seed: int | None) -> "BaseSampler":
    """An Optuna sampler.

    :param name: one of ``SAMPLERS``
    :param seed: of this very process; ``None`` takes it from the system
    """
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def make_pruner(spec: StudySpec) -> "BasePruner":
    """An Optuna pruner for what :class:`~sb3_infomax.tune.objective.Objective` reports.

    ``"median"`` compares the evaluations of the first seed with those of other trials at the same steps, once five trials
    are whole and a third of training is over; seeds that follow are not looked at. ``"wilcoxon"`` compares the scores of
    the seeds with those of the best trial, seed by seed, by a signed-rank test. Evaluations within a run are no independent
    instances and never enter the test.
    """
    import warnings

    import optuna

    if spec.pruning == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=spec.timesteps // 3)
    if spec.pruning == "wilcoxon":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=WILCOXON_SEEDS)
    return optuna.pruners.NopPruner()
