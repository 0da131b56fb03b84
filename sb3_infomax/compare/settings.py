"""What a comparison is made of, from the command line and from a YAML file, with the same names in both.

.. code-block:: yaml

    env:                                       # one id, a list, or with settings of its own for an environment
      MiniGrid-DoorKey-5x5-v0:
      CliffWalking-v1: {env_arg: {max_episode_steps: 200}, timesteps: 60000}
    methods:                                   # as on the command line, or with a label, or with nested settings
      - ppo
      - EMI tuned: ppo+emi:coef=0.1
      - EMI, small network:
          ppo: {n_steps: 512, policy_kwargs: {net_arch: [32, 32]}}
          emi: {coef: 0.1}
    seeds: 5
    timesteps: 2e5
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sb3_infomax.compare.algorithms import is_algorithm
from sb3_infomax.compare.spec import (
    Part,
    RunSpec,
    UserError,
    check_names,
    format_method,
    jsonable,
    parse_duration,
    parse_environment,
    parse_label,
    parse_method,
    parse_settings,
    parse_steps,
)
from sb3_infomax.compare.storage import read_yaml

Settings = dict[str, Any]

# --- readers: a value as typed, or as YAML has it -> what it means; ``where`` names it in messages


def read_number(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where} is a number, not {value!r}.")
    return value


def read_whole(value: Any, where: str) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{where} is a whole number of at least 1, not {value!r}.")
    return value


def read_text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} is a text, not {value!r}.")
    return value


def read_bool(value: Any, where: str) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise UserError(f"{where} is true or false, not {value!r}.")
    return value


def read_steps(value: Any, where: str) -> int:
    """A number of steps, also as ``2e5``."""
    return parse_steps(str(value))


def read_budget(value: Any, where: str) -> float:
    """Seconds of CPU time, from a text such as ``10m``."""
    return parse_duration(str(value))


def read_table(value: Any, where: str) -> Settings:
    """Settings, as a table or as texts ``key=value``."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    return parse_settings(read_texts(value, where))


def read_texts(value: Any, where: str) -> list[str]:
    """One text or several."""
    return [read_text(text, where) for text in (value if isinstance(value, (list, tuple)) else [value])]


def read_seeds(value: Any, where: str) -> list[int]:
    """How many, or a list of those."""
    if isinstance(value, str):
        return parse_seeds(value)
    if isinstance(value, list):
        if not value or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value):
            raise UserError(f"{where} are how many, or a list of whole numbers, not {value!r}.")
        return parse_seeds(",".join(map(str, value)) + ("," if len(value) == 1 else ""))
    return parse_seeds(str(read_whole(value, where)))


def parse_seeds(text: str) -> list[int]:
    """``5`` is the seeds 0 to 4, ``3,7,8`` are those, ``3,`` is seed 3 alone."""
    try:
        numbers = [int(part) for part in text.removesuffix(",").split(",")]
    except ValueError:
        raise UserError(f"Cannot read the seeds {text!r}: write how many (5) or which (3,7,8).") from None
    if "," in text:
        if len(set(numbers)) < len(numbers):
            raise UserError(f"A seed is given twice in {text!r}: leave one of them out.")
        return numbers
    if numbers[0] < 1:
        raise UserError(f"The number of seeds must be at least 1, not {numbers[0]}.")
    return list(range(numbers[0]))


def read_environments(value: Any, where: str) -> dict[str, Settings]:
    """Ids, each with the settings that are its own.

    :param value: a text, a list of texts, or a table of settings by text; a text may end with ``:key=value,...``
    """
    found: dict[str, Settings] = {}
    table = value if isinstance(value, Mapping) else dict.fromkeys(read_texts(value, where))
    if not isinstance(value, Mapping) and len(table) < len(read_texts(value, where)):
        raise UserError("An environment is given twice: leave one of them out.")
    for text, settings in table.items():
        name, arguments = parse_environment(str(text))
        own = read_settings(read_table(settings, f"{where}: {text}"), OF_AN_ENVIRONMENT, f"{where}: {text}")
        if arguments:
            own["env_arg"] = {**own.get("env_arg", {}), **arguments}
        if name in found:
            raise UserError(f"The environment {name} is given twice: compare its variants in folders of their own.")
        found[name] = own
    return found


def read_methods(value: Any, where: str) -> list[str]:
    """Texts of methods, also from tables of label: method and of nested settings."""
    if isinstance(value, Mapping):
        value = [{label: method} for label, method in value.items()]
    texts = []
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, Mapping):
            texts += [read_method(str(label), method, where) for label, method in item.items()]
        else:
            texts.append(read_text(item, where).strip())
    labels = [parse_method(text).label for text in texts]
    if len(set(labels)) < len(labels):
        raise UserError("A method is given twice: leave one of them out, or name them apart as LABEL=METHOD.")
    return texts


def read_method(label: str, method: Any, where: str) -> str:
    """The text of a method with a label.

    :param label: its name
    :param method: a text, or the settings of each of its parts, the algorithm first
    """
    if re.search("[:=]", label):
        raise UserError(f"{where}: the label {label!r} of a method cannot have ':' or '=' in it.")
    if isinstance(method, str):
        return f"{label}={parse_label(method)[1]}"
    if not isinstance(method, Mapping) or not method:
        raise UserError(f"{where}: {label!r} is a method such as ppo+emi, or a table of its parts' settings, not {method!r}.")
    parts = [Part(str(name), read_table(settings, f"{where}: {label}: {name}")) for name, settings in method.items()]
    return format_method(parts, label)


Reader = Callable[[Any, str], Any]

