"""Each bound against what it must be: exactly on a finite joint distribution, closely on correlated Gaussians."""

import math

import pytest
import torch as th

from sb3_infomax.mi.bounds import (
    barber_agakov,
    donsker_varadhan,
    donsker_varadhan_ema,
    infonce,
    jensen_shannon,
    joint_and_marginal,
    nwj,
)
from sb3_infomax.mi.critics import ConcatenatedCritic
from sb3_infomax.mi.gaussian import (
    correlated_gaussians,
    gaussian_jensen_shannon,
    gaussian_log_ratio,
    gaussian_mutual_information,
)

# p(x, y) as counts: every pair listed as often as it is likely makes each expectation an exact mean
COUNTS = th.tensor([[6, 1, 1], [1, 4, 3]])
JOINT = (COUNTS / COUNTS.sum()).double()
P_X, P_Y = JOINT.sum(dim=1), JOINT.sum(dim=0)
PRODUCT = P_X[:, None] * P_Y
LOG_RATIO = (JOINT / PRODUCT).log()
MUTUAL_INFORMATION = (JOINT * LOG_RATIO).sum().item()


def listed(values: th.Tensor, counts: th.Tensor) -> th.Tensor:
    return values.flatten().repeat_interleave(counts.flatten())


POSITIVES = listed(LOG_RATIO, COUNTS)
NEGATIVES = listed(LOG_RATIO, COUNTS.sum(dim=1)[:, None] * COUNTS.sum(dim=0))
TWO_SCORE_BOUNDS = [jensen_shannon, donsker_varadhan, nwj]


def kl(p: th.Tensor, q: th.Tensor) -> float:
    return (p * (p / q).log()).sum().item()


def scores_of(rho: float, n: int, seed: int = 0) -> tuple[th.Tensor, th.Tensor]:
    """Optimal scores of fresh positives and fresh negatives."""
    generator = th.Generator().manual_seed(seed)
    x, y = correlated_gaussians(n, rho, generator=generator)
    _, other_y = correlated_gaussians(n, rho, generator=generator)
    return gaussian_log_ratio(x, y, rho), gaussian_log_ratio(x, other_y, rho)


def test_donsker_varadhan_of_the_log_ratio_is_the_mutual_information_exactly():
    assert donsker_varadhan(POSITIVES, NEGATIVES).item() == pytest.approx(MUTUAL_INFORMATION, abs=1e-12)


def test_nwj_of_the_log_ratio_plus_one_is_the_mutual_information_exactly():
    assert nwj(POSITIVES + 1, NEGATIVES + 1).item() == pytest.approx(MUTUAL_INFORMATION, abs=1e-12)


def test_jensen_shannon_of_the_log_ratio_is_twice_the_divergence_exactly():
    mixture = (JOINT + PRODUCT) / 2
    expected = kl(JOINT, mixture) + kl(PRODUCT, mixture)
    assert jensen_shannon(POSITIVES, NEGATIVES).item() == pytest.approx(expected, abs=1e-12)


def test_barber_agakov_of_the_posterior_is_the_mutual_information_exactly():
    entropy = -(P_X * P_X.log()).sum()
    log_posterior = listed((JOINT / P_Y).log(), COUNTS)
    assert barber_agakov(log_posterior, entropy).item() == pytest.approx(MUTUAL_INFORMATION, abs=1e-12)


def test_barber_agakov_loses_the_divergence_of_its_decoder():
    entropy = -(P_X * P_X.log()).sum().item()
    wrong = th.tensor([[0.5, 0.3, 0.9], [0.5, 0.7, 0.1]], dtype=th.float64)
    gap = kl(JOINT, wrong * P_Y)
    assert barber_agakov(listed(wrong.log(), COUNTS), entropy).item() == pytest.approx(MUTUAL_INFORMATION - gap, abs=1e-12)


