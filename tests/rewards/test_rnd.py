"""RND: the bonus by hand, the published networks, and that what was seen is no longer new."""

import pytest
import torch as th
from gymnasium import spaces
from samples import ACTIONS, ATARI, FOUR_ACTIONS, OBSERVATIONS, VECTOR, random_rollout
from torch import nn

from sb3_infomax.common.plan import CALLBACK_KNOBS
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.rnd import RND, distillation_error
from sb3_infomax.types import Transitions

PAPER = {key: value for key, value in RND.presets["paper"].items() if key not in CALLBACK_KNOBS}


def pairs(next_observations):
    actions = th.zeros(len(next_observations), dtype=th.int64)
    return Transitions.from_pairs(th.zeros_like(next_observations), next_observations, actions)


def layers(network, kinds=(nn.Conv2d, nn.Linear)):
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def test_error_is_the_mean_square_over_features():
    prediction, target = th.tensor([[1.0, 2.0], [0.0, 0.0]]), th.tensor([[3.0, 1.0], [0.0, 2.0]])
    assert distillation_error(prediction, target).tolist() == [2.5, 2.0]


def test_bonus_is_of_the_next_observation_alone():
    module, data = RND(VECTOR, FOUR_ACTIONS), random_rollout()
    module.observe(data)
    moments = module.preprocess.moments[0]
    inputs = ((data.next_observations - moments.mean) / moments.variance.sqrt()).float().clamp(-5, 5)
    error = module.predictor({"": inputs}) - module.target({"": inputs})
    th.testing.assert_close(module.compute(data), error.square().sum(dim=1).detach() / 64, rtol=1e-4, atol=1e-5)
    other = Transitions.from_pairs(7.0 + data.observations, data.next_observations, (data.actions + 1) % 4)
    th.testing.assert_close(module.compute(other), module.compute(data))


def test_observations_are_clipped_at_five_deviations():
    module = RND(spaces.Box(-1e9, 1e9, (1,)), FOUR_ACTIONS)
    module.observe(pairs(th.randn(1000, 1)))
    far = module.compute(pairs(th.tensor([[6.0], [60.0], [1e6]])))
    assert far[0] == far[1] == far[2]


def test_without_normalisation_the_scale_is_the_environment_s():
    module = RND(VECTOR, FOUR_ACTIONS, normalize_observations=False)
    near, far = module.compute(pairs(th.ones(1, 5))), module.compute(pairs(1e3 * th.ones(1, 5)))
    th.testing.assert_close(far, 1e6 * near, rtol=1e-2, atol=0.0)  # networks without biases at the start are homogeneous


def test_what_was_visited_is_no_longer_new_and_what_was_not_still_is():
    module = RND(spaces.Box(-2.0, 2.0, (2,)), FOUR_ACTIONS)
    seen, unseen = 0.3 * th.randn(2048, 2) - 1.0, 0.3 * th.randn(2048, 2) + 1.0
    module.observe(pairs(th.cat([seen, unseen])))
    before = module.compute(pairs(seen)).mean()
    for _ in range(20):
        module.update(pairs(seen))
    assert module.compute(pairs(seen)).mean() < 0.02 * before
    assert module.compute(pairs(unseen)).mean() > 10 * module.compute(pairs(seen)).mean()


def test_rare_discrete_states_are_worth_more_than_common_ones():
    module = RND(spaces.Discrete(10), FOUR_ACTIONS)
    states = th.multinomial(th.tensor([*[1.0] * 9, 0.003]), 2000, replacement=True)
    for _ in range(5):
        module.observe(pairs(states))
        module.update(pairs(states))
    bonus = module.compute(pairs(th.arange(10)))
    assert bonus[9] > 3 * bonus[:9].max()


def test_the_target_never_trains_and_is_saved():
    module, data = RND(VECTOR, FOUR_ACTIONS), random_rollout()
    before = {key: value.clone() for key, value in module.target.state_dict().items()}
    module.update(data)
    assert all(th.equal(value, before[key]) for key, value in module.target.state_dict().items())
    assert {f"target.{key}" for key in before} <= set(module.state_dict())
    assert not th.equal(RND(VECTOR, FOUR_ACTIONS).compute(data), module.compute(data)), "another seed, another target"


