"""Options that several commands share, and what they say, as objects."""

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from sb3_infomax.compare.settings import DEFAULTS, KEYS, Settings, merge, read_settings, run_specs
from sb3_infomax.compare.spec import NORMALIZE, RunSpec, UserError, parse_settings

if TYPE_CHECKING:
    from rich.console import Console

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


TRAIN_STEPS = 1_000_000


class Parser(argparse.ArgumentParser):
    """argparse with its mistakes told as ours: one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. See: {self.prog} --help")


def add_settings(parser: argparse.ArgumentParser, name: str, meaning: str) -> None:
    """An option for settings as ``key=value``, several at a time."""
    parser.add_argument(name, nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=meaning)


def add_environment(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Options about the environment and the algorithm's settings.

    :param parser: of a command
    :param several: whether it takes more than one environment
    """
    meaning = "any gymnasium id; module:Id imports module first; settings for gymnasium.make behind a colon: ID:key=value"
    if several:
        parser.add_argument("--env", nargs="+", action="extend", metavar="ID", help=f"one or more of {meaning}")
    else:
        parser.add_argument("--env", required=True, metavar="ID", help=meaning)
    add_settings(parser, "--env-arg", "for gymnasium.make, e.g. max_episode_steps=200")
    wrapper = "around the environment: useless_actions:n=12, or package.module:Class with such settings"
    parser.add_argument("--env-wrapper", nargs="+", action="extend", default=[], metavar="NAME", help=wrapper)
    add_settings(parser, "--algo-arg", "for the algorithm, e.g. n_steps=512 batch_size=128")
    parser.add_argument("--n-envs", type=int, metavar="N", help="parallel environments (default: 1; Atari on-policy: 8)")
    moments = "running moments of VecNormalize (default: both for MuJoCo with an on-policy algorithm, else none)"
    parser.add_argument("--normalize", choices=NORMALIZE, help=moments)


def add_budget(parser: argparse.ArgumentParser, timesteps: str) -> None:
    """Options about how long a run is.

    :param parser: of a command
    :param timesteps: its default, for the help
    """
    steps = f"environment steps of a run (default: {timesteps}, unless there is a --budget)"
    parser.add_argument("--timesteps", metavar="N", help=steps)
    time = "CPU time of a run, evaluations left out: 90s, 10m, 1.5h; with --timesteps, whichever ends first"
    parser.add_argument("--budget", metavar="TIME", help=time)


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
    parser.add_argument("--eval-points", type=int, metavar="N", help="evaluations over the run (default: 20)")
    parser.add_argument("--eval-episodes", type=int, metavar="N", help="episodes of each (default: 5)")
    actions = "actions of evaluations: best or sampled (default: sampled on-policy, best off-policy)"
    parser.add_argument("--eval-actions", choices=("best", "sampled"), help=actions)
    parser.add_argument("--success-return", type=float, metavar="X", help="an episode with this return is a success")


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


def given(arguments: argparse.Namespace) -> Settings:
    """What the options of a command say, as settings of a comparison; those that were left out are not in it."""
    options = {key: value for key, value in vars(arguments).items() if key in KEYS and value not in (None, [])}
    return read_settings({**options, **({"out": str(options["out"])} if "out" in options else {})}, KEYS)


def one_spec(arguments: argparse.Namespace, **fixed: Any) -> RunSpec:
    """The run that the options of ``train`` or ``check`` describe.

    :param arguments: of the command
    :param fixed: settings that win
    """
    method = {"methods": [method_text(arguments)], "seeds": [arguments.seed]}
    (spec,) = run_specs(merge(DEFAULTS, {"timesteps": TRAIN_STEPS}, given(arguments), method, fixed))
    return spec
