"""Policies of DRIML: C51's, which own the heads of the auxiliary loss, so that a saved run resumes whole."""

from typing import Any

import torch as th
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from sb3_infomax.auxiliary.infonce import InfoNCE
from sb3_infomax.c51.policies import C51Policy
from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.common.feature_encoders import ExtractorEncoder, TrunkEncoder, network_encoder
from sb3_infomax.networks.features import Features


class DRIMLPolicy(C51Policy):
    """C51's policy with the heads of InfoNCE beside its value network, for vectors.

    :param args: observation space, action space and learning rate schedule
    :param infonce_kwargs: arguments of :class:`~sb3_infomax.auxiliary.infonce.InfoNCE`
    :param kwargs: those of :class:`~sb3_infomax.c51.policies.C51Policy`
    """

    auxiliary: InfoNCE

    def __init__(self, *args: Any, infonce_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # before the parent's constructor, which builds the networks
        self.infonce_kwargs = infonce_kwargs or {}
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # the global generator stays where C51 leaves it
        with th.random.fork_rng(devices=[]):
            encoder = self.make_encoder()
            self.auxiliary = InfoNCE(self.observation_space, self.action_space, encoder, **self.infonce_kwargs).to(self.device)
        # one optimizer for both losses, as in the paper; never in q_net, which has a target and is walked at each prediction
        trained = [parameter for parameter in self.auxiliary.parameters() if parameter.requires_grad]
        self.optimizer.add_param_group({"params": trained})

    def make_encoder(self) -> ExtractorEncoder | TrunkEncoder:
        """A view of the value network up to the layer that both losses share; it has no weights of its own.

        :raises ValueError: where they share none
        """
        encoder = network_encoder(self.q_net)
        if isinstance(encoder, TrunkEncoder) and self.q_net.dueling:
            raise ValueError(
                "Without a features extractor that has weights, the two streams of dueling=True have no layer in common that "
                "the auxiliary loss could train: leave dueling off or use CnnPolicy."
            )
        return encoder

    def logits(self, encoder: ExtractorEncoder | TrunkEncoder, features: Features) -> Tensor:
        """What the value network says of observations that are encoded already.

        :param encoder: what :meth:`make_encoder` gave
        :param features: of the observations
        :return: shape (batch, n_actions, n_atoms)
        """
        if isinstance(encoder, ExtractorEncoder):
            return self.q_net.logits_of_features(encoder.output(features))
        [trunk] = encoder.branches
        rest = self.q_net.q_net[len(trunk) :]  # type: ignore[arg-type]
        return rest(features.global_vector).unflatten(1, (-1, self.q_net.n_atoms))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"infonce_kwargs": self.infonce_kwargs}


MlpPolicy = DRIMLPolicy


class CnnPolicy(DRIMLPolicy):
    """The same for images of any size: see :class:`DRIMLPolicy`.

    ``features_extractor_class`` is :class:`~sb3_infomax.common.extractors.LocalGlobalCNN`, ``net_arch`` empty.
    """

    def __init__(
        self,
        *args: Any,
        net_arch: list[int] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] = LocalGlobalCNN,
        **kwargs: Any,
    ) -> None:
        net_arch = [] if net_arch is None else net_arch
        super().__init__(*args, net_arch=net_arch, features_extractor_class=features_extractor_class, **kwargs)


class MultiInputPolicy(DRIMLPolicy):
    """The same for Dict observations: see :class:`DRIMLPolicy`; ``features_extractor_class`` is ``CombinedExtractor``."""

    def __init__(
        self, *args: Any, features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor, **kwargs: Any
    ) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)
