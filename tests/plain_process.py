"""Loading models and buffers where this package is missing."""

OFF_POLICY = ["DQN", "DQN-n-step", "DQN-HER", "QRDQN", "SAC", "TD3", "DDPG", "TQC", "CrossQ"]

# runs in a process that has neither this package nor the tests
LOAD = """
import sys
from pathlib import Path
sys.modules["sb3_infomax"] = None  # importing it fails
import gymnasium as gym, numpy as np, sb3_contrib, stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

class Plain(gym.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    def __init__(self, action_space):
        self.action_space = action_space
    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, bool(self.np_random.random() < 0.2), False, {}
    def action_masks(self):
        return np.array([True, True])

for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    name, n_envs = path.stem.split("_")[:2]
    continuous = name in ("SAC", "TD3", "DDPG", "TQC", "CrossQ")
    space = spaces.Box(-2.0, 3.0, (2,), np.float32) if continuous else spaces.Discrete(2)
    algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    model = algorithm.load(path, env=DummyVecEnv([lambda: Plain(space)] * int(n_envs)))
    for buffer in path.parent.glob(f"{name}*.pkl"):
        model.load_replay_buffer(buffer)
    model.learn(24, reset_num_timesteps=False)
    print(name)
"""
