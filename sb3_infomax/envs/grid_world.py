"""Grid worlds from a map of characters, whose exact dynamics can be read as arrays."""

from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

#: name -> rows of a map; what lies outside a map is wall
LAYOUTS: dict[str, tuple[str, ...]] = {
    "room_7x7": (".......",) * 7,
    "two_rooms": (".....#.....", ".....#.....", "...........", ".....#.....", ".....#....."),
    # the two of MIRL (Grau-Moya et al., ICLR 2019); their names count the walls around them
    "corridor_3x20": ("#" * 20, "#" + "." * 17 + "G#", "#" * 20),
    "pocket_8x8": ("########", "#......#", "#...##.#", "#...#G.#", "#...##.#", "#......#", "#......#", "########"),
}
WALL, FREE, GOAL, START = "#.GS"
# (row, column) of up, right, down, left, staying
_MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1], [0, 0]])
_STAY = 4
_MIN_IMAGE = 42  # pixels of the shorter side; Stable-Baselines3's CnnPolicy needs 36
_COLOURS = {WALL: (64, 64, 64), FREE: (255, 255, 255), START: (255, 255, 255), GOAL: (60, 170, 80)}
_AGENT_COLOUR = (200, 50, 50)


class GridWorldEnv(gym.Env[Any, np.int64]):
    """
    A walker on the free cells of a map, moving one cell a step; a wall or the edge stops it.

    The map has ``#`` walls, ``.`` free cells, ``G`` goals, which end the episode, and ``S`` starts. The free cells are the
    states, numbered row by row. Actions: 0 up, 1 right, 2 down, 3 left, then those that ``stay``, ``useless_actions`` and
    ``redundant_actions`` append.

    :meth:`transition_matrix`, :meth:`reward_matrix` and :attr:`terminal` are the very numbers that ``step`` draws from, so
    that exact solvers (empowerment, value iteration) and learners see one world. ``state`` may be assigned.

    ``info``: ``state``, the number of the cell, whatever the observation.

    :param layout: rows of a map, one string with line breaks, or a name of :data:`LAYOUTS`
    :param stay: append the action that does nothing
    :param useless_actions: append as many more that do nothing
    :param redundant_actions: append as many copies of the action ``redundant_to``
    :param redundant_to: the action that the redundant ones repeat
    :param slip: probability that another action than the chosen one may be executed
    :param slip_kind: ``"uniform"``: with probability ``slip`` one that is drawn uniformly from all actions, the chosen one
        among them; ``"perpendicular"``: with ``slip / 2`` each a move to either side of the chosen one, as on Gymnasium's
        FrozenLake (2/3), while actions that stay do not slip
    :param step_reward: of every step that does not reach a goal
    :param goal_reward: of the step that reaches a goal
    :param start: where episodes begin: (row, column), or None: uniformly on the cells marked ``S``, or on all free cells
        without a goal where none is marked
    :param observation: ``"index"`` the state's number; ``"one_hot"`` that as zeros and ones; ``"coordinates"`` row and column
        scaled to [-1, 1]; ``"image"`` the picture
    :param render_mode: ``"rgb_array"`` or ``"ansi"``
    :raises ValueError: one sentence, for a map without a free cell or ragged, an unknown name or character, numbers out of
        their range
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 8}  # type: ignore[misc]

    def __init__(
        self,
        layout: str | list[str] | tuple[str, ...],
        *,
        stay: bool = False,
        useless_actions: int = 0,
        redundant_actions: int = 0,
        redundant_to: int = 0,
        slip: float = 0.0,
        slip_kind: Literal["uniform", "perpendicular"] = "uniform",
        step_reward: float = 0.0,
        goal_reward: float = 1.0,
        start: tuple[int, int] | None = None,
        observation: Literal["index", "one_hot", "coordinates", "image"] = "index",
        render_mode: str | None = None,
    ) -> None:
        self.map = read_layout(layout)
        self.cells = np.argwhere(self.map != WALL)  # (n_states, 2) row and column of every state
        self.n_states = len(self.cells)
        self._state_at = np.full(self.map.shape, -1)
        self._state_at[tuple(self.cells.T)] = np.arange(self.n_states)
        self.terminal = self.map[tuple(self.cells.T)] == GOAL  # (n_states,)
        self.step_reward, self.goal_reward = float(step_reward), float(goal_reward)
        self._starts = self._start_states(start)

        moves = _actions(stay, useless_actions, redundant_actions, redundant_to)
        self._executed = _slippery(moves, slip, slip_kind)  # (n_actions, 5) p(executed move | action)
        self._cumulative = self._executed.cumsum(axis=1)
        self._certain_move = moves.tolist() if slip == 0 else None
        self._targets = self._move_targets()  # (n_states, 5)

        self.action_space = spaces.Discrete(len(moves))
        self.observation_space, self.observations = self._observe_all(observation)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None, 'rgb_array' or 'ansi', got {render_mode!r}.")
        self.render_mode = render_mode
        self.state = int(self._starts[0])

    def state_of(self, row: int, column: int) -> int:
        """
        The number of a cell.

        :param row: from the top, from 0
        :param column: from the left, from 0
        :raises ValueError: where there is no free cell
        """
        inside = 0 <= row < self.map.shape[0] and 0 <= column < self.map.shape[1]
        if not inside or self._state_at[row, column] < 0:
            raise ValueError(f"There is no free cell at row {row}, column {column}.")
        return int(self._state_at[row, column])

    def transition_matrix(self) -> NDArray[np.float64]:
        """
        :return: p(s' | s, a), shape (n_actions, n_states, n_states); goals are absorbing
        """
        arrives = np.eye(self.n_states)[self._targets]  # (n_states, 5, n_states)
        matrix = np.einsum("am,smt->ast", self._executed, arrives)
        matrix[:, self.terminal] = np.eye(self.n_states)[self.terminal]
        return matrix

    def reward_matrix(self) -> NDArray[np.float64]:
        """
        :return: E[r | s, a], shape (n_actions, n_states); 0 at goals, where the episode is over
        """
        arriving = np.where(self.terminal, self.goal_reward, self.step_reward)
        return np.where(self.terminal, 0.0, self.transition_matrix() @ arriving)

    def start_distribution(self) -> NDArray[np.float64]:
        """
        :return: p(s_0), shape (n_states,)
        """
        return np.bincount(self._starts, minlength=self.n_states) / len(self._starts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """
        Start an episode.

        :param seed: of the random numbers, from here on
        :param options: none
        :return: observation, info
        """
        super().reset(seed=seed)
        self.state = int(self._starts[self.np_random.integers(len(self._starts))])
        return self.observations[self.state].copy(), {"state": self.state}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        Act once.

        :param action: its number
        :return: observation, reward, terminated (at a goal), truncated (never), info
        """
        if self._certain_move is not None:
            move = self._certain_move[action]
        else:
            move = int(self._cumulative[action].searchsorted(self.np_random.random() * self._cumulative[action, -1], "right"))
        self.state = int(self._targets[self.state, move])
        terminated = bool(self.terminal[self.state])
        reward = self.goal_reward if terminated else self.step_reward
        return self.observations[self.state].copy(), reward, terminated, False, {"state": self.state}

    def render(self) -> Any:
        """
        :return: a picture (rows, columns, 3) of uint8, or text with ``A`` where the walker is
        """
        if self.render_mode == "ansi":
            characters = self.map.copy()
            characters[tuple(self.cells[self.state])] = "A"
            return "\n".join("".join(row) for row in characters)
        return self._picture(self.state) if self.render_mode == "rgb_array" else None

    def _start_states(self, start: tuple[int, int] | None) -> NDArray[np.int64]:
        if start is not None:
            return np.array([self.state_of(*start)])
        marked = self.map[tuple(self.cells.T)] == START
        states = np.flatnonzero(marked if marked.any() else ~self.terminal)
        if len(states) == 0:
            raise ValueError("The map needs a free cell to start on.")
        return states

    def _move_targets(self) -> NDArray[np.int64]:
        padded = np.pad(self._state_at, 1, constant_values=-1)
        rows, columns = (self.cells[:, None] + _MOVES + 1).transpose(2, 0, 1)  # (n_states, 5) each
        targets = padded[rows, columns]
        return np.where(targets < 0, np.arange(self.n_states)[:, None], targets)

    def _observe_all(self, kind: str) -> tuple[spaces.Space[Any], Any]:
        """The space, and the observation of every state."""
        if kind == "index":
            return spaces.Discrete(self.n_states), np.arange(self.n_states)
        if kind == "one_hot":
            return spaces.Box(0.0, 1.0, (self.n_states,), np.float32), np.eye(self.n_states, dtype=np.float32)
        if kind == "coordinates":
            largest = np.maximum(np.array(self.map.shape) - 1, 1)
            return spaces.Box(-1.0, 1.0, (2,), np.float32), (2 * self.cells / largest - 1).astype(np.float32)
        if kind == "image":
            pictures = np.stack([self._picture(state) for state in range(self.n_states)])
            return spaces.Box(0, 255, pictures.shape[1:], np.uint8), pictures
        raise ValueError(f"observation must be 'index', 'one_hot', 'coordinates' or 'image', got {kind!r}.")

    def _picture(self, state: int) -> NDArray[np.uint8]:
        colours = np.array([[_COLOURS[character] for character in row] for row in self.map], dtype=np.uint8)
        colours[tuple(self.cells[state])] = _AGENT_COLOUR
        cell = -(-_MIN_IMAGE // min(self.map.shape))
        return colours.repeat(cell, axis=0).repeat(cell, axis=1)


def read_layout(layout: str | list[str] | tuple[str, ...]) -> NDArray[np.str_]:
    """
    The characters of a map.

    :param layout: rows, one string with line breaks, or a name of :data:`LAYOUTS`
    :return: shape (rows, columns), one character each
    :raises ValueError: one sentence, where it is no map
    """
    if isinstance(layout, str):
        if "\n" not in layout and not set(layout) <= {WALL, FREE, GOAL, START}:
            if layout not in LAYOUTS:
                raise ValueError(f"There is no layout {layout!r}: it is a map, or one of {', '.join(LAYOUTS)}.")
            layout = LAYOUTS[layout]
        else:
            layout = layout.strip().split("\n")
    rows = [row.strip() for row in layout]
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"The rows of a map must be equally long, got lengths {[len(row) for row in rows]}.")
    unknown = {*"".join(rows)} - {WALL, FREE, GOAL, START}
    if unknown:
        raise ValueError(f"A map has only the characters '#', '.', 'G' and 'S', got {sorted(unknown)}.")
    return np.array([list(row) for row in rows])


def _actions(stay: bool, useless: int, redundant: int, redundant_to: int) -> NDArray[np.int64]:
    """The move of every action: an index of ``_MOVES``."""
    if useless < 0 or redundant < 0:
        raise ValueError(f"useless_actions and redundant_actions must be 0 or more, got {useless} and {redundant}.")
    moves = [0, 1, 2, 3] + [_STAY] * (bool(stay) + useless)
    if not 0 <= redundant_to < len(moves):
        raise ValueError(f"redundant_to must be an action from 0 to {len(moves) - 1}, got {redundant_to}.")
    return np.array(moves + [moves[redundant_to]] * redundant)


def _slippery(moves: NDArray[np.int64], slip: float, kind: str) -> NDArray[np.float64]:
    """p(executed move | action), shape (n_actions, 5)."""
    if not 0 <= slip <= 1:
        raise ValueError(f"slip is a probability between 0 and 1, got {slip}.")
    chosen = np.eye(len(_MOVES))[moves]
    if kind == "uniform":
        return (1 - slip) * chosen + slip * chosen.mean(axis=0)
    if kind == "perpendicular":
        one_way, other_way = (np.where(moves == _STAY, _STAY, (moves + turn) % 4) for turn in (1, 3))
        sides = np.eye(len(_MOVES))[one_way] + np.eye(len(_MOVES))[other_way]
        return (1 - slip) * chosen + slip / 2 * sides
    raise ValueError(f"slip_kind must be 'uniform' or 'perpendicular', got {kind!r}.")
