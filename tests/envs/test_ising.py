"""The Ising patch: its dynamics against site-by-site Metropolis and Boltzmann's distribution, and what a frame shows."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sb3_infomax.envs import ISING_PATCH
from sb3_infomax.envs.ising import IsingPatch, ising_sweep, random_spins


def flip_rates(beta, n_sweeps, sweep=ising_sweep):
    rng = np.random.default_rng(0)
    spins, rates = random_spins((20, 42, 42), rng), []
    for _ in range(n_sweeps):
        following = sweep(spins, beta, rng)
        rates.append((following != spins).mean())
        spins = following
    return rates


def test_a_cold_lattice_coarsens_and_a_warm_one_keeps_flipping():
    """T17."""
    cold, warm = flip_rates(2.5, 26), flip_rates(0.4, 26)
    assert cold[0] == pytest.approx(0.31, abs=0.02) and cold[25] < 0.03
    assert warm[5:] == pytest.approx([0.19] * 21, abs=0.02)  # it stays there


@pytest.mark.parametrize("beta", [2.5, 0.4])
def test_a_sweep_flips_as_many_spins_as_proposals_at_random_sites_do(beta):
    """The paper's way: height * width proposals, one after the other."""

    def one_by_one(spins, beta, rng):
        spins = spins.copy()
        for lattice in spins[:4]:
            sites, coins = rng.integers(0, 42, (42 * 42, 2)), rng.random(42 * 42)
            for (i, j), coin in zip(sites, coins, strict=True):
                field = lattice[i - 1, j] + lattice[(i + 1) % 42, j] + lattice[i, j - 1] + lattice[i, (j + 1) % 42]
                if coin < np.exp(-beta * 2.0 * lattice[i, j] * field):
                    lattice[i, j] *= -1
        return spins

    # of 20 lattices, the reference moves 4
    np.testing.assert_allclose(flip_rates(beta, 3), 5 * np.array(flip_rates(beta, 3, one_by_one)), atol=0.02)


def test_the_stationary_distribution_is_boltzmanns():
    """Mean energy of the 2 x 4 torus over all its 256 states, each weighted by exp(-beta E)."""

    def energy(spins):
        return -(spins * (np.roll(spins, 1, -1) + np.roll(spins, 1, -2))).sum((-1, -2))

    beta, rng = 0.3, np.random.default_rng(0)
    energies = energy(np.array(list(product((-1, 1), repeat=8))).reshape(-1, 2, 4))
    weights = np.exp(-beta * energies)
    spins = random_spins((20_000, 2, 4), rng)
    for _ in range(20):
        spins = ising_sweep(spins, beta, rng)
    assert energy(spins).mean() == pytest.approx((weights * energies).sum() / weights.sum(), abs=0.15)


def test_splitting_finer_moves_the_first_flip_rate_by_less_than_a_hundredth():
    def rate(splits):
        rng = np.random.default_rng(0)
        spins = random_spins((100, 42, 42), rng)
        return (ising_sweep(spins, 2.5, rng, splits=splits) != spins).mean()

    assert 1e-4 < abs(rate(1) - rate(16)) < 0.01 and abs(rate(2) - rate(16)) < 0.005


def test_odd_sides_and_a_patch_off_the_screen_are_refused():
    with pytest.raises(ValueError, match="even sides, got 21 x 19"):
        ising_sweep(np.ones((21, 19), np.int8), 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"42 pixels at \(50, 0\) leaves the screen"):
        IsingPatch(corner=(50, 0))


def test_outside_the_patch_successive_frames_are_independent_and_inside_they_are_not():
    film = IsingPatch(n_chains=4, corner=(10, 20), rng=np.random.default_rng(0))
    film.reset()
    frames = np.stack([film.step() for _ in range(40)])
    flips = (frames[1:] != frames[:-1])[20:].mean((0, 1))
    inside = np.zeros_like(flips, dtype=bool)
    inside[10:52, 20:62] = True
    assert flips[~inside].mean() == pytest.approx(0.5, abs=0.01) and flips[inside].mean() < 0.05


def test_beta_sets_how_much_of_the_patch_can_be_predicted():
    rates = [flip_rates(beta, 10)[-1] for beta in (0.1, 0.4, 1.0)]
    assert rates[0] > rates[1] + 0.1 > rates[2] + 0.2


def test_the_environment_passes_gymnasiums_checker_and_shows_black_and_white():
    env = gym.make(ISING_PATCH)
    check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (84, 84, 1) and set(np.unique(observation)) == {0, 255}
    assert env.spec.max_episode_steps == 100


def test_a_seed_fixes_the_film_and_the_place_of_the_patch_which_later_resets_keep():
    def film(seed):
        env = gym.make(ISING_PATCH)
        frames = [env.reset(seed=seed)[0]] + [env.step(0)[0] for _ in range(5)]
        corners = [env.reset()[1]["corner"] for _ in range(3)]
        assert len(set(corners)) == 1
        return np.stack(frames), corners[0]

    (one, place), (again, same_place), (other, other_place) = film(1), film(1), film(2)
    np.testing.assert_array_equal(one, again)
    assert place == same_place != other_place and not np.array_equal(one, other)


def test_the_settings_of_the_environment_reach_the_film():
    env = gym.make(ISING_PATCH, size=40, patch=20, beta=0.4, corner=(3, 4), render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    assert observation.shape == (40, 40, 1) and info["corner"] == (3, 4)
    assert env.unwrapped.film.beta == 0.4 and env.unwrapped.film.patch.shape == (1, 20, 20)
    assert env.render().shape == (40, 40, 3)
