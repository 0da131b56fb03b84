"""What a reward module is: the one contract between papers and learners."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.checks import NonFiniteError, check_positive
from sb3_infomax.networks.encoders import ObservationPreprocessor
from sb3_infomax.networks.preprocessing import NewestChannels, check_action_space, check_observation_space
from sb3_infomax.types import Transitions


class RewardModule(nn.Module):
    """An intrinsic reward: a number for every transition, and a way to learn from transitions.

    A subclass builds its networks in ``__init__`` and writes :meth:`bonus` and :meth:`loss`; this class owns batching,
    masks, training mode, the optimizer, running statistics of observations and what is saved.

    ``observe`` (moments), ``compute`` (bonus; changes nothing) and ``update`` (trains) are what callers use, in the order
    that ``bonus_order`` says. All of the state is in ``state_dict()`` and loads with ``weights_only=True``.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param learning_rate: of Adam
    :param n_epochs: passes of :meth:`update` over a rollout; a replay batch is seen once
    :param batch_size: transitions per gradient step, clipped to what there is
    :param update_fraction: share of the transitions that :meth:`update` trains on, drawn anew each time
    :param max_grad_norm: clip the gradient's norm; None leaves it
    :param normalize_observations: standardise observations by their running mean and variance, clipped to +-5
    :param newest_channels: look only at the newest frame of a stack of images (``"auto"``), at that many of the last
        channels, or at all (None)
    :param keys: which keys of a Dict observation; default all but ``desired_goal``
    """

    paper: ClassVar[str] = ""
    #: what the module wants of the callback: ``coef``, ``normalize``, ``center``, ...
    defaults: ClassVar[dict[str, Any]] = {}
    #: named settings of module and callback together
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: whether the bonus is of the networks before or after the update on the same transitions
    bonus_order: Literal["before", "after"] = "before"

    ready: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        learning_rate: float = 1e-3,
        n_epochs: int = 1,
        batch_size: int = 256,
        update_fraction: float = 1.0,
        max_grad_norm: float | None = None,
        normalize_observations: bool = False,
        newest_channels: NewestChannels = "auto",
        keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.check_spaces(observation_space, action_space)
        check_positive(learning_rate=learning_rate, n_epochs=n_epochs, batch_size=batch_size, update_fraction=update_fraction)
        if max_grad_norm is not None:
            check_positive(max_grad_norm=max_grad_norm)
        if update_fraction > 1.0:
            raise ValueError(f"update_fraction is a share of the data and must be at most 1, got {update_fraction}.")
        self.observation_space, self.action_space = observation_space, action_space
        self.learning_rate, self.n_epochs, self.batch_size = learning_rate, n_epochs, batch_size
        self.update_fraction, self.max_grad_norm = update_fraction, max_grad_norm
        self.preprocess = ObservationPreprocessor(observation_space, newest_channels, keys, normalize_observations)
        # images are large: fewer at a time keep the activations in the cache
        self.chunk_size = 512 if any(len(shape) == 3 for shape in self.preprocess.shapes.values()) else 4096
        self.register_buffer("ready", th.tensor(True))
        self.generator = th.Generator().manual_seed(int(th.randint(2**31, ())))
        self._optimizer: th.optim.Optimizer | None = None

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        """:raises ValueError: one sentence where the module cannot work on these spaces"""
        check_observation_space(observation_space)
        check_action_space(action_space)

    def bonus(self, transitions: Transitions) -> Tensor:
        """The paper's intrinsic reward; called without gradient and in evaluation mode.

        :return: shape (batch,)
        """
        raise NotImplementedError

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """What one gradient step minimises.

        :return: a scalar, and scalars to log by name
        """
        raise NotImplementedError

    @th.no_grad()
    def observe(self, transitions: Transitions) -> None:
        """Update the running moments of the observations; once per collected transition, before :meth:`compute`."""
        if len(self.preprocess.moments):
            for chunk in transitions.select(transitions.valid).chunks(self.chunk_size):
                self.preprocess.update(chunk.next_observations)

    @th.no_grad()
    def compute(self, transitions: Transitions) -> Tensor:
        """The raw bonus; changes nothing.

        :return: shape (batch,), float32; 0 where a transition is not valid and everywhere until ``ready``
        """
        if self.training:
            self.eval()
        if not self.ready:
            return th.zeros(len(transitions), device=self.ready.device)
        bonus = th.cat([self.bonus(chunk) for chunk in transitions.chunks(self.chunk_size)])
        if bonus.shape != (len(transitions),):
            raise ValueError(
                f"{type(self).__name__}.bonus must return one number per transition, shape ({len(transitions)},), "
                f"but returned {tuple(bonus.shape)}."
            )
        return th.where(transitions.valid, bonus.float(), 0.0)

    @th.enable_grad()  # gradient-free learners such as ARS switch it off around everything
    def update(self, transitions: Transitions) -> dict[str, float]:
        """Train on the valid transitions: epochs of shuffled minibatches, never zero steps where there are any.

        :return: means of the loss and of what :meth:`loss` logs; empty where no transition is valid
        :raises NonFiniteError: before the step that a non-finite loss would spoil
        """
        rows = th.nonzero(transitions.valid).squeeze(1)
        if self.update_fraction < 1.0 and len(rows) > 0:
            n_kept = max(1, round(self.update_fraction * len(rows)))
            rows = rows[th.randperm(len(rows), generator=self.generator)[:n_kept].to(rows.device)]
        trained = transitions.select(rows)
        # the next replay batch brings other data, a rollout does not come back
        n_epochs = self.n_epochs if transitions.shape is not None else 1
        sums: dict[str, Tensor] = {}
        n_steps = 0
        self.train()
        try:
            for _ in range(n_epochs):
                for minibatch in trained.minibatches(self.batch_size, self.generator):
                    for name, value in self._gradient_step(minibatch).items():
                        sums[name] = sums.get(name, 0.0) + value
                    n_steps += 1
        finally:
            self.eval()
        return {name: float(value) / n_steps for name, value in sums.items()}

    def _gradient_step(self, minibatch: Transitions) -> dict[str, Tensor]:
        result = self.loss(minibatch)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise ValueError(f"{type(self).__name__}.loss must return a scalar and a dict of what to log: (loss, {{}}).")
        loss, metrics = result
        if loss.shape != ():
            raise ValueError(
                f"{type(self).__name__}.loss must return a scalar, but returned shape {tuple(loss.shape)}: take the mean."
            )
        if not th.isfinite(loss):
            raise NonFiniteError(
                f"The loss of {type(self).__name__} is {loss.item()}: lower its learning_rate, set max_grad_norm, or look "
                "for extreme observations."
            )
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            # the optimizer has them in a list: to look for them through all modules takes longer than the clipping
            nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.max_grad_norm)
        self.optimizer.step()
        return {"loss": loss.detach(), **{name: th.as_tensor(value).detach() for name, value in metrics.items()}}

    @property
    def optimizer(self) -> th.optim.Optimizer:
        """Adam over all trainable parameters, made when first needed: a subclass has built its networks by then."""
        if self._optimizer is None:
            parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
            if not parameters:
                raise ValueError(f"{type(self).__name__} has no parameters to train: override its update.")
            self._optimizer = th.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        return self._optimizer

    def _apply(self, fn: Any, recurse: bool = True) -> "RewardModule":
        """``.to(device)`` moves the optimizer's moments too: pre-training may have run on another device."""
        super()._apply(fn, recurse)
        if self._optimizer is not None:
            self._optimizer.load_state_dict(self._optimizer.state_dict())  # puts them where the parameters are
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Optimizer moments and the state of the shuffle, saved with ``state_dict()``."""
        has_parameters = any(parameter.requires_grad for parameter in self.parameters())
        return {
            "optimizer": self.optimizer.state_dict() if has_parameters else None,
            "generator": self.generator.get_state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The counterpart of :meth:`get_extra_state`."""
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())


def finite_rows(transitions: Transitions) -> Tensor:
    """Which transitions have finite observations and actions, shape (batch,), bool."""

    def finite(values: Tensor) -> Tensor:
        # a sum is finite only if all of its terms are
        return th.isfinite(values.reshape(len(values), -1).sum(dim=1, dtype=th.float64))

    rows = th.ones_like(transitions.valid)
    frames = transitions.frames if isinstance(transitions.frames, dict) else {"": transitions.frames}
    for values in frames.values():
        if values.is_floating_point():
            known = finite(values)
            rows &= known[transitions.index] & known[transitions.next_index]
    return rows & finite(transitions.actions) if transitions.actions.is_floating_point() else rows
