"""One run in the forms that people use beside a method's text: an entry of the RL Zoo, and a script."""

import json
from typing import Any

from sb3_infomax.compare.spec import RunSpec, parse_method


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
    from sb3_infomax.compare.algorithms import (
        algorithm_settings,
        policy_name,
        resolve_algorithm,
        suit_picture,
        wants_two_heads,
    )
    from sb3_infomax.compare.environments import is_video_game, make_vec_env

    method = parse_method(spec.method)
    settings = algorithm_settings(spec, method.algorithm, is_video_game(spec.env))
    env = make_vec_env(spec.env, 1, spec.seed, spec.env_kwargs, wrappers=spec.env_wrappers)
    try:
        policy = policy_name(env.observation_space, resolve_algorithm(method.algorithm.name))
        settings = suit_picture(settings, env.observation_space, policy)
    finally:
        env.close()
    if wants_two_heads(method):
        heads = two_head_policy(policy)
        policy = f"{heads.__module__}.{heads.__name__}"
    return policy, settings


def zoo_entry(spec: RunSpec) -> str:
    """A run's settings as an entry of the RL Zoo's YAML files.

    :param spec: the run
    """
    import yaml

    from sb3_infomax.compare.algorithms import zoo_name
    from sb3_infomax.compare.environments import is_atari
    from sb3_infomax.compare.worker import default_n_envs, normalization

    algorithm = zoo_name(parse_method(spec.method).algorithm.name)
    policy, settings = policy_and_settings(spec)
    entry: dict[str, Any] = {"n_envs": default_n_envs(spec), "n_timesteps": spec.timesteps, "policy": policy}
    wrappers = zoo_wrappers(spec)
    if wrappers:
        entry["env_wrapper"] = wrappers
    env_kwargs = spec.env_kwargs
    if is_atari(spec.env):
        entry["frame_stack"], env_kwargs = 4, {"frameskip": 1, **env_kwargs}  # the wrapper skips
    normalize, _ = normalization(spec)
    if normalize != "none":
        observations, rewards = normalize in ("observations", "both"), normalize in ("rewards", "both")
        entry["normalize"] = f"dict(norm_obs={observations}, norm_reward={rewards})"
    if env_kwargs:
        entry["env_kwargs"] = env_kwargs
    entry |= settings
    given = settings.get("policy_kwargs") or {}
    if any(isinstance(value, type) for value in given.values()):
        # YAML has no classes; text is evaluated by the Zoo
        entry["policy_kwargs"] = f"dict({', '.join(f'{key}={evaluated(value)}' for key, value in given.items())})"
    callbacks = [{f"sb3_infomax.{name}": arguments} for name, arguments in callback_arguments(spec)]
    if callbacks:
        entry["callback"] = callbacks
    text = yaml.safe_dump({spec.env: plain(entry)}, sort_keys=False, width=120)
    return f"# python -m sb3_infomax.zoo train --algo {algorithm} --env {spec.env} --conf-file best.yml\n{text}"


def evaluated(value: Any) -> str:
    """What the Zoo evaluates to a value, without imports of its own for our classes."""
    return f"__import__('sb3_infomax').{value.__name__}" if isinstance(value, type) else repr(value)


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
    from sb3_infomax.compare.algorithms import NOISES, resolve_algorithm
    from sb3_infomax.compare.worker import default_n_envs, normalization
    from sb3_infomax.registry import ALGORITHMS

    name = parse_method(spec.method).algorithm.name
    cls = resolve_algorithm(name).__name__
    policy, settings = policy_and_settings(spec)
    callbacks = callback_arguments(spec)
    classes = {value.__name__ for value in (settings.get("policy_kwargs") or {}).values() if isinstance(value, type)}
    ours = sorted({callback for callback, _ in callbacks} | ({cls} if name in ALGORITHMS else set()) | classes)
    package = resolve_algorithm(name).__module__.split(".")[0]
    imports = [] if name in ALGORITHMS else [f"from {package} import {cls}\n"]
    imports += [f"from sb3_infomax import {', '.join(ours)}"] if ours else []
    if "." in policy:
        module, _, policy_class = policy.rpartition(".")
        imports.append(f"from {module} import {policy_class}")
    normalize, gamma = normalization(spec)
    made_by = "make_vec_env" if normalize == "none" else "make_vec_env, normalized"
    imports.append(f"from sb3_infomax.compare.environments import {made_by}\n")
    noise = []
    if "noise_std" in settings:
        kind, std = NOISES[settings.pop("noise_type")], settings.pop("noise_std")
        imports = ["import numpy as np", f"from stable_baselines3.common.noise import {kind}", *imports]
        noise = [f"action_noise={kind}(np.zeros(env.action_space.shape), np.full(env.action_space.shape, {std}))"]
    extra = {"env_kwargs": spec.env_kwargs, "wrappers": spec.env_wrappers}
    env = {"n_envs": default_n_envs(spec), "seed": spec.seed, **{key: value for key, value in extra.items() if value}}
    shown = policy_class if "." in policy else source(policy)
    lines = [
        call("env = make_vec_env", [source(spec.env)], env),
        *([] if normalize == "none" else [f"env = normalized(env, {source(normalize)}, gamma={gamma})"]),
        call(f"model = {cls}", [shown, "env", *noise], {**settings, "seed": spec.seed, "verbose": 1}),
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
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{source(key)}: {source(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(source, value)) + "]"
    return repr(value)


def argument(name: str, value: Any) -> str:
    """A keyword argument as source text; a long dictionary with a line for each of its items."""
    line = f"{name}={source(value)}"
    if len(line) <= 95 or not isinstance(value, dict):
        return line
    items = "".join(f"        {source(key)}: {source(item)},\n" for key, item in value.items())
    return f"{name}={{\n{items}    }}"


def call(function: str, positional: list[str], keywords: dict[str, Any]) -> str:
    """A call as source text, on one line where it fits."""
    arguments = [*positional, *(argument(name, value) for name, value in keywords.items())]
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= 100 and "\n" not in line:
        return line
    return f"{function}(\n" + "".join(f"    {text},\n" for text in arguments) + ")"
