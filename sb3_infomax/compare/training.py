"""One run in this process, with a progress bar."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.comparison import check_spec, default_out
from sb3_infomax.compare.environments import is_video_game
from sb3_infomax.compare.spec import RunSpec, UserError, folder_name
from sb3_infomax.compare.storage import RunFolder, locked

if TYPE_CHECKING:
    from rich.console import Console


def claim_for_training(spec: RunSpec, folder: RunFolder, resume: bool, overwrite: bool) -> None:
    """Make the folder ready, or refuse with what the user can do.

    :param spec: what is to run
    :param folder: where
    :param resume: the user wants to go on with what is there
    :param overwrite: the user wants it gone
    """
    if resume and not folder.config.exists():
        raise UserError(f"{folder.path} holds no run to resume: leave --resume out, or name its folder with --out.")
    if overwrite and folder.config.exists():
        folder.spec()  # refuses to empty a folder that is not a run's
        folder.start_over()
        folder.config.unlink()
    known = folder.config.exists()
    if folder.claim(spec):
        raise UserError(f"{folder.path} holds this very run, finished: choose another --out or --seed, or --overwrite it.")
    if known and not resume:
        raise UserError(f"{folder.path} holds this run, unfinished: --resume goes on with it, --overwrite starts anew.")


def train(spec: RunSpec, out: Path | None, resume: bool, overwrite: bool, console: "Console") -> int:
    """Train one agent.

    :param spec: the run
    :param out: its folder; ``None`` is ``runs/train/ENV/METHOD/seed_N``
    :param resume: go on with the unfinished run there
    :param overwrite: start anew where there is one
    :param console: where progress is shown
    :return: exit code
    """
    import torch as th

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for note in check_spec(spec):
        say(note)
    if not is_video_game(spec.env):
        th.set_num_threads(1)  # more only slow small networks down
    folder = RunFolder(out or default_out("train", spec.env) / folder_name(spec.label) / f"seed_{spec.seed}")
    claim_for_training(spec, folder, resume, overwrite)
    if resume:
        checkpoint = folder.checkpoint()
        say(f"Going on from {checkpoint.name}." if checkpoint else "The run had no checkpoint yet: it starts over.")
    record = run_with_bar(spec, folder, console)
    say(f"Trained {record['timesteps']:,} steps in {record['seconds']['wall']:.0f} s; everything is in {folder.path}")
    return 0


def run_with_bar(spec: RunSpec, folder: RunFolder, console: "Console") -> dict[str, Any]:
    """:func:`~sb3_infomax.compare.worker.execute` under a progress bar, or with a line now and then."""
    from sb3_infomax.compare.display import make_display
    from sb3_infomax.compare.runner import Run
    from sb3_infomax.compare.worker import execute

    run = Run(spec, folder)
    display = make_display(console)

    def show(record: dict[str, Any]) -> None:
        run.hear(record)
        display.poll()

    busy = f"{folder.path} is in use by another process: wait until it ends."
    with locked(folder.path, busy), display.watching([run], 1):
        run.state = "running"
        display.changed(run)
        return execute(spec, folder, show)
