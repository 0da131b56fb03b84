"""Exact empowerment of finite worlds: how much the next n actions can tell the state that they lead to.

The channel of a state has the sequences of n actions a^n = (a_1, ..., a_n), chosen at once (open loop), as its inputs, and the
state s_n that they lead to as its output: ::

    E_n(s) = max_{p(a^n)} I(A^n; S_n | s),        p(s_n | s, a^n) = e_s T_{a_1} ... T_{a_n}

with e_s the row that is 1 at s and T_a the transition matrix of action a. Klyubin, Polani and Nehaniv, "All Else Being Equal
Be Empowered" (2005). In a deterministic world this is the logarithm of how many states can be reached in exactly n steps.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from sb3_infomax.mi.channel import Floats, Unit, as_distributions, blahut_arimoto, nats_per

_MAX_ENTRIES = 2**25  # of a stack of channels that is solved at once: 256 MB
_DECIMALS = 12  # rows that agree in these are one row: products in another order differ by rounding


def check_transition(transition: ArrayLike) -> Floats:
    """
    A transition matrix, checked and with rows divided by their sums.

    :param transition: p(s' | s, a), shape (n_actions, n_states, n_states)
    :return: the same, float64
    :raises ValueError: one sentence, where it is none
    """
    matrix = as_distributions(transition, "transition matrix", "(n_actions, n_states, n_states)", rank=3)
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2]:
        raise ValueError(f"The transition matrix must have shape (n_actions, n_states, n_states), got {matrix.shape}.")
    return matrix


def _check_horizon(horizon: int) -> None:
    if horizon < 1:
        raise ValueError(f"horizon is a number of steps and must be at least 1, got {horizon}.")


def n_step_channel(transition: ArrayLike, horizon: int) -> Floats:
    """
    p(s_n | s, a^n) of every state and every sequence of ``horizon`` actions, the last action varying fastest.

    :param transition: p(s' | s, a), shape (n_actions, n_states, n_states)
    :param horizon: n, the number of actions
    :return: shape (n_states, n_actions ** horizon, n_states)
    """
    matrix = check_transition(transition)
    _check_horizon(horizon)
    n_states = matrix.shape[1]
    channel = np.eye(n_states)[:, None]  # (n_states, 1, n_states)
    for _ in range(horizon):
        channel = np.einsum("skt,atu->skau", channel, matrix, optimize=True).reshape(n_states, -1, n_states)
    return channel


def _distinct_rows(matrix: Floats, state: int, horizon: int) -> Floats:
    """The distinct rows of one state's channel, (n_rows, n_states): equal inputs add nothing to a capacity.

    Merged after every step, since sequences whose beginnings are equal inputs stay so.
    """
    rows = np.eye(len(matrix[0]))[[state]]
    for _ in range(horizon):
        followed = np.einsum("kt,atu->kau", rows, matrix, optimize=True).reshape(-1, rows.shape[1])
        _, first = np.unique(followed.round(_DECIMALS), axis=0, return_index=True)
        rows = followed[first]
    return rows


def _n_reachable(matrix: Floats, horizon: int) -> Floats:
    """How many states can be reached in exactly ``horizon`` steps, from each state, shape (n_states,)."""
    one_step = (matrix.max(axis=0) > 0).astype(np.float32)  # floats: their product is the one that is fast
    reached = one_step
    for _ in range(horizon - 1):
        reached = np.minimum(reached @ one_step, 1.0)
    return reached.sum(axis=1, dtype=np.float64)


def empowerment(
    transition: ArrayLike, horizon: int = 1, *, unit: Unit = "nats", tolerance: float = 1e-4, max_iterations: int = 10_000
) -> Floats:
    """
    Exact n-step empowerment of every state of a finite world: by counting where it is deterministic, else by Blahut and
    Arimoto's iteration.

    :param transition: p(s' | s, a), shape (n_actions, n_states, n_states); a state after which nothing follows is its own
        successor under every action, and has empowerment 0
    :param horizon: n, the number of actions in a sequence, which are chosen at once (open loop)
    :param unit: "nats" or "bits", of the result and of ``tolerance``
    :param tolerance: the result is below the capacity by less than this
    :param max_iterations: stop here in any case, with a warning that names the worst gap
    :return: shape (n_states,), a lower bound within ``tolerance``
    :raises ValueError: one sentence, for anything that is no transition matrix, a horizon below 1 or another unit
    """
    matrix = check_transition(transition)
    _check_horizon(horizon)
    n_states = matrix.shape[1]
    if (matrix.max(axis=2) == 1).all():
        return np.log(_n_reachable(matrix, horizon)) / nats_per(unit)
    channels = [_distinct_rows(matrix, state, horizon) for state in range(n_states)]
    longest = max(len(rows) for rows in channels)
    at_once = max(1, _MAX_ENTRIES // (longest * n_states))
    values, worst = np.empty(n_states), 0.0
    for start in range(0, n_states, at_once):
        # a row said twice changes no capacity either: all channels of a stack get as many
        stack = np.stack([rows[np.arange(longest) % len(rows)] for rows in channels[start : start + at_once]])
        capacity = blahut_arimoto(stack, unit=unit, tolerance=tolerance, max_iterations=max_iterations)
        values[start : start + at_once] = capacity.lower
        worst = max(worst, float((capacity.upper - capacity.lower).max()))
    if worst >= tolerance:
        warnings.warn(
            f"Empowerment is known only to {worst:.2g} {unit} after {max_iterations} iterations, not to {tolerance:.2g}: "
            "raise max_iterations or tolerance."
        )
    return values
