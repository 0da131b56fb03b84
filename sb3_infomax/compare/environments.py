"""Environments by gymnasium id, with the usual preprocessing of the families that need one."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from sb3_infomax.compare.spec import UserError, parse_part
from sb3_infomax.registry import UnknownNameError, resolve, unknown_name

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

# Beginning of an id -> (package that registers it, our extra that installs it).
PLUGINS = {
    "ALE/": ("ale_py", "atari"),
    "MiniGrid-": ("minigrid", "minigrid"),
    "BabyAI-": ("minigrid", "minigrid"),
    "PointMaze": ("gymnasium_robotics", "mujoco"),
    "AntMaze": ("gymnasium_robotics", "mujoco"),
    "Fetch": ("gymnasium_robotics", "mujoco"),
    "HandManipulate": ("gymnasium_robotics", "mujoco"),
    "HandReach": ("gymnasium_robotics", "mujoco"),
    "Adroit": ("gymnasium_robotics", "mujoco"),
    "FrankaKitchen": ("gymnasium_robotics", "mujoco"),
    "sb3_infomax/": ("sb3_infomax.envs", "mujoco"),
}
# What --env-wrapper knows by a short name.
WRAPPERS: dict[str, str | type] = {"useless_actions": "sb3_infomax.envs.useless_actions:UselessActions"}
PROCGEN = "procgen/"  # procgen/coinrun: not gymnasium's, but made by make_procgen
# Families whose environments end every episode by themselves although their id names no time limit.
ENDS_BY_ITSELF = ("ALE/", "MiniGrid-", "BabyAI-")


def import_plugin(package: str) -> bool:
    """Import a package for the ids that it registers; whether it is there."""
    if importlib.util.find_spec(package) is None:
        return False
    importlib.import_module(package)
    return True


def find_spec(env_id: str) -> "gym.envs.registration.EnvSpec":
    """The registered specification of an environment id; for Procgen's games, one made up.

    :param env_id: also ``"module:Id-v0"``, which imports ``module`` first
    :raises UserError: with the missing extra, or with the nearest ids
    """
    if env_id.startswith(PROCGEN):
        return procgen_spec(env_id)
    if ":" in env_id:
        module, _, env_id = env_id.partition(":")
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UserError(f"Cannot import {module!r}, which should register {env_id!r}: {error}.") from error
    for beginning, (package, extra) in PLUGINS.items():
        if env_id.startswith(beginning) and env_id not in gym.registry and not import_plugin(package):
            raise UserError(f"{env_id} needs the package {package!r}: pip install 'sb3-infomax[{extra}]'")
    if env_id in gym.registry:
        return gym.registry[env_id]
    for package in {package for package, _ in PLUGINS.values()}:
        import_plugin(package)
    raise UserError(str(unknown_name("environment", env_id, list(gym.registry))))


def procgen_spec(env_id: str) -> "gym.envs.registration.EnvSpec":
    """What there is to know about ``procgen/<game>``.

    :param env_id: such as ``"procgen/coinrun"``
    :raises UserError: where there is no such game, with the nearest
    """
    from sb3_infomax.vec_env.procgen import TIME_LIMITS

    game = env_id.removeprefix(PROCGEN)
    if game not in TIME_LIMITS:
        raise UserError(str(unknown_name("Procgen game", game, list(TIME_LIMITS))))
    return gym.envs.registration.EnvSpec(env_id, max_episode_steps=TIME_LIMITS[game])


def is_atari(env_id: str) -> bool:
    """Whether an id names a game of the Arcade Learning Environment."""
    return find_spec(env_id).id.startswith("ALE/")


def is_video_game(env_id: str) -> bool:
    """Whether an id names a game seen as a screen, for which algorithms start from what is usual on Atari."""
    return find_spec(env_id).id.startswith(("ALE/", PROCGEN))


def is_mujoco(env_id: str) -> bool:
    """Whether an id names one of gymnasium's MuJoCo tasks."""
    return str(find_spec(env_id).entry_point).startswith("gymnasium.envs.mujoco")


