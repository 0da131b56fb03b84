"""A study as pictures: how the best was found, which settings matter, and where the good values lie."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.tune.spaces import Parameter, encode
from sb3_infomax.tune.study import StudySpec
from sb3_infomax.tune.work import DONE, outcomes

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8C8C8C"  # Okabe and Ito's, as in learning curves
N_SLICES = 8


def importances(study: "optuna.Study") -> dict[str, float]:
    """How much each setting decides the score (PED-ANOVA), the largest first; empty where there are too few trials."""
    import warnings

    import optuna

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # too few trials to tell: said by the picture
            return dict(optuna.importance.get_param_importances(study))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}


def value_of(trial: "FrozenTrial") -> float:
    """The score of a whole trial."""
    assert trial.value is not None
    return trial.value


def tidy_axes(axes: "Axes", title: str) -> None:
    """The house style of a panel."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_history(axes: "Axes", trials: "list[FrozenTrial]", spec: StudySpec) -> None:
    """Scores in the order of the trials, and the best so far."""
    whole = {trial.number: value_of(trial) for trial in trials if trial.state == DONE[0]}
    pruned = [trial for trial in trials if trial.state == DONE[1] and trial.intermediate_values]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    if pruned:
        axes.plot([trial.number for trial in pruned], last, "x", color=GREY, label="pruned, where it stood")
    axes.plot(list(whole), list(whole.values()), "o", color=BLUE, label="whole")
    numbers = [*sorted(whole), max(trial.number for trial in trials)]
    best = [max(value for other, value in whole.items() if other <= number) for number in numbers]
    axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
    for trial in trials:
        if trial.number in whole and spec.is_default(trial):
            axes.axhline(whole[trial.number], color="#4D4D4D", linewidth=1, linestyle=":", label="the defaults")
    tidy_axes(axes, "score of each trial")
    axes.set_xlabel("trial")
    axes.legend(frameon=False, fontsize=9)


def draw_study(study: "optuna.Study", spec: StudySpec, path: Path) -> Path:
    """History and importances.

    :param study: with at least one whole trial
    :param spec: of the study
    :param path: of the picture, PNG
    """
    plt = pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.6), dpi=150, layout="constrained")
    draw_history(panels[0], list(outcomes(study).values()), spec)
    found = list(importances(study).items())[:12][::-1]
    panels[1].barh([name for name, _ in found], [value for _, value in found], color=BLUE)
    tidy_axes(panels[1], "which settings decide (PED-ANOVA)" if found else "too few trials to say which settings decide")
    figure.suptitle(f"{study.study_name}", x=0.01, ha="left", fontsize=14, fontweight="bold")
    return save(figure, path)


def draw_slice(axes: "Axes", name: str, item: Parameter, trials: "list[FrozenTrial]") -> Any:
    """Score against one setting.

    :param axes: empty
    :param name: of the trials' parameter
    :param item: its range
    :param trials: whole ones
    :return: the points, coloured by the trial
    """
    values: list[Any] = [trial.params[name] for trial in trials]
    if item.choices:
        names = [str(encode(choice)) for choice in item.choices]
        values = [names.index(str(value)) for value in values]
        axes.set_xticks(range(len(names)), [name.replace("None", "default") for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif item.log:
        axes.set_xscale("log")
        axes.set_xlim(0.9 * item.low, 1.1 * item.high)
    tidy_axes(axes, name)
    axes.tick_params(axis="x", labelsize=8)
    numbers = [trial.number for trial in trials]
    return axes.scatter(values, [value_of(trial) for trial in trials], c=numbers, cmap="viridis", s=22)


def draw_slices(study: "optuna.Study", spec: StudySpec, path: Path) -> Path:
    """Score against each setting, the most important ones.

    :param study: with at least one whole trial
    :param spec: of the study
    :param path: of the picture, PNG
    """
    plt = pyplot()
    ranges = spec.search.parameters
    trials = [trial for trial in outcomes(study).values() if trial.state == DONE[0]]
    weights = importances(study)
    names = sorted(ranges, key=lambda name: -weights.get(name, 0.0))[:N_SLICES]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    size = (3 * columns, 2.8 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, dpi=150, layout="constrained", sharey=True, squeeze=False)
    for axes in panels.ravel()[len(names) :]:
        axes.set_visible(False)
    for name, axes in zip(names, panels.ravel(), strict=False):
        points = draw_slice(axes, name, ranges[name], trials)
    figure.colorbar(points, ax=panels, label="trial", shrink=0.6, ticks=plt.MaxNLocator(integer=True))
    figure.supylabel("score")
    return save(figure, path)


def pyplot() -> Any:
    """matplotlib without a display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: Path) -> Path:
    """Write a picture whole or not at all."""
    import matplotlib.pyplot as plt

    partial = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(partial)
    plt.close(figure)
    partial.replace(path)
    return path
