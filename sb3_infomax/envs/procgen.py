"""A single Procgen game as a gymnasium environment."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sb3_infomax.vec_env.procgen import make_procgen


class ProcgenEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """One environment of a Procgen game, for tools that make environments one at a time, such as the RL Zoo.

    Everywhere else ``make_procgen`` is better, which steps many at once. Needs EnvPool: the original build does not tell the
    observation that ends an episode, and gymnasium's interface has no way to say so.

    :param game: one of the 16, such as ``"coinrun"``
    :param render_mode: ``"rgb_array"``, the observation itself
    :param settings: of ``make_procgen``: ``distribution_mode``, ``start_level``, ``num_levels``, ...
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 15}  # type: ignore[misc]

    def __init__(self, game: str, render_mode: str | None = None, **settings: Any) -> None:
        self.render_mode = render_mode
        self.envs = make_procgen(game, 1, backend="envpool", num_threads=1, **settings)
        self.observation_space, self.action_space = self.envs.observation_space, self.envs.action_space
        # that of the next episode, which the vector environment begins at once
        self._first: NDArray[np.uint8] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """:return: the first observation, shape (64, 64, 3), of the next level, or of the one that ``seed`` begins with"""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.envs.seed(seed)
            self._first = None
        self._shown = np.array(self.envs.reset())[0] if self._first is None else self._first
        self._first = None
        return self._shown, {}

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """:return: observation, reward, terminated, truncated, and the levels"""
        observations, rewards, dones, infos = self.envs.step(np.array([action]))
        info, shown = infos[0], np.array(observations)[0]
        truncated = bool(info.pop("TimeLimit.truncated", False))
        if dones[0]:
            self._first, shown = shown, info.pop("terminal_observation")
            del info["episode"]  # Monitor's business
        self._shown = shown
        return shown, float(rewards[0]), bool(dones[0]) and not truncated, truncated, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """:return: the last observation"""
        return self._shown if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Let go of the game; twice is harmless."""
        self.envs.close()
