"""Exact empowerment: closed forms, counting by breadth-first search, published and independently computed tables."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch as th
from planning import ends, plan

from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.mi.channel import blahut_arimoto, mutual_information
from sb3_infomax.mi.empowerment import empowerment, n_step_channel

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1], [0, 0]])


def room(side):
    return "\n".join(["." * side] * side)


def two_rooms(side):
    """Two squares, and one cell between them in the middle row."""
    return "\n".join("." * side + (".#"[row != side // 2]) + "." * side for row in range(side))


PLACES = {
    "7x7": (room(7), {"centre": (3, 3), "wall": (0, 3), "corner": (0, 0)}),
    "5x5": (room(5), {"centre": (2, 2), "wall": (0, 2)}),
    "3x3": (room(3), {"centre": (1, 1), "corner": (0, 0)}),
    "corridor": ("." * 9, {"middle": (0, 4), "end": (0, 0)}),
    "two rooms": (two_rooms(5), {"door": (2, 5), "beside": (2, 4), "centre": (2, 2)}),
}


def world(name, **settings):
    return GridWorldEnv(PLACES[name][0], **settings)


def bits_at(name, horizon, **settings):
    env = world(name, **settings)
    values = empowerment(env.transition_matrix(), horizon, unit="bits")
    return {place: values[env.state_of(*cell)] for place, cell in PLACES[name][1].items()}


def uniform_bits_at(name, horizon, **settings):
    env = world(name, **settings)
    channel = n_step_channel(env.transition_matrix(), horizon)
    values = mutual_information(np.full(channel.shape[1], 1 / channel.shape[1]), channel, unit="bits")
    return {place: values[env.state_of(*cell)] for place, cell in PLACES[name][1].items()}


def torus(side, n_actions):
    """Moves on a square that is closed at the edges."""
    rows, columns = np.divmod(np.arange(side**2), side)
    targets = [(rows + dr) % side * side + (columns + dc) % side for dr, dc in MOVES[:n_actions]]
    return np.eye(side**2)[np.array(targets)]


def n_reachable(transition, state, horizon):
    states = {state}
    for _ in range(horizon):
        states = {int(matrix[s].argmax()) for s in states for matrix in transition}
    return len(states)


def random_maze(seed, side=6):
    rng = np.random.default_rng(seed)
    rows = np.where(rng.random((side, side)) < 0.3, "#", ".")
    rows[0, 0] = "."
    return GridWorldEnv(["".join(row) for row in rows], stay=bool(seed % 2))


@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("n_actions", "count"), [(5, lambda n: 2 * n**2 + 2 * n + 1), (4, lambda n: (n + 1) ** 2)], ids=["stay", "no stay"]
)
def test_open_plane(horizon, n_actions, count: Callable):
    # Klyubin, Polani and Nehaniv 2005; without staying only every other cell
    found = empowerment(torus(2 * horizon + 2, n_actions), horizon)
    np.testing.assert_allclose(found, math.log(count(horizon)), atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("horizon", [1, 3, 6])
def test_deterministic_worlds_are_counted(seed, horizon):
    transition = random_maze(seed).transition_matrix()
    counted = [math.log(n_reachable(transition, state, horizon)) for state in range(transition.shape[1])]
    np.testing.assert_allclose(empowerment(transition, horizon), counted, atol=1e-9)
    if horizon <= 3:
        np.testing.assert_allclose(blahut_arimoto(n_step_channel(transition, horizon)).lower, counted, atol=1e-8)


# place -> capacity, and mutual information of a uniform source, at horizons 1, 2, 3
DETERMINISTIC = {
    ("7x7", "centre"): ((2.3219, 3.7004, 4.6439), (2.3219, 3.5395, 4.2515)),
    ("7x7", "wall"): ((2.0, 3.1699, 4.0), (1.9219, 2.8676, 3.4465)),
    ("7x7", "corner"): ((1.5850, 2.5850, 3.3219), (1.3710, 2.1129, 2.6039)),
    ("5x5", "centre"): ((2.3219, 3.7004, 4.3923), (2.3219, 3.5395, 4.1477)),
    ("5x5", "wall"): ((2.0, 3.1699, 3.8074), (1.9219, 2.8676, 3.3802)),
    ("3x3", "centre"): ((2.3219, 3.1699, 3.1699), None),
    ("3x3", "corner"): ((1.5850, 2.5850, 3.0), None),
    ("corridor", "middle"): ((1.5850, 2.3219, 2.8074), (1.3710, 1.8809, 2.1769)),
    ("corridor", "end"): ((1.0, 1.5850, 2.0), (0.7219, 1.0783, 1.3137)),
    ("two rooms", "door"): ((1.5850, 3.1699, 4.2479), (1.3710, 2.4817, 3.2615)),
    ("two rooms", "beside"): ((2.3219, 3.4594, 4.2479), (2.3219, 3.2391, 3.7668)),
    ("two rooms", "centre"): ((2.3219, 3.7004, 4.4594), (2.3219, 3.5395, 4.1736)),
}
NO_STAY = {
    ("7x7", "centre"): (2.0, 3.1699, 4.0),
    ("7x7", "wall"): (2.0, 3.1699, 4.0),  # a bump is a stay
    ("7x7", "corner"): (1.5850, 2.5850, 3.3219),
    ("corridor", "middle"): (1.5850, 2.3219, 2.8074),
    ("corridor", "end"): (1.0, 1.5850, 2.0),
    ("two rooms", "door"): (1.5850, 3.1699, 4.2479),
}
UNIFORM_SLIP = {
    (0.1, "7x7", "centre"): ((1.7597, 2.6807, 3.2435), None),
    (0.1, "7x7", "wall"): ((1.5019, 2.2880, 2.8045), None),
    (0.1, "7x7", "corner"): ((1.1773, 1.8380, 2.3023), None),
    (0.2, "7x7", "centre"): ((1.3676, 2.0236, 2.4124), (1.3676, 1.8229, 1.9263)),
    (0.2, "7x7", "wall"): ((1.1611, 1.7263, 2.0933), (1.1095, 1.4399, 1.5352)),
    (0.2, "7x7", "corner"): ((0.9058, 1.3781, 1.7126), (0.7760, 1.0673, 1.1984)),
    (0.5, "7x7", "centre"): ((0.5510, 0.8143, 1.0271), (0.5510, 0.6076, 0.5601)),
    (0.2, "corridor", "middle"): ((0.9058, 1.2385, 1.4380), None),
    (0.2, "corridor", "end"): ((0.5530, 0.8512, 1.0574), None),
    (0.2, "two rooms", "door"): ((0.9058, 1.7735, 2.2753), None),
    (0.2, "two rooms", "centre"): ((1.3676, 2.0236, 2.3298), None),
}
PERPENDICULAR_SLIP = {
    (0.2, "centre"): (1.0781, 1.6208, 1.9742),
    (0.2, "wall"): (1.0781, 1.6386, 2.0103),  # walls absorb noise
    (0.2, "corner"): (0.8208, 1.3021, 1.6395),
    (2 / 3, "centre"): (0.4150, 0.5828, 0.7128),
    (2 / 3, "wall"): (0.4150, 0.6130, 0.7576),
    (2 / 3, "corner"): (0.3333, 0.5059, 0.6356),
}


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("name", PLACES)
def test_table_of_deterministic_rooms(name, horizon):
    capacity, uniform = bits_at(name, horizon, stay=True), uniform_bits_at(name, horizon, stay=True)
    for place, found in capacity.items():
        expected, from_uniform = DETERMINISTIC[name, place]
        assert found == pytest.approx(expected[horizon - 1], abs=1e-3)
        assert from_uniform is None or uniform[place] == pytest.approx(from_uniform[horizon - 1], abs=1e-3)


@pytest.mark.parametrize(("name", "place"), NO_STAY)
def test_table_without_an_action_that_stays(name, place):
    found = [bits_at(name, horizon)[place] for horizon in (1, 2, 3)]
    assert found == pytest.approx(NO_STAY[name, place], abs=1e-3)


@pytest.mark.parametrize(("slip", "name"), sorted({key[:2] for key in UNIFORM_SLIP}))
def test_table_of_uniform_slip(slip, name):
    for horizon in (1, 2, 3):
        capacity = bits_at(name, horizon, stay=True, slip=slip)
        uniform = uniform_bits_at(name, horizon, stay=True, slip=slip)
        for place in {place for *world, place in UNIFORM_SLIP if world == [slip, name]}:
            expected, from_uniform = UNIFORM_SLIP[slip, name, place]
            assert capacity[place] == pytest.approx(expected[horizon - 1], abs=1e-3)
            assert from_uniform is None or uniform[place] == pytest.approx(from_uniform[horizon - 1], abs=1e-3)


@pytest.mark.parametrize("slip", [0.2, 2 / 3])
def test_table_of_perpendicular_slip(slip):
    for horizon in (1, 2, 3):
        for place, found in bits_at("7x7", horizon, slip=slip, slip_kind="perpendicular").items():
            assert found == pytest.approx(PERPENDICULAR_SLIP[slip, place][horizon - 1], abs=1e-3)


def test_one_step_under_slip_in_closed_form():
    for slip in (0.1, 0.2, 0.5):
        row = np.array([1 - slip] + [0.0] * 4) + slip / 5
        expected = math.log2(5) + (row * np.log2(row)).sum()
        assert bits_at("7x7", 1, stay=True, slip=slip)["centre"] == pytest.approx(expected, abs=1e-6)


def test_pure_noise_has_no_empowerment_and_less_noise_has_more():
    values = [empowerment(world("5x5", stay=True, slip=slip).transition_matrix(), 2) for slip in (0, 0.1, 0.3, 0.7, 1)]
    assert all((low <= high + 1e-4).all() for high, low in pairwise(values))
    np.testing.assert_allclose(values[-1], 0.0, atol=1e-9)


def test_more_steps_reach_more_where_staying_is_possible():
    values = [empowerment(world("two rooms", stay=True).transition_matrix(), n) for n in (1, 2, 3, 5, 10, 20)]
    assert all((low <= high + 1e-9).all() for low, high in pairwise(values))
    np.testing.assert_allclose(values[-1], math.log(51), atol=1e-9)  # everything


@pytest.mark.parametrize(
    ("side", "counts"), [(5, [(3, 5), (9, 13), (19, 22), (29, 27), (39, 30)]), (7, [None] * 4 + [(47, 47)])]
)
def test_a_door_beats_a_room_from_some_horizon_on(side, counts):
    env = GridWorldEnv(two_rooms(side), stay=True)
    places = [env.state_of(side // 2, side), env.state_of(side // 2, side // 2)]
    for horizon, expected in enumerate(counts, start=1):
        if expected is not None:
            assert np.exp(empowerment(env.transition_matrix(), horizon)[places]) == pytest.approx(expected)
    door, centre = empowerment(env.transition_matrix(), side + 1 - side // 5)[places]
    assert door > centre


def test_states_after_which_nothing_follows_have_none():
    env = GridWorldEnv("...\n..G", stay=True)
    values = empowerment(env.transition_matrix(), 3)
    assert abs(values[5]) < 1e-12 and (values[:5] > 1.0).all()


def test_useless_and_redundant_actions_add_nothing():
    more = {"useless_actions": 3, "redundant_actions": 2}
    for horizon in (1, 3):
        plain, wide = (empowerment(world("5x5", stay=True, **extra).transition_matrix(), horizon) for extra in ({}, more))
        np.testing.assert_allclose(plain, wide, atol=1e-9)


def test_merged_sequences_have_the_capacity_of_all_of_them():
    transition = world("3x3", stay=True, slip=0.3).transition_matrix()
    channel = n_step_channel(transition, 3)
    assert channel.shape == (9, 125, 9)
    every = blahut_arimoto(channel, tolerance=1e-5)
    np.testing.assert_allclose(empowerment(transition, 3, tolerance=1e-5), every.lower, atol=2e-5)


def test_sequences_are_ordered_like_numbers():
    env = world("3x3", stay=True)
    channel = n_step_channel(env.transition_matrix(), 2)
    up_then_right = channel[env.state_of(1, 1), 0 * 5 + 1]
    assert up_then_right[env.state_of(0, 2)] == 1.0


def test_iterations_from_a_uniform_source():
    # information at the source of each step, slip .2, centre of the 7 x 7 room, three steps
    env = world("7x7", stay=True, slip=0.2)
    channel = n_step_channel(env.transition_matrix(), 3)[env.state_of(3, 3)]
    found = [blahut_arimoto(channel, unit="bits", max_iterations=k).lower for k in range(4)]
    assert found == pytest.approx([1.926, 2.235, 2.346, 2.379], abs=1e-3)


# Klyubin's 10 x 10 maze: the cells with a wall to the next row, and those with a wall to the next column
TO_NEXT_ROW = [*[(1, c) for c in (0, 1, 2, 3, 4, 5, 7, 8)], (3, 6), (5, 2), (5, 3), (5, 4), (6, 4), (7, 4), (8, 3)]
TO_NEXT_COLUMN = [(2, 5), (3, 5), (2, 6), (3, 6), (6, 4), (7, 4), (8, 3)]


def klyubin_maze():
    targets = np.empty((5, 100), dtype=int)
    for state in range(100):
        for action, move in enumerate(MOVES):
            row, column = divmod(state, 10)
            to = np.array([row, column]) + move
            first = (min(row, to[0]), min(column, to[1]))
            blocked = first in (TO_NEXT_ROW if move[0] else TO_NEXT_COLUMN) and action != 4
            inside = (to >= 0).all() and (to < 10).all()
            targets[action, state] = to @ [10, 1] if inside and not blocked else state
    return np.eye(100)[targets]


def mean_shortest_paths(transition):
    steps = np.where(transition.max(axis=0) > 0, 1.0, np.inf)
    np.fill_diagonal(steps, 0.0)
    for middle in range(len(steps)):
        steps = np.minimum(steps, steps[:, [middle]] + steps[[middle]])
    return steps.mean(axis=1)


@pytest.mark.parametrize(
    ("horizon", "fewest", "most", "mean", "correlation"),
    [
        (1, 2, 5, 2.030, None),
        (2, 3, 13, 3.157, None),
        (3, 6, 23, 3.882, -0.771),
        (4, 9, 34, 4.392, None),
        (5, 11, 46, 4.783, -0.927),
        (10, 22, 85, 5.932, -0.967),
    ],
)
def test_the_maze_of_the_first_paper(horizon, fewest, most, mean, correlation):
    values = empowerment(klyubin_maze(), horizon, unit="bits")
    assert 2 ** values.min() == pytest.approx(fewest) and 2 ** values.max() == pytest.approx(most)
    assert values.mean() == pytest.approx(mean, abs=1e-3)
    if correlation is not None:
        assert np.corrcoef(values, mean_shortest_paths(klyubin_maze()))[0, 1] == pytest.approx(correlation, abs=1e-3)


@pytest.mark.parametrize(
    ("transition", "without", "given"),
    [
        (world("5x5", stay=True).transition_matrix(), 0.320, 1.978),
        (world("7x7", stay=True).transition_matrix(), 0.229, 2.081),
        (torus(5, 5), 0.0, 2.322),
        (world("two rooms", stay=True).transition_matrix(), 0.298, 1.982),
    ],
)
def test_actions_say_little_about_the_next_state_when_the_state_is_not_given(transition, without, given):
    """Why a critic needs the state: I(A; S') over all states is not the mean of I(A; S' | s)."""
    source = np.full(5, 0.2)
    assert mutual_information(source, transition.mean(axis=1), unit="bits") == pytest.approx(without, abs=1e-3)
    each = mutual_information(source, transition.swapaxes(0, 1), unit="bits")
    assert each.mean() == pytest.approx(given, abs=1e-3)


# position -> capacity, and information of uniform actions, in bits
CLIPPED_POINT = {
    0.1: {0.0: (1.269, 0.978), 0.7: (1.269, 0.978), 0.8: (1.117, 0.896), 0.9: (0.941, 0.709), 1.0: (0.759, 0.462)},
    0.05: {0.0: (1.950, 1.763), 0.7: (1.950, 1.763), 0.8: (1.757, 1.626), 0.9: (1.535, 1.342), 1.0: (1.270, 0.973)},
}


def gaussian_channel(means, sigma, n_bins=1500):
    """Rows N(mean, sigma^2), cut into narrow bins."""
    edges = np.linspace(means.min() - 7 * sigma, means.max() + 7 * sigma, n_bins + 1)
    return np.diff(th.special.ndtr(th.from_numpy((edges - means[:, None]) / sigma)).numpy(), axis=1)


@pytest.mark.parametrize("sigma", CLIPPED_POINT)
def test_point_that_walls_stop(sigma):
    # s' = clip(x + .3 a, -1, 1) + sigma e, a in [-1, 1]
    actions = np.linspace(-1, 1, 201)
    for x, (capacity, uniform) in CLIPPED_POINT[sigma].items():
        channel = gaussian_channel(np.clip(x + 0.3 * actions, -1, 1), sigma)
        found = blahut_arimoto(channel, unit="bits", tolerance=2e-3)
        assert 0.5 * (found.lower + found.upper) == pytest.approx(capacity, abs=2e-3)
        weights = np.full(201, 1 / 201)
        assert mutual_information(weights, channel, unit="bits") == pytest.approx(uniform, abs=1e-2)


def test_amplitude_limited_gaussian():
    channel = gaussian_channel(np.linspace(-1, 1, 401), 0.5)
    assert blahut_arimoto(channel, unit="bits", tolerance=1e-3).lower == pytest.approx(0.942, abs=1e-3)
    assert mutual_information(np.full(401, 1 / 401), channel, unit="bits") == pytest.approx(0.608, abs=3e-3)


@pytest.mark.parametrize(
    ("layout", "horizon", "best", "worst", "random", "best_cells", "worst_cells"),
    [
        (room(7), 3, 4.644, 3.322, 4.076, {(3, 3)}, {(0, 0), (0, 6), (6, 0), (6, 6)}),
        (two_rooms(5), 3, 4.459, 3.322, 3.901, {(2, 2), (2, 8)}, {(0, 0), (4, 0), (0, 10), (4, 10)}),
        (two_rooms(5), 5, 5.285, 4.248, 4.691, {(2, 5)}, {(0, 0), (4, 0), (0, 10), (4, 10)}),
        ("." * 9, 3, 2.807, 2.000, 2.471, None, {(0, 0), (0, 8)}),
    ],
)
def test_the_sign_is_plus(layout, horizon, best, worst, random, best_cells, worst_cells):
    """A policy paid +E parks at hubs, one paid -E in dead ends."""
    env = GridWorldEnv(layout, stay=True)
    transition = env.transition_matrix()
    values = empowerment(transition, horizon, unit="bits")
    # all actions alike, each move undone by another: every cell is visited equally often
    assert values.mean() == pytest.approx(random, abs=1e-3)
    for sign, level, cells in [(1, best, best_cells), (-1, worst, worst_cells)]:
        reached = ends(transition, plan(transition, sign * values))
        assert values[reached] == pytest.approx(np.full(len(reached), level), abs=1e-3)
        assert cells is None or {tuple(env.cells[state]) for state in reached} <= cells


def test_bad_arguments_are_refused_in_one_sentence():
    square = np.eye(3)[None]
    with pytest.raises(ValueError, match="horizon is a number of steps and must be at least 1, got 0"):
        empowerment(square, 0)
    with pytest.raises(ValueError, match=r"must have shape \(n_actions, n_states, n_states\), got \(1, 2, 3\)"):
        empowerment(np.full((1, 2, 3), 1 / 3))
    with pytest.raises(ValueError, match="transition matrix must sum to 1"):
        n_step_channel(0.5 * square, 1)
    with pytest.raises(ValueError, match="unit must be"):
        empowerment(square, 1, unit="bit")


def test_too_few_iterations_are_told():
    transition = world("5x5", stay=True, slip=0.2).transition_matrix()
    with pytest.warns(UserWarning, match="known only to .* nats after 2 iterations"):
        rough = empowerment(transition, 2, max_iterations=2)
    assert (rough <= empowerment(transition, 2) + 1e-9).all()