@pytest.mark.parametrize("bound", TWO_SCORE_BOUNDS)
def test_no_other_critic_exceeds_the_optimal_one(bound):
    shift = 1.0 if bound is nwj else 0.0
    best = bound(POSITIVES + shift, NEGATIVES + shift)
    generator = th.Generator().manual_seed(0)
    for _ in range(50):
        critic = LOG_RATIO + shift + th.randn(LOG_RATIO.shape, generator=generator, dtype=th.float64)
        negatives = listed(critic, COUNTS.sum(dim=1)[:, None] * COUNTS.sum(dim=0))
        assert bound(listed(critic, COUNTS), negatives) < best


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_bounds_of_the_log_ratio_match_gaussian_closed_forms(rho):
    positives, negatives = scores_of(rho, 200_000)
    exact = gaussian_mutual_information(rho)
    assert donsker_varadhan(positives, negatives).item() == pytest.approx(exact, abs=0.03)
    assert nwj(positives + 1, negatives + 1).item() == pytest.approx(exact, abs=0.03)
    assert jensen_shannon(positives, negatives).item() == pytest.approx(gaussian_jensen_shannon(rho), abs=0.005)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_barber_agakov_matches_gaussian_closed_form(rho):
    x, y = correlated_gaussians(200_000, rho, generator=th.Generator().manual_seed(0))
    log_posterior = th.distributions.Normal(rho * y, math.sqrt(1 - rho**2)).log_prob(x)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert barber_agakov(log_posterior, entropy).item() == pytest.approx(gaussian_mutual_information(rho), abs=0.01)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_infonce_of_a_large_batch_matches_gaussian_closed_form(rho):
    x, y = correlated_gaussians(20 * 500, rho, generator=th.Generator().manual_seed(0))
    batches = zip(x.chunk(20), y.chunk(20), strict=True)
    scores = [gaussian_log_ratio(x_b[:, None], y_b, rho) for x_b, y_b in batches]
    exact = gaussian_mutual_information(rho)
    assert sum(infonce(s).item() for s in scores) / 20 == pytest.approx(exact, abs=0.03)
    assert sum(infonce(s.T).item() for s in scores) / 20 == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_infonce_never_exceeds_log_batch(batch_size):
    perfect = 1e4 * th.eye(batch_size)
    assert infonce(perfect).item() == pytest.approx(math.log(batch_size))
    x, y = correlated_gaussians(batch_size, 0.999, dim=8, generator=th.Generator().manual_seed(0))
    assert infonce(gaussian_log_ratio(x[:, None], y, 0.999)) <= math.log(batch_size) + 1e-6


def test_infonce_by_hand():
    scores = th.tensor([[2.0, 0.0], [1.0, 3.0]])
    by_hand = math.log(2) + (2 - math.log(math.exp(2) + 1) + 3 - math.log(math.e + math.exp(3))) / 2
    assert infonce(scores).item() == pytest.approx(by_hand, rel=1e-6)


def test_infonce_ignores_what_is_added_to_a_row():
    scores = th.randn(8, 8, generator=th.Generator().manual_seed(0))
    assert infonce(scores + th.arange(8.0)[:, None]).item() == pytest.approx(infonce(scores).item(), abs=1e-6)


@pytest.mark.parametrize(("bound", "value"), [(jensen_shannon, 0.0), (donsker_varadhan, 0.0), (nwj, -1 / math.e)])
def test_value_of_a_blind_critic(bound, value):
    assert bound(th.zeros(5), th.zeros(7)).item() == pytest.approx(value, abs=1e-6)
    assert infonce(th.zeros(5, 5)).item() == pytest.approx(0.0, abs=1e-6)


def test_donsker_varadhan_ignores_a_constant_and_the_others_do_not():
    shifted = POSITIVES + 5, NEGATIVES + 5
    assert donsker_varadhan(*shifted).item() == pytest.approx(MUTUAL_INFORMATION, abs=1e-12)
    assert jensen_shannon(*shifted) < jensen_shannon(POSITIVES, NEGATIVES) - 0.1
    assert nwj(*shifted) < nwj(POSITIVES, NEGATIVES) - 0.1


@pytest.mark.parametrize("bound", TWO_SCORE_BOUNDS)
def test_shapes_are_never_broadcast(bound):
    positives, negatives = th.randn(6, 1), th.randn(2, 3, 4)
    flat = bound(positives.flatten(), negatives.flatten())
    assert bound(positives, negatives).shape == ()
    th.testing.assert_close(bound(positives, negatives), flat)


def test_joint_and_marginal_splits_diagonal_and_rest():
    positives, negatives = joint_and_marginal(th.arange(9.0).view(3, 3))
    assert positives.tolist() == [0.0, 4.0, 8.0]
    assert negatives.tolist() == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]


def test_joint_and_marginal_takes_transposed_scores():
    _, negatives = joint_and_marginal(th.arange(4.0).view(2, 2).T)
    assert negatives.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4,)])
def test_joint_and_marginal_refuses_what_has_no_negatives(size):
    with pytest.raises(ValueError, match="square matrix of at least 2 x 2"):
        joint_and_marginal(th.zeros(size))


