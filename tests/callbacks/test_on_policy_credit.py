"""What PPO and its kin learn from: the advantage of the summed reward, and bonuses of true transitions."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize, VecTransposeImage
from toys import (
    Call,
    ForgetfulVecEnv,
    Height,
    JumpEnv,
    Step,
    jump_envs,
    make,
)

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward


class Rollouts:
    """Keeps every rollout buffer as SB3 left it and as the callback left it, and what SB3 computed advantages from."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self.shifted: list[Any] = []
        self.last: list[tuple[th.Tensor, np.ndarray]] = []
        self.before = Call(training_start=self._spy, rollout_end=lambda model: self.plain.append(self._copy(model)))
        self.after = Call(rollout_end=lambda model: self.shifted.append(self._copy(model)))

    def _spy(self, model: Any) -> None:
        original = model.rollout_buffer.compute_returns_and_advantage

        def compute_returns_and_advantage(last_values: th.Tensor, dones: np.ndarray) -> None:
            self.last.append((last_values.clone(), dones.copy()))
            original(last_values=last_values, dones=dones)

        model.rollout_buffer.compute_returns_and_advantage = compute_returns_and_advantage

    def _copy(self, model: Any) -> Any:
        clone = copy.copy(model.rollout_buffer)
        vars(clone).pop("compute_returns_and_advantage")
        for name, value in vars(clone).items():
            setattr(clone, name, copy.deepcopy(value) if isinstance(value, np.ndarray | dict) else value)
        return clone

    def around(self, callback: IntrinsicReward) -> list:
        return [self.before, callback, self.after]


def x_of(buffer: Any) -> np.ndarray:
    """x of the observations of JumpEnv, shape (n_steps, n_envs)."""
    return (buffer.observations["x"] if isinstance(buffer.observations, dict) else buffer.observations)[..., 0]


@pytest.mark.parametrize("coef, ext_coef", [(0.5, 1.0), (0.5, 0.25), (0.0, 2.0), (-2.0, 0.0)])
@pytest.mark.parametrize("learner", ["PPO", "PPO-box", "PPO-dict", "A2C", "TRPO", "RecurrentPPO", "MaskablePPO"])
def test_advantages_are_those_of_the_summed_reward(learner, coef, ext_coef):
    rollouts = Rollouts()
    callback = IntrinsicReward(Height, coef, ext_coef, normalize="none")
    make(learner).learn(64, callback=rollouts.around(callback))
    for plain, shifted, (last_values, dones) in zip(rollouts.plain, rollouts.shifted, rollouts.last, strict=True):
        bonus, reward = (x_of(plain) + 1) / 100, np.sin(x_of(plain) + 1)
        plain.rewards += coef * bonus + (ext_coef - 1) * reward
        plain.compute_returns_and_advantage(last_values, dones)
        for name in ("rewards", "advantages", "returns"):
            np.testing.assert_allclose(getattr(shifted, name), getattr(plain, name), atol=1e-5)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.95, 1.0])
def test_the_bonus_is_credited_with_the_algorithms_own_lambda(gae_lambda):
    rollouts = Rollouts()
    callback = IntrinsicReward(Height, 1.0, normalize="none")
    make("PPO", gae_lambda=gae_lambda, gamma=0.9).learn(32, callback=rollouts.around(callback))
    plain, shifted, (last_values, dones) = rollouts.plain[0], rollouts.shifted[0], rollouts.last[0]
    plain.rewards += (x_of(plain) + 1) / 100
    plain.compute_returns_and_advantage(last_values, dones)
    np.testing.assert_allclose(shifted.advantages, plain.advantages, atol=1e-5)
    assert plain.episode_starts.sum() > 8  # both kinds of end are in it


def frozen_normalization(venv: DummyVecEnv) -> VecNormalize:
    """Divides x by 2, always."""
    keys = ["x"] if hasattr(venv.observation_space, "spaces") else None
    wrapped = VecNormalize(venv, training=False, norm_reward=False, clip_obs=1e6, norm_obs_keys=keys)
    moments = wrapped.obs_rms["x"] if keys else wrapped.obs_rms
    moments.mean[:], moments.var[:] = 50.0, 4.0
    return wrapped


