"""What every reward module inherits: batching, masks, training mode, state; and what Transitions promise."""

import io
from dataclasses import replace

import pytest
import torch as th
from gymnasium import spaces
from samples import OBSERVATIONS, VECTOR, random_rollout
from torch import nn

from sb3_infomax.checks import NonFiniteError, check_positive
from sb3_infomax.rewards.base import RewardModule, finite_rows
from sb3_infomax.types import Transitions


class Reconstruction(RewardModule):
    """Error of a linear autoencoder of s', with dropout while it trains."""

    def __init__(self, observation_space=VECTOR, action_space=None, **kwargs):
        super().__init__(observation_space, action_space or spaces.Discrete(4), **kwargs)
        dim = self.preprocess.shapes[""][0]
        self.network = nn.Sequential(nn.Linear(dim, 8), nn.Dropout(0.1), nn.Linear(8, dim))
        self.seen: list[Transitions] = []
        self.trained_in_mode: set[bool] = set()

    def bonus(self, transitions):
        observations = self.preprocess(transitions.next_observations)[""]
        return (self.network(observations) - observations).square().mean(dim=1)

    def loss(self, transitions):
        self.seen.append(transitions)
        self.trained_in_mode.add(self.training)
        loss = self.bonus(transitions).mean()
        return loss, {"twice": 2.0 * loss}


def parameters(module):
    return nn.utils.parameters_to_vector(module.parameters()).clone()


def rows_seen(module):
    return th.cat([batch.next_index for batch in module.seen])


@pytest.mark.parametrize("chunk_size", [1, 5, 31, 32, 1000])
def test_pieces_have_the_bonus_of_the_whole(chunk_size):
    module, data = Reconstruction(normalize_observations=True), random_rollout()
    module.observe(data)
    whole = module.compute(data)
    assert whole.shape == (32,) and whole.dtype == th.float32 and not whole.requires_grad
    module.chunk_size = chunk_size
    th.testing.assert_close(module.compute(data), whole)


def test_rows_that_are_not_valid_get_0_and_are_neither_trained_on_nor_observed():
    module, data = Reconstruction(normalize_observations=True), random_rollout()
    valid = th.arange(32) % 3 != 0
    masked = replace(data, valid=valid)
    module.observe(masked)
    th.testing.assert_close(
        module.preprocess.moments[0].mean, data.next_observations[valid].double().mean(dim=0), rtol=1e-3, atol=1e-3
    )
    bonus = module.compute(masked)
    assert not bonus[~valid].any() and (bonus[valid] > 0).all()
    module.update(masked)
    assert set(rows_seen(module).tolist()) == set(data.next_index[valid].tolist())


def test_nothing_valid_means_no_step_and_no_metrics():
    module, data = Reconstruction(), random_rollout()
    before = parameters(module)
    assert module.update(replace(data, valid=th.zeros(32, dtype=th.bool))) == {}
    assert th.equal(parameters(module), before)


@pytest.mark.parametrize("n", [1, 2, 31, 32])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_an_update_never_takes_zero_steps(n, batch_size):
    module = Reconstruction(batch_size=batch_size)
    before = parameters(module)
    metrics = module.update(random_rollout().select(th.arange(n)))
    assert len(module.seen) == n // min(n, batch_size)
    assert not th.equal(parameters(module), before)
    assert metrics["twice"] == pytest.approx(2 * metrics["loss"])


def test_a_rollout_is_gone_over_for_n_epochs_and_a_replay_batch_once():
    module, data = Reconstruction(n_epochs=3, batch_size=8), random_rollout()
    module.update(data)
    assert len(module.seen) == 12 and sorted(rows_seen(module).tolist()) == sorted(data.next_index.tolist() * 3)
    assert module.seen[0].next_index.tolist() != module.seen[4].next_index.tolist(), "every epoch is shuffled anew"
    module.seen.clear()
    module.update(replace(data, shape=None))
    assert len(module.seen) == 4


