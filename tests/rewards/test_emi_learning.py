"""EMI at work: how much further PPO explores with it, and what it makes of a real body's random motion."""

from collections import deque
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.envs import SPARSE_HALF_CHEETAH
from sb3_infomax.rewards.emi import EMI
from sb3_infomax.types import Transitions

# bonuses in units of their own spread and inputs as they are, as in the experiments that the thresholds come from
PROTOTYPE = {"lambda_error": 100.0, "n_epochs": 3, "normalize_observations": False}


class Chain(gym.Env):
    """40 states in a row, start at the left, 60 steps; the last state pays 1 per step."""

    observation_space = spaces.Box(0.0, 1.0, (40,), np.float32)
    action_space = spaces.Discrete(2)
    n_states = 40

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.n_steps = 0, 0
        return self._observe(), {"state": 0}

    def step(self, action):
        self.state = int(np.clip(self.state + 2 * action - 1, 0, 39))
        self.n_steps += 1
        return self._observe(), float(self.state == 39), False, self.n_steps == 60, {"state": self.state}

    def _observe(self):
        return np.eye(40, dtype=np.float32)[self.state]


class OpenGrid(gym.Env):
    """25 x 25 cells without walls or rewards, start in a corner, four moves, 120 steps."""

    observation_space = spaces.Box(0.0, 1.0, (50,), np.float32)
    action_space = spaces.Discrete(4)
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.n_steps = np.zeros(2, dtype=int), 0
        return self._observe(), {"state": 0}

    def step(self, action):
        self.cell = (self.cell + self.moves[action]).clip(0, 24)
        self.n_steps += 1
        return self._observe(), 0.0, False, self.n_steps == 120, {"state": int(self.cell @ [25, 1])}

    def _observe(self):
        return np.eye(25, dtype=np.float32)[self.cell].reshape(-1)


class Coverage(BaseCallback):
    """Counts the distinct states of the whole run, and of each of the last five rollouts."""

    def __init__(self):
        super().__init__()
        self.visited, self.recent = set(), deque(maxlen=5)

    def _on_rollout_start(self):
        self.recent.append(set())

    def _on_step(self):
        self.recent[-1].update(info["state"] for info in self.locals["infos"])
        self.visited |= self.recent[-1]
        return True


SETTINGS = {
    "prototype": {"normalize": "batch_std", "center": False, "module_kwargs": PROTOTYPE},
    "defaults": {},
    "diversity": {"module_kwargs": {"bonus": "diversity"}},
}


def explore(env_class, n_steps, **kwargs):
    """Distinct states that PPO visits in all, and in one of its last five rollouts: medians of three seeds.

    :param kwargs: of IntrinsicReward; none for plain PPO
    """
    found = []
    for seed in range(3):
        env = DummyVecEnv([env_class] * 8)
        kwargs_ppo = {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3, "seed": seed, "device": "cpu"}
        coverage = Coverage()
        bonus = [IntrinsicReward("emi", coef=1.0, **kwargs)] if kwargs else []
        PPO("MlpPolicy", env, **kwargs_ppo).learn(n_steps, callback=[coverage, *bonus])
        found.append((len(coverage.visited), np.mean([len(states) for states in coverage.recent])))
    return np.median(found, axis=0)


@pytest.fixture(scope="module")
def plain():
    """What PPO finds without a bonus, once per environment."""
    return {Chain: explore(Chain, 20_480), OpenGrid: explore(OpenGrid, 40_960)}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_end_of_a_chain_is_found(settings, plain):
    visited, _ = explore(Chain, 20_480, **({"preset": None} | settings))
    assert visited >= 35 and visited >= plain[Chain][0] + 10


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["defaults", "diversity"])
def test_an_open_grid_is_covered_and_stays_covered(settings, plain):
    """Plain PPO sees 266 of the 625 cells, the defaults 604, diversity 618. The prototype's settings, raw one-hots and a
    dear error model, saw 362 in the median of these seeds (580 in one of them): no claim is made for them here."""
    visited, recent = explore(OpenGrid, 40_960, **({"preset": None} | SETTINGS[settings]))
    assert visited > 500 and visited > 1.25 * plain[OpenGrid][0]
    assert recent > 1.3 * plain[OpenGrid][1]


def random_motion(env, n_steps):
    """A rollout of clipped standard normal actions, episodes of 500 steps; and whether any of it was paid."""
    observations, next_observations, actions, paid = [], [], [], 0.0
    for step in range(n_steps):
        if step % 500 == 0:
            observation, _ = env.reset()
        action = env.np_random.standard_normal(6).clip(-1, 1).astype(np.float32)
        observations.append(observation)
        observation, reward, *_ = env.step(action)
        actions.append(action), next_observations.append(observation)
        paid += reward
    arrays = [th.as_tensor(np.array(values)) for values in (observations, next_observations, actions)]
    return replace(Transitions.from_pairs(*arrays), shape=(n_steps, 1)), paid


@pytest.mark.slow
def test_the_papers_settings_learn_a_half_cheetahs_random_motion():
    pytest.importorskip("mujoco")
    env = gym.make(SPARSE_HALF_CHEETAH)
    env.reset(seed=0)
    paper = {
        knob: EMI.presets["mujoco"][knob] for knob in ("lambda_error", "lambda_info", "lambda_kl", "n_epochs", "batch_size")
    }
    emi = EMI(env.observation_space, env.action_space, normalize_observations=False, **paper)
    residuals = []
    for _ in range(40):
        rollout, paid = random_motion(env, 5000)
        residuals.append(emi.compute(rollout).mean().item())
        metrics = emi.update(rollout)
        assert paid == 0.0
    assert residuals[-1] < residuals[0] / 10
    assert metrics["mi_state"] > 0.8 and metrics["mi_action"] > 0.5
    with th.no_grad():
        spread = emi._phi(rollout.observations).std(dim=0)
    assert ((spread > 0.2) & (spread < 1.5)).all()
