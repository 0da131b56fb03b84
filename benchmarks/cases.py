"""The work that is timed: environments, algorithms with their settings, and what is attached to them."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from sb3_infomax.c51.c51 import C51
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.plan import CALLBACK_KNOBS
from sb3_infomax.common.policies import two_head_policy
from sb3_infomax.registry import REWARDS, resolve

# So small that it is lost in float32: all agents learn the same and act alike, and only the cost of the bonus differs.
TINY = 1e-12
PLAIN = "plain"


class Case(NamedTuple):
    """One kind of training."""

    label: str
    algorithm: type[BaseAlgorithm]
    policy: str
    settings: dict[str, Any]
    make_env: Callable[[], VecEnv]
    rollouts: int  # rollout and train() this many times in a timed block
    rounds: int  # blocks of each variant
    bars: dict[str, float]  # ratios that were asked for
    images: bool = False


class Variant(NamedTuple):
    """What is attached to the algorithm; ``attach`` makes a callback for a model, None nothing. Or another algorithm."""

    attach: Callable[[BaseAlgorithm], BaseCallback] | None = None
    two_heads: bool = False
    algorithm: type[BaseAlgorithm] | None = None  # None: the case's
    settings: dict[str, Any] | None = None  # over the case's


def _cartpole(n_envs: int) -> VecEnv:
    return sb3_make_vec_env("CartPole-v1", n_envs, seed=0)


def _room(n_envs: int, useless_actions: int) -> VecEnv:
    from sb3_infomax.envs import ROOM_7X7

    return sb3_make_vec_env(ROOM_7X7, n_envs, seed=0, env_kwargs={"useless_actions": useless_actions})


def _flat_minigrid(n_envs: int) -> VecEnv:
    from minigrid.wrappers import ImgObsWrapper

    return sb3_make_vec_env(
        lambda: gym.wrappers.FlattenObservation(ImgObsWrapper(gym.make("MiniGrid-Empty-8x8-v0"))), n_envs, seed=0
    )


def _atari(game: str, n_envs: int) -> VecEnv:
    import ale_py  # noqa: F401  registers ALE ids

    frames = make_atari_env(f"ALE/{game}-v5", n_envs, seed=0, env_kwargs={"frameskip": 1})
    return VecFrameStack(frames, n_stack=4)


CASES = {
    "cartpole-ppo": Case(
        "CartPole PPO, 8 envs", PPO, "MlpPolicy", {"n_steps": 256, "batch_size": 256, "n_epochs": 10},
        functools.partial(_cartpole, 8), rollouts=1, rounds=25, bars={"rnd": 1.06, "emi": 1.15, "icm": 1.15},
    ),
    "minigrid-ppo": Case(
        "MiniGrid PPO, flat, 8 envs", PPO, "MlpPolicy", {"n_steps": 128, "batch_size": 64, "n_epochs": 10},
        functools.partial(_flat_minigrid, 8), rollouts=1, rounds=20, bars={"rnd": 1.02, "emi": 1.06, "icm": 1.06},
    ),
    "atari-ppo": Case(
        "Atari PPO, 8 envs, CPU", PPO, "CnnPolicy", {"n_steps": 128, "batch_size": 256, "n_epochs": 4},
        functools.partial(_atari, "MontezumaRevenge", 8), rollouts=1, rounds=5,
        bars={"rnd": 1.15, "emi": 1.25, "icm": 1.25}, images=True,
    ),
    "cartpole-dqn": Case(
        "CartPole DQN, 4 envs", DQN, "MlpPolicy", {},
        functools.partial(_cartpole, 4), rollouts=64, rounds=25, bars={"rnd": 1.5, "emi": 1.8, "icm": 1.8},
    ),
    "atari-dqn": Case(
        "Atari DQN, 4 envs, CPU", DQN, "CnnPolicy", {"buffer_size": 4_000},
        functools.partial(_atari, "MontezumaRevenge", 4), rollouts=8, rounds=5, bars={}, images=True,
    ),
}  # fmt: skip

# Algorithms of ours beside the one that they extend, at its own settings.
ALGORITHM_CASES = {
    "cartpole-dqn-family": Case(
        "CartPole, DQN's settings", DQN, "MlpPolicy", {"exploration_final_eps": 0.05},
        functools.partial(_cartpole, 1), rollouts=256, rounds=25, bars={"c51": 1.3, "mirl": 1.1},
    ),
    "atari-dqn-family": Case(
        "Pong, DQN's settings, CPU", DQN, "CnnPolicy",
        {"exploration_final_eps": 0.05, "buffer_size": 4_000, "learning_starts": 32},
        functools.partial(_atari, "Pong", 1), rollouts=12, rounds=25, bars={"c51": 1.1, "mirl": 1.1}, images=True,
    ),
    "pong-c51": Case(
        "Pong, C51's updates, CPU", C51, "CnnPolicy",
        {"batch_size": 32, "train_freq": 4, "gradient_steps": 8, "buffer_size": 4_000, "learning_starts": 4},
        functools.partial(_atari, "Pong", 1), rollouts=2, rounds=20, bars={"driml": 2.0, "driml, ada": 2.0}, images=True,
    ),
}  # fmt: skip

# Where the number of actions is what differs; a room of 49 cells, states as one-hot vectors.
_PPO = {"n_steps": 256, "batch_size": 256, "n_epochs": 10}
EMPOWERMENT_CASES = {
    "empowerment-2-actions": Case(
        "CartPole, 2 actions", PPO, "MlpPolicy", _PPO,
        functools.partial(_cartpole, 8), rollouts=1, rounds=15, bars={"variational, n = 1": 1.2, "mine, n = 1": 1.2},
    ),
    "empowerment-5-actions": Case(
        "room, 5 actions", PPO, "MlpPolicy", _PPO, functools.partial(_room, 8, 0), rollouts=1, rounds=9, bars={},
    ),
    "empowerment-18-actions": Case(
        "room, 18 actions", PPO, "MlpPolicy", _PPO, functools.partial(_room, 8, 13), rollouts=1, rounds=9, bars={},
    ),
}  # fmt: skip


def ours(reward: str, module_kwargs: dict[str, Any] | None = None, **knobs: Any) -> Callable[[BaseAlgorithm], BaseCallback]:
    """Attaches a reward of this package at a coefficient that changes nothing."""
    arguments = {"coef": TINY, "ext_coef": 1.0, "seed": 0, "module_kwargs": module_kwargs} | knobs
    return lambda model: IntrinsicReward(reward, **arguments)


def published(reward: str, images: bool) -> dict[str, Any]:
    """The published networks and schedule of a module; its knobs of the callback left out."""
    presets = resolve(reward, REWARDS).presets
    own = presets["paper"] if "paper" in presets else presets["atari" if images else "mujoco"]
    return {name: value for name, value in own.items() if name not in CALLBACK_KNOBS}


def variants_of(case: Case) -> dict[str, Variant]:
    """Everything that a case is timed with, plain Stable-Baselines3 first."""
    rows = {PLAIN: Variant(), "rnd": Variant(ours("rnd")), "icm": Variant(ours("icm"))}
    rows["emi"] = Variant(ours("emi"))
    rows["emi, diversity"] = Variant(ours("emi", {"bonus": "diversity"}))
    if issubclass(case.algorithm, OnPolicyAlgorithm):
        rows["rnd, two heads"] = Variant(ours("rnd", gamma=0.99, episodic=False), two_heads=True)
    for reward in ("rnd", "icm", "emi"):
        rows[f"{reward}, paper"] = Variant(ours(reward, published(reward, case.images)))
    return rows


class Training:
    """A training under way that goes on block by block.

    :param case: which work
    :param variant: what is attached
    """

    def __init__(self, case: Case, variant: Variant) -> None:
        start = time.process_time()
        policy = two_head_policy(case.policy) if variant.two_heads else case.policy
        algorithm = variant.algorithm or case.algorithm
        self.model = algorithm(policy, case.make_env(), seed=0, device="cpu", **case.settings | (variant.settings or {}))
        callback = None if variant.attach is None else variant.attach(self.model)
        # what learn() does before its loop; with one step DQN's epsilon is at its end, where it spends nine tenths of a run:
        # random actions would cost plain DQN nothing and make the bonus look dear
        _, self.callback = self.model._setup_learn(1 if issubclass(algorithm, OffPolicyAlgorithm) else 10**9, callback)
        self.callback.on_training_start({"callback": self.callback}, {})
        self.iteration = 0
        self.setup_seconds = time.process_time() - start  # CPU, environments included

    def block(self, rollouts: int) -> tuple[float, int]:
        """The loop of ``learn()``, that many times.

        :return: CPU seconds and steps of the environments
        """
        steps, start = self.model.num_timesteps, time.process_time()
        for _ in range(rollouts):
            self._rollout_and_train()
        return time.process_time() - start, self.model.num_timesteps - steps

    def _rollout_and_train(self) -> None:
        model: Any = self.model
        self.iteration += 1
        if isinstance(model, OnPolicyAlgorithm):
            model.collect_rollouts(model.env, self.callback, model.rollout_buffer, n_rollout_steps=model.n_steps)
            model.dump_logs(self.iteration)
            model.train()
            return
        model.collect_rollouts(
            model.env,
            callback=self.callback,
            train_freq=model.train_freq,
            replay_buffer=model.replay_buffer,
            action_noise=model.action_noise,
            learning_starts=model.learning_starts,
            log_interval=4,
        )
        if model.num_timesteps > model.learning_starts:
            model.train(batch_size=model.batch_size, gradient_steps=model.gradient_steps)

    def close(self) -> None:
        """Let go of the environments."""
        self.callback.on_training_end()
        self.model.env.close()  # type: ignore[union-attr]


def one_thread() -> None:
    """Ratios of CPU seconds mean something on one thread only."""
    th.set_num_threads(1)
