"""Learned empowerment against the exact capacity on worlds made at random, never against itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from planning import ends, plan
from worlds import assert_landscape, bits, exact_bits, true_dynamics, uniform_bits

from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.rewards.empowerment_mine import MINEEmpowerment
from sb3_infomax.rewards.empowerment_variational import VariationalEmpowerment
from sb3_infomax.types import Transitions

ROLLOUT = (512, 8)
SLIP = 0.2


def maze(seed, side=5, **settings):
    """Cells that are free with probability .7, in one piece or several; five actions."""
    rows = np.where(np.random.default_rng(seed).random((side, side)) < 0.3, "#", ".")
    rows[0, 0] = "."
    return GridWorldEnv(["".join(row) for row in rows], stay=True, **settings)


def random_transitions(env, rng):
    """A rollout's worth: states and actions drawn uniformly, successors from the world's own matrix."""
    matrix, n = env.transition_matrix(), math.prod(ROLLOUT)
    states, actions = rng.integers(env.n_states, size=n), rng.integers(len(matrix), size=n)
    following = (rng.random((n, 1)) > matrix[actions, states].cumsum(axis=1)).sum(axis=1)
    return replace(Transitions.from_pairs(*map(th.from_numpy, (states, following, actions))), shape=ROLLOUT)


def learn(cls, env, horizon, n_steps, batch_size=256, **settings):
    """A module that was trained on random transitions with a decaying step size."""
    rng, rollouts = np.random.default_rng(0), -(-n_steps // (10 * math.prod(ROLLOUT) // batch_size))
    settings = {"learning_rate": 1e-2, "n_epochs": 10, "batch_size": batch_size, **settings}
    module = cls(env.observation_space, env.action_space, horizon=horizon, **settings)
    for rollout in range(rollouts):
        for group in module.optimizer.param_groups:
            group["lr"] = 0.5 * module.learning_rate * (1 + math.cos(math.pi * rollout / rollouts))
        module.update(random_transitions(env, rng))
    return module


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_step_in_deterministic_mazes(seed):
    env = maze(seed)
    assert_landscape(bits(learn(VariationalEmpowerment, env, 1, 800), env), exact_bits(env, 1), mae=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_steps_in_deterministic_mazes(seed):
    env = maze(seed)
    module = learn(VariationalEmpowerment, env, 2, 2000, net_arch=(128,))
    assert_landscape(bits(module, env), exact_bits(env, 2), mae=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_three_steps_in_deterministic_mazes(seed):
    env = maze(seed)
    module = learn(VariationalEmpowerment, env, 3, 3000, batch_size=512, net_arch=(256,))
    assert_landscape(bits(module, env), exact_bits(env, 3), mae=0.08)


@pytest.mark.parametrize(("horizon", "n_steps"), [(1, 800), (2, 2000)])
def test_under_slip_the_estimate_is_a_lower_bound_of_the_true_channel(horizon, n_steps):
    """With the world's own dynamics. First honest run, four alternations: mean errors of .006 and .046 bit."""
    env = maze(0, slip=SLIP)
    settings = {"n_alternations": 4, "n_samples": 128, "net_arch": (128,), "dynamics": true_dynamics(env)}
    module = learn(VariationalEmpowerment, env, horizon, n_steps, **settings)
    assert_landscape(bits(module, env), exact_bits(env, horizon), mae=0.06)


@pytest.mark.parametrize("horizon", [1, 2])
def test_under_slip_with_a_learned_model(horizon):
    """A bound for the model's channel, not the world's. First honest runs: mean error .036 to .071, highest .10."""
    env = maze(0, slip=SLIP)
    settings = {"n_alternations": 4, "n_samples": 128, "net_arch": (128,)}
    module = learn(VariationalEmpowerment, env, horizon, 2000, **settings)
    assert_landscape(bits(module, env), exact_bits(env, horizon), mae=0.09, above=0.15, correlation=0.95)


def by_alternations(module, env, *counts):
    """The estimates of one trained module with each number of alternations in its read-out."""
    found = {}
    for module.n_alternations in counts:
        found[module.n_alternations] = bits(module, env)
    return found


def test_more_alternations_come_nearer_and_slip_costs():
    env, slippery = maze(1), maze(1, slip=SLIP)
    settings = {"n_samples": 128, "net_arch": (128,), "dynamics": true_dynamics(slippery)}
    found = by_alternations(learn(VariationalEmpowerment, slippery, 2, 2000, **settings), slippery, 0, 1, 4)
    errors = {k: abs(values - exact_bits(slippery, 2)).mean() for k, values in found.items()}
    assert errors[4] < errors[1] < errors[0]
    np.testing.assert_array_less(found[0], uniform_bits(slippery, 2) + 0.02)
    np.testing.assert_array_less(found[4], exact_bits(env, 2))


@pytest.mark.parametrize("bound", ["jsd", "dv", "nwj"])
def test_mine_in_a_deterministic_maze(bound):
    env = maze(0)
    module = learn(MINEEmpowerment, env, 1, 2000, batch_size=64, learning_rate=3e-3, bound=bound)
    assert_landscape(bits(module, env), uniform_bits(env, 1), mae=0.08, correlation=0.95)


def test_mine_under_slip_is_a_lower_bound():
    env = maze(1, slip=SLIP)
    settings = {"learning_rate": 3e-3, "n_samples": 128, "dynamics": true_dynamics(env)}
    found = by_alternations(learn(MINEEmpowerment, env, 1, 2000, **settings), env, 0, 4)
    assert_landscape(found[0], uniform_bits(env, 1), mae=0.08)
    # T belongs to a uniform source: with another one the bound holds, but is not tight
    assert (found[4] - exact_bits(env, 1)).max() < 0.02


@pytest.mark.slow
def test_a_planner_paid_the_learned_empowerment_goes_to_the_centre_and_one_fined_it_into_corners():
    env = GridWorldEnv("room_7x7", stay=True)
    transition = env.transition_matrix()
    learned = bits(learn(VariationalEmpowerment, env, 3, 3000, batch_size=512, net_arch=(256,)), env)
    assert {*ends(transition, plan(transition, learned))} == {env.state_of(3, 3)}
    corners = {env.state_of(row, column) for row in (0, 6) for column in (0, 6)}
    assert {*ends(transition, plan(transition, -learned))} <= corners
