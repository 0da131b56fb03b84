"""A search as a Ray Tune experiment, for those who have a Ray cluster: ``pip install 'sb3-infomax[tune,ray]'``.

The objective, the spaces and the start are those of ``sb3-infomax tune``; Ray places the trials, restarts those whose worker
dies from their checkpoints (``FailureConfig``), and a scheduler of Ray's may end the poor ones early::

    spec = StudySpec(RunSpec("CartPole-v1", "ppo+rnd", timesteps=50_000), seeds=(1000, 1001), search=plan_search("ppo+rnd"))
    results = make_tuner(spec, n_trials=50, storage_path="/shared/ray", name="ppo+rnd").fit()
    print(best_method(spec, results))
"""

import math
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FixedTrial

from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import RunFolder
from sb3_infomax.compare.worker import execute
from sb3_infomax.tune.objective import Diverged, Objective
from sb3_infomax.tune.search import Search
from sb3_infomax.tune.study import StudySpec, make_sampler

if TYPE_CHECKING:
    import optuna
    from ray import tune

METRIC, TIME = "score", "timesteps"


class RayObjective(Objective):
    """The objective of a study, whose evaluations and checkpoints go to Ray.

    :param spec: of the study
    :param folder: of the trial, on the node that runs it
    :param checkpoint_seconds: least wall time between two checkpoints
    """

    def __init__(self, spec: StudySpec, folder: Path, checkpoint_seconds: float = 60.0) -> None:
        super().__init__(spec, folder, self.train_and_report)
        self.checkpoint_seconds = checkpoint_seconds
        self.sent: set[str] = set()

    def report(self, trial: "optuna.Trial", value: float, step: int) -> None:
        """Nothing: it is Ray's scheduler that ends trials."""

    def train_and_report(self, spec: RunSpec, folder: RunFolder, progress: Any, **hooks: Any) -> dict[str, Any]:
        """Run one seed; every evaluation is a result for Ray."""
        before = self.spec.seeds.index(spec.seed) * self.spec.timesteps

        def on_evaluation(timesteps: int, returns: np.ndarray) -> None:
            self.send({METRIC: float(returns.mean()), TIME: before + timesteps})

        return execute(spec, folder, progress, on_evaluation=on_evaluation, checkpoint_seconds=self.checkpoint_seconds)

    def send(self, metrics: dict[str, float]) -> None:
        """Report to Ray, with the folder where it holds anything new to go on from."""
        from ray import tune

        kept = {str(path) for name in ("checkpoint_*", "finished.json") for path in self.folder.rglob(name)}
        new = kept - self.sent
        self.sent |= kept
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(str(self.folder)) if new else None)


def run_trial(config: dict[str, Any], record: dict[str, Any], checkpoint_seconds: float = 60.0) -> None:
    """The trainable: one trial, from its beginning or from the checkpoint that Ray has.

    :param config: parameters of the trial
    :param record: of the study, see :meth:`~sb3_infomax.tune.study.StudySpec.to_json`
    :param checkpoint_seconds: least wall time between two checkpoints
    """
    import torch as th
    from ray import tune

    th.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="sb3-infomax-"))
    try:
        checkpoint = tune.get_checkpoint()
        if checkpoint is not None:
            checkpoint.to_directory(str(folder))
        spec = StudySpec.from_json(record)
        objective = RayObjective(spec, folder, checkpoint_seconds)
        try:
            score = objective(FixedTrial(config))  # type: ignore[arg-type]  # has all that it asks of a trial
        except Diverged:
            score = -math.inf  # as bad as can be, and no reason to try it again
        objective.send({METRIC: score, TIME: len(spec.seeds) * spec.timesteps})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trainable(spec: StudySpec, resources: dict[str, float], checkpoint_seconds: float) -> Any:
    """:func:`run_trial` with what all trials share."""
    from ray import tune

    with_study = tune.with_parameters(run_trial, record=spec.to_json(), checkpoint_seconds=checkpoint_seconds)
    return tune.with_resources(with_study, resources)


def suggest(trial: "optuna.Trial", search: Search) -> None:
    """The space of a search as Ray's Optuna wants it: a function that Ray can store."""
    search.suggest(trial)


def make_tuner(
    spec: StudySpec,
    n_trials: int,
    storage_path: str,
    name: str,
    *,
    resources: dict[str, float] | None = None,
    scheduler: Any = None,
    sampler: str = "tpe",
    seed: int | None = None,
    max_failures: int = 3,
    checkpoint_seconds: float = 60.0,
) -> "tune.Tuner":
    """An experiment, ready to ``fit()``; one of this name that was cut off goes on where it was.

    :param spec: what the trials do
    :param n_trials: of the experiment
    :param storage_path: a folder or bucket that all nodes reach
    :param name: of the experiment there
    :param resources: of a trial, one core unless told otherwise
    :param scheduler: of Ray, such as ``ASHAScheduler(time_attr="timesteps", ...)``
    :param sampler: of Optuna: ``"tpe"``, ``"random"`` or ``"gp"``
    :param seed: of the sampler
    :param max_failures: how often a trial is started again after its worker died
    :param checkpoint_seconds: least wall time between two checkpoints of a run
    """
    try:
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise UserError("A Ray Tune experiment needs Ray: pip install 'sb3-infomax[tune,ray]'.") from error
    function = trainable(spec, resources or {"cpu": 1}, checkpoint_seconds)
    path = f"{storage_path.rstrip('/')}/{name}"
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(path, trainable=function, resume_unfinished=True, restart_errored=True)
    start = [spec.search.start] if spec.search.start else None
    space, of_optuna = partial(suggest, search=spec.search), make_sampler(sampler, seed)
    search = OptunaSearch(space=space, metric=METRIC, mode="max", points_to_evaluate=start, sampler=of_optuna)
    return tune.Tuner(
        function,
        tune_config=tune.TuneConfig(
            metric=None if scheduler else METRIC,
            mode=None if scheduler else "max",
            search_alg=search,
            scheduler=scheduler,
            num_samples=n_trials,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage_path,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=1,
        ),
    )


def best_method(spec: StudySpec, results: "tune.ResultGrid") -> str:
    """The best configuration as the text of a method, which ``sb3-infomax compare`` reads.

    :param spec: of the study
    :param results: of ``fit()``
    """
    best = results.get_best_result(METRIC, "max", filter_nan_and_inf=True)
    return spec.search.method_of(best.config or {})