@pytest.mark.parametrize("n_epochs", [1, 3])
def test_the_target_sees_every_frame_once_in_an_update_and_nothing_else_changes(n_epochs):
    settings = {"n_epochs": n_epochs, "batch_size": 8}
    module, data, rows = RND(VECTOR, FOUR_ACTIONS, **settings), random_rollout(), []
    plain = RND(VECTOR, FOUR_ACTIONS, **settings)
    plain.load_state_dict(module.state_dict())
    module.target.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    metrics, expected = module.update(data), RewardModule.update(plain, data)
    assert sum(rows) == 32
    assert metrics == pytest.approx(expected)
    th.testing.assert_close(module.compute(data), plain.compute(data))


@pytest.mark.parametrize(("settings", "channels", "dims"), [(PAPER, 32, (512, 512)), ({}, 16, (256, 64))])
def test_networks_for_images_are_those_of_the_authors(settings, channels, dims):
    module = RND(ATARI, FOUR_ACTIONS, **settings)
    hidden, feature_dim = dims
    for network in (module.target, module.predictor):
        convolutions = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in layers(network, nn.Conv2d)]
        assert convolutions == [(1, channels, 8, 4), (channels, 2 * channels, 4, 2), (2 * channels, 2 * channels, 3, 1)]
        assert [layer.negative_slope for layer in layers(network, nn.LeakyReLU)] == [0.2] * 3
    sizes = [
        [(layer.in_features, layer.out_features) for layer in layers(n, nn.Linear)] for n in (module.target, module.predictor)
    ]
    flat = 2 * channels * 49
    assert sizes == [[(flat, feature_dim)], [(flat, hidden), (hidden, hidden), (hidden, feature_dim)]]
    assert len(layers(module.predictor, nn.ReLU)) == 2


def test_both_networks_start_orthogonal_with_gain_sqrt_2():
    module = RND(VECTOR, FOUR_ACTIONS, **PAPER)
    for layer in layers(module.target) + layers(module.predictor):
        short = min(layer.weight.shape)
        gram = layer.weight @ layer.weight.T if len(layer.weight) == short else layer.weight.T @ layer.weight
        th.testing.assert_close(gram, 2.0 * th.eye(short), atol=1e-4, rtol=0.0)
        assert not layer.bias.any()


def test_only_the_newest_frame_of_a_stack_counts():
    module, data = RND(ATARI, FOUR_ACTIONS), random_rollout(ATARI, n_steps=4)
    bonus = module.compute(data)
    data.frames[:, :-1] = 0
    th.testing.assert_close(module.compute(data), bonus)
    data.frames[:, -1] = 0
    assert not th.allclose(module.compute(data), bonus)


@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("shape", [(16, 2), None])
def test_every_observation_gives_finite_bonuses(kind, shape):
    data = random_rollout(OBSERVATIONS[kind], ACTIONS["MultiBinary"])
    data = data if shape else data.select(th.arange(32))
    module = RND(OBSERVATIONS[kind], ACTIONS["MultiBinary"])
    for _ in range(2):
        module.observe(data)
        assert th.isfinite(module.compute(data)).all() and (module.compute(data) >= 0).all()
        assert set(module.update(data)) == {"loss", "feature_var"}


def test_feature_var_is_the_variance_of_the_target():
    module, data = RND(VECTOR, FOUR_ACTIONS), random_rollout()
    target = module.target(module.preprocess(data.next_observations))
    assert module.update(data)["feature_var"] == pytest.approx(target.var(dim=0, correction=0).mean().item(), rel=1e-4)


def test_presets_hold_arguments_and_knobs_of_the_callback_only():
    for preset in [RND.defaults, *RND.presets.values()]:
        RND(VECTOR, FOUR_ACTIONS, **{key: value for key, value in preset.items() if key not in CALLBACK_KNOBS})
    assert RND.presets["paper"]["episodic"] is False and RND.presets["paper"]["ext_coef"] == 2.0
