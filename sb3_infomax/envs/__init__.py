"""
The papers' own environments.

Importing this package registers them with gymnasium; nothing heavy is loaded before ``gym.make``.
"""

from typing import Any

import gymnasium as gym

SPARSE_HALF_CHEETAH = "sb3_infomax/SparseHalfCheetah-v0"
GRID_WORLD = "sb3_infomax/GridWorld-v0"  # gym.make(GRID_WORLD, layout=...)
ROOM_7X7 = "sb3_infomax/Room7x7-v0"
TWO_ROOMS = "sb3_infomax/TwoRooms-v0"
CORRIDOR_3X20 = "sb3_infomax/Corridor3x20-v0"
POCKET_8X8 = "sb3_infomax/Pocket8x8-v0"
ISING_PATCH = "sb3_infomax/IsingPatch-v0"
PACMAN = "sb3_infomax/PacMan-v0"
PACMAN_ISING = "sb3_infomax/PacManIsing-v0"
CONTINUAL_PACMAN = "sb3_infomax/ContinualPacMan-v0"

gym.register(
    id=SPARSE_HALF_CHEETAH,
    entry_point="sb3_infomax.envs.sparse_half_cheetah:SparseHalfCheetahEnv",
    max_episode_steps=500,
)
gym.register(id=ISING_PATCH, entry_point="sb3_infomax.envs.ising:IsingPatchEnv", max_episode_steps=100)
gym.register(id=PACMAN, entry_point="sb3_infomax.envs.pacman:PacManEnv", max_episode_steps=200)
gym.register(PACMAN_ISING, "sb3_infomax.envs.pacman:PacManEnv", max_episode_steps=200, kwargs={"noise_beta": 4.0})
gym.register(id=CONTINUAL_PACMAN, entry_point="sb3_infomax.envs.pacman:continual_pacman", max_episode_steps=200)


def _register_grid_world(env_id: str, **settings: Any) -> None:
    gym.register(env_id, "sb3_infomax.envs.grid_world:GridWorldEnv", max_episode_steps=100, kwargs=settings)


_register_grid_world(GRID_WORLD)
_register_grid_world(ROOM_7X7, layout="room_7x7", stay=True)
_register_grid_world(TWO_ROOMS, layout="two_rooms", stay=True)
_register_grid_world(CORRIDOR_3X20, layout="corridor_3x20", step_reward=-1.0, goal_reward=9.0)
_register_grid_world(POCKET_8X8, layout="pocket_8x8", step_reward=-1.0, goal_reward=9.0)

__all__ = [
    "CONTINUAL_PACMAN",
    "CORRIDOR_3X20",
    "GRID_WORLD",
    "ISING_PATCH",
    "PACMAN",
    "PACMAN_ISING",
    "POCKET_8X8",
    "ROOM_7X7",
    "SPARSE_HALF_CHEETAH",
    "TWO_ROOMS",
]
