"""Empowerment by a statistics network: how well can it tell where an action led from where the others do?"""

import math
import warnings
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from sb3_infomax.mi.bounds import donsker_varadhan_ema, jensen_shannon, nwj
from sb3_infomax.mi.critics import ConcatenatedCritic
from sb3_infomax.rewards.empowerment import EmpowermentReward, check_not_negative

Bound = Literal["jsd", "dv", "nwj"]

_LARGEST_SCORE = 20.0  # that a read-out believes
_ALARMING_SCORE = 15.0  # of a joint pair: e^15 is more than the number of actions


def donsker_varadhan_of_states(scores: Tensor, n_alternations: int = 0) -> Tensor:
    r"""The Donsker-Varadhan bound of every state, over all pairs of actions:

    .. math:: \mathcal E(s) = \sum_a w_a\, T(s, s'_a, a) - \ln \sum_{a, a'} w_a w_{a'}\, e^{T(s, s'_{a'}, a)}

    Uniform w, or one that is improved towards the capacity: :math:`w_a \leftarrow w_a e^{D_a} / Z` with
    :math:`D_a = T(s, s'_a, a) - \ln \sum_{a'} w_{a'} e^{T(s, s'_{a'}, a)}`.

    :param scores: T(s, s', a) where action a' led to sample m of s', shape (batch, M, N, N); the third axis a', the last a
    :param n_alternations: improvements of w
    :return: nats, shape (batch,)
    """
    n_samples, n_actions = scores.shape[1], scores.shape[-1]
    joint = scores.diagonal(dim1=-2, dim2=-1).mean(dim=1)  # (batch, a)
    log_ratios = scores.logsumexp(dim=1) - math.log(n_samples)  # (batch, a', a)
    log_source = scores.new_full(joint.shape, -math.log(n_actions))
    for _ in range(n_alternations):
        marginal = (log_source[:, :, None] + log_ratios).logsumexp(dim=1)
        log_source = (log_source + joint - marginal).log_softmax(dim=1)
    pairs = log_source[:, :, None] + log_source[:, None, :] + log_ratios
    return (log_source.exp() * joint).sum(dim=1) - pairs.flatten(1).logsumexp(dim=1)


