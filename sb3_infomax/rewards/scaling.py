"""Bringing bonuses of any size to a common scale."""

from typing import Literal, get_args

import torch as th
from torch import Tensor, nn

from sb3_infomax.networks.normalization import RunningMoments
from sb3_infomax.rewards.returns import discounted_sum

Normalization = Literal["return_std", "std", "batch_std", "minmax", "none"]

RECENT_RATE = 0.01  # of replay batches


class RewardScaler(nn.Module):
    """Divides a bonus by a measure of its size, and optionally centres it.

    ========== ===========================================================================================
    mode       divides by
    ========== ===========================================================================================
    return_std running std of the discounted sum R_t = gamma R_{t-1} + r_t per environment, never reset
               (Burda et al., 2018, section 2.4); needs time order, so on-policy only
    std        running std of the bonus
    batch_std  std of the bonus in this batch
    minmax     maps the batch to [0, 1]
    none       1
    ========== ===========================================================================================

    A bonus that is always positive pays for staying alive where returns are episodic; ``center`` subtracts its mean: of
    the rollout on-policy; off-policy, where a batch is too small to have one, over about the last hundred updates (novelty
    wears off, and a mean over all of the past would make every later bonus a penalty).

    :param mode: see the table
    :param center: subtract the mean of the scaled bonus
    :param gamma: discount of ``return_std``
    :param running_center: centre by the mean of recent batches, not of this one
    :param recent_rate: weight of the newest batch in that mean
    """

    discounted: Tensor
    recent_mean: Tensor
    n_batches: Tensor

    def __init__(
        self,
        mode: Normalization = "std",
        *,
        center: bool = False,
        gamma: float = 0.99,
        running_center: bool = False,
        recent_rate: float = RECENT_RATE,
    ) -> None:
        super().__init__()
        if mode not in get_args(Normalization):
            raise ValueError(f"normalize must be one of {', '.join(get_args(Normalization))}, got {mode!r}.")
        self.mode, self.center, self.gamma = mode, center, gamma
        self.running_center, self.recent_rate = running_center, recent_rate
        self.moments = RunningMoments()
        self.return_moments = RunningMoments()
        self.register_buffer("recent_mean", th.zeros(()))
        self.register_buffer("n_batches", th.zeros((), dtype=th.int64))
        self.register_buffer("discounted", th.zeros(0, dtype=th.float64))  # (n_envs,) once a rollout was seen

    def observe(self, bonus: Tensor, valid: Tensor, shape: tuple[int, int] | None = None) -> None:
        """Update the running statistics; once per collected transition.

        :param bonus: shape (batch,)
        :param valid: False entries are left out, shape (batch,)
        :param shape: (n_steps, n_envs) where the batch is a whole rollout, step-major
        """
        known = bonus[valid]
        self.moments.update(known)
        if self.running_center and len(known) > 0:
            self.n_batches += 1
            # the plain mean at first, so that the zero it starts from has no weight
            self.recent_mean += (known.mean() - self.recent_mean) * max(1.0 / int(self.n_batches), self.recent_rate)
        if self.mode == "return_std":
            if shape is None:
                raise ValueError("normalize='return_std' needs rollouts in time order; off-policy use 'std'.")
            self.return_moments.update(self._discounted_sums(bonus, shape).reshape(-1)[valid])

    def forward(self, bonus: Tensor, valid: Tensor) -> Tensor:
        """The scaled (and centred) bonus, shape (batch,); changes nothing. Entries that are not valid become 0."""
        # the mask is slow, and only statistics of this batch need it
        known = bonus[valid] if self._looks_at_the_batch else bonus
        if len(known) == 0:
            return th.zeros_like(bonus)
        shift, scale = self._shift(known), self._scale(known)
        return th.where(valid, (bonus if shift is None else bonus - shift) / scale, 0.0)

    @property
    def _looks_at_the_batch(self) -> bool:
        return self.mode in ("batch_std", "minmax") or (self.center and not self.running_center)

    def _shift(self, known: Tensor) -> Tensor | None:
        if self.center:
            return self.recent_mean if self.running_center and self.mode != "minmax" else known.mean()
        return known.min() if self.mode == "minmax" else None

    def _scale(self, known: Tensor) -> Tensor:
        if self.mode == "none":
            return th.ones((), device=known.device)
        if self.mode == "minmax":
            # equal bonuses have no scale: 0, not 0 / 0
            return (known.max() - known.min()).clamp(min=1e-8)
        if self.mode == "batch_std":
            return known.std(correction=0).clamp(min=1e-8)
        return (self.return_moments if self.mode == "return_std" else self.moments).std.clamp(min=1e-8)

    def _discounted_sums(self, bonus: Tensor, shape: tuple[int, int]) -> Tensor:
        """R_t = gamma R_{t-1} + r_t, carried across rollouts, shape (n_steps, n_envs)"""
        rewards = bonus.detach().cpu().double().reshape(shape).numpy().copy()
        if len(self.discounted) == shape[1]:
            rewards[0] += self.gamma * self.discounted.cpu().numpy()
        # the sum runs forward in time: the scan of the reversed array
        sums = th.from_numpy(discounted_sum(rewards[::-1], self.gamma)[::-1].copy()).to(bonus.device)
        self.discounted = sums[-1].clone()
        return sums

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        # the number of environments is not known when the scaler is made
        if prefix + "discounted" in state_dict:
            self.discounted = self.discounted.new_zeros(len(state_dict[prefix + "discounted"]))
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]
