"""Variational empowerment against counts of reachable states, Blahut and Arimoto, and Gaussian channels."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from samples import ACTIONS, FOUR_ACTIONS, VECTOR, random_rollout
from worlds import assert_landscape, bits, exact_bits, true_dynamics, uniform_bits

from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.mi.channel import blahut_arimoto, mutual_information
from sb3_infomax.rewards.empowerment_mine import donsker_varadhan_of_states
from sb3_infomax.rewards.empowerment_variational import VariationalEmpowerment, alternate
from sb3_infomax.types import Transitions

ROOM = GridWorldEnv([".....",] * 5, stay=True)  # fmt: skip
ONE_BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)


def from_states(states, actions):
    """Transitions of which only s matters: the dynamics are given."""
    return Transitions.from_pairs(states, states, actions)


def train(module, draw, n_steps):
    """Steps of the optimizer, on batches of s that ``draw`` makes, with a decaying step size."""
    rate = module.learning_rate
    for step in range(n_steps):
        module.optimizer.param_groups[0]["lr"] = 0.5 * rate * (1 + math.cos(math.pi * step / n_steps))
        module._gradient_step(draw())
    return module


def in_room(env, horizon, n_steps, batch_size=256, **settings):
    module = VariationalEmpowerment(
        env.observation_space, env.action_space, horizon=horizon, dynamics=true_dynamics(env), learning_rate=1e-2, **settings
    )
    zeros = th.zeros(batch_size, dtype=th.int64)
    return train(module, lambda: from_states(th.randint(env.n_states, (batch_size,)), zeros), n_steps)


# -- the read-out ---------------------------------------------------------------------------------------------------------

# rows of quarters: four samples are the channel itself
NOISY = np.array([[0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])


def samples_of(channel, source=None):
    """ln q(j | s') of the exact posterior for the four s' of each input, (1, 4, N, N)."""
    joint = channel if source is None else channel * source[:, None]
    log_posterior = th.tensor(joint / joint.sum(axis=0)).clamp(min=1e-30).log()
    outcomes = th.tensor(np.stack([np.repeat(np.arange(channel.shape[1]), (4 * row).astype(int)) for row in channel]))
    return log_posterior.T[outcomes].transpose(0, 1)[None]


def test_alternations_are_blahut_and_arimoto_s():
    table = samples_of(NOISY)
    uniform = mutual_information(np.full(3, 1 / 3), NOISY)
    assert alternate(table, 0).item() == pytest.approx(uniform, abs=1e-9)
    steps = [alternate(table, n).item() for n in range(8)]
    capacity = blahut_arimoto(NOISY).lower
    assert steps == sorted(steps) and steps[-1] <= capacity
    assert alternate(table, 200).item() == pytest.approx(capacity, abs=1e-6)
    # the source after one alternation, by the closed form: what uniform q says of each input
    source = np.exp([sum(NOISY[k] * np.log(np.maximum(NOISY[k] / NOISY.sum(axis=0), 1e-30))) for k in range(3)])
    second = samples_of(NOISY, source / source.sum()).diagonal(dim1=-2, dim2=-1).mean(dim=1).logsumexp(dim=1)
    assert steps[2] == pytest.approx(second.item(), abs=1e-6)


def test_one_alternation_counts_the_distinct_places_of_a_noiseless_channel():
    channel = np.eye(3)[[0, 0, 1, 2, 1, 0]]
    assert alternate(samples_of(channel), 1).item() == pytest.approx(math.log(3), abs=1e-9)
    assert alternate(samples_of(channel), 0).item() < math.log(3) - 0.05


def test_a_normalised_q_makes_mine_s_bound_the_variational_one():
    log_posterior = th.randn(7, 3, 4, 4).log_softmax(dim=-1)
    donsker_varadhan = donsker_varadhan_of_states(log_posterior + math.log(4))
    th.testing.assert_close(donsker_varadhan, alternate(log_posterior, 0))


# -- before and without learning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 2])
def test_an_untrained_planner_guesses_uniformly_and_every_state_has_exactly_0(horizon):
    module = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, horizon=horizon)
    assert not module.empowerment(th.randn(20, 5)).any()


def test_empowerment_lies_between_0_and_the_logarithm_of_the_number_of_sequences():
    module = VariationalEmpowerment(VECTOR, FOUR_ACTIONS, horizon=2, warmup_steps=0, sensor_noise=0.1)
    th.nn.init.normal_(module.planner[-1].weight, std=3.0)  # a planner that is as wrong as can be
    nats = module.empowerment(10.0 * th.randn(50, 5))
    assert (nats >= 0).all() and (nats <= 2 * math.log(4)).all()


def test_actions_that_change_nothing_are_worth_nothing():
    still = VariationalEmpowerment(
        VECTOR, FOUR_ACTIONS, normalize_observations=False, dynamics=lambda features, actions, uniform, normal: features
    )
    train(still, lambda: from_states(th.randn(256, 5), th.zeros(256, dtype=th.int64)), 300)
    assert still.empowerment(th.randn(100, 5)).max() < 0.01 * math.log(2)


# -- learned in rooms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("horizon", "n_steps", "batch_size", "net_arch", "mae"),
    [(1, 600, 256, (64, 64), 0.03), (2, 1000, 256, (128, 128), 0.06), (3, 1200, 512, (128, 128), 0.08)],
)
def test_a_room_s_landscape(horizon, n_steps, batch_size, net_arch, mae):
    module = in_room(ROOM, horizon, n_steps, batch_size, net_arch=net_arch)
    found = bits(module, ROOM)
    assert_landscape(found, exact_bits(ROOM, horizon), mae)
    centre, edge, corner = (found[ROOM.state_of(*cell)] for cell in [(2, 2), (0, 2), (0, 0)])
    assert centre > edge > corner


def test_slip_lowers_every_state():
    dry = in_room(ROOM, 1, 500)
    wet_room = GridWorldEnv([".....",] * 5, stay=True, slip=0.2)  # fmt: skip
    wet = in_room(wet_room, 1, 500, n_samples=128)
    assert (bits(wet, wet_room) < bits(dry, ROOM) - 0.2).all()


class WithNoise:
    """The room, seen beside a screen that shows a random colour."""

    def __init__(self):
        self.follow = true_dynamics(ROOM)

    def __call__(self, features, actions, uniform, normal):
        room = self.follow(features[:, :25], actions, uniform, normal)
        return th.cat([room, (normal[:, 25:] > 0).float()], dim=1)

    def draw(self, n):
        return th.cat([th.eye(25)[th.randint(25, (n,))], th.randint(2, (n, 1)).float()], dim=1)


@pytest.mark.parametrize("learned", [False, True])
def test_noise_on_a_screen_is_not_control(learned):
    world, space = WithNoise(), spaces.Box(0.0, 1.0, (26,), np.float32)
    module = VariationalEmpowerment(
        space, ROOM.action_space, normalize_observations=False, learning_rate=1e-2, dynamics=None if learned else world
    )

    def draw():
        states, actions = world.draw(256), th.randint(5, (256,))
        following = world(states, th.eye(5)[actions], th.rand(256), th.randn(256, 26))
        data = Transitions.from_pairs(states, following, actions)
        module.measure_error(data)
        return data

    train(module, draw, 1200)
    for colour in (0.0, 1.0):
        found = module.empowerment(th.cat([th.eye(25), th.full((25, 1), colour)], dim=1)).numpy() / math.log(2)
        # learned, it is a bound for the model's channel: the first honest run was .08 above the world's
        assert_landscape(found, exact_bits(ROOM, 1), mae=0.1, above=0.12 if learned else 0.02)


# -- Gaussian channels ----------------------------------------------------------------------------------------------------


def line(dynamics, **settings):
    """A point on a line that is moved by one number."""
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    return VariationalEmpowerment(
        space, ONE_BOX, dynamics=dynamics, normalize_observations=False, learning_rate=1e-2, **{"n_samples": 512} | settings
    )


def on_the_line(batch_size=256):
    return from_states(2 * th.rand(batch_size, 1) - 1, th.zeros(batch_size, 1))


@pytest.mark.parametrize(("gain", "sigma"), [(1.0, 1.0), (1.0, 0.5), (2.0, 0.5), (0.2, 0.5)])
def test_a_gaussian_channel_has_its_closed_form(gain, sigma):
    r"""I = 1/2 log(1 + b^2 / sigma^2), for a source that is kept at N(0, 1) and not squashed."""
    # as many draws as leave no sampling error to speak of where there is next to no information
    module = line(lambda s, a, uniform, normal: s + gain * a + sigma * normal, n_components=1, n_samples=2**16)
    module.squash = lambda latent: latent
    module.channel.source.requires_grad_(False)
    train(module, on_the_line, 1500)
    closed_form = 0.5 * math.log(1 + gain**2 / sigma**2)
    found = module.empowerment(th.linspace(-0.8, 0.8, 9)[:, None]).mean().item()
    assert found == pytest.approx(closed_form, rel=0.08)


def test_a_wall_takes_control_away_and_the_estimate_stays_below_the_capacity():
    """Capacities in bits, from Blahut and Arimoto on a grid: 1.269 in the middle, .941 at .9, .759 at the wall."""
    module = line(lambda s, a, uniform, normal: (s + 0.3 * a).clamp(-1, 1) + 0.1 * normal)
    train(module, on_the_line, 2000)
    middle, near, at = (module.empowerment(th.tensor([[0.0], [0.9], [1.0]])) / math.log(2)).tolist()
    assert middle > near > at > 0.3
    assert middle > 0.95 and middle < 1.269 + 0.05 and near < 0.941 + 0.05 and at < 0.759 + 0.05


def test_without_the_squashing_the_source_widens_for_ever():
    widths = []
    for squash in (th.tanh, lambda latent: latent):
        module = line(lambda s, a, uniform, normal: s + a + 0.1 * normal)
        module.squash = squash
        train(module, on_the_line, 1000)
        widths.append(module.channel.source(th.zeros(1, 1))[0, 1].clamp(-5, 2).exp().item())
    assert widths[0] < 3 < 5 < widths[1]


def test_the_bound_s_gradient_reaches_the_source_through_the_dynamics_and_never_the_dynamics():
    module, data = VariationalEmpowerment(VECTOR, ACTIONS["Box"]), random_rollout(VECTOR, ACTIONS["Box"])
    loss, _ = module._information_loss(module._features(data.observations))
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.channel.source.parameters())
    assert all(parameter.grad is None for parameter in module.dynamics.parameters())


# -- knobs ---------------------------------------------------------------------------------------------------------------


def test_alternations_go_from_the_uniform_source_to_the_capacity():
    module = in_room(ROOM, 2, 700, net_arch=(128, 128))
    found = {}
    for module.n_alternations in (0, 1):
        found[module.n_alternations] = bits(module, ROOM)
    assert_landscape(found[0], uniform_bits(ROOM, 2), mae=0.06)
    assert (found[1] > found[0] + 0.05).all()


def test_several_components_see_that_two_actions_lead_to_one_place():
    r"""s' = a^2: |a| is told, its sign is not; one Gaussian over a must cover both."""
    found = []
    for n_components in (1, 2):
        module = line(lambda s, a, uniform, normal: a.square() + 0.1 * normal, n_components=n_components)
        found.append(train(module, on_the_line, 1200).empowerment(th.zeros(1, 1)).item())
    assert found[1] > found[0] + 0.2


@pytest.mark.parametrize("action_space", ["Discrete", "Box"])
def test_n_samples_is_how_many_futures_are_looked_at(action_space):
    few, many = (VariationalEmpowerment(VECTOR, ACTIONS[action_space], n_samples=n).uniform.shape for n in (3, 50))
    assert (few, many) == ((3, 1), (50, 1))
    default = VariationalEmpowerment(VECTOR, ACTIONS[action_space])
    assert default.n_samples == (16 if action_space == "Box" else 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_alternations": -1}, "n_alternations must be"), ({"n_components": 0}, "n_components must be")],
)
def test_bad_arguments_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        VariationalEmpowerment(VECTOR, FOUR_ACTIONS, **arguments)
