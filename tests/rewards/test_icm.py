"""ICM: both losses by hand, the published network, and that it learns what an action does."""

import math

import pytest
import torch as th
from gymnasium import spaces
from samples import ACTIONS, ATARI, FOUR_ACTIONS, OBSERVATIONS, VECTOR, random_rollout
from torch import nn

from sb3_infomax.common.plan import CALLBACK_KNOBS
from sb3_infomax.networks.preprocessing import encode_actions, encoded_dim
from sb3_infomax.rewards.icm import ICM, action_loss, pooling_factor
from sb3_infomax.types import Transitions

PAPER = {key: value for key, value in ICM.presets["paper"].items() if key not in CALLBACK_KNOBS}


@pytest.mark.parametrize(
    ("kind", "nats"),
    [
        ("Discrete", math.log(4)),
        ("Discrete from 3", math.log(4)),
        ("MultiDiscrete", (math.log(3) + math.log(2)) / 2),
        ("MultiBinary", math.log(2)),
    ],
)
def test_a_uniform_guess_of_the_action_costs_its_entropy(kind, nats):
    actions = encode_actions(random_rollout(action_space=ACTIONS[kind]).actions, ACTIONS[kind])
    loss = action_loss(th.zeros_like(actions), actions, ACTIONS[kind])
    assert loss.item() == pytest.approx(nats, rel=1e-5)
    assert action_loss(50.0 * (2.0 * actions - 1.0), actions, ACTIONS[kind]).item() < 1e-5


def test_box_actions_cost_their_mean_square_error_also_where_there_is_one():
    prediction, actions = th.tensor([[1.0], [0.0]]), th.tensor([[0.0], [1.0]])
    assert action_loss(prediction, actions, ACTIONS["Box of one"]).item() == 1.0
    assert action_loss(actions, actions, ACTIONS["Box of one"]).item() == 0.0


