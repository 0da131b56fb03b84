"""Options that several commands share, and what they say, as objects."""

import argparse
from typing import TYPE_CHECKING, NoReturn

from sb3_infomax.compare.spec import RunSpec, UserError, parse_settings, parse_steps

if TYPE_CHECKING:
    from rich.console import Console

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


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
        method=method.strip(),
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
