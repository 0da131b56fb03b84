"""What empowerment costs against the number of actions and the horizon, over plain PPO.

Interleaved as in :mod:`benchmarks.overhead`.

    python -m benchmarks.empowerment
    python -m benchmarks.empowerment --cases empowerment-2-actions --rounds 50
"""

import argparse
import warnings

from rich.console import Console

from benchmarks.cases import EMPOWERMENT_CASES, PLAIN, Variant, one_thread, ours
from benchmarks.overhead import interleave, print_table, publish, summarise


def variant(reward: str, horizon: int) -> Variant:
    """Paid from the first step on."""
    return Variant(ours(reward, {"horizon": horizon, "warmup_steps": 0}))


VARIANTS = {PLAIN: Variant()}
VARIANTS |= {f"variational, n = {horizon}": variant("empowerment", horizon) for horizon in (1, 2, 3)}
VARIANTS |= {f"mine, n = {horizon}": variant("empowerment_mine", horizon) for horizon in (1, 2)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.empowerment", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=EMPOWERMENT_CASES, default=list(EMPOWERMENT_CASES), help="default: all")
    parser.add_argument("--rounds", type=int, help="blocks of each variant; default: 9 to 15, by case")
    parser.add_argument("--publish", action="store_true", help="write results/empowerment.csv and the table of README.md")
    arguments = parser.parse_args()
    one_thread()
    warnings.filterwarnings("ignore", "There are .* sequences")
    results = []
    for name in arguments.cases:
        case = EMPOWERMENT_CASES[name]
        results += summarise(name, *interleave(case, VARIANTS, arguments.rounds or case.rounds))
        if arguments.publish:
            publish("empowerment", results)
    print_table(results, Console())


if __name__ == "__main__":
    main()
