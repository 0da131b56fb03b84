"""Credit for a bonus that has its own value function, discount and idea of where an episode ends.

Burda et al., 2018, section 2.3: R = R_E + R_I needs V = V_E + V_I as soon as the intrinsic stream goes on where an
extrinsic episode ends, or is discounted otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor
from torch.nn import functional as F

from sb3_infomax.common.gradients import GradientHook
from sb3_infomax.common.policies import TwoHeadMixin
from sb3_infomax.rewards.returns import discounted_sum
from sb3_infomax.types import Transitions, map_frames, n_frames

FRAMES_AT_A_TIME = 512  # more images than that take more memory than the rollout does


class TwoHeadCredit:
    """Mixes extrinsic and intrinsic advantages and trains the intrinsic value head beside the algorithm's own loss.

    :param model: PPO or A2C with a two-head policy
    :param gamma: discount of the intrinsic return
    :param episodic: whether the intrinsic return ends with the episode
    """

    def __init__(self, model: OnPolicyAlgorithm, gamma: float, episodic: bool) -> None:
        assert isinstance(model.policy, TwoHeadMixin)
        self.model, self.policy, self.gamma, self.episodic = model, model.policy, gamma, episodic
        self.returns = th.zeros(0)
        self.minibatch: tuple[Any, Tensor] | None = None
        self.value_losses: list[Tensor] = []

    def add(self, bonus: np.ndarray, transitions: Transitions, dones: np.ndarray, coef: float, ext_coef: float) -> None:
        """advantages <- ext_coef * A_ext + coef * A_int; the returns stay those of V_ext.

        :param bonus: shape (n_steps, n_envs)
        :param transitions: the whole rollout
        :param dones: terminated or truncated, shape (n_steps, n_envs)
        :param coef: of the intrinsic advantages
        :param ext_coef: of the extrinsic ones
        """
        buffer = self.model.rollout_buffer
        values, next_values = (array.reshape(bonus.shape) for array in self._values(transitions))
        continues = 1.0 - dones if self.episodic else np.ones_like(bonus)
        # delta_t = b_t + gamma V(s_{t+1}) - V(s_t); A_t = delta_t + gamma lambda A_{t+1}
        delta = bonus + self.gamma * next_values - values
        advantages = discounted_sum(delta, self.gamma * buffer.gae_lambda * continues)
        buffer.advantages = (ext_coef * buffer.advantages + coef * advantages).astype(np.float32)
        # minibatch indices count environment by environment, see RolloutBuffer.swap_and_flatten
        returns = (advantages + values).astype(np.float32).swapaxes(0, 1).reshape(-1)
        self.returns = th.as_tensor(returns, device=self.model.device)

    @contextmanager
    def training(self) -> Iterator[None]:
        """While this lasts, every gradient step of the algorithm trains the head too, on the same minibatch."""
        buffer: Any = self.model.rollout_buffer
        sample = buffer._get_samples

        def _get_samples(batch_inds: np.ndarray, env: Any = None) -> Any:
            data = sample(batch_inds, env)
            self.minibatch = (data.observations, self.returns[th.as_tensor(batch_inds, device=self.returns.device)])
            return data

        hook = GradientHook(self.model.policy.optimizer, self._backward)
        buffer._get_samples = _get_samples
        try:
            yield
        finally:
            del buffer._get_samples
            hook.remove()
            self.minibatch = None

    def mean_value_loss(self) -> float | None:
        """Of the gradient steps since the last call."""
        if not self.value_losses:
            return None
        mean = th.stack(self.value_losses).mean().item()
        self.value_losses.clear()
        return mean

    @th.no_grad()
    def _values(self, transitions: Transitions) -> tuple[np.ndarray, np.ndarray]:
        """V_int(s) and the V_int that follows it, shape (batch,) each"""
        rows = th.arange(n_frames(transitions.frames), device=transitions.index.device)
        values = th.cat([self._frame_values(transitions, part) for part in rows.split(FRAMES_AT_A_TIME)])
        assert transitions.shape is not None
        if self.episodic:
            known = transitions.valid & ~transitions.terminations
            following = th.where(known, values[transitions.next_index], 0.0)
        else:
            # the state that the buffer holds next, the first of a new episode after an end
            following = values[transitions.index + transitions.shape[1]]
        return values[transitions.index].cpu().numpy(), following.cpu().numpy()

    def _frame_values(self, transitions: Transitions, rows: Tensor) -> Tensor:
        return self.policy.predict_intrinsic_values(map_frames(lambda frames: frames[rows], transitions.frames))

    def _backward(self) -> None:
        if self.minibatch is None:
            return
        observations, returns = self.minibatch
        loss = F.mse_loss(self.policy.predict_intrinsic_values(observations), returns)
        (self.model.vf_coef * loss).backward()  # type: ignore[attr-defined]
        self.value_losses.append(loss.detach())
