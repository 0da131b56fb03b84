"""Spaces of every supported kind, and transitions out of them without an environment."""

import numpy as np
import torch as th
from gymnasium import spaces

from sb3_infomax.types import Transitions

OBSERVATIONS: dict[str, spaces.Space] = {
    "vector": spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "Atari": spaces.Box(0, 255, (4, 84, 84), np.uint8),
    "MiniGrid": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "Discrete": spaces.Discrete(6),
    "Discrete from 3": spaces.Discrete(6, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2], start=[1, -1]),
    "MultiBinary": spaces.MultiBinary(4),
    "Dict": spaces.Dict(image=spaces.Box(0, 255, (12, 12, 1), np.uint8), speed=spaces.Box(-1.0, 1.0, (2,), np.float32)),
}
ACTIONS: dict[str, spaces.Space] = {
    "Discrete": spaces.Discrete(4),
    "Discrete from 3": spaces.Discrete(4, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(-2.0, 2.0, (2,), np.float32),
    "Box of one": spaces.Box(-2.0, 2.0, (1,), np.float32),
    "unbounded Box": spaces.Box(-np.inf, np.inf, (2,), np.float32),
}
VECTOR, ATARI, FOUR_ACTIONS = OBSERVATIONS["vector"], OBSERVATIONS["Atari"], ACTIONS["Discrete"]


def samples(space, n):
    """``n`` samples as a tensor, or as a dict of tensors."""
    if isinstance(space, spaces.Dict):
        return {key: samples(part, n) for key, part in space.spaces.items()}
    return th.as_tensor(np.stack([space.sample() for _ in range(n)]))


def rollout(frames, actions, n_envs=1):
    """Transitions between consecutive frames, as a rollout without ends has them."""
    rows = th.arange(len(actions))
    nothing = th.zeros(len(actions), dtype=th.bool)
    return Transitions(frames, rows, rows + n_envs, actions, nothing, ~nothing, (len(actions) // n_envs, n_envs))


def random_rollout(observation_space=VECTOR, action_space=FOUR_ACTIONS, n_steps=16, n_envs=2, seed=0):
    """A rollout of independent samples."""
    observation_space.seed(seed), action_space.seed(seed)
    n = n_steps * n_envs
    return rollout(samples(observation_space, n + n_envs), samples(action_space, n), n_envs)
