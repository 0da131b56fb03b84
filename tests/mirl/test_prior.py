"""The action prior, soft values and the soft policy: closed forms, limits, Blahut-Arimoto's point, sizes that overflow."""

import copy

import numpy as np
import pytest
import torch as th

from sb3_infomax.mi import mutual_information
from sb3_infomax.mirl.prior import ActionPrior, kl_divergence, soft_policy, soft_value, soft_value_of_policy
from sb3_infomax.mirl.tabular import optimal_prior, soft_backup

PRIOR = np.array([0.4, 0.3, 0.2, 0.1])
LOG_PRIOR = th.as_tensor(np.log(PRIOR))
FLOOR = 1e-6


def q_values(n=5, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(n, 4))


def action_prior(probabilities=PRIOR, beta=1.0):
    prior = ActionPrior(len(probabilities))
    prior.start(probabilities, FLOOR)
    prior.beta.fill_(beta)
    return prior


def update(prior, values, learning_rate, floor=FLOOR):
    prior.update(prior.weights(values), learning_rate, floor)


# values and policy


@pytest.mark.parametrize("beta", [0.1, 1.0, 30.0])
def test_value_and_policy_are_the_exact_ones(beta):
    """soft_backup is the tabular solver's own, in another form."""
    values, policy = soft_backup(q_values(), PRIOR, beta)
    np.testing.assert_allclose(soft_value(th.as_tensor(q_values()), LOG_PRIOR, beta)[:, 0], values, rtol=1e-12)
    np.testing.assert_allclose(soft_policy(q_values(), PRIOR, beta), policy, rtol=1e-12)


@pytest.mark.parametrize("beta", [10.0, 1e2, 1e3, 1e4])
def test_value_is_below_the_maximum_by_no_more_than_the_prior_of_an_action_allows(beta):
    highest = th.as_tensor(q_values()).max(dim=1, keepdim=True).values
    gap = highest - soft_value(th.as_tensor(q_values()), LOG_PRIOR, beta)
    assert (gap >= -1e-12).all() and (gap <= np.log(1 / PRIOR.min()) / beta + 1e-12).all()


def test_value_at_small_beta_is_the_mean_under_the_prior():
    means = q_values() @ PRIOR
    np.testing.assert_allclose(soft_value(th.as_tensor(q_values()), LOG_PRIOR, 1e-6)[:, 0], means, atol=1e-5)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_nothing_overflows_at_beta_q_of_ten_thousand(scale):
    values = scale * np.array([[0.1, 0.5, 1.0, -1.0], [0.3, 0.3, 0.3, 0.3]])
    in_single = soft_value(th.as_tensor(values, dtype=th.float32), LOG_PRIOR.float(), 1.0)
    np.testing.assert_allclose(in_single[:, 0], np.logaddexp.reduce(values + np.log(PRIOR), axis=1), rtol=1e-6)
    policy, prior = soft_policy(values, PRIOR, 1.0), action_prior()
    np.testing.assert_allclose(policy[:, values[0].argmax()], [1.0, PRIOR[values[0].argmax()]])
    update(prior, values, 0.1)
    assert np.isfinite(prior.numpy()).all() and prior.greedy(prior.weights(values))[0] == values[0].argmax()


@pytest.mark.parametrize("beta", [0.3, 5.0])
def test_value_of_a_policy_is_its_return_less_its_price(beta):
    chosen_by, judged_by = q_values(seed=1), q_values(seed=2)
    policy = soft_policy(chosen_by, PRIOR, beta)
    expected = (policy * judged_by).sum(axis=1) - kl_divergence(policy, PRIOR) / beta
    ours = soft_value_of_policy(th.as_tensor(chosen_by), th.as_tensor(judged_by), LOG_PRIOR, beta)[:, 0]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    own = soft_value(th.as_tensor(judged_by), LOG_PRIOR, beta)[:, 0]
    assert (ours < own).all()  # Gibbs: no policy is worth more than the soft one
    same = soft_value_of_policy(th.as_tensor(judged_by), th.as_tensor(judged_by), LOG_PRIOR, beta)[:, 0]
    np.testing.assert_allclose(same, own, rtol=1e-12)


def test_value_of_a_policy_tends_to_double_q_learning():
    chosen_by, judged_by = th.as_tensor(q_values(seed=1)), th.as_tensor(q_values(seed=2))
    expected = judged_by.gather(1, chosen_by.argmax(dim=1, keepdim=True))
    assert th.allclose(soft_value_of_policy(chosen_by, judged_by, LOG_PRIOR, 1e6), expected, atol=1e-5)


def test_divergence_from_the_marginal_is_the_mutual_information():
    policy = soft_policy(q_values(50), PRIOR, 2.0)
    exact = mutual_information(np.full(50, 1 / 50), policy)
    assert kl_divergence(policy, policy.mean(axis=0)).mean() == pytest.approx(exact, rel=1e-12)
    penalty = kl_divergence(policy, PRIOR).mean()
    assert penalty == pytest.approx(exact + kl_divergence(policy.mean(axis=0), PRIOR), rel=1e-12)
    assert kl_divergence(np.array([1.0, 0.0]), np.array([0.25, 0.75])) == pytest.approx(np.log(4))


