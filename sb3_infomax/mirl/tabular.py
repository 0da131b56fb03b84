"""
Control with a price on information, in tables: exact solutions, and the learners of MIRL's figures.

The objective is Grau-Moya, Leibfried and Vrancx, "Soft Q-learning with mutual-information regularization" (ICLR 2019): ::

    J(pi, rho) = E_pi sum_t gamma^t [ r(s_t, a_t) - (1 / beta) log(pi(a_t | s_t) / rho(a_t)) ]                    (1)

For a given prior rho, soft value iteration solves it; for a given policy, the best prior is the policy's own average over
the states it visits, which makes the price (1 / beta) times the mutual information between state and action. All is numpy
in float64. The deep :class:`~sb3_infomax.mirl.mirl.MIRL` follows the same equations on samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_infomax.mi.channel import mutual_information

Floats = NDArray[np.float64]
Method = Literal["ql", "sql", "sql_m", "mirl"]
_TINY = float(np.finfo(np.float64).tiny)  # log(0) of an action that the prior has given up


@dataclass(frozen=True)
class TabularMDP:
    """
    A finite Markov decision process, whose episodes end where a terminal state is reached.

    :param transitions: p(s' | s, a), shape (n_states, n_actions, n_states)
    :param rewards: E[r | s, a], which the learners receive, shape (n_states, n_actions)
    :param terminal: which states end the episode, shape (n_states,)
    :param start: p(s_0), shape (n_states,)
    :raises ValueError: one sentence, where shapes do not fit or probabilities are none
    """

    transitions: Floats
    rewards: Floats
    terminal: NDArray[np.bool_]
    start: Floats

    def __post_init__(self) -> None:
        if self.rewards.ndim != 2:
            raise ValueError(f"The rewards must have shape (n_states, n_actions), got {self.rewards.shape}.")
        n_states, n_actions = self.rewards.shape
        shapes = {"transitions": (n_states, n_actions, n_states), "terminal": (n_states,), "start": (n_states,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"The {name} must have shape {shape} beside these rewards, got {getattr(self, name).shape}.")
        for name, rows in (("transitions", self.transitions), ("start", self.start)):
            if not ((rows >= 0).all() and np.allclose(rows.sum(axis=-1), 1.0, atol=1e-6)):
                raise ValueError(f"The {name} must be probabilities that sum to 1 along the last axis.")
        if self.start[self.terminal].any():
            raise ValueError("No episode may start in a terminal state.")

    @classmethod
    def of(cls, env: Any) -> "TabularMDP":
        """
        The process behind an environment, such as :class:`~sb3_infomax.envs.grid_world.GridWorldEnv`.

        :param env: with ``transition_matrix()``, ``reward_matrix()`` (actions first), ``terminal`` and
            ``start_distribution()``; wrappers are looked through
        """
        world = env.unwrapped
        transitions, rewards = world.transition_matrix().swapaxes(0, 1), world.reward_matrix().T
        return cls(transitions, rewards, world.terminal, world.start_distribution())

    @cached_property
    def going_on(self) -> Floats:
        """p(s' | s, a) without the steps that end the episode, shape (n_states, n_actions, n_states)."""
        return np.where(self.terminal, 0.0, self.transitions)

    @cached_property
    def cumulative(self) -> Floats:
        """Running sums of p(s' | s, a) over s', to sample from."""
        sums = self.transitions.cumsum(axis=-1)
        return sums / sums[..., -1:]


def soft_backup(q_values: Floats, prior: Floats, beta: float) -> tuple[Floats, Floats]:
    """
    Value and policy of the soft operator, eqs. (2) and (4), for any size of beta Q: ::

        V = (1 / beta) log sum_a rho(a) exp(beta Q(a)),      pi(a) = rho(a) exp(beta Q(a)) / Z

    :param q_values: shape (..., n_actions)
    :param prior: rho, of a shape that broadcasts against ``q_values``
    :param beta: inverse temperature, > 0; infinity gives the maximum, and the prior on the actions that reach it
    :return: V, shape (...), and pi, shape (..., n_actions)
    """
    scores = q_values + np.log(np.maximum(prior, _TINY)) / beta
    highest = scores.max(axis=-1, keepdims=True)
    gaps = scores - highest
    if math.isinf(beta):
        weights = np.where(gaps == 0, np.broadcast_to(prior, gaps.shape), 0.0)
        return highest[..., 0], weights / weights.sum(axis=-1, keepdims=True)
    weights = np.exp(beta * gaps)
    total = weights.sum(axis=-1, keepdims=True)
    return (highest + np.log(total) / beta)[..., 0], weights / total


def soft_value_iteration(
    mdp: TabularMDP, prior: Floats, beta: float, discount: float, *, tolerance: float = 1e-9, q_values: Floats | None = None
) -> Floats:
    """
    The fixed point of eq. (3), Q(s, a) = r(s, a) + gamma E[V_rho(s')], which contracts by gamma.

    :param mdp: the process
    :param prior: rho, shape (n_actions,)
    :param beta: inverse temperature; infinity gives plain value iteration
    :param discount: gamma, in [0, 1)
    :param tolerance: largest error of an entry of the result, up to rounding
    :param q_values: where to begin, shape (n_states, n_actions); zeros by default
    :return: Q, shape (n_states, n_actions)
    :raises ValueError: for another discount, or a beta that is not positive
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be at least 0 and below 1, got {discount}.")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}.")
    q_values = np.zeros_like(mdp.rewards) if q_values is None else q_values
    while True:
        values, _ = soft_backup(q_values, prior, beta)
        updated = mdp.rewards + discount * mdp.going_on @ values
        change = np.abs(updated - q_values).max()
        q_values = updated
        # what is left is at most gamma / (1 - gamma) times the change; below rounding a change may not fall
        rounding = 4 * np.finfo(np.float64).eps * np.abs(updated).max()
        if discount * change <= max(tolerance * (1 - discount), rounding):
            return q_values


def visitation(mdp: TabularMDP, policy: Floats, discount: float) -> Floats:
    """
    Where a policy spends its discounted time: d(s) proportional to sum_t gamma^t p(s_t = s), before the episode ends.

    :param policy: pi(a | s), shape (n_states, n_actions)
    :return: a distribution, shape (n_states,), 0 at terminal states
    """
    moves = np.einsum("sa,sat->st", policy, mdp.going_on)
    time = np.linalg.solve(np.eye(len(moves)) - discount * moves.T, mdp.start)
    return time / time.sum()


def optimal_prior(
    q_values: Floats, states: Floats, beta: float, *, tolerance: float = 1e-12, max_iterations: int = 100_000
) -> Floats:
    """
    The best prior for fixed action values and states, by Blahut and Arimoto's iterations: ::

        rho(a) <- sum_s p(s) pi_rho(a | s)

    It solves a rate-distortion problem in which -Q is the distortion, and is what the average in MIRL's eq. (11) tends to.

    :param q_values: shape (n_states, n_actions)
    :param states: p(s), shape (n_states,)
    :param tolerance: stop where no entry moves by more
    :return: rho, shape (n_actions,); actions that are not worth their information tend to 0
    """
    prior = np.full(q_values.shape[-1], 1 / q_values.shape[-1])
    for _ in range(max_iterations):
        _, policy = soft_backup(q_values, prior, beta)
        previous, prior = prior, states @ policy
        if np.abs(prior - previous).max() <= tolerance:
            break
    return prior


class Plan(NamedTuple):
    """The exact solution that MIRL approaches."""

    q_values: Floats  # (n_states, n_actions)
    policy: Floats  # (n_states, n_actions) pi(a | s)
    prior: Floats  # (n_actions,) rho, the policy's own average over `states`
    states: Floats  # (n_states,) discounted visits of the policy
    information: float  # I(S; A) in nats
    objective: Floats  # (n_iterations,) J of eq. (1) at each prior: never falls


def plan_with_information_cost(
    mdp: TabularMDP, beta: float, discount: float, *, tolerance: float = 1e-8, max_iterations: int = 1000
) -> Plan:
    """
    Maximise J over policy and prior, eq. (1), by turns: soft value iteration, then rho <- the policy's average action.

    Both steps raise J, so it never falls. The end is a stationary point, not always the best one: priors that differ at
    the start can lead to different ends, as actions once given up do not return. The start is uniform.

    :param mdp: the process
    :param beta: inverse temperature
    :param discount: gamma, in [0, 1)
    :param tolerance: stop where no entry of the prior moves by more
    """
    q_values, prior = np.zeros_like(mdp.rewards), np.full(mdp.rewards.shape[1], 1 / mdp.rewards.shape[1])
    objective = []
    for _ in range(max_iterations):
        q_values = soft_value_iteration(mdp, prior, beta, discount, q_values=q_values)
        values, policy = soft_backup(q_values, prior, beta)
        objective.append(mdp.start @ values)
        states = visitation(mdp, policy, discount)
        previous, prior = prior, states @ policy
        if np.abs(prior - previous).max() <= tolerance:
            break
    return Plan(q_values, policy, prior, states, float(mutual_information(states, policy)), np.array(objective))


class TabularQ:
    """
    Q-learning and its soft relatives in tables, ``n_runs`` independent learners stepping side by side.

    ==========  =====================  =============================  ==================================
    method      backs up               greedy action                  explores with
    ==========  =====================  =============================  ==================================
    ``ql``      max Q                  argmax Q                       all actions alike
    ``sql``     soft, uniform prior    argmax Q                       all actions alike
    ``sql_m``   soft, uniform prior    argmax Q                       the share of each action so far
    ``mirl``    soft, learned prior    argmax log rho + beta Q        the prior
    ==========  =====================  =============================  ==================================

    One step, in the order of the paper's Algorithm 1: act in s; rho <- (1 - alpha_rho) rho + alpha_rho pi(. | s);
    Q(s, a) <- Q + n(s, a)^-omega (r + gamma V_rho(s') - Q) with the new prior; beta grows. Ties are broken at random.
    Episodes go on to their end, without a limit.

    :param mdp: the process to act in
    :param method: which of the four
    :param n_runs: learners; they share one random generator and nothing else
    :param seed: of that generator
    :param discount: gamma; 0.999 is the authors' advice to the reproducers of the paper, who had started from 0.99
    :param epsilon: share of exploring steps; the paper's 0.1
    :param omega: exponent of the step size n(s, a)^-omega; the paper's 0.8
    :param prior_lr: alpha_rho, of ``mirl``; the paper's 2e-3 (the authors later advised less than 1e-3 on the 8 x 8 world)
    :param beta: inverse temperature: a number, or a function of the number of the step, from 1; the paper's 0.001 times that
        number by default. ``ql`` is infinity in any case
    """

    def __init__(
        self,
        mdp: TabularMDP,
        method: Method = "mirl",
        *,
        n_runs: int = 10,
        seed: int = 0,
        discount: float = 0.999,
        epsilon: float = 0.1,
        omega: float = 0.8,
        prior_lr: float = 2e-3,
        beta: float | Callable[[int], float] = lambda step: 1e-3 * step,
    ) -> None:
        if method not in ("ql", "sql", "sql_m", "mirl"):
            raise ValueError(f"method must be 'ql', 'sql', 'sql_m' or 'mirl', got {method!r}.")
        self.mdp, self.method = mdp, method
        self.discount, self.epsilon, self.omega, self.prior_lr = discount, epsilon, omega, prior_lr
        self._beta = beta
        self._rng, self._evaluation_rng = np.random.default_rng(seed).spawn(2)
        n_states, n_actions = mdp.rewards.shape
        self._runs = np.arange(n_runs)
        self.n_steps = 0
        self.q_values = np.zeros((n_runs, n_states, n_actions))
        self.visits = np.zeros((n_runs, n_states, n_actions), dtype=np.int64)
        self.prior = np.full((n_runs, n_actions), 1 / n_actions)
        self.states = self._starts((n_runs,), self._rng)

    @property
    def beta(self) -> float:
        """Inverse temperature of the coming step."""
        if self.method == "ql":
            return math.inf
        return self._beta(self.n_steps + 1) if callable(self._beta) else self._beta

    def train(self, n_steps: int) -> None:
        """
        So many environment steps of every run.

        :param n_steps: how many
        """
        for _ in range(n_steps):
            self._step()

    def evaluate(self, n_episodes: int = 30, max_steps: int = 100, epsilon: float = 0.05) -> Floats:
        """
        Mean undiscounted return of fresh episodes, with the behaviour policy. Training is not touched.

        :param n_episodes: of every run; the paper's 30
        :param max_steps: episodes are cut after so many; the paper's 100
        :param epsilon: share of exploring steps; the paper's 0.05
        :return: shape (n_runs,)
        """
        rng = self._evaluation_rng
        states = self._starts((len(self._runs), n_episodes), rng)
        returns = np.zeros(states.shape)
        for _ in range(max_steps):
            actions = self.act(states, epsilon, rng)
            returns += np.where(self.mdp.terminal[states], 0.0, self.mdp.rewards[states, actions])
            states = self._successors(states, actions, rng)
            if self.mdp.terminal[states].all():
                break
        return returns.mean(axis=1)

    def act(self, states: NDArray[np.int64], epsilon: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """
        The behaviour policy: greedy, and with probability ``epsilon`` drawn as the method explores.

        :param states: shape (n_runs, n), any n
        :return: actions, shape (n_runs, n)
        """
        # argmax of log rho + beta Q, divided by beta, which may be infinite
        scores = self.q_values[self._runs[:, None], states] + (np.log(np.maximum(self.prior, _TINY)) / self.beta)[:, None]
        tied = scores == scores.max(axis=-1, keepdims=True)
        greedy = (tied * rng.random(scores.shape)).argmax(axis=-1)
        cumulative = self._exploration().cumsum(axis=-1)[:, None]  # (n_runs, 1, n_actions)
        explored = (rng.random((*states.shape, 1)) * cumulative[..., -1:] < cumulative).argmax(axis=-1)
        return np.where(rng.random(states.shape) < epsilon, explored, greedy)

    def _exploration(self) -> Floats:
        """Weights of the actions of exploring steps, shape (n_runs, n_actions)."""
        if self.method == "sql_m" and self.n_steps > 0:
            return self.visits.sum(axis=1).astype(np.float64)
        return self.prior  # uniform but for mirl

    def _step(self) -> None:
        runs, states, beta = self._runs, self.states, self.beta
        actions = self.act(states[:, None], self.epsilon, self._rng)[:, 0]
        next_states = self._successors(states, actions, self._rng)
        ends = self.mdp.terminal[next_states]
        if self.method == "mirl":
            _, policy = soft_backup(self.q_values[runs, states], self.prior, beta)
            self.prior += self.prior_lr * (policy - self.prior)
        values, _ = soft_backup(self.q_values[runs, next_states], self.prior, beta)
        targets = self.mdp.rewards[states, actions] + self.discount * np.where(ends, 0.0, values)
        self.visits[runs, states, actions] += 1
        step_sizes = self.visits[runs, states, actions] ** -self.omega
        self.q_values[runs, states, actions] += step_sizes * (targets - self.q_values[runs, states, actions])
        self.n_steps += 1
        self.states = np.where(ends, self._starts(states.shape, self._rng), next_states)

    def _starts(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.choice(len(self.mdp.start), size=shape, p=self.mdp.start / self.mdp.start.sum())

    def _successors(
        self, states: NDArray[np.int64], actions: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return (rng.random((*states.shape, 1)) < self.mdp.cumulative[states, actions]).argmax(axis=-1)
