"""Blahut-Arimoto on channels whose capacity is known, and on random ones by what any capacity must satisfy."""

import math

import numpy as np
import pytest

from sb3_infomax.mi.channel import blahut_arimoto, mutual_information


def entropy(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def symmetric(error: float) -> np.ndarray:
    return np.array([[1 - error, error], [error, 1 - error]])


def erasure(probability: float) -> np.ndarray:
    return np.array([[1 - probability, probability, 0], [0, probability, 1 - probability]])


def z_channel(error: float) -> np.ndarray:
    return np.array([[1, 0], [error, 1 - error]])


def random_channels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.5), size=shape[:-1])


@pytest.mark.parametrize("error", [0.01, 0.1, 0.3])
def test_textbook_channels(error):
    z_capacity = math.log2(1 + (1 - error) * error ** (error / (1 - error)))
    expected = {
        "symmetric": (symmetric(error), 1 - entropy(error)),
        "erasure": (erasure(error), 1 - error),
        "z": (z_channel(error), z_capacity),
    }
    for channel, capacity in expected.values():
        found = blahut_arimoto(channel, unit="bits")
        assert found.lower == pytest.approx(capacity, abs=1e-6)
        assert found.upper == pytest.approx(capacity, abs=1e-6)


def test_z_channel_prefers_its_noiseless_input():
    found = blahut_arimoto(z_channel(0.5), unit="bits")
    assert found.lower == pytest.approx(0.321928094887, abs=1e-8)
    assert found.source == pytest.approx([0.6, 0.4], abs=1e-4)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_noiseless_channel_carries_log_n(n):
    found = blahut_arimoto(np.eye(n))
    assert found.lower == pytest.approx(math.log(n), abs=1e-12)
    assert found.upper == pytest.approx(math.log(n), abs=1e-12)
    assert found.iterations == 0


def test_deterministic_channel_carries_log_of_the_reachable_outputs():
    channel = np.eye(4)[[0, 0, 0, 1, 3]]
    found = blahut_arimoto(channel, unit="bits")
    assert found.lower == pytest.approx(math.log2(3), abs=1e-8)
    assert channel.T @ found.source == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=1e-4)


def test_useless_channel_carries_nothing():
    found = blahut_arimoto(np.tile([0.2, 0.5, 0.3], (4, 1)))
    assert found.lower == found.upper == pytest.approx(0.0, abs=1e-12)


def test_random_channels_satisfy_the_kuhn_tucker_conditions():
    channels = random_channels(40, 6, 5)
    lower, upper, source, _ = blahut_arimoto(channels, tolerance=1e-6)
    assert (lower <= upper).all() and (upper - lower < 1e-6).all()
    output = np.einsum("bx,bxy->by", source, channels)
    divergences = (channels * np.log(channels / output[:, None])).sum(axis=-1)
    assert (divergences <= upper[:, None] + 1e-12).all()
    # inputs in use are all equally informative
    assert (source * (upper[:, None] - divergences) < 1e-6).all()


def test_no_random_source_exceeds_the_capacity():
    channel = random_channels(6, 5)
    sources = np.random.default_rng(1).dirichlet(np.ones(6), size=500)
    assert mutual_information(sources, channel).max() <= blahut_arimoto(channel).upper


def test_lower_is_the_information_of_the_source_returned():
    channels = random_channels(7, 6, 5)
    found = blahut_arimoto(channels, max_iterations=10)
    assert found.lower == pytest.approx(mutual_information(found.source, channels), abs=1e-12)
    assert found.iterations.tolist() == [10] * 7


def test_more_iterations_narrow_the_enclosure_around_the_capacity():
    channel = random_channels(6, 5)
    exact = blahut_arimoto(channel, max_iterations=100_000)
    lowers = [blahut_arimoto(channel, max_iterations=n).lower for n in (0, 1, 10, 100)]
    assert lowers == sorted(lowers)
    for n in (0, 1, 10, 100):
        found = blahut_arimoto(channel, max_iterations=n)
        assert found.lower <= exact.upper and found.upper >= exact.lower


def test_tolerance_decides_when_to_stop():
    loose, tight = (blahut_arimoto(z_channel(0.3), tolerance=tolerance) for tolerance in (1e-3, 1e-9))
    assert loose.iterations < tight.iterations
    assert loose.upper - loose.lower < 1e-3 and tight.upper - tight.lower < 1e-9