OF_AN_ENVIRONMENT: dict[str, Reader] = {
    "env_arg": read_table,
    "env_wrapper": read_texts,
    "algo_arg": read_table,
    "normalize": read_text,
    "n_envs": read_whole,
    "timesteps": read_steps,
    "budget": read_budget,
    "eval_points": read_whole,
    "eval_episodes": read_whole,
    "eval_actions": read_text,
    "success_return": read_number,
}
# What decides the outcome, and is stored in compare.yml.
OF_A_COMPARISON: dict[str, Reader] = {
    "env": read_environments,
    "methods": read_methods,
    "seeds": read_seeds,
    **OF_AN_ENVIRONMENT,
}
# What does not.
OF_A_MACHINE: dict[str, Reader] = {
    "workers": read_whole,
    "pin": read_bool,
    "out": read_text,
    "storage": read_text,
    "study": read_text,
    "heartbeat": read_whole,
}
KEYS = {**OF_A_COMPARISON, **OF_A_MACHINE}
BUDGETS = ("timesteps", "budget")
DEFAULTS: Settings = {"seeds": [0, 1, 2, 3, 4], "timesteps": 60_000, "eval_points": 20, "eval_episodes": 5}


def read_settings(values: Mapping[str, Any], readers: Mapping[str, Reader], where: str | None = None) -> Settings:
    """Check names and values.

    :param values: by the names of the options, with ``-`` or ``_``
    :param readers: of the names that there are
    :param where: they were written, for messages; ``None`` is on the command line
    :raises UserError: naming the key, with the nearest where it is unknown
    """
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    check_names(values, readers, where or "the command line")
    names = {key: f"{where}: {key}" if where else f"--{key.replace('_', '-')}" for key in values}
    return {key: readers[key](value, names[key]) for key, value in values.items() if value is not None}


def merge(*layers: Settings) -> Settings:
    """Settings in rising order: a later one wins, tables key by key; steps and time are one budget.

    :param layers: such as defaults, a file, the command line
    """
    merged: Settings = {}
    for layer in layers:
        if any(key in layer for key in BUDGETS):
            merged = {key: value for key, value in merged.items() if key not in BUDGETS}
        for key, value in layer.items():
            merged[key] = {**merged.get(key, {}), **value} if key in ("env_arg", "algo_arg") else value
    return merged


# --- files


def read_file(path: Path) -> Settings:
    """The settings in a YAML file.

    :raises UserError: naming what is wrong
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is no table of settings: write env:, methods:, seeds: and so on in it.")
    return read_settings(content, KEYS, str(path))


def with_earlier(settings: Settings, path: Path) -> Settings:
    """The settings with the environments, methods and seeds that an earlier comparison in the folder had as well.

    :param settings: of this comparison
    :param path: of the earlier one's file, which may be missing or damaged
    """
    try:
        earlier = read_file(path)
    except UserError:
        return settings
    methods = {parse_method(text).label: text for text in (*earlier.get("methods", []), *settings["methods"])}
    return {
        **settings,
        "env": {**earlier.get("env", {}), **settings["env"]},
        "methods": list(methods.values()),
        "seeds": sorted({*earlier.get("seeds", []), *settings["seeds"]}),
    }


def settings_text(settings: Settings) -> str:
    """The settings as YAML that :func:`read_file` reads back.

    :param settings: of a comparison; those about the machine are left out
    """
    import yaml

    def plain(values: Mapping[str, Any]) -> Settings:
        told = {key: values[key] for key in OF_A_COMPARISON if values.get(key) not in (None, {}, [])}
        return {**told, "budget": f"{told['budget']:.10g}s"} if "budget" in told else told

    told = plain(settings)
    if not any(told["env"].values()):
        told["env"] = list(told["env"])
    else:
        told["env"] = {name: plain(own) for name, own in told["env"].items()}
    told["methods"] = [{label: text} if label else text for label, text in map(parse_label, told["methods"])]
    return yaml.safe_dump(jsonable(told), sort_keys=False, allow_unicode=True, width=120)


# --- runs


def run_specs(settings: Settings) -> list[RunSpec]:
    """Everything for the first seed, then for the second, ...: a comparison that was cut short is still one.

    :param settings: merged with the defaults
    :raises UserError: where something is missing or out of range
    """
    for key, what in (("env", "an environment"), ("methods", "methods")):
        if not settings.get(key):
            raise UserError(f"compare needs {what}: sb3-infomax compare ppo ppo+rnd --env ID, or a file with --config.")
    environments = {env: environment_spec(env, merge(settings, own)) for env, own in settings["env"].items()}
    return [
        replace(base, method=text, seed=seed)
        for seed in settings["seeds"]
        for base in environments.values()
        for text in settings["methods"]
    ]


def environment_spec(env: str, settings: Settings) -> RunSpec:
    """What all runs in an environment share.

    :param env: id
    :param settings: of the comparison, with the environment's own
    """
    return RunSpec(
        env=env,
        method=settings["methods"][0],
        timesteps=settings.get("timesteps"),
        cpu_seconds=settings.get("budget"),
        env_kwargs=settings.get("env_arg", {}),
        env_wrappers=settings.get("env_wrapper", []),
        algo_kwargs=settings.get("algo_arg", {}),
        **{
            name: settings[name]
            for name in ("normalize", "n_envs", "eval_points", "eval_episodes", "eval_actions", "success_return")
            if name in settings
        },
    )


def told_apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Environments and methods out of ``--env A B ppo ppo+rnd``, where an option takes all that follows.

    :param words: behind ``--env``
    :return: environments, methods
    """
    first = next((index for index, word in enumerate(words) if is_algorithm(parse_method(word).algorithm.name)), len(words))
    return list(words[:first]), list(words[first:])
