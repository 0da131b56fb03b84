"""What both empowerment rewards share: action sequences, encoders, model noise, warm-up, what is paid, and every learner."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from samples import ACTIONS, FOUR_ACTIONS, OBSERVATIONS, VECTOR, random_rollout
from torch import nn
from toys import NO_WARM_UP, STEPS, jump_envs, make
from worlds import uniform_bits

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.plan import CALLBACK_KNOBS
from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.networks.dynamics import CategoricalDynamics, MixtureDynamics
from sb3_infomax.rewards.empowerment import distinct_rows, enumerate_sequences
from sb3_infomax.rewards.empowerment_mine import MINEEmpowerment
from sb3_infomax.rewards.empowerment_variational import VariationalEmpowerment
from sb3_infomax.types import Transitions

BOTH = pytest.mark.parametrize("cls", [VariationalEmpowerment, MINEEmpowerment])


def trained(cls, observation_space=VECTOR, action_space=FOUR_ACTIONS, n_updates=5, **settings):
    """A module that has seen noise, so that its estimates are no zeros."""
    module = cls(observation_space, action_space, warmup_steps=0, **settings)
    data = random_rollout(observation_space, action_space, n_steps=64)
    for _ in range(n_updates):
        module.observe(data)
        module.update(data)
    return module, data


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items() if isinstance(value, th.Tensor)}


# -- sequences of actions ---------------------------------------------------------------------------------------------------


def test_sequences_are_all_there_are_in_order():
    two = enumerate_sequences(spaces.Discrete(3, start=5), 2, 100)
    assert two.shape == (9, 2, 3) and two.argmax(dim=2).tolist() == [[a, b] for a in range(3) for b in range(3)]
    pairs = enumerate_sequences(spaces.MultiDiscrete([2, 3]), 1, 100)[:, 0]
    assert pairs[:, :2].argmax(1).tolist() == [0, 0, 0, 1, 1, 1] and pairs[:, 2:].argmax(1).tolist() == [0, 1, 2] * 2
    bits = enumerate_sequences(spaces.MultiBinary(3), 1, 100)[:, 0]
    assert bits.tolist() == [[float(b) for b in f"{number:03b}"] for number in range(8)]


@pytest.mark.parametrize("horizon", [3, 40])
def test_beyond_the_limit_distinct_random_sequences_stand_for_all_and_that_is_said(horizon):
    with pytest.warns(UserWarning, match=r"10 random ones stand for all.*log 10 = 2.30 nats"):
        module = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, horizon=horizon, max_sequences=10)
    assert len(module.sequences.flatten(1).unique(dim=0)) == 10 and module.ceiling == math.log(10)
    assert module.update(random_rollout())["share"] <= 1.0


# -- encoders ---------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_random_encoder_is_never_trained_and_a_learned_one_is(cls):
    for kind, trains in (("random", False), ("learned", True)):
        module = cls(VECTOR, FOUR_ACTIONS, encoder=kind)
        before = {key: value.clone() for key, value in module.encoder.state_dict().items()}
        module.update(random_rollout())
        assert all(parameter.requires_grad is trains for parameter in module.encoder.parameters())
        assert any(not th.equal(value, before[key]) for key, value in module.encoder.state_dict().items()) is trains


@pytest.mark.parametrize("side", [42, 64, 84, 96])
@pytest.mark.parametrize("feature_dim", [64, 512])
def test_random_features_of_images_of_any_size_spread_and_have_length_1(side, feature_dim):
    space = spaces.Box(0, 255, (1, side, side), np.uint8)
    module = VariationalEmpowerment(space, FOUR_ACTIONS, encoder="random", feature_dim=feature_dim)
    data = random_rollout(space)
    # pictures have patches of one colour; pixels that know nothing of their neighbours average out
    patches = th.randint(256, (len(data.frames), 1, 6, 6), dtype=th.uint8)
    data = replace(data, frames=patches.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)[..., :side, :side])
    module.observe(data)
    deviations = module._features(data.observations).std(dim=0) * math.sqrt(feature_dim)
    assert (deviations > 0.1).all() and (deviations < 10).all()
    th.testing.assert_close(module._features(data.observations).norm(dim=1), th.ones(32), rtol=1e-2, atol=0.0)


def test_a_learned_encoder_is_shaped_by_the_inverse_model_alone():
    module, data = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, encoder="learned"), random_rollout()
    nn.init.zeros_(module.inverse_model[-1].weight)  # nothing comes back through it
    loss, metrics = module.loss(data)
    loss.backward()
    assert metrics["inverse"] > 0 and all(not parameter.grad.any() for parameter in module.encoder.parameters())


@pytest.mark.parametrize("kind", OBSERVATIONS)
@BOTH
def test_every_observation_gives_finite_bonuses(cls, kind):
    module, data = trained(cls, OBSERVATIONS[kind], ACTIONS["Discrete from 3"], n_updates=2)
    assert th.isfinite(module.compute(data)).all()
    assert module.encoder_kind == ("learned" if kind in ("Atari", "MiniGrid", "Dict") else "identity")
    assert bool(len(module.preprocess.moments)) is (
        kind not in ("Discrete", "Discrete from 3", "MultiDiscrete", "MultiBinary")
    )
    expected = CategoricalDynamics if kind.startswith("Discrete") else MixtureDynamics
    assert type(module.dynamics) is expected


# -- the forward model and its noise ----------------------------------------------------------------------------------------


def test_model_error_is_read_as_control_unless_noise_covers_it():
    """A model of 200 transitions: without noise a corner has half a bit too much, with three errors' worth it is right."""
    env = GridWorldEnv("room_7x7", stay=True, observation="coordinates")
    observations, matrix = th.from_numpy(env.observations), th.from_numpy(env.transition_matrix())

    def transitions(n):
        states, actions = th.randint(env.n_states, (n,)), th.randint(5, (n,))
        return Transitions.from_pairs(observations[states], observations[matrix[actions, states].argmax(dim=1)], actions)

    few, unseen = transitions(200), transitions(2000)
    corner, found = env.state_of(0, 0), {}
    for scale in (0.0, 3.0):
        th.manual_seed(1)
        module = VariationalEmpowerment(
            env.observation_space, env.action_space, noise_scale=scale, n_alternations=0, n_samples=64,
            normalize_observations=False, learning_rate=3e-3,
        )  # fmt: skip
        for _ in range(400):  # the model first, which is then as wrong as it will stay
            module._gradient_step(few)
        module.measure_error(unseen)
        for parameter in module.dynamics.parameters():
            parameter.requires_grad_(False)
        everywhere = transitions(2000)
        for _ in range(1200):
            module._gradient_step(everywhere.select(th.randint(2000, (256,))))
        found[scale] = module.empowerment(observations)[corner].item() / math.log(2)
    exact = uniform_bits(env, 1)[corner]
    assert exact == pytest.approx(1.371, abs=1e-3)
    assert found[0.0] > exact + 0.5 and abs(found[3.0] - exact) < 0.25


