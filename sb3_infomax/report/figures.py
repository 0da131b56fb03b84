"""Learning curves as a picture."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_infomax.compare.display import steps_text
from sb3_infomax.compare.runner import Run
from sb3_infomax.report.statistics import Curves, by_method, evaluation_curve, intervals, training_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart; plain algorithms come first and get the grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREYS = ("#4D4D4D", "#8C8C8C", "#B3B3B3")
LONGEST_LABEL = 24  # characters of a method at the end of its line; longer ones go into a legend
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def colours(methods: list[str]) -> dict[str, str]:
    """Grey for methods without a bonus, a colour for each of the others."""
    plain = [method for method in methods if "+" not in method]
    bonus = [method for method in methods if "+" in method]
    found = {method: GREYS[index % len(GREYS)] for index, method in enumerate(plain)}
    return found | {method: COLOURS[index % len(COLOURS)] for index, method in enumerate(bonus)}


def spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions apart until no two are nearer than ``gap``, in their order, within the limits.

    :param positions: wanted positions
    :param gap: least distance
    :param low: lowest position allowed
    :param high: highest position allowed
    :return: positions in the order of the input
    """
    order = np.argsort(positions, kind="stable")
    moved = np.clip(np.array(positions, dtype=float), low, high)
    for _ in range(200):
        for below, above in pairwise(order):
            lack = gap - (moved[above] - moved[below])
            if lack > 1e-9:
                moved[below] -= lack / 2
                moved[above] += lack / 2
        moved = np.clip(moved, low, high)
    return moved.tolist()


def limits(curves: list[Curves]) -> tuple[float, float]:
    """Range of the vertical axis: all means after the first quarter of the steps, and the upper end of everything.

    Returns of the first, random policy can be a hundred times below all that follows (a fall from the cliff costs
    100), and would press the curves into one line.
    """
    late = np.concatenate([curve.values[:, curve.values.shape[1] // 4 :].ravel() for curve in curves])
    everything = np.concatenate([curve.values.ravel() for curve in curves])
    late, everything = late[~np.isnan(late)], everything[~np.isnan(everything)]
    if not len(late):
        return 0.0, 1.0
    low, high = late.min(), everything.max()
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def draw(axes: "Axes", curves: dict[str, Curves], colour: dict[str, str], title: str, low: float, high: float) -> None:
    """One panel: a thin line per seed, the mean with its interval, a label at the end of each mean.

    :param axes: empty
    :param curves: of each method
    :param colour: of each method
    :param title: what the panel shows
    :param low: lower end of the vertical axis
    :param high: upper end
    """
    ends = {}
    for index, (method, curve) in enumerate(curves.items()):
        mean, lower, upper = intervals(curve.values)
        known = ~np.isnan(mean)
        steps = curve.steps[known]
        if not len(steps):
            continue
        for row in curve.values:
            axes.plot(curve.steps, row, color=colour[method], linewidth=0.7, alpha=0.3)
        axes.fill_between(steps, lower[known], upper[known], color=colour[method], alpha=0.15, linewidth=0)
        (line,) = axes.plot(steps, mean[known], color=colour[method], linewidth=2.2)
        # markers of different methods on different points: lines that lie on each other stay visible
        every = max(len(steps) // 5, 1)
        line.set(marker=MARKERS[index % len(MARKERS)], markersize=5, markevery=(index * every // max(len(curves), 1), every))
        ends[method] = (float(steps[-1]), float(np.clip(mean[known][-1], low, high)))
    axes.set_ylim(low, high)
    if max(map(len, colour)) > LONGEST_LABEL:
        ends = {}  # the legend names them
    heights = spread([end for _, end in ends.values()], 0.065 * (high - low), low, high)
    for (method, (step, end)), height in zip(ends.items(), heights, strict=True):
        axes.annotate(
            method,
            xy=(step, end),
            xytext=(1.03, (height - low) / (high - low)),
            textcoords="axes fraction",
            color=colour[method],
            fontweight="bold",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour[method], "linewidth": 0.8, "alpha": 0.6, "relpos": (0, 0.5)},
        )
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(lambda value, _: steps_text(value))
    axes.grid(True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_curves(runs: list[Run], path: Path, title: str) -> Path | None:
    """Evaluation and training returns of the finished runs over the steps.

    :param runs: of one comparison
    :param path: of the picture, PNG
    :param title: heading
    :return: the path; ``None`` where no run is finished
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    done = {method: [run for run in group if run.state == "finished"] for method, group in by_method(runs).items()}
    done = {method: group for method, group in done.items() if group}
    if not done:
        return None
    counts = sorted({len(group) for group in done.values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.6), dpi=150, layout="constrained", sharex=True, sharey=True)
    colour = colours(list(done))
    evaluation = {method: evaluation_curve(group) for method, group in done.items()}
    training = {method: training_curve(group) for method, group in done.items()}
    everything = [*evaluation.values(), *training.values()]
    low, high = limits(everything)
    panels[0].set_xlim(0, max(curve.steps[-1] for curve in everything))
    draw(panels[0], evaluation, colour, "evaluation return", low, high)
    draw(panels[1], training, colour, "return of training episodes", low, high)
    if max(map(len, colour)) > LONGEST_LABEL:
        lines = [plt.Line2D([], [], color=colour[method], linewidth=2.2, label=method) for method in done]
        figure.legend(handles=lines, loc="outside lower left", frameon=False, fontsize=9)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=14, fontweight="bold")
    note = "seed" if seeds == "1" else "seeds: mean (bold), 95 % bootstrap interval (shaded), single seeds (thin)"
    cut = "; lower returns of the beginning are cut off" if any(np.nanmin(curve.values) < low for curve in everything) else ""
    figure.text(
        0.01, 0.915, f"the environment's own returns, without bonus; {seeds} {note}{cut}", fontsize=9.5, color="#555555"
    )
    partial = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(partial)
    plt.close(figure)
    partial.replace(path)
    return path
