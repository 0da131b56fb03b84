"""The continual PacMan of DRIML: four tasks that look alike, in each of which another ghost is deadly."""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.envs.ising import ising_sweep, random_spins

# "#" wall, "o" power pill, "." cell where food may lie, "<>" ends of the tunnel
MAZE = [
    "###################",
    "#........ ........#",
    "#.##.###.#.###.##.#",
    "#o....... .......o#",
    "#.##.#.#####.#.##.#",
    "#....#...#...#....#",
    "####.###.#.###.####",
    "####.#       #.####",
    "####.# #   # #.####",
    "<....# #   # #....>",
    "####.# ##### #.####",
    "####.#       #.####",
    "####.#.#####.#.####",
    "#                 #",
    "#.##.###.#.###.##.#",
    "#o.#..... .....#.o#",
    "##.#.#.#####.#.#.##",
    "#....#...#...#....#",
    "#.######.#.######.#",
    "#........ ........#",
    "###################",
]
HEIGHT, WIDTH = len(MAZE), len(MAZE[0])
CELLS = "".join(MAZE)  # a cell is its index in here, row * WIDTH + column
PELLET_CELLS = np.array([cell for cell, kind in enumerate(CELLS) if kind == "."])
PILL_CELLS = frozenset(cell for cell, kind in enumerate(CELLS) if kind == "o")
IS_WALL = np.array([kind == "#" for kind in CELLS])
PACMAN_START = 13 * WIDTH + 9
GHOST_HOMES = (7 * WIDTH + 8, 7 * WIDTH + 10, 9 * WIDTH + 8, 9 * WIDTH + 10)
TUNNEL = {CELLS.index("<"): CELLS.index(">") - 1, CELLS.index(">"): CELLS.index("<") + 1}  # where its ends lead

STEPS = (-WIDTH, 1, -1, WIDTH)  # north, east, west, south: the opposite of d is 3 - d

FLOOR, PELLET, PILL, PURPLE = (128, 128, 128), (128, 255, 128), (0, 255, 255), (255, 0, 255)
# PacMan and the red, pink, orange and blue ghost, who are drawn over him and each other in this order
SPRITES = np.array([(255, 255, 0), (255, 0, 0), (255, 127, 156), (255, 186, 0), (0, 0, 255)], np.uint8)

SIGHT = 5  # steps in L1 within which a ghost notices PacMan
POWERED_STEPS = 15

Way = tuple[int, int]  # direction and the cell that it leads to


def _ways(cell: int) -> tuple[Way, ...]:
    """Where one can go from a cell. The tunnel's ends are never stood on."""
    if IS_WALL[cell] or cell in TUNNEL:
        return ()
    ahead = [(direction, cell + step) for direction, step in enumerate(STEPS) if not IS_WALL[cell + step]]
    return tuple((direction, TUNNEL.get(there, there)) for direction, there in ahead)


WAYS = [_ways(cell) for cell in range(HEIGHT * WIDTH)]
# by cell and heading: without turning back; the last entry is for a ghost that has not moved yet. No cell is a dead end.
FORWARD = [[*(tuple(way for way in ways if way[0] != 3 - heading) for heading in range(4)), ways] for ways in WAYS]
AT_REST = 4
_places = np.stack(np.divmod(np.arange(HEIGHT * WIDTH), WIDTH))
L1 = np.abs(_places[:, :, None] - _places[:, None]).sum(0).tolist()  # L1[a][b], blind to walls and the tunnel


class PacManEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """A maze with pellets, four power pills and four ghosts, one of which is deadly; which one, no pixel tells.

    In every step the ghosts move, then PacMan, then what shares his cell counts (ghosts that swap cells with him do not):

    ============================================================ ===================================
    every step                                                   -1
    walking into a wall, which moves nothing                     -10
    pellet                                                       +100
    ghost while powered, or one of the three harmless ones       +25, and it goes home
    the deadly ghost                                             -50, and the episode ends
    power pill                                                   0; powered for the next 15 steps
    last pellet                                                  +1000, and the episode ends
    ============================================================ ===================================

    A ghost within 5 steps (L1) of PacMan takes, with probability 1 - eps, the way that brings it nearest to him, or, while he
    is powered, farthest from him. Otherwise it goes on at random, without turning back.

    Observation: the maze in colours, one pixel per cell, shape (21, 19, 3), uint8; larger by ``scale``. Actions: north, east,
    west, south. ``info["task"]`` is the deadly ghost. The registered id cuts episodes at 200 steps.

    Paper: DRIML (Mazoure et al. 2020, https://arxiv.org/abs/2006.07217), section on continual learning. What differs from the
    released environment, where ``published=True`` brings back 1 to 3:

    1. there a slip in the random draw keeps ghosts from ever chasing: eps has no effect, they walk at random and turn back;
    2. there PacMan starts an episode where the last one ended;
    3. there clearing the maze is neither paid nor the end;
    4. there the food layout comes from a global generator when the environment is made; here ``food_seed`` fixes it, so that
       parallel environments and evaluations show the same task.

    :param task: index of the deadly ghost: 0 red, 1 pink, 2 orange, 3 blue. ``reset(options={"task": ...})`` changes it
    :param eps: probability that a ghost moves at random although it sees PacMan, one for all or one for each
    :param food_seed: of the layout, in which each of 138 cells has a pellet with probability 0.2
    :param shared_food: the same layout in all tasks; by default each task has its own, as in the released code
    :param scale: side of a cell in pixels. 4 makes 84 x 76, a 7 x 6 map at the end of Stable-Baselines3's ``NatureCNN``
    :param noise_beta: the walls show an Ising lattice of this inverse temperature, one sweep per step; None leaves them black.
        With ``published=True`` it covers whatever has a colour channel at 0: PacMan, pills and three ghosts too
    :param published: the released behaviour
    :param reward_scale: what rewards are multiplied by: 0.01 brings returns into C51's default support
    :param render_mode: None or "rgb_array"
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}  # type: ignore[misc]

    def __init__(
        self,
        task: int = 0,
        eps: float | Sequence[float] = 0.25,
        *,
        food_seed: int = 0,
        shared_food: bool = False,
        scale: int = 1,
        noise_beta: float | None = None,
        published: bool = False,
        reward_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        check_arguments([PacManEnv.__init__], {name: value for name, value in locals().items() if name not in ("self", "eps")})
        if scale < 1:
            raise ValueError(f"scale is a number of pixels and must be at least 1, got {scale}.")
        self.eps = [float(eps)] * 4 if isinstance(eps, (int, float)) else [float(value) for value in eps]
        if len(self.eps) != 4 or not all(0.0 <= value <= 1.0 for value in self.eps):
            raise ValueError(f"eps must be a probability, or four of them, got {eps}.")
        self.food_seed, self.shared_food = food_seed, shared_food
        self.scale, self.noise_beta, self.published = scale, noise_beta, published
        self.reward_scale, self.render_mode = reward_scale, render_mode
        self.observation_space = spaces.Box(0, 255, (HEIGHT * scale, WIDTH * scale, 3), np.uint8)
        self.action_space = spaces.Discrete(4)
        self.pacman = PACMAN_START
        self._set_task(task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """
        Put everyone and all food back.

        :param seed: of the ghosts and the noise
        :param options: ``{"task": ...}`` makes another ghost deadly, for this episode and those that follow
        :return: observation and info
        """
        super().reset(seed=seed)
        if options is not None and "task" in options:
            self._set_task(options["task"])
        if not self.published:
            self.pacman = PACMAN_START
        self.ghosts, self.headings = list(GHOST_HOMES), [AT_REST] * 4
        self.power = 0
        self.pellets, self.pills = set(self.layout.tolist()), set(PILL_CELLS)
        self.board = self.full_board.copy()
        if self.noise_beta is not None:
            # even sides, for the sweep; and a generator of its own, so that noise does not change what the ghosts do
            self.noise_random = self.np_random.spawn(1)[0]
            self.lattice = random_spins((HEIGHT + HEIGHT % 2, WIDTH + WIDTH % 2), self.noise_random)
        return self._observe(), {"task": self.task}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """
        Move the ghosts, then PacMan.

        :param action: 0 north, 1 east, 2 west, 3 south
        :return: observation, reward, terminated, False, info
        """
        self._move_ghosts()
        there = dict(WAYS[self.pacman]).get(int(action))
        reward = -1.0 if there is not None else -11.0
        self.pacman = self.pacman if there is None else there
        met, caught = self._meet_ghosts()
        self.power = max(0, self.power - 1)
        eaten, cleared = self._eat()
        if self.noise_beta is not None:
            self.lattice = ising_sweep(self.lattice, self.noise_beta, self.noise_random, splits=1)
        reward = self.reward_scale * (reward + met + eaten)
        return self._observe(), reward, caught or cleared, False, {"task": self.task}

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """:return: the maze, 16 pixels per cell, shape (336, 304, 3)"""
        return _enlarge(self._draw(), 16)

    def _set_task(self, task: int) -> None:
        if task not in range(4):
            raise ValueError(f"task is the index of the deadly ghost, 0 to 3, got {task!r}.")
        self.task = int(task)
        random = np.random.default_rng([self.food_seed, 0 if self.shared_food else self.task])
        self.layout = PELLET_CELLS[random.random(len(PELLET_CELLS)) < 0.2]
        self.full_board = np.full((HEIGHT * WIDTH, 3), FLOOR, np.uint8)
        self.full_board[IS_WALL] = 0
        self.full_board[self.layout] = PELLET
        self.full_board[list(PILL_CELLS)] = PILL

    def _move_ghosts(self) -> None:
        random, distance = self.np_random.random, L1[self.pacman]
        for ghost, cell in enumerate(self.ghosts):
            if distance[cell] <= SIGHT and not self.published and random() >= self.eps[ghost]:
                best = max if self.power else min
                way = best(WAYS[cell], key=lambda way: distance[way[1]])
            else:
                ways = WAYS[cell] if self.published else FORWARD[cell][self.headings[ghost]]
                way = ways[int(random() * len(ways))]
            self.headings[ghost], self.ghosts[ghost] = way

    def _meet_ghosts(self) -> tuple[float, bool]:
        """Reward for the ghosts in PacMan's cell, and whether one of them kills him."""
        reward, caught = 0.0, False
        for ghost, cell in enumerate(self.ghosts):
            if cell != self.pacman:
                continue
            if self.power or ghost != self.task:
                reward += 25.0
                self.ghosts[ghost], self.headings[ghost] = GHOST_HOMES[ghost], AT_REST
            else:
                reward, caught = reward - 50.0, True
        return reward, caught

    def _eat(self) -> tuple[float, bool]:
        """Reward for what lies in PacMan's cell, and whether the maze is cleared."""
        if self.pacman in self.pills:
            self.pills.remove(self.pacman)
            self.board[self.pacman] = FLOOR
            self.power = POWERED_STEPS
        if self.pacman not in self.pellets:
            return 0.0, False
        self.pellets.remove(self.pacman)
        self.board[self.pacman] = FLOOR
        cleared = not self.pellets and not self.published
        return (1100.0 if cleared else 100.0), cleared

    def _draw(self) -> NDArray[np.uint8]:
        """One pixel per cell, shape (21, 19, 3)."""
        pixels = self.board.copy()
        pixels[[self.pacman, *self.ghosts]] = SPRITES
        if self.noise_beta is not None:
            covered = (pixels == 0).any(axis=1) if self.published else IS_WALL
            up = self.lattice[:HEIGHT, :WIDTH].reshape(-1) > 0
            pixels[covered & up], pixels[covered & ~up] = PURPLE, 0
        return pixels.reshape(HEIGHT, WIDTH, 3)

    def _observe(self) -> NDArray[np.uint8]:
        return _enlarge(self._draw(), self.scale)