def test_the_error_is_measured_on_transitions_before_they_are_trained_on():
    module, data = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, n_epochs=30), random_rollout()
    following, errors = module.dynamics, []
    for _ in range(2):
        features, next_features = module._encoded(data)
        actions = th.nn.functional.one_hot(data.actions, 4).float()
        errors.append(following.squared_errors(features, actions, next_features).mean().item())
        module.update(data)
        expected = np.mean(errors) if len(errors) > 1 else errors[0]
        assert following.error.item() ** 2 == pytest.approx(expected, rel=1e-4)
    assert errors[1] < errors[0]


@pytest.mark.parametrize("n_outcomes", [1, 3])
def test_samples_have_the_noise_that_was_asked_for(n_outcomes):
    model = MixtureDynamics(2, 4, (8,), n_outcomes, noise_scale=3.0)
    model.squared_error.copy_(th.tensor([0.04, 0.01]))
    features, actions = th.randn(1, 2).expand(5000, -1), th.eye(4)[:1].expand(5000, -1)
    noisy, mean = (model(features, actions, th.zeros(5000), normal) for normal in (th.randn(5000, 2), th.zeros(1, 2)))
    noise = noisy - mean
    th.testing.assert_close(noise.std(dim=0), th.tensor([0.6, 0.3]), rtol=0.05, atol=0.0)


