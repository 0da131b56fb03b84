"""Critics score all pairs and given pairs alike."""

import pytest
import torch as th

from sb3_infomax.mi.bounds import infonce
from sb3_infomax.mi.critics import BilinearCritic, ConcatenatedCritic, Critic, SeparableCritic
from sb3_infomax.mi.gaussian import correlated_gaussians, gaussian_mutual_information

CRITICS = [BilinearCritic, SeparableCritic, ConcatenatedCritic]


@pytest.mark.parametrize("critic_class", CRITICS)
@pytest.mark.parametrize(("n", "m"), [(5, 7), (1, 1), (3, 1)])
def test_rows_are_x_and_columns_are_y(critic_class, n, m):
    critic = critic_class(3, 2)
    x, y = th.randn(n, 3), th.randn(m, 2)
    scores = critic(x, y)
    assert scores.shape == (n, m)
    for i in range(n):
        th.testing.assert_close(scores[i], critic.paired(x[i].expand(m, 3), y), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("critic_class", CRITICS)
def test_paired_scores_are_the_diagonal(critic_class):
    critic = critic_class(3, 2)
    x, y = th.randn(6, 3), th.randn(6, 2)
    assert critic.paired(x, y).shape == (6,)
    th.testing.assert_close(critic(x, y).diagonal(), critic.paired(x, y), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("critic_class", CRITICS)
def test_unequal_pairs_are_refused_rather_than_broadcast(critic_class):
    with pytest.raises(ValueError, match="as many x as y, got 4 and 1"):
        critic_class(3, 2).paired(th.randn(4, 3), th.randn(1, 2))


@pytest.mark.parametrize("critic_class", CRITICS)
def test_xavier_initialization_bounds_weights_and_zeroes_biases(critic_class):
    for name, parameter in critic_class(30, 20, init="xavier").named_parameters():
        if name.endswith("bias"):
            assert parameter.eq(0).all()
        else:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * bound < parameter.abs().max() <= bound


@pytest.mark.parametrize("critic_class", CRITICS)
def test_critics_learn_the_mutual_information_of_gaussians(critic_class):
    generator = th.Generator().manual_seed(0)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(0)
        critic = critic_class(2, 2)
    optimizer = th.optim.Adam(critic.parameters(), lr=5e-2 if critic_class is BilinearCritic else 5e-3)

    def bound(n: int) -> th.Tensor:
        x, y = correlated_gaussians(n, 0.8, generator=generator)
        # with these features even the bilinear critic contains log p(y | x) up to a function of x
        return infonce(critic(th.cat([x, th.ones_like(x)], dim=1), th.cat([y, y**2], dim=1)))

    for _ in range(200):
        optimizer.zero_grad()
        (-bound(100)).backward()
        optimizer.step()
    with th.no_grad():
        found = sum(bound(200).item() for _ in range(20)) / 20
    exact = gaussian_mutual_information(0.8)
    assert 0.85 * exact < found < exact + 0.05


def test_a_critic_of_ones_own_needs_only_to_score_rows():
    class Distance(Critic):
        def _score_rows(self, x, y):
            return -(x - y).norm(dim=1)

    x, y = th.randn(4, 2), th.randn(5, 2)
    th.testing.assert_close(Distance()(x, y), -th.cdist(x, y), atol=1e-5, rtol=1e-5)
