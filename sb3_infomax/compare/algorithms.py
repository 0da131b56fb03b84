"""The learning algorithms by name, and how a method's text becomes a model with its callback."""

import inspect
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.spec import Method, Part, RunSpec, UserError, check_names, parse_method
from sb3_infomax.registry import ALGORITHMS, REWARDS, UnknownNameError, resolve

if TYPE_CHECKING:
    import gymnasium as gym
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

SB3_ALGORITHMS: dict[str, str | type] = {
    "a2c": "stable_baselines3:A2C",
    "ddpg": "stable_baselines3:DDPG",
    "dqn": "stable_baselines3:DQN",
    "ppo": "stable_baselines3:PPO",
    "sac": "stable_baselines3:SAC",
    "td3": "stable_baselines3:TD3",
    "crossq": "sb3_contrib:CrossQ",
    "maskableppo": "sb3_contrib:MaskablePPO",
    "qrdqn": "sb3_contrib:QRDQN",
    "recurrentppo": "sb3_contrib:RecurrentPPO",
    "tqc": "sb3_contrib:TQC",
    "trpo": "sb3_contrib:TRPO",
}
ALIASES = {"ppo_lstm": "recurrentppo", "ppo_mask": "maskableppo"}

# What is usual on Atari frames, where it is not Stable-Baselines3's default (the RL Zoo's settings; the replay
# buffer is a tenth of theirs, 5.6 GB instead of 56).
ATARI_DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 128, "batch_size": 256, "n_epochs": 4, "learning_rate": 2.5e-4, "clip_range": 0.1, "ent_coef": 0.01},
    "a2c": {"ent_coef": 0.01, "vf_coef": 0.25},
    "dqn": {
        "buffer_size": 100_000,
        "learning_starts": 10_000,
        "target_update_interval": 1000,
        "exploration_final_eps": 0.01,
    },
}
ATARI_DEFAULTS["maskableppo"] = ATARI_DEFAULTS["recurrentppo"] = ATARI_DEFAULTS["ppo"]
ATARI_DEFAULTS["qrdqn"] = ATARI_DEFAULTS["dqn"]


def resolve_algorithm(name: str) -> "type[BaseAlgorithm]":
    """The algorithm class behind a name: ours, Stable-Baselines3's, contrib's, or any ``package.module:Class``.

    :param name: such as ``"ppo"`` or ``"recurrentppo"``
    :raises UserError: where there is none, with the nearest names
    """
    from stable_baselines3.common.base_class import BaseAlgorithm

    table = {**SB3_ALGORITHMS, **ALGORITHMS}
    try:
        found = resolve(ALIASES.get(name, name), table, kind="algorithm")
    except UnknownNameError as error:
        raise UserError(str(error)) from error
    if not issubclass(found, BaseAlgorithm):
        raise UserError(f"{name!r} is not a Stable-Baselines3 algorithm: it does not derive from BaseAlgorithm.")
    return found


def resolve_reward(name: str) -> type:
    """The reward module class behind a name, with the nearest names where there is none.

    :param name: a registered name or ``package.module:Class``
    """
    try:
        return resolve(name, REWARDS)
    except UnknownNameError as error:
        raise UserError(str(error)) from error


def is_on_policy(algorithm: "type[BaseAlgorithm]") -> bool:
    """Whether the algorithm collects rollouts rather than filling a replay buffer."""
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    return not issubclass(algorithm, OffPolicyAlgorithm)