def test_noise_scale_is_two_roots_of_the_number_of_features_unless_given():
    assert VariationalEmpowerment(VECTOR, FOUR_ACTIONS).dynamics.noise_scale == pytest.approx(2 * math.sqrt(5))
    assert VariationalEmpowerment(VECTOR, FOUR_ACTIONS, noise_scale=1.5).dynamics.noise_scale == 1.5


def fit(model, draw, n_steps=800):
    optimizer = th.optim.Adam(model.network.parameters(), lr=5e-3)
    for _ in range(n_steps):
        batch = draw()
        optimizer.zero_grad()
        model.loss(*batch).backward()
        optimizer.step()
        model.average()
    model.measure(*draw())
    return model


def coin(n=256):
    """Action 0 stays, action 1 goes a step to either side."""
    actions = th.randint(2, (n,))
    states, side = th.randn(n, 1), th.where(th.rand(n, 1) < 0.25, -1.0, 1.0)
    return states, th.eye(2)[actions], states + actions[:, None] * side


def test_several_outcomes_are_drawn_as_often_as_they_happen_where_one_would_be_their_mean():
    numbers = (th.rand(4000), th.zeros(4000, 1))
    start, leap = th.zeros(4000, 1), th.eye(2)[[1]].expand(4000, -1)
    one = fit(MixtureDynamics(1, 2, (32, 32), 1), coin)(start, leap, *numbers)
    assert one.std() < 0.01 and one.mean() == pytest.approx(0.5, abs=0.1)
    several = fit(MixtureDynamics(1, 2, (32, 32), 4), coin)(start, leap, *numbers)
    assert (several.abs() - 1).abs().mean() < 0.1
    assert (several < 0).float().mean() == pytest.approx(0.25, abs=0.07)


def test_discrete_states_have_the_whole_distribution():
    def draw(n=256):
        states, coins = th.randint(3, (n,)), th.rand(n) < 0.25
        return th.eye(3)[states], th.zeros(n, 1), th.eye(3)[(states + coins) % 3]

    model = fit(CategoricalDynamics(3, 1, (16,)), draw, 500)
    ends = model(th.eye(3)[:1].expand(4000, -1), th.zeros(4000, 1), th.rand(4000), th.zeros(4000, 3))
    th.testing.assert_close(ends.mean(dim=0), th.tensor([0.75, 0.25, 0.0]), atol=0.05, rtol=0.0)
    assert set(ends.unique().tolist()) == {0.0, 1.0}


def test_samples_come_from_averaged_weights():
    model = MixtureDynamics(2, 1, (4,))
    trajectory = [model.averaged[0].bias.clone()]
    for step in range(300):
        with th.no_grad():
            model.network[0].bias.fill_(float(step))
        model.average()
        trajectory.append(model.averaged[0].bias.clone())
    assert 0 < float(trajectory[1][0] + 1) < float(trajectory[2][0] + 1)
    assert 250 < float(trajectory[-1][0]) < 285  # the older the average, the further behind: here a tenth
    assert all(not parameter.requires_grad for parameter in model.averaged.parameters())


@BOTH
def test_given_dynamics_take_the_place_of_the_model_and_are_not_trained(cls):
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(th.tensor(2.0))

        def forward(self, features, actions, uniform, normal):
            return features + self.gain * actions[:, :1]

    module = cls(VECTOR, FOUR_ACTIONS, dynamics=Shift())
    metrics = module.update(random_rollout())
    assert not module.dynamics.gain.requires_grad and not {"forward", "error"} & metrics.keys()
    ends = module._imagine_all(th.zeros(1, 5), module.uniform, module.normal)
    assert ends[0, 0, :, 0].tolist() == [2.0, 0.0, 0.0, 0.0]


