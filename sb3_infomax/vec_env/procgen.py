"""Procgen's 16 games as a vector environment: EnvPool's native build, or the original through gym3."""

import importlib.util
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_infomax.common.arguments import check_arguments

# Longest episode of each game, in steps
TIME_LIMITS = {
    "bigfish": 6000,
    "bossfight": 4000,
    "caveflyer": 1000,
    "chaser": 1000,
    "climber": 1000,
    "coinrun": 1000,
    "dodgeball": 1000,
    "fruitbot": 1000,
    "heist": 1000,
    "jumper": 1000,
    "leaper": 500,
    "maze": 500,
    "miner": 1000,
    "ninja": 1000,
    "plunder": 4000,
    "starpilot": 1000,
}
MODES = {
    "easy": tuple(TIME_LIMITS),
    "hard": tuple(TIME_LIMITS),
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
    "exploration": ("caveflyer", "climber", "coinrun", "heist", "jumper", "leaper", "maze", "ninja"),
}
# Switches of the original that both builds take, beside those of make_procgen
OPTIONS = (
    "center_agent",
    "paint_vel_info",
    "restrict_themes",
    "use_backgrounds",
    "use_generated_assets",
    "use_monochrome_assets",
    "use_sequential_levels",
)
LEVEL_KEYS = ("level_seed", "prev_level_seed", "prev_level_complete")


def make_procgen(
    game: str,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    distribution_mode: str = "easy",
    start_level: int = 0,
    num_levels: int = 0,
    backend: str | None = None,
    num_threads: int | None = None,
    monitor_file: str | None = None,
    **options: bool,
) -> VecMonitor:
    """Environments of one Procgen game, with the true returns of episodes in ``info["episode"]``.

    .. code-block:: python

        env = make_procgen("coinrun", n_envs=64, num_levels=200)
        env = VecNormalize(env, norm_obs=False)
        PPO("CnnPolicy", env, n_steps=256, batch_size=2048).learn(1_000_000, callback=IntrinsicReward("rnd"))

    :param game: one of the 16, such as ``"coinrun"``
    :param n_envs: how many
    :param seed: of the sequences of levels; None draws one. ``env.seed()``, which algorithms call with theirs, changes it
    :param distribution_mode: ``"easy"`` (as most published results since 2020), ``"hard"``, and for some games ``"extreme"``,
        ``"memory"`` or ``"exploration"`` (one fixed level)
    :param start_level: the first level of the set that episodes draw from
    :param num_levels: size of that set; 0: all levels. Train on 200 of ``"easy"``, evaluate on all, for generalisation
    :param backend: ``"envpool"``, ``"gym3"`` (:class:`Gym3Procgen`), or None: EnvPool where it is, else gym3
    :param num_threads: that step the environments; None: one per core, and no more than environments
    :param monitor_file: writes returns and lengths of episodes to ``<monitor_file>.monitor.csv``
    :param options: switches of the original, such as ``use_backgrounds=False`` or ``use_sequential_levels=True``
    :raises ImportError: one sentence with what to install
    :raises ValueError: one sentence for what Procgen does not have
    """
    check_arguments([make_procgen], {name: value for name, value in locals().items() if name != "options"})
    if n_envs < 1:
        raise ValueError(f"n_envs must be at least 1, got {n_envs}.")
    _check(game, distribution_mode, start_level, num_levels, options)
    backend = _available_backend() if backend is None else backend
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(BACKENDS)}, got {backend!r}.")
    settings = {"distribution_mode": distribution_mode, **options}
    if distribution_mode != "exploration":
        settings |= {"start_level": start_level, "num_levels": num_levels}
    if num_threads is None:
        num_threads = min(n_envs, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return VecMonitor(BACKENDS[backend](game, n_envs, seed, num_threads, settings), monitor_file)


def _check(game: str, mode: str, start_level: int, num_levels: int, options: dict[str, bool]) -> None:
    if game not in TIME_LIMITS:
        raise ValueError(f"Procgen has no game {game!r}; it has {', '.join(TIME_LIMITS)}.")
    modes = [name for name, games in MODES.items() if game in games]
    if mode not in modes:
        raise ValueError(f"{game} has no distribution_mode {mode!r}; it has {', '.join(modes)}.")
    if start_level < 0 or num_levels < 0:
        raise ValueError(f"start_level and num_levels cannot be negative, got {start_level} and {num_levels}.")
    if mode == "exploration" and (start_level or num_levels):
        raise ValueError("The exploration mode is one fixed level: leave start_level and num_levels out.")
    known = ("distribution_mode", "start_level", "num_levels", *OPTIONS)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"Procgen has no option {', '.join(unknown)}; it has {', '.join(known)}.")


