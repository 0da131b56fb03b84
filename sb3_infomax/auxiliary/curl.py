"""CURL: two random views of one picture, told from those of other pictures."""

from typing import Any, ClassVar

from gymnasium import spaces
from torch import Tensor

from sb3_infomax.auxiliary.base import AuxiliaryModule, Encode
from sb3_infomax.auxiliary.horizon import FixedHorizon
from sb3_infomax.auxiliary.infonce import contrast
from sb3_infomax.mi.critics import BilinearCritic
from sb3_infomax.networks.augmentation import has_images
from sb3_infomax.networks.features import FeatureEncoder, Features
from sb3_infomax.types import KStepPairs


class CURL(AuxiliaryModule):
    r"""
    Contrastive Unsupervised Representations for Reinforcement Learning (Laskin, Srinivas and Abbeel, ICML 2020,
    https://arxiv.org/abs/2004.04136).

    With two random views x_q, x_k of one observation, the encoder f and its momentum copy f',

    .. math:: L = -\mathbb{E} \log \frac{\exp f(x_q)^\top W f'(x_k)}{\sum_{k'} \exp f(x_q)^\top W f'(x_{k'})}

    A baseline for DRIML: what contrast gives without dynamics.

    **What differs**: views are random shifts and not random crops, so that the learner's encoder takes them as they are (a
    crop of a padded picture is a shift); f is the learner's encoder up to the layer before its activation, without a
    projection of its own.

    **Logged**: ``loss``; ``mi`` (nats) and ``accuracy``.

    :param observation_space: with at least one image
    :param action_space: of the environment
    :param encoder: the learner's
    :param shift: largest shift in pixels (4: DrQ)
    :param ema: rate at which f' follows f (0.05: the code for DeepMind Control)
    :param kwargs: of :class:`~sb3_infomax.auxiliary.base.AuxiliaryModule`: ``batch_size``, ``negatives``, ``n_trajectories``
    """

    paper: ClassVar[str] = "Laskin et al. 2020, https://arxiv.org/abs/2004.04136"

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        encoder: FeatureEncoder,
        *,
        shift: int = 4,
        ema: float | None = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, encoder, horizon=FixedHorizon(0), shift=shift, ema=ema, **kwargs)
        if shift == 0:
            raise ValueError("CURL tells apart shifted pictures: give shift a value of at least 1.")
        dim = self.feature_shape.global_vector
        self.critic = BilinearCritic(dim, dim)

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().check_spaces(observation_space, action_space)
        if not has_images(observation_space):
            raise ValueError("CURL compares shifted pictures, and there are none in the observation: use 'infonce' or 'cpc'.")

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`AuxiliaryModule.loss`; the later observations are the observations themselves."""
        first, second = (x.global_vector for x in self.encode_pairs(pairs, encode, features))
        loss, metrics = contrast(self.critic(first, second), pairs.valid, pairs.trajectory)
        return loss, {"loss": loss, **metrics}
