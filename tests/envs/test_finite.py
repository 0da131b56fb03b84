"""Dynamics as arrays: the same as stepping, for every family that can be read."""

import gymnasium as gym
import numpy as np
import pytest

from sb3_infomax.compare.environments import OneHotGrid
from sb3_infomax.envs import GRID_WORLD, ROOM_7X7
from sb3_infomax.envs.finite import read_world
from sb3_infomax.mi.empowerment import empowerment


def test_grid_worlds_are_read_as_they_are():
    env = gym.make(GRID_WORLD, layout="..#\n..G", slip=0.2, observation="one_hot")
    world = read_world(env)
    np.testing.assert_array_equal(world.transition, env.unwrapped.transition_matrix())
    np.testing.assert_array_equal(world.observations, np.eye(5))
    assert world.terminal.tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(world.landscape(np.arange(5.0)), [[0, 1, np.nan], [2, 3, 4]])


def test_wrappers_of_observations_are_applied():
    env = gym.wrappers.TransformObservation(gym.make(ROOM_7X7), lambda index: index / 2, gym.spaces.Box(0, 24, ()))
    np.testing.assert_array_equal(read_world(env).observations, np.arange(49) / 2)


@pytest.mark.parametrize("slippery", [False, True])
def test_frozen_lake_is_its_table(slippery):
    env = gym.make("FrozenLake-v1", is_slippery=slippery)
    world = read_world(env)
    np.testing.assert_allclose(world.transition.sum(axis=2), 1.0)
    holes = np.flatnonzero(env.unwrapped.desc.reshape(-1) == b"H")
    assert {*np.flatnonzero(world.terminal)} == {*holes, 15} and world.shape == (4, 4)
    left, corner = 0, 0
    assert world.transition[left, corner, corner] == pytest.approx(2 / 3 if slippery else 1.0)
    values = empowerment(world.transition, 2)
    assert (abs(values[holes]) < 1e-9).all() and values[14] > 0.1


def test_the_goal_of_the_cliff_ends_and_its_edge_leads_back():
    world = read_world(gym.make("CliffWalking-v1"))
    down, beside_the_cliff, start = 2, 25, 36
    assert world.terminal.nonzero()[0].tolist() == [47] and world.shape == (4, 12)
    assert world.transition[down, beside_the_cliff, start] == 1.0


@pytest.mark.parametrize("env_id", ["MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0"])
def test_minigrid_is_what_stepping_gives(env_id):
    pytest.importorskip("minigrid")
    env = OneHotGrid(gym.make(env_id))
    world = read_world(env, seed=3)
    observation, _ = env.reset(seed=3)
    state = 0
    for action in np.random.default_rng(0).integers(7, size=80):
        np.testing.assert_array_equal(observation, world.observations[state])
        assert tuple(world.cells[state]) == tuple(env.unwrapped.agent_pos[::-1]) and not world.terminal[state]
        observation, _, terminated, truncated, _ = env.step(int(action))
        state = world.transition[action, state].argmax()
        assert world.terminal[state] == terminated
        if terminated or truncated:
            break
    # in the empty room 9 cells, 4 directions; the goal in the corner is entered from above or from the left and ends
    if "Empty" in env_id:
        assert len(world.terminal) == 8 * 4 + 2 and world.terminal.sum() == 2


def test_what_cannot_be_read_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="CartPole-v1 cannot be read: it is neither"):
        read_world(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="Pendulum-v1 cannot be read: it has no finite set of actions"):
        read_world(gym.make("Pendulum-v1"))
    pytest.importorskip("minigrid")
    with pytest.raises(ValueError, match="MiniGrid-Empty-5x5-v0 has more than 20 states"):
        read_world(gym.make("MiniGrid-Empty-5x5-v0"), max_states=20)
