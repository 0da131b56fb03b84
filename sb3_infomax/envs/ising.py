"""The Ising experiment of DRIML: a screen of noise, and somewhere in it a patch whose next frame can be predicted."""

import functools
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SPLITS = 2  # of a sweep's unit of time; at 1 the share of flipped spins is already right to 0.01

Spins = NDArray[np.int8]


def random_spins(shape: tuple[int, ...], rng: np.random.Generator) -> Spins:
    """Independent fair spins: the lattice at infinite temperature.

    :param shape: of the result
    :param rng: source of randomness
    :return: -1 and +1
    """
    return 2 * rng.integers(0, 2, shape, dtype=np.int8) - 1


def ising_sweep(spins: Spins, beta: float, rng: np.random.Generator, splits: int = SPLITS) -> Spins:
    """One sweep of single-site Metropolis dynamics on periodic lattices, without a loop over sites.

    Proposing height * width randomly chosen sites and accepting with probability min(1, exp(-beta dE)),
    dE = 2 s (sum of the 4 neighbours), is on a large lattice a process in continuous time in which each site is proposed
    once per sweep on average. Its generator is the sum of one for each colour of a checkerboard. Sites of one colour do not
    interact, so what happens to them in a time dt while the other colour stands still has a closed form,

    .. math:: P(\\text{flip in } dt) = \\frac{a}{a + b} \\left(1 - e^{-(a + b) dt}\\right)

    with the acceptances a of this flip and b of the flip back. The colours take turns in Strang's symmetric order, which is
    exact to second order in dt = 1 / splits and leaves the Boltzmann distribution as it is for every dt. (Proposing every
    site of a colour once per sweep would be another dynamics: spins whose flip costs nothing would flip every time.)

    :param spins: -1 and +1, shape (..., height, width), both even so that the colours close around the edges
    :param beta: inverse temperature; the lattice orders above 0.44
    :param rng: source of randomness
    :param splits: pieces that the unit of time is cut into
    :return: the lattices after the sweep, same shape
    """
    sites, neighbours = _checkerboard(*spins.shape[-2:])
    flat = spins.reshape(*spins.shape[:-2], -1).copy()
    half, whole = _flip_probabilities(beta, 0.5 / splits), _flip_probabilities(beta, 1.0 / splits)
    turns = [(0, half), (1, whole), *[(0, whole), (1, whole)] * (splits - 1), (0, half)]
    for colour, probabilities in turns:
        own = flat[..., sites[colour]]
        field = flat[..., neighbours[colour]].sum(axis=-2, dtype=np.int8)
        flips = rng.random(own.shape, dtype=np.float32) < probabilities[(own * field + 4) >> 1]
        flat[..., sites[colour]] = np.where(flips, -own, own)
    return flat.reshape(spins.shape)


