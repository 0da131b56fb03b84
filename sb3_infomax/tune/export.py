"""What a study ends with: its best settings, all trials as a table, pictures, and what the settings are worth."""

from itertools import count, islice
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.settings import DEFAULTS, merge
from sb3_infomax.compare.spec import compare_command
from sb3_infomax.compare.storage import csv_text, write_atomic
from sb3_infomax.tune.forms import snippet, zoo_entry
from sb3_infomax.tune.retry import first_number
from sb3_infomax.tune.study import StudySpec
from sb3_infomax.tune.work import DONE, outcomes

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from sb3_infomax.tune.tuning import Plan

FRESH_SEEDS = 5  # of the comparison that is proposed


# --- the comparison with the defaults


def fresh_seeds(spec: StudySpec, number: int) -> list[int]:
    """Seeds that the study has not been tuned on.

    :param spec: of the study
    :param number: how many
    """
    return list(islice((seed for seed in count() if seed not in spec.seeds), number))


def labelled(spec: StudySpec, best: str) -> list[str]:
    """The defaults and the best settings as two methods with names."""
    return [f"default={spec.search.default}", f"tuned={best}"]


def proposed_command(spec: StudySpec, best: str) -> str:
    """The command line that compares the best settings with the defaults by fresh seeds."""
    return compare_command(spec.base, labelled(spec, best), fresh_seeds(spec, FRESH_SEEDS))


# --- the whole study


def trials_csv(study: "optuna.Study", spec: StudySpec) -> str:
    """All trials as a table, one row for each, in the order of their tasks.

    :param study: the study
    :param spec: of the study
    """
    columns = [
        "trial",
        "folder",
        "state",
        "score",
        *[f"seed_{seed}" for seed in spec.seeds],
        "seconds",
        *spec.search.names,
        "reason",
    ]
    return csv_text(columns, [trial_row(trial, spec) for trial in outcomes(study).values()])


def trial_row(trial: "FrozenTrial", spec: StudySpec) -> dict[str, Any]:
    """One trial as a row of the table."""
    scores = trial.user_attrs.get("scores", [])
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    return {
        "trial": trial.number,
        "folder": first_number(trial),
        "state": trial.state.name.lower(),
        "score": trial.value,
        **{f"seed_{seed}": score for seed, score in zip(spec.seeds, scores, strict=False)},
        "seconds": None if seconds is None else round(seconds, 1),
        **trial.params,
        "reason": trial.user_attrs.get("reason"),
    }


def conclude(study: "optuna.Study", plan: "Plan", console: "Console", rerun: int | None) -> int:
    """Show and write the best settings, the table and the pictures; compare where that is wanted.

    :param study: with all of its trials done
    :param plan: the study
    :param console: where to show
    :param rerun: fresh seeds to compare by, at once
    :return: exit code
    """
    from sb3_infomax.tune.pictures import draw_slices, draw_study

    def say(text: str, style: str | None = None) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)

    spec, out = plan.spec, plan.out
    found = list(outcomes(study).values())
    write_atomic(out / "trials.csv", trials_csv(study, spec))
    failed = [trial for trial in found if trial.state not in DONE]
    whole = [trial for trial in found if trial.state == DONE[0]]
    if not whole:
        reason = failed[0].user_attrs.get("reason", "no reason known") if failed else "all were pruned"
        say(f"No trial has come to its end ({reason}); see {out}", style="red")
        return 1
    pictures = [draw_study(study, spec, out / "study.png"), draw_slices(study, spec, out / "slices.png")]
    best = study.best_trial
    method = spec.search.method_of(best.params)
    run = spec.spec(method, fresh_seeds(spec, 1)[0])
    write_atomic(out / "best.yml", zoo_entry(run))
    write_atomic(out / "best.py", snippet(run))
    say(f"\n{summary(found, spec, best)}")
    say(f"\nAs a method, for compare and train:\n\n  {method}\n")
    say(f"As an entry of the RL Zoo ({out / 'best.yml'}):\n\n{indented(zoo_entry(run))}")
    say(f"As a script ({out / 'best.py'}):\n\n{indented(snippet(run))}")
    names = ", ".join(str(path) for path in pictures if path is not None)
    say(f"Table: {out / 'trials.csv'}. Pictures: {names}")
    if spec.is_default(best):
        say("No settings were better than the defaults, so there is nothing to compare with them.")
        return 0
    if rerun:
        return compare_now(plan, method, rerun, console)
    seeds = ", ".join(map(str, spec.seeds))
    say(
        f"The best score is the best of many, and so better than what it stands for. What the settings are worth is told by "
        f"seeds that they were not chosen on (those were {seeds}):\n\n  {proposed_command(spec, method)}\n"
    )
    return 0


def summary(trials: "list[FrozenTrial]", spec: StudySpec, best: "FrozenTrial") -> str:
    """The best score beside that of the defaults, and what became of the trials."""
    counts = {name: sum(trial.state.name == name.upper() for trial in trials) for name in ("complete", "pruned", "fail")}
    what = {"last": "mean return of the last fifth of training", "area": "mean return over training"}[spec.score]
    lines = [
        f"Best of {len(trials)} trials ({counts['complete']} whole, {counts['pruned']} pruned, {counts['fail']} failed): "
        f"trial {best.number}, {what} {best.value:.4g}"
    ]
    default = next((trial for trial in trials if spec.is_default(trial) and trial.state == DONE[0]), None)
    if default is not None and default.value is not None and default.number != best.number:
        lines[0] += f"; the defaults have {default.value:.4g}"
    reasons = sorted({str(trial.user_attrs.get("reason")) for trial in trials if trial.state.name == "FAIL"})
    lines += [f"Failed: {reason}" for reason in reasons]
    return "\n".join(lines)


def compare_now(plan: "Plan", method: str, number: int, console: "Console") -> int:
    """Compare the best settings with the defaults by seeds that the study has not seen."""
    from sb3_infomax.compare.comparison import compare

    spec = plan.spec
    seeds = fresh_seeds(spec, number)
    text = f"\nNow the best settings against the defaults, by {number} seeds that they were not chosen on: {seeds}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    task = {"env": {spec.base.env: {}}, "methods": labelled(spec, method), "seeds": seeds}
    return compare(merge(DEFAULTS, spec.base.options, task), plan.out / "comparison", plan.workers, console)


def indented(text: str) -> str:
    """A block of text moved to the right."""
    return "".join(f"  {line}\n" if line.strip() else "\n" for line in text.splitlines())
