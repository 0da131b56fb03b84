"""The learning algorithms by name, and how a method's text becomes a model with its callback."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.common.arguments import check_arguments, constructors_of, parameters_of
from sb3_infomax.compare.spec import Method, Part, RunSpec, UserError, check_names, parse_method
from sb3_infomax.registry import ALGORITHMS, AUXILIARY, REWARDS, UnknownNameError, resolve

if TYPE_CHECKING:
    import gymnasium as gym
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.noise import ActionNoise
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
    from sb3_infomax.callbacks.saved import SavedCallback

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

# What is usual on the frames of video games, where it is not Stable-Baselines3's default (the RL Zoo's for Atari; the replay
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
ATARI_DEFAULTS["c51"] = ATARI_DEFAULTS["driml"] = ATARI_DEFAULTS["mirl"] = ATARI_DEFAULTS["qrdqn"] = ATARI_DEFAULTS["dqn"]
# least height and width of a picture for LocalGlobalCNN and for Stable-Baselines3's NatureCNN
SMALLEST_PICTURE, NATURE_CNN_SIDE = 7, 36

# TD3 and DDPG are deterministic: without noise on their actions they explore by their first random steps alone. The RL Zoo's
# names and 0.1 of the actions' range, as there and in TD3's paper.
NOISE_DEFAULTS: dict[str, dict[str, Any]] = {name: {"noise_type": "normal", "noise_std": 0.1} for name in ("td3", "ddpg")}
NOISES = {"normal": "NormalActionNoise", "ornstein-uhlenbeck": "OrnsteinUhlenbeckActionNoise"}


def zoo_name(name: str) -> str:
    """What the RL Zoo calls an algorithm of ours, Stable-Baselines3's or contrib's.

    :param name: such as ``"recurrentppo"``, which is ``"ppo_lstm"`` there
    """
    return {target: alias for alias, target in ALIASES.items()}.get(name, name)


def is_algorithm(name: str) -> bool:
    """Whether a short name is an algorithm's."""
    return name in ALIASES or name in SB3_ALGORITHMS or name in ALGORITHMS


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


def check_settings(settings: dict[str, Any], name: str, reserved: Sequence[str] = ()) -> None:
    """Names and kinds of an algorithm's arguments.

    :param settings: as the user wrote them
    :param name: of the algorithm
    :param reserved: arguments that are not the user's
    :raises UserError: for the first that is unknown or of the wrong kind
    """
    algorithm = resolve_algorithm(name)
    known = [name for name in parameters_of(algorithm) if name not in reserved]
    check_names(settings, [*known, *(["noise_type", "noise_std"] if "action_noise" in known else [])], name)
    try:
        check_arguments([*constructors_of(algorithm), action_noise], settings, name)
    except ValueError as error:
        raise UserError(str(error)) from error
    if settings.get("noise_type", "normal") not in NOISES:
        raise UserError(f"{name}'s noise_type is one of {', '.join(NOISES)}, not {settings['noise_type']!r}.")


def action_noise(noise_type: str, noise_std: float, action_space: "gym.Space") -> "ActionNoise":
    """Noise on the actions of a learner.

    :param noise_type: ``"normal"`` or ``"ornstein-uhlenbeck"``
    :param noise_std: standard deviation, of actions scaled to [-1, 1]
    :param action_space: of the environment
    """
    import numpy as np
    from stable_baselines3.common import noise

    zeros = np.zeros(action_space.shape or ())
    return getattr(noise, NOISES[noise_type])(zeros, zeros + noise_std)


def algorithm_settings(spec: RunSpec, part: Part, video_game: bool) -> dict[str, Any]:
    """Arguments of the algorithm: usual ones, the run's, the method's own, in rising order.

    They are those of its constructor, but ``noise_type`` and ``noise_std`` stand for its ``action_noise``, as in the RL Zoo.

    :param spec: the run
    :param part: the algorithm's part of the method
    :param video_game: whether the observations are the frames of one
    """
    settings = {**spec.algo_kwargs, **part.settings}
    check_settings(settings, part.name, reserved=("policy", "env", "seed", "verbose", "_init_setup_model"))
    usual = ATARI_DEFAULTS.get(ALIASES.get(part.name, part.name), {}) if video_game else {}
    if "action_noise" not in settings:
        noise = {"noise_type": "normal"} if "noise_std" in settings else {}
        usual = {**usual, **noise, **NOISE_DEFAULTS.get(part.name, {})}
    return {**usual, **settings}


