"""An intrinsic reward on any SB3 algorithm, in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch as th
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import get_device

from sb3_infomax.buffers.replay import ReplayReader
from sb3_infomax.callbacks.off_policy import OffPolicyBonus
from sb3_infomax.callbacks.on_policy import OnPolicyBonus
from sb3_infomax.callbacks.saved import SavedCallback, callbacks_in
from sb3_infomax.checks import check_positive
from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.common.coefficients import Coefficients, Schedule
from sb3_infomax.common.plan import ModuleLike, RewardPlan, check_same_spaces, plan_arguments
from sb3_infomax.common.policies import TwoHeadMixin
from sb3_infomax.common.saving import load_state, state_path
from sb3_infomax.common.two_heads import TwoHeadCredit
from sb3_infomax.networks.preprocessing import check_actions_start_at_0
from sb3_infomax.randomness import PrivateRNG
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.mixture import RewardMixture


class IntrinsicReward(SavedCallback):
    """Adds an intrinsic reward to what the learner sees, and to nothing else.

    .. code-block:: python

        PPO("MlpPolicy", env).learn(1_000_000, callback=IntrinsicReward("rnd"))

    On-policy the bonus of a rollout is one batched computation; rewards, advantages and returns are shifted as if the
    environment had paid it. Off-policy it is computed for each batch that the algorithm samples, so it is never stale,
    and the replay buffer keeps the extrinsic rewards. Monitor, ``EvalCallback`` and ``rollout/ep_rew_mean`` stay extrinsic;
    models and buffers saved meanwhile load without this package; with ``coef=0`` the run is bit-identical to one without.

    Logged: ``intrinsic/bonus_mean``, ``/bonus_std``, ``/coef``, ``/ready``, ``/<name>_loss`` and what a module adds under
    ``intrinsic/<name>_...``; ``rollout/ep_int_rew_mean``, the sum of the bonus (before ``coef``) over an episode, on-policy;
    ``intrinsic/unknown``, transitions of the rollout whose s' the environment did not tell.

    :param module: a registered name (``"emi"``, ``"rnd"``, ``"icm"``), a :class:`RewardModule` class or instance, or a list
        of these, whose bonuses are added
    :param coef: weight of the bonus, a number or a schedule; default the module's own (of a list: each one's own)
    :param ext_coef: weight of the environment's reward, a number or a schedule
    :param weights: of the modules of a list; default each one's own coefficient
    :param normalize: how the bonus is scaled, see :class:`RewardScaler`; default the module's, else ``"return_std"``
        on-policy and ``"std"`` off-policy
    :param center: subtract the bonus' mean: a positive bonus pays for staying alive where returns are episodic
    :param preset: a named setting of the module, such as EMI's ``"atari"``
    :param module_kwargs: of the module's constructor; for a list, a dict by name
    :param gamma: discount of the intrinsic return, needs a two-head policy; default the algorithm's
    :param episodic: False lets the intrinsic return go on over the ends of episodes, needs a two-head policy
    :param device: of the modules; ``"auto"`` is the model's
    :param seed: of everything random in here; default derived from the model's seed, else from the system
    :param start_after: train the modules but pay no bonus before that many steps of the model
    :param on_nonfinite: what NaN or infinity in observations, bonus or loss does: ``"raise"`` a sentence, or count as
        ``"zero"`` with one warning
    :param save_path: where to save, as a path without extension; model and modules are saved in step as
        ``<save_path>_<n>_steps.zip`` and ``<save_path>_<n>_steps.intrinsic.pt``
    :param save_freq: steps between saves; 0 saves at the end of training only
    :param verbose: 1 tells what is attached
    """

    kind = "intrinsic"

    def __init__(
        self,
        module: ModuleLike | Sequence[ModuleLike] = "emi",
        coef: float | Schedule | None = None,
        ext_coef: float | Schedule | None = None,
        *,
        weights: Sequence[float] | None = None,
        normalize: str | None = None,
        center: bool | None = None,
        preset: str | None = None,
        module_kwargs: dict[str, Any] | None = None,
        gamma: float | None = None,
        episodic: bool | None = None,
        device: th.device | str = "auto",
        seed: int | None = None,
        start_after: int = 0,
        on_nonfinite: Literal["raise", "zero"] = "raise",
        save_path: str | Path | None = None,
        save_freq: int = 0,
        verbose: int = 0,
    ) -> None:
        check_arguments([IntrinsicReward.__init__], {name: value for name, value in locals().items() if name != "self"})
        super().__init__(save_path, save_freq, verbose)
        explicit = {
            "coef": coef, "ext_coef": ext_coef, "normalize": normalize, "center": center, "gamma": gamma, "episodic": episodic
        }  # fmt: skip
        self.plan = RewardPlan(module, preset, module_kwargs, weights, on_nonfinite, explicit)
        self.device, self.seed, self.start_after = device, seed, start_after
        if start_after < 0:
            raise ValueError(f"start_after is a number of steps and must be at least 0, got {start_after}.")
        self.modules: list[RewardModule] = []
        self.mixture: RewardMixture | None = None
        self.rng: PrivateRNG | None = None
        self.stream: OnPolicyBonus | OffPolicyBonus | None = None
        self._built_for: BaseAlgorithm | None = None

    # -- what users read ------------------------------------------------------------------------------------------------

    @property
    def module(self) -> RewardModule | list[RewardModule]:
        """The reward module; of a list, all of them. There once training has started."""
        if not self.modules:
            raise ValueError("The module is built when training starts: there is none yet.")
        return self.modules[0] if len(self.modules) == 1 else self.modules

    def fit(self, buffer: ReplayBuffer, n_updates: int = 1000, batch_size: int | None = None) -> dict[str, float]:
        """Pre-train the modules on a replay buffer, before or between ``learn()`` calls.

        :param buffer: of any SB3 off-policy algorithm; Box actions scaled as SB3 stores them
        :param n_updates: updates, on a fresh batch each
        :param batch_size: transitions per update; default the largest of the modules'
        :return: means over the last tenth of the updates
        """
        check_positive(n_updates=n_updates)
        if buffer.size() == 0:
            raise ValueError("The replay buffer is empty: collect some transitions first.")
        if not self.modules:
            device = get_device(self.device)
            self.modules, self.rng = self.plan.build_modules(buffer.observation_space, buffer.action_space, device, self.seed)
        assert self.rng is not None
        reader, size = ReplayReader(buffer), batch_size or max(module.batch_size for module in self.modules)
        history: list[dict[str, float]] = []
        with self.rng():
            for _ in range(n_updates):
                batch = reader.draw(size).to(self.modules[0].ready.device)
                logs: dict[str, float] = {}
                for spec, module in zip(self.plan.specs, self.modules, strict=True):
                    module.observe(batch)
                    logs |= {f"{spec.name}_{key}": value for key, value in module.update(batch).items()}
                history.append(logs)
        last = history[-max(1, n_updates // 10) :]
        return {name: float(np.mean([logs[name] for logs in last])) for name in last[-1]}

    def detach(self) -> None:
        """Take everything off the model, until it is given to ``learn()`` again; harmless at any time and twice."""
        if self.stream is not None:
            self.stream.detach()
            self.stream = None

    # -- saving ---------------------------------------------------------------------------------------------------------

    def is_built(self) -> bool:
        """See :class:`SavedCallback`."""
        return self.mixture is not None

    def _config(self) -> dict[str, Any]:
        return self.plan.config(self.modules) | {"start_after": self.start_after}

    def _state(self) -> dict[str, Any]:
        assert self.mixture is not None
        return {"mixture": self.mixture.state_dict(), "stream": self.stream.state_dict() if self.stream else {}}

    def _load_state(self, state: dict[str, Any]) -> None:
        assert self.mixture is not None and self.stream is not None
        self.mixture.load_state_dict(state["mixture"])
        self.stream.load_state_dict(state.get("stream", {}))

    @classmethod
    def load(
        cls, path: str | Path, module: ModuleLike | Sequence[ModuleLike] | None = None, **kwargs: Any
    ) -> "IntrinsicReward":
        """A callback that continues from :meth:`save`, for a model loaded from the same step.

        Nothing in the file is executed: tensors and JSON only, and classes only by registered name.

        :param path: of the file
        :param module: needed where the module was an instance or a class that is not registered
        :param kwargs: of the constructor, where they shall differ from what was saved
        :raises SavedFileError: where the file is damaged, not ours, or does not fit
        """
        config, num_timesteps, state = load_state(state_path(path))
        given = kwargs if module is None else {"module": module, **kwargs}
        start_after = {"start_after": config.get("start_after", 0)}  # IntrinsicVecEnv saves none
        callback = cls(**(start_after | plan_arguments(config, Path(path), given)))
        callback._pending = {"config": config, "state": state}
        callback._pending_steps = num_timesteps
        return callback

    # -- the callback ---------------------------------------------------------------------------------------------------

    def _init_callback(self) -> None:
        model = self.model
        self._check_parent()
        on_policy = isinstance(model, OnPolicyAlgorithm)
        if not on_policy and not isinstance(model, OffPolicyAlgorithm):
            raise ValueError(
                f"IntrinsicReward needs an algorithm with a rollout or replay buffer, which {type(model).__name__} has not: "
                "wrap the environment with IntrinsicVecEnv instead."
            )
        check_actions_start_at_0(model.action_space)
        gamma, episodic = self.plan.knob("gamma", None), self.plan.knob("episodic", True)
        two_heads = isinstance(model.policy, TwoHeadMixin)
        if two_heads and not isinstance(model, PPO | A2C):
            raise ValueError(
                f"Two value heads work with PPO and A2C, not with {type(model).__name__}: give it a plain policy."
            )
        if not two_heads and (gamma is not None or not episodic):
            raise ValueError(
                "gamma=... and episodic=False need a value function of their own: use PPO or A2C with "
                "sb3_infomax.TwoHeadActorCriticPolicy (or its Cnn and MultiInput forms), or leave them out."
            )
        if self._built_for is not model:
            self._build_for(model, on_policy, model.gamma if gamma is None else gamma)  # type: ignore[attr-defined]
        if self.stream is None:
            self.stream = self._make_stream(model, model.gamma if gamma is None else gamma, episodic)  # type: ignore[attr-defined]
        self._restore_pending()

    def _build_for(self, model: BaseAlgorithm, on_policy: bool, gamma: float) -> None:
        self.detach()
        device = model.device if self.device == "auto" else get_device(self.device)
        if self._built_for is not None or not self.modules:
            seed = self.seed if self.seed is not None else model.seed
            self.modules, self.rng = self.plan.build_modules(model.observation_space, model.action_space, device, seed)
        for spec, module in zip(self.plan.specs, self.modules, strict=True):
            # those that fit() has trained were made before there was a model
            check_same_spaces(spec.name, module.to(device), model.observation_space, model.action_space)
        assert self.rng is not None
        self.mixture = self.plan.build_mixture(self.modules, self.rng, on_policy, gamma)
        self._built_for = model
        if self.verbose >= 1:
            names = " + ".join(spec.name for spec in self.plan.specs)
            n_parameters = sum(parameter.numel() for parameter in self.mixture.parameters())
            print(f"Intrinsic reward {names} ({n_parameters} parameters) on {type(model).__name__}")

    def _make_stream(self, model: BaseAlgorithm, gamma: float, episodic: bool) -> OnPolicyBonus | OffPolicyBonus:
        assert self.mixture is not None
        if isinstance(model, OnPolicyAlgorithm):
            two_heads = TwoHeadCredit(model, gamma, episodic) if isinstance(model.policy, TwoHeadMixin) else None
            return OnPolicyBonus(model, self.mixture, self._paid(), two_heads)
        assert isinstance(model, OffPolicyAlgorithm)
        return OffPolicyBonus(model, self.mixture, self._paid(), max(module.batch_size for module in self.modules))

    def _paid(self) -> Coefficients:
        """The coefficients, with none of the bonus before ``start_after``."""
        coefficients, start_after = self.plan.coefficients, self.start_after
        if start_after <= 0:
            return coefficients
        return coefficients._replace(
            coef=lambda progress: coefficients.coef(progress) if self.model.num_timesteps > start_after else 0.0
        )

    def _on_training_start(self) -> None:
        assert self.stream is not None
        self._check_parent()  # a list tells it to its members only after it has initialised them
        if sum(isinstance(each, IntrinsicReward) for each in callbacks_in(self.locals.get("callback"))) > 1:
            raise ValueError(
                "There are two IntrinsicReward in one list, whose bonuses would be counted together: use one with a list of "
                "modules, IntrinsicReward(['rnd', 'emi'])."
            )
        self._last_save = self.model.num_timesteps
        self.stream.training_start()

    def _on_rollout_start(self) -> None:
        if self.stream is None:
            return
        self._save_if_due()
        self.stream.rollout_start()

    def _on_step(self) -> bool:
        if self.stream is not None:
            self.stream.step(self.locals)
        return True

    def _on_rollout_end(self) -> None:
        if self.stream is None:
            return
        assert self.mixture is not None
        logs = self.stream.rollout_end()
        if logs:
            logs["ready"] = float(self.mixture.ready)
        for key, value in logs.items():
            self.logger.record(key if "/" in key else f"intrinsic/{key}", value)

    def _on_training_end(self) -> None:
        if self.stream is None:
            return
        self.stream.detach()
        self._save_at_end()