def has_time_limit(env_id: str, env_kwargs: dict[str, Any]) -> bool:
    """Whether episodes are known to end whatever the policy does."""
    spec = find_spec(env_id)
    limited = (env_kwargs.get("max_episode_steps") or spec.max_episode_steps or 0) > 0
    return limited or spec.id.startswith(ENDS_BY_ITSELF)


def success_threshold(env_id: str) -> float | None:
    """The episode return that counts as a success where the user and the environment's infos do not say.

    :return: the registered reward threshold; anything positive on MiniGrid; ``None`` where nothing is known
    """
    spec = find_spec(env_id)
    if spec.id.startswith(("MiniGrid-", "BabyAI-")):
        return 1e-6
    return spec.reward_threshold


class OneHotGrid(gym.ObservationWrapper):
    """MiniGrid's view as one flat vector of zeros and ones: object, colour and state of every cell.

    The mission text and the compass are left out, as in MiniGrid's own ``ImgObsWrapper``. The numbers in MiniGrid's
    image are labels, not sizes, and one-hot is what a multilayer perceptron can read.

    :param env: a MiniGrid environment with its dictionary observation
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

        self.sizes = (len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX))
        # column of the first label of each kind within a cell's one-hot code
        self.starts = np.cumsum((0, *self.sizes[:-1])).astype(np.int64)
        assert isinstance(env.observation_space, gym.spaces.Dict)
        shape = env.observation_space["image"].shape
        assert shape is not None
        cells = int(np.prod(shape[:2]))
        self.observation_space = gym.spaces.Box(0, 1, (cells * sum(self.sizes),), np.uint8)
        self.cell_rows = np.arange(cells)[:, None]

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        labels = observation["image"].reshape(-1, 3)  # (cells, 3)
        codes = np.zeros((len(labels), sum(self.sizes)), np.uint8)
        codes[self.cell_rows, labels + self.starts] = 1
        return codes.reshape(-1)


class FireAfterLife(gym.Wrapper):
    """The first action after a lost life is FIRE, as Stable-Baselines3's wrapper has it where a lost life ends an episode.

    Without it, a policy that takes its best action may wait for a new ball until the half hour of a game is over.

    :param env: a game with such an action, played until it is over
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.lives = 0
        self.lost = False

    def reset(self, **kwargs: Any) -> Any:
        result = self.env.reset(**kwargs)
        self.lives, self.lost = self.env.unwrapped.ale.lives(), False  # type: ignore[attr-defined]
        return result

    def step(self, action: Any) -> Any:
        result = self.env.step(1 if self.lost else action)
        lives = self.env.unwrapped.ale.lives()  # type: ignore[attr-defined]
        self.lost, self.lives = lives < self.lives, lives
        return result


def wrap_atari(env: gym.Env, whole_games: bool) -> gym.Env:
    """Stable-Baselines3's usual wrappers around an Atari game.

    :param env: the game
    :param whole_games: a lost life does not end an episode
    """
    from stable_baselines3.common.atari_wrappers import AtariWrapper

    wrapped = AtariWrapper(env, terminal_on_life_loss=not whole_games)
    fires = env.unwrapped.get_action_meanings()[1:2] == ["FIRE"]  # type: ignore[attr-defined]
    return FireAfterLife(wrapped) if whole_games and fires else wrapped


def wrap_family(env: gym.Env) -> gym.Env:
    """What the observations of a family need before Stable-Baselines3 takes them."""
    space = env.observation_space
    if not isinstance(space, gym.spaces.Dict):
        return env
    if env.spec is not None and env.spec.id.startswith(("MiniGrid-", "BabyAI-")):
        return OneHotGrid(env)
    texts = [key for key, part in space.spaces.items() if isinstance(part, gym.spaces.Text)]
    return gym.wrappers.FilterObservation(env, [key for key in space.spaces if key not in texts]) if texts else env