class MINEEmpowerment(EmpowermentReward):
    r"""Empowerment by mutual information neural estimation (N. Kumar, "Empowerment-driven Exploration using Mutual Information
    Estimation", 2018, https://arxiv.org/abs/1810.05533, and his post "Explaining Empowerment"), corrected.

    A statistics network T learns to tell where an action led from where the other actions lead, with the Jensen-Shannon,
    Donsker-Varadhan or NWJ bound (:mod:`sb3_infomax.mi.bounds`) on pairs

    .. math:: \text{joint: } (s, s'_a, a), \qquad \text{marginal: } (s, s'_{a'}, a), \qquad
        a, a' \sim \text{uniform}, \quad s'_a \sim f(s, a)

    whichever the bound, the reward is Donsker and Varadhan's of each state over all pairs of actions
    (:func:`donsker_varadhan_of_states`), at the state reached: without sampling error of the actions, and a lower bound on
    what uniform actions tell of the next state.

    **What differs from the paper**

    1. The marginal :math:`p(s' \mid s)` is an average over actions of *densities*: every action's sample is scored, and
       :math:`e^T` is averaged. The paper averages the predicted *features*; that mean is a point where nothing ever arrives, T
       tells it from any next state without looking at the action, and the published reward is the same in every state while
       its Donsker-Varadhan value grows without limit: the likely reason for "KL is unbounded, this made training
       unstable". ``published=True`` rebuilds it as a negative control.
    2. T sees s, as (s, s', a). Without it the estimate is of I(A; S'), which in a room is a sixth of I(A; S' | s).
    3. Joint samples come from f with uniform actions, not from the policy's, which is no source of empowerment.
    4. The reward is Donsker and Varadhan's value per state. The authors' Jensen-Shannon value is never positive.
    5. Features have unit length; with unit variance and 512 of them T dies at these learning rates.
    6. Explicit model noise, warm-up, E = 0 at terminations, rewards computed anew whenever they are sampled.
    7. Any ``horizon``, and Box actions through ``max_sequences`` random ones, although the paper has single discrete actions.

    **Known limits.** The information of uniform actions, not the capacity (``n_alternations`` goes towards it); a quadratic
    cost in the number of action sequences; with Box actions no more than the logarithm of ``max_sequences``. NWJ and
    Donsker-Varadhan spread exponentially in the information: one step of few actions is safe, long horizons want
    :class:`~sb3_infomax.rewards.empowerment_variational.VariationalEmpowerment`, which is this with a normalised T.

    **Logged**: ``loss``; ``bound``, what T maximises (nats; Jensen-Shannon at most 1.386); ``score_max``, the largest
    T of a joint pair in training, where log N is the most that there is to know (and 1 more with NWJ): above 15 there is a
    warning; ``forward``, ``error``,
    ``nats``, ``share``, ``inverse`` as in ``VariationalEmpowerment``.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param bound: that T maximises: ``"jsd"`` (the authors' choice), ``"dv"`` or ``"nwj"``
    :param n_alternations: improvements of the source in the read-out; 0 leaves it uniform
    :param ema_rate: of the moving average in the gradient of ``"dv"``; 1 is the plain, biased gradient (MINE: 0.01)
    :param published: the authors' degenerate estimator: mean features as marginal, T(s', a), the value of ``bound`` as reward
    :param max_sequences: of actions; all of their pairs are scored
    :param learning_rate: of Adam (authors: 1e-3 and 1e-4 for T)
    :param n_epochs: passes over a rollout (ours)
    :param max_grad_norm: clip the gradient's norm (ours)
    :param kwargs: of :class:`~sb3_infomax.rewards.empowerment.EmpowermentReward`: ``horizon``, ``encoder`` and many more
    """

    paper: ClassVar[str] = "Kumar, 2018, arXiv 1810.05533"

    log_ema: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        bound: Bound = "jsd",
        n_alternations: int = 0,
        ema_rate: float = 0.01,
        published: bool = False,
        max_sequences: int = 32,
        learning_rate: float = 3e-3,
        n_epochs: int = 1,
        max_grad_norm: float | None = 10.0,
        **kwargs: Any,
    ) -> None:
        if bound not in ("jsd", "dv", "nwj"):
            raise ValueError(f"bound must be 'jsd', 'dv' or 'nwj', got {bound!r}.")
        check_not_negative(n_alternations=n_alternations)
        if not 0 < ema_rate <= 1:
            raise ValueError(f"ema_rate must lie in (0, 1], got {ema_rate!r}.")
        super().__init__(
            observation_space,
            action_space,
            max_sequences=max_sequences,
            learning_rate=learning_rate,
            n_epochs=n_epochs,
            max_grad_norm=max_grad_norm,
            **kwargs,
        )
        self.bound, self.n_alternations, self.ema_rate, self.published = bound, n_alternations, ema_rate, published
        seen = self.feature_dim if published else 2 * self.feature_dim
        self.critic = ConcatenatedCritic(seen, self.horizon * self.action_dim, self.net_arch, init="xavier")
        self.register_buffer("log_ema", th.zeros(()))  # log of the average e^T of negatives
        self._warned = False
        if published:
            warnings.warn(
                "published=True is a negative control: its marginal is a mean of features, and its reward is the same in all "
                "states whatever the agent can do there.",
                stacklevel=2,
            )

    def update(self, transitions: Any) -> dict[str, float]:
        metrics = super().update(transitions)
        if metrics.get("score_max", 0.0) > _ALARMING_SCORE and not self._warned and not self.published:
            self._warned = True
            warnings.warn(
                f"The statistics network's scores reach {metrics['score_max']:.0f}, more than there are actions to tell "
                "apart: its read-outs are clamped. A lower learning_rate, more noise_scale or more sensor_noise helps.",
                stacklevel=2,
            )
        return metrics

    def _make_sequences(self, max_sequences: int) -> Tensor:
        if isinstance(self.action_space, spaces.Box):
            return 2.0 * th.rand(max_sequences, self.horizon, self.action_dim) - 1.0
        return super()._make_sequences(max_sequences)

    def _numbers_per_state(self) -> int:
        n_sequences = len(self.sequences)
        return self.n_samples * n_sequences * max(n_sequences * max(self.net_arch), 2 * self.feature_dim)

    def _information_loss(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = th.randint(len(self.sequences), (len(features),), device=features.device)
        ends = self._ends_of_all(features)
        if self.published:
            positive = self._scores(features, ends[th.arange(len(ends)), drawn][:, None], drawn)
            negative = self._scores(features, self._marginal(ends), drawn)
        else:
            # where the sequence itself led is one of all the ends
            negative = self._scores(features, ends, drawn)
            positive = negative.gather(1, drawn[:, None])
        if self.bound == "jsd":
            information = jensen_shannon(positive, negative)
        elif self.bound == "nwj":
            information = nwj(positive, negative)
        else:
            log_ema = None if self.n_gradient_steps == 0 else self.log_ema
            information, log_ema = donsker_varadhan_ema(positive, negative, log_ema, self.ema_rate)
            self.log_ema.copy_(log_ema)
        return -information, {"bound": information, "score_max": positive.max()}

    @th.no_grad()
    def _ends_of_all(self, features: Tensor) -> Tensor:
        """Where each action may lead from each state, shape (batch, N, d)."""
        uniform, normal = self._fresh_noise(features)
        return self._imagine_all(features, uniform[:, None], normal[:, None])[:, 0]

    def _marginal(self, ends: Tensor) -> Tensor:
        """What an action is scored with as if it were independent: (batch, N, d) -> (batch, N, d), or (batch, 1, d)."""
        return ends.mean(dim=1, keepdim=True) if self.published else ends

    def _scores(self, features: Tensor, ends: Tensor, drawn: Tensor) -> Tensor:
        """T(s, s', a) of one sequence a for each state, shapes (batch, d), (batch, N, d), (batch,) -> (batch, N)."""
        n_ends = ends.shape[1]
        sequences = self.sequences.flatten(1)[drawn].repeat_interleave(n_ends, dim=0)
        return self.critic.paired(self._seen(features, ends).flatten(0, 1), sequences).view(len(ends), n_ends)

    def _seen(self, features: Tensor, ends: Tensor) -> Tensor:
        """(s, s'), or s' as published: (batch, d), (batch, ..., d) -> (batch, ..., 2 d)."""
        if self.published:
            return ends
        states = features.view(len(features), *[1] * (ends.ndim - 2), -1).expand_as(ends)
        return th.cat([states, ends], dim=-1)

    def _estimate(self, features: Tensor) -> Tensor:
        ends = self._imagine_all(features, self.uniform, self.normal)  # (batch, M, N, d)
        if self.published:
            return self._published_value(ends)
        scores = self.critic(self._seen(features, ends).flatten(0, 2), self.sequences.flatten(1))
        table = scores.view(*ends.shape[:3], -1).clamp(-_LARGEST_SCORE, _LARGEST_SCORE)
        return donsker_varadhan_of_states(table, self.n_alternations).clamp(min=0.0)

    def _published_value(self, ends: Tensor) -> Tensor:
        """The value of the bound with the mean of the features as marginal, shape (batch,); the authors' constants."""
        n_actions = ends.shape[2]
        ends = ends.mean(dim=1)  # (batch, N, d)
        sequences = self.sequences.flatten(1)
        joint = self.critic(ends.flatten(0, 1), sequences).view(-1, n_actions, n_actions).diagonal(dim1=1, dim2=2)
        marginal = self.critic(self._marginal(ends).flatten(0, 1), sequences)  # (batch, N)
        if self.bound == "jsd":
            return (-F.softplus(-joint) - F.softplus(marginal)).mean(dim=1)
        if self.bound == "nwj":
            return joint.mean(dim=1) - (marginal - 1.0).exp().mean(dim=1)
        return joint.mean(dim=1) - marginal.logsumexp(dim=1) + math.log(n_actions)
