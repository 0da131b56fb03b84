"""Pictures of a report, each for itself: learning curves, scores with intervals, profiles, comparisons."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_infomax.compare.display import steps_text
from sb3_infomax.report.claims import Comparison
from sb3_infomax.report.scores import Curves
from sb3_infomax.report.statistics import Estimate, intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sb3_infomax.report.analysis import Analysis, Bands

# Okabe and Ito's colours, which colour-blind readers tell apart; the first plain algorithm gets the grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREYS = ("#4D4D4D", "#8C8C8C", "#B3B3B3")
LONGEST_LABEL = 24  # characters of a method at the end of its line; longer ones go into a legend
INK, MUTED, GRID = "#1F2933", "#5F6B7A", "#E5E7EB"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def colours(methods: list[str]) -> dict[str, str]:
    """Grey for the first method without a bonus, a colour for each of the others; nine of them differ."""
    plain = [method for method in methods if "+" not in method][:1]
    others = [method for method in methods if method not in plain]
    shades = (*COLOURS, *GREYS[1:])
    return dict.fromkeys(plain, GREYS[0]) | {method: shades[index % len(shades)] for index, method in enumerate(others)}


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


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's settings while a picture is made: quiet axes, and text that stays text in an SVG."""
    import matplotlib

    settings: dict[str, Any] = {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "svg.fonttype": "none",
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, which needs no display and no closing."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


# --- curves


def draw(
    axes: "Axes",
    curves: dict[str, Curves],
    colour: dict[str, str],
    title: str,
    low: float,
    high: float,
    longest: int = LONGEST_LABEL,
    xlabel: str = "environment steps",
) -> None:
    """One panel: a thin line per seed, the mean with its interval, a label at the end of each mean.

    :param axes: empty
    :param curves: of each method
    :param colour: of each method
    :param title: what the panel shows
    :param low: lower end of the vertical axis
    :param high: upper end
    :param longest: characters of a label; where a method's name is longer there are none
    :param xlabel: what goes to the right
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
    if max(map(len, colour)) <= longest:
        label_ends(axes, ends, colour, low, high)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(xlabel)
    if "steps" in xlabel:
        axes.xaxis.set_major_formatter(lambda value, _: steps_text(value))
    axes.grid(True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def label_ends(axes: "Axes", ends: dict[str, tuple[float, float]], colour: dict[str, str], low: float, high: float) -> None:
    """Names of methods to the right of the ends of their lines.

    :param ends: where the line of each method ends
    """
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


def legend(figure: "Figure", colour: dict[str, str]) -> None:
    """Names of methods below the panels."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=shade, linewidth=2.2, label=method) for method, shade in colour.items()]
    figure.legend(handles=lines, loc="outside lower left", frameon=False, fontsize=9, ncols=2 if len(lines) > 3 else 1)


def curve_figure(curves: dict[str, Curves], colour: dict[str, str], title: str, xlabel: str = "environment steps") -> "Figure":
    """Learning curves of the methods on one task.

    :param curves: of each method
    :param colour: of each method
    :param title: what goes up
    :param xlabel: what goes to the right
    """
    figure = new_figure(5.0, 3.1)
    axes = figure.subplots()
    shown = {method: colour[method] for method in curves}
    draw(axes, curves, shown, title, *limits(list(curves.values())), longest=16, xlabel=xlabel)
    axes.title.set_fontsize(9.5)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_xlim(0, max(curve.steps[-1] for curve in curves.values()) or 1)
    if max(map(len, shown)) > 16:
        legend(figure, shown)
    return figure


def band_figure(lines: "dict[str, Bands]", colour: dict[str, str], title: str, xlabel: str, percent: bool = False) -> "Figure":
    """A line with its interval for each method.

    :param lines: of each method
    :param colour: of each method
    :param title: what goes up
    :param xlabel: what goes to the right
    :param percent: the horizontal axis is a share
    """
    figure = new_figure(5.0, 3.1)
    axes = figure.subplots()
    for method, line in lines.items():
        axes.fill_between(line.x, line.low, line.high, color=colour[method], alpha=0.15, linewidth=0)
        axes.plot(line.x, line.value, color=colour[method], linewidth=2)
    axes.grid(True)
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.margins(x=0)
    if percent:
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    legend(figure, {method: colour[method] for method in lines})
    return figure


# --- scores


def score_figure(finals: dict[str, np.ndarray], scores: dict[str, Estimate], colour: dict[str, str], title: str) -> "Figure":
    """Every run as a dot, the estimate with its interval above them, a row for each method.

    :param finals: the runs' scores of each method
    :param scores: estimate of each method
    :param colour: of each method
    :param title: what the scores are
    """
    figure = new_figure(5.0, 0.9 + 0.42 * len(finals))
    axes = figure.subplots()
    for row, (method, values) in enumerate(finals.items()):
        jitter = np.linspace(-0.09, 0.09, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(
            np.sort(values), row + 0.17 + jitter, "o", color=colour[method], markersize=4.5, alpha=0.45, markeredgewidth=0
        )
        score = scores[method]
        axes.plot(
            [score.low, score.high], [row - 0.17] * 2, color=colour[method], linewidth=5, alpha=0.35, solid_capstyle="butt"
        )
        axes.plot(score.value, row - 0.17, "|", color=colour[method], markersize=13, markeredgewidth=2.5)
    finish_rows(axes, list(finals), colour, title)
    return figure


def finish_rows(axes: "Axes", methods: list[str], colour: dict[str, str], title: str) -> None:
    """Axes with a method in each row, the first on top."""
    axes.set_yticks(range(len(methods)), methods, fontweight="bold")
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_color(colour[method])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_title(title)
    axes.margins(x=0.06)


def aggregate_figure(aggregates: dict[str, dict[str, Estimate]], colour: dict[str, str]) -> "Figure":
    """Each statistic in a panel of its own, a row for each method.

    :param aggregates: of each method, each statistic
    :param colour: of each method
    """
    methods = list(aggregates)
    names = list(aggregates[methods[0]])
    columns = 2 if len(names) > 1 else 1
    rows = -(-len(names) // columns)
    figure = new_figure(5.6, rows * (0.75 + 0.3 * len(methods)))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, (axes, name) in enumerate(zip(panels, names, strict=False)):
        for row, method in enumerate(methods):
            score = aggregates[method][name]
            axes.barh(row, score.high - score.low, left=score.low, height=0.5, color=colour[method], alpha=0.35, linewidth=0)
            axes.plot([score.value] * 2, [row - 0.25, row + 0.25], color=colour[method], linewidth=2.5)
        better = "lower is better" if name == "optimality gap" else "higher is better"
        finish_rows(axes, methods, colour, f"{name} ({better})")
        axes.tick_params(labelleft=index % columns == 0)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure


def improvement_figure(comparisons: list[Comparison], colour: dict[str, str]) -> "Figure":
    """The probability of improvement of every pair, with one half as a line.

    :param comparisons: the first method of each is ahead
    :param colour: of each method
    """
    figure = new_figure(5.6, 0.95 + 0.36 * len(comparisons))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for row, each in enumerate(comparisons):
        estimate, shade = each.probability, colour[each.first]
        axes.barh(row, estimate.high - estimate.low, left=estimate.low, height=0.5, color=shade, alpha=0.35, linewidth=0)
        style: dict[str, Any] = {"marker": "o", "markersize": 6, "markeredgecolor": shade, "markeredgewidth": 1.6}
        axes.plot(estimate.value, row, color=shade, markerfacecolor=shade if each.shown else "white", **style)
    axes.set_yticks(range(len(comparisons)), [each.first for each in comparisons], fontweight="bold")
    other = axes.twinx()
    other.set_yticks(range(len(comparisons)), [each.second for each in comparisons], fontweight="bold")
    for ax, names in ((axes, [c.first for c in comparisons]), (other, [c.second for c in comparisons])):
        ax.set_ylim(len(comparisons) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "right"]].set_visible(False)
        for label, name in zip(ax.get_yticklabels(), names, strict=True):
            label.set_color(colour[name])
    axes.set_xlim(-0.03, 1.03)
    axes.grid(True, axis="x")
    axes.set_title("P(a run on the left scores more than a run on the right)")
    return figure


# --- all of them


def all_figures(analysis: "Analysis") -> dict[str, "Figure"]:
    """Every picture of a report by the name of its file.

    :param analysis: what to show
    """
    from sb3_infomax.report.scores import MEASURES
    from sb3_infomax.report.statistics import aggregate, iqm

    scores, what = analysis.scores, MEASURES[analysis.scores.measure]
    colour = colours(scores.methods)
    figures = {}
    for index, (task, curves) in enumerate(analysis.curves.items()):
        number = f"_{index + 1}" if len(scores.tasks) > 1 else ""
        figures[f"curves{number}"] = curve_figure(curves, colour, what)
        finals = {method: scores.final(task, method) for method in curves}
        estimates = {m: aggregate(values[:, None], iqm, analysis.resamples, analysis.seed) for m, values in finals.items()}
        figures[f"scores{number}"] = score_figure(finals, estimates, colour, f"final {what}: runs, IQM and interval")
        if task in analysis.times:
            figures[f"time{number}"] = curve_figure(analysis.times[task], colour, what, "seconds of a run")
    if analysis.efficiency:
        figures["efficiency"] = band_figure(
            analysis.efficiency, colour, "IQM of normalized scores", "share of the training", percent=True
        )
    if analysis.aggregates:
        figures["aggregates"] = aggregate_figure(analysis.aggregates, colour)
        unit = "score" if not analysis.scale.limits else "normalized score"
        figures["profiles"] = band_figure(analysis.profiles, colour, f"share of runs with a higher {unit}", unit)
    if analysis.overall:
        figures["improvement"] = improvement_figure(analysis.overall, colour)
    return figures


def svg_text(figure: "Figure", name: str) -> str:
    """A figure as the text of an SVG file.

    :param name: of the figure; keeps the ids in it apart from those of others
    """
    import io

    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def save_png(figure: "Figure", path: Path, dpi: int = 160) -> Path:
    """A figure as PNG, whole or not at all."""
    partial = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(partial, dpi=dpi, facecolor="white")
    partial.replace(path)
    return path


def plot_curves(
    evaluation: dict[str, dict[str, Curves]], training: dict[str, dict[str, Curves]], path: Path, title: str
) -> Path | None:
    """Evaluation and training returns over the steps, one row of panels for each task.

    :param evaluation: curves of each task and method
    :param training: the same of training episodes
    :param path: of the picture, PNG
    :param title: heading
    :return: the path; ``None`` where there is no curve
    """
    tasks = [task for task, curves in evaluation.items() if curves]
    if not tasks:
        return None
    figure = new_figure(12, 0.9 + 3.7 * len(tasks))
    panels = figure.subplots(len(tasks), 2, squeeze=False, sharex="row", sharey="row")
    methods = sorted(dict.fromkeys(m for task in tasks for m in evaluation[task]), key=lambda method: "+" in method)
    colour, cut = colours(methods), False
    for row, task in zip(panels, tasks, strict=True):
        everything = [*evaluation[task].values(), *training[task].values()]
        low, high = limits(everything)
        cut |= any(np.nanmin(curve.values, initial=np.inf) < low for curve in everything)
        row[0].set_xlim(0, max(curve.steps[-1] for curve in everything))
        prefix = f"{task}: " if len(tasks) > 1 else ""
        draw(row[0], evaluation[task], colour, f"{prefix}evaluation return", low, high)
        draw(row[1], training[task], colour, f"{prefix}return of training episodes", low, high)
    if max(map(len, colour)) > LONGEST_LABEL:
        legend(figure, colour)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=14, fontweight="bold")
    counts = sorted({len(curve.values) for task in tasks for curve in evaluation[task].values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    note = "seed" if seeds == "1" else "seeds: mean (bold), 95 % bootstrap interval (shaded), single seeds (thin)"
    beginning = "; lower returns of the beginning are cut off" if cut else ""
    height = 1 - 0.39 / figure.get_figheight()
    text = f"the environment's own returns, without bonus; {seeds} {note}{beginning}"
    figure.text(0.01, height, text, fontsize=9.5, color="#555555")
    return save_png(figure, path, dpi=150)
