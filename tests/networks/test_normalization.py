"""Running moments are the moments of everything seen."""

import numpy as np
import pytest
import torch as th

from sb3_infomax.networks.normalization import RunningMoments


@pytest.mark.parametrize("sizes", [[50], [1] * 20, [1, 7, 0, 300, 2]])
def test_moments_are_those_of_the_concatenation(sizes):
    values = [3.0 + 2.0 * np.random.standard_normal((size, 4)) for size in sizes]
    moments = RunningMoments((4,))
    for batch in values:
        moments.update(th.as_tensor(batch))
    everything, n, epsilon = np.concatenate(values), sum(sizes), 1e-4
    mean, variance = everything.mean(axis=0), everything.var(axis=0)
    # the initial mean 0 and variance 1 count as epsilon items
    np.testing.assert_allclose(moments.mean, n * mean / (n + epsilon), rtol=1e-12)
    expected = (epsilon + n * variance + epsilon * n / (n + epsilon) * mean**2) / (n + epsilon)
    np.testing.assert_allclose(moments.variance, expected, rtol=1e-10)
    np.testing.assert_allclose(moments.std, np.sqrt(expected), rtol=1e-6)


def test_large_offsets_and_counts_lose_no_digits():
    moments = RunningMoments()
    moments.count.fill_(1e9), moments.mean.fill_(1e6), moments.variance.fill_(4.0)
    for _ in range(100):
        moments.update(1e6 + 2.0 * th.randn(1000, dtype=th.float64))
    assert moments.variance.item() == pytest.approx(4.0, rel=1e-3)
    assert moments.count.item() == 1e9 + 1e5


def test_one_value_is_no_nan_and_nothing_changes_nothing():
    moments = RunningMoments((2,))
    moments.update(th.zeros(0, 2))
    assert moments.mean.tolist() == [0, 0] and moments.variance.tolist() == [1, 1]
    moments.update(th.ones(1, 2))
    assert th.isfinite(moments.normalize(th.ones(1, 2))).all()


def test_normalized_values_have_mean_0_and_variance_1_and_are_clipped():
    moments, values = RunningMoments((2,)), 5.0 + 3.0 * th.randn(1000, 2)
    moments.update(values)
    normalized = moments.normalize(values)
    assert normalized.dtype == th.float32
    assert normalized.mean().abs() < 1e-3 and normalized.std() == pytest.approx(1.0, abs=1e-2)
    assert moments.normalize(th.full((1, 2), 1e6), clip=5.0).tolist() == [[5.0, 5.0]]


def test_features_that_never_varied_become_0():
    moments = RunningMoments((1,))
    moments.update(th.full((1000, 1), 0.7))
    assert moments.normalize(th.full((1, 1), 0.7)).abs() < 1e-2
