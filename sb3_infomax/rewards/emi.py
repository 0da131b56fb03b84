"""EMI: novelty as what a linear model in a learned, maximally informative embedding cannot explain."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.checks import check_positive
from sb3_infomax.mi.bounds import jensen_shannon
from sb3_infomax.mi.critics import ConcatenatedCritic, Critic
from sb3_infomax.networks.encoders import Conv, ObservationEncoder, initialize, make_mlp
from sb3_infomax.networks.preprocessing import NewestChannels, encode_actions, encoded_dim, is_image_space, observation_keys
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.types import Frames, Transitions

CONVOLUTIONS = (Conv(16, kernel=8, stride=4), Conv(32, kernel=4, stride=2))
STATE_NET_ARCH = (64, 32)  # hidden layers of phi and of the error model's trunk, for vectors
IMAGE_NET_ARCH = (256,)  # of phi, after the convolutions
ACTION_NET_ARCH = (64,)
ERROR_NET_ARCH = (256,)
CRITIC_NET_ARCH = (64, 64)

MIN_PAIRS = 2  # fewer say nothing about dependence
# rows of the kernel matrix at a time: with a pool of thousands they stay in the cache
KERNEL_ROWS = 128


def kl_to_standard_normal(samples: Tensor, floor: float = 1e-6) -> Tensor:
    r"""KL(N(mu, Sigma) || N(0, I)) of the Gaussian with the samples' mean and full covariance.

    .. math:: \tfrac12 \Big(\sum_k \lambda_k + \|\mu\|^2 - d - \sum_k \log \lambda_k\Big), \quad
        \lambda_k\ \text{the eigenvalues of}\ \Sigma

    The floor under the eigenvalues keeps value and gradient finite where the samples span less than d dimensions (a policy
    that always takes one action). On n standard normal samples the value is about d (d + 3) / (4 n), not 0.

    :param samples: shape (batch, d)
    :param floor: least eigenvalue
    :return: scalar, nats
    """
    batch_size, dim = samples.shape
    mean = samples.mean(dim=0)
    centred = samples - mean
    covariance = centred.T @ centred / max(batch_size - 1, 1)
    # LAPACK raises on NaN; through the mean it reaches the loss, where it is reported with advice
    eigenvalues = th.linalg.eigvalsh(covariance.nan_to_num()).clamp(min=floor)
    return 0.5 * (eigenvalues.sum() + mean.square().sum() - dim - eigenvalues.log().sum())


def half_batch_information(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    """Jensen-Shannon information between x and y, with the authors' negatives.

    With h = batch // 2, pairs (x_i, y_i) for i < h are positives and (x_i, y_{i+h}) negatives: the second half of the
    batch only lends its y. The batch has to be shuffled, or the negatives are temporal neighbours.

    :param critic: T(x, y)
    :param x: shape (batch, x_dim)
    :param y: shape (batch, y_dim)
    :return: scalar, nats, at most 2 log 2; 0 for batches of fewer than 4
    """
    half = len(x) // 2
    if half < MIN_PAIRS:
        return x.new_zeros(())
    scores = critic.paired(x[:half].repeat(2, 1), y[: 2 * half])
    return jensen_shannon(scores[:half], scores[half:])


def mean_similarity(points: Tensor, pool: Tensor, sigma: float) -> Tensor:
    r"""g(x) = mean over the pool of exp(-||x - x_j||^2 / (2 sigma^2)): near 1 in dense regions, near 0 far from all.

    :param points: shape (n, d)
    :param pool: shape (m, d), m >= 1
    :param sigma: width of the kernel
    :return: shape (n,), in [0, 1]
    """
    # distances do not see a shift, but their precision does
    centre = pool.mean(dim=0)
    points, pool = (points - centre) / sigma, (pool - centre) / sigma
    return th.cat([th.cdist(rows, pool).square_().mul_(-0.5).exp_().mean(dim=1) for rows in points.split(KERNEL_ROWS)])


def _has_images(space: spaces.Space, keys: Sequence[str] | None) -> bool:
    parts = [space.spaces[key] for key in observation_keys(space, keys)] if isinstance(space, spaces.Dict) else [space]
    return any(is_image_space(part) for part in parts)


class ErrorModel(nn.Module):
    """e(s, a), the part of a transition that the linear model is excused from; shares no weights with the embeddings.

    :param shapes: of the preprocessed observation's parts
    :param action_dim: length of an encoded action
    :param embedding_dim: d
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], action_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.trunk = ObservationEncoder(shapes, STATE_NET_ARCH, CONVOLUTIONS, image_net_arch=())
        self.action_layer = nn.Linear(action_dim, action_dim)
        self.head = make_mlp(self.trunk.output_dim + action_dim, ERROR_NET_ARCH, embedding_dim)

    def forward(self, observations: dict[str, Tensor], actions: Tensor) -> Tensor:
        """:return: e(s, a), shape (batch, d)"""
        return self.head(th.cat([self.trunk(observations), self.action_layer(actions)], dim=1))


