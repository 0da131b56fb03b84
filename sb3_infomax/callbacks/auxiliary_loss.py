"""An auxiliary loss on any SB3 algorithm with a torch optimizer, in one line."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from sb3_infomax.auxiliary.base import AuxiliaryModule
from sb3_infomax.buffers.pairs import PairSampler
from sb3_infomax.callbacks.pair_streams import OffPolicyPairs, OnPolicyPairs
from sb3_infomax.callbacks.saved import SavedCallback, callbacks_in
from sb3_infomax.checks import NonFiniteError, check_positive
from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.common.coefficients import Schedule, as_schedule, value_now
from sb3_infomax.common.feature_encoders import policy_encoder, trained_network
from sb3_infomax.common.gradients import GradientHook
from sb3_infomax.common.plan import LOSS, LossLike, check_same_spaces, module_specs, plan_arguments, plan_config
from sb3_infomax.common.saving import load_state, state_path
from sb3_infomax.common.training import unwrap_next_train, wrap_next_train
from sb3_infomax.networks.features import DetachedEncoder, FeatureEncoder
from sb3_infomax.networks.preprocessing import check_actions_start_at_0
from sb3_infomax.randomness import PrivateRNG


class AuxiliaryLoss(SavedCallback):
    """Adds ``coef * loss`` to what a learner minimises, and nothing else.

    .. code-block:: python

        DQN("CnnPolicy", env).learn(1_000_000, callback=AuxiliaryLoss("infonce"))

    After each of the learner's ``zero_grad()`` the loss is computed on a batch of its own, of pairs of observations k steps
    apart from the replay buffer or the rollout, and its gradient added: the learner's clipping and step see the gradient of
    the sum. The heads have an optimizer of their own and are trained by the loss itself, whatever ``coef`` is.

    What is trained is the features extractor where it has weights, else the hidden layers: see
    :func:`~sb3_infomax.common.feature_encoders.policy_encoder`. With ``coef=0`` the run is bit-identical to one without, and
    the heads learn on top of the encoder as it is, as probes. Models saved meanwhile load without this package. Works beside
    ``IntrinsicReward`` and beside other ``AuxiliaryLoss``. PPO's early stopping by ``target_kl`` skips the loss too.

    Logged, under ``auxiliary/<name>_...`` (``<name>2`` for the second of a name in one list): ``coef`` and what the loss logs,
    averaged over a ``train()``.

    :param loss: a registered name (``"infonce"``, ``"cpc"``, ``"curl"``, ``"stdim"``, ``"shift"``), an
        :class:`AuxiliaryModule` class or an instance
    :param coef: weight of the loss, a number or a schedule; default the loss's own, else 1
    :param loss_kwargs: of the loss's constructor
    :param preset: a named setting of the loss, such as InfoNCE's ``"pacman"``
    :param every: of the learner's gradient steps, one in how many has the loss
    :param learning_rate: of the heads' Adam; default that of the learner's optimizer at the time
    :param max_grad_norm: clip the heads' gradient norm; the encoder's gradient is clipped as the learner clips the sum
    :param seed: of everything random in here; default derived from the model's seed, else from the system
    :param save_path: where to save, as a path without extension; model and heads are saved in step as
        ``<save_path>_<n>_steps.zip`` and ``<save_path>_<n>_steps.auxiliary.pt``
    :param save_freq: steps between saves; 0 saves at the end of training only
    :param verbose: 1 tells what is attached
    """

    kind = "auxiliary"

    def __init__(
        self,
        loss: LossLike = "infonce",
        coef: float | Schedule | None = None,
        *,
        loss_kwargs: dict[str, Any] | None = None,
        preset: str | None = None,
        every: int | None = None,
        learning_rate: float | None = None,
        max_grad_norm: float | None = None,
        seed: int | None = None,
        save_path: str | Path | None = None,
        save_freq: int = 0,
        verbose: int = 0,
    ) -> None:
        check_arguments([AuxiliaryLoss.__init__], {name: value for name, value in locals().items() if name != "self"})
        if isinstance(loss, list | tuple):
            raise ValueError("AuxiliaryLoss has one loss: for several give learn() a list of AuxiliaryLoss.")
        super().__init__(save_path, save_freq, verbose)
        self.spec = module_specs(loss, preset, loss_kwargs or {}, LOSS)[0]
        explicit = {"coef": coef, "every": every, "learning_rate": learning_rate, "max_grad_norm": max_grad_norm}
        self.knobs = self.spec.knobs | {name: value for name, value in explicit.items() if value is not None}
        self.preset, self.seed = preset, seed
        self.coef = as_schedule("coef", self.knobs.get("coef", 1.0))
        self.every = self.knobs.get("every", 1)
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"every must be a whole number of at least 1, got {self.every!r}.")
        self.learning_rate, self.max_grad_norm = self.knobs.get("learning_rate"), self.knobs.get("max_grad_norm")
        for name in ("learning_rate", "max_grad_norm"):
            if self.knobs.get(name) is not None:
                check_positive(**{name: self.knobs[name]})
        self._built_for: BaseAlgorithm | None = None
        self._module: AuxiliaryModule | None = None
        self.stream: OffPolicyPairs | OnPolicyPairs | None = None
        self.sampler: PairSampler | None = None
        self.n_steps = 0  # gradient steps of the learner's
        self.log_name = self.spec.name  # in the logger
        self._sums: dict[str, Tensor] = {}
        self._n_losses = 0

    # -- what users read ------------------------------------------------------------------------------------------------

    @property
    def module(self) -> AuxiliaryModule:
        """The loss with its heads; there once training has started."""
        if self._module is None:
            raise ValueError("The loss is built when training starts: there is none yet.")
        return self._module

    def detach(self) -> None:
        """Take everything off the model, until it is given to ``learn()`` again; harmless at any time and twice."""
        if self.stream is not None:
            unwrap_next_train(self.model, self._training)
            self.stream = self.sampler = None

    @classmethod
    def load(cls, path: str | Path, loss: LossLike | None = None, **kwargs: Any) -> "AuxiliaryLoss":
        """A callback that continues from :meth:`save`, for a model loaded from the same step.

        Nothing in the file is executed: tensors and JSON only, and classes only by registered name.

        :param path: of the file
        :param loss: needed where it was an instance or a class that is not registered
        :param kwargs: of the constructor, where they shall differ from what was saved
        :raises SavedFileError: where the file is damaged, not ours, or does not fit
        """
        config, num_timesteps, state = load_state(state_path(path, cls.kind), cls.kind)
        given = kwargs if loss is None else {"loss": loss, **kwargs}
        callback = cls(**plan_arguments(config, Path(path), given, LOSS))
        callback._pending = {"config": config, "state": state}
        callback._pending_steps = num_timesteps
        return callback

    # -- saving ---------------------------------------------------------------------------------------------------------

    def is_built(self) -> bool:
        """See :class:`SavedCallback`."""
        return self._module is not None

    def _config(self) -> dict[str, Any]:
        return plan_config([self.spec], self.knobs | {"preset": self.preset}, self.module)

    def _state(self) -> dict[str, Any]:
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        return {
            "module": self.module.state_dict(), "optimizer": optimizer, "rng": self.rng.state_dict(), "n_steps": self.n_steps
        }  # fmt: skip

    def _load_state(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.rng.load_state_dict(state["rng"])
        self.n_steps = state["n_steps"]

    # -- the callback ---------------------------------------------------------------------------------------------------

    def _init_callback(self) -> None:
        self._check_parent()
        check_algorithm(self.model)
        check_actions_start_at_0(self.model.action_space)
        if self._built_for is not self.model:
            self._build_for(self.model)
        if self.stream is None:
            on_policy = isinstance(self.model, OnPolicyAlgorithm)
            self.stream = OnPolicyPairs(self.model) if on_policy else OffPolicyPairs(self.model)  # type: ignore[arg-type]
        self._restore_pending()

    def _build_for(self, model: BaseAlgorithm) -> None:
        self.detach()
        spec, seed = self.spec, self.seed if self.seed is not None else model.seed
        if spec.cls.augments_learner and isinstance(model, OnPolicyAlgorithm):
            raise ValueError(
                f"{spec.name!r} changes the pictures that {type(model).__name__} trains on, whose probabilities would be "
                "compared with those of the unchanged ones: use it off-policy."
            )
        self.rng = PrivateRNG(seed if seed is not None else int(np.random.SeedSequence().generate_state(1)[0]))
        self.encoder = policy_encoder(model)
        with self.rng():
            if spec.instance is None:
                spec.cls.check_spaces(model.observation_space, model.action_space)
                module = spec.cls(model.observation_space, model.action_space, self.encoder, **spec.kwargs)
            else:
                module = self._own_copy(spec.instance)
        self._module = module.to(model.device)
        heads = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        self.optimizer = th.optim.Adam(heads, fused=True) if heads else None
        # an encoder's batch statistics are the learner's own
        self.normalizations = [layer for layer in self.encoder.modules() if hasattr(layer, "running_mean")]
        self.n_steps, self._built_for = 0, model
        if self.verbose >= 1:
            n_parameters = sum(parameter.numel() for parameter in heads)
            print(f"Auxiliary loss {spec.name} ({n_parameters} parameters) on {type(model).__name__}")

    def _own_copy(self, instance: AuxiliaryModule) -> AuxiliaryModule:
        """A user's instance, if it was made for this model; its state as it was when it came for the first."""
        check_same_spaces(self.spec.name, instance, self.model.observation_space, self.model.action_space)
        if instance.feature_shape != self.encoder.feature_shape:
            raise ValueError(
                f"The {self.spec.name} module was made for features {instance.feature_shape}, but the model's are "
                f"{self.encoder.feature_shape}: make it with policy_encoder(model)."
            )
        if self._built_for is None:
            self._pristine = {name: value.clone() for name, value in instance.state_dict().items()}
        instance.load_state_dict(self._pristine)
        return instance

    def _on_training_start(self) -> None:
        assert self.stream is not None
        self._check_parent()  # a list tells it to its members only after it has initialised them
        callbacks = callbacks_in(self.locals.get("callback"))
        if callbacks.count(self) > 1:
            raise ValueError("The same AuxiliaryLoss is in the list of callbacks twice: give each loss one of its own.")
        alike = [each for each in callbacks if isinstance(each, AuxiliaryLoss) and each.spec.name == self.spec.name]
        place = alike.index(self) + 1 if self in alike else 1
        self.log_name = self.spec.name if place == 1 else f"{self.spec.name}{place}"
        self._last_save = self.model.num_timesteps
        self.stream.training_start()

    def _on_rollout_start(self) -> None:
        if self.stream is None:
            return
        unwrap_next_train(self.model, self._training)  # were train() skipped, it is not to be wrapped twice
        self._save_if_due()
        self.stream.rollout_start()

    def _on_step(self) -> bool:
        if self.stream is not None:
            self.stream.step(self.locals)
        return True

    def _on_rollout_end(self) -> None:
        if self.stream is None:
            return
        self.sampler = self.stream.rollout_end()
        if self.sampler is not None:
            wrap_next_train(self.model, self._training)

    def _on_training_end(self) -> None:
        if self.stream is None:
            return
        unwrap_next_train(self.model, self._training)
        self.sampler = None  # lets go of the rollout
        self._save_at_end()

    # -- while train() runs ---------------------------------------------------------------------------------------------

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Around one ``train()`` of the learner."""
        model, module = self.model, self.module
        coef = value_now(self.coef, model)
        _, optimizer = trained_network(model)
        n_updates, n_steps = getattr(model, "_n_updates", 0), self.n_steps
        with ExitStack() as stack:
            if module.augments_learner:
                if coef != 0.0:
                    stack.enter_context(self._augmented(module))
            else:
                hook = GradientHook(optimizer, lambda: self._backward(coef))
                stack.callback(hook.remove)
            yield
        if not module.augments_learner and n_steps == self.n_steps and getattr(model, "_n_updates", 0) > n_updates:
            raise RuntimeError(
                f"{type(model).__name__} trained without calling zero_grad() of its optimizer, so the auxiliary loss had no "
                "effect: it cannot be used with this algorithm."
            )
        self._log(coef)

    def _backward(self, coef: float) -> None:
        """One loss: its gradient to the encoder, times ``coef``; a step of the heads."""
        self.n_steps += 1
        if (self.n_steps - 1) % self.every != 0:
            return
        module, sampler = self.module, self.sampler
        assert sampler is not None
        encoder: FeatureEncoder = self.encoder if coef != 0.0 else DetachedEncoder(self.encoder)
        with self.rng(), _evaluation(self.normalizations):
            pairs = sampler.draw(module.batch_size, module.horizon, module.n_trajectories)
            if not pairs.valid.any():
                return
            module.train()
            loss, logs = module.loss(pairs, encoder)
            if not th.isfinite(loss):
                raise NonFiniteError(
                    f"The loss of {self.spec.name} is {loss.item()}: lower the learning rate or coef, set max_grad_norm, or "
                    "look for extreme observations."
                )
            if self.optimizer is not None:
                self.optimizer.zero_grad()
            if loss.requires_grad:
                (loss if coef == 0.0 else coef * loss).backward()
            self._step_heads(coef)
            module.eval()
        for name, value in logs.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._n_losses += 1

    def _step_heads(self, coef: float) -> None:
        if self.optimizer is None:
            return
        group = self.optimizer.param_groups[0]
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        if not gradients:
            return
        if coef not in (0.0, 1.0):
            th._foreach_div_(gradients, coef)  # heads follow the loss itself
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
        _, optimizer = trained_network(self.model)
        group["lr"] = optimizer.param_groups[0]["lr"] if self.learning_rate is None else self.learning_rate
        self.optimizer.step()

    @contextmanager
    def _augmented(self, module: AuxiliaryModule) -> Iterator[None]:
        """The learner's own pictures go through ``module.transform`` before its extractors, those of targets too."""

        def transform(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if not isinstance(inputs[0], Tensor) or inputs[0].ndim != 4:
                return None
            with self.rng():
                return (module.transform(inputs[0]), *inputs[1:])

        extractors = [layer for layer in self.model.policy.modules() if isinstance(layer, BaseFeaturesExtractor)]
        handles = [extractor.register_forward_pre_hook(transform) for extractor in extractors]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _log(self, coef: float) -> None:
        prefix = f"auxiliary/{self.log_name}"
        self.logger.record(f"{prefix}_coef", coef)
        for name, value in self._sums.items():
            self.logger.record_mean(f"{prefix}_{name}", float(value) / self._n_losses)
        self._sums, self._n_losses = {}, 0


def check_algorithm(model: BaseAlgorithm) -> None:
    """:raises ValueError: one sentence where a gradient cannot be added to the learner's"""
    name = type(model).__name__
    if any(cls.__name__ == "TRPO" for cls in type(model).__mro__):
        raise ValueError(
            "TRPO's actor follows the natural gradient and clears the gradients that it shares with the critic, so an "
            "auxiliary loss cannot be added to it: use PPO."
        )
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(f"{name} has no rollout or replay buffer, so an auxiliary loss has nothing to learn from.")
    try:
        _, optimizer = trained_network(model)
    except AttributeError:
        optimizer = None
    if not isinstance(optimizer, th.optim.Optimizer):
        raise ValueError(f"{name} has no torch optimizer, so an auxiliary loss cannot be added to its gradient.")


@contextmanager
def _evaluation(layers: list[nn.Module]) -> Iterator[None]:
    """Layers with running statistics use those and leave them as they are."""
    training = [layer.training for layer in layers]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer, mode in zip(layers, training, strict=True):
            layer.train(mode)
