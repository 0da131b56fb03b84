"""The command ``tune``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_infomax.compare.options import add_environment, add_evaluation, check_workers, given, make_console
from sb3_infomax.compare.settings import DEFAULTS, merge, parse_seeds, run_specs
from sb3_infomax.compare.spec import UserError

if TYPE_CHECKING:
    from sb3_infomax.compare.options import Commands
    from sb3_infomax.tune.study import StudySpec

GO_ON = "Stopped. Trials that are done are kept: the same command again goes on from here."


def add_commands(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """Tell the command line what there is here.

    :param commands: where to add
    :param common: options that every command has
    """
    parser = commands.add_parser(
        "tune",
        parents=[common],
        help="search for better settings of a method with Optuna",
        epilog="What the text of the METHOD settles stays: ppo:n_steps=512+emi searches everything but n_steps. The same "
        "command again goes on where it was; on other machines, with the same --storage and --study, it joins the search.",
    )
    parser.add_argument("method", metavar="METHOD", help="such as ppo+emi, driml or qrdqn+infonce:k=3")
    add_environment(parser)
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="of the whole study (default: 100)")
    parser.add_argument("--timesteps", metavar="N", help="environment steps of each run (default: 60000)")
    parser.add_argument("--seeds", default="2", metavar="N", help="of each trial: how many (default: 2), or which: 1003,1007")
    parser.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: one per core)")
    pinning = "leave it to the system on which core a process runs; otherwise each has its own, where there are enough"
    parser.add_argument("--no-pin", dest="pin", action="store_false", help=pinning)
    add_evaluation(parser)
    add_search(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/tune/ENV/METHOD")
    parser.set_defaults(run=run_tune, when_stopped=GO_ON)


def add_search(parser: argparse.ArgumentParser) -> None:
    """Options about the search."""
    search = parser.add_argument_group("the search")
    chosen = "search only these: parts of the method (emi) or single settings (emi.coef)"
    search.add_argument("--tune", nargs="+", action="extend", default=[], metavar="NAME", help=chosen)
    search.add_argument(
        "--space", type=Path, metavar="FILE", help="YAML with spaces of your own, under the names of the parts"
    )
    score = "last: mean return of the last fifth of training (default); area: of all of it; always the environment's own"
    search.add_argument("--score", choices=("last", "area"), default="last", help=score)
    search.add_argument("--sampler", choices=("tpe", "random", "gp"), default="tpe", help="of Optuna (default: tpe)")
    pruner = "median: by the first seed's evaluations; wilcoxon: seed by seed, from 4 seeds on (default: what the seeds allow)"
    search.add_argument("--pruner", choices=("auto", "median", "wilcoxon", "none"), default="auto", help=pruner)
    search.add_argument("--search-seed", type=int, metavar="N", help="of the sampler (default: from the system)")
    where = "sqlite:///study.db, postgresql://user@host/name, journal:study.log or grpc://host:port (default: FOLDER/study.db)"
    search.add_argument("--storage", metavar="URL", help=where)
    search.add_argument("--study", metavar="NAME", help="of the study in the storage (default: ENV METHOD)")
    search.add_argument("--heartbeat", type=int, default=15, metavar="S", help="a worker silent for 3 S is dead (default: 15)")
    rerun = "then compare the best settings with the defaults by N seeds that they were not chosen on (default: 5)"
    search.add_argument("--compare", type=int, nargs="?", const=5, metavar="N", help=rerun)


def study_spec(arguments: argparse.Namespace) -> "StudySpec":
    """What the options say about a study."""
    from sb3_infomax.compare.algorithms import ALIASES, ATARI_DEFAULTS
    from sb3_infomax.compare.environments import is_video_game
    from sb3_infomax.compare.spec import parse_method
    from sb3_infomax.tune.search import plan_search, read_spaces
    from sb3_infomax.tune.study import FIRST_SEED, StudySpec

    seeds = parse_seeds(arguments.seeds)
    if "," not in arguments.seeds:
        seeds = [FIRST_SEED + seed for seed in seeds]
    (base,) = run_specs(merge(DEFAULTS, given(arguments), {"methods": [arguments.method], "seeds": seeds[:1]}))
    own = {} if arguments.space is None else read_spaces(arguments.space)
    name = parse_method(arguments.method).algorithm.name
    usual = ATARI_DEFAULTS.get(ALIASES.get(name, name), {}) if is_video_game(base.env) else {}
    search = plan_search(arguments.method, own, arguments.tune, base.algo_kwargs, usual)
    return StudySpec(base, tuple(seeds), search, arguments.score, arguments.pruner)


def run_tune(arguments: argparse.Namespace) -> int:
    """A search."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("tune needs Optuna: pip install 'sb3-infomax[tune]'.") from None
    from sb3_infomax.compare.comparison import default_out
    from sb3_infomax.compare.spec import folder_name
    from sb3_infomax.tune.tuning import Plan, default_name, tune

    for option in ("trials", "compare"):
        number = getattr(arguments, option)
        if number is not None and number < 1:
            raise UserError(f"--{option} must be at least 1, not {number}.")
    spec = study_spec(arguments)
    out = arguments.out or default_out("tune", spec.base.env) / folder_name(spec.search.default)
    name = arguments.study or default_name(spec)
    plan = Plan(
        spec,
        name,
        out,
        url=arguments.storage,
        n_trials=arguments.trials,
        workers=check_workers(arguments.workers),
        sampler=arguments.sampler,
        seed=arguments.search_seed,
        heartbeat=arguments.heartbeat,
        pin=arguments.pin,
    )
    return tune(plan, make_console(), arguments.compare)
