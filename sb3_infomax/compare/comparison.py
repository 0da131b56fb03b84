"""A whole comparison: runs, then learning curves and a table."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.algorithms import check_method, make_callbacks, make_model
from sb3_infomax.compare.environments import has_time_limit, is_video_game
from sb3_infomax.compare.spec import RunSpec, UserError, folder_name, parse_method

if TYPE_CHECKING:
    from rich.console import Console


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


def specs_of(base: RunSpec, methods: Iterable[str], seeds: Iterable[int]) -> list[RunSpec]:
    """All methods for the first seed, then for the second, ...: a comparison cut short is still a comparison.

    :param base: what all runs share
    :param methods: texts of the methods
    :param seeds: of the runs
    """
    texts = [text.strip() for text in methods]
    labels = [parse_method(text).label for text in texts]
    if len(set(labels)) < len(labels):
        raise UserError("A method is given twice: leave one of them out, or name them apart as LABEL=METHOD.")
    return [replace(base, method=text, seed=seed) for seed in seeds for text in texts]


def compare(specs: list[RunSpec], out: Path, workers: int, console: "Console") -> int:
    """Run what is not finished, then write ``curves.png``, ``table.md`` and ``table.csv`` and show the table.

    :param specs: from :func:`specs_of`
    :param out: folder of the comparison; runs are in ``runs/<method>/seed_<n>``
    :param workers: processes at a time
    :param console: where to show progress and table
    :return: exit code: 0, or 1 where a run failed
    """
    from sb3_infomax.compare.display import make_display
    from sb3_infomax.compare.runner import compare_runs
    from sb3_infomax.report.conclusion import conclude

    notes = [note for spec in {spec.method: spec for spec in specs}.values() for note in check_spec(spec)]
    for note in dict.fromkeys(notes):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    runs = compare_runs(specs, out, workers, make_display(console))
    return conclude(runs, out, console)


def default_out(kind: str, env: str) -> Path:
    """Where results go unless the user says otherwise."""
    return Path("runs") / kind / folder_name(env)
