"""Learned dynamics p(s' | s, a) to sample from, with noise as large as their error on data that they have not seen."""

import copy
from collections.abc import Callable, Sequence

import torch as th
from torch import Tensor, nn
from torch.nn import functional as F

from sb3_infomax.networks.encoders import make_mlp

#: (features, encoded actions, uniform numbers, standard normal numbers) -> features of s', with shapes (batch, dim),
#: (batch, action_dim), (batch,), (batch, dim) -> (batch, dim); all of the randomness comes in by the numbers
Dynamics = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_MIN_VARIANCE = 1e-6  # below it the mixture's loss has nothing left to gain, but its gradient grows
_VARIANCE_RATE = 0.05  # of the newest minibatch in the mixture's variance
_SLACK = 1.5  # on that variance: at 1 an outcome missed by two deviations is given to another component for good


class ForwardModel(nn.Module):
    """What the models share: a network whose weights are averaged over training, and its error on held-out transitions.

    ``loss`` trains the network; samples and errors are of the average, whose error is a fraction of that of weights that
    still jump with every minibatch.

    :param network: of features and encoded actions
    :param dim: of the features
    :param error_rate: weight of the newest batch in the running error
    :param averaging: share of the average that stays at every step
    """

    squared_error: Tensor
    n_measured: Tensor
    n_averaged: Tensor

    def __init__(self, network: nn.Module, dim: int, error_rate: float = 0.2, averaging: float = 0.99) -> None:
        super().__init__()
        self.error_rate, self.averaging = error_rate, averaging
        self.network = network
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("n_averaged", th.zeros((), dtype=th.int64))
        self.register_buffer("squared_error", th.ones(dim))  # (dim,)
        self.register_buffer("n_measured", th.zeros((), dtype=th.int64))

    @th.no_grad()
    def average(self) -> None:
        """Move the average; once after every step of the optimizer."""
        self.n_averaged += 1
        n = int(self.n_averaged)
        rate = 1.0 - min(self.averaging, n / (9 + n))  # short at first: the first weights are not worth remembering
        th._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), rate)

    @property
    def error(self) -> Tensor:
        """Root mean squared error over all features, a scalar."""
        return self.squared_error.mean().sqrt()

    @th.no_grad()
    def measure(self, features: Tensor, actions: Tensor, next_features: Tensor) -> None:
        """Update the error from transitions that the model has not been trained on yet.

        :param features: of s, shape (batch, dim)
        :param actions: encoded, shape (batch, action_dim)
        :param next_features: of s', shape (batch, dim)
        """
        error = self.squared_errors(features, actions, next_features).mean(dim=0)
        self.n_measured += 1
        # the plain mean at first, so that the one it starts from has no weight
        self.squared_error += (error - self.squared_error) * max(1.0 / int(self.n_measured), self.error_rate)

    def squared_errors(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        """:return: of every feature, shape (batch, dim)"""
        raise NotImplementedError

    def loss(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        """:return: negative log likelihood up to constants, a scalar"""
        raise NotImplementedError


class MixtureDynamics(ForwardModel):
    r"""A mixture of Gaussians around displacements:

    .. math:: p(s' \mid s, a) = \sum_k \pi_k(s, a)\, \mathcal N(s';\ s + \mu_k(s, a),\ \sigma^2)

    Samples have ``noise_scale`` times the error's deviation, feature by feature. With one component the loss is the mean
    squared error. With several, sigma in the loss is no parameter but the residual of recent minibatches: components are soft
    while the model errs and become the distinct outcomes of (s, a) as it learns. Squares are averaged over the features, not
    summed: in many dimensions the likelihood itself is too hard to begin with. Rare outcomes of many-dimensional states are
    found late or not at all.

    :param dim: of the features
    :param action_dim: of encoded actions
    :param net_arch: hidden layers
    :param n_outcomes: components K
    :param noise_scale: of the samples' noise
    """

    variance: Tensor

    def __init__(
        self, dim: int, action_dim: int, net_arch: Sequence[int], n_outcomes: int = 1, noise_scale: float = 1.0
    ) -> None:
        super().__init__(make_mlp(dim + action_dim, net_arch, n_outcomes * (dim + 1) if n_outcomes > 1 else dim), dim)
        self.dim, self.n_outcomes, self.noise_scale = dim, n_outcomes, noise_scale
        self.register_buffer("variance", th.ones(()))

    def forward(self, features: Tensor, actions: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """Samples of s', differentiable in features and actions but for the choice of the component; see ``Dynamics``."""
        logits, means = self._outcomes(self.averaged, features, actions)
        if self.n_outcomes == 1:
            chosen = means[:, 0]
        else:
            # the first component whose cumulative probability exceeds the uniform number
            index = (logits.softmax(dim=1).cumsum(dim=1)[:, :-1] <= uniform[:, None]).sum(dim=1)
            chosen = means[th.arange(len(means), device=means.device), index]
        return chosen + self.noise_scale * self.squared_error.sqrt() * normal

    def loss(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        logits, means = self._outcomes(self.network, features, actions)
        errors = (next_features[:, None] - means).square()
        if self.n_outcomes == 1:
            return errors.mean()
        log_joint = self._log_joint(logits, errors)
        residual = (log_joint.detach().softmax(dim=1) * errors.detach().mean(dim=2)).sum(dim=1).mean()
        self.variance.lerp_(residual, _VARIANCE_RATE)
        return -log_joint.logsumexp(dim=1).mean()

    def squared_errors(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        logits, means = self._outcomes(self.averaged, features, actions)
        errors = (next_features[:, None] - means).square()
        responsibilities = self._log_joint(logits, errors).softmax(dim=1)
        return (responsibilities[:, :, None] * errors).sum(dim=1)

    def _outcomes(self, network: nn.Module, features: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, K) and means (batch, K, dim)."""
        output = network(th.cat([features, actions], dim=1))
        if self.n_outcomes == 1:
            return output.new_zeros(len(output), 1), (features + output)[:, None]
        logits, displacements = output.split([self.n_outcomes, self.n_outcomes * self.dim], dim=1)
        return logits, features[:, None] + displacements.view(-1, self.n_outcomes, self.dim)

    def _log_joint(self, logits: Tensor, errors: Tensor) -> Tensor:
        """log pi_k N(s'; ...) up to a constant, (batch, K)."""
        variance = _SLACK * self.variance.clamp(min=_MIN_VARIANCE)
        return logits.log_softmax(dim=1) - 0.5 * errors.mean(dim=2) / variance


class CategoricalDynamics(ForwardModel):
    """A table's worth of dynamics for one-hot states: p(s' | s, a) as a softmax. Samples are one-hot, exact whatever the
    world's noise; ``squared_errors`` are Brier's, the squared distance of probabilities and outcome.

    :param dim: number of states
    :param action_dim: of encoded actions
    :param net_arch: hidden layers
    """

    def __init__(self, dim: int, action_dim: int, net_arch: Sequence[int]) -> None:
        super().__init__(make_mlp(dim + action_dim, net_arch, dim), dim)

    def forward(self, features: Tensor, actions: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        cumulative = self.averaged(th.cat([features, actions], dim=1)).softmax(dim=1).cumsum(dim=1)
        states = (cumulative[:, :-1] <= uniform[:, None]).sum(dim=1)
        return F.one_hot(states, features.shape[1]).to(features)

    def loss(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        return F.cross_entropy(self.network(th.cat([features, actions], dim=1)), next_features)

    def squared_errors(self, features: Tensor, actions: Tensor, next_features: Tensor) -> Tensor:
        return (self.averaged(th.cat([features, actions], dim=1)).softmax(dim=1) - next_features).square()