def policy_name(observation_space: "gym.Space", algorithm: "type[BaseAlgorithm]") -> str:
    """The policy alias that fits an observation space.

    :param observation_space: of the environment as the learner sees it
    :param algorithm: RecurrentPPO's policies carry "Lstm" in their names; some have none for pictures
    """
    from gymnasium import spaces

    lstm = "Lstm" if algorithm.__name__ == "RecurrentPPO" else ""
    side = picture_side(observation_space)
    if isinstance(observation_space, spaces.Dict):
        kind = "MultiInput"
    elif side >= NATURE_CNN_SIDE or (side >= SMALLEST_PICTURE and f"Cnn{lstm}Policy" in algorithm.policy_aliases):
        kind = "Cnn"
    else:
        kind = "Mlp"
    name = f"{kind}{lstm}Policy"
    if name not in algorithm.policy_aliases:
        raise UserError(f"{algorithm.__name__} has no {name}, which {observation_space} would need: choose another algorithm.")
    return name


def picture_side(observation_space: "gym.Space") -> int:
    """The lesser of a picture's height and width; 0 where there is no picture."""
    from stable_baselines3.common.preprocessing import is_image_space

    # channels come first or last
    return sorted(observation_space.shape or ())[1] if is_image_space(observation_space) else 0


def suit_picture(settings: dict[str, Any], observation_space: "gym.Space", policy: str) -> dict[str, Any]:
    """Settings with convolutions that fit pictures too small for Stable-Baselines3's own, the same for every algorithm.

    :param settings: constructor arguments of the algorithm
    :param observation_space: of the environment as the learner sees it
    :param policy: its alias
    """
    if "Cnn" not in policy or picture_side(observation_space) >= NATURE_CNN_SIDE:
        return settings
    from sb3_infomax.common.extractors import LocalGlobalCNN

    chosen = settings.get("policy_kwargs") or {}
    return {**settings, "policy_kwargs": {"features_extractor_class": LocalGlobalCNN, **chosen}}


