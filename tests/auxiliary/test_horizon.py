"""How far apart the observations of a pair are."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_infomax.auxiliary.horizon import AdaptiveHorizon, FixedHorizon, RandomHorizon, make_horizon
from sb3_infomax.types import KStepPairs

FIVE = spaces.Discrete(5)


def sequences(n, length, stay):
    """Actions of five that are repeated with probability ``stay`` and drawn among the others else."""
    actions = th.randint(5, (n, length))
    for step in range(1, length):
        others = (actions[:, step - 1] + th.randint(1, 5, (n,))) % 5
        actions[:, step] = th.where(th.rand(n) < stay, actions[:, step - 1], others)
    return actions


def make_pairs(actions, start=0):
    n, window = actions.shape
    nothing = th.zeros(n, 1)
    return KStepPairs(
        nothing,
        nothing,
        start + actions[:, :1],
        th.ones(n, dtype=th.long),
        th.ones(n, dtype=th.bool),
        window=start + actions[..., None],
        window_length=th.full((n,), window),
    )


def train(horizon, draw, n_steps):
    optimizer = th.optim.Adam(horizon.parameters(), lr=1e-3)
    for _ in range(n_steps):
        loss, _ = horizon.loss(draw())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def mean_k(horizon, actions, length=None):
    length = np.full(len(actions), actions.shape[1]) if length is None else length
    return horizon.sample(len(actions), actions[..., None].numpy(), length).mean()


def test_fixed_and_random():
    assert FixedHorizon(4).sample(6).tolist() == [4] * 6
    k = RandomHorizon(3).sample(9000)
    np.testing.assert_allclose(np.bincount(k)[1:] / 9000, [1 / 3] * 3, atol=0.02)


@pytest.mark.parametrize(
    ("name", "k", "kind", "max_k"),
    [
        ("fix", None, FixedHorizon, 1),
        ("randk", None, RandomHorizon, 2),
        ("ada", None, AdaptiveHorizon, 13),
        ("fix", 5, FixedHorizon, 5),
        ("randk", 4, RandomHorizon, 4),
        ("ada", 6, AdaptiveHorizon, 6),
    ],
)
def test_by_name(name, k, kind, max_k):
    horizon = make_horizon(name, k, FIVE)
    assert type(horizon) is kind and horizon.max_k == max_k


@pytest.mark.parametrize("q", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_constant_concordance_gives_the_geometric_mean(q):
    """T8: E[k] = (1 - q) + sum of q^j for j = 1 ... 13, from 1 to 13."""
    horizon = AdaptiveHorizon(FIVE)
    horizon.concordance.fill_(q)
    expected = (1 - q) + sum(q**j for j in range(1, 14))
    assert mean_k(horizon, th.randint(5, (20_000, 14))) == pytest.approx(expected, rel=0.02)


def test_the_walk_ends_with_the_episode():
    horizon, length = AdaptiveHorizon(FIVE), th.randint(1, 15, (500,)).numpy()
    horizon.concordance.fill_(1.0)
    k = horizon.sample(500, th.randint(5, (500, 14, 1)).numpy(), length)
    np.testing.assert_array_equal(k, (length - 1).clip(min=1))


def test_every_step_asks_the_concordance_of_its_own_pair():
    horizon = AdaptiveHorizon(spaces.Discrete(3, start=2), max_k=4)
    horizon.concordance.copy_(th.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    windows = np.array([[2, 3, 4, 2, 3], [2, 4, 2, 3, 4], [3, 4, 4, 4, 4], [4, 2, 3, 4, 2]])
    assert horizon.sample(4, windows[..., None], np.full(4, 5)).tolist() == [2, 1, 1, 1]


@pytest.mark.parametrize("start", [0, 3])
def test_the_critic_learns_which_actions_follow_each_other(start):
    """T9: on sticky actions its scores are the log ratio and k is long; on independent ones k is 1. It does not collapse."""
    found = {}
    for name, stay in (("sticky", 0.85), ("independent", 0.2)):
        horizon = AdaptiveHorizon(spaces.Discrete(5, start=start))
        train(horizon, lambda stay=stay: make_pairs(sequences(256, 2, stay), start), 800)
        test = sequences(20_000, 14, stay)
        found[name] = mean_k(horizon, start + test)
        if name == "sticky":
            eye = th.eye(5)
            with th.no_grad():
                scores = horizon.critic(eye, eye)
            ratio = th.where(eye > 0, np.log(0.85 * 5), np.log(0.15 / 4 * 5))
            assert np.corrcoef(scores.flatten(), ratio.flatten())[0, 1] > 0.95
            assert horizon.concordance.diagonal().numpy() == pytest.approx(0.85, abs=0.05)
    # with the true p(a' | a): every step goes on with probability 0.85^2 + 0.15 * 0.15 / 4
    goes_on = 0.85**2 + 0.15**2 / 4
    expected = (1 - goes_on) + sum(goes_on**j for j in range(1, 14))
    assert found["sticky"] == pytest.approx(expected, rel=0.1) and found["sticky"] > 2 * found["independent"]
    assert found["independent"] == pytest.approx(1.05, abs=0.02)


def test_the_concordance_follows_the_critic_in_training_only():
    horizon, pairs = AdaptiveHorizon(FIVE), make_pairs(sequences(64, 2, 0.5))
    before, eye = horizon.concordance.clone(), th.eye(5)
    horizon.eval().loss(pairs)
    assert th.equal(horizon.concordance, before)
    horizon.train().loss(pairs)
    expected = 0.9 * before + 0.1 * horizon.critic(eye, eye).softmax(dim=1)
    assert th.allclose(horizon.concordance, expected, atol=1e-6)


def test_rows_without_a_second_action_of_the_episode_teach_nothing():
    horizon, actions = AdaptiveHorizon(FIVE), sequences(64, 2, 0.5)
    pairs = make_pairs(actions)
    pairs.window_length[32:] = 1
    half = make_pairs(actions[:32])
    assert horizon.loss(pairs)[0].item() == pytest.approx(horizon.eval().loss(half)[0].item(), abs=1e-6)
    pairs.window_length[:] = 1
    assert horizon.loss(pairs)[0] is None


@pytest.mark.parametrize(
    "space", [spaces.Box(-1.0, 1.0, (2,)), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)], ids=lambda s: type(s).__name__
)
def test_the_adaptive_horizon_needs_discrete_actions(space):
    with pytest.raises(ValueError, match="follows pairs of discrete actions"):
        make_horizon("ada", None, space)
