"""Pairs for an auxiliary loss while SB3 collects and trains: from the replay buffer, or from the rollout."""

import warnings
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_infomax.buffers.pairs import PairSampler, ReplayPairs, RolloutPairs
from sb3_infomax.buffers.replay import ReplayReader, untold_ends
from sb3_infomax.buffers.rollout import RolloutFrames, rollout_actions

UNTOLD = (
    "The environment does not tell the observations that end episodes (info['terminal_observation']): no pair ends with them."
)


class OffPolicyPairs:
    """Pairs of a live replay buffer.

    :param model: the algorithm
    """

    def __init__(self, model: OffPolicyAlgorithm) -> None:
        assert model.replay_buffer is not None
        self.model = model
        self.sampler = ReplayPairs(ReplayReader(model.replay_buffer, model._vec_normalize_env))
        self.warned = False

    def training_start(self) -> None:
        """A learn() begins; the environments may have been reset, and the buffer exchanged or loaded."""
        buffer = self.model.replay_buffer
        assert buffer is not None
        if self.sampler.buffer is not buffer:
            self.sampler = ReplayPairs(ReplayReader(buffer))
        self.sampler.reader.vec_normalize = self.model._vec_normalize_env
        self.sampler.mark_seam()

    def rollout_start(self) -> None:
        """Nothing to prepare."""

    def step(self, variables: dict[str, Any]) -> None:
        """One vector step, before it is stored; ``variables`` are the locals of ``collect_rollouts``."""
        untold = untold_ends(variables["dones"], variables["infos"])
        self.sampler.mark_next_row(untold)
        if untold.any() and not self.warned:
            self.warned = True
            warnings.warn(UNTOLD, stacklevel=2)

    def rollout_end(self) -> PairSampler | None:
        """:return: what the coming ``train()`` draws from; None where there will be none"""
        return self.sampler if self.model.num_timesteps > self.model.learning_starts else None


class OnPolicyPairs:
    """Pairs of the last rollout.

    :param model: the algorithm
    """

    def __init__(self, model: OnPolicyAlgorithm) -> None:
        self.model = model
        self.frames: RolloutFrames | None = None
        self.warned = False

    def training_start(self) -> None:
        """Rollouts do not go over the border of two learn()."""

    def rollout_start(self) -> None:
        """The rollout buffer has just been reset."""
        self.frames = RolloutFrames.of(self.model.rollout_buffer)

    def step(self, variables: dict[str, Any]) -> None:
        """One vector step; ``variables`` are the locals of ``collect_rollouts``."""
        assert self.frames is not None
        self.frames.step(variables["dones"], variables["infos"])

    def rollout_end(self) -> PairSampler | None:
        """:return: what the coming ``train()`` draws from"""
        frames, model = self.frames, self.model
        assert frames is not None and model._last_obs is not None
        transitions = frames.transitions(model._last_obs, rollout_actions(model.rollout_buffer, model.policy))
        self.frames = None
        if not self.warned and not transitions.valid.all():
            self.warned = True
            warnings.warn(UNTOLD, stacklevel=2)
        return RolloutPairs(transitions, frames.dones.reshape(frames.shape), model.device)
