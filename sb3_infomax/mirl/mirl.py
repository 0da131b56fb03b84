"""MIRL: deep Q-learning that pays for the information its actions carry about the state."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from torch.nn import functional as F

from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.common.value_based import ValueBased
from sb3_infomax.mirl.policies import CnnPolicy, MIRLPolicy, MlpPolicy, MultiInputPolicy
from sb3_infomax.mirl.prior import ActionPrior, kl_divergence, soft_policy, soft_value, soft_value_of_policy

BETA_SCHEDULES = ("inverse_loss", "linear", "constant")
#: beyond, beta Q drowns in the rounding of log rho, or overflows
LEAST_BETA, MOST_BETA = 1e-4, 1e30
LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "huber": F.smooth_l1_loss}


class MIRL(ValueBased):
    r"""Mutual-information reinforcement learning (Grau-Moya, Leibfried and Vrancx, "Soft Q-Learning with Mutual-Information
    Regularization", ICLR 2019).

    Soft Q-learning whose prior over actions, :math:`\rho`, is learned. It maximises

    .. math:: J(\pi, \rho) = \mathbb E_\pi \sum_t \gamma^t \Big[ r(s_t, a_t)
              - \frac1\beta \log\frac{\pi(a_t | s_t)}{\rho(a_t)} \Big]

    whose penalty, at the best :math:`\rho`, is the mutual information :math:`I_\pi(S; A) / \beta`: an action that is useless
    everywhere loses its prior, and with it its place in targets and in exploration. In each step of the environment, at state
    :math:`s` and with :math:`\pi(a|s) = \rho(a) e^{\beta Q(s,a)} / Z(s)`,

    .. math:: a = \arg\max_a \pi(a|s) \text{ or, with probability } \epsilon,\ a \sim \rho; \qquad
              \rho \leftarrow (1 - \alpha_\rho) \rho + \alpha_\rho \pi(\cdot|s)

    and in each gradient step, with the target network :math:`\bar Q`,

    .. math:: L = \mathbb E \Big[ r + \frac\gamma\beta \log \sum_{a'} \rho(a') e^{\beta \bar Q(s', a')} - Q(s, a) \Big]^2;
              \qquad \beta \leftarrow (1 - \alpha_\beta) \beta + \alpha_\beta / L

    One class, several methods: ``learn_prior=False`` is soft Q-learning, with ``initial_prior`` KL-regularised Q-learning
    towards that policy, and with a large constant beta DQN. All that ``stable_baselines3.DQN`` does is inherited, save n-step
    returns. Prior and beta are saved with the policy.

    Differences from the paper (what of it could be read: Algorithm 1, and the equations as restated in the ICLR reproduction
    report of Calem and Totaro):

    1. Where no other source is named, defaults are Stable-Baselines3's for DQN. The published step sizes (prior 2e-6, beta
       3.3e-6) are for ten million steps and more; ours are for a hundred thousand.
    2. The prior waits until ``learning_starts``, as all learning does. Algorithm 1 has no warm-up; the Q values of an
       untrained network would decide which actions fade.
    3. With several environments the prior takes one step for each, in their order, after they have acted together, and each
       explores by a coin of its own.
    4. 1 / L is bounded by ``beta_max`` before it is averaged, so that one batch without error does not decide, beta by both
       its bounds, and no probability falls below ``prior_floor``. The paper's bounds, if any, are not known; the
       reproduction's configuration names 200 for beta.
    5. The prior moves after the action is chosen and before the transition is stored (Algorithm 1: after), which is the same.
    6. Terminal states are worth 0, which Algorithm 1 leaves out; episodes that a time limit truncates are bootstrapped from,
       as everywhere in Stable-Baselines3.
    7. ``double_q``, ``loss="huber"`` and the schedules other than ``"inverse_loss"`` are additions (``"linear"`` is what the
       paper does in tables). n-step returns are refused: the penalties of the steps in between would be missing from them.

    1 / L has the unit of 1 / reward squared, beta that of 1 / reward: the rule suits rewards of order 1, as clipped ones are.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy, or a subclass of ``MIRLPolicy``)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate, it can be a function of the current progress remaining (from 1 to 0)
    :param learn_prior: Whether the prior is learned; else it stays as it is
    :param initial_prior: Probabilities of the actions at the start (default and reproduction: uniform)
    :param prior_lr: Step of the prior per step of an environment; paper: 2e-6
    :param prior_floor: Smallest probability in the prior (ours)
    :param beta_schedule: ``"inverse_loss"``, the rule above (paper); ``"linear"``, ``beta_init + beta_lr * num_timesteps``;
        ``"constant"``, ``beta_init``; or a function of the current progress remaining (from 1 to 0)
    :param beta_init: Inverse temperature at the start; reproduction: 0.01
    :param beta_lr: Step of beta, per gradient step (paper: 3.3e-6) or, where linear, per step of an environment
    :param beta_min: beta is never smaller (ours; at least 1e-4, where float32 still tells Q values from log rho)
    :param beta_max: beta is never larger (ours; reproduction: 200, unused)
    :param loss: ``"mse"`` (paper) or ``"huber"``, DQN's in Stable-Baselines3; beta follows the squared error in either case
    :param double_q: Value the next state by the target network under the soft policy of the online one, at one more forward
    :param kwargs: all other arguments of ``stable_baselines3.DQN``

    Logged: ``train/beta``; ``train/temperature``, 1 / beta; ``train/prior_entropy``; ``train/mutual_information``, I(S; A) of
    the soft policy over the states of the last batch; ``train/prior_kl``, the penalty there: the mean of KL(pi(.|s) || rho),
    which is I(S; A) + KL(marginal || rho). Entropies and informations in nats.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: MIRLPolicy
    action_prior: ActionPrior

    def __init__(
        self,
        policy: str | type[MIRLPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-4,
        *,
        learn_prior: bool = True,
        initial_prior: Sequence[float] | NDArray[np.float64] | None = None,
        prior_lr: float = 1e-3,
        prior_floor: float = 1e-6,
        beta_schedule: str | Schedule = "inverse_loss",
        beta_init: float = 1.0,
        beta_lr: float = 1e-3,
        beta_min: float = 1e-2,
        beta_max: float = 200.0,
        loss: str = "mse",
        double_q: bool = False,
        **kwargs: Any,
    ) -> None:
        check_arguments([MIRL.__init__], {name: value for name, value in locals().items() if name != "self"})
        if isinstance(policy, type) and not issubclass(policy, MIRLPolicy):
            raise ValueError(f"{type(self).__name__} needs a policy that derives from MIRLPolicy, got {policy.__name__}.")
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.")
        self.learn_prior, self.initial_prior = learn_prior, initial_prior
        self.prior_lr, self.prior_floor = prior_lr, prior_floor
        self.beta_schedule, self.beta_init, self.beta_lr = beta_schedule, beta_init, beta_lr
        self.beta_min, self.beta_max = beta_min, beta_max
        self.loss, self.double_q = loss, double_q
        # of the last batch: Q values of its states, shape (batch, n_actions), and the squared error
        self._batch_q_values: Tensor | None = None
        self._squared_error: Tensor | None = None
        super().__init__(policy, env, learning_rate, **kwargs)

    def _check_steps(self) -> None:
        for name in ("prior_lr", "beta_lr"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}.")
        if not callable(self.beta_schedule) and self.beta_schedule not in BETA_SCHEDULES:
            raise ValueError(
                f"beta_schedule must be one of {', '.join(BETA_SCHEDULES)} or a function of the remaining progress, "
                f"got {self.beta_schedule!r}."
            )
        if not LEAST_BETA <= self.beta_min <= self.beta_init <= self.beta_max <= MOST_BETA:
            raise ValueError(
                f"beta must start between its bounds, and these lie between {LEAST_BETA:g} and {MOST_BETA:g}: "
                f"got beta_min={self.beta_min}, beta_init={self.beta_init}, beta_max={self.beta_max}."
            )

    def _setup_model(self) -> None:
        self._check_steps()  # here, for load() may have changed them
        super()._setup_model()
        if self.n_steps > 1 or getattr(self.replay_buffer, "n_steps", 1) > 1:
            raise ValueError(
                f"{type(self).__name__} learns from single steps (n_steps=1): "
                "n-step returns would lack the penalties of the steps in between."
            )
        n_actions = len(self.action_prior.numpy())
        if not 0.0 < self.prior_floor * n_actions < 1.0:
            raise ValueError(
                f"prior_floor must be between 0 and 1 / {n_actions} (one over the actions), got {self.prior_floor}."
            )
        self.action_prior.start(self.initial_prior, self.prior_floor)
        self._set_beta(self.beta_schedule(1.0) if callable(self.beta_schedule) else self.beta_init)

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.action_prior = self.policy.prior

    @property
    def prior(self) -> NDArray[np.float64]:
        """rho as it stands, shape (n_actions,)."""
        return self.action_prior.numpy().copy()

    @property
    def beta(self) -> float:
        """The inverse temperature as it stands."""
        return float(self.action_prior.beta)

    def _set_beta(self, value: float) -> None:
        """Within its bounds.

        :raises ValueError: for NaN
        """
        if math.isnan(value):
            raise ValueError("beta_schedule returned NaN.")
        self.action_prior.beta.fill_(min(max(value, self.beta_min), self.beta_max))

    def _sample_action(self, learning_starts: int, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Act at s_i, then move the prior towards pi(. | s_i), of which acting has computed all but rho."""
        actions = super()._sample_action(learning_starts, *args, **kwargs)
        if self.learn_prior and self.num_timesteps >= learning_starts:
            self.action_prior.update(self.policy.last_weights, self.prior_lr, self.prior_floor)
        return actions

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The best action of the soft policy; unless deterministic, with probability epsilon, by a coin for each environment,
        one from the prior.

        :param observation: the input observation
        :param state: handed through
        :param episode_start: handed through
        :param deterministic: Whether or not to return deterministic actions
        :return: the model's action and the state
        """
        actions, state = self.policy.predict(observation, state, episode_start, deterministic)
        if not deterministic:
            coins = np.random.random_sample(actions.size)
            if min(coins.tolist()) < self.exploration_rate:
                explores = coins.reshape(actions.shape) < self.exploration_rate
                actions = np.where(explores, self.action_prior.sample(actions.shape), actions)
        return actions, state

    def _compute_loss(self, replay_data: Any) -> Tensor:
        """The squared (or Huber) soft temporal difference."""
        with th.no_grad():
            next_values = self._soft_value(replay_data.next_observations)
            target_q_values = replay_data.rewards + (1 - replay_data.dones) * self.gamma * next_values
        q_values = self.q_net(replay_data.observations)
        current_q_values = q_values.gather(1, replay_data.actions.long())
        squared_error = F.mse_loss(current_q_values, target_q_values)
        self._batch_q_values, self._squared_error = q_values.detach(), squared_error.detach()
        return squared_error if self.loss == "mse" else LOSSES[self.loss](current_q_values, target_q_values)

    def _soft_value(self, observations: Any) -> Tensor:
        """The target network's V, shape (batch, 1)."""
        q_values = self.q_net_target(observations)
        log_prior, beta = self.action_prior.log(q_values.device), self.beta
        if self.double_q:
            return soft_value_of_policy(self.q_net(observations), q_values, log_prior, beta)
        return soft_value(q_values, log_prior, beta)

    def _after_gradient_step(self, loss: Tensor) -> None:
        """beta <- (1 - alpha) beta + alpha / L."""
        assert self._squared_error is not None
        squared_error = self._squared_error.item()
        if self.beta_schedule == "inverse_loss":
            beta = self.beta
            self._set_beta(beta + self.beta_lr * (1.0 / max(squared_error, 1.0 / self.beta_max) - beta))

    def _on_step(self) -> None:
        super()._on_step()
        if callable(self.beta_schedule):
            self._set_beta(self.beta_schedule(self._current_progress_remaining))
        elif self.beta_schedule == "linear":
            self._set_beta(self.beta_init + self.beta_lr * self.num_timesteps)
        elif self.beta_schedule == "constant":
            self._set_beta(self.beta_init)  # load() may have changed it

    def diagnostics(self) -> dict[str, float]:
        """What is logged, under names without ``train/``; the informations only once there was a batch."""
        prior, beta = self.action_prior.numpy(), self.beta
        logs = {"beta": beta, "temperature": 1.0 / beta, "prior_entropy": -float((prior * np.log(prior)).sum())}
        if self._batch_q_values is not None:
            policy = soft_policy(self._batch_q_values.cpu().double().numpy(), prior, beta)
            marginal = policy.mean(axis=0)
            logs["mutual_information"] = float(kl_divergence(policy, marginal).mean())
            logs["prior_kl"] = logs["mutual_information"] + float(kl_divergence(marginal, prior))
        return logs

    def dump_logs(self) -> None:
        """Write log data; the diagnostics are computed for it, and not in every ``train()``."""
        for name, value in self.diagnostics().items():
            self.logger.record(f"train/{name}", value)
        super().dump_logs()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "action_prior", "_batch_q_values", "_squared_error"]
