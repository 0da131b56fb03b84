"""Discounted sums without a loop over time."""

import numpy as np


def discounted_sum(rewards: np.ndarray, discounts: np.ndarray | float) -> np.ndarray:
    """G_t = r_t + c_t G_{t+1}, with G = 0 after the last step, in log2(T) passes over the array.

    Every pass doubles the reach: with G^(k)_t the sum over k steps and C^(k)_t the product of their discounts,
    G^(2k)_t = G^(k)_t + C^(k)_t G^(k)_{t+k} (a parallel prefix scan; no division, so a discount may be 0).

    :param rewards: r, shape (n_steps, ...)
    :param discounts: c, of the same shape or one number; c_t = 0 where nothing after step t counts
    :return: G, shape (n_steps, ...), float64
    """
    total = np.array(rewards, dtype=np.float64)
    product = np.broadcast_to(np.asarray(discounts, dtype=np.float64), total.shape).copy()
    reach = 1
    while reach < len(total):
        # the right sides are complete arrays before anything is written
        total[:-reach] += product[:-reach] * total[reach:]
        product[:-reach] *= product[reach:]
        product[-reach:] = 0.0
        reach *= 2
    return total
