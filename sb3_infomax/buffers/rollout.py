"""Transitions out of SB3's rollout buffer, true terminal observations among them, and rewards into it."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy

from sb3_infomax.rewards.returns import discounted_sum
from sb3_infomax.types import Transitions

#: told once, where an environment hides what ends its episodes
NO_TERMINAL_OBSERVATION = (
    "The environment does not tell the observations that end episodes (info['terminal_observation']): the bonus of these "
    "steps is 0."
)


class RolloutFrames:
    """Every distinct observation of one rollout, once, in the memory that the rollout buffer itself writes to.

    The buffer stores the observations s_0 ... s_{T-1} of each environment, not the ones that end episodes nor s_T. We give
    it a view of a longer array and keep those at its end: the buffer fills its part, nothing is copied.

    :param buffer: an SB3 rollout buffer of any kind that has just been reset
    """

    @classmethod
    def of(cls, buffer: RolloutBuffer) -> "RolloutFrames":
        """Those of the rollout that begins: the same ones for all callbacks that ask before its first step."""
        frames = vars(buffer).get("_rollout_frames")
        if frames is None or frames.view is not buffer.observations:
            frames = cls(buffer)
            buffer._rollout_frames = frames  # type: ignore[attr-defined]
        return frames

    def __init__(self, buffer: RolloutBuffer) -> None:
        self.buffer = buffer
        self.n_envs, self.n_rows = buffer.n_envs, buffer.buffer_size * buffer.n_envs
        self.shape = (buffer.buffer_size, buffer.n_envs)
        # Space for one terminal observation per step; pages that are never written cost no memory
        capacity = 2 * self.n_rows + self.n_envs
        observations: Any = buffer.observations
        arrays = observations if isinstance(observations, dict) else {"": observations}
        self.arrays = {key: np.zeros((capacity, *array.shape[2:]), dtype=array.dtype) for key, array in arrays.items()}
        views = {key: array[: self.n_rows].reshape(arrays[key].shape) for key, array in self.arrays.items()}
        self.view: Any = views if isinstance(observations, dict) else views[""]
        buffer.observations = self.view  # type: ignore[assignment]
        self.next_index = np.arange(self.n_rows) + self.n_envs
        self.valid = np.ones(self.n_rows, dtype=bool)
        self.dones = np.zeros(self.n_rows, dtype=bool)
        self.terminations = np.zeros(self.n_rows, dtype=bool)
        self.n_steps = 0
        self.n_used = self.n_rows + self.n_envs

    def step(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """Keep the terminal observations of one vector step, before the buffer stores it; again is harmless."""
        if self.n_steps > self.buffer.pos:
            return
        for env_index in dones.nonzero()[0]:  # in every step, and a fifth of flatnonzero
            row = self.n_steps * self.n_envs + env_index
            info = infos[env_index]
            self.dones[row] = True
            self.terminations[row] = not info.get("TimeLimit.truncated", False)
            terminal_observation = info.get("terminal_observation")
            if terminal_observation is None:
                self.valid[row] = False
                self.next_index[row] = row
            else:
                self._write(self.n_used, terminal_observation)
                self.next_index[row] = self.n_used
                self.n_used += 1
        self.n_steps += 1

    def transitions(self, last_observations: np.ndarray | dict[str, np.ndarray], actions: np.ndarray) -> Transitions:
        """The whole rollout, step-major, on the CPU.

        :param last_observations: s_T of each environment
        :param actions: what the environments received, shape (n_steps * n_envs, ...)
        """
        vars(self.buffer).pop("_rollout_frames", None)
        self._write(slice(self.n_rows, self.n_rows + self.n_envs), last_observations)
        frames = {key: th.from_numpy(array[: self.n_used]) for key, array in self.arrays.items()}
        return Transitions(
            frames=frames[""] if "" in frames else frames,
            index=th.arange(self.n_rows),
            next_index=th.from_numpy(self.next_index),
            actions=th.from_numpy(actions),
            terminations=th.from_numpy(self.terminations),
            valid=th.from_numpy(self.valid),
            shape=self.shape,
        )

    def _write(self, rows: int | slice, observations: Any) -> None:
        for key, array in self.arrays.items():
            values = observations[key] if isinstance(observations, dict) else observations
            array[rows] = np.reshape(values, array[rows].shape)


def rollout_actions(buffer: RolloutBuffer, policy: BasePolicy) -> np.ndarray:
    """What the environments received, from what the buffer stores: Gaussian samples before clipping or unscaling.

    :return: shape (n_steps * n_envs, *action_shape)
    """
    space = buffer.action_space
    actions = buffer.actions.reshape(-1, *(space.shape or (1,)))
    if not isinstance(space, spaces.Box):
        return actions
    if policy.squash_output:
        return policy.unscale_action(actions)
    return np.clip(actions, space.low, space.high)


def add_reward_to_rollout(buffer: RolloutBuffer, reward: np.ndarray) -> None:
    """Shift rewards, advantages and returns as if ``reward`` had been paid by the environment.

    Generalised advantage estimation is linear in the reward for fixed values:
    A(r + b) = A(r) + sum_l (gamma lambda)^l b_{t+l}, the sum ending with the episode. So neither the last values nor the
    last dones are needed, which some algorithms leave stale at the end of a rollout.

    :param buffer: filled, advantages computed, not yet flattened
    :param reward: shape (n_steps, n_envs)
    """
    continues = np.zeros_like(reward, dtype=np.float64)
    continues[:-1] = 1.0 - buffer.episode_starts[1:]
    shift = discounted_sum(reward, buffer.gamma * buffer.gae_lambda * continues).astype(np.float32)
    buffer.rewards += reward.astype(np.float32)
    buffer.advantages += shift
    buffer.returns += shift
