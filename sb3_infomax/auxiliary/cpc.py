"""Contrastive Predictive Coding over time, on the learner's encoder."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.auxiliary.base import AuxiliaryModule, Encode
from sb3_infomax.auxiliary.horizon import RandomHorizon
from sb3_infomax.auxiliary.infonce import contrast, pair_metrics
from sb3_infomax.networks.features import FeatureEncoder, Features
from sb3_infomax.types import KStepPairs


class CPC(AuxiliaryModule):
    r"""
    Contrastive Predictive Coding (van den Oord, Li and Vinyals, 2018, https://arxiv.org/abs/1807.03748), equation 4 for
    k = 1 ... K on the features f of single observations:

    .. math:: L = -\mathbb{E}_k\, \mathbb{E} \log
        \frac{\exp f(s_t)^\top W_k f(s_{t+k})}{\sum_{s' \in \text{batch}} \exp f(s_t)^\top W_k f(s')}

    A baseline for DRIML ("CPC-1->5" in its tables): several steps, no actions.

    **What differs**: every row has one k, drawn uniformly, so the loss is the mean over k and not the sum; all later states of
    the batch are candidates, whatever their own k; there is no recurrent context, since the learner has none.

    **Logged**: ``loss``; ``mi`` (nats), ``accuracy``, ``valid`` and ``k_mean`` as :class:`InfoNCE` has them.

    :param observation_space: of the environment as the learner sees it
    :param action_space: of the environment
    :param encoder: the learner's
    :param k: K (5: DRIML's tables)
    :param kwargs: of :class:`~sb3_infomax.auxiliary.base.AuxiliaryModule`: ``batch_size``, ``negatives``, ``n_trajectories``,
        ``ema``, ``shift``
    """

    paper: ClassVar[str] = "van den Oord et al. 2018, https://arxiv.org/abs/1807.03748"

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        encoder: FeatureEncoder,
        *,
        k: int = 5,
        **kwargs: Any,
    ) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}.")
        super().__init__(observation_space, action_space, encoder, horizon=RandomHorizon(k), **kwargs)
        dim = self.feature_shape.global_vector
        self.predictors = nn.Linear(dim, k * dim, bias=False)

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`AuxiliaryModule.loss`."""
        now, later = (x.global_vector for x in self.encode_pairs(pairs, encode, features))
        predictions = self.predictors(now).unflatten(1, (self.horizon.max_k, -1))
        predicted = predictions[th.arange(len(now), device=now.device), pairs.k - 1]
        loss, metrics = contrast(predicted @ later.T, pairs.valid, pairs.trajectory)
        return loss, {"loss": loss, **metrics, **pair_metrics(pairs)}