@BOTH
def test_the_imagined_end_is_that_of_all_actions_in_turn_plus_the_sensors_noise(cls):
    settings = {
        "horizon": 2,
        "dynamics": lambda features, actions, uniform, normal: 10.0 * features + actions.argmax(1)[:, None],
    }
    module = cls(VECTOR, FOUR_ACTIONS, n_samples=500, **settings)
    assert module._imagine_all(th.zeros(1, 5), module.uniform, module.normal)[0, 3, :, 0].tolist() == [
        10 * first + second for first in range(4) for second in range(4)
    ]
    noisy = cls(VECTOR, FOUR_ACTIONS, n_samples=500, sensor_noise=0.3, **settings)
    ends = noisy._imagine_all(th.zeros(1, 5), noisy.uniform, noisy.normal)
    assert ends[0, :, 7].std().item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("max_sequences", [64, 10])
@pytest.mark.filterwarnings("ignore:There are 64 sequences")
def test_sequences_imagined_together_end_where_each_does_alone(max_sequences):
    """All of them share their beginnings; random ones do not."""
    settings = {"horizon": 3, "n_samples": 4, "n_outcomes": 3, "max_sequences": max_sequences, "sensor_noise": 0.1}
    module = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, **settings)
    assert module.n_branches == (4 if max_sequences == 64 else 0)
    features, n = th.randn(6, 5), len(module.sequences)
    batch, samples, sequences = th.cartesian_prod(th.arange(6), th.arange(4), th.arange(n)).T
    one_by_one = module._imagine(features[batch], module.sequences[sequences], module.uniform[samples], module.normal[samples])
    together = module._imagine_all(features, module.uniform, module.normal)
    th.testing.assert_close(together, one_by_one.view(6, 4, n, 5))


@BOTH
def test_states_that_come_back_are_looked_at_once(cls):
    module, _ = trained(cls, spaces.Discrete(6))
    looked_at, estimate = [], module._estimate
    module._estimate = lambda features: looked_at.append(len(features)) or estimate(features)
    states = th.randint(4, (200,))
    found = module.empowerment(states)
    assert looked_at == [4] and th.equal(found, module.empowerment(th.arange(4))[states])


def test_rows_that_differ_are_kept_apart_bit_by_bit():
    values = th.randn(40, 7)[th.randint(40, (300,))]
    rows, inverse = distinct_rows(values)
    assert len(rows) == len(values.unique(dim=0)) and th.equal(rows[inverse], values)
    values[3, 2] = math.nan  # not equal even to itself
    rows, inverse = distinct_rows(values)
    assert rows is values and inverse.tolist() == list(range(300))


# -- what is paid -----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("scale_free", [None, True, False])
def test_the_bonus_is_plus_the_empowerment_of_the_state_reached_and_0_where_the_episode_ended(cls, scale_free):
    module, data = trained(
        cls, n_updates=20, scale_free=scale_free, dynamics=lambda s, a, uniform, normal: s + a.argmax(1)[:, None]
    )
    data = replace(data, terminations=th.arange(len(data)) % 5 == 0)
    nats, bonus = module.empowerment(data.next_observations), module.compute(data)
    assert nats.max() > 0.1 and not bonus[data.terminations].any()
    divisor = 1.0 if scale_free is False else math.log(4)
    th.testing.assert_close(bonus, th.where(data.terminations, 0.0, nats / divisor))
    other = Transitions.from_pairs(3.0 + data.observations, data.next_observations, (data.actions + 1) % 4)
    th.testing.assert_close(module.compute(other), nats / divisor)


def test_box_actions_have_no_number_to_divide_by():
    module, data = trained(VariationalEmpowerment, action_space=ACTIONS["Box"])
    th.testing.assert_close(module.compute(data), module.empowerment(data.next_observations))
    assert "share" not in module.update(data)
    with pytest.raises(ValueError, match="scale_free divides by the logarithm"):
        VariationalEmpowerment(VECTOR, ACTIONS["Box"], scale_free=True)