def wrap(env: gym.Env, wrappers: Sequence[str]) -> gym.Env:
    """What a user puts around an environment, the first innermost.

    :param env: as ``gymnasium.make`` gives it
    :param wrappers: texts such as ``"useless_actions:n=12"`` or ``"package.module:Class:key=value"``
    :raises UserError: where there is no such wrapper, or it does not fit
    """
    for text in wrappers:
        part = parse_part(text)
        try:
            env = resolve(part.name, WRAPPERS, kind="wrapper")(env, **part.settings)
        except (UnknownNameError, ValueError, TypeError) as error:
            raise UserError(f"The wrapper {text!r} cannot be made: {error}") from error
    return env


def make_vec_env(
    env_id: str,
    n_envs: int,
    seed: int,
    env_kwargs: dict[str, Any] | None = None,
    *,
    wrappers: Sequence[str] = (),
    whole_games: bool = False,
) -> "VecEnv":
    """Monitored, seeded environments in one process, with the usual preprocessing of their family.

    Atari: Stable-Baselines3's wrappers (no-op start, every 4th frame with the maximum of the last two, life loss ends an
    episode, 84 x 84 grey, sign of the reward) and 4 stacked frames. ``ALE/...-v5`` ids skip 4 frames by themselves, which
    would make 16: the skipping is left to the wrapper (``frameskip=1``). Their sticky actions (probability 0.25) stay.
    MiniGrid: :class:`OneHotGrid`. Texts in dictionary observations are left out. Procgen: see ``make_procgen``.

    :param env_id: gymnasium id, or ``procgen/<game>``
    :param n_envs: how many
    :param seed: of the first; the others follow
    :param env_kwargs: for ``gymnasium.make``, or ``make_procgen``
    :param wrappers: see :func:`wrap`; they come before the family's preprocessing
    :param whole_games: Atari episodes end with the game, not with a life: for evaluations, see :class:`FireAfterLife`
    :raises UserError: where the environment cannot be made
    """
    from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    find_spec(env_id)
    env_kwargs = dict(env_kwargs or {})
    try:
        if env_id.startswith(PROCGEN):
            from sb3_infomax.vec_env.procgen import make_procgen

            if wrappers:
                raise UserError(f"{env_id} is no gymnasium environment: it takes no --env-wrapper.")
            return make_procgen(env_id.removeprefix(PROCGEN), n_envs, seed, **env_kwargs)
        if is_atari(env_id):
            frames = sb3_make_vec_env(
                lambda **kwargs: wrap(gym.make(env_id, **kwargs), wrappers),
                n_envs,
                seed=seed,
                env_kwargs={"frameskip": 1, **env_kwargs},
                wrapper_class=lambda env: wrap_atari(env, whole_games),
            )
            return VecFrameStack(frames, n_stack=4)
        return sb3_make_vec_env(
            lambda **kwargs: wrap_family(wrap(gym.make(env_id, **kwargs), wrappers)), n_envs, seed=seed, env_kwargs=env_kwargs
        )
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{env_id} cannot be made, a package is missing: {error}") from error
    except Exception as error:  # whatever an environment's author raises; --debug shows it
        raise UserError(f"{env_id} cannot be made: {type(error).__name__}: {error}") from error


def normalized(env: "VecEnv", what: str, gamma: float, training: bool = True) -> "VecEnv":
    """Environments with running moments of observations or rewards around them, as the RL Zoo has them for MuJoCo.

    :param env: any
    :param what: ``"observations"``, ``"rewards"``, ``"both"`` or ``"none"``
    :param gamma: discount of the learner, for the moments of returns
    :param training: whether moments follow what is seen and rewards are scaled; not so for evaluations
    :raises UserError: where the observations have no moments
    """
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.vec_env import VecNormalize

    if what == "none":
        return env
    space = env.observation_space
    parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else [space]
    if what != "rewards" and not all(isinstance(part, gym.spaces.Box) and not is_image_space(part) for part in parts):
        raise UserError(f"The observations {space} cannot be normalized: normalize rewards, or none.")
    observations, rewards = what in ("observations", "both"), what in ("rewards", "both") and training
    return VecNormalize(env, training, norm_obs=observations, norm_reward=rewards, gamma=gamma)
