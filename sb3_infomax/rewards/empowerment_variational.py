"""Empowerment by a planning distribution: which actions lead from here to there, and how surely can one tell?"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from sb3_infomax.checks import check_positive
from sb3_infomax.networks.encoders import make_mlp
from sb3_infomax.rewards.empowerment import EmpowermentReward, check_not_negative

_LOG_STD_BOUNDS = (-5.0, 2.0)


def alternate(log_posterior: Tensor, n_alternations: int) -> Tensor:
    r"""Blahut and Arimoto's alternation between the planning distribution and the source, on samples.

    With :math:`u_k = \mathbb E_{s'} \ln q_w(k \mid s, s')` and the posterior of any other source by Bayes' rule,

    .. math:: q_w(k \mid s, s') \propto w(k \mid s)\, q_{uniform}(k \mid s, s'), \qquad
        w(k \mid s) \leftarrow e^{u_k} / Z, \qquad \mathcal E = \ln Z

    each :math:`\ln Z` is the best that any source reaches with the :math:`q` before it, and a lower bound on the capacity.

    :param log_posterior: ln q(j | s, s') of a uniform source, where sequence k led to sample m of s'; shape
        (batch, M, N, N), the third axis k, the last j
    :param n_alternations: 1 is exact for noiseless dynamics; 0 leaves the source uniform
    :return: nats, shape (batch,)
    """
    n_sequences = log_posterior.shape[-1]
    log_source = log_posterior.new_full((len(log_posterior), n_sequences), -math.log(n_sequences))
    empowerment = (_own(log_posterior) - log_source).mean(dim=1)
    for alternation in range(n_alternations):
        # the posterior of the uniform source is there already
        posterior = log_posterior if alternation == 0 else (log_posterior + log_source[:, None, None]).log_softmax(dim=-1)
        utility = _own(posterior)
        empowerment = utility.logsumexp(dim=1)
        log_source = utility - empowerment[:, None]
    return empowerment


def _own(log_posterior: Tensor) -> Tensor:
    """What q says of the sequence that was taken, averaged over the samples: (batch, M, N, N) -> (batch, N)."""
    return log_posterior.diagonal(dim1=-2, dim2=-1).mean(dim=1)


class GaussianChannel(nn.Module):
    r"""Source and planning distribution of Box actions, both over the latent u of a = tanh(u).

    .. math:: w(u \mid s) = \mathcal N(\mu(s), \sigma(s)^2), \qquad
        q(u \mid s, s_n) = \sum_c \pi_c\, \mathcal N(u; \mu_c(s, s_n), \sigma_c(s, s_n)^2)

    :param feature_dim: of states
    :param latent_dim: length of u, n times the dimensions of an action
    :param net_arch: hidden layers
    :param n_components: C; one Gaussian is loose wherever two actions lead to one place, at walls for example
    """

    def __init__(self, feature_dim: int, latent_dim: int, net_arch: Sequence[int], n_components: int) -> None:
        super().__init__()
        self.latent_dim, self.n_components = latent_dim, n_components
        self.source = make_mlp(feature_dim, net_arch, 2 * latent_dim)
        self.planner = make_mlp(2 * feature_dim, net_arch, n_components * (1 + 2 * latent_dim))
        nn.init.zeros_(self.source[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.source[-1].bias)  # type: ignore[arg-type]

    def draw(self, features: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        """u of w(. | s) by reparameterisation, and ln w(u | s).

        :param features: of s, shape (batch, d)
        :param normal: standard normal numbers, shape (batch, latent_dim)
        :return: shapes (batch, latent_dim) and (batch,)
        """
        mean, log_std = self.source(features).chunk(2, dim=1)
        log_std = log_std.clamp(*_LOG_STD_BOUNDS)
        return mean + log_std.exp() * normal, _gaussian(normal, log_std)

    def log_planner(self, features: Tensor, ends: Tensor, latent: Tensor) -> Tensor:
        """ln q(u | s, s_n), shape (batch,)."""
        output = self.planner(th.cat([features, ends], dim=1)).view(len(ends), self.n_components, -1)
        logits, mean, log_std = output.split([1, self.latent_dim, self.latent_dim], dim=2)
        log_std = log_std.clamp(*_LOG_STD_BOUNDS)
        densities = _gaussian((latent[:, None] - mean) * (-log_std).exp(), log_std)
        return (logits[:, :, 0].log_softmax(dim=1) + densities).logsumexp(dim=1)


def _gaussian(standardised: Tensor, log_std: Tensor) -> Tensor:
    """Log density of independent Gaussians, summed over the last axis."""
    return (-0.5 * standardised.square() - log_std).sum(dim=-1) - 0.5 * math.log(2 * math.pi) * log_std.shape[-1]


class VariationalEmpowerment(EmpowermentReward):
    r"""Variational empowerment (Mohamed and Rezende, NIPS 2015, https://arxiv.org/abs/1509.08731; Karl et al., 2017,
    https://arxiv.org/abs/1710.05101; N. Kumar's post "Explaining Empowerment").

    A planning distribution q guesses the actions from where they led; how well it does bounds what they can tell (Barber
    and Agakov), with a source w of actions that is separate from the policy:

    .. math:: \mathcal E(s) \ge \max_w \mathbb E_{w(a^n \mid s)\, p(s_n \mid s, a^n)}
        \big[\ln q(a^n \mid s, s_n) - \ln w(a^n \mid s)\big]

    **Discrete, MultiDiscrete and MultiBinary actions.** q is one classifier over all :math:`N = |A|^n` sequences, trained on
    uniformly drawn ones that the forward model f rolls out. For fixed q the best source is
    :math:`w^* \propto \exp u,\ u_k = \mathbb E_{s_n} \ln q(k \mid s, s_n)`, and the bound there is

    .. math:: \mathcal E(s) = \ln \sum_k \exp \mathbb E_{s_n}\big[\ln q(k \mid s, s_n)\big]

    which without noise is the logarithm of the number of states that can be reached: one step is exact. In noisy worlds
    ``n_alternations`` repeats it (:func:`alternate`), and the source is learned state by state.

    **Box actions.** w is a Gaussian over u, q a mixture of Gaussians, a = tanh(u); both ascend the bound through the
    reparameterised u and the differentiable forward model. tanh is needed: with unbounded actions the bound grows
    with the deviation of w for ever. The Jacobians of tanh cancel, since both densities are over u.

    **What differs from the post and the papers**

    1. The reward is +E of the state reached; see :class:`~sb3_infomax.rewards.empowerment.EmpowermentReward`.
    2. Discrete: no source network. The closed form needs none, and no gradient ever reached the authors'.
    3. E(s) is the state's value, not ln q - ln w of the action taken, which is no bound under the policy.
    4. w and q see one loss and one optimizer; f, in the same step, its own loss only.
    5. Sequences are open loop, as in Klyubin's definition; the authors' TensorFlow code lets actions see the noise.
    6. Explicit model noise, warm-up, E = 0 at terminations, reward divided by its largest possible value.

    **Known limits.** Stationary: an agent parks at the maximum, hubs rather than novelty. The choice of the horizon
    matters more than anything else: doors are worth more than rooms only if the horizon reaches through them. Rewards of
    states unlike those seen so far are arbitrary. f's component is chosen without a gradient, so with Box actions
    ``n_outcomes`` above 1 misses how actions move the odds.

    **Logged**: ``loss``; ``forward``, f's loss (squared error; negative log likelihood for Discrete observations and with
    several outcomes); ``planning``, -ln q of the sequences drawn (nats; log N is a guess); ``error``, f's root mean squared
    error on transitions before it is trained on them; ``nats``, mean empowerment of some states of the batch, and
    ``share``, that over log N; ``inverse``, the loss of a learned encoder.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param n_alternations: of source and planning distribution in the read-out; 1 is exact for noiseless worlds, noisy ones
        want 4 and more, and samples; 0 is the information of uniformly random sequences
    :param n_components: of q for Box actions (ours; the papers have 1)
    :param n_samples: of s_n for each action sequence in the read-out (default 2); of sequences, with Box actions (16)
    :param learning_rate: of Adam (ours)
    :param n_epochs: passes over a rollout (ours)
    :param kwargs: of :class:`~sb3_infomax.rewards.empowerment.EmpowermentReward`: ``horizon``, ``encoder`` and many more
    """

    latent: Tensor

    paper: ClassVar[str] = "Mohamed and Rezende, 2015, arXiv 1509.08731; Karl et al., 2017, arXiv 1710.05101"

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        n_alternations: int = 1,
        n_components: int = 3,
        n_samples: int | None = None,
        learning_rate: float = 3e-3,
        n_epochs: int = 2,
        **kwargs: Any,
    ) -> None:
        if n_samples is None:
            n_samples = 16 if isinstance(action_space, spaces.Box) else 2
        super().__init__(
            observation_space, action_space, n_samples=n_samples, learning_rate=learning_rate, n_epochs=n_epochs, **kwargs
        )
        check_positive(n_components=n_components)
        check_not_negative(n_alternations=n_alternations)
        self.n_alternations = n_alternations
        self.squash: Callable[[Tensor], Tensor] = th.tanh
        n_sequences = len(self.sequences)
        if n_sequences > 0:
            self.planner = make_mlp(2 * self.feature_dim, self.net_arch, n_sequences)
            # uniform at first: an empowerment of exactly 0
            nn.init.zeros_(self.planner[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.planner[-1].bias)  # type: ignore[arg-type]
        else:
            latent_dim = self.horizon * self.action_dim
            self.channel = GaussianChannel(self.feature_dim, latent_dim, self.net_arch, n_components)
            self.register_buffer("latent", th.randn(self.n_samples, latent_dim))  # (M, latent_dim)

    def _make_sequences(self, max_sequences: int) -> Tensor:
        if isinstance(self.action_space, spaces.Box):
            return th.zeros(0, self.horizon, self.action_dim)
        return super()._make_sequences(max_sequences)

    def _numbers_per_state(self) -> int:
        n_sequences = max(1, len(self.sequences))
        return self.n_samples * n_sequences * max(n_sequences, 2 * self.feature_dim, *self.net_arch)

    def _information_loss(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if len(self.sequences) == 0:
            normal = features.new_empty(len(features), self.channel.latent_dim).normal_()
            information = self._box_information(features, normal, *self._fresh_noise(features)).mean()
            return -information, {"planning": -information}
        drawn = th.randint(len(self.sequences), (len(features),), device=features.device)
        with th.no_grad():
            ends = self._imagine(features, self.sequences[drawn], *self._fresh_noise(features))
        planning = F.cross_entropy(self.planner(th.cat([features, ends], dim=1)), drawn)
        return planning, {"planning": planning}

    def _estimate(self, features: Tensor) -> Tensor:
        if len(self.sequences) == 0:
            return self._estimate_box(features)
        ends = self._imagine_all(features, self.uniform, self.normal)
        states = features[:, None, None].expand_as(ends)
        log_posterior = self.planner(th.cat([states, ends], dim=-1)).log_softmax(dim=-1)
        # a decoder that is not trained yet can say less than nothing; nobody has less than no choice
        return alternate(log_posterior, self.n_alternations).clamp(min=0.0)

    def _estimate_box(self, features: Tensor) -> Tensor:
        """Mean over the fixed samples, shape (batch,)."""
        batch = len(features)
        rows = features.repeat_interleave(self.n_samples, dim=0)
        numbers = [values.repeat(batch, *[1] * (values.ndim - 1)) for values in (self.latent, self.uniform, self.normal)]
        return self._box_information(rows, *numbers).view(batch, self.n_samples).mean(dim=1).clamp(min=0.0)

    def _box_information(self, features: Tensor, latent_normal: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """ln q(u | s, s_n) - ln w(u | s), shape (batch,)."""
        latent, log_source = self.channel.draw(features, latent_normal)
        actions = self.squash(latent).view(-1, self.horizon, self.action_dim)
        ends = self._imagine(features, actions, uniform, normal)
        return self.channel.log_planner(features, ends, latent) - log_source
