"""What an algorithm of ours costs: CPU seconds over those of the one that it extends, at that one's settings.

Interleaved as in :mod:`benchmarks.overhead`, with sb3-contrib's QR-DQN, the nearest that there was, beside them.

    python -m benchmarks.algorithms
    python -m benchmarks.algorithms --cases cartpole-dqn-family --rounds 50
"""

import argparse

from rich.console import Console
from sb3_contrib import QRDQN

from benchmarks.cases import ALGORITHM_CASES, PLAIN, Variant, one_thread
from benchmarks.overhead import interleave, print_table, publish, summarise
from sb3_infomax import C51, DRIML, MIRL

DQN_FAMILY = {
    "c51": Variant(algorithm=C51),
    "mirl": Variant(algorithm=MIRL),
    "contrib's qrdqn": Variant(algorithm=QRDQN),
}
DRIMLS = {
    "driml": Variant(algorithm=DRIML),
    "driml, ada": Variant(algorithm=DRIML, settings={"horizon": "ada"}),
    "driml, local to local": Variant(algorithm=DRIML, settings={"lambda_ll": 1.0, "lambda_gg": 0.0}),
}
VARIANTS = {"cartpole-dqn-family": DQN_FAMILY, "atari-dqn-family": DQN_FAMILY, "pong-c51": DRIMLS}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.algorithms", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=ALGORITHM_CASES, default=list(ALGORITHM_CASES), help="default: all")
    parser.add_argument("--rounds", type=int, help="blocks of each variant; default: 15 to 25, by case")
    parser.add_argument("--publish", action="store_true", help="write results/algorithms.csv and the table of README.md")
    arguments = parser.parse_args()
    one_thread()
    results = []
    for name in arguments.cases:
        case = ALGORITHM_CASES[name]
        variants = {PLAIN: Variant()} | VARIANTS[name]
        results += summarise(name, *interleave(case, variants, arguments.rounds or case.rounds))
        if arguments.publish:
            publish("algorithms", results)
    print_table(results, Console())


if __name__ == "__main__":
    main()