def parameters_of(function: Any) -> list[str]:
    """Names that a callable takes by keyword, ``self`` left out."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, item in inspect.signature(function).parameters.items() if item.kind in kinds and name != "self"]


def algorithm_settings(spec: RunSpec, part: Part, atari: bool) -> dict[str, Any]:
    """Constructor arguments of the algorithm: usual ones for Atari, the run's, the method's own, in rising order.

    :param spec: the run
    :param part: the algorithm's part of the method
    :param atari: whether the observations are Atari frames
    """
    settings = {**spec.algo_kwargs, **part.settings}
    reserved = {"policy", "env", "seed", "verbose", "_init_setup_model"}
    names = [name for name in parameters_of(resolve_algorithm(part.name).__init__) if name not in reserved]
    check_names(settings, names, part.name)
    usual = ATARI_DEFAULTS.get(ALIASES.get(part.name, part.name), {}) if atari else {}
    return {**usual, **settings}


def policy_name(observation_space: "gym.Space", algorithm: "type[BaseAlgorithm]") -> str:
    """The policy alias that fits an observation space.

    :param observation_space: of the environment as the learner sees it
    :param algorithm: RecurrentPPO's policies carry "Lstm" in their names
    """
    from gymnasium import spaces
    from stable_baselines3.common.preprocessing import is_image_space

    if isinstance(observation_space, spaces.Dict):
        kind = "MultiInput"
    elif is_image_space(observation_space) and min(observation_space.shape[:2]) >= 36:
        kind = "Cnn"  # NatureCNN needs 36 x 36 pixels
    else:
        kind = "Mlp"
    name = f"{kind}LstmPolicy" if algorithm.__name__ == "RecurrentPPO" else f"{kind}Policy"
    if name not in algorithm.policy_aliases:
        raise UserError(f"{algorithm.__name__} has no {name}, which {observation_space} would need: choose another algorithm.")
    return name


def split_reward_settings(method: Method) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tell the callback's settings from the modules' own.

    :param method: with at least one reward
    :return: keyword arguments of ``IntrinsicReward`` and, for each module, of its constructor
    """
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

    reserved = {"module", "module_kwargs", "save_path", "save_freq", "seed"}
    shell_names = [name for name in parameters_of(IntrinsicReward.__init__) if name not in reserved]
    shell: dict[str, Any] = {}
    own: list[dict[str, Any]] = []
    for part in method.rewards:
        module = resolve_reward(part.name)
        spaces = {"observation_space", "action_space"}
        module_names = [name for name in parameters_of(module.__init__) if name not in spaces]
        check_names(part.settings, shell_names + module_names, part.name)
        own.append({name: value for name, value in part.settings.items() if name not in shell_names})
        for name, value in part.settings.items():
            if name in shell_names and shell.setdefault(name, value) != value:
                raise UserError(f"{method.label!r} sets {name!r} twice, to {shell[name]!r} and {value!r}: leave one out.")
    return shell, own


def make_intrinsic_reward(method: Method, seed: int) -> "IntrinsicReward | None":
    """The callback of a method, ``None`` for plain Stable-Baselines3.

    :param method: what to run
    :param seed: of the modules' private generators
    """
    if not method.rewards:
        return None
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

    shell, own = split_reward_settings(method)
    names = [part.name for part in method.rewards]
    if len(names) == 1:
        return IntrinsicReward(names[0], module_kwargs=own[0] or None, seed=seed, **shell)
    if any(own):
        raise UserError(f"{method.label!r} mixes rewards, which run with their defaults: leave the modules' settings out.")
    return IntrinsicReward(names, seed=seed, **shell)


def make_model(spec: RunSpec, env: "VecEnv", atari: bool) -> "BaseAlgorithm":
    """The learner of a run.

    :param spec: the run
    :param env: its training environments
    :param atari: whether they are Atari frames
    """
    part = parse_method(spec.method).algorithm
    algorithm = resolve_algorithm(part.name)
    settings = algorithm_settings(spec, part, atari)
    policy = policy_name(env.observation_space, algorithm)
    try:
        return algorithm(policy, env, seed=spec.seed, verbose=0, **settings)
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError(f"{part.name} cannot be made for {spec.env}: {first_line(error)}") from error


def check_method(method: Method) -> None:
    """Every name in a method exists, before anything is started.

    :param method: as parsed
    :raises UserError: for the first name that does not
    """
    algorithm = resolve_algorithm(method.algorithm.name)
    check_names(method.algorithm.settings, parameters_of(algorithm.__init__), method.algorithm.name)
    if method.rewards:
        split_reward_settings(method)


def first_line(error: BaseException) -> str:
    """What an exception says, on one line; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
