"""The references themselves, against independent numbers."""

import math

import numpy as np
import pytest
import torch as th

from sb3_infomax.mi.gaussian import (
    correlated_gaussians,
    gaussian_jensen_shannon,
    gaussian_log_ratio,
    gaussian_mutual_information,
    water_filling,
)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.5])
def test_samples_have_unit_variance_and_the_correlation_asked_for(rho):
    x, y = correlated_gaussians(100_000, rho, dim=3, generator=th.Generator().manual_seed(0))
    assert x.shape == y.shape == (100_000, 3)
    covariance = th.cov(th.cat([x, y], dim=1).T)
    expected = th.kron(th.tensor([[1.0, rho], [rho, 1.0]]), th.eye(3))
    th.testing.assert_close(covariance, expected, atol=0.02, rtol=0)


def test_a_generator_decides_the_samples_and_spares_the_global_one():
    before = th.get_rng_state()
    first, second = (correlated_gaussians(5, 0.5, generator=th.Generator().manual_seed(3)) for _ in range(2))
    assert all(th.equal(a, b) for a, b in zip(first, second, strict=True))
    assert th.equal(th.get_rng_state(), before)


def test_mutual_information_is_that_of_a_gaussian_channel():
    # y / rho is x plus noise of variance (1 - rho^2) / rho^2
    for rho in (0.1, 0.5, 0.99):
        capacity, _ = water_filling([(1 - rho**2) / rho**2], power=1.0)
        assert gaussian_mutual_information(rho) == pytest.approx(capacity, rel=1e-12)
    assert gaussian_mutual_information(0.5, dim=4) == pytest.approx(4 * gaussian_mutual_information(0.5))


def test_log_ratio_is_the_difference_of_densities():
    rho = 0.7
    joint = th.distributions.MultivariateNormal(th.zeros(2), th.tensor([[1.0, rho], [rho, 1.0]]))
    x, y = th.randn(6, 2), th.randn(6, 2)
    normal = th.distributions.Normal(0.0, 1.0)
    expected = (joint.log_prob(th.stack([x, y], dim=-1)) - normal.log_prob(x) - normal.log_prob(y)).sum(dim=1)
    th.testing.assert_close(gaussian_log_ratio(x, y, rho), expected, atol=1e-5, rtol=1e-5)
    th.testing.assert_close(gaussian_log_ratio(x[:, None], y, rho).diagonal(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_jensen_shannon_equals_a_plain_grid_sum_over_the_plane(rho):
    grid = np.linspace(-8, 8, 1601)
    x, y = grid[:, None], grid
    product = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    joint = np.exp(-(x**2 - 2 * rho * x * y + y**2) / (2 * (1 - rho**2))) / (2 * np.pi * math.sqrt(1 - rho**2))
    mixture = (joint + product) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        integrand = sum(np.where(p > 0, p * np.log(p / mixture), 0.0) for p in (joint, product))
    expected = integrand.sum() * (grid[1] - grid[0]) ** 2
    assert gaussian_jensen_shannon(rho) == pytest.approx(expected, abs=1e-9)


def test_jensen_shannon_values_of_the_literature_check():
    values = [gaussian_jensen_shannon(rho) for rho in (0.0, 0.5, 0.9, 0.99)]
    assert values == pytest.approx([0.0, 0.074, 0.428, 0.881], abs=2e-3)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_jensen_shannon_of_several_pairs_matches_samples(dim):
    x, y = correlated_gaussians(200_000, 0.6, dim=dim, generator=th.Generator().manual_seed(0))
    ratio = gaussian_log_ratio(x, y, 0.6)
    other = gaussian_log_ratio(x, y.roll(1, dims=0), 0.6)
    loss = th.nn.functional.softplus(-ratio).mean() + th.nn.functional.softplus(other).mean()
    assert gaussian_jensen_shannon(0.6, dim) == pytest.approx(2 * math.log(2) - loss.item(), abs=0.005)


@pytest.mark.parametrize("dim", [1, 3, 50])
def test_jensen_shannon_lies_below_mutual_information_and_2_log_2(dim):
    values = [gaussian_jensen_shannon(rho, dim) for rho in (0.01, 0.1, 0.5, 0.9, 0.99)]
    assert values == sorted(values)
    for value, rho in zip(values, (0.01, 0.1, 0.5, 0.9, 0.99), strict=True):
        assert 0 < value < gaussian_mutual_information(rho, dim)
        assert value < 2 * math.log(2) + 1e-12
    assert gaussian_jensen_shannon(-0.5, dim) == pytest.approx(gaussian_jensen_shannon(0.5, dim), abs=1e-12)


@pytest.mark.parametrize("rho", [-1.0, 1.0, 1.5, math.nan])
def test_impossible_correlations_are_refused(rho):
    for call in (
        lambda: correlated_gaussians(3, rho),
        lambda: gaussian_mutual_information(rho),
        lambda: gaussian_jensen_shannon(rho),
        lambda: gaussian_log_ratio(th.zeros(2, 1), th.zeros(2, 1), rho),
    ):
        with pytest.raises(ValueError, match="strictly between -1 and 1"):
            call()


def test_water_filling_by_hand():
    # level (3 + 1 + 2) / 3 = 3 leaves nothing for the noisiest channel
    capacity, powers = water_filling([5.0, 1.0, 2.0], power=3.0)
    assert powers == pytest.approx([0.0, 2.0, 1.0])
    assert capacity == pytest.approx(0.5 * math.log(3) + 0.5 * math.log(1.5))


def test_no_other_share_of_the_power_carries_more():
    noise = np.array([0.3, 1.0, 2.5, 0.7])
    capacity, powers = water_filling(noise, power=2.0)
    assert powers.sum() == pytest.approx(2.0)
    shares = 2.0 * np.random.default_rng(0).dirichlet(np.ones(4), size=1000)
    assert (np.log1p(shares / noise).sum(axis=1) / 2).max() <= capacity


def test_no_power_carries_nothing():
    capacity, powers = water_filling([1.0, 2.0], power=0.0)
    assert capacity == 0.0 and powers.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("noise", "power"), [([0.0, 1.0], 1.0), ([], 1.0), ([[1.0]], 1.0), ([1.0], -1.0), ([1.0], math.nan)])
def test_impossible_noise_and_power_are_refused(noise, power):
    with pytest.raises(ValueError, match=r"noise_powers must|power must"):
        water_filling(noise, power)
