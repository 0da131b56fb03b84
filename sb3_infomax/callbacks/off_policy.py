"""The bonus of replay batches: DQN, QRDQN, SAC, TD3, DDPG, TQC, CrossQ, with HER's and n-step buffers too."""

import warnings
from contextlib import AbstractContextManager
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_infomax.buffers.replay import Relabeller, ReplayReader, relabelled, untold_ends
from sb3_infomax.buffers.rollout import NO_TERMINAL_OBSERVATION
from sb3_infomax.common.coefficients import Coefficients
from sb3_infomax.common.training import unwrap_next_train, wrap_next_train
from sb3_infomax.rewards.mixture import RewardMixture


class OffPolicyBonus:
    """Trains the modules after each bit of collection and relabels what the algorithm samples in its ``train()``.

    :param model: the algorithm
    :param mixture: the reward modules
    :param coefficients: of bonus and extrinsic reward
    :param batch_size: transitions per update of the modules
    """

    def __init__(self, model: OffPolicyAlgorithm, mixture: RewardMixture, coefficients: Coefficients, batch_size: int) -> None:
        assert model.replay_buffer is not None
        self.model, self.mixture, self.coefficients, self.batch_size = model, mixture, coefficients, batch_size
        self.reader = ReplayReader(model.replay_buffer, model._vec_normalize_env)
        self.relabeller: Relabeller | None = None  # for the coming train()
        self.n_unobserved = 0  # rows stored since the last update
        self.warned = False
        self.num_timesteps = model.num_timesteps  # at the end of the last rollout
        self.n_due = 0  # transitions to be collected until the next update

    def training_start(self) -> None:
        """A learn() begins; the environments may have been reset, and the buffer exchanged or loaded."""
        buffer = self.model.replay_buffer
        assert buffer is not None
        if self.reader.buffer is not buffer:
            self.reader = ReplayReader(buffer)
        self.reader.vec_normalize = self.model._vec_normalize_env
        self.reader.mark_seam()
        self.num_timesteps = self.model.num_timesteps

    def rollout_start(self) -> None:
        """Collection begins; were ``train()`` skipped, it is not to be wrapped twice."""
        unwrap_next_train(self.model, self._relabelled)

    def step(self, variables: dict[str, Any]) -> None:
        """One vector step, before it is stored; ``variables`` are the locals of ``collect_rollouts``."""
        unknown = untold_ends(variables["dones"], variables["infos"])
        self.reader.mark_next_row(unknown)
        self.n_unobserved += 1
        if unknown.any() and not self.warned:
            self.warned = True
            warnings.warn(NO_TERMINAL_OBSERVATION, stacklevel=2)

    def rollout_end(self) -> dict[str, float]:
        """After ``learning_starts``: the updates of the modules that are due, and the bonus for the coming ``train()``.

        :return: what to log, after an update
        """
        model = self.model
        n_collected, self.num_timesteps = model.num_timesteps - self.num_timesteps, model.num_timesteps
        if model.num_timesteps <= model.learning_starts or len(self.reader) < 2:
            return {}
        coef, ext_coef = self.coefficients.now(model)
        n_updates = self._updates_due(n_collected)
        logs = self._update(n_updates) | {"coef": coef} if n_updates else {}
        if coef != 0.0 or ext_coef != 1.0:
            self.relabeller = Relabeller(self.reader, self.mixture, coef, ext_coef)
            wrap_next_train(model, self._relabelled)
        return logs

    def _updates_due(self, n_collected: int) -> int:
        """The modules learn from as many transitions as are collected, as on-policy ones do, in batches of their own size."""
        self.n_due -= n_collected
        n_updates = max(0, -(self.n_due // self.batch_size))
        self.n_due += n_updates * self.batch_size
        return n_updates

    def _update(self, n_updates: int) -> dict[str, float]:
        for collected in self.reader.newest(self.n_unobserved, self.batch_size):
            self.mixture.observe(collected)
        self.n_unobserved = 0
        for _ in range(n_updates):
            with self.mixture.rng():
                batch = self.reader.draw(self.batch_size)
            bonus, logs = self.mixture.learn(batch, observe=False)
        return {"bonus_mean": bonus.mean().item(), "bonus_std": bonus.std(correction=0).item()} | logs

    def detach(self) -> None:
        """Leave nothing behind; twice is harmless."""
        unwrap_next_train(self.model, self._relabelled)

    def state_dict(self) -> dict[str, Any]:
        """Counters that go on over a save."""
        return {"n_due": self.n_due, "n_unobserved": self.n_unobserved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of :meth:`state_dict`; what was not observed is so only where the replay buffer was loaded too."""
        self.n_due = state.get("n_due", 0)
        self.n_unobserved = min(state.get("n_unobserved", 0), len(self.reader))

    def _relabelled(self) -> AbstractContextManager:
        assert self.model.replay_buffer is not None and self.relabeller is not None
        return relabelled(self.model.replay_buffer, self.relabeller)
