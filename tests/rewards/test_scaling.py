"""Scaling a bonus: what each mode divides by, centring, masks, and sums that go on over rollouts."""

import pytest
import torch as th

from sb3_infomax.rewards.scaling import RewardScaler

BONUS = th.tensor([1.0, 3.0, 0.0, 5.0, 7.0, 0.0])
VALID = th.tensor([True, True, False, True, True, False])
KNOWN = BONUS[VALID]  # 1, 3, 5, 7: mean 4, variance 5


def scaled(mode, **kwargs):
    scaler = RewardScaler(mode, **kwargs)
    scaler.observe(BONUS, VALID, (3, 2))
    return scaler(BONUS, VALID)


@pytest.mark.parametrize(
    "mode, expected",
    [("none", KNOWN), ("batch_std", KNOWN / 5**0.5), ("std", KNOWN / 5**0.5), ("minmax", (KNOWN - 1.0) / 6.0)],
)
@pytest.mark.parametrize("center", [False, True])
def test_each_mode_divides_by_what_it_says_and_masked_entries_are_0(mode, expected, center):
    result = scaled(mode, center=center)
    # the running moments start with a weight of 1e-4
    th.testing.assert_close(result[VALID], expected - center * expected.mean(), rtol=1e-4, atol=1e-4)
    assert not result[~VALID].any()


def test_return_std_is_the_deviation_of_discounted_sums_that_go_on_over_rollouts():
    scaler, rewards = RewardScaler("return_std", gamma=0.5), th.tensor([[1.0], [2.0], [0.0], [4.0]])
    for half in rewards.split(2):
        scaler.observe(half.reshape(-1), th.ones(2, dtype=th.bool), (2, 1))
    sums = th.tensor([1.0, 2.5, 1.25, 4.625])
    one = th.ones(1)
    th.testing.assert_close(scaler(one, one.bool()), 1.0 / sums.std(correction=0, keepdim=True), rtol=1e-3, atol=0.0)


def test_the_running_centre_is_of_what_was_observed_not_of_the_batch():
    scaler = RewardScaler("none", center=True, running_center=True)
    scaler.observe(BONUS, VALID)
    th.testing.assert_close(scaler(BONUS[:1], VALID[:1]), th.tensor([-3.0]), rtol=1e-3, atol=0.0)


def test_the_running_centre_follows_a_bonus_that_wears_off():
    scaler, one = RewardScaler("none", center=True, running_center=True), th.ones(4)
    for size in [10.0] * 100 + [1.0] * 500:
        scaler.observe(size * one, one.bool())
    # a mean over all of the past would be 2.5, and make the present bonus of 1 a penalty of 1.5
    assert scaler(one, one.bool()).abs().max() < 0.1


@pytest.mark.parametrize("mode", ["std", "batch_std", "minmax", "none"])
@pytest.mark.parametrize("center", [False, True])
def test_a_batch_without_known_entries_or_without_differences_is_finite(mode, center):
    scaler = RewardScaler(mode, center=center)
    assert not scaler(BONUS, th.zeros(6, dtype=th.bool)).any()
    scaler.observe(th.ones(6), th.ones(6, dtype=th.bool))
    assert th.isfinite(scaler(th.ones(6), th.ones(6, dtype=th.bool))).all()


def test_scaling_changes_nothing():
    scaler = RewardScaler("std", center=True, running_center=True)
    scaler.observe(BONUS, VALID)
    before = {name: value.clone() for name, value in scaler.state_dict().items()}
    scaler(BONUS, VALID)
    assert all(th.equal(value, before[name]) for name, value in scaler.state_dict().items())


def test_return_std_without_time_order_and_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="time order"):
        RewardScaler("return_std").observe(BONUS, VALID)
    with pytest.raises(ValueError, match="normalize must be one of"):
        RewardScaler("max")
