"""Every reward module in every kind of observation and action, and the page that says so.

``python tests/test_matrix.py`` runs all cells and writes docs/matrix.md; each test here holds one entry of that page.
"""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from toys import NO_WARM_UP, AnySpace

from sb3_infomax.buffers.replay import Relabeller, ReplayReader, relabelled
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.plan import RewardPlan
from sb3_infomax.registry import REWARDS

PAGE = Path(__file__).parents[1] / "docs" / "matrix.md"
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
KINDS: dict[str, tuple[spaces.Space, spaces.Space]] = {
    "vector, Discrete": (VECTOR, spaces.Discrete(3, start=0)),
    "vector, Box": (VECTOR, spaces.Box(-2.0, 2.0, (2,), np.float32)),
    "vector, MultiDiscrete": (VECTOR, spaces.MultiDiscrete([2, 3])),
    "vector, MultiBinary": (VECTOR, spaces.MultiBinary(3)),
    "uint8 image 4 x 84 x 84, Discrete": (spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(3)),
    "Discrete, Discrete": (spaces.Discrete(7), spaces.Discrete(3)),
    "uint8 image 7 x 7 x 3, Discrete": (spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Discrete(3)),
    "2-D Box, Discrete": (spaces.Box(-1.0, 1.0, (4, 5), np.float32), spaces.Discrete(3)),
    "Dict, Discrete": (
        spaces.Dict({"position": VECTOR, "mode": spaces.Discrete(3), "picture": spaces.Box(0, 255, (36, 36, 1), np.uint8)}),
        spaces.Discrete(3),
    ),
}
PAYS_FOR_CONTROL = ["empowerment", "empowerment_mine"]  # of which there is none in ``AnySpace``: a bonus of 0 is right
N_ENVS = [1, 4]
SETTINGS: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
HEAD = """# What works where

Every reward module, on-policy and off-policy, with one environment and with four, on nine kinds of observation and action.
An entry is what ran, without a NaN or an infinity in anything that was logged, paid or learned: an algorithm, or a bare
replay buffer where Stable-Baselines3 has no off-policy algorithm for the action space. The table is generated and held by
`tests/test_matrix.py`; `python tests/test_matrix.py` makes it again.
"""


def make_env(kind: str, n_envs: int) -> VecEnv:
    return DummyVecEnv([lambda seed=seed: AnySpace(*KINDS[kind], seed=seed) for seed in range(n_envs)])


class Finite(BaseCallback):
    """All that is logged must be finite, and a bonus must be paid."""

    def __init__(self) -> None:
        super().__init__()
        self.spreads: list[float] = []

    def _on_rollout_end(self) -> None:
        logged = {key: value for key, value in self.logger.name_to_value.items() if key.startswith("intrinsic/")}
        assert all(map(math.isfinite, logged.values())), logged
        self.spreads.append(logged.get("intrinsic/bonus_std", 0.0))

    def _on_step(self) -> bool:
        return True


def on_policy(reward: str, kind: str, n_envs: int) -> str:
    """PPO; -> its name."""
    policy = "MultiInputPolicy" if "Dict" in kind else "MlpPolicy"
    model = PPO(policy, make_env(kind, n_envs), n_steps=8, batch_size=8, n_epochs=1, **deepcopy(SETTINGS))
    return learn(model, reward, 16 * n_envs)


def off_policy(reward: str, kind: str, n_envs: int) -> str:
    """DQN or SAC where one takes the actions, else a bare replay buffer; -> its name."""
    algorithm = {"Discrete": DQN, "Box": SAC}.get(kind.split(", ")[1])
    if algorithm is None:
        return bare_buffer(reward, kind, n_envs)
    policy = "MultiInputPolicy" if "Dict" in kind else "MlpPolicy"
    settings = {"buffer_size": 64, "learning_starts": 8, "batch_size": 8, "train_freq": 4}
    return learn(algorithm(policy, make_env(kind, n_envs), **settings, **deepcopy(SETTINGS)), reward, 24)