# the prior


def test_steps_are_those_of_the_paper_one_state_after_the_other():
    prior, expected = action_prior(beta=2.0), PRIOR
    update(prior, q_values(), 0.1)
    for values in q_values():
        expected = 0.9 * expected + 0.1 * soft_policy(values, expected, 2.0)
    np.testing.assert_allclose(prior.numpy(), expected, rtol=1e-12)


def test_greedy_action_weighs_prior_and_value():
    prior = action_prior(np.array([0.1, 0.7, 0.1, 0.1]))
    values = np.array([[1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])  # log 7 = 1.9
    assert prior.greedy(prior.weights(values)).tolist() == [1, 0]
    prior.beta.fill_(2.0)
    assert prior.greedy(prior.weights(values)).tolist() == [0, 0]


def test_prior_tends_to_the_point_of_blahut_and_arimoto():
    rng, values = np.random.default_rng(3), q_values(6, seed=4)
    states = rng.dirichlet(np.ones(6))
    prior = action_prior(np.full(4, 0.25), beta=3.0)
    for state, rate in zip(rng.choice(6, size=60_000, p=states), np.geomspace(1e-2, 1e-3, 60_000), strict=True):
        update(prior, values[[state]], rate)
    optimum = optimal_prior(values, states, 3.0)
    np.testing.assert_allclose(optimum, states @ soft_policy(values, optimum, 3.0), atol=1e-11)
    assert np.abs(prior.numpy() - optimum).max() <= 0.017


def test_where_information_is_dear_one_action_gets_all_and_carries_none():
    prior, values = action_prior(np.full(4, 0.25), beta=0.3), q_values(6, seed=4)
    for _ in range(3000):
        update(prior, values, 1e-2)
    assert prior.numpy().max() > 0.99
    policy = soft_policy(values, prior.numpy(), 0.3)
    assert mutual_information(np.full(6, 1 / 6), policy) < 1e-3


def test_prior_stays_a_distribution_above_its_floor():
    prior, rng = action_prior(beta=5.0), np.random.default_rng(0)
    for _ in range(1000):
        update(prior, rng.normal([0.0, 1.0, -1.0, -9.0], size=(100, 4)), 1e-2)
        assert prior.numpy().min() >= FLOOR and prior.numpy().sum() == pytest.approx(1.0, abs=1e-12)
    assert prior.numpy()[3] == FLOOR


def test_an_action_at_the_floor_returns_when_it_is_needed():
    prior = action_prior(beta=5.0)
    for _ in range(2000):
        update(prior, np.array([[4.0, 0.0, 0.0, 0.0]]), 1e-2)
    assert prior.numpy()[3] == FLOOR
    for _ in range(2000):
        update(prior, np.array([[0.0, 0.0, 0.0, 4.0]]), 1e-2)
    assert prior.numpy()[3] > 0.99


def test_published_steps_of_two_millionths_are_not_lost():
    """In single precision a hundred thousand of them leave the prior where it was."""
    uniform, values = np.full(4, 0.25), np.array([[1.0, 0.0, 0.0, 0.0]])
    prior, single = action_prior(uniform, beta=0.01), uniform.astype(np.float32)
    for _ in range(100_000):
        update(prior, values, 2e-6)
    # pi stays as far ahead of the prior as it was
    expected = 0.2 * (soft_policy(values, uniform, 0.01)[0] - 0.25)
    np.testing.assert_allclose(prior.numpy() - 0.25, expected, rtol=0.01)
    assert (single + np.float32(2e-6) * (soft_policy(values, uniform, 0.01)[0].astype(np.float32) - single) == single).all()


def test_samples_follow_the_prior():
    counts = np.bincount(action_prior().sample((100, 200)).flat, minlength=4)
    assert (((counts - 20_000 * PRIOR) ** 2) / (20_000 * PRIOR)).sum() < 16.3  # chi-square, 3 degrees, 99.9 %
    assert action_prior().sample(()).shape == ()


@pytest.mark.parametrize(
    ("probabilities", "sentence"),
    [
        ([0.5, 0.5], r"one probability for each of 4 actions, got shape \(2,\)"),
        ([0.5, 0.5, 0.5, 0.5], "must sum to 1"),
        ([1.0, 0.0, 0.0, 0.0], "at least prior_floor=1e-06"),
        ([np.nan, 0.5, 0.25, 0.25], "must sum to 1"),
    ],
)
def test_what_is_no_prior_is_refused(probabilities, sentence):
    with pytest.raises(ValueError, match=sentence):
        ActionPrior(4).start(probabilities, FLOOR)


def test_prior_stays_in_double_precision_wherever_the_policy_goes():
    prior = action_prior(beta=3.0)
    outer = th.nn.Sequential(th.nn.Linear(2, 2), prior).half().to("meta")
    assert outer[0].weight.device.type == "meta" and prior.probabilities.device.type == "cpu"
    assert prior.probabilities.dtype == prior.beta.dtype == th.float64
    copied = copy.deepcopy(prior)
    update(copied, q_values(), 0.1)
    np.testing.assert_allclose(prior.numpy(), PRIOR, rtol=1e-15)  # a copy is a copy
    assert np.abs(copied.numpy() - PRIOR).max() > 0.01
