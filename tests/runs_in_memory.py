"""Runs for tests of what is made of them, without files."""

import numpy as np

from sb3_infomax.report.scores import Episodes, RunRecord


def record(values, seed=0, method="ppo", task="X", budget=100, **settings):
    """A run with evaluations at equal distances until its budget."""
    steps = np.linspace(0, budget, len(values))
    values = np.array(values, dtype=float)
    episodes = Episodes(steps, values, values, values, steps / 10)
    return RunRecord(task, method, seed, f"{method}/{seed}", timesteps=budget, evaluations=episodes, **settings)


def scores_of(finals, task="X"):
    """Runs that end with these scores."""
    return [
        record([0, value, value], seed, method, task) for method, values in finals.items() for seed, value in enumerate(values)
    ]
