"""The distributional Bellman update on a fixed support."""

import math

import torch as th
from torch import Tensor


def check_support(n_atoms: int, v_min: float, v_max: float) -> None:
    """One sentence for a support that cannot carry a distribution.

    :param n_atoms: number of atoms
    :param v_min: return of the first atom
    :param v_max: return of the last atom
    :raises ValueError: where there are fewer than two atoms or the bounds are not finite and in order
    """
    if not isinstance(n_atoms, int) or n_atoms < 2:
        raise ValueError(f"n_atoms must be an integer of at least 2, got {n_atoms!r}.")
    if not -math.inf < v_min < v_max < math.inf:
        raise ValueError(f"v_min must be smaller than v_max and both finite, got v_min={v_min!r} and v_max={v_max!r}.")


def project_distribution(probabilities: Tensor, rewards: Tensor, discounts: Tensor, v_min: float, v_max: float) -> Tensor:
    r"""The distribution of :math:`r + \gamma Z`, projected back on the support of :math:`Z`.

    Bellemare et al. (2017), eq. 7, for equally spaced atoms :math:`z_j = v_{min} + j \Delta z`: the mass :math:`p_j` moves
    to :math:`r + \gamma z_j`, clipped to the support, and is split between the two nearest atoms so that the mean is kept:

    .. math::

        (\Phi \hat{\mathcal T} Z)_i
        = \sum_j p_j \Big[1 - \frac{|[r + \gamma z_j]_{v_{min}}^{v_{max}} - z_i|}{\Delta z}\Big]_0^1

    Where no mass is clipped the mean is exactly :math:`r + \gamma\, \mathbb E Z`.

    :param probabilities: of the atoms in the next state, shape (batch, n_atoms)
    :param rewards: r, or the n-step sum, shape (batch, 1)
    :param discounts: :math:`\gamma`, or :math:`\gamma^n`, and 0 where the episode terminated, shape (batch, 1)
    :param v_min: return of the first atom
    :param v_max: return of the last atom
    :return: shape (batch, n_atoms), rows of the same mass
    :raises ValueError: where shapes do not fit: (batch,) beside (batch, 1) would broadcast to (batch, batch)
    """
    batch_size, n_atoms = probabilities.shape
    if rewards.shape != (batch_size, 1) or discounts.shape != (batch_size, 1):
        shapes = f"{tuple(rewards.shape)} and {tuple(discounts.shape)}"
        raise ValueError(f"rewards and discounts must be of shape ({batch_size}, 1), got {shapes}.")
    step = (v_max - v_min) / (n_atoms - 1)
    # (T z_j - v_min) / step = (r - (1 - gamma) v_min) / step + gamma j: where among the atoms each atom lands
    indices = th.arange(n_atoms, dtype=probabilities.dtype, device=probabilities.device)
    first = (rewards + (discounts - 1) * v_min) / step  # (batch, 1)
    position = th.addcmul(first, discounts, indices).clamp_(0, n_atoms - 1)  # (batch, n_atoms)
    # what lands on the last atom belongs to it wholly as the upper neighbour of the last but one
    # NaN has no place, but stays in the mass
    lower = position.floor().clamp_(max=n_atoms - 2).nan_to_num_()
    upper_mass = probabilities * (position - lower)
    lower = lower.long()
    projected = th.zeros_like(probabilities).scatter_add_(1, lower, probabilities - upper_mass)
    return projected.scatter_add_(1, lower + 1, upper_mass)
