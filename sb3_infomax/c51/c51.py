"""C51: DQN that learns the distribution of the return."""

import warnings
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from torch.nn import functional as F

from sb3_infomax.c51.policies import C51Policy, CategoricalQNetwork, CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_infomax.c51.projection import project_distribution
from sb3_infomax.checks import check_positive
from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.common.value_based import ValueBased


class C51(ValueBased):
    r"""Categorical DQN (Bellemare, Dabney and Munos, "A Distributional Perspective on Reinforcement Learning", 2017,
    `arXiv 1707.06887 <https://arxiv.org/abs/1707.06887>`_).

    The return of every action is a categorical distribution :math:`p(s, a)` over ``n_atoms`` values between ``v_min`` and
    ``v_max``. It is trained by the cross-entropy to the projected Bellman update of the target network's,

    .. math:: L = -\sum_i \Phi\big(r + \gamma^n Z_{\theta^-}(s', a^*)\big)_i \log p_i(s, a), \qquad
              a^* = \arg\max_{a'} \mathbb E\, Z_{\theta^-}(s', a')

    and the agent acts by its mean. All that ``stable_baselines3.DQN`` does is inherited: several environments, n-step returns
    (``n_steps``), Dict observations, callbacks, saving. ``model.q_net(obs)`` gives Q values and
    ``model.q_net.probabilities(obs)`` the distributions on ``model.q_net.atoms``.

    Differences from the paper:

    1. Where no other source is named, defaults are Stable-Baselines3's for DQN, as are the network for vectors and the places
       where the learning rate and the exploration rate may follow a schedule. ``max_grad_norm`` is 10 as there, and in the
       released code of DRIML; the paper does not clip.
    2. Episodes that a time limit truncates are bootstrapped from, as everywhere in Stable-Baselines3.
    3. ``double_q``, ``dueling`` and ``n_steps`` are of later papers (Rainbow) and off by default. There is no prioritised
       replay: Stable-Baselines3's samples carry neither indices nor weights, and its n-step buffer draws the environments
       of a batch where no subclass sees them.

    Choose the support by the returns: with discount g and rewards up to r, they reach r / (1 - g). The paper's -10 to 10 suits
    Atari's clipped rewards. A warning tells when returns leave it.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy, or a subclass of ``C51Policy``)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate, it can be a function of the current progress remaining (from 1 to 0); paper:
        2.5e-4
    :param n_atoms: Number of atoms; paper: 51
    :param v_min: Return of the first atom; paper: -10
    :param v_max: Return of the last atom; paper: 10
    :param double_q: Choose the next action by the online network (van Hasselt et al., 2016; Rainbow), at one more forward
    :param dueling: Value and advantage streams (Wang et al., 2016; Rainbow), each with hidden layers ``net_arch`` of its own
    :param batch_size: Minibatch size for each gradient update; paper: 32. Adam's epsilon is 0.01 / ``batch_size`` as in the
        paper, unless ``policy_kwargs`` have an optimizer or an epsilon
    :param exploration_final_eps: final value of random action probability; paper: 0.01
    :param policy_kwargs: additional arguments to be passed to the policy on creation
    :param kwargs: all other arguments of ``stable_baselines3.DQN``

    Logged: ``train/loss``, the cross-entropy in nats; ``train/outside_support``, the share of the last batch whose expected
    target lies more than half a step outside the support.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    #: what a policy class must derive from
    policy_base: ClassVar[type[C51Policy]] = C51Policy
    policy: C51Policy
    q_net: CategoricalQNetwork
    q_net_target: CategoricalQNetwork

    def __init__(
        self,
        policy: str | type[C51Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 2.5e-4,
        *,
        n_atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
        double_q: bool = False,
        dueling: bool = False,
        batch_size: int = 32,
        exploration_final_eps: float = 0.01,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments([C51.__init__], {name: value for name, value in locals().items() if name != "self"})
        if isinstance(policy, type) and not issubclass(policy, self.policy_base):
            needed = self.policy_base.__name__
            raise ValueError(f"{type(self).__name__} needs a policy that derives from {needed}, got {policy.__name__}.")
        self.double_q = double_q
        # the expected targets of the last batch, (batch, 1), for the warning
        self._expected_targets: Tensor | None = None
        self._warned_of_support = False
        super().__init__(
            policy,
            env,
            learning_rate,
            batch_size=batch_size,
            exploration_final_eps=exploration_final_eps,
            policy_kwargs=_with_distribution(
                policy_kwargs, batch_size, {"n_atoms": n_atoms, "v_min": v_min, "v_max": v_max, "dueling": dueling}
            ),
            **kwargs,
        )

    def _compute_loss(self, replay_data: Any) -> Tensor:
        """The cross-entropy between projected targets and predictions, in nats."""
        return self._cross_entropy(self.q_net.logits(replay_data.observations), replay_data)

    def _cross_entropy(self, logits: Tensor, replay_data: Any) -> Tensor:
        """The loss, given what the online network says of the observations.

        :param logits: shape (batch, n_actions, n_atoms)
        :param replay_data: SB3's ``ReplayBufferSamples``
        :return: a scalar
        """
        target = self._target_distribution(replay_data)
        return F.cross_entropy(_of_actions(logits, replay_data.actions), target)

    @th.no_grad()
    def _target_distribution(self, replay_data: Any) -> Tensor:
        """What the distributions of the actions taken are moved towards, shape (batch, n_atoms)."""
        # n-step samples carry their own discounts, gamma ** n where no episode ended
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        discounts = (1 - replay_data.dones) * discounts
        probabilities = self.q_net_target.probabilities(replay_data.next_observations)
        q_values = probabilities @ self.q_net_target.atoms
        selecting = self.q_net(replay_data.next_observations) if self.double_q else q_values
        actions = selecting.argmax(dim=1, keepdim=True)
        self._expected_targets = th.addcmul(replay_data.rewards, discounts, q_values.gather(1, actions))
        v_min, v_max = self.q_net.v_min, self.q_net.v_max
        return project_distribution(_of_actions(probabilities, actions), replay_data.rewards, discounts, v_min, v_max)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on batches sampled from the replay buffer; see ``DQN.train``."""
        super().train(gradient_steps, batch_size)
        self._watch_support()

    def _watch_support(self) -> None:
        """Warn, once, when the support cannot hold the returns: they would silently count as its bounds."""
        if self._expected_targets is None:
            return
        q_net, targets = self.q_net, self._expected_targets
        self._expected_targets = None
        # half a step is what rounding and a bound chosen exactly may overshoot by
        margin = (q_net.v_max - q_net.v_min) / (q_net.n_atoms - 1) / 2
        low, high = q_net.v_min - margin, q_net.v_max + margin
        lowest, highest = (bound.item() for bound in th.aminmax(targets))
        inside = low <= lowest and highest <= high
        outside = 0.0 if inside else targets.ne(targets.clamp(low, high)).float().mean().item()
        self.logger.record("train/outside_support", outside)
        if not inside and not self._warned_of_support:
            self._warned_of_support = True
            warnings.warn(
                f"Expected returns between {lowest:.4g} and {highest:.4g} leave the support of {type(self).__name__}, from "
                f"v_min={q_net.v_min:g} to v_max={q_net.v_max:g}, and count as its bounds: choose a wider one or scale the "
                "rewards."
            )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_expected_targets"]


def _of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """The rows of the actions: (batch, n_actions, n_atoms) at (batch, 1) -> (batch, n_atoms)."""
    return values[th.arange(len(values), device=values.device), actions.flatten()]


def _with_distribution(policy_kwargs: dict[str, Any] | None, batch_size: int, distribution: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the policy: the user's, the distribution's, and the paper's epsilon of Adam."""
    policy_kwargs = dict(policy_kwargs or {})
    if twice := sorted(distribution.keys() & policy_kwargs.keys()):
        raise ValueError(f"Give {', '.join(twice)} to the algorithm itself, not in policy_kwargs.")
    if "optimizer_class" not in policy_kwargs:
        check_positive(batch_size=batch_size)
        policy_kwargs["optimizer_kwargs"] = {"eps": 0.01 / batch_size} | (policy_kwargs.get("optimizer_kwargs") or {})
    return policy_kwargs | distribution
