"""The action prior of MIRL, and what follows from it and the Q values: soft values and the soft policy.

Symbols as in the paper: rho(a) is the prior, beta the inverse temperature, Q(s, a) the action values. Logarithms are natural.
"""

from collections.abc import Sequence

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]


def soft_value(q_values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    """V(s) = (1 / beta) log sum_a rho(a) exp(beta Q(s, a)): the mean of Q at beta -> 0, its maximum at beta -> infinity.

    :param q_values: Q(s, .), shape (batch, n_actions)
    :param log_prior: log rho, shape (n_actions,)
    :param beta: inverse temperature
    :return: shape (batch, 1)
    """
    return th.logsumexp(log_prior + beta * q_values, dim=1, keepdim=True) / beta


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


def soft_policy(q_values: Floats, prior: Floats, beta: float) -> Floats:
    """pi(a | s) = rho(a) exp(beta Q(s, a)) / Z(s).

    :param q_values: Q(s, .), shape (..., n_actions)
    :param prior: rho, shape (n_actions,)
    :param beta: inverse temperature
    :return: shape (..., n_actions)
    """
    # the largest exponent is 0: nothing overflows, and Z is at least the prior of that action
    policy = prior * np.exp(beta * (q_values - q_values.max(axis=-1, keepdims=True)))
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

    def update(self, q_values: Floats, learning_rate: float, floor: float) -> None:
        """rho <- (1 - alpha) rho + alpha pi(. | s), for one state after the other.

        :param q_values: of the states, shape (n_states, n_actions)
        :param learning_rate: alpha
        :param floor: no probability falls below: pi is a multiple of rho, so that an action at 0 could never return
        """
        rho, beta = self.numpy(), float(self.beta)
        for values in q_values:
            rho += learning_rate * (soft_policy(values, rho, beta) - rho)
            np.maximum(rho, floor, out=rho)
            # the largest pays for what the floor gave, and takes up the rounding
            rho[rho.argmax()] += 1.0 - rho.sum()

    def greedy(self, q_values: Floats) -> NDArray[np.int64]:
        """argmax_a pi(a | s) = argmax_a [log rho(a) + beta Q(s, a)].

        :param q_values: shape (n_states, n_actions)
        :return: shape (n_states,)
        """
        return (np.log(self.numpy()) + float(self.beta) * q_values).argmax(axis=1)
