"""What both empowerment rewards share: states, actions, the model that imagines where actions lead, and what is paid."""

import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.checks import check_positive
from sb3_infomax.networks.dynamics import CategoricalDynamics, Dynamics, ForwardModel, MixtureDynamics
from sb3_infomax.networks.encoders import Conv, ObservationEncoder, initialize, make_mlp
from sb3_infomax.networks.preprocessing import check_observation_space, encode_actions, encoded_dim, is_image_space
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.icm import action_loss
from sb3_infomax.types import Frames, Transitions, map_frames, n_frames

CONVOLUTIONS = (Conv(16, 8, 4), Conv(32, 4, 2), Conv(32, 3, 1))  # the smaller of RND's authors
Encoder = Literal["identity", "random", "learned"]

_MAX_NUMBERS = 2**22  # in the largest tensor of a read-out: 16 MB stay near the cache
_REPORTED_NUMBERS = 2**15  # in the largest tensor of what an update logs: a fraction of a millisecond
_MEASURED_TRANSITIONS = 512  # on which an update measures the model's error
_PATIENCE = 1000  # gradient steps after which an empowerment of nothing is no longer put down to a lack of training


class StateEncoder(nn.Module):
    """phi: observations -> features of unit variance over the features, divided by the root of their number.

    :param shapes: of the preprocessed observation's parts
    :param feature_dim: d
    :param net_arch: hidden layers where there is no image
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], feature_dim: int, net_arch: Sequence[int]) -> None:
        super().__init__()
        self.network = ObservationEncoder(shapes, net_arch, CONVOLUTIONS, (), feature_dim, nn.LeakyReLU)
        initialize(self.network, "orthogonal", gain=2**0.5)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """:return: shape (batch, d), of length 1"""
        features = self.network(observations)
        dim = features.shape[1]
        # with unit variance and hundreds of features a critic at the same learning rate dies
        return nn.functional.layer_norm(features, (dim,)) / math.sqrt(dim)


class EmpowermentReward(RewardModule):
    r"""The base of :class:`~sb3_infomax.rewards.empowerment_variational.VariationalEmpowerment` and
    :class:`~sb3_infomax.rewards.empowerment_mine.MINEEmpowerment`: pays the empowerment of the state that was reached,

    .. math:: b(s, a, s') = +\mathcal E(s'), \qquad
        \mathcal E(s) = \max_{w(a^n \mid s)} I(A^n; S_n \mid s), \qquad \mathcal E = 0\ \text{at terminations}

    the capacity of the channel from n actions, chosen at once, to the state after them. The sign is plus: Karl et al. call
    empowerment a *cost* function, to be negated, and the post that this follows turned that into "the reward is the negative
    empowerment". With minus, value iteration sends an agent into the corners of a room, with plus to its centre.

    Where actions lead is imagined by a forward model f, trained on the transitions. Its error must not be read as
    control (each action errs in its own way, which a decoder would tell apart), so its samples have noise of
    ``noise_scale`` times the error that is measured on transitions before they are trained on. In worlds with noise of
    their own f must know it: a model of the mean alone hides noise and overestimates. Discrete observations have the whole
    distribution; for others ``n_outcomes`` components are the different outcomes that an action may have.

    A subclass defines :meth:`_information_loss`, which trains its estimator on what the model imagines, and
    :meth:`_estimate`.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param horizon: n, the number of actions
    :param encoder: of states: ``"identity"`` (standardised observations, flattened; one-hot for Discrete), ``"random"``
        (a fixed random network; the post), ``"learned"`` (by an inverse model of the actions, as in ICM); None: identity,
        or learned where there are images, in most of whose pixels no action leaves a trace
    :param feature_dim: d of random and learned encoders (post: 64, and 512 as an outlook)
    :param net_arch: hidden layers of every network
    :param dynamics: the true dynamics in place of f, see :data:`~sb3_infomax.networks.dynamics.Dynamics`; differentiable
        where actions are a Box
    :param n_outcomes: components of f; more than 1 for worlds with noise
    :param noise_scale: deviation of f's noise in units of its measured error, feature by feature; None: 2 sqrt(d), so that the
        errors of d features together stay below the noise (with 2 features, 3 was found to do). 1 is the residual itself,
        right where that is the world's noise and not f's ignorance
    :param sensor_noise: deviation of noise that s_n is seen through, in units of the features: what the agent can
        tell apart. In a noiseless continuous world everything can be, and every state has the same empowerment
    :param n_samples: of s_n for each action sequence in the read-out
    :param max_sequences: of actions; where there are more, so many random ones stand for all, and no state has more
        than the logarithm of that
    :param scale_free: divide by the logarithm of the number of sequences, so that the reward lies in [0, 1]; None: wherever
        they can be counted
    :param warmup_steps: gradient steps before the first reward
    :param normalize_observations: standardise by running moments; None: unless the observation is Discrete,
        MultiDiscrete or MultiBinary
    :param kwargs: of :class:`~sb3_infomax.rewards.base.RewardModule`
    """

    defaults: ClassVar[dict[str, Any]] = {"coef": 0.1, "normalize": "none", "center": True}
    bonus_order = "after"  # E is a property of the world, not of what is new in it

    n_gradient_steps: Tensor
    sequences: Tensor
    uniform: Tensor
    normal: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        horizon: int = 1,
        encoder: Encoder | None = None,
        feature_dim: int = 64,
        net_arch: Sequence[int] = (64, 64),
        dynamics: Dynamics | None = None,
        n_outcomes: int = 1,
        noise_scale: float | None = None,
        sensor_noise: float = 0.0,
        n_samples: int = 2,
        max_sequences: int = 512,
        scale_free: bool | None = None,
        warmup_steps: int = 100,
        normalize_observations: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if normalize_observations is None:
            normalize_observations = _has_box(observation_space)
        super().__init__(observation_space, action_space, normalize_observations=normalize_observations, **kwargs)
        check_positive(
            horizon=horizon, feature_dim=feature_dim, n_outcomes=n_outcomes, n_samples=n_samples, max_sequences=max_sequences
        )
        check_not_negative(noise_scale=noise_scale or 0.0, sensor_noise=sensor_noise, warmup_steps=warmup_steps)
        if encoder not in (None, "identity", "random", "learned"):
            raise ValueError(f"encoder must be 'identity', 'random' or 'learned', got {encoder!r}.")
        shapes = self.preprocess.shapes
        if encoder is None:
            encoder = "learned" if any(len(shape) == 3 for shape in shapes.values()) else "identity"
        self.horizon, self.net_arch, self.sensor_noise = horizon, tuple(net_arch), sensor_noise
        self.n_samples, self.warmup_steps = n_samples, warmup_steps
        self.action_dim = encoded_dim(action_space)
        self.encoder_kind = encoder
        if encoder == "identity":
            self.feature_dim = sum(math.prod(shape) for shape in shapes.values())
        else:
            self.feature_dim = feature_dim
            self.encoder = StateEncoder(shapes, feature_dim, net_arch).requires_grad_(encoder == "learned")
        if encoder == "learned":
            self.inverse_model = make_mlp(2 * feature_dim, net_arch, self.action_dim)
        self.dynamics = dynamics if dynamics is not None else self._make_dynamics(n_outcomes, noise_scale)
        if isinstance(dynamics, nn.Module):
            dynamics.requires_grad_(False)  # they are the truth

        self.register_buffer("sequences", self._make_sequences(max_sequences))  # (N, n, action_dim)
        # how many actions follow each beginning of a sequence, where these are all there are; 0 for a random choice
        n_actions = 0 if isinstance(action_space, spaces.Box) else math.prod(_choices(action_space))
        self.n_branches = n_actions if n_actions**horizon == len(self.sequences) else 0
        self.ceiling = math.log(len(self.sequences)) if len(self.sequences) else math.inf
        if scale_free and math.isinf(self.ceiling):
            raise ValueError("scale_free divides by the logarithm of the number of actions, and a Box has no such number.")
        self.scale_free = scale_free if scale_free is not None else not math.isinf(self.ceiling)
        # the same numbers at every read-out: compute() is a function of the state
        quasi_random = th.quasirandom.SobolEngine(horizon, scramble=True, seed=int(th.randint(2**31, ())))
        self.register_buffer("uniform", quasi_random.draw(n_samples))  # (M, n)
        self.register_buffer("normal", th.randn(n_samples, horizon + 1, self.feature_dim))  # (M, n + 1, d)
        self.register_buffer("n_gradient_steps", th.zeros((), dtype=th.int64))
        self._warned_of_nothing = False
        self.ready.fill_(warmup_steps == 0)

    # -- what users call --------------------------------------------------------------------------------------------------

    @th.no_grad()
    def empowerment(self, observations: Frames) -> Tensor:
        """The estimate of each state, whether or not ``ready``; changes nothing.

        :param observations: shape (batch, *obs_shape), or a dict of such
        :return: nats, shape (batch,)
        """
        self.eval()
        return th.cat([self._empowerment(self._features(chunk)) for chunk in _chunks(observations, self.chunk_size)])

    def measure_error(self, transitions: Transitions) -> None:
        """Measure the forward model's error, hence its noise, on transitions that it has not been trained on.

        :meth:`update` does so with what it is given, before it trains: right for rollouts, and for replay batches
        from a large buffer. Whoever trains on the same few transitions again and again should measure on others.
        """
        if isinstance(self.dynamics, ForwardModel):
            features, next_features = self._encoded(transitions)
            actions = encode_actions(transitions.actions, self.action_space)
            self.dynamics.measure(features.detach(), actions, next_features.detach())

    # -- the contract -----------------------------------------------------------------------------------------------------

    def bonus(self, transitions: Transitions) -> Tensor:
        empowerment = self._empowerment(self._features(transitions.next_observations))
        if self.scale_free:
            empowerment = empowerment / max(self.ceiling, 1e-8)
        # after the end all actions are the same
        return th.where(transitions.terminations, 0.0, empowerment)

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        features, next_features = self._encoded(transitions)
        actions = encode_actions(transitions.actions, self.action_space)
        metrics: dict[str, Tensor] = {}
        loss = features.new_zeros(())
        if self.encoder_kind == "learned":
            prediction = self.inverse_model(th.cat([features, next_features], dim=1))
            metrics["inverse"] = action_loss(prediction, actions, self.action_space)
            loss = loss + metrics["inverse"]
            # only the inverse model shapes the features: those that are easiest to predict are constant
            features, next_features = features.detach(), next_features.detach()
        if isinstance(self.dynamics, ForwardModel):
            metrics["forward"] = self.dynamics.loss(features, actions, next_features)
            loss = loss + metrics["forward"]
        information_loss, information = self._information_loss(features)
        return loss + information_loss, metrics | information

    def update(self, transitions: Transitions) -> dict[str, float]:
        rows = th.nonzero(transitions.valid).squeeze(1)
        if len(rows) > 0:
            some = rows[th.randperm(len(rows), generator=self.generator)[:_MEASURED_TRANSITIONS].to(rows.device)]
            self.measure_error(transitions.select(some))
        metrics = super().update(transitions)
        if not metrics:
            return metrics
        self.ready.fill_(bool(self.n_gradient_steps >= self.warmup_steps))
        reported = some[: max(1, _REPORTED_NUMBERS // self._numbers_per_state())]
        metrics["nats"] = nats = self.empowerment(transitions.select(reported).next_observations).mean().item()
        if not math.isinf(self.ceiling):
            metrics["share"] = nats / max(self.ceiling, 1e-8)
        if isinstance(self.dynamics, ForwardModel):
            metrics["error"] = error = self.dynamics.error.item()
            if 0.0 <= nats < 1e-3:
                self._warn_of_nothing(error)
        return metrics

    def _warn_of_nothing(self, error: float) -> None:
        if self._warned_of_nothing or self.n_gradient_steps < max(_PATIENCE, self.warmup_steps):
            return
        self._warned_of_nothing = True
        warnings.warn(
            f"After {int(self.n_gradient_steps)} gradient steps no state has an empowerment: what actions do is lost in the "
            f"forward model's error, {error:.2g}, which is covered with noise. More training, encoder='learned', a smaller "
            "noise_scale or another horizon may help; where the actions do nothing, nothing is right.",
            stacklevel=2,
        )

    # -- for subclasses ---------------------------------------------------------------------------------------------------

    def _information_loss(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What trains the estimator on states of the given features, shape (batch, d), and what to log."""
        raise NotImplementedError

    def _estimate(self, features: Tensor) -> Tensor:
        """Empowerment in nats, shape (batch,)."""
        raise NotImplementedError

    def _numbers_per_state(self) -> int:
        """Size of the largest tensor of :meth:`_estimate` for one state."""
        raise NotImplementedError

    def _make_sequences(self, max_sequences: int) -> Tensor:
        """The action sequences a^n, encoded, shape (N, n, action_dim)."""
        return enumerate_sequences(self.action_space, self.horizon, max_sequences)

    def _imagine(self, features: Tensor, sequences: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """s_n as the agent would see it.

        :param features: of s, shape (rows, d)
        :param sequences: encoded actions, shape (rows, n, action_dim)
        :param uniform: numbers in [0, 1), shape (rows, n)
        :param normal: standard normal numbers, shape (rows, n + 1, d)
        :return: shape (rows, d)
        """
        for step in range(self.horizon):
            features = self.dynamics(features, sequences[:, step], uniform[:, step], normal[:, step])
        return self._sensed(features, normal[:, self.horizon])

    def _imagine_all(self, features: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """s_n for every sequence and every sample: with M samples, (batch, d) -> (batch, M, N, d).

        Sequences that begin alike have their beginning in common, since all of a sample's sequences meet the same noise.

        :param features: of s, shape (batch, d)
        :param uniform: shape (M, n) or (batch, M, n), the same for all sequences
        :param normal: shape (M, n + 1, d) or (batch, M, n + 1, d)
        """
        batch, n_samples = len(features), uniform.shape[-2]
        ends = features[:, None, None].expand(-1, n_samples, -1, -1)  # (batch, M, beginnings, d)
        for step in range(self.horizon):
            if self.n_branches > 0:  # the last action varies fastest
                actions = self.sequences[: self.n_branches, -1].repeat(ends.shape[2], 1)
                ends = ends.repeat_interleave(self.n_branches, dim=2)
            else:
                actions = self.sequences[:, step]
                ends = ends.expand(-1, -1, len(actions), -1)
            size = (batch, n_samples, len(actions))
            ends = self.dynamics(
                ends.reshape(-1, self.feature_dim),
                actions.expand(*size[:2], -1, -1).reshape(-1, self.action_dim),
                uniform[..., step, None].expand(size).reshape(-1),
                normal[..., None, step, :].expand(*size, -1).reshape(-1, self.feature_dim),
            ).view(*size, -1)
        return self._sensed(ends, normal[..., None, self.horizon, :])

    def _sensed(self, ends: Tensor, normal: Tensor) -> Tensor:
        return ends + self.sensor_noise * normal if self.sensor_noise > 0 else ends

    def _fresh_noise(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Uniform (batch, n) and normal (batch, n + 1, d) numbers for training."""
        batch = len(features)
        return features.new_empty(batch, self.horizon).uniform_(), features.new_empty(
            batch, self.horizon + 1, self.feature_dim
        ).normal_()

    # -- inside -----------------------------------------------------------------------------------------------------------

    def _empowerment(self, features: Tensor) -> Tensor:
        distinct, inverse = distinct_rows(features)
        size = max(1, _MAX_NUMBERS // self._numbers_per_state())
        return th.cat([self._estimate(part) for part in distinct.split(size)])[inverse]

    def _features(self, observations: Frames) -> Tensor:
        """phi of observations, shape (batch, d)"""
        inputs = self.preprocess(observations)
        if self.encoder_kind == "identity":
            return th.cat([values.flatten(1) for values in inputs.values()], dim=1)
        if self.encoder_kind == "learned":
            return self.encoder(inputs)
        with th.no_grad():
            return self.encoder(inputs)

    def _encoded(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        return transitions.encode(self._features)

    def _make_dynamics(self, n_outcomes: int, noise_scale: float | None) -> ForwardModel:
        one_hot = isinstance(self.observation_space, spaces.Discrete) and self.encoder_kind == "identity"
        if one_hot and not isinstance(self.action_space, spaces.Box):
            return CategoricalDynamics(self.feature_dim, self.action_dim, self.net_arch)
        if noise_scale is None:
            noise_scale = 2.0 * math.sqrt(self.feature_dim)
        return MixtureDynamics(self.feature_dim, self.action_dim, self.net_arch, n_outcomes, noise_scale)

    def _gradient_step(self, minibatch: Transitions) -> dict[str, Tensor]:
        metrics = super()._gradient_step(minibatch)
        if isinstance(self.dynamics, ForwardModel):
            self.dynamics.average()
        self.n_gradient_steps += 1
        return metrics


def check_not_negative(**values: float) -> None:
    """:raises ValueError: naming the first value that is not a finite number of at least 0"""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")


def distinct_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Every row once: a rollout comes back to the same states, and none has to be looked at twice.

    :param values: shape (n, dim), float32
    :return: ``rows``, shape (n_distinct, dim), and ``inverse``, shape (n,): ``values`` is ``rows[inverse]``, bit by bit
    """
    weights = th.from_numpy(np.random.default_rng(0).integers(-(2**63), 2**63, values.shape[1])).to(values.device)
    # sums of 64-bit products are fingerprints; to sort the rows themselves takes as long as to look at them
    distinct, inverse = (values.view(th.int32).long() * weights).sum(dim=1).unique(return_inverse=True)
    everyone = th.arange(len(values), device=values.device)
    some_row = th.zeros_like(distinct).scatter_(0, inverse, everyone)
    rows = values[some_row]
    # NaN, or two rows of one fingerprint
    return (rows, inverse) if th.equal(rows[inverse], values) else (values, everyone)


def enumerate_sequences(space: spaces.Space, horizon: int, max_sequences: int) -> Tensor:
    """All sequences of actions, or that many distinct random ones where there are more.

    :param space: Discrete, MultiDiscrete or MultiBinary
    :param horizon: n, the length of a sequence
    :param max_sequences: N at most
    :return: encoded, shape (N, n, action_dim); the last action varies fastest
    """
    sizes = _choices(space) * horizon
    total = math.prod(sizes)
    if total <= max_sequences:
        chosen: Sequence[int] = range(total)
    else:
        warnings.warn(
            f"There are {total} sequences of {horizon} actions: {max_sequences} random ones stand for all, and no state can "
            f"have an empowerment of more than log {max_sequences} = {math.log(max_sequences):.2f} nats. A shorter horizon or "
            "a larger max_sequences helps.",
            stacklevel=2,
        )
        generator, distinct = random.Random(int(th.randint(2**31, ()))), dict[int, None]()
        while len(distinct) < max_sequences:
            distinct[generator.randrange(total)] = None
        chosen = list(distinct)
    digits = np.empty((len(chosen), len(sizes)), dtype=np.int64)
    for row, number in enumerate(chosen):
        for column in reversed(range(len(sizes))):
            number, digits[row, column] = divmod(number, sizes[column])
    start = np.asarray(getattr(space, "start", 0)).reshape(-1)
    actions = th.as_tensor(digits.reshape(len(chosen) * horizon, -1) + start)
    return encode_actions(actions, space).view(len(chosen), horizon, -1)


def _chunks(observations: Frames, size: int) -> Iterator[Frames]:
    """Pieces of at most ``size`` observations."""
    for start in range(0, n_frames(observations), size):
        yield map_frames(lambda frames, part=slice(start, start + size): frames[part], observations)  # type: ignore[misc]


def _choices(space: spaces.Space) -> list[int]:
    """How many values each component of an action has."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.reshape(-1)]
    if isinstance(space, spaces.MultiBinary):
        return [2] * encoded_dim(space)
    raise ValueError(f"{type(space).__name__} actions cannot be counted.")


def _has_box(space: spaces.Space) -> bool:
    """Whether a part of the observation has a scale of its own."""
    check_observation_space(space)
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return any(isinstance(part, spaces.Box) or is_image_space(part) for part in parts)
