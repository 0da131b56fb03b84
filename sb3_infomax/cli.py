"""The command line: ``sb3-infomax list | train | compare | check | demo | empowerment-map``.

It only reads arguments and shows results; what it does is in :mod:`sb3_infomax.compare`. Torch is imported after the
arguments are read, so that help and mistakes come at once.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sb3_infomax import __version__
from sb3_infomax.compare.spec import RunSpec, UserError, is_auxiliary, parse_method, parse_settings, parse_steps

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = """examples:
  sb3-infomax list
  sb3-infomax train --env ALE/MontezumaRevenge-v5 --algo ppo --reward emi --timesteps 1e6
  sb3-infomax compare --env MiniGrid-DoorKey-8x8-v0 ppo ppo+rnd "ppo+emi:coef=0.1" --seeds 5 --timesteps 2e5
  sb3-infomax check --env CartPole-v1 --algo dqn --reward rnd
"""


class Parser(argparse.ArgumentParser):
    """argparse with its mistakes told as ours: one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. See: {self.prog} --help")


def parse_seeds(text: str) -> list[int]:
    """``5`` is the seeds 0 to 4, ``3,7,8`` are those."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"Cannot read the seeds {text!r}: write how many (5) or which (3,7,8).") from None
    if "," in text:
        if len(set(numbers)) < len(numbers):
            raise UserError(f"A seed is given twice in {text!r}: leave one of them out.")
        return numbers
    if numbers[0] < 1:
        raise UserError(f"The number of seeds must be at least 1, not {numbers[0]}.")
    return list(range(numbers[0]))


def add_settings(parser: argparse.ArgumentParser, name: str, meaning: str) -> None:
    """An option for settings as ``key=value``, several at a time."""
    parser.add_argument(name, nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=meaning)


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Options about the environment and the algorithm's settings."""
    parser.add_argument("--env", required=True, metavar="ID", help="any gymnasium id; module:Id imports module first")
    add_settings(parser, "--env-arg", "for gymnasium.make, e.g. max_episode_steps=200")
    wrapper = "around the environment: useless_actions:n=12, or package.module:Class with such settings"
    parser.add_argument("--env-wrapper", nargs="+", action="extend", default=[], metavar="NAME", help=wrapper)
    add_settings(parser, "--algo-arg", "for the algorithm, e.g. n_steps=512 batch_size=128")
    parser.add_argument("--n-envs", type=int, metavar="N", help="parallel environments (default: 1; Atari on-policy: 8)")


