"""T13: the projected Bellman update on cases done by hand, and the properties that Bellemare et al. name."""

import math

import pytest
import torch as th

from sb3_infomax.c51.projection import check_support, project_distribution

P = [0.1, 0.2, 0.4, 0.2, 0.1]
# reward, discount, (v_min, v_max), the projection of P by hand
BY_HAND = {
    "identity": (0.0, 1.0, (-2, 2), P),
    "one atom up, the last clipped": (1.0, 1.0, (-2, 2), [0.0, 0.1, 0.2, 0.4, 0.3]),
    "half an atom up": (0.5, 1.0, (-2, 2), [0.05, 0.15, 0.3, 0.3, 0.2]),
    "half an atom down": (-0.5, 1.0, (-2, 2), [0.2, 0.3, 0.3, 0.15, 0.05]),
    "shrunk to the middle": (0.0, 0.5, (-2, 2), [0.0, 0.2, 0.6, 0.2, 0.0]),
    "shrunk and moved": (1.0, 0.5, (-2, 2), [0.0, 0.0, 0.2, 0.6, 0.2]),
    "wholly above": (100.0, 1.0, (-2, 2), [0.0, 0.0, 0.0, 0.0, 1.0]),
    "wholly below": (-100.0, 1.0, (-2, 2), [1.0, 0.0, 0.0, 0.0, 0.0]),
    "terminal on an atom": (1.0, 0.0, (-2, 2), [0.0, 0.0, 0.0, 1.0, 0.0]),
    "terminal between atoms": (0.25, 0.0, (-2, 2), [0.0, 0.0, 0.75, 0.25, 0.0]),
    "terminal beyond the last": (3.0, 0.0, (-2, 2), [0.0, 0.0, 0.0, 0.0, 1.0]),
    "support that starts at 0": (1.0, 0.5, (0, 4), [0.0, 0.2, 0.6, 0.2, 0.0]),
    "support without 0": (0.0, 0.5, (4, 8), [1.0, 0.0, 0.0, 0.0, 0.0]),
    "wide steps": (5.0, 1.0, (-20, 20), [0.05, 0.15, 0.3, 0.3, 0.2]),
}


def column(*values):
    return th.tensor(values).reshape(-1, 1)


@pytest.mark.parametrize("case", BY_HAND)
def test_projection_equals_the_one_done_by_hand(case):
    reward, discount, (v_min, v_max), expected = BY_HAND[case]
    projected = project_distribution(th.tensor([P]), column(reward), column(discount), v_min, v_max)
    assert projected.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def algorithm_1(p, reward, discount, v_min, v_max):
    """Algorithm 1 of the paper, for one transition, as it is printed (u = l + 1 where an atom is hit)."""
    n = len(p)
    m, step = [0.0] * (n + 1), (v_max - v_min) / (n - 1)
    for j in range(n):
        b = (min(max(reward + discount * (v_min + j * step), v_min), v_max) - v_min) / step
        lower = math.floor(b)
        m[lower] += p[j] * (lower + 1 - b)
        m[lower + 1] += p[j] * (b - lower)
    return m[:n]


@pytest.mark.parametrize(("n_atoms", "v_min", "v_max"), [(51, -10.0, 10.0), (2, 0.0, 1.0), (21, -3.0, 200.0)])
def test_a_batch_equals_the_papers_loop(n_atoms, v_min, v_max):
    p = th.rand(64, n_atoms, dtype=th.float64).softmax(dim=1)
    rewards = 8 * th.randn(64, 1, dtype=th.float64)
    discounts = th.rand(64, 1, dtype=th.float64) * (th.rand(64, 1) > 0.2)
    rows = zip(p.tolist(), rewards.flatten().tolist(), discounts.flatten().tolist(), strict=True)
    expected = th.tensor([algorithm_1(*row, v_min, v_max) for row in rows], dtype=th.float64)
    assert th.allclose(project_distribution(p, rewards, discounts, v_min, v_max), expected, atol=1e-12)


def test_mass_is_kept_and_never_negative():
    p, rewards, discounts = th.rand(256, 51).softmax(dim=1), 20 * th.randn(256, 1), th.rand(256, 1)
    projected = project_distribution(p, rewards, discounts, -10.0, 10.0)
    assert th.allclose(projected.sum(dim=1), th.ones(256), atol=1e-6) and projected.min() >= 0


def test_where_nothing_is_clipped_the_mean_is_that_of_the_bellman_update():
    atoms = th.linspace(-10, 10, 51, dtype=th.float64)
    p = (3 * th.randn(256, 51, dtype=th.float64)).softmax(dim=1)
    rewards, discounts = 2 * th.rand(256, 1, dtype=th.float64) - 1, 0.9 * th.rand(256, 1, dtype=th.float64)
    projected = project_distribution(p, rewards, discounts, -10.0, 10.0)
    assert th.allclose(projected @ atoms, (rewards + discounts * (p @ atoms)[:, None]).flatten(), atol=1e-12)


def test_mass_that_lands_on_an_atom_stays_whole():
    """0.2 / 0.4 and the like are not exact in float32; what lands on an atom must not leak far."""
    projected = project_distribution(th.eye(51), th.zeros(51, 1), th.ones(51, 1), -10.0, 10.0)
    assert th.allclose(projected, th.eye(51), atol=1e-5)


def test_rows_do_not_see_each_other():
    p, rewards, discounts = th.rand(8, 5).softmax(dim=1), th.randn(8, 1), th.rand(8, 1)
    together = project_distribution(p, rewards, discounts, -2.0, 2.0)
    alone = [project_distribution(p[i : i + 1], rewards[i : i + 1], discounts[i : i + 1], -2.0, 2.0) for i in range(8)]
    assert th.equal(together, th.cat(alone))


@pytest.mark.parametrize(("rewards", "discounts"), [(th.zeros(4), th.zeros(4, 1)), (th.zeros(4, 1), th.zeros(4))])
def test_a_shape_that_would_broadcast_is_refused(rewards, discounts):
    with pytest.raises(ValueError, match=r"must be of shape \(4, 1\)"):
        project_distribution(th.full((4, 5), 0.2), rewards, discounts, -2.0, 2.0)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ((1, -1.0, 1.0), "n_atoms must be an integer of at least 2, got 1"),
        ((51.0, -1.0, 1.0), "n_atoms must be an integer of at least 2, got 51.0"),
        ((51, 1.0, -1.0), "v_min must be smaller than v_max"),
        ((51, 1.0, 1.0), "v_min must be smaller than v_max"),
        ((51, -math.inf, 1.0), "both finite"),
        ((51, 0.0, math.nan), "both finite"),
    ],
)
def test_a_support_that_carries_nothing_is_refused(support, message):
    with pytest.raises(ValueError, match=message):
        check_support(*support)