def _available_backend() -> str:
    """The preferred one of what is installed, with a sentence where nothing is."""
    for backend in BACKENDS:
        if _missing(backend) is None:
            return backend
    raise ImportError(f"{_missing('envpool')}; or, with NumPy 1, the original: pip install procgen-mirror.")


def _missing(backend: str) -> str | None:
    """What to install for a backend, None where it runs."""
    if backend == "gym3":
        here = importlib.util.find_spec("procgen") is not None
        return None if here else "The original Procgen, which needs NumPy 1, is not installed: pip install procgen-mirror"
    if importlib.util.find_spec("envpool") is None:
        return "Procgen needs EnvPool (Python 3.11 or newer): pip install 'sb3-infomax[procgen]'"
    try:
        import envpool.procgen

        envpool.procgen.ProcgenEnvSpec  # noqa: B018  (raises where Qt is missing)
    except ImportError:
        return "EnvPool is installed, but the Qt 5 that its Procgen needs is not: apt-get install libqt5gui5"
    return None


def _require(backend: str) -> None:
    """:raises ImportError: one sentence where a backend that was asked for by name is not installed"""
    if missing := _missing(backend):
        raise ImportError(f"{missing}.")


class ProcgenVecEnv(VecEnv):
    """What both builds have in common: spaces, seeds, and the levels in ``infos``.

    Observations are pictures of shape (64, 64, 3), uint8; 15 actions. In ``infos[i]``, ``level_seed`` is the level that the
    next observation (or the terminal one) shows; ``prev_level_seed`` and ``prev_level_complete`` tell which level the step was
    taken in and whether it solved it (where an episode ends, ``is_success`` says the same).
    ``env.unwrapped.reset_infos[i]`` has the level that the current episode began with.

    :param game: its name
    :param n_envs: how many
    :param seed: of the sequences of levels
    :param num_threads: that step the environments
    :param settings: distribution mode, levels and switches, in Procgen's words
    """

    def __init__(self, game: str, n_envs: int, seed: int | None, num_threads: int, settings: dict[str, Any]) -> None:
        self.game, self.num_threads, self.settings = game, num_threads, settings
        self.render_mode, self.spec = "rgb_array", None
        self.pool: Any = None
        self.stepped = False
        super().__init__(n_envs, spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Discrete(15))
        self.actions = np.zeros(n_envs, np.int32)
        self._start(int(np.random.default_rng().integers(2**31)) if seed is None else seed)

    @abstractmethod
    def _make_pool(self) -> Any:
        """Environments of ``self.game`` that begin with ``self.pool_seed``."""

    def _start(self, seed: int) -> None:
        self.close()
        self.pool_seed, self.stepped = seed, False
        self.pool = self._make_pool()

    def reset(self) -> VecEnvObs:
        """:return: first observations, shape (n_envs, 64, 64, 3), of new levels, or of those that a seed begins with"""
        seed = self._seeds[0]
        if seed is not None and (self.stepped or seed != self.pool_seed):
            self._start(seed)
        self._reset_seeds()
        self._reset_options()
        self.observations = self._first_observations()
        return self.observations

    @abstractmethod
    def _first_observations(self) -> np.ndarray:
        """Put every environment at the beginning of an episode."""

    def step_async(self, actions: np.ndarray) -> None:
        """:param actions: shape (n_envs,)"""
        self.actions, self.stepped = np.asarray(actions, np.int32), True

    def close(self) -> None:
        """Let go of the environments; twice is harmless."""
        if self.pool is not None:
            self.pool.close()
        self.pool = None

    def get_images(self) -> Sequence[np.ndarray | None]:
        """:return: the current observations"""
        return list(self.observations)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """:return: an attribute that all environments share"""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the environments are not Python objects."""
        raise AttributeError(f"Procgen's environments have no attribute {attr_name!r} to set.")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Not possible: the environments are not Python objects."""
        raise AttributeError(f"Procgen's environments have no method {method_name!r}.")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """:return: False for each"""
        return [False] * len(list(self._get_indices(indices)))


