"""Actor-critic policies with a second value head for the intrinsic return (Burda et al., 2018, section 2.3)."""

from typing import Any

from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BaseModel,
    MultiInputActorCriticPolicy,
)
from torch import Tensor, nn


class TwoHeadMixin:
    """V_int beside V_ext on the same trunk: each return has its own discount and its own idea of where an episode ends.

    The head is part of the policy: optimised, saved and loaded with it. Without
    :class:`~sb3_infomax.callbacks.intrinsic_reward.IntrinsicReward` it is not trained and changes nothing.
    """

    int_value_net: nn.Linear

    def _build_mlp_extractor(self: Any) -> None:
        super()._build_mlp_extractor()  # type: ignore[misc]
        # here, not later: the optimizer is made right after and takes all parameters that exist
        self.int_value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        if self.ortho_init:
            self.init_weights(self.int_value_net, gain=1)

    def predict_intrinsic_values(self: Any, observations: Any) -> Tensor:
        """V_int(s).

        :param observations: as the policy takes them, shape (batch, *obs_shape), or a dict of such
        :return: shape (batch,)
        """
        features = BaseModel.extract_features(self, observations, self.vf_features_extractor)
        return self.int_value_net(self.mlp_extractor.forward_critic(features)).squeeze(1)


class TwoHeadActorCriticPolicy(TwoHeadMixin, ActorCriticPolicy):
    """``MlpPolicy`` of PPO and A2C with an intrinsic value head."""


class TwoHeadActorCriticCnnPolicy(TwoHeadMixin, ActorCriticCnnPolicy):
    """``CnnPolicy`` of PPO and A2C with an intrinsic value head."""


class TwoHeadMultiInputActorCriticPolicy(TwoHeadMixin, MultiInputActorCriticPolicy):
    """``MultiInputPolicy`` of PPO and A2C with an intrinsic value head."""


def two_head_policy(policy: str) -> type[ActorCriticPolicy]:
    """The two-head policy class for SB3's policy alias.

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"`` or ``"MultiInputPolicy"``
    """
    classes: dict[str, type[ActorCriticPolicy]] = {
        "MlpPolicy": TwoHeadActorCriticPolicy,
        "CnnPolicy": TwoHeadActorCriticCnnPolicy,
        "MultiInputPolicy": TwoHeadMultiInputActorCriticPolicy,
    }
    if policy not in classes:
        raise ValueError(f"There is no two-head form of {policy!r}; there is one of {', '.join(classes)}.")
    return classes[policy]