@pytest.mark.parametrize("kind", ["Discrete", "Box"])
def test_bonus_and_loss_are_those_of_the_paper(kind):
    space = ACTIONS[kind]
    module, data = ICM(VECTOR, space, beta=0.3, normalize_observations=False), random_rollout(action_space=space)
    phi, next_phi = (module.encoder({"": values}) for values in (data.observations, data.next_observations))
    actions = encode_actions(data.actions, space)
    error = module.forward_model(th.cat([phi, actions], dim=1)) - next_phi
    bonus = 0.5 * 288 * error.square().mean(dim=1)
    th.testing.assert_close(module.compute(data), bonus.detach(), rtol=1e-4, atol=1e-5)
    inverse_loss = action_loss(module.inverse_model(th.cat([phi, next_phi], dim=1)), actions, space)
    metrics = module.update(data)
    assert metrics["forward_loss"] == pytest.approx(bonus.mean().item(), rel=1e-4)
    assert metrics["inverse_loss"] == pytest.approx(inverse_loss.item(), rel=1e-4)
    assert metrics["loss"] == pytest.approx(0.7 * metrics["inverse_loss"] + 0.3 * metrics["forward_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("beta", "untouched", "trained"), [(0.0, "forward_model", "inverse_model"), (1.0, "inverse_model", "forward_model")]
)
def test_beta_divides_between_the_models_and_both_train_the_encoder(beta, untouched, trained):
    module, data = ICM(VECTOR, FOUR_ACTIONS, beta=beta), random_rollout()
    before = {key: value.clone() for key, value in module.named_parameters()}
    module.update(data)
    changed = {key.split(".")[0] for key, value in module.named_parameters() if not th.equal(value, before[key])}
    assert changed == {"encoder", trained} and untouched not in changed


def moves(n):
    """A point that the four actions push in the four directions, beside three numbers that nothing influences."""
    directions = th.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    actions, position = th.randint(4, (n,)), 2.0 * th.randn(n, 2)
    distraction, next_distraction = th.randn(n, 3), th.randn(n, 3)
    observations = th.cat([position, distraction], dim=1)
    return Transitions.from_pairs(observations, th.cat([position + directions[actions], next_distraction], dim=1), actions)


def test_it_learns_which_action_was_taken_and_what_it_does():
    module = ICM(VECTOR, FOUR_ACTIONS)
    first, last = None, None
    for _ in range(30):
        data = moves(2048)
        module.observe(data)
        last = module.update(data)
        first = first or last
    assert last["inverse_loss"] < 0.2 < 1.0 < first["inverse_loss"]
    assert last["forward_loss"] < 0.5 * first["forward_loss"]


def test_a_move_that_breaks_the_rule_is_a_surprise():
    module = ICM(VECTOR, FOUR_ACTIONS)
    for _ in range(30):
        data = moves(2048)
        module.observe(data), module.update(data)
    data = moves(500)
    frames = data.frames.clone()
    frames[500:, :2] = data.observations[:, :2] + 3.0  # thrown far to one side, whatever was done
    surprise = module.compute(Transitions.from_pairs(frames[:500], frames[500:], data.actions))
    assert surprise.mean() > 3 * module.compute(data).mean()


def test_every_frame_is_encoded_once():
    module, data, rows = ICM(VECTOR, FOUR_ACTIONS), random_rollout(), []
    module.encoder.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    module.compute(data)
    assert rows == [34], "16 steps of 2 environments have 34 frames"


@pytest.mark.parametrize("size", [42, 84])
def test_the_network_for_images_is_that_of_the_paper(size):
    module = ICM(spaces.Box(0, 255, (4, size, size), "uint8"), FOUR_ACTIONS, **PAPER)
    convolutions = [layer for layer in module.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in convolutions] == [
        (channels, 32, (3, 3), (2, 2), (1, 1)) for channels in (4, 32, 32, 32)
    ]
    assert sum(isinstance(layer, nn.ELU) for layer in module.encoder.modules()) == 4
    sizes = [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert sizes == [(2 * 288, 256), (256, 4), (288 + 4, 256), (256, 288)]


@pytest.mark.parametrize(
    ("shape", "image_size", "factor"),
    [
        ((1, 84, 84), 42, 2),
        ((3, 64, 64), 42, 2),
        ((3, 7, 7), 42, 1),
        ((3, 160, 210), 42, 4),
        ((1, 84, 84), None, 1),
        ((5,), 42, 1),
    ],
)
def test_images_are_averaged_down_to_about_the_paper_s_size(shape, image_size, factor):
    assert pooling_factor(shape, image_size) == factor


def test_only_the_newest_frame_counts_unless_asked():
    data = random_rollout(ATARI, n_steps=4)
    for newest_channels, same in (("auto", True), (None, False)):
        module = ICM(ATARI, FOUR_ACTIONS, newest_channels=newest_channels)
        other = Transitions(
            data.frames.clone(), data.index, data.next_index, data.actions, data.terminations, data.valid, data.shape
        )
        other.frames[:, :-1] = 0
        assert th.allclose(module.compute(data), module.compute(other)) is same


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_vectors_are_standardised_by_default_and_images_not(kind):
    assert (len(ICM(OBSERVATIONS[kind], FOUR_ACTIONS).preprocess.moments) == 0) == (kind in ("Atari", "MiniGrid", "Dict"))


@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("action_kind", ACTIONS)
def test_every_observation_and_action_gives_finite_bonuses(kind, action_kind):
    data = random_rollout(OBSERVATIONS[kind], ACTIONS[action_kind], n_steps=3)
    module = ICM(OBSERVATIONS[kind], ACTIONS[action_kind])
    for part in (data, data.select(th.tensor([0]))):
        module.observe(part)
        assert th.isfinite(module.compute(part)).all()
        assert all(math.isfinite(value) for value in module.update(part).values())
    assert module.inverse_model[-1].out_features == encoded_dim(ACTIONS[action_kind])


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_a_beta_that_is_no_share_is_refused(beta):
    with pytest.raises(ValueError, match="beta, the weight of the forward loss, must lie between 0 and 1, got"):
        ICM(VECTOR, FOUR_ACTIONS, beta=beta)


def test_presets_hold_arguments_and_knobs_of_the_callback_only():
    for preset in [ICM.defaults, *ICM.presets.values()]:
        ICM(VECTOR, FOUR_ACTIONS, **{key: value for key, value in preset.items() if key not in CALLBACK_KNOBS})
    assert ICM.presets["paper"]["coef"] == 0.01 and ICM.presets["paper"]["normalize"] == "none"
