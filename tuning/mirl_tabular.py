"""
MIRL's tabular figures: return and correct action of four learners on two grid worlds, with and without no-op actions.

    python tuning/mirl_tabular.py

Evaluation as in the paper: every 1000 steps 30 episodes of at most 100 steps, epsilon 0.05. The correct action is counted in
training: right anywhere in the corridor, left at the entrance of the pocket. About three minutes of CPU time.
"""

import argparse
import csv
from pathlib import Path

import gymnasium as gym
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from sb3_infomax.envs import CORRIDOR_3X20, POCKET_8X8
from sb3_infomax.mirl.tabular import TabularMDP, TabularQ
from sb3_infomax.report.figures import COLOURS, GREYS, draw
from sb3_infomax.report.scores import Curves
from sb3_infomax.report.statistics import bootstrap

LEARNERS: dict[str, dict] = {
    "QL": {"method": "ql"},
    "SQL": {"method": "sql"},
    "SQL_m": {"method": "sql_m"},
    "MIRL": {"method": "mirl", "prior_lr": 2e-3},
    "MIRL, slow prior": {"method": "mirl", "prior_lr": 2e-4},
}
COLOUR = dict(zip(LEARNERS, (GREYS[0], *COLOURS[1:4], COLOURS[0]), strict=True))
RIGHT, LEFT = 1, 3
WORLDS = {"corridor 3x20": CORRIDOR_3X20, "pocket 8x8": POCKET_8X8}
TASKS = {
    name + (f", {noops} no-ops" if noops else ""): (env_id, noops) for noops in (0, 12) for name, env_id in WORLDS.items()
}
STEPS, EVERY, RUNS = 50_000, 1000, 10
MEASURES = {"return": "return of evaluation episodes", "correct": "share of correct actions in training"}

README = """# MIRL in tables

Made by `python tuning/mirl_tabular.py`: {steps:,} steps, {runs} seeds, discount 0.999, epsilon 0.1, step size n^-0.8,
beta = 0.001 times the step, prior step size 0.002 (the paper's) or 0.0002 (the authors' later advice). Every seed's curve
is in `curves.csv`.

![Curves](curves.png)

Mean over seeds with the 95 % bootstrap interval: over all of training, and over its last tenth. The last column is what
MIRL's prior leaves to the twelve no-ops together.

| world | learner | return, all of training | return, last tenth | correct, last tenth | prior on no-ops |
|---|---|---:|---:|---:|---:|
{rows}
"""


def watched(env: gym.Env) -> tuple[np.ndarray, int]:
    """
    Where the paper looks, and for which action.

    :return: numbers of states, an action
    """
    world = env.unwrapped
    return (np.flatnonzero(~world.terminal), RIGHT) if world.map.shape[0] == 3 else (np.array([world.state_of(3, 6)]), LEFT)


def run(env_id: str, noops: int, settings: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    One learner on one world, all seeds at once.

    :return: returns and shares of correct actions, each of shape (n_runs, n_points); prior on the no-ops, shape (n_runs,)
    """
    env = gym.make(env_id, useless_actions=noops)
    states, action = watched(env)
    learner = TabularQ(TabularMDP.of(env), n_runs=RUNS, **settings)
    returns, correct = [], []
    for _ in range(STEPS // EVERY):
        before = learner.visits[:, states].sum(axis=1)
        learner.train(EVERY)
        taken = learner.visits[:, states].sum(axis=1) - before  # (n_runs, n_actions)
        with np.errstate(invalid="ignore"):  # not there in these steps: unknown
            correct.append(taken[:, action] / taken.sum(axis=1))
        returns.append(learner.evaluate())
    return np.array(returns).T, np.array(correct).T, learner.prior[:, 4:].sum(axis=1)


def interval(values: np.ndarray, digits: int) -> str:
    score = bootstrap(values)
    return f"{score.value:.{digits}f} [{score.low:.{digits}f}, {score.high:.{digits}f}]"


def table_row(task: str, learner: str, returns: np.ndarray, correct: np.ndarray, wasted: np.ndarray) -> str:
    """One line of the table."""
    tenth = -(STEPS // EVERY // 10)
    cells = [
        interval(returns.mean(axis=1), 1),
        interval(returns[:, tenth:].mean(axis=1), 1),
        interval(np.nanmean(correct[:, tenth:], axis=1), 3),
        f"{wasted.mean():.4f}" if "no-ops" in task and "MIRL" in learner else "",
    ]
    return f"| {task} | {learner} | {' | '.join(cells)} |"


def picture(curves: dict[str, dict[str, dict[str, Curves]]], path: Path) -> None:
    """
    Worlds below each other, returns beside correct actions.

    :param curves: of each task, measure and learner
    :param path: PNG
    """
    figure, panels = plt.subplots(len(curves), 2, figsize=(13, 3.6 * len(curves)), layout="constrained")
    for row, (task, measures) in zip(panels, curves.items(), strict=True):
        for axes, (measure, found) in zip(row, measures.items(), strict=True):
            low = (
                -0.02 if measure == "correct" else min(np.nanmean(curve.values, axis=0)[2:].min() for curve in found.values())
            )
            high = 1.02 if measure == "correct" else 10.0
            draw(axes, found, COLOUR, f"{task}: {MEASURES[measure]}", low, high)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="MIRL's tabular figures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mirl_tabular")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    steps = np.arange(1, STEPS // EVERY + 1) * EVERY
    rows, records, curves = [], [], {}
    for task, (env_id, noops) in TASKS.items():
        curves[task] = {measure: {} for measure in MEASURES}
        for learner, settings in LEARNERS.items():
            returns, correct, wasted = run(env_id, noops, settings)
            rows.append(table_row(task, learner, returns, correct, wasted))
            print(rows[-1], flush=True)
            for measure, values in zip(MEASURES, (returns, correct), strict=True):
                curves[task][measure][learner] = Curves(steps, values)
                records += [
                    [task, learner, measure, step, *np.round(column, 4)] for step, column in zip(steps, values.T, strict=True)
                ]
    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["world", "learner", "measure", "step", *(f"seed_{seed}" for seed in range(RUNS))])
        writer.writerows(records)
    picture(curves, out / "curves.png")
    (out / "README.md").write_text(README.format(steps=STEPS, runs=RUNS, rows="\n".join(rows)))


if __name__ == "__main__":
    main()
