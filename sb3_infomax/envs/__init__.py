"""
The papers' own environments.

Importing this package registers them with gymnasium; nothing heavy is loaded before ``gym.make``.
"""

import gymnasium as gym

SPARSE_HALF_CHEETAH = "sb3_infomax/SparseHalfCheetah-v0"

gym.register(
    id=SPARSE_HALF_CHEETAH,
    entry_point="sb3_infomax.envs.sparse_half_cheetah:SparseHalfCheetahEnv",
    max_episode_steps=500,
)

__all__ = ["SPARSE_HALF_CHEETAH"]
