"""InfoNCE between s_t with its action and s_{t+k}, on local and global features: the loss of DRIML."""

import math
from typing import Any, ClassVar, Literal

import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.auxiliary.base import AuxiliaryModule, Encode
from sb3_infomax.auxiliary.horizon import Horizon, HorizonName, make_horizon
from sb3_infomax.networks.encoders import initialize
from sb3_infomax.networks.features import FeatureEncoder, Features
from sb3_infomax.networks.preprocessing import encode_actions, encoded_dim
from sb3_infomax.types import KStepPairs

ACTION_DIM = 64  # of an encoded action, and of the layer before

Conditioning = Literal["concat", "film", "none"]


def soft_clip(scores: Tensor, bound: float) -> Tensor:
    """bound * tanh(scores / bound): nearly the identity near 0, never beyond +-bound."""
    return bound * th.tanh(scores / bound)


def contrast(scores: Tensor, valid: Tensor, trajectory: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    r"""The InfoNCE loss, :math:`-\mathrm{mean}_i \log \mathrm{softmax}_j(Z_{ij})_{j = i}`, over valid rows and columns.

    With all rows valid and one trajectory it is log batch minus :func:`~sb3_infomax.mi.bounds.infonce`.

    :param scores: rows i, columns j, positives on the diagonal, shape (..., batch, batch)
    :param valid: shape (batch,), bool; rows and columns that are not count for nothing
    :param trajectory: compare within equal numbers only, shape (batch,); None compares all
    :return: mean over valid rows and leading dimensions, nats, 0 where no row is valid; and to log: ``mi`` (nats, the
        mean log number of candidates minus the loss) and ``accuracy``
    """
    comparable = valid & valid[:, None]
    if trajectory is not None:
        comparable = comparable & (trajectory == trajectory[:, None])
    # a row that is not valid keeps its own column: all -inf has no softmax
    candidates = comparable | th.eye(len(valid), dtype=th.bool, device=valid.device)
    scores = scores.masked_fill(~candidates, -math.inf)
    weights = valid / valid.sum().clamp(min=1)
    losses = -F.log_softmax(scores, dim=-1).diagonal(dim1=-2, dim2=-1)
    loss = (losses * weights).sum(dim=-1).mean()
    with th.no_grad():
        mi = (candidates.sum(dim=1).log() * weights).sum() - loss
        positive = scores.diagonal(dim1=-2, dim2=-1)
        accuracy = ((positive >= scores.amax(dim=-1)) * weights).sum(dim=-1).mean()
    return loss, {"mi": mi, "accuracy": accuracy}


class ResidualHead(nn.Module):
    """linear(relu(linear x)) + skip(x) over the last dimension; on a map this is a block of 1 x 1 convolutions.

    FiLM: after each of the two layers a normalisation without parameters, times 1 + gamma(a), plus beta(a).

    :param input_dim: length of x
    :param output_dim: length of the result and of the hidden layer
    :param film_dim: length of the encoded action that modulates; None for no FiLM
    """

    def __init__(self, input_dim: int, output_dim: int, film_dim: int | None = None) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, output_dim)
        self.output = nn.Linear(output_dim, output_dim)
        self.skip = nn.Linear(input_dim, output_dim, bias=False)
        self.film = None if film_dim is None else nn.Linear(film_dim, 4 * output_dim)
        # the layers keep PyTorch's default, as in the authors' code
        initialize(self.skip, "orthogonal", gain=math.sqrt(2))

    def forward(self, x: Tensor, action: Tensor | None = None) -> Tensor:
        """:param x: shape (batch, input_dim) or (batch, locations, input_dim)
        :param action: encoded, shape (batch, film_dim), where there is FiLM
        :return: same shape, ``output_dim`` last
        """
        if self.film is None:
            return self.output(F.relu(self.hidden(x))) + self.skip(x)
        assert action is not None
        film = self.film(action)
        gamma_1, beta_1, gamma_2, beta_2 = (film if x.ndim == 2 else film[:, None]).chunk(4, dim=-1)
        hidden = F.relu(self._modulate(self.hidden(x), gamma_1, beta_1))
        return self._modulate(self.output(hidden), gamma_2, beta_2) + self.skip(x)

    @staticmethod
    def _modulate(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * (1 + gamma) + beta


class ActionEncoder(nn.Module):
    """Psi_a: an action as a vector, by a small residual network.

    :param action_space: of the environment
    """

    def __init__(self, action_space: spaces.Space) -> None:
        super().__init__()
        self.action_space = action_space
        dim = encoded_dim(action_space)
        self.layers = nn.Sequential(nn.Linear(dim, ACTION_DIM), nn.ReLU(), nn.Linear(ACTION_DIM, ACTION_DIM))
        self.skip = nn.Linear(dim, ACTION_DIM)
        initialize(self, "orthogonal", gain=math.sqrt(2))

    def forward(self, actions: Tensor) -> Tensor:
        """:return: shape (batch, ACTION_DIM)"""
        encoded = encode_actions(actions, self.action_space)
        return self.layers(encoded) + self.skip(encoded)


class Term(nn.Module):
    """One of the four terms: a pair of heads Psi (time t, with the action) and Phi (time t + k), and their scores.

    :param query_dim: features at t, per location where they are a map
    :param key_dim: features at t + k, likewise
    :param dim: of the heads' outputs
    :param actions: how the action enters
    """

    def __init__(self, query_dim: int, key_dim: int, dim: int, actions: Conditioning) -> None:
        super().__init__()
        concatenated = ACTION_DIM if actions == "concat" else 0
        self.psi = ResidualHead(query_dim + concatenated, dim, ACTION_DIM if actions == "film" else None)
        self.phi = ResidualHead(key_dim, dim)
        self.actions = actions

    def forward(self, query: Tensor, action: Tensor | None, key: Tensor) -> Tensor:
        """Raw scores Psi(x_i, a_i) . Phi(y_j) / sqrt(dim), at equal locations where both are maps.

        :param query: shape (batch, query_dim) or (batch, locations, query_dim)
        :param action: encoded, shape (batch, ACTION_DIM); None without actions
        :param key: shape (batch, key_dim) or (batch, locations, key_dim)
        :return: shape (batch, batch), or (locations, batch, batch) where either is a map
        """
        if self.actions == "concat":
            assert action is not None
            tiled = action if query.ndim == 2 else action[:, None].expand(-1, query.shape[1], -1)
            query = th.cat([query, tiled], dim=-1)
        psi, phi = self.psi(query, action if self.actions == "film" else None), self.phi(key)
        # (locations, batch, dim); a global vector is the same at all locations
        psi, phi = (x.transpose(0, 1) if x.ndim == 3 else x for x in (psi, phi))
        return psi @ phi.transpose(-1, -2) / math.sqrt(psi.shape[-1])


class InfoNCE(AuxiliaryModule):
    r"""
    Deep InfoMax over time, the auxiliary loss of DRIML (Mazoure, Tachet des Combes, Doan, Bachman and Hjelm, "Deep
    Reinforcement and InfoMax Learning", NeurIPS 2020, https://arxiv.org/abs/2006.07217).

    Maximises a lower bound of :math:`I([S_t, A_t]; S_{t+k})`. With the local features f_3 (the last convolution's map) and
    the global ones f_4 (the first fully connected layer, before its activation), N, M in {3, 4},

    .. math::
        \phi_{N \to M}(s_t, a_t, s_{t+k}) &= \Psi_N(f_N(s_t), \Psi_a(a_t))^\top \Phi_M(f_M(s_{t+k})) \\
        L_{N \to M} &= -\mathbb{E} \log \frac{\exp \phi_{N \to M}(s_t, a_t, s_{t+k})}
            {\sum_{s' \in \text{batch}} \exp \phi_{N \to M}(s_t, a_t, s')}, \qquad
        L = \sum_{N, M} \lambda_{NM} L_{N \to M}

    The sum runs over the later states of the batch, the right one among them; scores are divided by sqrt(dim) and clipped
    softly, c tanh(x / c). Both branches have a gradient. Terms are named by their layers, that at t first: LL, LG, GL, GG.

    **What differs from the paper and its code**

    1. Pairs that cross the end of an episode, or whose later observation nobody knows, are left out; the released code
       trains on them.
    2. ``actions="none"`` leaves the action out and changes nothing else; the released DRIML-noact also narrows the heads to
       128, shares them between t and t + k and initialises them otherwise.
    3. ``horizon="ada"`` works: see :class:`~sb3_infomax.auxiliary.horizon.AdaptiveHorizon`.
    4. GG is computed once, not once per location with the same result. Only terms with a weight above 0 have heads.
    5. FiLM modulates the heads of maps too (they concatenate there), by 1 + gamma.
    6. Heads of maps are initialised as those of vectors: an orthogonal skip, PyTorch's default elsewhere.
    7. ``negatives="trajectory"``, ``logit_penalty``, ``ema`` and ``shift`` are options that the released algorithm lacks.

    **Known limits.** The bound is at most log batch. Where an episode has a background of its own, that alone tells its
    states from all others and nothing else is learned: ``negatives="trajectory"`` takes that way out. Where states repeat
    (small grids) the loss has a floor, the mean log multiplicity. ``k`` is not to be chosen by the loss: larger k lowers it.

    **Logged**: ``loss`` (the weighted sum); for each term ``ll``, ``lg``, ``gl``, ``gg`` (nats); ``mi`` (the bound of the
    last of them, nats) and its ``accuracy``; ``valid`` (share of the batch); ``k_mean`` over valid pairs; ``logits`` (mean
    squared score before clipping); with ``horizon="ada"`` ``action_mi`` and ``concordance``.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param encoder: the learner's
    :param horizon: ``"fix"``, ``"randk"`` or ``"ada"`` (DRIML-fix, -randk, -ada)
    :param k: the k of ``fix`` (1: ours; the paper's is not stated in the code), the largest of ``randk`` (2: paper) and of
        ``ada`` (13: code)
    :param lambda_ll: weight of local to local (0: code; the Ising figure has it alone)
    :param lambda_lg: weight of local to global (0: code)
    :param lambda_gl: weight of global to local (0: code)
    :param lambda_gg: weight of global to global (1: code)
    :param actions: how a_t enters, ``"concat"`` (code), ``"film"`` (the PacMan runs) or ``"none"`` (or None)
    :param dim: of the heads' outputs (512: code)
    :param clip: c of the soft clip (20: code); None leaves scores as they are
    :param logit_penalty: weight of the mean squared score before clipping (0: code; 4e-2 in AM-DIM)
    :param batch_size: pairs per loss (256: code)
    :param negatives: ``"batch"`` (code), or ``"trajectory"``: the same episode's states only
    :param n_trajectories: episodes per batch with ``"trajectory"``
    :param ema: rate of a momentum encoder for s_{t+k}; None (code) trains both branches
    :param shift: random shift of images in pixels (0: code; 4 in DrQ)
    """

    paper: ClassVar[str] = "Mazoure et al. 2020, https://arxiv.org/abs/2006.07217"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # the authors' runs: on Procgen, and on PacMan
        "procgen": {"horizon": "randk", "k": 2, "lambda_gg": 1.0, "actions": "concat", "batch_size": 256},
        "pacman": {"horizon": "fix", "k": 1, "lambda_gg": 1.0, "actions": "film", "batch_size": 256},
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        encoder: FeatureEncoder,
        *,
        horizon: HorizonName | Horizon = "fix",
        k: int | None = None,
        lambda_ll: float = 0.0,
        lambda_lg: float = 0.0,
        lambda_gl: float = 0.0,
        lambda_gg: float = 1.0,
        actions: Conditioning | None = "concat",
        dim: int = 512,
        clip: float | None = 20.0,
        logit_penalty: float = 0.0,
        batch_size: int = 256,
        negatives: Literal["batch", "trajectory"] = "batch",
        n_trajectories: int = 1,
        ema: float | None = None,
        shift: int = 0,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            encoder,
            horizon=make_horizon(horizon, k, action_space),
            batch_size=batch_size,
            negatives=negatives,
            n_trajectories=n_trajectories,
            ema=ema,
            shift=shift,
        )
        if actions is None:  # what a command line makes of "none"
            actions = "none"
        if actions not in ("concat", "film", "none"):
            raise ValueError(f"actions must be 'concat', 'film' or 'none', got {actions!r}.")
        weights = {"ll": lambda_ll, "lg": lambda_lg, "gl": lambda_gl, "gg": lambda_gg}
        self.weights = _check_weights(weights, self.feature_shape.local_map is not None)
        if clip is not None and not 0 < clip < math.inf:
            raise ValueError(f"clip must be a number above 0, or None for no clipping, got {clip!r}.")
        if not 0 <= logit_penalty < math.inf:
            raise ValueError(f"logit_penalty is a weight and must be a finite number of at least 0, got {logit_penalty!r}.")
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}.")
        self.clip, self.logit_penalty = clip, logit_penalty
        self.action_encoder = None if actions == "none" else ActionEncoder(action_space)
        local_map, global_dim = self.feature_shape
        dims = {"l": 0 if local_map is None else local_map[0], "g": global_dim}
        self.terms = nn.ModuleDict({name: Term(dims[name[0]], dims[name[1]], dim, actions) for name in self.weights})

    def scores(self, features: Features, actions: Tensor, later: Features) -> dict[str, Tensor]:
        """Raw scores of every term that has a weight, before clipping.

        :param features: of s_t
        :param actions: a_t, shape (batch, *action_shape)
        :param later: of s_{t+k}
        :return: by name, shape (batch, batch), or (locations, batch, batch) where a map takes part
        """
        action = None if self.action_encoder is None else self.action_encoder(actions)
        now, then = _by_layer(features), _by_layer(later)
        return {name: term(now[name[0]], action, then[name[1]]) for name, term in self.terms.items()}

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms, and of what the horizon learns; see :meth:`AuxiliaryModule.loss`."""
        features, later = self.encode_pairs(pairs, encode, features)
        total = features.global_vector.new_zeros(())
        logs: dict[str, Tensor] = {}
        for name, raw in self.scores(features, pairs.actions, later).items():
            value, metrics = contrast(raw if self.clip is None else soft_clip(raw, self.clip), pairs.valid, pairs.trajectory)
            total = total + self.weights[name] * value
            squared = mean_squared(raw, pairs.valid)
            if self.logit_penalty > 0:
                total = total + self.weights[name] * self.logit_penalty * squared
            logs |= {name: value, **metrics, "logits": squared}
        logs |= {"loss": total.detach()} | pair_metrics(pairs)
        own, horizon_logs = self.horizon.loss(pairs)
        return total if own is None else total + own, logs | horizon_logs


def mean_squared(scores: Tensor, valid: Tensor) -> Tensor:
    """Mean of the squared scores of valid pairs with each other, shape (..., batch, batch) -> scalar."""
    comparable = valid & valid[:, None]
    squares = scores.square().masked_fill(~comparable, 0.0).sum(dim=(-2, -1)) / comparable.sum().clamp(min=1)
    return squares.mean()


def pair_metrics(pairs: KStepPairs) -> dict[str, Tensor]:
    """Share of valid pairs and their mean k, to log."""
    n_valid = pairs.valid.sum()
    return {"valid": n_valid / len(pairs), "k_mean": (pairs.k * pairs.valid).sum() / n_valid.clamp(min=1)}


def _by_layer(features: Features) -> dict[str, Tensor]:
    """The two kinds of features by letter, maps as (batch, locations, channels)."""
    found = {"g": features.global_vector}
    if features.local_map is not None:
        found["l"] = features.local_map.flatten(2).transpose(1, 2)
    return found


def _check_weights(weights: dict[str, float], has_map: bool) -> dict[str, float]:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"lambda_{name} is a weight and must be a finite number of at least 0, got {weight!r}.")
        if weight > 0 and "l" in name and not has_map:
            raise ValueError(f"lambda_{name} needs local features, and this encoder has no convolutions: use lambda_gg alone.")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used:
        raise ValueError("All four weights are 0: give lambda_ll, lambda_lg, lambda_gl or lambda_gg a value above 0.")
    return used
