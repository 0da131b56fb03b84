"""ST-DIM: what a picture's parts and its whole tell of the parts of its neighbour in time."""

from typing import Any, ClassVar

from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.auxiliary.base import AuxiliaryModule, Encode
from sb3_infomax.auxiliary.infonce import contrast, pair_metrics
from sb3_infomax.networks.features import FeatureEncoder, Features
from sb3_infomax.networks.preprocessing import is_image_space
from sb3_infomax.types import KStepPairs


class STDIM(AuxiliaryModule):
    r"""
    Spatiotemporal Deep InfoMax (Anand et al., "Unsupervised State Representation Learning in Atari", NeurIPS 2019,
    https://arxiv.org/abs/1906.08226).

    With the map f_l and the global vector f_g of the encoder, averaged over the locations m, n,

    .. math::
        L_{GL} = -\mathbb{E} \log \frac{\exp f_g(s_{t+1})^\top W_g f_{l,mn}(s_t)}
            {\sum_{s'} \exp f_g(s_{t+1})^\top W_g f_{l,mn}(s')}, \qquad
        L_{LL} = -\mathbb{E} \log \frac{\exp f_{l,mn}(s_{t+1})^\top W_l f_{l,mn}(s_t)}
            {\sum_{s'} \exp f_{l,mn}(s_{t+1})^\top W_l f_{l,mn}(s')}

    and L = L_GL + L_LL. As in the authors' code, it is the later picture that is asked about the earlier one. A baseline for
    DRIML: local and global terms with linear maps, without actions.

    **What differs**: the encoder is the learner's; pairs are drawn from everywhere and not from one episode each.

    **Logged**: ``loss``; ``gl`` and ``ll`` (nats); ``mi`` (nats, of LL) and its ``accuracy``; ``valid``, ``k_mean``.

    :param observation_space: an image
    :param action_space: of the environment
    :param encoder: the learner's, with a local map
    :param kwargs: of :class:`~sb3_infomax.auxiliary.base.AuxiliaryModule`: ``batch_size``, ``negatives``, ``n_trajectories``,
        ``ema``, ``shift``
    """

    paper: ClassVar[str] = "Anand et al. 2019, https://arxiv.org/abs/1906.08226"

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, encoder: FeatureEncoder, **kwargs: Any
    ) -> None:
        super().__init__(observation_space, action_space, encoder, **kwargs)
        local_map, global_dim = self.feature_shape
        if local_map is None:
            raise ValueError("ST-DIM needs local features, and this encoder shows none: use 'infonce' or 'cpc'.")
        self.global_to_local = nn.Linear(global_dim, local_map[0])
        self.local_to_local = nn.Linear(local_map[0], local_map[0])

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().check_spaces(observation_space, action_space)
        if not is_image_space(observation_space):
            raise ValueError("ST-DIM needs local features, and the observation is no picture: use 'infonce' or 'cpc'.")

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`AuxiliaryModule.loss`."""
        now, later = self.encode_pairs(pairs, encode, features)
        assert now.local_map is not None and later.local_map is not None
        # (locations, batch, channels)
        parts, later_parts = (x.flatten(2).permute(2, 0, 1) for x in (now.local_map, later.local_map))
        keys = parts.transpose(1, 2)
        gl, _ = contrast(self.global_to_local(later.global_vector) @ keys, pairs.valid, pairs.trajectory)
        ll, metrics = contrast(self.local_to_local(later_parts) @ keys, pairs.valid, pairs.trajectory)
        loss = gl + ll
        return loss, {"loss": loss, "gl": gl, "ll": ll, **metrics, **pair_metrics(pairs)}
