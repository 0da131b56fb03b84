"""Small environments, reward modules and learners whose right answers are known, shared by the tests."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from sb3_infomax.c51.c51 import C51
from sb3_infomax.common.policies import TwoHeadActorCriticPolicy
from sb3_infomax.mirl.mirl import MIRL
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.types import Transitions


class JumpEnv(gym.Env):
    """x grows by 1 in every step, whatever is done, and starts each episode far away; ends are known in advance.

    Episodes of 3, 4, 5, 3, ... steps, terminated and truncated in turn. The reward is ``reward`` (default sin x).

    :param kind: of observation: ``"box"`` (x, sin x), ``"image"`` a uint8 picture full of x, ``"dict"`` both, ``"discrete"`` x
    """

    def __init__(
        self,
        kind: str = "box",
        action_space: spaces.Space | None = None,
        reward: Callable[[float], Any] = np.sin,
        tells_end: bool = True,
    ) -> None:
        parts: dict[str, spaces.Space] = {
            "box": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "image": spaces.Box(0, 255, (36, 36, 1), np.uint8),
            "discrete": spaces.Discrete(256),
        }
        parts["dict"] = spaces.Dict({"image": parts["image"], "x": parts["box"]})
        self.kind, self.reward, self.tells_end = kind, reward, tells_end
        self.observation_space = parts[kind]
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.episode = 0

    def observe(self) -> Any:
        vector = np.array([self.x, np.sin(self.x)], dtype=np.float32)
        image = np.full((36, 36, 1), self.x, dtype=np.uint8)
        return {"box": vector, "image": image, "discrete": self.x, "dict": {"image": image, "x": vector}}[self.kind]

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.x, self.left = int(self.np_random.integers(0, 200)), 3 + self.episode % 3
        self.episode += 1
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        self.x += 1
        self.left -= 1
        ended, truncates = self.left == 0, self.episode % 2 == 0
        return self.observe(), self.reward(self.x), ended and not truncates, ended and truncates, {}

    def action_masks(self) -> np.ndarray:
        return np.array([True, self.x % 2 == 0])


class ForgetfulVecEnv(DummyVecEnv):
    """Does not tell the observations that end episodes, like gym3's Procgen."""

    def step_wait(self):
        observations, rewards, dones, infos = super().step_wait()
        for info in infos:
            info.pop("terminal_observation", None)
        return observations, rewards, dones, infos


def jump_envs(n_envs: int = 1, cls: type[DummyVecEnv] = DummyVecEnv, monitor: bool = False, **kwargs: Any) -> DummyVecEnv:
    make = lambda: Monitor(JumpEnv(**kwargs)) if monitor else JumpEnv(**kwargs)  # noqa: E731
    return cls([make] * n_envs)


class AnySpace(gym.Env):
    """Random observations of any space, ends of both kinds."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, seed: int) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        observation_space.seed(seed)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        end = self.np_random.random()
        return self.observation_space.sample(), 0.0, end < 0.1, end > 0.9, {}


def goes_on_as_saved(model: Any, folder: Path, batch_size: int = 8) -> dict[str, Tensor]:
    """Saves an algorithm and its replay, and loads them: the next updates must lead to equal weights, which are returned."""
    model.save(folder / "model"), model.save_replay_buffer(folder / "replay")
    loaded = type(model).load(folder / "model", env=jump_envs(2), device="cpu")
    loaded.load_replay_buffer(folder / "replay")
    loaded.set_logger(model.logger)
    for one in (model, loaded):
        np.random.seed(7)
        one.train(gradient_steps=5, batch_size=batch_size)
    here, there = (one.policy.state_dict() for one in (model, loaded))
    assert all(th.equal(here[key], there[key]) for key in here)
    return here


def newest(observations: Any) -> Tensor:
    """The x of observations of ``JumpEnv``, of the newest frame where they are stacked."""
    if isinstance(observations, dict):
        observations = observations["x"]
    if observations.ndim == 4:  # an image, channels last or first
        return observations[:, -1, -1, -1].float()
    flat = observations.reshape(len(observations), -1).float()
    return flat[:, -2] if flat.shape[1] > 1 else flat[:, 0]


class Step(RewardModule):
    """b = x' - x: 1 wherever s' is the true successor of s. Keeps what it has paid."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.paid: list[Tensor] = []

    def bonus(self, transitions: Transitions) -> Tensor:
        return newest(transitions.next_observations) - newest(transitions.observations)

    def compute(self, transitions: Transitions) -> Tensor:
        bonus = super().compute(transitions)
        self.paid.append(bonus)
        return bonus

    def update(self, transitions: Transitions) -> dict[str, float]:
        return {}


