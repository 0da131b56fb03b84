"""The empowerment of every state of a small world: exact, and beside it as a reward module has learned it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import csv_text, write_atomic

if TYPE_CHECKING:
    from rich.console import Console

    from sb3_infomax.envs.finite import FiniteWorld
    from sb3_infomax.rewards.base import RewardModule

WIDEST = 20  # columns of a map that is shown as numbers


class Learning(NamedTuple):
    """How a module learns a landscape: from transitions of a random policy."""

    name: str  # registered name of the module, or package.module:Class
    settings: dict[str, Any]  # of the module
    timesteps: int  # random steps in the environment
    n_updates: int  # of the module, each on a batch of its own size


def learn(spec: RunSpec, learning: Learning) -> "RewardModule":
    """
    Train a module on random transitions.

    :param spec: whose environment, environment settings and seed count
    :param learning: the module, and how much of everything
    :raises UserError: where it is no module of empowerment, or cannot be made
    """
    from stable_baselines3 import DQN

    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
    from sb3_infomax.compare.algorithms import policy_name, resolve_reward
    from sb3_infomax.compare.environments import make_vec_env

    if not hasattr(resolve_reward(learning.name), "empowerment"):
        raise UserError(f"{learning.name} does not estimate empowerment: name a module that does, see the command list.")
    env = make_vec_env(spec.env, spec.n_envs or 8, spec.seed, spec.env_kwargs)
    try:
        callback = IntrinsicReward(learning.name, module_kwargs=learning.settings, seed=spec.seed)
        # before learning_starts DQN acts at random; a small network, since none of it is used
        agent = DQN(
            policy_name(env.observation_space, DQN),
            env,
            learning_starts=2 * learning.timesteps,
            buffer_size=learning.timesteps,
            seed=spec.seed,
            policy_kwargs={"net_arch": [8]},
        )
        agent.learn(learning.timesteps)
        assert agent.replay_buffer is not None
        callback.fit(agent.replay_buffer, learning.n_updates)
    except ValueError as error:
        raise UserError(str(error)) from error
    finally:
        env.close()
    return callback.modules[0]


def estimate(module: "RewardModule", world: "FiniteWorld") -> NDArray[np.float64]:
    """
    What a module says of every state.

    :param module: with a method ``empowerment``
    :param world: whose observations it is asked about
    :return: shape (n_states,), nats; 0 where the episode is over, as the bonus has it
    """
    import torch as th
    from stable_baselines3.common.preprocessing import maybe_transpose

    observations = th.as_tensor(np.ascontiguousarray(maybe_transpose(world.observations, module.observation_space)))
    values = module.empowerment(observations)  # type: ignore[operator]
    return np.where(world.terminal, 0.0, values.double().cpu().numpy())


def empowerment_map(
    spec: RunSpec, horizon: int, unit: Literal["bits", "nats"], learning: Learning | None, out: Path, console: "Console"
) -> int:
    """
    Compute, learn if asked, show, and write ``empowerment.csv`` and ``empowerment.png``.

    :param spec: whose environment, environment settings and seed count
    :param horizon: number of actions
    :param unit: of everything shown and written
    :param learning: the module to learn with; None for the exact landscape alone
    :param out: folder
    :param console: where to show
    :return: exit code
    """
    import gymnasium as gym

    from sb3_infomax.compare.environments import find_spec, wrap_family
    from sb3_infomax.envs.finite import read_world
    from sb3_infomax.mi.channel import nats_per
    from sb3_infomax.mi.empowerment import empowerment

    find_spec(spec.env)
    try:
        env = wrap_family(gym.make(spec.env, **spec.env_kwargs))
        world = read_world(env, spec.seed)
        exact = empowerment(world.transition, horizon, unit=unit)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    learned = None if learning is None else estimate(learn(spec, learning), world) / nats_per(unit)
    title = f"{horizon}-step empowerment of {spec.env}, {unit}"
    show(world, exact, learned, title, console)
    out.mkdir(parents=True, exist_ok=True)
    columns = {"exact": exact} if learned is None else {"exact": exact, "learned": learned}
    rows = [
        {"state": state, "row": row, "column": column} | {name: f"{values[state]:.6f}" for name, values in columns.items()}
        for state, (row, column) in enumerate(world.cells)
    ]
    write_atomic(out / "empowerment.csv", csv_text(rows[0], rows))
    draw_landscapes([world.landscape(values) for values in columns.values()], title, unit, out / "empowerment.png")
    console.print(
        f"Numbers and picture: {out / 'empowerment.csv'}, {out / 'empowerment.png'}", highlight=False, soft_wrap=True
    )
    return 0


def show(
    world: "FiniteWorld",
    exact: NDArray[np.float64],
    learned: NDArray[np.float64] | None,
    title: str,
    console: "Console",
) -> None:
    """The landscape as numbers, and how near the learned one comes."""
    console.print(title, style="bold", highlight=False)
    if world.shape[1] <= WIDEST:
        for row in world.landscape(exact):
            cells = ["     " if np.isnan(value) else f"{value:5.2f}" for value in row]
            console.print(" ".join(cells), highlight=False, soft_wrap=True)
    best = world.cells[exact.argmax()]
    console.print(
        f"mean {exact.mean():.3f}, from {exact.min():.3f} to {exact.max():.3f}, which is at row {best[0]}, column {best[1]}; "
        f"{len(exact)} states",
        highlight=False,
        soft_wrap=True,
    )
    if learned is not None:
        error = learned - exact
        together = np.corrcoef(exact, learned)[0, 1] if exact.std() > 0 and learned.std() > 0 else float("nan")
        console.print(
            f"learned: mean absolute error {abs(error).mean():.3f}, highest above the exact value {error.max():+.3f}, "
            f"correlation {together:.3f}",
            highlight=False,
            soft_wrap=True,
        )


def draw_landscapes(landscapes: Sequence[NDArray[np.float64]], title: str, unit: str, path: Path) -> None:
    """
    The exact landscape, or exact, learned and their difference side by side.

    :param landscapes: exact, and perhaps learned, shape (rows, columns), NaN on walls
    :param title: heading
    :param unit: of the colours
    :param path: of the picture, PNG
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = landscapes[0].shape
    n_panels = 1 if len(landscapes) == 1 else 3
    stacked = columns > 1.5 * rows  # wide maps stand one above the other
    width = float(np.clip(0.42 * columns, 3.2, 6.0))
    height = max(width * rows / columns, 1.2) + 0.35
    down, across = (n_panels, 1) if stacked else (1, n_panels)
    size = (across * (width + 0.9), down * height + 0.5)
    figure, axes = plt.subplots(down, across, figsize=size, dpi=150, layout="constrained", squeeze=False)
    low, high = (float(extreme([extreme(values) for values in landscapes])) for extreme in (np.nanmin, np.nanmax))
    panels: list[tuple[str, NDArray[np.float64], dict[str, Any]]] = [
        (name, values, {"cmap": "viridis", "vmin": low, "vmax": high})
        for name, values in zip(("exact", "learned"), landscapes, strict=False)
    ]
    if n_panels == 3:
        difference = landscapes[1] - landscapes[0]
        largest = max(float(np.nanmax(abs(difference))), 0.05)
        panels.append(("learned - exact", difference, {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}))
    for panel, (name, values, colours) in zip(axes.flat, panels, strict=True):
        panel.set_facecolor("#404040")  # walls
        image = panel.imshow(values, **colours)
        panel.set(xticks=[], yticks=[])
        panel.set_title(name if n_panels == 3 else "", loc="left", fontsize=10)
        if rows * columns <= 150:
            write_numbers(panel, values, image)
        figure.colorbar(image, ax=panel, shrink=0.9, label=unit)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    partial = path.with_name(f"{path.stem}.tmp{path.suffix}")
    figure.savefig(partial)
    plt.close(figure)
    partial.replace(path)


def write_numbers(panel: Any, values: NDArray[np.float64], image: Any) -> None:
    """Each cell's number into it, black or white by how light its colour is."""
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.55
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color="black" if light else "white")