def learn(model: Any, reward: str, n_steps: int) -> str:
    callback, finite = IntrinsicReward(reward, module_kwargs=NO_WARM_UP.get(reward)), Finite()
    model.learn(n_steps, callback=[callback, finite])
    assert (max(finite.spreads) > 0 or reward in PAYS_FOR_CONTROL) and callback.mixture is not None
    states = [*model.policy.state_dict().values(), *callback.mixture.state_dict().values()]
    assert all(th.isfinite(value).all() for value in states if isinstance(value, th.Tensor) and value.is_floating_point())
    return type(model).__name__


def bare_buffer(reward: str, kind: str, n_envs: int) -> str:
    """Fill, train, relabel."""
    env, plan = make_env(kind, n_envs), RewardPlan(reward, None, NO_WARM_UP.get(reward), None, "raise", {"coef": 1.0})
    cls = DictReplayBuffer if "Dict" in kind else ReplayBuffer
    buffer = cls(64, env.observation_space, env.action_space, device="cpu", n_envs=n_envs)
    observations = env.reset()
    for _ in range(40 // n_envs):
        actions = np.stack([env.action_space.sample() for _ in range(n_envs)])
        following, rewards, dones, infos = env.step(actions)
        buffer.add(observations, following, actions, rewards, dones, infos)
        observations = following
    modules, rng = plan.build_modules(env.observation_space, env.action_space, th.device("cpu"), 0)
    mixture, reader = plan.build_mixture(modules, rng, False, 0.99), ReplayReader(buffer)
    for _ in range(3):
        bonus, logs = mixture.learn(reader.draw(8))
        assert th.isfinite(bonus).all() and all(map(math.isfinite, logs.values()))
    with relabelled(buffer, Relabeller(reader, mixture, 1.0, 1.0)):
        rewards = buffer.sample(16).rewards
    assert th.isfinite(rewards).all() and (rewards.std() > 0 or reward in PAYS_FOR_CONTROL)
    return cls.__name__


def render(entries: dict[tuple[str, str], str]) -> str:
    """The page: one table per reward."""
    lines = [HEAD]
    for reward in sorted(REWARDS):
        lines += [f"## {reward}", "", "| observation, action | on-policy | off-policy |", "|---|---|---|"]
        lines += [f"| {kind} | {entries[reward, kind]} |" for kind in KINDS]
        lines += [""]
    return "\n".join(lines)


def entry(names: list[list[str]]) -> str:
    """One row: the name of what ran and with how many environments."""
    return " | ".join(f"{set(ran).pop()} ({' and '.join(map(str, N_ENVS))})" for ran in names)


def parse(page: str) -> dict[tuple[str, str], str]:
    """The entries of a page, by reward and kind."""
    entries, reward = {}, ""
    for line in page.splitlines():
        if line.startswith("## "):
            reward = line[3:]
        elif line.startswith("| ") and not line.startswith("| observation"):
            kind, rest = line[2:-2].split(" | ", 1)
            entries[reward, kind] = rest
    return entries


def run_row(reward: str, kind: str) -> str:
    return entry([[run(reward, kind, n_envs) for n_envs in N_ENVS] for run in (on_policy, off_policy)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_every_cell_runs_as_the_page_says(reward, kind):
    assert run_row(reward, kind) == parse(PAGE.read_text()).get((reward, kind)), "run: python tests/test_matrix.py"


def test_the_page_has_every_cell_and_nothing_else():
    entries = parse(PAGE.read_text())
    assert set(entries) == {(reward, kind) for reward in REWARDS for kind in KINDS}
    assert PAGE.read_text() == render(entries)


if __name__ == "__main__":
    th.set_num_threads(1)  # as conftest.py does for the tests
    PAGE.write_text(render({(reward, kind): run_row(reward, kind) for reward in sorted(REWARDS) for kind in KINDS}))