def _enlarge(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Nearest neighbour: cells stay sharp."""
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)


class TaskSwitch(gym.Wrapper[NDArray[np.uint8], np.int64, NDArray[np.uint8], np.int64]):
    """Go to the next task after every ``n_episodes`` episodes, round and round, without telling the agent.

    An episode counts as soon as it has had a step, however it ends; each of several parallel environments counts its own.
    Put it outside of the time limit.

    :param env: an environment that takes ``reset(options={"task": ...})``
    :param n_episodes: episodes per visit to a task; the paper's is 5000
    :param tasks: in their order; ``(0, 1)`` is the protocol that an earlier version of the paper's figure names
    """

    def __init__(self, env: gym.Env, n_episodes: int = 5000, tasks: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__(env)
        check_arguments([TaskSwitch.__init__], {"n_episodes": n_episodes})
        if n_episodes < 1 or len(tasks) == 0:
            raise ValueError(f"TaskSwitch needs an episode per task and a task, got {n_episodes} and {tasks}.")
        self.n_episodes, self.tasks = n_episodes, tuple(tasks)
        self.episodes, self.under_way = 0, False
        self.switches = 0

    @property
    def task(self) -> int:
        """:return: the task whose turn it is"""
        return self.tasks[(self.episodes // self.n_episodes + self.switches) % len(self.tasks)]

    def switch(self) -> None:
        """Go to the next task with the next episode, whatever the count; ``env.env_method("switch")`` for parallel ones."""
        self.switches += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """:return: the first observation of an episode of the task whose turn it is, and info"""
        self.episodes, self.under_way = self.episodes + self.under_way, False
        return self.env.reset(seed=seed, options={**(options or {}), "task": self.task})

    def step(self, action: np.int64) -> Any:
        """:return: what the environment returns"""
        self.under_way = True
        return self.env.step(action)


def continual_pacman(
    n_episodes: int = 5000, tasks: Sequence[int] = (0, 1, 2, 3), episode_steps: int = 200, **kwargs: Any
) -> TaskSwitch:
    """The continual protocol: PacMan whose deadly ghost changes.

    :param n_episodes: see :class:`TaskSwitch`, as for the next
    :param episode_steps: time limit
    :param kwargs: of :class:`PacManEnv`
    """
    return TaskSwitch(TimeLimit(PacManEnv(**kwargs), episode_steps), n_episodes, tasks)