def test_infonce_refuses_a_vector_and_an_empty_batch():
    for size in [(4,), (2, 3), (0, 0)]:
        with pytest.raises(ValueError, match="square matrix of at least 1 x 1"):
            infonce(th.zeros(size))


@pytest.mark.parametrize("bound", [*TWO_SCORE_BOUNDS, donsker_varadhan_ema])
def test_empty_scores_are_refused(bound):
    with pytest.raises(ValueError, match="negative_scores has shape"):
        bound(th.zeros(3), th.zeros(0))


def test_ema_value_is_donsker_varadhan_at_any_average():
    bound, _ = donsker_varadhan_ema(POSITIVES, NEGATIVES, log_ema=th.tensor(3.0, dtype=th.float64))
    assert bound.item() == pytest.approx(MUTUAL_INFORMATION, abs=1e-12)


def test_ema_gradient_by_hand():
    positives = th.tensor([0.3, 1.0], requires_grad=True)
    negatives = th.tensor([0.5, -1.0, 2.0], requires_grad=True)
    previous = th.tensor(4.0).log().requires_grad_()
    bound, log_ema = donsker_varadhan_ema(positives, negatives, previous, rate=0.25)
    bound.backward()
    ema = 0.75 * 4.0 + 0.25 * negatives.detach().exp().mean()
    th.testing.assert_close(log_ema, ema.log())
    th.testing.assert_close(positives.grad, th.full((2,), 0.5))
    th.testing.assert_close(negatives.grad, -negatives.detach().exp() / (3 * ema))
    assert not log_ema.requires_grad and previous.grad is None


@pytest.mark.parametrize(("log_ema", "rate"), [(None, 0.01), (th.tensor(7.0), 1.0)])
def test_ema_gradient_is_the_plain_one_where_the_average_is_this_batch(log_ema, rate):
    negatives = th.randn(9, requires_grad=True)
    positives = th.randn(9)
    (plain,) = th.autograd.grad(donsker_varadhan(positives, negatives), negatives)
    (averaged,) = th.autograd.grad(donsker_varadhan_ema(positives, negatives, log_ema, rate)[0], negatives)
    th.testing.assert_close(averaged, plain)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, math.nan])
def test_ema_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\]"):
        donsker_varadhan_ema(th.zeros(2), th.zeros(2), rate=rate)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_scores_stay_finite_with_finite_gradients(size):
    positives = th.full((4,), -size, requires_grad=True)
    negatives = th.full((5,), size, requires_grad=True)
    for value in (
        jensen_shannon(positives, negatives),
        donsker_varadhan(positives, negatives),
        donsker_varadhan_ema(positives, negatives, log_ema=th.tensor(-size))[0],
    ):
        gradients = th.autograd.grad(value, [positives, negatives])
        assert value.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
    assert infonce(size * th.eye(3)).isfinite()


def test_nwj_of_a_runaway_critic_is_minus_infinity_not_nan():
    assert nwj(th.full((4,), 1e4), th.full((4,), 1e4)).item() == -math.inf
    assert nwj(th.zeros(4), th.full((4,), -1e4)).item() == 0.0


@pytest.mark.parametrize("bound", TWO_SCORE_BOUNDS)
def test_one_pair_is_enough(bound):
    assert bound(th.tensor(1.0), th.tensor([-1.0])).isfinite()
    assert infonce(th.ones(1, 1)).item() == 0.0


def trained_jensen_shannon(rho: float) -> float:
    """The largest value a 2-64-64-1 critic finds in 400 steps of 512 fresh pairs, on 20,000 others."""
    generator = th.Generator().manual_seed(1)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(1)
        critic = ConcatenatedCritic(1, 1, net_arch=(64, 64), init="xavier")
    optimizer = th.optim.Adam(critic.parameters(), lr=3e-3)

    def bound(n: int) -> th.Tensor:
        x, y = correlated_gaussians(n, rho, generator=generator)
        return jensen_shannon(critic.paired(x, y), critic.paired(x, y.roll(1, dims=0)))

    for _ in range(400):
        optimizer.zero_grad()
        (-bound(512)).backward()
        optimizer.step()
    with th.no_grad():
        return bound(20_000).item()


def test_a_trained_critic_finds_the_jensen_shannon_value_of_gaussians():
    rhos = [0.0, 0.5, 0.9, 0.99]
    found = [trained_jensen_shannon(rho) for rho in rhos]
    assert found == pytest.approx([gaussian_jensen_shannon(rho) for rho in rhos], abs=0.05)
    assert found == sorted(found) and found[-1] < 2 * math.log(2)