STACKS = {
    "box": lambda n: jump_envs(n),
    "discrete": lambda n: jump_envs(n, kind="discrete"),
    "dict": lambda n: jump_envs(n, kind="dict"),
    "frame-stack": lambda n: VecFrameStack(jump_envs(n), 3),
    "frame-stack-image": lambda n: VecFrameStack(jump_envs(n, kind="image"), 3),
    "transpose-image": lambda n: VecTransposeImage(jump_envs(n, kind="image")),
    "normalize": lambda n: frozen_normalization(jump_envs(n)),
    "normalize-dict": lambda n: frozen_normalization(VecTransposeImage(jump_envs(n, kind="dict"))),
    "normalize-frame-stack": lambda n: frozen_normalization(VecFrameStack(jump_envs(n), 3)),
}
POLICIES = {"dict": "MultiInputPolicy", "normalize-dict": "MultiInputPolicy"}


def policy_for(stack: str) -> str:
    return POLICIES.get(stack, "CnnPolicy" if "image" in stack else "MlpPolicy")


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_next_observations_are_true_at_every_step_terminations_and_truncations_too(learner, stack, n_envs):
    callback = IntrinsicReward(Step, normalize="none")
    settings = {"n_steps": 16, "batch_size": 16} if learner == "PPO" else {"learning_starts": 20}
    model = {"PPO": PPO, "DQN": DQN}[learner](policy_for(stack), STACKS[stack](n_envs), **settings)
    model.learn(48, callback=callback)
    paid = th.cat(callback.module.paid)
    np.testing.assert_allclose(paid, 0.5 if "normalize" in stack else 1.0, rtol=1e-5)
    assert len(paid) >= 48


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_without_terminal_observations_ends_pay_nothing_and_this_is_said_once(learner):
    callback, unknown = IntrinsicReward(Step, normalize="none"), []
    log = Call(rollout_end=lambda model: unknown.append(model.logger.name_to_value.get("intrinsic/unknown")))
    with pytest.warns(UserWarning, match="does not tell the observations that end episodes") as warned:
        make(learner, jump_envs(2, ForgetfulVecEnv)).learn(64, callback=[callback, log])
    assert len(warned) == 1
    paid = th.cat(callback.module.paid)
    assert set(paid.tolist()) == {0.0, 1.0}
    if learner == "PPO":
        assert unknown[-1] == int((paid[-32:] == 0).sum()) > 0


@pytest.mark.parametrize("learner", ["A2C", "TRPO", "RecurrentPPO", "MaskablePPO", "PPO-two-heads", "A2C-two-heads"])
def test_other_learners_see_true_transitions_too(learner):
    callback = IntrinsicReward(Step, normalize="none")
    make(learner).learn(64, callback=callback)
    assert set(th.cat(callback.module.paid).tolist()) == {1.0}


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_integer_rewards_of_subprocesses(learner):
    """``SubprocVecEnv`` stacks Python ints to int64, to which no float can be added in place."""
    env = SubprocVecEnv([lambda: JumpEnv(reward=lambda x: 3), lambda: JumpEnv(reward=lambda x: 3)], start_method="fork")
    try:
        model = make(learner, env).learn(64, callback=IntrinsicReward(Step, 0.5, 2.0, normalize="none"))
    finally:
        env.close()
    if learner == "DQN":
        assert set(model.replay_buffer.rewards[: model.replay_buffer.size()].flatten().tolist()) == {3.0}


def test_actions_reach_the_module_as_the_environment_received_them():
    """Gaussian samples are clipped to the bounds; what the buffer holds is not."""
    seen, received = [], []

    class Actions(Step):
        def bonus(self, transitions):
            seen.append(transitions.actions.clone())
            return super().bonus(transitions)

    model = make("PPO-box", n_steps=16)
    step_async = model.env.step_async
    model.env.step_async = lambda actions: (received.append(actions.copy()), step_async(actions))[1]
    model.learn(32, callback=IntrinsicReward(Actions))
    np.testing.assert_array_equal(th.cat(seen).numpy(), np.concatenate(received))
