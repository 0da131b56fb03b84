"""``python -m sb3_infomax.zoo COMMAND ...``: the RL Zoo's commands, which know our algorithms and save our modules."""

import argparse
import importlib
import os
import runpy
import sys
import traceback
from collections.abc import Sequence

from sb3_infomax.compare.spec import UserError
from sb3_infomax.registry import unknown_name

SCRIPTS = ("train", "enjoy", "record_video", "record_training", "benchmark")
PLOTS = ("all_plots", "plot_from_file", "plot_train")
HUB = {"push_to_hub": "push", "load_from_hub": "load"}

USAGE = """usage: python -m sb3_infomax.zoo [--debug] COMMAND ...

The RL Zoo (https://rl-baselines3-zoo.readthedocs.io) with sb3_infomax's algorithms (c51, driml, mirl), intrinsic rewards and
auxiliary losses. Its own algorithms are there as well.

commands, each with --help:
  train            train an agent, go on with one (-i), or tune (-optimize)
  enjoy            watch a trained agent
  record_video     film it
  record_training  film its checkpoints
  benchmark        evaluate all agents of a folder
  push_to_hub      upload a trained agent, reward module included, to the Hugging Face Hub
  load_from_hub    download one
  all_plots, plot_from_file, plot_train    pictures of results
"""


def import_plugins(arguments: Sequence[str]) -> None:
    """Import the package that registers the environment which ``--env`` names, as gymnasium does not by itself.

    :param arguments: of the command
    """
    from sb3_infomax.compare.environments import PLUGINS, import_plugin

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env", default="")
    known, _ = parser.parse_known_args(arguments)
    for beginning, (package, _) in PLUGINS.items():
        if known.env.startswith(beginning):
            import_plugin(package)


def run(command: str) -> None:
    """Run one command; its arguments are the process's.

    :param command: its name
    :raises UserError: where there is none, or what it needs is not installed
    """
    if command not in (*SCRIPTS, *PLOTS, *HUB):
        raise UserError(str(unknown_name("command", command, [*SCRIPTS, *PLOTS, *HUB])))
    from sb3_infomax.zoo.registration import import_zoo, register

    register()
    import_plugins(sys.argv[1:])
    if command in SCRIPTS:
        import_zoo("requests")  # of rl_zoo3.enjoy, which it does not ask for
        runpy.run_module(f"rl_zoo3.{command}", run_name="__main__")
    elif command in PLOTS:
        try:
            plots = importlib.import_module("rl_zoo3.plots")
        except ModuleNotFoundError as error:
            raise UserError(
                f"{command} needs {error.name!r}, which the RL Zoo leaves to you: pip install {error.name}"
            ) from error
        getattr(plots, command)()
    else:
        from sb3_infomax.zoo import hub_commands

        getattr(hub_commands, HUB[command])()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m sb3_infomax.zoo``.

    :param argv: arguments, default those of the process
    :return: exit code: 0 done, 2 what was asked for cannot be done, 130 stopped by Ctrl-C
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: waiting threads sleep
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = arguments[:1] == ["--debug"]
    arguments = arguments[debug:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    command, sys.argv = arguments[0], [f"python -m sb3_infomax.zoo {arguments[0]}", *arguments[1:]]
    try:
        run(command)
        return 0
    except KeyboardInterrupt:
        return 130
    except (ValueError, AssertionError) as error:
        # also what the RL Zoo and Stable-Baselines3 find wrong with what was asked for
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        if not isinstance(error, UserError) and not debug:
            print("(python -m sb3_infomax.zoo --debug ... shows where)", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
