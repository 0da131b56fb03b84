"""The command ``report``: arguments in, exit code out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sb3_infomax.compare.options import Commands


def add_commands(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """Tell the command line what there is here.

    :param commands: where to add
    :param common: options that every command has
    """
    parser = commands.add_parser(
        "report",
        parents=[common],
        help="what stored runs say: statistics with intervals, pictures, one page",
        epilog="A source is a folder that is walked for runs: of compare or train, of the RL Zoo (logs/ALGO/ENV_N), with "
        "Monitor files, or with a table evaluations.csv. LABEL=FOLDER gives all runs in it the method's name LABEL.",
    )
    parser.add_argument("sources", nargs="+", metavar="[LABEL=]FOLDER", help="runs, or folders above them")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where report.html goes (default: the FOLDER, or report)")
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    measures = ("return", "success", "length", "training")
    measured = "of evaluations (default: return), or training: return of training episodes"
    parser.add_argument("--measure", choices=measures, default="return", help=measured)
    scale = "raw, minmax, reference, or a file with low and high of each task (default: raw for one task, else what there is)"
    parser.add_argument("--normalize", default="auto", metavar="HOW", help=scale)
    parser.add_argument("--baseline", metavar="METHOD", help="compare every method with this one only")
    parser.add_argument("--partial", action="store_true", help="take unfinished runs in, up to where they are")
    parser.add_argument("--skip-damaged", action="store_true", help="go on without runs that cannot be read")
    parser.add_argument("--task", metavar="NAME", help="name of the task where files do not say it")
    parser.add_argument("--resamples", type=int, default=10_000, metavar="N", help="bootstrap samples (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.set_defaults(run=run_report)


def run_report(arguments: argparse.Namespace) -> int:
    """Read, work out, write, and say the short answer."""
    from sb3_infomax.compare.options import make_console
    from sb3_infomax.compare.spec import UserError
    from sb3_infomax.report.analysis import analyse
    from sb3_infomax.report.conclusion import show_answer
    from sb3_infomax.report.report import write_report
    from sb3_infomax.report.sources import load_scores, split_label

    if arguments.resamples < 100:
        raise UserError(f"The number of resamples must be at least 100, not {arguments.resamples}.")
    scores = load_scores(
        *arguments.sources,
        measure=arguments.measure,
        partial=arguments.partial,
        skip_damaged=arguments.skip_damaged,
        task=arguments.task,
    )
    analysis = analyse(scores, arguments.normalize, arguments.baseline, arguments.resamples, arguments.seed)
    folders = [split_label(source)[1] for source in arguments.sources]
    out = arguments.out or (folders[0] if len(folders) == 1 and folders[0].is_dir() else Path("report"))
    page = write_report(analysis, out, arguments.title)
    console = make_console()
    show_answer(analysis, console)
    console.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
    return 0
