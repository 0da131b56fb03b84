"""Discrete channels: exact mutual information, and capacity between two bounds (Blahut-Arimoto), in float64.

A channel is a matrix p(y | x) of shape (n_inputs, n_outputs), rows summing to one; a stack of them of shape
(..., n_inputs, n_outputs) is solved at once. Empowerment is the capacity of the channel from actions to later states,
hence one channel per state.

Exponentials and logarithms are both natural throughout, bits enter in one division at the end (mixing the two is the known
error of public implementations: it gives a binary symmetric channel .3234 bits instead of .5310).
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Unit = Literal["nats", "bits"]
Floats = NDArray[np.float64]

# Rows of a learned model are float32: they sum to one within this, and are divided by their sums
_SUM_TOLERANCE = 1e-5


class ChannelCapacity(NamedTuple):
    """lower <= capacity <= upper, whether or not the iterations sufficed. For one channel, batch shape () and scalars."""

    lower: Any  # (...) mutual information of `source` through the channel, in the unit asked for
    upper: Any  # (...) largest divergence of an output row from the output's distribution
    source: Floats  # (..., n_inputs) the distribution of inputs that reaches `lower`
    iterations: Any  # (...) updates of the source that were made


def nats_per(unit: str) -> float:
    """How many nats one unit is: "nats" or "bits"."""
    if unit not in ("nats", "bits"):
        raise ValueError(f"unit must be 'nats' or 'bits', got {unit!r}.")
    return 1.0 if unit == "nats" else math.log(2)


def as_distributions(values: ArrayLike, name: str, shape: str, rank: int) -> Floats:
    """Probabilities along the last axis, checked and divided by their sums; one sentence where they are none."""
    probabilities = np.asarray(values, dtype=np.float64)
    if probabilities.ndim < rank or 0 in probabilities.shape:
        raise ValueError(f"The {name} must have shape {shape} and no empty axis, got {probabilities.shape}.")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"The {name} has entries that are NaN or infinite.")
    if (probabilities < 0).any():
        raise ValueError(f"The {name} has negative entries, the smallest {probabilities.min():.3g}.")
    sums = probabilities.sum(axis=-1, keepdims=True)
    worst = sums.flat[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > _SUM_TOLERANCE:
        raise ValueError(f"The probabilities of the {name} must sum to 1 along the last axis, but one sum is {worst:.6g}.")
    return probabilities / sums


def _log(probabilities: Floats) -> Floats:
    # Only ever multiplied by a probability that is 0 wherever this one is, and 0 * finite = 0
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def _negative_row_entropies(channel: Floats) -> Floats:
    return (channel * _log(channel)).sum(axis=-1)


def _divergences(source: Floats, channel: Floats, negative_entropies: Floats) -> Floats:
    """D(p(y | x) || p(y)) of every input x where inputs follow ``source``: (..., n_x), (..., n_x, n_y) -> (..., n_x), nats."""
    output = source[..., None, :] @ channel  # (..., 1, n_y)
    cross_entropies = channel @ -_log(output).swapaxes(-1, -2)  # (..., n_x, 1)
    return np.maximum(cross_entropies[..., 0] + negative_entropies, 0.0)  # below 0 by rounding only


def mutual_information(source: ArrayLike, channel: ArrayLike, unit: Unit = "nats") -> Any:
    """Exact I(X; Y) for inputs from ``source`` through ``channel``.

    :param source: p(x), shape (..., n_inputs)
    :param channel: p(y | x), shape (..., n_inputs, n_outputs)
    :param unit: "nats" or "bits"
    :return: shape (...), of source and channel broadcast, in ``unit``
    :raises ValueError: for anything that is not a distribution, or where the numbers of inputs differ
    """
    nats = nats_per(unit)
    p = as_distributions(source, "source", "(..., n_inputs)", rank=1)
    w = as_distributions(channel, "channel", "(..., n_inputs, n_outputs)", rank=2)
    if p.shape[-1] != w.shape[-2]:
        raise ValueError(f"The source has {p.shape[-1]} inputs, but the channel {w.shape[-2]}.")
    return (p * _divergences(p, w, _negative_row_entropies(w))).sum(axis=-1) / nats


def blahut_arimoto(
    channel: ArrayLike, *, unit: Unit = "nats", tolerance: float = 1e-9, max_iterations: int = 10_000
) -> ChannelCapacity:
    """Capacity max_p(x) I(X; Y) of any discrete memoryless channel, enclosed.

    From a uniform source, with D_x = KL(p(y | x) || p(y)): ::

        sum_x p(x) D_x  <=  capacity  <=  max_x D_x,        p(x) <- p(x) e^(D_x) / sum_x' p(x') e^(D_x')

    Both sides are true bounds at every iteration and meet where all inputs in use are equally far from the output's
    distribution and none is farther. A channel leaves the stack as soon as its own bounds are ``tolerance`` apart.
    Blahut, "Computation of channel capacity and rate-distortion functions" (1972); Arimoto, "An algorithm for computing the
    capacity of arbitrary discrete memoryless channels" (1972), both IEEE Transactions on Information Theory 18.

    :param channel: p(y | x), shape (..., n_inputs, n_outputs); rows off 1 by float32 rounding are renormalised
    :param unit: "nats" or "bits", of the results and of ``tolerance``
    :param tolerance: stop where upper - lower is less
    :param max_iterations: stop here in any case; the enclosure is then wider than ``tolerance``
    :return: lower, upper, source, iterations; shapes (...), (...), (..., n_inputs), (...)
    :raises ValueError: for entries that are negative or not finite, rows that do not sum to 1, fewer than two axes,
        another unit, or negative iterations
    """
    nats = nats_per(unit)
    if max_iterations < 0:
        raise ValueError(f"max_iterations must be 0 or more, got {max_iterations}.")
    w = as_distributions(channel, "channel", "(..., n_inputs, n_outputs)", rank=2)
    *batch_shape, n_inputs, n_outputs = w.shape
    w = w.reshape(-1, n_inputs, n_outputs)
    lower, upper, sources = np.empty(len(w)), np.empty(len(w)), np.empty((len(w), n_inputs))
    iterations = np.empty(len(w), dtype=np.int64)

    running = np.arange(len(w))  # which channels w, p and entropies still hold
    p, entropies = np.full((len(w), n_inputs), 1 / n_inputs), _negative_row_entropies(w)
    for iteration in range(max_iterations + 1):
        divergences = _divergences(p, w, entropies)  # (running, n_inputs)
        highest = divergences.max(axis=1)
        average = np.minimum((p * divergences).sum(axis=1), highest)
        finished = (highest - average < tolerance * nats) | (iteration == max_iterations)
        if finished.any():
            done = running[finished]
            lower[done], upper[done], sources[done] = average[finished], highest[finished], p[finished]
            iterations[done] = iteration
            keep = ~finished
            running, p, w, entropies = running[keep], p[keep], w[keep], entropies[keep]
            divergences, highest = divergences[keep], highest[keep]
        if len(running) == 0:
            break
        p = p * np.exp(divergences - highest[:, None])
        p /= p.sum(axis=1, keepdims=True)

    return ChannelCapacity(
        lower=(lower / nats).reshape(batch_shape)[()],  # [()] turns arrays of shape () into scalars, and no others
        upper=(upper / nats).reshape(batch_shape)[()],
        source=sources.reshape(*batch_shape, n_inputs),
        iterations=iterations.reshape(batch_shape)[()],
    )
