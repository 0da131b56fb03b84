"""The exact dynamics of environments with few states, as arrays: for solvers, and for maps of what was learned."""

import copy
from collections import deque
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_infomax.envs.grid_world import GridWorldEnv


class FiniteWorld(NamedTuple):
    """Every state of an environment; where an episode is over, the state is its own successor under every action."""

    transition: NDArray[np.float64]  # (n_actions, n_states, n_states) p(s' | s, a)
    terminal: NDArray[np.bool_]  # (n_states,)
    observations: NDArray[Any]  # (n_states, *obs_shape) what a learner sees of each state
    cells: NDArray[np.int64]  # (n_states, 2) row and column of each state; several states may share a cell
    shape: tuple[int, int]  # rows and columns of the map

    def landscape(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """
        Lay numbers of states out on the map.

        :param values: one number per state, shape (n_states,)
        :return: means over the states of each cell, shape ``shape``; NaN where there is none
        """
        cell = self.cells @ [self.shape[1], 1]
        sums, counts = (np.bincount(cell, weights, minlength=self.shape[0] * self.shape[1]) for weights in (values, None))
        with np.errstate(invalid="ignore"):
            return (sums / counts).reshape(self.shape)


def read_world(env: gym.Env, seed: int | None = 0, max_states: int = 2_000) -> FiniteWorld:
    """
    All states and transitions of an environment that has few of them.

    Read from this package's grid worlds, from Gymnasium's toy-text environments on a map (FrozenLake, CliffWalking) through
    their table ``P``, and from MiniGrid by breadth-first search on copies, from the state that ``reset`` gives. There, a state
    is the grid with its doors, where the agent stands, which way it looks and what it carries.

    :param env: the environment, in its wrappers of observations if it has any
    :param seed: of the layout, where that is random
    :param max_states: refuse to search on after these
    :return: the dynamics, and what is seen of every state
    :raises ValueError: one sentence, where the dynamics cannot be read, or there are too many states
    """
    inner = env.unwrapped
    if not isinstance(env.action_space, spaces.Discrete):
        raise ValueError(f"The dynamics of {_name(env)} cannot be read: it has no finite set of actions.")
    if isinstance(inner, GridWorldEnv):
        observations = [_through_wrappers(env, observation) for observation in inner.observations]
        return FiniteWorld(inner.transition_matrix(), inner.terminal, np.stack(observations), inner.cells, inner.map.shape)
    if hasattr(inner, "P") and _map_shape(inner) is not None:
        return _read_table(env)
    if hasattr(inner, "grid") and hasattr(inner, "agent_dir"):
        return _search_minigrid(env, seed, max_states)
    raise ValueError(
        f"The dynamics of {_name(env)} cannot be read: it is neither one of this package's grid worlds, nor a toy-text "
        "environment on a map, nor a MiniGrid."
    )


def _name(env: gym.Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _through_wrappers(env: gym.Env, observation: Any) -> Any:
    """What the wrappers of observations make of one."""
    wrappers = []
    while isinstance(env, gym.Wrapper):
        wrappers.append(env)
        env = env.env
    for wrapper in reversed(wrappers):
        if isinstance(wrapper, gym.ObservationWrapper):
            observation = wrapper.observation(observation)
    return observation


def _map_shape(inner: Any) -> tuple[int, int] | None:
    """Rows and columns of a toy-text environment whose states are the cells of a map, row by row."""
    shape = inner.desc.shape if hasattr(inner, "desc") else getattr(inner, "shape", None)
    return tuple(shape) if shape is not None and len(shape) == 2 and shape[0] * shape[1] == len(inner.P) else None


def _read_table(env: gym.Env) -> FiniteWorld:
    inner: Any = env.unwrapped
    n_states, n_actions = len(inner.P), int(inner.action_space.n)
    transition, terminal = np.zeros((n_actions, n_states, n_states)), np.zeros(n_states, dtype=bool)
    for state, actions in inner.P.items():
        for action, outcomes in actions.items():
            for probability, following, _, terminated in outcomes:
                transition[action, state, following] += probability
                terminal[following] |= terminated
    transition[:, terminal] = np.eye(n_states)[terminal]
    shape = _map_shape(inner)
    assert shape is not None
    cells = np.stack(np.divmod(np.arange(n_states), shape[1]), axis=1)
    observations = np.stack([_through_wrappers(env, state) for state in range(n_states)])
    return FiniteWorld(transition, terminal, observations, cells, shape)


def _minigrid_state(inner: Any, terminated: bool) -> tuple[Any, ...]:
    carried = inner.carrying and (inner.carrying.type, inner.carrying.color)
    return terminated, inner.grid.encode().tobytes(), tuple(inner.agent_pos), int(inner.agent_dir), carried


def _search_minigrid(env: gym.Env, seed: int | None, max_states: int) -> FiniteWorld:
    env.reset(seed=seed)
    inner: Any = env.unwrapped
    numbers = {_minigrid_state(inner, False): 0}
    copies, ended, targets = [copy.deepcopy(inner)], [False], []
    waiting = deque([0])
    n_actions = int(inner.action_space.n)
    while waiting:
        state = waiting.popleft()
        if ended[state]:
            targets.append([state] * n_actions)
            continue
        row = []
        for action in range(n_actions):
            following = copy.deepcopy(copies[state])
            terminated = following.step(action)[2]
            key = _minigrid_state(following, terminated)
            if key not in numbers:
                if len(numbers) == max_states:
                    raise ValueError(f"{_name(env)} has more than {max_states} states: its dynamics are not read.")
                numbers[key] = len(copies)
                waiting.append(len(copies))
                copies.append(following)
                ended.append(terminated)
            row.append(numbers[key])
        targets.append(row)
    observations = np.stack([_through_wrappers(env, each.gen_obs()) for each in copies])
    cells = np.array([each.agent_pos[::-1] for each in copies])  # MiniGrid counts columns first
    transition = np.eye(len(copies))[np.array(targets).T]
    return FiniteWorld(transition, np.array(ended), observations, cells, (inner.height, inner.width))