def test_bits_and_nats_differ_by_log_2():
    channel = random_channels(6, 5)
    bits, nats = blahut_arimoto(channel, unit="bits"), blahut_arimoto(channel, unit="nats")
    assert bits.lower * math.log(2) == pytest.approx(nats.lower, abs=1e-8)
    uniform = np.full(6, 1 / 6)
    in_bits = mutual_information(uniform, channel, unit="bits")
    assert in_bits * math.log(2) == pytest.approx(mutual_information(uniform, channel), abs=1e-12)


def test_tolerance_is_in_the_unit_asked_for():
    found = blahut_arimoto(z_channel(0.3), unit="bits", tolerance=1e-4)
    assert found.upper - found.lower < 1e-4


def test_a_stack_of_channels_is_each_of_them():
    channels = random_channels(2, 3, 5, 4)
    found = blahut_arimoto(channels)
    assert found.lower.shape == found.upper.shape == found.iterations.shape == (2, 3)
    assert found.source.shape == (2, 3, 5)
    for index in np.ndindex(2, 3):
        alone = blahut_arimoto(channels[index])
        assert found.lower[index] == pytest.approx(alone.lower, abs=1e-12)
        assert found.iterations[index] == alone.iterations


def test_a_stack_of_no_batch_gives_scalars():
    found = blahut_arimoto(symmetric(0.1))
    assert isinstance(found.lower, float) and isinstance(found.upper, float)
    assert found.source.shape == (2,)


def test_capacity_ignores_repeated_and_reordered_inputs():
    channel = random_channels(5, 4)
    repeated = channel[[3, 0, 1, 1, 4, 2, 0]]
    assert blahut_arimoto(repeated).lower == pytest.approx(blahut_arimoto(channel).lower, abs=1e-7)


def test_vanishing_probabilities_do_no_harm():
    channel = np.array([[1.0, 0.0, 0.0], [1.0 - 1e-300, 1e-300, 0.0], [0.0, 0.0, 1.0]])
    found = blahut_arimoto(channel)
    assert found.lower == pytest.approx(math.log(2), abs=1e-8)
    assert np.isfinite(found.upper) and np.isfinite(found.source).all()


def test_mutual_information_by_hand():
    assert mutual_information([0.5, 0.5], erasure(0.25), unit="bits") == pytest.approx(0.75, abs=1e-12)
    assert mutual_information([1.0, 0.0], symmetric(0.1)) == pytest.approx(0.0, abs=1e-12)


def test_one_source_serves_a_stack_of_channels():
    channels = random_channels(3, 5, 4)
    found = mutual_information(np.full(5, 0.2), channels)
    assert found.shape == (3,)
    assert found[2] == pytest.approx(mutual_information(np.full(5, 0.2), channels[2]), abs=1e-12)


def test_float32_rows_are_accepted():
    channel = random_channels(6, 50).astype(np.float32)
    assert blahut_arimoto(channel).lower == pytest.approx(blahut_arimoto(channel.astype(np.float64)).lower, abs=1e-8)


def test_rows_are_divided_by_their_sums():
    assert blahut_arimoto(0.999995 * np.eye(3)).lower == pytest.approx(math.log(3), abs=1e-12)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ([0.5, 0.5], "must have shape"),
        (np.empty((0, 3)), "no empty axis"),
        ([[0.5, 0.4], [0.5, 0.5]], "must sum to 1 along the last axis, but one sum is 0.9"),
        ([[1.5, -0.5], [0.5, 0.5]], "negative entries, the smallest -0.5"),
        ([[math.nan, 1.0], [0.5, 0.5]], "NaN or infinite"),
        ([[math.inf, 1.0], [0.5, 0.5]], "NaN or infinite"),
    ],
)
def test_what_is_no_channel_is_refused(channel, message):
    with pytest.raises(ValueError, match=message):
        blahut_arimoto(channel)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="unit must be 'nats' or 'bits', got 'bit'"):
        blahut_arimoto(symmetric(0.1), unit="bit")
    with pytest.raises(ValueError, match="max_iterations must be 0 or more"):
        blahut_arimoto(symmetric(0.1), max_iterations=-1)
    with pytest.raises(ValueError, match="The source has 3 inputs, but the channel 2"):
        mutual_information(np.full(3, 1 / 3), symmetric(0.1))
    with pytest.raises(ValueError, match="The probabilities of the source must sum to 1"):
        mutual_information([0.5, 0.6], symmetric(0.1))
