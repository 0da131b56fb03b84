"""An environment that ends its process once, as the system does when memory runs out."""

import os
import signal
from pathlib import Path

import gymnasium as gym


class KilledOnce(gym.Wrapper):
    """SIGKILL at a step of the first process that gets there."""

    def __init__(self, env: gym.Env, flag: str, step: int) -> None:
        super().__init__(env)
        self.flag, self.remaining = Path(flag), step

    def step(self, action):
        self.remaining -= 1
        if self.remaining == 0 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.step(action)
