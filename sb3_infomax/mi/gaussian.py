"""Gaussians, where mutual information is known: what estimators are tested and calibrated against. In nats.

x and y are ``dim`` independent pairs of standard normals, each pair with correlation rho.
"""

import math

import numpy as np
import torch as th
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def _check_rho(rho: float) -> None:
    if not -1 < rho < 1:
        raise ValueError(f"The correlation must lie strictly between -1 and 1, got {rho}.")


def correlated_gaussians(
    batch_size: int, rho: float, dim: int = 1, *, generator: th.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw pairs (x, y), row i of both drawn together.

    :param batch_size: number of pairs
    :param rho: correlation of x[:, k] with y[:, k], in (-1, 1)
    :param dim: length of x and of y
    :param generator: where the numbers come from (its device, too); torch's global one by default
    :return: x and y, each of shape (batch_size, dim), float32
    :raises ValueError: for a correlation outside (-1, 1)
    """
    _check_rho(rho)
    device = None if generator is None else generator.device
    x, noise = th.randn(2, batch_size, dim, generator=generator, device=device)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def gaussian_mutual_information(rho: float, dim: int = 1) -> float:
    """I(X; Y) = -dim/2 log(1 - rho^2).

    :param rho: correlation, in (-1, 1)
    :param dim: number of pairs
    :return: nats
    :raises ValueError: for a correlation outside (-1, 1)
    """
    _check_rho(rho)
    return -dim / 2 * math.log1p(-(rho**2))


def gaussian_log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(x, y) / (p(x) p(y)), the critic that no critic can beat.

    ``gaussian_log_ratio(x, y, rho)`` scores rows with rows, ``gaussian_log_ratio(x[:, None], y, rho)`` all pairs.

    :param x: shape (..., dim)
    :param y: shape (..., dim)
    :param rho: correlation, in (-1, 1)
    :return: shape (...) of x and y broadcast, nats
    :raises ValueError: for a correlation outside (-1, 1)
    """
    _check_rho(rho)
    exponent = (2 * rho * x * y - rho**2 * (x.square() + y.square())) / (2 * (1 - rho**2))
    return exponent.sum(dim=-1) + gaussian_mutual_information(rho, x.shape[-1])


def gaussian_jensen_shannon(rho: float, dim: int = 1) -> float:
    """2 JS(joint || product), the largest value that :func:`~sb3_infomax.mi.bounds.jensen_shannon` can have.

    By quadrature. Under the joint the log ratio is r = I(X; Y) + rho/2 (s^2 - t^2) with two independent chi variables s, t of
    ``dim`` degrees of freedom, the lengths of (x + y) and (x - y) over their scale. The product's expectation is taken under
    the joint too, E_product[f] = E_joint[e^-r f], where the integrand is bounded and smooth for every rho.

    :param rho: correlation, in (-1, 1)
    :param dim: number of pairs
    :return: nats, in [0, 2 log 2)
    :raises ValueError: for a correlation outside (-1, 1)
    """
    nodes, weights = np.polynomial.legendre.leggauss(300)
    # A chi variable lies within 10 of sqrt(dim) but for e^-50; its density need only be known up to a factor
    low, high = max(math.sqrt(dim) - 10, 0.0), math.sqrt(dim) + 10
    length = low + (high - low) * (nodes + 1) / 2  # (nodes,)
    log_density = (dim - 1) * np.log(length) - length**2 / 2
    weights = weights * np.exp(log_density - log_density.max())
    weights /= weights.sum()

    r = gaussian_mutual_information(rho, dim) + rho / 2 * (length[:, None] ** 2 - length**2)  # (nodes, nodes)
    loss = np.logaddexp(0, -r) + np.exp(np.log(np.logaddexp(0, r)) - r)
    return float(2 * math.log(2) - weights @ loss @ weights)


def water_filling(noise_powers: ArrayLike, power: float) -> tuple[float, NDArray[np.float64]]:
    """Capacity of parallel Gaussian channels y_k = x_k + noise_k under sum_k E[x_k^2] <= power.

    sum_k 1/2 log(1 + power_k / noise_k), each power_k filling its channel up to one common level above the noise; with a
    single channel this is Shannon's 1/2 log(1 + power / noise). Cover and Thomas, "Elements of Information Theory", on
    parallel Gaussian channels.

    :param noise_powers: variances of the noises, shape (n_channels,), positive
    :param power: what there is to share out, 0 or more
    :return: capacity in nats, and the powers that reach it, shape (n_channels,)
    :raises ValueError: for noise that is not positive and finite, or negative power
    """
    noise = np.asarray(noise_powers, dtype=np.float64)
    if noise.ndim != 1 or len(noise) == 0 or not np.isfinite(noise).all() or (noise <= 0).any():
        raise ValueError("noise_powers must be a non-empty vector of positive finite numbers.")
    if not 0 <= power < math.inf:
        raise ValueError(f"power must be finite and 0 or more, got {power}.")
    quietest_first = np.sort(noise)
    levels = (power + quietest_first.cumsum()) / np.arange(1, len(noise) + 1)  # level if the k quietest are used
    level = levels[levels >= quietest_first][-1]
    powers = np.maximum(level - noise, 0.0)
    return float(np.log1p(powers / noise).sum() / 2), powers