def add_method(parser: argparse.ArgumentParser) -> None:
    """Options that name one method."""
    parser.add_argument("--algo", default="ppo", metavar="NAME", help="algorithm, see the command list (default: ppo)")
    parser.add_argument(
        "--reward", default="none", metavar="NAME", help="intrinsic reward or auxiliary loss, or none (default)"
    )
    parser.add_argument("--coef", type=float, metavar="X", help="coefficient of the bonus (default: the reward's own)")
    parser.add_argument("--preset", metavar="NAME", help="named settings of the reward, such as paper")
    add_settings(parser, "--reward-arg", "any other setting of the reward")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Options about evaluations."""
    parser.add_argument("--eval-points", type=int, default=20, metavar="N", help="evaluations over the run (default: 20)")
    parser.add_argument("--eval-episodes", type=int, default=5, metavar="N", help="episodes of each (default: 5)")
    actions = "actions of evaluations: best or sampled (default: sampled on-policy, best off-policy)"
    parser.add_argument("--eval-actions", choices=("best", "sampled"), help=actions)
    parser.add_argument("--success-return", type=float, metavar="X", help="an episode with this return is a success")


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

    commands.add_parser("list", parents=[common], help="what there is").set_defaults(run=run_list)

    train = commands.add_parser("train", parents=[common], help="train one agent and store everything about it")
    add_environment(train)
    add_method(train)
    train.add_argument("--timesteps", default="1e6", metavar="N", help="environment steps (default: 1e6)")
    add_evaluation(train)
    train.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/train/ENV/METHOD/seed_N")
    again = train.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the unfinished run in the folder")
    again.add_argument("--overwrite", action="store_true", help="start anew where the folder holds a run")
    train.set_defaults(run=run_train)

    compare = commands.add_parser(
        "compare",
        parents=[common],
        help="methods x seeds in parallel; ends with learning curves and a table",
        epilog="A method is ALGO or ALGO+REWARD, with settings behind a colon: ppo  ppo+emi  ppo+rnd:coef=0.5,preset=paper  "
        "ppo:n_steps=512+icm  ppo+rnd+emi (a mixture). The same command again goes on where it was.",
    )
    compare.add_argument("methods", nargs="*", metavar="METHOD", help="such as ppo, ppo+emi or ppo+rnd:coef=0.5")
    add_environment(compare)
    compare.add_argument("--seeds", default="5", metavar="N", help="how many (default: 5), or which: 3,7,8")
    compare.add_argument("--timesteps", default="60000", metavar="N", help="environment steps of each run (default: 60000)")
    compare.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: one per core)")
    add_evaluation(compare)
    compare.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/compare/ENV")
    compare.set_defaults(run=run_compare)

    check = commands.add_parser("check", parents=[common], help="does the bonus reach the learner here, and what does it cost")
    add_environment(check)
    add_method(check)
    check.add_argument("--timesteps", metavar="N", help="steps of each short run (default: three rollouts, or 1500)")
    check.set_defaults(run=run_check)

    demo = commands.add_parser("demo", parents=[common], help="a real comparison in about three minutes")
    demo.add_argument("--seeds", metavar="N", help="how many (default: 3), or which: 3,7,8")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="FOLDER", help="default: demo")
    demo.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: one per core)")
    demo.set_defaults(run=run_demo)

    landscape = commands.add_parser(
        "empowerment-map", parents=[common], help="the empowerment of every state of a small world, exact and as learned"
    )
    landscape.add_argument("--env", required=True, metavar="ID", help="a grid world of ours, FrozenLake, MiniGrid, ...")
    add_settings(landscape, "--env-arg", "for gymnasium.make, e.g. slip=0.2")
    landscape.add_argument("--horizon", type=int, default=3, metavar="N", help="actions in a sequence (default: 3)")
    landscape.add_argument("--unit", choices=("bits", "nats"), default="bits", help="default: bits")
    landscape.add_argument("--learned", metavar="NAME", help="a reward module that learns it from random transitions")
    add_settings(landscape, "--reward-arg", "for the reward module")
    landscape.add_argument("--timesteps", default="20000", metavar="N", help="random steps to learn from (default: 20000)")
    landscape.add_argument("--updates", type=int, default=3000, metavar="N", help="of the module (default: 3000)")
    landscape.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    landscape.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/empowerment/ENV")
    landscape.set_defaults(run=run_empowerment_map)
    return parser


def make_console() -> "Console":
    """Standard output; wide enough for tables where it is a file."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=150)


def check_workers(workers: int | None) -> int:
    """Processes at a time."""
    from sb3_infomax.compare.runner import default_workers

    if workers is not None and workers < 1:
        raise UserError(f"The number of workers must be at least 1, not {workers}.")
    return workers or default_workers()


def method_text(arguments: argparse.Namespace) -> str:
    """``--algo``, ``--reward`` and their settings in the notation of ``compare``, the one record of a method."""
    parse_settings(arguments.reward_arg)
    settings = list(arguments.reward_arg)
    settings += [f"coef={arguments.coef!r}"] if arguments.coef is not None else []
    settings += [f"preset={arguments.preset}"] if arguments.preset is not None else []
    if arguments.reward.lower() == "none":
        if settings:
            raise UserError(f"The setting {settings[0]!r} belongs to a reward, but there is none: name it with --reward.")
        return arguments.algo
    return f"{arguments.algo}+{arguments.reward}" + (":" + ",".join(settings) if settings else "")


def base_spec(arguments: argparse.Namespace, method: str, seed: int) -> RunSpec:
    """What the options say about a run."""
    return RunSpec(
        env=arguments.env,
        method=parse_method(method).label,
        timesteps=parse_steps(arguments.timesteps),
        seed=seed,
        env_kwargs=parse_settings(arguments.env_arg),
        env_wrappers=arguments.env_wrapper,
        algo_kwargs=parse_settings(arguments.algo_arg),
        n_envs=arguments.n_envs,
        eval_points=arguments.eval_points,
        eval_episodes=arguments.eval_episodes,
        eval_actions=arguments.eval_actions,
        success_return=arguments.success_return,
    )