class EnvPoolProcgen(ProcgenVecEnv):
    """EnvPool's native Procgen: the original's games, with the observations that end episodes and the true time limits."""

    def __init__(self, game: str, n_envs: int, seed: int | None, num_threads: int, settings: dict[str, Any]) -> None:
        if settings.get("use_sequential_levels", False):
            # found in 1.2.5: the setting is taken and has no effect
            raise ValueError("EnvPool ends an episode with its level: use_sequential_levels needs backend='gym3'.")
        super().__init__(game, n_envs, seed, num_threads, settings)

    def _make_pool(self) -> Any:
        _require("envpool")
        import envpool

        settings = dict(self.settings)
        env_id = f"{self.game.capitalize()}{settings.pop('distribution_mode').capitalize()}-v0"
        return envpool.make(
            env_id,
            env_type="gymnasium",
            num_envs=self.num_envs,
            num_threads=self.num_threads,
            seed=self.pool_seed,
            channel_first=False,
            **settings,
        )

    def _first_observations(self) -> np.ndarray:
        observations, details = self.pool.reset()
        self.reset_infos = _per_env(details)
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """:return: observations, rewards, dones, infos"""
        observations, rewards, terminated, truncated, details = self.pool.step(self.actions)
        dones, infos = terminated | truncated, _per_env(details)
        for info, late in zip(infos, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = late
        if dones.any():
            ended = np.flatnonzero(dones)
            for env_index in ended:
                infos[env_index]["terminal_observation"] = observations[env_index].copy()
                infos[env_index]["is_success"] = bool(infos[env_index]["prev_level_complete"])
            # by itself, EnvPool would reset with the next step
            first, details = self.pool.reset(ended.astype(np.int32))
            for env_index, frame, info in zip(details["env_id"], first, _per_env(details), strict=True):
                observations[env_index], self.reset_infos[env_index] = frame, info
        self.observations = observations
        return observations, rewards, dones, infos


class Gym3Procgen(ProcgenVecEnv):
    """The original Procgen, of the package ``procgen-mirror``: where EnvPool is missing, and for sequential levels.

    It resets inside of a step, so that the observation which ends an episode is lost: ``infos`` have no
    ``terminal_observation`` there, intrinsic bonuses of these steps are 0 and nothing is trained on them
    (``Transitions.valid``). Nor does it tell time limits from failures: every end counts as a termination.
    """

    def _make_pool(self) -> Any:
        _require("gym3")
        from procgen import ProcgenGym3Env

        return ProcgenGym3Env(
            num=self.num_envs, env_name=self.game, rand_seed=self.pool_seed, num_threads=self.num_threads, **self.settings
        )

    def _first_observations(self) -> np.ndarray:
        if self.stepped:
            # no reset but the one at the end of an episode: begin anew, elsewhere
            self._start(int(np.random.default_rng(self.pool_seed).integers(2**31)))
        _, observations, _ = self.pool.observe()
        self.reset_infos = [_level_info(detail) for detail in self.pool.get_info()]
        return observations["rgb"].copy()

    def step_wait(self) -> VecEnvStepReturn:
        """:return: observations, rewards, dones, infos"""
        self.pool.act(self.actions)
        rewards, observations, dones = self.pool.observe()
        infos = [_level_info(detail) for detail in self.pool.get_info()]
        for env_index in np.flatnonzero(dones):
            self.reset_infos[env_index] = dict(infos[env_index])
            infos[env_index]["level_seed"] = infos[env_index]["prev_level_seed"]
            infos[env_index]["is_success"] = bool(infos[env_index]["prev_level_complete"])
        self.observations = observations["rgb"].copy()
        return self.observations, rewards, dones, infos


BACKENDS: dict[str, type[ProcgenVecEnv]] = {"envpool": EnvPoolProcgen, "gym3": Gym3Procgen}


def _level_info(detail: dict[str, Any]) -> dict[str, Any]:
    return {key: int(detail[key]) for key in LEVEL_KEYS}


def _per_env(details: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One info for each environment from arrays over environments."""
    return [
        dict(zip(LEVEL_KEYS, values, strict=True))
        for values in zip(*(details[key].tolist() for key in LEVEL_KEYS), strict=True)
    ]
