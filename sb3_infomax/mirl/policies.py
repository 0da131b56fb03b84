"""Policies of MIRL: DQN's networks, with the action prior beside them."""

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn import policies as dqn

from sb3_infomax.mirl.prior import ActionPrior


class MIRLPolicy(dqn.DQNPolicy):
    """DQN's policy that acts by the soft policy of its Q values, argmax_a [log rho(a) + beta Q(s, a)], for vectors.

    ``prior`` holds rho and beta; the arguments are those of ``stable_baselines3.dqn.MlpPolicy``.
    """

    prior: ActionPrior
    #: of the observations last acted on, shape (n_envs, n_actions): what the prior learns from
    last_weights: NDArray[np.float64]

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.prior = ActionPrior(int(self.action_space.n))  # type: ignore[attr-defined]

    def _predict(self, obs: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        q_values, prior = self.q_net(obs), self.prior
        weights = prior.weights(q_values.detach().cpu().double().numpy())
        vars(self)["last_weights"] = weights  # a module's own way to set an attribute takes as long as the line above
        return th.from_numpy(prior.greedy(weights)).to(q_values.device)

    def set_training_mode(self, mode: bool) -> None:
        # every predict() asks for it, and telling all modules takes a third of its time
        if mode != self.training:
            super().set_training_mode(mode)


MlpPolicy = MIRLPolicy


class CnnPolicy(MIRLPolicy, dqn.CnnPolicy):
    """The same for images."""


class MultiInputPolicy(MIRLPolicy, dqn.MultiInputPolicy):
    """The same for Dict observations."""
