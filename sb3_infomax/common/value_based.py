"""The DQN family's one ``train()``: what C51 and its kin change is the loss, not the loop."""

import math
from typing import Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor
from torch.nn import functional as F

from sb3_infomax.checks import NonFiniteError, check_positive
from sb3_infomax.networks.preprocessing import check_actions_start_at_0

SelfValueBased = TypeVar("SelfValueBased", bound="ValueBased")


class ValueBased(DQN):
    """DQN with its ``train()`` split at the loss.

    Subclasses override :meth:`_compute_loss`; as it stands the class is bit-identical to
    :class:`stable_baselines3.DQN`, of version 2.9.
    """

    def _setup_model(self) -> None:
        check_positive(batch_size=self.batch_size)
        check_actions_start_at_0(self.action_space)
        # load(v_max=...) has set what only the constructor reads
        made_of = self._made_of()
        if late := sorted(name for name in made_of.keys() & vars(self).keys() if vars(self)[name] != made_of[name]):
            raise ValueError(f"{', '.join(late)} cannot be changed on loading: the networks were saved with other values.")
        try:
            super()._setup_model()
        except RuntimeError as error:
            if "Kernel size" not in str(error):
                raise
            raise ValueError(
                "The pictures are too small for NatureCNN: enlarge them, or give policy_kwargs={'features_extractor_class': "
                "LocalGlobalCNN} (from sb3_infomax)."
            ) from error

    def _made_of(self) -> dict[str, Any]:
        """Arguments that the policy was built with, by the names that the constructor has for them."""
        return self.policy_kwargs

    def load_replay_buffer(self, *args: Any, **kwargs: Any) -> None:
        """See ``OffPolicyAlgorithm.load_replay_buffer``.

        :raises ValueError: where the buffer is of another number of environments
        """
        super().load_replay_buffer(*args, **kwargs)
        assert self.replay_buffer is not None
        if self.replay_buffer.n_envs != self.n_envs:
            raise ValueError(
                f"The replay buffer is of {self.replay_buffer.n_envs} environments, and the model has {self.n_envs}: load the "
                "model with as many, or go on without the buffer."
            )

    def _compute_loss(self, replay_data: Any) -> Tensor:
        """What one gradient step minimises: DQN's Huber loss on the one-step (or n-step) temporal difference.

        :param replay_data: SB3's ``ReplayBufferSamples``
        :return: a scalar
        """
        # n-step samples carry their own discounts, gamma ** n where no episode ended
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        with th.no_grad():
            next_q_values = self.q_net_target(replay_data.next_observations)
            next_q_values, _ = next_q_values.max(dim=1)
            next_q_values = next_q_values.reshape(-1, 1)
            target_q_values = replay_data.rewards + (1 - replay_data.dones) * discounts * next_q_values
        current_q_values = self.q_net(replay_data.observations)
        current_q_values = th.gather(current_q_values, dim=1, index=replay_data.actions.long())
        return F.smooth_l1_loss(current_q_values, target_q_values)

    def _after_gradient_step(self, loss: Tensor) -> None:
        """Called after every optimizer step, for what a method adapts by its loss."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on batches sampled from the replay buffer; see ``DQN.train``."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        # all that has gradients; to look for it through the whole policy is a quarter of the time of clipping
        trained = [parameter for group in self.policy.optimizer.param_groups for parameter in group["params"]]
        losses = []
        for _ in range(gradient_steps):
            assert self.replay_buffer is not None
            replay_data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            loss = self._compute_loss(replay_data)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise NonFiniteError(
                    f"The loss of {type(self).__name__} is {losses[-1]}: look for NaN and extreme values in observations and "
                    "rewards, or lower the learning rate."
                )
            self.policy.optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(trained, self.max_grad_norm)
            self.policy.optimizer.step()
            self._after_gradient_step(loss)
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", np.mean(losses))

    def learn(
        self: SelfValueBased,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfValueBased:
        """See ``DQN.learn``; ``tb_log_name`` is the name of the class unless it is given."""
        tb_log_name = type(self).__name__ if tb_log_name is None else tb_log_name
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
