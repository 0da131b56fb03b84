"""The commands ``list``, ``train``, ``compare``, ``check``, ``demo`` and ``empowerment-map``: arguments in, exit code out.

They only read arguments and show results. Torch is imported after the arguments are read, so that help and mistakes come at
once.
"""

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.options import (
    add_budget,
    add_environment,
    add_evaluation,
    add_method,
    add_settings,
    check_workers,
    given,
    make_console,
    one_spec,
)
from sb3_infomax.compare.settings import DEFAULTS, KEYS, Settings, merge, read_file, read_settings, run_specs, told_apart
from sb3_infomax.compare.spec import RunSpec, UserError, is_auxiliary, parse_settings, parse_steps

if TYPE_CHECKING:
    from sb3_infomax.compare.comparison import Executor
    from sb3_infomax.compare.options import Commands

GO_ON = "Stopped. Finished runs are kept: the same command again goes on from here."


def add_commands(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """Tell the command line what there is here.

    :param commands: where to add
    :param common: options that every command has
    """
    commands.add_parser("list", parents=[common], help="what there is").set_defaults(run=run_list)
    add_train(commands, common)
    add_compare(commands, common)
    add_check(commands, common)
    add_demo(commands, common)
    add_empowerment_map(commands, common)


def run_list(arguments: argparse.Namespace) -> int:
    """Tables of what there is."""
    from sb3_infomax.compare.listing import algorithm_table, auxiliary_table, reward_table

    console = make_console()
    for table in (reward_table(), auxiliary_table(), algorithm_table()):
        if table is not None:
            console.print(table)
    return 0


def add_train(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """``train``."""
    parser = commands.add_parser("train", parents=[common], help="train one agent and store everything about it")
    add_environment(parser)
    add_method(parser)
    add_budget(parser, "1e6")
    add_evaluation(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/train/ENV/METHOD/seed_N")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the unfinished run in the folder")
    again.add_argument("--overwrite", action="store_true", help="start anew where the folder holds a run")
    how = "Stopped. The same command with --resume goes on from the last checkpoint."
    parser.set_defaults(run=run_train, when_stopped=how)


def run_train(arguments: argparse.Namespace) -> int:
    """One run in this process."""
    from sb3_infomax.compare.training import train

    spec = one_spec(arguments)
    return train(spec, arguments.out, arguments.resume, arguments.overwrite, make_console())


def add_compare(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """``compare``."""
    parser = commands.add_parser(
        "compare",
        parents=[common],
        help="methods x seeds in parallel; ends with learning curves and a table",
        epilog="A method is ALGO or ALGO+REWARD, with settings behind a colon and a name of its own before '=': ppo  ppo+emi  "
        "ppo+rnd:coef=0.5,preset=paper  ppo:n_steps=512+icm  ppo+rnd+emi (a mixture)  'EMI tuned=ppo+emi:coef=0.1'. "
        "The same command again goes on where it was; more methods, seeds or environments join those in the folder.",
    )
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="such as ppo, ppo+emi or ppo+rnd:coef=0.5")
    file = "YAML file with any of these options (env, methods, seeds, ...); options given here win"
    parser.add_argument("--config", type=Path, metavar="FILE", help=file)
    add_environment(parser, several=True)
    parser.add_argument("--seeds", metavar="N", help="how many (default: 5), or which: 3,7,8")
    add_budget(parser, "60000")
    add_workers(parser)
    add_sharing(parser)
    add_evaluation(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/compare/ENV")
    parser.set_defaults(run=run_compare, when_stopped=GO_ON)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Options about processes."""
    parser.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: one per core)")
    pinning = "leave it to the system on which core a process runs; otherwise each has its own, where there are enough"
    parser.add_argument("--no-pin", dest="pin", action="store_const", const=False, help=pinning)


def add_sharing(parser: argparse.ArgumentParser) -> None:
    """Options about other machines."""
    group = parser.add_argument_group("several machines", "the same command, on each of them, works through one comparison")
    url = "where they meet: postgresql://user@host/name; on one machine also sqlite:///runs.db or journal:runs.log"
    group.add_argument("--storage", metavar="URL", help=url)
    group.add_argument("--study", metavar="NAME", help="of the comparison there (default: compare-ENV)")
    silent = "a process that is silent for 3 S is dead, and its runs are done by the others (default: 15)"
    group.add_argument("--heartbeat", type=int, metavar="S", help=silent)


def executor(settings: Settings) -> "Executor":
    """What works through the runs: this machine alone, or together with others."""
    if "storage" not in settings:
        from sb3_infomax.compare.runner import compare_runs

        for name in ("study", "heartbeat"):
            if name in settings:
                raise UserError(f"--{name} is about several machines: name where they meet with --storage.")
        return functools.partial(compare_runs, pin=settings.get("pin", True))
    try:
        from sb3_infomax.tune.shared_comparison import Sharing, share
    except ImportError as error:
        raise UserError("Comparisons over several machines need Optuna: pip install 'sb3-infomax[tune]'.") from error
    told = {name: settings[name] for name in ("study", "heartbeat") if name in settings}
    return functools.partial(share, sharing=Sharing(settings["storage"], **told))


def run_compare(arguments: argparse.Namespace) -> int:
    """Environments x methods x seeds."""
    if arguments.env:
        arguments.env, behind = told_apart(arguments.env)
        arguments.methods = arguments.methods + behind
    settings = merge(DEFAULTS, read_file(arguments.config) if arguments.config else {}, given(arguments))
    return start_comparison(settings)


def start_comparison(settings: Settings) -> int:
    """Run a comparison with everything that the options may say.

    :param settings: merged with the defaults
    """
    from sb3_infomax.compare.comparison import compare, default_out

    run_specs(settings)  # what is missing is said first
    out = Path(settings["out"]) if "out" in settings else default_out("compare", *settings["env"])
    return compare(settings, out, check_workers(settings.get("workers")), make_console(), executor(settings))


def add_check(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """``check``."""
    parser = commands.add_parser(
        "check", parents=[common], help="does the bonus reach the learner here, and what does it cost"
    )
    add_environment(parser)
    add_method(parser)
    parser.add_argument("--timesteps", metavar="N", help="steps of each short run (default: three rollouts, or 1500)")
    parser.set_defaults(run=run_check)


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
    return check(one_spec(arguments, timesteps=steps or 1000), steps, make_console())


def add_demo(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """``demo``."""
    parser = commands.add_parser("demo", parents=[common], help="a real comparison in about three minutes")
    parser.add_argument("--seeds", metavar="N", help="how many (default: 3), or which: 3,7,8")
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="FOLDER", help="default: demo")
    add_workers(parser)
    parser.set_defaults(run=run_demo, when_stopped=GO_ON)


def run_demo(arguments: argparse.Namespace) -> int:
    """``compare`` with the settings of :mod:`sb3_infomax.compare.demo`."""
    from sb3_infomax.compare.demo import DEMO

    return start_comparison(merge(DEFAULTS, read_settings(DEMO, KEYS, "demo"), given(arguments)))


def add_empowerment_map(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """``empowerment-map``."""
    parser = commands.add_parser(
        "empowerment-map", parents=[common], help="the empowerment of every state of a small world, exact and as learned"
    )
    parser.add_argument("--env", required=True, metavar="ID", help="a grid world of ours, FrozenLake, MiniGrid, ...")
    add_settings(parser, "--env-arg", "for gymnasium.make, e.g. slip=0.2")
    parser.add_argument("--horizon", type=int, default=3, metavar="N", help="actions in a sequence (default: 3)")
    parser.add_argument("--unit", choices=("bits", "nats"), default="bits", help="default: bits")
    parser.add_argument("--learned", metavar="NAME", help="a reward module that learns it from random transitions")
    add_settings(parser, "--reward-arg", "for the reward module")
    parser.add_argument("--timesteps", default="20000", metavar="N", help="random steps to learn from (default: 20000)")
    parser.add_argument("--updates", type=int, default=3000, metavar="N", help="of the module (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/empowerment/ENV")
    parser.set_defaults(run=run_empowerment_map)


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