class Height(Step):
    """b = x' / 100: differs from step to step, known from the transition alone."""

    def bonus(self, transitions: Transitions) -> Tensor:
        return newest(transitions.next_observations) / 100.0


class Rude(RewardModule):
    """Draws from torch's global generator wherever it can: in its constructor, moments, bonus and loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dim = sum(int(np.prod(shape)) for shape in self.preprocess.shapes.values())
        self.network = nn.Sequential(nn.Linear(dim, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def observe(self, transitions: Transitions) -> None:
        th.rand(3)
        super().observe(transitions)

    def bonus(self, transitions: Transitions) -> Tensor:
        parts = self.preprocess(transitions.next_observations).values()
        values = self.network(th.cat([part.flatten(1) for part in parts], dim=1)).squeeze(1)
        return values.abs() + th.rand(len(values))

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.bonus(transitions).mean()
        return loss, {"twice": 2 * loss}


class Call(BaseCallback):
    """Calls functions of the model at the named moments: ``Call(rollout_end=lambda model: ...)``."""

    def __init__(self, **moments: Callable[[BaseAlgorithm], Any]) -> None:
        super().__init__()
        self.moments = moments

    def _call(self, moment: str) -> None:
        if moment in self.moments:
            self.moments[moment](self.model)

    def _on_training_start(self) -> None:
        self._call("training_start")

    def _on_rollout_start(self) -> None:
        self._call("rollout_start")

    def _on_step(self) -> bool:
        self._call("step")
        return True

    def _on_rollout_end(self) -> None:
        self._call("rollout_end")

    def _on_training_end(self) -> None:
        self._call("training_end")


SMALL = {"net_arch": [8]}
LSTM = {**SMALL, "lstm_hidden_size": 8}
ON_POLICY = {"n_steps": 16, "policy_kwargs": SMALL, "seed": 3, "device": "cpu"}
PPO_LIKE = {**ON_POLICY, "batch_size": 16, "n_epochs": 2}
OFF_POLICY = {"learning_starts": 20, "batch_size": 8, "buffer_size": 60, "train_freq": 4, "gradient_steps": 2} | {
    key: ON_POLICY[key] for key in ("policy_kwargs", "seed", "device")
}
HER = {**OFF_POLICY, "replay_buffer_class": HerReplayBuffer}


def box() -> spaces.Box:
    """Actions whose bounds are not -1 and 1."""
    return spaces.Box(-2.0, 3.0, (2,), np.float32)


def noise() -> NormalActionNoise:
    return NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))


def goal_env(continuous: bool) -> DummyVecEnv:
    return DummyVecEnv([lambda: BitFlippingEnv(n_bits=3, continuous=continuous)])


#: name -> algorithm, policy, environment, settings
LEARNERS: dict[str, tuple[type[BaseAlgorithm], Any, Callable[[], DummyVecEnv], dict[str, Any]]] = {
    "PPO": (PPO, "MlpPolicy", lambda: jump_envs(2), PPO_LIKE),
    "PPO-box": (PPO, "MlpPolicy", lambda: jump_envs(2, action_space=box()), PPO_LIKE),
    "PPO-dict": (PPO, "MultiInputPolicy", lambda: jump_envs(2, kind="dict"), PPO_LIKE),
    "PPO-two-heads": (PPO, TwoHeadActorCriticPolicy, lambda: jump_envs(2), PPO_LIKE),
    "A2C": (A2C, "MlpPolicy", lambda: jump_envs(2), ON_POLICY),
    "A2C-two-heads": (A2C, TwoHeadActorCriticPolicy, lambda: jump_envs(2), ON_POLICY),
    "TRPO": (TRPO, "MlpPolicy", lambda: jump_envs(2), {**ON_POLICY, "batch_size": 16}),
    "RecurrentPPO": (RecurrentPPO, "MlpLstmPolicy", lambda: jump_envs(2), PPO_LIKE | {"policy_kwargs": LSTM}),
    "MaskablePPO": (MaskablePPO, "MlpPolicy", lambda: jump_envs(2), PPO_LIKE),
    "DQN": (DQN, "MlpPolicy", lambda: jump_envs(2), OFF_POLICY),
    "DQN-n-step": (DQN, "MlpPolicy", lambda: jump_envs(2), {**OFF_POLICY, "n_steps": 3}),
    "DQN-HER": (DQN, "MultiInputPolicy", lambda: goal_env(False), HER),
    "QRDQN": (QRDQN, "MlpPolicy", lambda: jump_envs(2), OFF_POLICY),
    "C51-double": (C51, "MlpPolicy", lambda: jump_envs(2), {**OFF_POLICY, "double_q": True}),
    "MIRL-double": (MIRL, "MlpPolicy", lambda: jump_envs(2), {**OFF_POLICY, "double_q": True}),
    "SAC": (SAC, "MlpPolicy", lambda: jump_envs(2, action_space=box()), OFF_POLICY),
    "SAC-n-step": (SAC, "MlpPolicy", lambda: jump_envs(2, action_space=box()), {**OFF_POLICY, "n_steps": 3}),
    "SAC-HER": (SAC, "MultiInputPolicy", lambda: goal_env(True), HER),
    "TD3": (TD3, "MlpPolicy", lambda: jump_envs(action_space=box()), {**OFF_POLICY, "action_noise": noise()}),
    "DDPG": (DDPG, "MlpPolicy", lambda: jump_envs(action_space=box()), {**OFF_POLICY, "action_noise": noise()}),
    "TQC": (TQC, "MlpPolicy", lambda: jump_envs(action_space=box()), OFF_POLICY),
    "CrossQ": (CrossQ, "MlpPolicy", lambda: jump_envs(action_space=box()), OFF_POLICY),
}


def make(learner: str, env: Any = None, **settings: Any) -> Any:
    """A seeded learner of ``LEARNERS``, on its own or another environment."""
    algorithm, policy, make_env, defaults = LEARNERS[learner]
    # SB3 writes into policy_kwargs
    return algorithm(policy, make_env() if env is None else env, **copy.deepcopy(defaults | settings))


STEPS = 96

#: arguments with which the rewards that warm up pay from the first update on
NO_WARM_UP: dict[str, dict[str, Any]] = {"empowerment": {"warmup_steps": 0}, "empowerment_mine": {"warmup_steps": 0}}


def fingerprint(model: BaseAlgorithm) -> list[Tensor]:
    """All that a run has produced: weights, and where the random generators stand."""
    weights = [value.clone() for value in model.policy.state_dict().values()]
    return [*weights, th.get_rng_state(), th.from_numpy(np.random.get_state()[1].astype(np.int64))]


def same_run(first: BaseAlgorithm | list[Tensor], second: BaseAlgorithm | list[Tensor]) -> bool:
    """Whether two runs are bit-identical."""
    one, two = (fingerprint(run) if isinstance(run, BaseAlgorithm) else run for run in (first, second))
    return len(one) == len(two) and all(th.equal(a, b) for a, b in zip(one, two, strict=True))
