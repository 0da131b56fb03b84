"""One scale for tasks with different rewards: which raw score is 0, which is 1, and who says so."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from sb3_infomax.compare.spec import UserError
from sb3_infomax.report.references import reference
from sb3_infomax.report.scores import MEASURES, Scores

KINDS = ("auto", "raw", "minmax", "reference")


@dataclass(frozen=True)
class Scale:
    """How raw scores become comparable between tasks.

    :param limits: of each task, the raw scores that become 0 and 1; none where scores stay raw
    :param words: what 0 and 1 are, as a sentence
    :param has_target: 1 means that a task is solved, so that falling short of it says something
    """

    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    words: str = "Scores are raw."
    has_target: bool = False


def choose_scale(scores: Scores, how: str = "auto") -> Scale:
    """The scale of a report.

    :param scores: of all runs
    :param how: ``raw``; ``minmax`` over the runs; ``reference``, published or registered; a file that gives a task's low and
        high; ``auto`` is raw for one task, else references where every task has one, else min-max
    """
    tasks = scores.compared or scores.tasks
    if how not in KINDS:
        return _from_file(Path(how), tasks)
    if scores.measure == "success" and how in ("auto", "reference"):
        return Scale(dict.fromkeys(tasks, (0.0, 1.0)), "Scores are shares of successes: 1 is every episode.", True)
    if how == "raw" or (how == "auto" and len(tasks) == 1):
        return Scale(words=f"Scores are raw: {MEASURES[scores.measure]}.")
    if how != "minmax" and scores.measure != "length":
        found, missing = _references(scores, tasks)
        if found is not None:
            return found
        if how == "reference":
            raise UserError(f"There is no reference for {missing}: give low and high in a file, --normalize FILE.")
    return _min_max(scores, tasks)


def _min_max(scores: Scores, tasks: list[str]) -> Scale:
    """The worst run is 0, the best is 1."""
    limits = {}
    for task in tasks:
        finals = [value for method in scores.methods for value in scores.final(task, method)]
        low, high = float(min(finals)), float(max(finals))
        limits[task] = (low, high if high > low else low + 1.0)
    words = (
        "On each task 0 is the lowest and 1 the highest score of the runs in this report (min-max): scores say who is ahead "
        "here, not how good anyone is, and change when runs are added."
    )
    return Scale(limits, words)


def _references(scores: Scores, tasks: list[str]) -> tuple[Scale | None, str]:
    """Published constants, or what gymnasium registers; the first task that has neither."""
    limits, sources = {}, []
    for task in tasks:
        run = next(run for run in scores.runs if run.task == task)
        env = task.split(" (")[0]
        mode = run.settings.get("env_kwargs", {}).get("distribution_mode", "easy")
        found = reference(env, mode) or _registered(scores, task, env)
        if found is None:
            return None, task
        limits[task] = found[0]
        sources.append(found[1])
    return Scale(limits, f"Scores are normalized: 0 and 1 are {'; '.join(dict.fromkeys(sources))}.", True), ""


def _registered(scores: Scores, task: str, env: str) -> tuple[tuple[float, float], str] | None:
    """From what untrained policies score to the threshold at which gymnasium calls the task solved."""
    import gymnasium as gym

    spec = gym.envs.registry.get(env)
    firsts = [run.points() for run in scores.runs if run.task == task and len(run.evaluations)]
    untrained = [values[0] for steps, values, _ in firsts if steps[0] == 0]
    if spec is None or spec.reward_threshold is None or not untrained or scores.measure == "length":
        return None
    low, high = sum(untrained) / len(untrained), float(spec.reward_threshold)
    return ((low, high), "untrained policies and gymnasium's reward threshold") if low < high else None


def _from_file(path: Path, tasks: list[str]) -> Scale:
    """Low and high of each task: JSON or YAML ``{task: [low, high]}``, or CSV with the columns task, low and high."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            table = {row["task"]: (row["low"], row["high"]) for row in csv.DictReader(text.splitlines())}
        elif path.suffix in (".yml", ".yaml"):
            import yaml

            table = yaml.safe_load(text)
        else:
            table = json.loads(text)
        limits = {task: (float(table[task][0]), float(table[task][1])) for task in tasks}
    except FileNotFoundError:
        raise UserError(f"--normalize takes {', '.join(KINDS)} or a file, and there is no file {path}.") from None
    except KeyError as error:
        raise UserError(f"{path} does not say low and high of the task {error}.") from None
    except Exception as error:  # whatever a damaged file makes its parser say
        raise UserError(
            f"Cannot read {path}: write {{task: [low, high]}} as JSON or YAML, or a CSV with task,low,high."
        ) from error
    for task, (low, high) in limits.items():
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"{path} gives {task} the range {low} to {high}: low must be less than high.")
    return Scale(limits, f"Scores are normalized: 0 and 1 are those of {path.name}.", True)
