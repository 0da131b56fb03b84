"""Shapes of the small networks, and how they start."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from samples import ATARI, OBSERVATIONS, samples
from torch import nn

from sb3_infomax.networks.encoders import (
    Conv,
    ObservationEncoder,
    ObservationPreprocessor,
    fit_convolutions,
    initialize,
    make_cnn,
    make_mlp,
)

NATURE = [Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3, 1)]


def test_mlp_has_the_layers_asked_for():
    sizes = [(layer.in_features, layer.out_features) for layer in make_mlp(3, [5, 7], 2) if isinstance(layer, nn.Linear)]
    assert sizes == [(3, 5), (5, 7), (7, 2)]
    assert isinstance(make_mlp(3, [5], activation=nn.Tanh)[-1], nn.Tanh)
    assert len(make_mlp(3, [])) == 0


@pytest.mark.parametrize(("shape", "dim"), [((4, 84, 84), 3136), ((1, 84, 84), 3136), ((1, 36, 36), 64), ((3, 7, 7), 64 * 49)])
def test_convolutions_of_the_paper_or_small_ones_for_small_images(shape, dim):
    network, found = make_cnn(shape, NATURE)
    assert found == dim and network(th.zeros(2, *shape)).shape == (2, dim)
    assert (fit_convolutions(NATURE, *shape[1:]) == NATURE) == (min(shape[1:]) >= 36)


@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("normalize", [False, True])
def test_every_observation_becomes_features(kind, normalize):
    space = OBSERVATIONS[kind]
    preprocess = ObservationPreprocessor(space, normalize=normalize)
    encoder = ObservationEncoder(preprocess.shapes, [8], NATURE, [16], output_dim=5)
    observations = samples(space, 3)
    preprocess.update(observations)
    features = encoder(preprocess(observations))
    assert features.shape == (3, 5) and th.isfinite(features).all()
    no_output = ObservationEncoder(preprocess.shapes, [8], NATURE, [16])
    assert no_output(preprocess(observations)).shape == (3, no_output.output_dim)


def test_image_and_vector_of_a_dict_both_count():
    space = OBSERVATIONS["Dict"]
    preprocess = ObservationPreprocessor(space)
    encoder = ObservationEncoder(preprocess.shapes, [], NATURE, [], output_dim=5)
    first = samples(space, 2)
    for key, value in samples(space, 2).items():
        assert not th.allclose(encoder(preprocess(first)), encoder(preprocess({**first, key: value})))


def test_statistics_are_of_the_newest_frame_only():
    preprocess = ObservationPreprocessor(ATARI, newest_channels="auto", normalize=True)
    images = samples(ATARI, 20)
    preprocess.update(images)
    assert preprocess.shapes == {"": (1, 84, 84)}
    np.testing.assert_allclose(preprocess.moments[0].mean[0], images[:, -1].double().mean(dim=0) / 255, rtol=1e-5)
    assert preprocess(images)[""].std() == pytest.approx(1.0, abs=0.01)


def test_preprocessor_without_statistics_keeps_none():
    preprocess = ObservationPreprocessor(spaces.Box(-9.0, 9.0, (1,)))
    preprocess.update(th.full((5, 1), 7.0))
    assert preprocess(th.full((1, 1), 7.0))[""].item() == 7.0 and preprocess.state_dict() == {}


def test_orthogonal_layers_have_the_gain_asked_for():
    network = make_mlp(20, [10], 5)
    initialize(network, "orthogonal", gain=2**0.5)
    for layer in (network[0], network[2]):
        th.testing.assert_close(layer.weight @ layer.weight.T, 2.0 * th.eye(len(layer.weight)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


def test_xavier_layers_have_its_variance_in_convolutions_too():
    layer = nn.Conv2d(16, 32, 3)
    initialize(layer, "xavier")
    assert layer.weight.var().item() == pytest.approx(2 / (9 * 16 + 9 * 32), rel=0.1)