def test_a_share_of_the_data_is_drawn_anew_and_the_rest_not_touched():
    module, data = Reconstruction(update_fraction=0.25, n_epochs=2), random_rollout()
    module.update(data)
    first = rows_seen(module)
    assert len(first) == 16 and len(first.unique()) == 8
    module.seen.clear()
    module.update(data)
    assert set(first.tolist()) != set(rows_seen(module).tolist())


def test_training_mode_is_for_the_update_only_even_when_it_fails():
    module, data = Reconstruction(), random_rollout()
    module.compute(data)
    assert not module.training
    module.update(data)
    assert module.trained_in_mode == {True} and not module.training and not module.network.training
    module.loss = lambda transitions: 1 / 0
    with pytest.raises(ZeroDivisionError):
        module.update(data)
    assert not module.training


def test_nothing_is_paid_until_ready():
    module, data = Reconstruction(), random_rollout()
    module.ready.fill_(False)
    assert not module.compute(data).any()


def test_update_works_where_gradients_are_switched_off():
    module, data = Reconstruction(), random_rollout()
    before = parameters(module)
    with th.no_grad():
        module.update(data)
    assert not th.equal(parameters(module), before)


@pytest.mark.parametrize("start_fresh", [True, False])
def test_a_saved_module_continues_bit_for_bit(start_fresh, tmp_path):
    settings = {"n_epochs": 2, "batch_size": 8, "update_fraction": 0.5, "normalize_observations": True}
    module, data = Reconstruction(**settings), random_rollout()
    module.observe(data), module.update(data)
    th.save(module.state_dict(), tmp_path / "module.pt")
    generator = th.get_rng_state()  # of the dropout; the callback keeps it
    module.observe(data)
    expected = module.update(data), module.compute(data), parameters(module)
    other = Reconstruction(**settings) if start_fresh else module
    other.load_state_dict(th.load(tmp_path / "module.pt", weights_only=True))
    th.set_rng_state(generator)
    other.observe(data)
    found = other.update(data), other.compute(data), parameters(other)
    assert found[0] == expected[0] and th.equal(found[1], expected[1]) and th.equal(found[2], expected[2])


def test_state_of_other_spaces_does_not_load():
    file = io.BytesIO()
    th.save(Reconstruction().state_dict(), file)
    file.seek(0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Reconstruction(OBSERVATIONS["Discrete"]).load_state_dict(th.load(file, weights_only=True))


def test_a_loss_that_is_no_number_stops_before_it_spoils_the_network():
    module, data = Reconstruction(), random_rollout()
    before = parameters(module)
    frames = data.frames.clone()
    frames[3] = th.nan
    with pytest.raises(NonFiniteError, match=r"^The loss of Reconstruction is nan: lower its learning_rate"):
        module.update(replace(data, frames=frames))
    assert th.equal(parameters(module), before) and not module.training


def test_a_bonus_of_the_wrong_shape_is_named():
    module = Reconstruction()
    module.bonus = lambda transitions: th.zeros(len(transitions), 1)
    with pytest.raises(
        ValueError, match=r"bonus must return one number per transition, shape \(32,\), but returned \(32, 1\)"
    ):
        module.compute(random_rollout())


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (lambda loss: loss.mean(), r"loss must return a scalar and a dict of what to log: \(loss, {}\)\."),
        (lambda loss: (loss.mean(), None), "a scalar and a dict"),
        (lambda loss: (loss, {}), r"must return a scalar, but returned shape \(32,\): take the mean"),
    ],
)
def test_what_a_loss_of_ones_own_forgets_is_named(returned, sentence, monkeypatch):
    module = Reconstruction()
    monkeypatch.setattr(module, "loss", lambda transitions: returned(module.bonus(transitions)))
    with pytest.raises(ValueError, match=sentence):
        module.update(random_rollout())


def test_plain_numbers_can_be_logged_too(monkeypatch):
    module = Reconstruction()
    monkeypatch.setattr(module, "loss", lambda transitions: (module.bonus(transitions).mean(), {"answer": 42, "half": 0.5}))
    metrics = module.update(random_rollout())
    assert metrics["answer"] == 42.0 and metrics["half"] == 0.5


