import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_checker import check_env

from sb3_infomax.envs.useless_actions import UselessActions


class Echo(gym.Env):
    """Remembers the actions that reach it."""

    observation_space = spaces.Discrete(2)

    def __init__(self, start=0):
        self.action_space, self.received = spaces.Discrete(3, start=start), []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        self.received.append(int(action))
        return 0, 0.0, False, False, {}


def received(actions, seed=0, start=0):
    env = UselessActions(Echo(start), n=2)
    env.reset(seed=seed)
    for action in actions:
        env.step(action)
    return env.unwrapped.received


@pytest.mark.parametrize("start", [0, 4])
def test_own_actions_pass_and_the_others_are_uniform(start):
    assert received([start, start + 1, start + 2], start=start) == [start, start + 1, start + 2]
    drawn = np.bincount(received([start + 3, start + 4] * 1500, start=start), minlength=start + 3)[start:] / 3000
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.035)  # four deviations


def test_the_seed_decides():
    assert received([3] * 40, seed=1) == received([4] * 40, seed=1) != received([3] * 40, seed=2)


def test_n_actions_are_appended_and_sb3_takes_the_environment():
    env = UselessActions(gym.make("CartPole-v1"), n=5)
    assert env.action_space == spaces.Discrete(7)
    check_env(env, skip_render_check=True)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs discrete actions"):
        UselessActions(gym.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="0 or more, got -1"):
        UselessActions(gym.make("CartPole-v1"), n=-1)