@BOTH
def test_nothing_is_paid_before_the_warm_up_is_over(cls):
    module, data = cls(VECTOR, FOUR_ACTIONS, warmup_steps=5, batch_size=16, n_epochs=1), random_rollout()
    ready = []
    for _ in range(3):  # two steps each
        module.update(data)
        ready.append(bool(module.ready))
    assert ready == [False, False, True]
    assert cls(VECTOR, FOUR_ACTIONS).warmup_steps == 100 and bool(cls(VECTOR, FOUR_ACTIONS, warmup_steps=0).ready)


@BOTH
def test_nothing_is_not_paid_in_silence(cls, monkeypatch):
    """Of random walks no action is to be seen; told once, and not before there was time to learn."""
    monkeypatch.setattr("sb3_infomax.rewards.empowerment._PATIENCE", 20)
    module = cls(VECTOR, FOUR_ACTIONS, noise_scale=20.0, n_epochs=1, batch_size=4, learning_rate=1e-5)
    data = random_rollout()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        module.update(data)
        assert not told
        for _ in range(20):
            module.update(data)
    assert len(told) == 1 and "no state has an empowerment" in str(told[0].message)


@BOTH
def test_asking_for_the_empowerment_changes_nothing_and_needs_no_warm_up(cls):
    module, data = cls(VECTOR, FOUR_ACTIONS), random_rollout()
    before = state_of(module)
    whole = module.empowerment(data.observations)
    module.chunk_size = 5
    th.testing.assert_close(module.empowerment(data.observations), whole)
    assert whole.shape == (32,) and all(th.equal(value, before[key]) for key, value in state_of(module).items())


@BOTH
def test_what_is_logged(cls):
    own = {"planning"} if cls is VariationalEmpowerment else {"bound", "score_max"}
    module, data = cls(VECTOR, FOUR_ACTIONS, encoder="learned"), random_rollout()
    metrics = module.update(data)
    assert set(metrics) == {"loss", "inverse", "forward", "error", "nats", "share"} | own
    assert metrics["share"] == pytest.approx(metrics["nats"] / math.log(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon must be"),
        ({"encoder": "fourier"}, "encoder must be 'identity', 'random' or 'learned', got 'fourier'"),
        ({"noise_scale": -1.0}, "noise_scale must be"),
        ({"sensor_noise": math.nan}, "sensor_noise must be"),
        ({"warmup_steps": -1}, "warmup_steps must be"),
        ({"n_samples": 0}, "n_samples must be"),
        ({"max_sequences": 0}, "max_sequences must be"),
        ({"feature_dim": 0}, "feature_dim must be"),
        ({"n_outcomes": 0}, "n_outcomes must be"),
    ],
)
@BOTH
def test_bad_arguments_get_one_sentence(cls, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        cls(VECTOR, FOUR_ACTIONS, **arguments)
    assert "\n" not in str(error.value)


@BOTH
def test_net_arch_is_of_every_network(cls):
    module = cls(VECTOR, FOUR_ACTIONS, net_arch=(7,), encoder="learned")
    first = [layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.out_features == 7]
    assert len(first) == 5  # encoder, inverse model, forward model and its average, estimator


@BOTH
def test_defaults_hold_knobs_of_the_callback_only(cls):
    assert set(cls.defaults) <= set(CALLBACK_KNOBS) and cls.bonus_order == "after"


# -- learners ---------------------------------------------------------------------------------------------------------------


def run(learner, reward, env=None):
    callback = IntrinsicReward(reward, coef=1.0, module_kwargs=NO_WARM_UP[reward])
    model = make(learner, env).learn(STEPS, callback=callback)
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    assert int(callback.module.n_gradient_steps) > 0


@pytest.mark.parametrize("learner", ["PPO", "A2C", "DQN", "QRDQN"])
@pytest.mark.parametrize("reward", NO_WARM_UP)
@pytest.mark.parametrize("kind", ["box", "image"])
def test_learners_of_discrete_actions(learner, reward, kind):
    run(learner, reward, jump_envs(2, kind=kind))


@pytest.mark.parametrize("learner", ["SAC", "TD3"])
def test_learners_of_box_actions(learner):
    run(learner, "empowerment")
