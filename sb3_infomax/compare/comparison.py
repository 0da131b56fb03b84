"""A whole comparison: runs, then learning curves and a table."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sb3_infomax.compare.algorithms import check_method, make_callbacks, make_model
from sb3_infomax.compare.environments import has_time_limit, is_video_game
from sb3_infomax.compare.settings import Settings, run_specs, settings_text, with_earlier
from sb3_infomax.compare.spec import RunSpec, UserError, folder_name, parse_method
from sb3_infomax.compare.storage import make_folder, taking_turns, write_atomic

if TYPE_CHECKING:
    from rich.console import Console

    from sb3_infomax.compare.display import LineDisplay
    from sb3_infomax.compare.runner import Run

    Executor: TypeAlias = Callable[[list[RunSpec], Path, int, LineDisplay], list[Run]]

CONFIG = "compare.yml"
HEADING = "# What was compared here. To do so again: sb3-infomax compare --config THIS_FILE --out ANOTHER_FOLDER\n"


def check_spec(spec: RunSpec) -> list[str]:
    """Make everything once and throw it away: what is wrong is said before any training starts.

    :param spec: what is to run
    :return: remarks for the user
    :raises UserError: where it cannot run
    """
    from sb3_infomax.compare.recording import MAX_EVALUATION_STEPS
    from sb3_infomax.compare.worker import training_env

    method = parse_method(spec.method)
    check_method(method)
    env = training_env(spec)
    try:
        model = make_model(spec, env, is_video_game(spec.env))
        for callback in make_callbacks(method, spec.seed).values():
            callback.init_callback(model)
            callback.detach()
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    finally:
        env.close()
    if has_time_limit(spec.env, spec.env_kwargs):
        return []
    return [
        f"Note: {spec.env} has no time limit. Evaluation episodes are cut after {MAX_EVALUATION_STEPS} steps; "
        "set one with --env-arg max_episode_steps=N."
    ]


def compare(settings: Settings, out: Path, workers: int, console: "Console", execute: "Executor | None" = None) -> int:
    """Run what is not finished, then write pictures and tables of all that the folder holds and show the table.

    :param settings: merged with the defaults
    :param out: folder of the comparison; runs are in ``runs/<environment>/<method>/seed_<n>``
    :param workers: processes at a time
    :param console: where to show progress and table
    :param execute: what works through the runs; ``None`` is :func:`~sb3_infomax.compare.runner.compare_runs`
    :return: exit code: 0, or 1 where a run failed
    """
    from sb3_infomax.compare.display import make_display
    from sb3_infomax.compare.runner import compare_runs

    specs = run_specs(settings)
    notes = [note for spec in {(spec.env, spec.method): spec for spec in specs}.values() for note in check_spec(spec)]
    for note in dict.fromkeys(notes):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    config = make_folder(out) / CONFIG
    with taking_turns(out):  # several processes may share the folder, see sb3_infomax.tune.shared_comparison
        if not config.exists():
            write_atomic(config, HEADING + settings_text(settings))
    runs = (execute or compare_runs)(specs, out, workers, make_display(console))
    with taking_turns(out):
        return conclude_all(settings, runs, out, console)


def conclude_all(settings: Settings, runs: "list[Run]", out: Path, console: "Console") -> int:
    """The results of these runs, and of earlier ones in the folder, for each environment."""
    from sb3_infomax.report.conclusion import conclude

    config = out / CONFIG
    everything = with_earlier(settings, config)
    write_atomic(config, HEADING + settings_text(everything))
    runs = [*finished_before(run_specs(everything), runs, out), *runs]
    envs, labels = list(everything["env"]), [parse_method(text).label for text in everything["methods"]]
    place = {(env, label): number for number, (env, label) in enumerate(itertools.product(envs, labels))}
    return conclude(sorted(runs, key=lambda run: (place[run.spec.env, run.spec.label], run.spec.seed)), out, console)


def finished_before(specs: Iterable[RunSpec], runs: "list[Run]", out: Path) -> "list[Run]":
    """Finished runs of earlier comparisons in the folder, which belong beside these.

    :param specs: that may be there
    :param runs: of this comparison
    :param out: folder of the comparisons
    """
    from sb3_infomax.compare.runner import Run, run_folder

    here = {run.folder.path for run in runs}
    found = []
    for spec in specs:
        folder = run_folder(spec, out / "runs")
        if folder.path not in here and folder.finished.exists() and not spec.differences(folder.spec()):
            found.append(Run(spec, folder, skipped=True))
            found[-1].finish()
    return found


def default_out(kind: str, *envs: str) -> Path:
    """Where results go unless the user says otherwise."""
    return Path("runs") / kind / folder_name("+".join(envs))[:100]
