"""Several reward modules as one bonus: module -> scaler -> weight -> sum."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch as th
from torch import Tensor, nn

from sb3_infomax.checks import NonFiniteError
from sb3_infomax.randomness import PrivateRNG
from sb3_infomax.rewards.base import RewardModule, finite_rows
from sb3_infomax.rewards.scaling import RewardScaler
from sb3_infomax.types import Transitions

NONFINITE_DATA = (
    "The observations or actions hold NaN or infinity: mend the environment "
    "(stable_baselines3.common.vec_env.VecCheckNan finds the place) or lower the policy's learning rate."
)


class RewardMixture(nn.Module):
    """The weighted sum of scaled bonuses; of one module, as a rule.

    Everything that draws random numbers runs inside ``rng``: torch's global generators are left as they were found.

    :param modules: the reward modules
    :param scalers: one for each
    :param weights: one for each
    :param names: one for each, for the logger
    :param rng: the private stream
    :param on_nonfinite: ``"raise"``, or ``"zero"``: a bonus that is not finite becomes 0 and an update that would break
        a module is left out, with one warning
    """

    def __init__(
        self,
        modules: Sequence[RewardModule],
        scalers: Sequence[RewardScaler],
        weights: Sequence[float],
        names: Sequence[str],
        rng: PrivateRNG,
        on_nonfinite: Literal["raise", "zero"] = "raise",
    ) -> None:
        super().__init__()
        self.reward_modules = nn.ModuleList(modules)
        self.scalers = nn.ModuleList(scalers)
        self.weights, self.names, self.rng, self.on_nonfinite = list(weights), list(names), rng, on_nonfinite
        self._warned = False

    def learn(self, transitions: Transitions, *, observe: bool = True) -> tuple[Tensor, dict[str, float]]:
        """Observe, compute and update in each module's own order; once per collected batch.

        :param transitions: a rollout, or a batch from a replay buffer
        :param observe: False where the observations went through :meth:`observe` before
        :return: the mixed bonus, shape (batch,), and what to log
        """
        transitions = self._finite_transitions(transitions.to(self.device))
        total = th.zeros(len(transitions), device=self.device)
        logs: dict[str, float] = {}
        with self.rng():
            for module, scaler, weight, name in self._parts():
                if observe:
                    module.observe(transitions)
                raw, ready, metrics = self._compute_and_update(module, transitions, name)
                if ready:
                    scaler.observe(raw, transitions.valid, transitions.shape)
                    total += weight * scaler(raw, transitions.valid)
                logs |= {f"{name}_{key}": value for key, value in metrics.items()}
                if len(self.names) > 1:
                    logs[f"{name}_bonus"] = raw.mean().item()
        return total, logs

    def observe(self, transitions: Transitions) -> None:
        """Running moments only; once per collected transition."""
        transitions = self._finite_transitions(transitions.to(self.device))
        with self.rng():
            for module, *_ in self._parts():
                module.observe(transitions)

    def forward(self, transitions: Transitions) -> Tensor:
        """The mixed bonus with everything as it stands, shape (batch,); changes nothing."""
        transitions = transitions.to(self.device)
        total = th.zeros(len(transitions), device=self.device)
        with self.rng():
            for module, scaler, weight, name in self._parts():
                if module.ready:
                    total += weight * scaler(self._finite_bonus(module, transitions, name), transitions.valid)
        return total

    @property
    def device(self) -> th.device:
        """Where the modules are; transitions are moved there."""
        return self.reward_modules[0].ready.device  # type: ignore[union-attr,return-value]

    @property
    def ready(self) -> bool:
        """Whether any module pays a bonus yet."""
        return any(bool(module.ready) for module, *_ in self._parts())

    def _parts(self) -> list[tuple[RewardModule, RewardScaler, float, str]]:
        return list(zip(self.reward_modules, self.scalers, self.weights, self.names, strict=True))  # type: ignore[arg-type]

    def _compute_and_update(
        self, module: RewardModule, transitions: Transitions, name: str
    ) -> tuple[Tensor, bool, dict[str, float]]:
        """The raw bonus, whether it is one (a module may be warming up), and what the update logs."""
        if module.bonus_order == "before":
            raw, ready = self._finite_bonus(module, transitions, name), bool(module.ready)
            return raw, ready, self._update(module, transitions)
        metrics = self._update(module, transitions)
        return self._finite_bonus(module, transitions, name), bool(module.ready), metrics

    def _update(self, module: RewardModule, transitions: Transitions) -> dict[str, float]:
        try:
            return module.update(transitions)
        except NonFiniteError as error:
            self._complain(str(error))
            return {}

    def _finite_transitions(self, transitions: Transitions) -> Transitions:
        rows = finite_rows(transitions)
        if rows.all():
            return transitions
        self._complain(NONFINITE_DATA)
        return replace(transitions, valid=transitions.valid & rows)

    def _finite_bonus(self, module: RewardModule, transitions: Transitions, name: str) -> Tensor:
        bonus = module.compute(transitions)
        if th.isfinite(bonus.sum()):
            return bonus
        data_are_finite = finite_rows(transitions)[transitions.valid].all()
        diverged = f"The bonus of {name!r} is not finite: its networks have diverged; lower its learning_rate."
        self._complain(diverged if data_are_finite else NONFINITE_DATA)
        return th.nan_to_num(bonus, nan=0.0, posinf=0.0, neginf=0.0)

    def _complain(self, message: str) -> None:
        """Raise, or warn once that what is not finite counts as 0."""
        if self.on_nonfinite == "raise":
            raise NonFiniteError(message)
        if not self._warned:
            warnings.warn(f"{message} Counted as 0 from now on, since on_nonfinite='zero'.", stacklevel=4)
            self._warned = True

    def get_extra_state(self) -> dict:
        """The private stream, saved with ``state_dict()``."""
        return {"rng": self.rng.state_dict()}

    def set_extra_state(self, state: dict) -> None:
        """The counterpart of :meth:`get_extra_state`."""
        self.rng.load_state_dict(state["rng"])