def test_a_module_without_parameters_is_told_to_update_itself():
    module = Reconstruction().requires_grad_(False)
    with pytest.raises(ValueError, match="Reconstruction has no parameters to train: override its update"):
        module.optimizer.step()


def test_the_gradient_is_clipped_to_the_norm_asked_for():
    module, data = Reconstruction(max_grad_norm=1e-3), random_rollout()
    module.update(data)
    norm = th.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("knob", ["learning_rate", "n_epochs", "batch_size", "update_fraction"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", True, None])
def test_numbers_that_are_none_are_refused_by_name(knob, value):
    with pytest.raises(ValueError, match=f"^{knob} must be a number above 0, got"):
        Reconstruction(**{knob: value})
    with pytest.raises(ValueError, match=r"^knob must"):
        check_positive(knob=value)


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match=r"must be at most 1, got 1\.5"):
        Reconstruction(update_fraction=1.5)


@pytest.mark.parametrize("value", [th.nan, th.inf, -th.inf])
def test_rows_with_non_finite_observations_are_found(value):
    data = random_rollout(n_steps=5, n_envs=1)
    data.frames[2, 1] = value
    assert finite_rows(data).tolist() == [True, False, False, True, True]
    images = random_rollout(OBSERVATIONS["MiniGrid"])
    assert finite_rows(images).all()


def test_non_finite_actions_are_found():
    data = random_rollout(action_space=spaces.Box(-1.0, 1.0, (2,)), n_steps=3, n_envs=1)
    data.actions[1, 0] = th.nan
    assert finite_rows(data).tolist() == [True, False, True]


def test_selecting_keeps_the_frames_and_drops_the_shape():
    data = random_rollout()
    part = data.select(th.tensor([5, 3]))
    assert part.frames is data.frames and part.shape is None and len(part) == 2
    assert th.equal(part.observations, data.observations[[5, 3]])
    assert th.equal(part.next_observations, data.next_observations[[5, 3]])
    assert th.equal(part.actions, data.actions[[5, 3]])


def test_minibatches_are_one_shuffled_epoch_by_the_generator_given():
    data = random_rollout()
    epochs = [list(data.minibatches(10, th.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert [len(batch) for batch in epochs[0]] == [10, 10, 10]
    rows = [th.cat([batch.index for batch in epoch]) for epoch in epochs]
    assert th.equal(rows[0], rows[1]) and not th.equal(rows[0], rows[2]) and len(rows[0].unique()) == 30


@pytest.mark.parametrize("kind", ["vector", "Dict"])
def test_every_frame_is_encoded_once(kind):
    data, calls = random_rollout(OBSERVATIONS[kind]).select(th.arange(10, 20)), []

    def function(frames):
        values = frames["speed"] if isinstance(frames, dict) else frames
        calls.append(len(values))
        return 2.0 * values

    features, next_features = data.encode(function)
    s, next_s = data.observations, data.next_observations
    s, next_s = (s["speed"], next_s["speed"]) if kind == "Dict" else (s, next_s)
    assert th.equal(features, 2.0 * s) and th.equal(next_features, 2.0 * next_s)
    assert calls == [12], "10 transitions of 2 environments have 12 distinct frames"


def test_pairs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="must have equal length, got 3, 2 and 3"):
        Transitions.from_pairs(th.zeros(3, 1), th.zeros(2, 1), th.zeros(3))


def test_the_optimizers_moments_go_where_the_module_goes():
    module = Reconstruction()
    module.update(random_rollout(VECTOR, spaces.Discrete(4)))
    # a dtype stands for a device here: both are moved by the same call
    module.to(th.float64)
    states = [module.optimizer.state[parameter] for parameter in module.parameters()]
    assert all(state["exp_avg"].dtype == th.float64 and float(state["step"]) > 0 for state in states)