def split_reward_settings(method: Method) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tell the callback's settings from the modules' own.

    :param method: with at least one reward
    :return: keyword arguments of ``IntrinsicReward`` and, for each module, of its constructor
    """
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

    reserved = {"module", "module_kwargs", "save_path", "save_freq", "seed"}
    shell_names = [name for name in parameters_of(IntrinsicReward) if name not in reserved]
    shell: dict[str, Any] = {}
    own: list[dict[str, Any]] = []
    for part in method.rewards:
        module = resolve_reward(part.name)
        spaces = {"observation_space", "action_space"}
        module_names = [name for name in parameters_of(module) if name not in spaces]
        check_names(part.settings, shell_names + module_names, part.name)
        own.append({name: value for name, value in part.settings.items() if name not in shell_names})
        for name, value in part.settings.items():
            if name in shell_names and shell.setdefault(name, value) != value:
                raise UserError(f"{method.label!r} sets {name!r} twice, to {shell[name]!r} and {value!r}: leave one out.")
    return shell, own


def intrinsic_arguments(method: Method, seed: int) -> dict[str, Any]:
    """How ``IntrinsicReward`` is called for a method.

    :param method: with at least one reward
    :param seed: of the modules' private generators
    """
    shell, own = split_reward_settings(method)
    names = [part.name for part in method.rewards]
    if len(names) == 1:
        return {"module": names[0], "module_kwargs": own[0], "seed": seed, **shell}
    by_name = {name: settings for name, settings in zip(names, own, strict=True) if settings}
    return {"module": names, "module_kwargs": by_name, "seed": seed, **shell}


def make_intrinsic_reward(method: Method, seed: int, saved: Path | None = None) -> "IntrinsicReward | None":
    """The callback of a method, ``None`` for plain Stable-Baselines3.

    :param method: what to run
    :param seed: of the modules' private generators
    :param saved: go on from this file
    """
    if not method.rewards:
        return None
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward

    arguments = intrinsic_arguments(method, seed)
    try:
        return IntrinsicReward(**arguments) if saved is None else IntrinsicReward.load(saved, **arguments)
    except ValueError as error:
        raise UserError(str(error)) from error


def auxiliary_arguments(part: Part, seed: int) -> dict[str, Any]:
    """How ``AuxiliaryLoss`` is called for one loss of a method.

    :param part: the loss and its settings
    :param seed: of its private generator
    """
    from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss

    reserved = {"loss", "loss_kwargs", "save_path", "save_freq", "seed"}
    shell_names = [name for name in parameters_of(AuxiliaryLoss) if name not in reserved]
    made = {"observation_space", "action_space", "encoder"}
    try:
        own_names = [name for name in parameters_of(resolve(part.name, AUXILIARY, "auxiliary loss")) if name not in made]
    except UnknownNameError as error:
        raise UserError(str(error)) from error
    check_names(part.settings, shell_names + own_names, part.name)
    shell = {name: value for name, value in part.settings.items() if name in shell_names}
    own = {name: value for name, value in part.settings.items() if name not in shell_names}
    return {"loss": part.name, "loss_kwargs": own, "seed": seed, **shell}


def make_auxiliary_loss(part: Part, seed: int, saved: Path | None = None) -> "AuxiliaryLoss":
    """The callback of one auxiliary loss.

    :param part: the loss and its settings
    :param seed: of its private generator
    :param saved: go on from this file
    """
    from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss

    arguments = auxiliary_arguments(part, seed)
    try:
        return AuxiliaryLoss(**arguments) if saved is None else AuxiliaryLoss.load(saved, **arguments)
    except ValueError as error:
        raise UserError(str(error)) from error


def make_callbacks(method: Method, seed: int, saved: Path | None = None) -> "dict[str, SavedCallback]":
    """All callbacks of a method, none for plain Stable-Baselines3, by the names of their files.

    :param method: what to run
    :param seed: of their private generators
    :param saved: go on from the files in this folder
    """
    callbacks: dict[str, SavedCallback] = {}
    intrinsic = make_intrinsic_reward(method, seed, None if saved is None else saved / "model.intrinsic.pt")
    if intrinsic is not None:
        callbacks["model.intrinsic.pt"] = intrinsic
    for number, part in enumerate(method.losses):
        name = f"model{number or ''}.auxiliary.pt"
        callbacks[name] = make_auxiliary_loss(part, seed, None if saved is None else saved / name)
    return callbacks


def wants_two_heads(method: Method) -> bool:
    """Whether the bonus has a discount of its own or goes on over the ends of episodes.

    :param method: whose settings, presets and defaults decide
    """
    for part in method.rewards:
        module: Any = resolve_reward(part.name)
        settings = {**module.defaults, **module.presets.get(part.settings.get("preset"), {}), **part.settings}
        if settings.get("gamma") is not None or settings.get("episodic") is False:
            return True
    return False


def make_model(spec: RunSpec, env: "VecEnv", video_game: bool) -> "BaseAlgorithm":
    """The learner of a run.

    :param spec: the run
    :param env: its training environments
    :param video_game: whether they show the frames of one
    """
    method = parse_method(spec.method)
    part = method.algorithm
    algorithm = resolve_algorithm(part.name)
    settings = algorithm_settings(spec, part, video_game)
    if "noise_std" in settings:
        noise_type, noise_std = settings.pop("noise_type"), settings.pop("noise_std")
        settings["action_noise"] = action_noise(noise_type, noise_std, env.action_space)
    policy: Any = policy_name(env.observation_space, algorithm)
    settings = suit_picture(settings, env.observation_space, policy)
    if wants_two_heads(method):
        if part.name not in ("ppo", "a2c"):
            raise UserError(f"{spec.method!r} needs a value function of its own for the bonus: use ppo or a2c.")
        from sb3_infomax.common.policies import two_head_policy

        policy = two_head_policy(policy)
    try:
        return algorithm(policy, env, seed=spec.seed, verbose=0, **settings)
    except (TypeError, AssertionError, ValueError, NotImplementedError) as error:
        raise UserError(f"{part.name} cannot be made for {spec.env}: {first_line(error)}") from error


def check_method(method: Method) -> None:
    """Every name and value in a method can be read, before anything is started.

    :param method: as parsed
    :raises UserError: for the first that cannot
    """
    check_settings(method.algorithm.settings, method.algorithm.name)
    make_callbacks(method, seed=0)


def first_line(error: BaseException) -> str:
    """What an exception says, on one line; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
