"""The command line: ``sb3-infomax COMMAND``.

Each integration brings its commands in a module ``command`` of its own; here they come together, and mistakes become
sentences.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module

from sb3_infomax import __version__
from sb3_infomax.compare.options import Parser
from sb3_infomax.compare.spec import UserError

# Modules with add_commands(commands, common). They import nothing heavy: the help reads all of them.
COMMANDS = ("sb3_infomax.compare.command", "sb3_infomax.report.command", "sb3_infomax.tune.command")

EXAMPLES = """examples:
  sb3-infomax list
  sb3-infomax train --env ALE/MontezumaRevenge-v5 --algo ppo --reward emi --timesteps 1e6
  sb3-infomax compare --env MiniGrid-DoorKey-8x8-v0 ppo ppo+rnd "ppo+emi:coef=0.1" --seeds 5 --timesteps 2e5
  sb3-infomax compare --config compare.yml --workers 4
  sb3-infomax tune ppo+emi --env MiniGrid-DoorKey-8x8-v0 --trials 100 --timesteps 2e5 --compare
  sb3-infomax check --env CartPole-v1 --algo dqn --reward rnd
"""


def make_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="sb3-infomax",
        description="Information-theoretic reinforcement learning for Stable-Baselines3.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sb3-infomax {__version__}")
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in COMMANDS:
        import_module(module).add_commands(commands, common)
    return parser


def say(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)


def explain(error: Exception) -> int:
    """Tell an error as a sentence; the exit code: 2 for what the user can mend, 1 for the rest."""
    lines = " ".join(str(error).split())
    if isinstance(error, UserError):
        say(f"sb3-infomax: error: {lines}")
        return 2
    if isinstance(error, ImportError):
        say(
            f"sb3-infomax: error: {lines}: a package is missing or damaged; pip install 'sb3-infomax[all]' brings all of them."
        )
        return 2
    name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    say(f"sb3-infomax: error: {name}{lines or 'no message'} (--debug shows where)")
    return 2 if isinstance(error, ValueError) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``sb3-infomax``.

    :param argv: arguments, default those of the process
    :return: exit code: 0 done, 1 a run failed, 2 what was asked for cannot be done, 130 stopped by Ctrl-C
    """
    # before torch is imported: waiting threads sleep instead of spinning
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # module:Class of the user's own, as `python -m` would find it
    if threading.current_thread() is threading.main_thread():
        # a terminated comparison stops its workers as one that was interrupted does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments: argparse.Namespace | None = None
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        arguments = make_parser().parse_args(argv)
        return arguments.run(arguments)
    except KeyboardInterrupt:
        say("\n" + getattr(arguments, "when_stopped", "Stopped."))
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        return explain(error)


if __name__ == "__main__":
    sys.exit(main())
