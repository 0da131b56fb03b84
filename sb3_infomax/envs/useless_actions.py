"""More actions than a task needs."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class UselessActions(gym.ActionWrapper):
    """
    Append actions over which the agent has no control: each does what a random one of the others does.

    Time goes on as ever, so that episodes end as they would and waiting pays nothing: such an action is worth the mean of
    the others, never more than the best. (Grid worlds have ``useless_actions`` of their own, which stay in place.)

    :param env: with discrete actions
    :param n: how many to append
    :raises ValueError: for other actions, or a negative number
    """

    def __init__(self, env: gym.Env, n: int = 12) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"UselessActions needs discrete actions, got {space}.")
        if n < 0:
            raise ValueError(f"n must be 0 or more, got {n}.")
        self._own = space
        self.action_space = spaces.Discrete(int(space.n) + n, start=int(space.start))
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        return super().reset(seed=seed, options=options)

    def action(self, action: np.int64) -> np.int64:
        return action if self._own.contains(action) else self._own.start + self._rng.integers(self._own.n)
