"""What a study ends with: its best settings in every form that is used, all trials as a table, pictures, and a comparison."""

import json
import shlex
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.spec import RunSpec, format_value, parse_method
from sb3_infomax.compare.storage import csv_text, write_atomic
from sb3_infomax.tune.study import StudySpec
from sb3_infomax.tune.work import DONE, outcomes

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from sb3_infomax.tune.tuning import Plan

FRESH_SEEDS = 5  # of the comparison that is proposed


# --- one configuration in three forms


def callback_arguments(spec: RunSpec) -> list[tuple[str, dict[str, Any]]]:
    """The callbacks of a run: the name of each in ``sb3_infomax``, and how it is called, without a seed.

    :param spec: the run
    """
    from sb3_infomax.compare.algorithms import auxiliary_arguments, intrinsic_arguments

    method = parse_method(spec.method)
    found = [("IntrinsicReward", intrinsic_arguments(method, spec.seed))] if method.rewards else []
    found += [("AuxiliaryLoss", auxiliary_arguments(part, spec.seed)) for part in method.losses]
    return [(name, {key: value for key, value in given.items() if key != "seed" and value != {}}) for name, given in found]


def policy_and_settings(spec: RunSpec) -> tuple[str, dict[str, Any]]:
    """The policy's name and the algorithm's constructor arguments of a run.

    A policy of ours is the dotted path of its class.

    :param spec: the run
    """
    from sb3_infomax.common.policies import two_head_policy
    from sb3_infomax.compare.algorithms import algorithm_settings, policy_name, resolve_algorithm, wants_two_heads
    from sb3_infomax.compare.environments import is_video_game, make_vec_env

    method = parse_method(spec.method)
    env = make_vec_env(spec.env, 1, spec.seed, spec.env_kwargs, wrappers=spec.env_wrappers)
    try:
        policy = policy_name(env.observation_space, resolve_algorithm(method.algorithm.name))
    finally:
        env.close()
    if wants_two_heads(method):
        heads = two_head_policy(policy)
        policy = f"{heads.__module__}.{heads.__name__}"
    return policy, algorithm_settings(spec, method.algorithm, is_video_game(spec.env))


def zoo_entry(spec: RunSpec) -> str:
    """A run's settings as an entry of the RL Zoo's YAML files.

    :param spec: the run
    """
    import yaml

    from sb3_infomax.compare.environments import is_atari
    from sb3_infomax.compare.worker import default_n_envs

    algorithm = parse_method(spec.method).algorithm.name
    policy, settings = policy_and_settings(spec)
    entry: dict[str, Any] = {"n_envs": default_n_envs(spec), "n_timesteps": spec.timesteps, "policy": policy}
    wrappers = zoo_wrappers(spec)
    if wrappers:
        entry["env_wrapper"] = wrappers
    if is_atari(spec.env):
        entry["frame_stack"] = 4
    if spec.env_kwargs:
        entry["env_kwargs"] = spec.env_kwargs
    for key, value in settings.items():
        # the Zoo evaluates its *_kwargs
        entry[key] = f"dict({', '.join(f'{k}={v!r}' for k, v in value.items())})" if isinstance(value, dict) else value
    callbacks = [{f"sb3_infomax.{name}": arguments} for name, arguments in callback_arguments(spec)]
    if callbacks:
        entry["callback"] = callbacks
    text = yaml.safe_dump({spec.env: plain(entry)}, sort_keys=False, width=120)
    return f"# python -m sb3_infomax.zoo train --algo {algorithm} --env {spec.env} --conf-file best.yml\n{text}"


def zoo_wrappers(spec: RunSpec) -> list[Any]:
    """What the Zoo has to put around an environment, which our own ``make_vec_env`` does by itself."""
    from sb3_infomax.compare.environments import WRAPPERS, is_atari
    from sb3_infomax.compare.spec import parse_part

    found: list[Any] = []
    for part in map(parse_part, spec.env_wrappers):
        path = str(WRAPPERS.get(part.name, part.name)).replace(":", ".")
        found.append({path: part.settings} if part.settings else path)
    if spec.env.startswith(("MiniGrid-", "BabyAI-")):
        found.append("sb3_infomax.compare.environments.OneHotGrid")
    if is_atari(spec.env):
        found.append("stable_baselines3.common.atari_wrappers.AtariWrapper")
    return found