@functools.cache
def _checkerboard(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices of both colours' sites, shape (2, n / 2), and of their neighbours, shape (2, 4, n / 2)."""
    if height % 2 or width % 2:
        raise ValueError(f"A periodic checkerboard needs even sides, got {height} x {width}.")
    index = np.arange(height * width).reshape(height, width)
    shifted = np.stack([np.roll(index, shift, axis) for axis in (0, 1) for shift in (1, -1)])
    colour = np.add.outer(np.arange(height), np.arange(width)) % 2
    return np.stack([index[colour == c] for c in (0, 1)]), np.stack([shifted[:, colour == c] for c in (0, 1)])


@functools.cache
def _flip_probabilities(beta: float, time: float) -> NDArray[np.float32]:
    """Probability to be flipped after ``time``, for spin * field = -4, -2, 0, 2, 4, shape (5,)."""
    energy = 2.0 * np.arange(-4, 5, 2)
    there, back = np.minimum(1.0, np.exp(-beta * energy)), np.minimum(1.0, np.exp(beta * energy))
    return (there / (there + back) * -np.expm1(-(there + back) * time)).astype(np.float32)


class IsingPatch:
    """Screens of independent noise in which a square patch evolves as an Ising model, several chains at once.

    Outside the patch a frame says nothing about the next one. Inside, I(S_t; S_{t+1}) is large, and grows with beta.

    :param n_chains: independent screens
    :param size: of a screen, in pixels
    :param patch: side of the patch, even
    :param corner: row and column of the patch's upper left pixel
    :param beta: inverse temperature. 2.5 is the authors' code; their poster gives it as the temperature 0.4, their blog as
        an inverse temperature of 0.4, whose published film (flips falling below 3 % of the spins) contradicts it
    :param rng: source of randomness
    """

    def __init__(
        self,
        n_chains: int = 1,
        size: int = 84,
        patch: int = 42,
        corner: tuple[int, int] = (0, 0),
        beta: float = 2.5,
        rng: np.random.Generator | None = None,
    ) -> None:
        if not all(0 <= place <= size - patch for place in corner):
            raise ValueError(f"A patch of {patch} pixels at {corner} leaves the screen of {size} pixels.")
        self.beta, self.rng = beta, np.random.default_rng() if rng is None else rng
        self.screen = (n_chains, size, size)
        self.rows, self.columns = (slice(start, start + patch) for start in corner)
        self.patch = random_spins((n_chains, patch, patch), self.rng)

    def reset(self) -> Spins:
        """:return: fresh spins everywhere, shape (n_chains, size, size)"""
        self.patch = random_spins(self.patch.shape, self.rng)
        return self._frame()

    def step(self) -> Spins:
        """:return: the screens one sweep later, shape (n_chains, size, size)"""
        self.patch = ising_sweep(self.patch, self.beta, self.rng)
        return self._frame()

    def _frame(self) -> Spins:
        frame = random_spins(self.screen, self.rng)
        frame[:, self.rows, self.columns] = self.patch
        return frame


class IsingPatchEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """Films of :class:`IsingPatch` as an environment: for losses that predict, not for agents that act.

    Observation: black and white pixels, shape (size, size, 1), uint8. Two actions, neither of which does anything; reward 0;
    episodes end by the registered time limit.

    Paper: DRIML (Mazoure et al. 2020, https://arxiv.org/abs/2006.07217), the Ising experiment.

    :param size: of the screen, in pixels
    :param patch: side of the patch
    :param beta: inverse temperature
    :param corner: row and column of the patch; None draws a place when the environment is seeded, as in the paper
    :param render_mode: None or "rgb_array"
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(
        self,
        size: int = 84,
        patch: int = 42,
        beta: float = 2.5,
        corner: tuple[int, int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.size, self.patch, self.beta, self.corner = size, patch, beta, corner
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (size, size, 1), np.uint8)
        self.action_space = spaces.Discrete(2)
        self.film: IsingPatch | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """:return: a screen of fresh spins, and where the patch is: ``info["corner"]``"""
        super().reset(seed=seed)
        if self.film is None or seed is not None:
            drawn = self.np_random.integers(0, self.size - self.patch + 1, 2)
            self.place = (int(drawn[0]), int(drawn[1])) if self.corner is None else self.corner
            self.film = IsingPatch(1, self.size, self.patch, self.place, self.beta, self.np_random)
        self.pixels = _pixels(self.film.reset())
        return self.pixels, {"corner": self.place}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """
        One sweep of the patch, new noise around it.

        :param action: has no effect
        :return: observation, reward 0, False, False, info
        """
        assert self.film is not None, "reset() comes before step()"
        self.pixels = _pixels(self.film.step())
        return self.pixels, 0.0, False, False, {"corner": self.place}

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """:return: the screen in three equal colours, shape (size, size, 3)"""
        return self.pixels.repeat(3, axis=-1)


def _pixels(spins: Spins) -> NDArray[np.uint8]:
    """One chain's frame as an image, shape (size, size, 1)."""
    return np.where(spins[0] > 0, np.uint8(255), np.uint8(0))[..., None]
