"""What drawing k-step pairs costs: CPU time over that of SB3's own ``sample`` of the same batch from the same buffer.

python -m benchmarks.pairs
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from benchmarks.cases import one_thread
from sb3_infomax.auxiliary.horizon import AdaptiveHorizon, FixedHorizon, RandomHorizon
from sb3_infomax.buffers.pairs import ReplayPairs
from sb3_infomax.buffers.replay import ReplayReader

FOUR = spaces.Discrete(4)
SPACES = {
    "vectors of 8": (spaces.Box(-1.0, 1.0, (8,), np.float32), 50_000),
    "pictures 4 x 84 x 84": (spaces.Box(0, 255, (4, 84, 84), np.uint8), 4_000),
}
HORIZONS = {"k = 1": FixedHorizon(1), "k = 5": FixedHorizon(5), "1 to 5": RandomHorizon(5), "ada": AdaptiveHorizon(FOUR)}
ROUNDS, CALLS, EPISODE = 25, 20, 200


def cpu_seconds(call: Callable[[], object]) -> float:
    """Of ``CALLS`` calls."""
    started = time.process_time()
    for _ in range(CALLS):
        call()
    return time.process_time() - started


def main() -> None:
    """Median ratio of interleaved rounds, its quartiles in brackets."""
    one_thread()
    print(f"|  | {' | '.join(HORIZONS)} |\n| --- |{' --- |' * len(HORIZONS)}")
    for name, (space, size) in SPACES.items():
        buffer = ReplayBuffer(size, space, FOUR, device="cpu", n_envs=4)
        buffer.observations[:], buffer.next_observations[:], buffer.full = (
            1,
            1,
            True,
        )  # pages that were never written cost less
        buffer.dones[::EPISODE] = 1
        pairs = ReplayPairs(ReplayReader(buffer))
        for batch in (32, 256):
            ratios: dict[str, list[float]] = {label: [] for label in HORIZONS}
            for _ in range(ROUNDS):
                plain = cpu_seconds(partial(buffer.sample, batch))
                for label, horizon in HORIZONS.items():
                    ratios[label].append(cpu_seconds(partial(pairs.draw, batch, horizon)) / plain)
            cells = ["{1:.2f} ({0:.2f} to {2:.2f})".format(*np.percentile(values, [25, 50, 75])) for values in ratios.values()]
            print(f"| {name}, batches of {batch} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