def plain(value: Any) -> Any:
    """Tuples as lists, all the way down, which YAML writes without tags."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def snippet(spec: RunSpec) -> str:
    """A run as a Python script that does it as pasted.

    :param spec: the run
    """
    from sb3_infomax.compare.algorithms import resolve_algorithm
    from sb3_infomax.compare.worker import default_n_envs
    from sb3_infomax.registry import ALGORITHMS

    name = parse_method(spec.method).algorithm.name
    cls = resolve_algorithm(name).__name__
    policy, settings = policy_and_settings(spec)
    callbacks = callback_arguments(spec)
    ours = sorted({callback for callback, _ in callbacks} | ({cls} if name in ALGORITHMS else set()))
    package = resolve_algorithm(name).__module__.split(".")[0]
    imports = [] if name in ALGORITHMS else [f"from {package} import {cls}\n"]
    imports += [f"from sb3_infomax import {', '.join(ours)}"] if ours else []
    if "." in policy:
        module, _, policy_class = policy.rpartition(".")
        imports.append(f"from {module} import {policy_class}")
    imports.append("from sb3_infomax.compare.environments import make_vec_env\n")
    extra = {"env_kwargs": spec.env_kwargs, "wrappers": spec.env_wrappers}
    env = {"n_envs": default_n_envs(spec), "seed": spec.seed, **{key: value for key, value in extra.items() if value}}
    shown = policy_class if "." in policy else source(policy)
    lines = [
        call("env = make_vec_env", [source(spec.env)], env),
        call(f"model = {cls}", [shown, "env"], {**settings, "seed": spec.seed, "verbose": 1}),
        *(call(f"{variable} = {kind}", [], {**given, "seed": spec.seed}) for variable, (kind, given) in named(callbacks)),
    ]
    made = [variable for variable, _ in named(callbacks)]
    callback = f", callback={made[0] if len(made) == 1 else '[' + ', '.join(made) + ']'}" if made else ""
    masks = ', use_masking=env.has_attr("action_masks")' if cls == "MaskablePPO" else ""
    lines += [f"model.learn({spec.timesteps:_}{callback}{masks})", 'model.save("tuned")']
    return "\n".join(imports + lines) + "\n"


def named(callbacks: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, tuple[str, dict[str, Any]]]]:
    """Callbacks with names for variables."""
    single = ["reward" if kind == "IntrinsicReward" else "loss" for kind, _ in callbacks]
    names = [f"{name}_{index}" if single.count(name) > 1 else name for index, name in enumerate(single)]
    return list(zip(names, callbacks, strict=True))


def source(value: Any) -> str:
    """A value as source text, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{source(key)}: {source(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(source, value)) + "]"
    return repr(value)


def call(function: str, positional: list[str], keywords: dict[str, Any]) -> str:
    """A call as source text, on one line where it fits."""
    arguments = [*positional, *(f"{name}={source(value)}" for name, value in keywords.items())]
    line = f"{function}({', '.join(arguments)})"
    return line if len(line) <= 100 else f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


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


def compare_command(spec: StudySpec, best: str) -> str:
    """The command line that compares the best settings with the defaults by fresh seeds."""
    base = spec.base
    words = ["sb3-infomax", "compare", *labelled(spec, best), "--env", base.env, "--timesteps", str(base.timesteps)]
    for option, settings in (("--env-arg", base.env_kwargs), ("--algo-arg", base.algo_kwargs)):
        if settings:
            words += [option, *(f"{name}={format_value(value)}" for name, value in settings.items())]
    if base.env_wrappers:
        words += ["--env-wrapper", *base.env_wrappers]
    if base.n_envs is not None:
        words += ["--n-envs", str(base.n_envs)]
    if base.eval_actions is not None:
        words += ["--eval-actions", base.eval_actions]
    seeds = ",".join(map(str, fresh_seeds(spec, FRESH_SEEDS)))
    return shlex.join([*words, "--seeds", seeds])


# --- the whole study


def trials_csv(study: "optuna.Study", spec: StudySpec) -> str:
    """All trials as a table, one row for each, in the order of their tasks.

    :param study: the study
    :param spec: of the study
    """
    columns = ["trial", "state", "score", *[f"seed_{seed}" for seed in spec.seeds], "seconds", *spec.search.names, "reason"]
    return csv_text(columns, [trial_row(trial, spec) for trial in outcomes(study).values()])


def trial_row(trial: "FrozenTrial", spec: StudySpec) -> dict[str, Any]:
    """One trial as a row of the table."""
    scores = trial.user_attrs.get("scores", [])
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    return {
        "trial": trial.number,
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
    return compare_now(plan, method, rerun, console) if rerun else propose(spec, best, method, say)


def summary(trials: "list[FrozenTrial]", spec: StudySpec, best: "FrozenTrial") -> str:
    """The best score beside that of the defaults, and what became of the trials."""
    counts = {name: sum(trial.state.name == name.upper() for trial in trials) for name in ("complete", "pruned", "fail")}
    what = {"last": "mean return of the last fifth of training", "area": "mean return over training"}[spec.score]
    lines = [
        f"Best of {len(trials)} trials ({counts['complete']} whole, {counts['pruned']} pruned, {counts['fail']} failed): "
        f"trial {best.number}, {what} {best.value:.4g}"
    ]
    default = next((trial for trial in trials if trial.user_attrs.get("task") == "trial 0"), None)
    if default is not None and default.value is not None and default.number != best.number:
        lines[0] += f"; the defaults have {default.value:.4g}"
    reasons = sorted({str(trial.user_attrs.get("reason")) for trial in trials if trial.state.name == "FAIL"})
    lines += [f"Failed: {reason}" for reason in reasons]
    return "\n".join(lines)


def propose(spec: StudySpec, best: "FrozenTrial", method: str, say: Any) -> int:
    """Say how to find out what the best settings are worth."""
    if best.user_attrs.get("task") == "trial 0":
        say("No settings were better than the defaults, which there is nothing to compare with.")
        return 0
    seeds = ", ".join(map(str, spec.seeds))
    say(
        f"The best score is the best of many, and so better than what it stands for. What the settings are worth is told by "
        f"seeds that they were not chosen on (those were {seeds}):\n\n  {compare_command(spec, method)}\n"
    )
    return 0


def compare_now(plan: "Plan", method: str, number: int, console: "Console") -> int:
    """Compare the best settings with the defaults by seeds that the study has not seen."""
    from dataclasses import replace

    from sb3_infomax.compare.comparison import compare, specs_of

    spec = plan.spec
    seeds = fresh_seeds(spec, number)
    text = f"\nNow the best settings against the defaults, by {number} seeds that they were not chosen on: {seeds}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    specs = specs_of(replace(spec.base, seed=seeds[0]), labelled(spec, method), seeds)
    return compare(specs, plan.out / "comparison", plan.workers, console)


def indented(text: str) -> str:
    """A block of text moved to the right."""
    return "".join(f"  {line}\n" if line.strip() else "\n" for line in text.splitlines())
