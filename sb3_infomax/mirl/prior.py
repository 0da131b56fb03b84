"""The action prior of MIRL, and what follows from it and the Q values: soft values and the soft policy.

Symbols as in the paper: rho(a) is the prior, beta the inverse temperature, Q(s, a) the action values. Logarithms are natural.
"""

import math
from collections.abc import Sequence
from operator import mul

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import Tensor, nn

from sb3_infomax.checks import NonFiniteError

Floats = NDArray[np.float64]


def soft_value(q_values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    """V(s) = (1 / beta) log sum_a rho(a) exp(beta Q(s, a)): the mean of Q at beta -> 0, its maximum at beta -> infinity.

    :param q_values: Q(s, .), shape (batch, n_actions)
    :param log_prior: log rho, shape (n_actions,)
    :param beta: inverse temperature
    :return: shape (batch, 1)
    """
    return th.logsumexp(th.add(log_prior, q_values, alpha=beta), dim=1, keepdim=True) / beta


def soft_value_of_policy(policy_q_values: Tensor, q_values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    """V(s) = sum_a pi(a | s) [Q(s, a) - (1 / beta) log(pi(a | s) / rho(a))] where pi is soft in *other* Q values.

    At most :func:`soft_value` of ``q_values`` (Gibbs), and equal to it where both Q values are; at beta -> infinity it is
    Q(s, argmax of the other), the target of double Q-learning.

    :param policy_q_values: what pi is made of, shape (batch, n_actions)
    :param q_values: what pi is judged by, shape (batch, n_actions)
    :param log_prior: log rho, shape (n_actions,)
    :param beta: inverse temperature
    :return: shape (batch, 1)
    """
    log_policy = th.log_softmax(log_prior + beta * policy_q_values, dim=1)
    return (log_policy.exp() * (q_values - (log_policy - log_prior) / beta)).sum(dim=1, keepdim=True)


def boltzmann_weights(q_values: Floats, beta: float) -> Floats:
    """exp(beta Q(s, a)), divided by the largest of each state: nothing overflows, and one weight is 1.

    :param q_values: Q(s, .), shape (..., n_actions)
    :param beta: inverse temperature
    :return: shape (..., n_actions)
    """
    weights: Floats = np.exp(beta * (q_values - q_values.max(axis=-1, keepdims=True)))
    return weights


def soft_policy(q_values: Floats, prior: Floats, beta: float) -> Floats:
    """pi(a | s) = rho(a) exp(beta Q(s, a)) / Z(s).

    :param q_values: Q(s, .), shape (..., n_actions)
    :param prior: rho, shape (n_actions,)
    :param beta: inverse temperature
    :return: shape (..., n_actions)
    """
    policy = prior * boltzmann_weights(q_values, beta)
    policy /= policy.sum(axis=-1, keepdims=True)
    return policy


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """sum_a p(a) log(p(a) / q(a)) in nats; an action with p(a) = 0 adds nothing.

    :param p: shape (..., n_actions)
    :param q: positive wherever p is, of a shape that broadcasts
    :return: shape (...)
    """
    tiny = np.finfo(np.float64).tiny
    return (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum(axis=-1)


class ActionPrior(nn.Module):
    """rho(a) and beta as buffers of the policy, so that whatever saves, loads or copies the policy carries them.

    They stay on the CPU, in float64, wherever the policy goes: a step of 2e-6 towards pi is lost in float32, and a handful of
    numbers that change with every environment step are read sooner there than on a GPU.

    :param n_actions: number of actions; the prior starts uniform, beta at 1
    """

    probabilities: Tensor  # (n_actions,), rho
    beta: Tensor  # ()

    def __init__(self, n_actions: int) -> None:
        super().__init__()
        self.register_buffer("probabilities", th.full((n_actions,), 1.0 / n_actions, dtype=th.float64))
        self.register_buffer("beta", th.tensor(1.0, dtype=th.float64))

    def _apply(self, fn, recurse=True):  # what .to(), .cuda(), .half() call
        return self

    def numpy(self) -> Floats:
        """rho, shape (n_actions,): a view, not a copy."""
        return self.probabilities.numpy()

    def log(self, device: th.device) -> Tensor:
        """log rho in float32 for the loss, shape (n_actions,)."""
        return self.probabilities.log().to(device, th.float32)

    def start(self, probabilities: Sequence[float] | Floats | None, floor: float) -> None:
        """Set rho.

        :param probabilities: shape (n_actions,), or None for the uniform distribution
        :param floor: what each of them must at least be
        :raises ValueError: where this is no distribution over the actions above the floor
        """
        rho = self.numpy()
        values = np.full(len(rho), 1.0 / len(rho)) if probabilities is None else np.asarray(probabilities, dtype=np.float64)
        if values.shape != rho.shape:
            raise ValueError(f"initial_prior needs one probability for each of {len(rho)} actions, got shape {values.shape}.")
        if not (np.isfinite(values).all() and (values >= floor).all() and abs(values.sum() - 1.0) < 1e-6):
            raise ValueError(f"initial_prior must sum to 1 and be at least prior_floor={floor:g} everywhere, got {values}.")
        rho[:] = values / values.sum()

    def weights(self, q_values: Floats) -> Floats:
        """What rho is multiplied by to give pi, up to a factor for each state, shape (n_states, n_actions).

        :param q_values: shape (n_states, n_actions)
        """
        return boltzmann_weights(q_values, float(self.beta))

    def greedy(self, weights: Floats) -> NDArray[np.int64]:
        """argmax_a pi(a | s) = argmax_a [log rho(a) + beta Q(s, a)].

        :param weights: of the states, shape (n_states, n_actions)
        :return: shape (n_states,)
        """
        return (self.numpy() * weights).argmax(axis=1)

    def sample(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Actions from rho, drawn by numpy's global generator as all exploration of DQN."""
        cumulative = self.numpy().cumsum()
        return cumulative.searchsorted(np.random.random_sample(shape) * cumulative[-1], side="right")

    def update(self, weights: Floats, learning_rate: float, floor: float) -> None:
        """rho <- (1 - alpha) rho + alpha pi(. | s), for one state after the other.

        As pi is rho w / (rho . w), each is a product, rho <- rho [1 - alpha + alpha w / (rho . w)], and brings the sum back
        to 1 where rounding took it off.

        :param weights: w of the states, shape (n_states, n_actions)
        :param learning_rate: alpha
        :param floor: no probability ends below: products never bring an action back from 0
        """
        # lists: for as few numbers as there are actions, a quarter of numpy's time
        view = self.numpy()
        rho = view.tolist()
        for w in weights.tolist():
            step = learning_rate / sum(map(mul, rho, w))
            rho = [p * (1.0 - learning_rate + step * x) for p, x in zip(rho, w, strict=True)]
        if math.isnan(rho[0]):  # then all are
            raise NonFiniteError("Q values became NaN, and with them MIRL's prior: look for NaN in observations.")
        if min(rho) < floor:
            rho = [max(p, floor) for p in rho]
            rho[rho.index(max(rho))] += 1.0 - sum(rho)
        view[:] = rho
