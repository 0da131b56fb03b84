"""The sum without a loop equals the loop."""

import numpy as np
import pytest

from sb3_infomax.rewards.returns import discounted_sum


def by_loop(rewards, discounts):
    total, following = np.zeros(rewards.shape), np.zeros(rewards.shape[1:])
    for step in reversed(range(len(rewards))):
        total[step] = following = rewards[step] + discounts[step] * following
    return total


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5, 8, 127, 128, 1000])
@pytest.mark.parametrize("share_of_zeros", [0.0, 0.2, 1.0])
def test_discounted_sum_is_that_of_the_loop(n_steps, share_of_zeros):
    rewards = np.random.standard_normal((n_steps, 3))
    discounts = np.random.uniform(0.5, 1.0, (n_steps, 3)) * (np.random.uniform(size=(n_steps, 3)) >= share_of_zeros)
    np.testing.assert_allclose(discounted_sum(rewards, discounts), by_loop(rewards, discounts), rtol=1e-9, atol=1e-9)


def test_one_number_is_the_geometric_sum():
    total = discounted_sum(np.ones(50), 0.9)
    np.testing.assert_allclose(total, (1 - 0.9 ** np.arange(50, 0, -1)) / (1 - 0.9))
    np.testing.assert_allclose(discounted_sum(np.ones((4, 2), dtype=np.float32), 1.0)[:, 0], [4, 3, 2, 1])


def test_arguments_stay_as_they_are():
    rewards, discounts = np.ones(4), np.full(4, 0.5)
    discounted_sum(rewards, discounts)
    assert rewards.tolist() == [1] * 4 and discounts.tolist() == [0.5] * 4


def test_no_steps_are_no_sum():
    assert discounted_sum(np.zeros((0, 3)), 0.9).shape == (0, 3)
