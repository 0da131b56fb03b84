"""Where the time of a bonus goes on-policy: CPU time inside the callback's parts over that of everything else.

Unlike the ratio of two trainings, which other work on the machine moves by more than a bonus costs, part and whole are of the
same training and the same moment.

    python -m benchmarks.breakdown
    python -m benchmarks.breakdown --cases cartpole-ppo --variants rnd icm emi --rounds 30
"""

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from benchmarks.cases import CASES, Training, one_thread, variants_of
from sb3_infomax.buffers.rollout import RolloutFrames
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.scaling import RewardScaler

STEP, END = "terminal observations and rewards, in every step", "at the end of the rollout"
WHOLE, REST = "all of it", "credit, sums over episodes, logs"
#: what is timed; the parts of the end do not lie inside each other
HOOKS: list[tuple[str, type, str]] = [
    (END, IntrinsicReward, "on_rollout_start"),
    (END, IntrinsicReward, "on_rollout_end"),
    ("s and s' of the rollout", RolloutFrames, "transitions"),
    ("moments of the observations", RewardModule, "observe"),
    ("the bonus", RewardModule, "compute"),
    ("the update of the module", RewardModule, "update"),
    ("scale of the bonus", RewardScaler, "observe"),
    ("scale of the bonus", RewardScaler, "forward"),
]


class Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable) -> Callable:
        """``function``, with its CPU time noted."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.seconds[part] += time.process_time() - start
            return result

        return run

    def timed_in_every_step(self, function: Callable) -> Callable:
        """``function``, and beside it nothing at all: looking at the clock costs more than a step of the callback does."""
        nothing, timed = self.timed("nothing", lambda *args: None), self.timed(STEP, function)
        turns = itertools.cycle((True, False))  # the first of two looks at a clock is the dearer one

        def run(*args: Any) -> Any:
            first = next(turns)
            if first:
                nothing(*args)
            result = timed(*args)
            if not first:
                nothing(*args)
            return result

        return run

    def parts(self) -> dict[str, float]:
        """What was noted since the last call, with the sums that are made of it."""
        found = dict(self.seconds)
        self.seconds.clear()
        found[STEP] -= found.pop("nothing")
        end = found.pop(END)
        found[REST] = end - sum(seconds for part, seconds in found.items() if part != STEP)
        return found | {WHOLE: end + found[STEP]}


def shares(name: str, variant: str, rounds: int) -> dict[str, np.ndarray]:
    """Of every round the CPU time of each part over that of the training without the callback, shape (rounds,)."""
    case, clock, found = CASES[name], Clock(), defaultdict(list)
    with ExitStack() as stack:
        for part, owner, method in HOOKS:
            stack.enter_context(patch.object(owner, method, clock.timed(part, getattr(owner, method))))
        step = clock.timed_in_every_step(IntrinsicReward.on_step)
        stack.enter_context(patch.object(IntrinsicReward, "on_step", step))
        training = Training(case, variants_of(case)[variant])
        training.block(case.rollouts)  # allocates
        clock.seconds.clear()
        for _ in track(range(rounds), f"{case.label}, {variant}", console=Console(stderr=True)):
            spent, _ = training.block(case.rollouts)
            parts = clock.parts()
            for part, seconds in parts.items():
                found[part].append(seconds / (spent - parts[WHOLE]))
        training.close()
    return {part: np.array(values) for part, values in found.items()}


def main() -> None:
    """The command."""
    cases = [name for name, case in CASES.items() if issubclass(case.algorithm, OnPolicyAlgorithm)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breakdown", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=cases, default=["minigrid-ppo"], help="default: minigrid-ppo")
    parser.add_argument("--variants", nargs="+", default=["rnd"], help="such as icm emi; default: rnd")
    parser.add_argument("--rounds", type=int, default=25, help="default: 25")
    arguments = parser.parse_args()
    one_thread()
    for case in arguments.cases:
        for variant in arguments.variants:
            title = f"{CASES[case].label}, {variant}: share of the time without it, median (quartiles)"
            table = Table("part", "%", title=title)
            found = shares(case, variant, arguments.rounds)
            for part in sorted(found, key=lambda part: -float(np.median(found[part]))):
                low, median, high = np.quantile(100 * found[part], (0.25, 0.5, 0.75))
                table.add_row(part, f"{median:.2f} ({low:.2f} to {high:.2f})")
            Console().print(table)


if __name__ == "__main__":
    main()
