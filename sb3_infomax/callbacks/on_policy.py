"""The bonus of rollouts: PPO, A2C, TRPO, RecurrentPPO, MaskablePPO."""

import warnings
from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_infomax.buffers.rollout import NO_TERMINAL_OBSERVATION, RolloutFrames, add_reward_to_rollout, rollout_actions
from sb3_infomax.common.coefficients import Coefficients
from sb3_infomax.common.training import unwrap_next_train, wrap_next_train
from sb3_infomax.common.two_heads import TwoHeadCredit
from sb3_infomax.rewards.mixture import RewardMixture
from sb3_infomax.rewards.returns import discounted_sum


class OnPolicyBonus:
    """One batched computation at the end of each rollout, then credit for it.

    :param model: the algorithm
    :param mixture: the reward modules
    :param coefficients: of bonus and extrinsic reward
    :param two_heads: separate credit for the bonus; None adds it to the reward
    """

    def __init__(
        self,
        model: OnPolicyAlgorithm,
        mixture: RewardMixture,
        coefficients: Coefficients,
        two_heads: TwoHeadCredit | None = None,
    ) -> None:
        self.model, self.mixture, self.coefficients, self.two_heads = model, mixture, coefficients, two_heads
        self.frames: RolloutFrames | None = None
        self.rewards = np.zeros((0, 0))
        self.warned = False
        # per environment, of the episode that is under way
        self.episode_bonus = np.zeros(model.n_envs)
        self.episode_bonuses: deque[float] = deque(maxlen=100)

    def training_start(self) -> None:
        """A learn() begins; where the environments were reset, so are the sums of their episodes."""
        self.episode_bonus[self.model._last_episode_starts] = 0.0

    def rollout_start(self) -> None:
        """The rollout buffer has just been reset."""
        self.detach()
        self.frames = RolloutFrames.of(self.model.rollout_buffer)
        self.rewards = np.zeros(self.frames.shape)

    def step(self, variables: dict[str, Any]) -> None:
        """One vector step; ``variables`` are the locals of ``collect_rollouts``."""
        assert self.frames is not None
        # now, since the bootstrap of time limits is added to this very array after the callback
        self.rewards[self.model.rollout_buffer.pos] = variables["rewards"]
        self.frames.step(variables["dones"], variables["infos"])

    def rollout_end(self) -> dict[str, float]:
        """Compute, train, and shift what the learner sees.

        :return: what to log
        """
        frames, buffer = self.frames, self.model.rollout_buffer
        assert frames is not None and self.model._last_obs is not None
        transitions = frames.transitions(self.model._last_obs, rollout_actions(buffer, self.model.policy))
        mixed, logs = self.mixture.learn(transitions)
        bonus = mixed.cpu().numpy().reshape(frames.shape)
        dones = frames.dones.reshape(frames.shape)
        coef, ext_coef = self.coefficients.now(self.model)
        if self.two_heads is None:
            self._shift(bonus, coef, ext_coef)
        elif coef != 0.0 or ext_coef != 1.0:
            wrap_next_train(self.model, self.two_heads.training)
            self.two_heads.add(bonus, transitions.to(self.model.device), dones, coef, ext_coef)
            value_loss = self.two_heads.mean_value_loss()
            logs |= {} if value_loss is None else {"value_loss": value_loss}
        # let go of the frames: the buffer makes its own flat copy next
        self.frames = None
        n_unknown = int((~transitions.valid).sum())
        if n_unknown > 0 and not self.warned:
            self.warned = True
            warnings.warn(NO_TERMINAL_OBSERVATION, stacklevel=2)
        return self._summary(bonus, dones) | {"coef": coef, "unknown": n_unknown} | logs

    def detach(self) -> None:
        """Leave nothing behind; twice is harmless."""
        self.frames = None
        if self.two_heads is not None:
            unwrap_next_train(self.model, self.two_heads.training)

    def _shift(self, bonus: np.ndarray, coef: float, ext_coef: float) -> None:
        if coef == 0.0 and ext_coef == 1.0:
            return
        reward = coef * bonus
        if ext_coef != 1.0:
            reward = reward + (ext_coef - 1.0) * self.rewards
        add_reward_to_rollout(self.model.rollout_buffer, reward)

    def _summary(self, bonus: np.ndarray, dones: np.ndarray) -> dict[str, float]:
        """Moments of the bonus, and its sum per finished episode."""
        started = bonus.astype(np.float64)
        started[0] += self.episode_bonus
        # running sums forward in time, cut where an episode ended before
        cuts = np.vstack([np.ones_like(dones[:1]), ~dones[:-1]])
        sums = discounted_sum(started[::-1], cuts[::-1].astype(np.float64))[::-1]
        self.episode_bonuses.extend(sums[dones])
        self.episode_bonus = np.where(dones[-1], 0.0, sums[-1])
        summary = {"bonus_mean": float(bonus.mean()), "bonus_std": float(bonus.std())}
        if self.episode_bonuses:
            summary["rollout/ep_int_rew_mean"] = float(np.mean(self.episode_bonuses))
        return summary

    def state_dict(self) -> dict[str, Any]:
        """Counters that go on over a save."""
        return {"episode_bonus": self.episode_bonus.tolist(), "episode_bonuses": list(map(float, self.episode_bonuses))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of :meth:`state_dict`; another number of environments starts new sums."""
        if len(state.get("episode_bonus", [])) == len(self.episode_bonus):
            self.episode_bonus = np.array(state["episode_bonus"])
        self.episode_bonuses.extend(state.get("episode_bonuses", []))
