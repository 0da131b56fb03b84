"""Random shifts of the learner's own pictures: the control for every auxiliary loss on images."""

from typing import Any, ClassVar

from gymnasium import spaces
from torch import Tensor

from sb3_infomax.auxiliary.base import AuxiliaryModule, Encode
from sb3_infomax.auxiliary.horizon import FixedHorizon
from sb3_infomax.networks.augmentation import has_images, random_shift
from sb3_infomax.networks.features import FeatureEncoder, Features
from sb3_infomax.types import KStepPairs


class RandomShift(AuxiliaryModule):
    """
    Image augmentation as in DrQ (Kostrikov, Yarats and Fergus, ICLR 2021, https://arxiv.org/abs/2004.13649) with one shifted
    copy of each picture (K = M = 1 there), which is also RAD's.

    There is no loss: while the learner trains, whatever picture goes into one of its convolutional extractors, those of
    target networks too, is moved by up to ``shift`` pixels at random. Much of what auxiliary losses gain on images, this gains
    alone; compare with it. Acting and evaluation see pictures as they are. ``coef=0`` switches it off, other values do not
    matter.

    :param observation_space: with at least one image
    :param action_space: of the environment
    :param encoder: the learner's
    :param shift: largest shift in pixels (4: DrQ)
    """

    paper: ClassVar[str] = "Kostrikov et al. 2021, https://arxiv.org/abs/2004.13649"
    augments_learner = True

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, encoder: FeatureEncoder, *, shift: int = 4
    ) -> None:
        super().__init__(observation_space, action_space, encoder, horizon=FixedHorizon(0), shift=shift)

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().check_spaces(observation_space, action_space)
        if not has_images(observation_space):
            raise ValueError("'shift' moves pictures, and there are none in the observation.")

    def transform(self, images: Tensor) -> Tensor:
        return random_shift(images, self.shift)

    def loss(self, pairs: KStepPairs, encode: Encode, features: Features | None = None) -> tuple[Tensor, dict[str, Any]]:
        """There is none."""
        raise NotImplementedError("RandomShift changes what the learner sees and has no loss.")