class EMI(RewardModule):
    r"""
    Exploration with Mutual Information (Kim, Kim, Jeong, Levine and Song, ICML 2019, https://arxiv.org/abs/1810.01176).

    Embeddings phi of states and psi of actions are learned to be informative about the dynamics and to make them linear;
    what the linear model cannot explain is the bonus. With :math:`\delta = \phi(s') - \phi(s)` and the error model e,

    .. math::
        \min_{\phi, \psi, e, T_S, T_A}\ & \mathbb{E}\big[\|\delta - \psi(a) - e(s, a)\|^2
            + \lambda_{error} \|e(s, a)\|^2\big] \\
        & - \lambda_{info} \big(I_S([\phi(s), \psi(a)]; \phi(s')) + I_A([\phi(s), \phi(s')]; \psi(a))\big)
            + \lambda_{KL}\, \mathrm{KL}\big(\mathcal{N}(\mu_\psi, \Sigma_\psi)\, \|\, \mathcal{N}(0, I)\big)

    where I_S and I_A are Jensen-Shannon bounds with critics T_S and T_A (at most 2 log 2 = 1.386), and mu, Sigma are the
    moments of psi(a) over the minibatch. Two bonuses, both the authors':

    - ``"residual"`` (the paper's; its Atari experiments): :math:`\|\phi(s) + \psi(a) + e(s, a) - \phi(s')\|^2`, with the
      networks as they were before this update;
    - ``"diversity"`` (the authors' code for locomotion): :math:`g(s) - g(s')` with
      :math:`g(s) = \mathrm{mean}_j \exp(-\|\phi(s) - \phi(s_j)\|^2 / 2 \sigma^2)` over the states :math:`s_j` of the last
      batch, with the networks after the update. Its sum over an episode is g(first) - g(last): it pays for ending
      up where the batch was not, never for going round in circles.

    **What differs from the paper and its code**

    1. The defaults are ours: standardised observations, ``lambda_error`` 0.1 instead of 100 or 10,000, one pass in
       minibatches of 256 instead of three of 512 (two thirds of the gradient steps for half the time), a bonus that is
       divided by its deviation in the rollout and centred. The published coefficients belong to single domains, and with
       them the error model does next to nothing: for given embeddings its optimum is 1 / (1 + lambda_error) of the
       predictable residual. The published settings are the presets ``"mujoco"`` and ``"atari"``.
    2. The sparse (2,0-norm) penalty on e that motivates the paper is the squared norm, as in the authors' code.
    3. A minibatch larger than the data is cut to the data; the authors' loop would not train at all.
    4. The early stop after an epoch that changed the loss by less than 1e-6 is left out: in three epochs it does not occur,
       and looking for it costs a pass over the data.
    5. Off-policy the batches are the learner's replay batches, one gradient step each, and the diversity pool is the states
       of the last of them. (The paper speaks of a replay buffer; its code trains on the current batch only.)
    6. ``pool_size`` can bound the diversity bonus's cost, which is quadratic in the batch.
    7. Images of any size: the authors' convolutions are made for 52 x 52 and become 3x3 ones where an image is too
       small. Standardisation, where switched on for images, replaces their mapping of pixels to [-1, 1].

    **Known limits.** e sees (s, a) only and absorbs the mean of a jump, never noise. Where dynamics admit no translation
    embedding (rings, MiniGrid's turns, next states that no action moves) phi collapses: ``ratio`` above 1 with both
    informations near 0 says so. Psi is whitened under the policy's own actions, so rare actions get large residuals.

    **Logged**: ``loss``; ``residual`` (mean squared), ``displacement`` (mean squared norm of delta), their ``ratio``,
    ``error_norm`` (mean squared norm of e), ``mi_state`` (I_S) and ``mi_action`` (I_A) in nats, ``kl`` in nats; for Discrete
    actions ``residual_action_min`` and ``residual_action_max``, the least and largest mean residual of an action.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param bonus: ``"residual"`` or ``"diversity"`` (default: the paper's main text)
    :param embedding_dim: d (2: code; the paper has 4 for two of its games)
    :param lambda_error: weight of the error model's penalty (0.1: ours; code: 1e4 locomotion, 1e2 Atari)
    :param lambda_info: weight of each information term (0.1: code for Atari; 0.05 for locomotion)
    :param lambda_kl: weight of the prior on action embeddings (0.5: code for Atari; 0.1 for locomotion)
    :param sigma: kernel width of the diversity bonus (1: ours, since embeddings spread over 0.4 to 0.8; code: 5)
    :param pool_size: how many states of the last batch the diversity bonus compares with, drawn at random; None for all
        (2048: ours; code: all)
    :param learning_rate: of Adam over all five networks (1e-3: code)
    :param n_epochs: passes over a rollout (1: ours; code: 3)
    :param batch_size: transitions per gradient step (256: ours; code: 512); below 64 the prior sees mostly noise
    :param update_fraction: share of a rollout to train on (1: code)
    :param max_grad_norm: clip the gradient's norm (None: code)
    :param normalize_observations: standardise observations (ours); None does so where there are no images. The authors feed
        vectors raw and pixels in [-1, 1]
    :param newest_channels: look only at the newest frame of a stack (code)
    :param keys: which keys of a Dict observation; default all but ``desired_goal``
    """

    paper: ClassVar[str] = "Kim et al., 2019, arXiv 1810.01176"
    # By the deviation in each rollout: a running one would keep that of the first, untrained networks. A hundredth: while the
    # task pays nothing, PPO's normalised advantages make all coefficients the same; once it pays, little is best
    defaults: ClassVar[dict[str, Any]] = {"coef": 0.01, "normalize": "batch_std", "center": True}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # the authors' code; for Box observations and actions
        "mujoco": {
            "bonus": "diversity",
            "sigma": 5.0,
            "pool_size": None,
            "lambda_error": 1e4,
            "lambda_info": 0.05,
            "lambda_kl": 0.1,
            "n_epochs": 3,
            "batch_size": 512,
            "normalize_observations": False,
            "coef": 0.1,
            "normalize": "none",
            "center": False,
        },
        # the authors' code; for stacks of four grey 52 x 52 images
        "atari": {
            "bonus": "residual",
            "lambda_error": 1e2,
            "lambda_info": 0.1,
            "lambda_kl": 0.5,
            "n_epochs": 3,
            "batch_size": 512,
            "normalize_observations": False,
            "coef": 1e-3,
            "normalize": "none",
            "center": False,
        },
    }

    pool: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        bonus: Literal["residual", "diversity"] = "residual",
        embedding_dim: int = 2,
        lambda_error: float = 0.1,
        lambda_info: float = 0.1,
        lambda_kl: float = 0.5,
        sigma: float = 1.0,
        pool_size: int | None = 2048,
        learning_rate: float = 1e-3,
        n_epochs: int = 1,
        batch_size: int = 256,
        update_fraction: float = 1.0,
        max_grad_norm: float | None = None,
        normalize_observations: bool | None = None,
        newest_channels: NewestChannels = "auto",
        keys: Sequence[str] | None = None,
    ) -> None:
        if normalize_observations is None:
            normalize_observations = not _has_images(observation_space, keys)
        super().__init__(
            observation_space,
            action_space,
            learning_rate=learning_rate,
            n_epochs=n_epochs,
            batch_size=batch_size,
            update_fraction=update_fraction,
            max_grad_norm=max_grad_norm,
            normalize_observations=normalize_observations,
            newest_channels=newest_channels,
            keys=keys,
        )
        check_positive(embedding_dim=embedding_dim, sigma=sigma)
        for name, weight in {"lambda_error": lambda_error, "lambda_info": lambda_info, "lambda_kl": lambda_kl}.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} is a weight and must be a finite number of at least 0, got {weight!r}.")
        if bonus not in ("residual", "diversity"):
            raise ValueError(f"EMI's bonus must be 'residual' or 'diversity', got {bonus!r}.")
        if pool_size is not None and pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, or None for all states of a batch, got {pool_size!r}.")
        self.bonus_kind, self.embedding_dim = bonus, embedding_dim
        self.lambda_error, self.lambda_info, self.lambda_kl = lambda_error, lambda_info, lambda_kl
        self.sigma, self.pool_size = sigma, pool_size
        self.bonus_order = "before" if bonus == "residual" else "after"

        shapes: dict[str, tuple[int, ...]] = {**self.preprocess.shapes}
        action_dim = encoded_dim(action_space)
        self.state_embedding = ObservationEncoder(shapes, STATE_NET_ARCH, CONVOLUTIONS, IMAGE_NET_ARCH, embedding_dim)
        self.action_embedding = make_mlp(action_dim, ACTION_NET_ARCH, embedding_dim)
        self.error_model = ErrorModel(shapes, action_dim, embedding_dim)
        self.state_critic = ConcatenatedCritic(2 * embedding_dim, embedding_dim, CRITIC_NET_ARCH)
        self.action_critic = ConcatenatedCritic(2 * embedding_dim, embedding_dim, CRITIC_NET_ARCH)
        initialize(self, "xavier")

        # phi of the states that the diversity bonus compares with; part of the state, for compute() changes nothing
        self.register_buffer("pool", th.zeros(0, embedding_dim))
        self.ready.fill_(bonus == "residual")

    def bonus(self, transitions: Transitions) -> Tensor:
        if self.bonus_kind == "diversity":
            similarity, next_similarity = transitions.encode(self._similarity)
            return similarity - next_similarity
        phi, next_phi, psi, error = self._embed(transitions)
        return (phi + psi + error - next_phi).square().sum(dim=1)

    def loss(self, transitions: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        phi, next_phi, psi, error = self._embed(transitions)
        displacement = next_phi - phi
        residuals = (displacement - psi - error).square().sum(dim=1)
        metrics = {
            "residual": residuals.mean(),
            "displacement": displacement.square().sum(dim=1).mean(),
            "error_norm": error.square().sum(dim=1).mean(),
            "mi_state": half_batch_information(self.state_critic, th.cat([phi, psi], dim=1), next_phi),
            "mi_action": half_batch_information(self.action_critic, th.cat([phi, next_phi], dim=1), psi),
            "kl": kl_to_standard_normal(psi),
        }
        loss = (
            metrics["residual"]
            + self.lambda_error * metrics["error_norm"]
            - self.lambda_info * (metrics["mi_state"] + metrics["mi_action"])
            + self.lambda_kl * metrics["kl"]
        )
        return loss, metrics | self._residual_by_action(residuals.detach(), transitions.actions)

    def update(self, transitions: Transitions) -> dict[str, float]:
        metrics = super().update(transitions)
        if metrics:
            metrics["ratio"] = metrics["residual"] / max(metrics["displacement"], 1e-12)
            if self.bonus_kind == "diversity":
                self._fill_pool(transitions)
        return metrics

    @th.no_grad()
    def _fill_pool(self, transitions: Transitions) -> None:
        rows = th.nonzero(transitions.valid).squeeze(1)
        if self.pool_size is not None and len(rows) > self.pool_size:
            rows = rows[th.randperm(len(rows), generator=self.generator)[: self.pool_size].to(rows.device)]
        chunks = transitions.select(rows).chunks(self.chunk_size)
        self.pool = th.cat([self._phi(chunk.observations) for chunk in chunks])
        self.ready.fill_(True)

    def _embed(self, transitions: Transitions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """phi(s), phi(s'), psi(a) and e(s, a), each of shape (batch, d)"""
        actions = encode_actions(transitions.actions, self.action_space)
        phi, next_phi = transitions.encode(self._phi)
        error = self.error_model(self._inputs(transitions.observations), actions)
        return phi, next_phi, self.action_embedding(actions), error

    def _phi(self, observations: Frames) -> Tensor:
        return self.state_embedding(self._inputs(observations))

    def _similarity(self, observations: Frames) -> Tensor:
        return mean_similarity(self._phi(observations), self.pool, self.sigma)

    def _inputs(self, observations: Frames) -> dict[str, Tensor]:
        inputs = self.preprocess(observations)
        if len(self.preprocess.moments):
            return inputs
        # images from [0, 1] to [-1, 1]
        return {key: 2.0 * values - 1.0 if values.ndim == 4 else values for key, values in inputs.items()}

    def _residual_by_action(self, residuals: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """Least and largest mean residual among the Discrete actions of a minibatch."""
        if not isinstance(self.action_space, spaces.Discrete):
            return {}
        one_hot = encode_actions(actions, self.action_space)
        counts = one_hot.sum(dim=0)
        means = (residuals @ one_hot / counts)[counts > 0]
        return {"residual_action_min": means.min(), "residual_action_max": means.max()}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # the pool is as long as the batch it came from
        saved = state_dict.get(prefix + "pool")
        if saved is not None and saved.shape[1:] == self.pool.shape[1:]:
            self.pool = self.pool.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