def run_list(arguments: argparse.Namespace) -> int:
    """Tables of what there is."""
    from sb3_infomax.compare.listing import algorithm_table, auxiliary_table, reward_table

    console = make_console()
    for table in (reward_table(), auxiliary_table(), algorithm_table()):
        if table is not None:
            console.print(table)
    return 0


def run_train(arguments: argparse.Namespace) -> int:
    """One run in this process."""
    from sb3_infomax.compare.training import train

    spec = base_spec(arguments, method_text(arguments), arguments.seed)
    return train(spec, arguments.out, arguments.resume, arguments.overwrite, make_console())


def run_compare(arguments: argparse.Namespace) -> int:
    """Methods x seeds."""
    from sb3_infomax.compare.comparison import compare, default_out, specs_of

    if not arguments.methods:
        raise UserError("compare needs methods, before the options: sb3-infomax compare ppo ppo+rnd --env ID.")
    seeds = parse_seeds(arguments.seeds)
    base = base_spec(arguments, arguments.methods[0], seeds[0])
    specs = specs_of(base, arguments.methods, seeds)
    out = arguments.out or default_out("compare", arguments.env)
    return compare(specs, out, check_workers(arguments.workers), make_console())


def run_check(arguments: argparse.Namespace) -> int:
    """The bonus in the user's own stack."""
    from sb3_infomax.compare.check import check

    if arguments.reward.lower() == "none":
        raise UserError("check needs a reward: name it with --reward, such as --reward emi.")
    if is_auxiliary(arguments.reward):
        raise UserError(
            f"check measures what a bonus does, and {arguments.reward} is an auxiliary loss: use train or compare."
        )
    steps = None if arguments.timesteps is None else parse_steps(arguments.timesteps)
    arguments.timesteps = arguments.timesteps or "1000"
    for name, value in {"eval_points": 1, "eval_episodes": 1, "eval_actions": None, "success_return": None}.items():
        setattr(arguments, name, value)
    return check(base_spec(arguments, method_text(arguments), arguments.seed), steps, make_console())


def run_demo(arguments: argparse.Namespace) -> int:
    """``compare`` with the settings of :mod:`sb3_infomax.compare.demo`."""
    from sb3_infomax.compare.comparison import compare, specs_of
    from sb3_infomax.compare.demo import DEMO

    shared: dict[str, Any] = {key: value for key, value in DEMO.items() if key not in ("methods", "seeds")}
    base = RunSpec(method=DEMO["methods"][0], **shared)
    seeds = parse_seeds(arguments.seeds) if arguments.seeds is not None else range(DEMO["seeds"])
    specs = specs_of(base, DEMO["methods"], seeds)
    return compare(specs, arguments.out, check_workers(arguments.workers), make_console())


def run_empowerment_map(arguments: argparse.Namespace) -> int:
    """The empowerment of every state."""
    from sb3_infomax.compare.comparison import default_out
    from sb3_infomax.compare.landscape import Learning, empowerment_map

    settings = parse_settings(arguments.reward_arg)
    if settings and arguments.learned is None:
        raise UserError("Settings of a reward module need one: name it with --learned.")
    if arguments.updates < 1:
        raise UserError(f"The number of updates must be at least 1, not {arguments.updates}.")
    steps = parse_steps(arguments.timesteps)
    spec = RunSpec(arguments.env, "dqn", steps, arguments.seed, env_kwargs=parse_settings(arguments.env_arg))
    learning = None
    if arguments.learned is not None:
        learning = Learning(arguments.learned, {"horizon": arguments.horizon, **settings}, steps, arguments.updates)
    out = arguments.out or default_out("empowerment", arguments.env)
    return empowerment_map(spec, arguments.horizon, arguments.unit, learning, out, make_console())


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


def interrupted(arguments: argparse.Namespace | None) -> int:
    """Ctrl-C: say how to go on."""
    how = {
        "compare": "Stopped. Finished runs are kept: the same command again goes on from here.",
        "demo": "Stopped. Finished runs are kept: the same command again goes on from here.",
        "train": "Stopped. The same command with --resume goes on from the last checkpoint.",
    }
    say("\n" + how.get(getattr(arguments, "command", ""), "Stopped."))
    return 130


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
        return interrupted(arguments)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return explain(error)


if __name__ == "__main__":
    sys.exit(main())
