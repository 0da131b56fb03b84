"""The encoder inside any SB3 policy, seen as local and global features."""

from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_action_dim, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import Tensor, nn

from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.networks.features import FeatureEncoder, Features, FeatureShape
from sb3_infomax.types import Frames


def has_parameters(module: nn.Module) -> bool:
    """Whether there is anything to train."""
    return next(module.parameters(), None) is not None


class PolicyEncoder(FeatureEncoder):
    """Part of an SB3 network: its preprocessing of observations, then features. Holds nothing but what it uses.

    :param network: a policy, value network or critic
    :param feature_shape: of the result
    """

    def __init__(self, network: BaseModel, feature_shape: FeatureShape) -> None:
        super().__init__(feature_shape)
        self.observation_space, self.normalize_images = network.observation_space, network.normalize_images

    def preprocess(self, observations: Frames) -> Any:
        """As SB3's ``extract_features`` does: images to [0, 1], one-hots."""
        return preprocess_obs(observations, self.observation_space, normalize_images=self.normalize_images)


class ExtractorEncoder(PolicyEncoder):
    """A features extractor with weights: an image's convolutions, or one of the user's.

    ``NatureCNN`` and :class:`LocalGlobalCNN` have both kinds of features; of any other the output is the global one.

    :param network: of the extractor
    :param extractor: its features extractor
    """

    def __init__(self, network: BaseModel, extractor: BaseFeaturesExtractor) -> None:
        convolutions: Any
        linear: Any
        if isinstance(extractor, NatureCNN):
            convolutions, linear = extractor.cnn[:-1], extractor.linear[0]
            images: Any = extractor._observation_space
            with th.no_grad():
                example = convolutions(th.zeros(1, *images.shape, device=next(extractor.parameters()).device))
            shape = FeatureShape(tuple(example.shape[1:]), extractor.features_dim)
        else:
            convolutions = linear = None
            shape = getattr(extractor, "feature_shape", FeatureShape(None, extractor.features_dim))
        super().__init__(network, shape)
        self.extractor, self.convolutions, self.linear = extractor, convolutions, linear

    def forward(self, observations: Frames) -> Features:
        preprocessed = self.preprocess(observations)
        if self.convolutions is not None:
            local_map = self.convolutions(preprocessed)
            return Features(local_map, self.linear(local_map.flatten(1)))
        if isinstance(self.extractor, LocalGlobalCNN):
            return self.extractor.features(preprocessed)
        return Features(None, self.extractor(preprocessed))

    def output(self, features: Features) -> Tensor:
        """What the extractor itself gives, from its features: shape (batch, features_dim)"""
        if isinstance(self.extractor, NatureCNN | LocalGlobalCNN):
            return features.global_vector.relu()
        return features.global_vector


class TrunkEncoder(PolicyEncoder):
    """The hidden layers of one or several networks on a vector, up to before the last one's activation, side by side.

    :param network: that they belong to
    :param extractor: its features extractor, which has no weights
    :param branches: sequences of layers, each with what it is fed by
    """

    def __init__(self, network: BaseModel, extractor: BaseFeaturesExtractor, branches: Sequence[nn.Module]) -> None:
        super().__init__(network, FeatureShape(None, sum(map(_output_dim, branches))))
        self.extractor, self.branches = extractor, nn.ModuleList(branches)

    def forward(self, observations: Frames) -> Features:
        flat = self.extractor(self.preprocess(observations))
        return Features(None, th.cat([branch(flat) for branch in self.branches], dim=1))


class _ZeroAction(nn.Module):
    """A critic's input for an observation alone: the action in the middle of its range."""

    def __init__(self, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.pad(features, (0, self.action_dim))


class _FirstStep(nn.Module):
    """An LSTM on a single observation, from its zero state."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, features: Tensor) -> Tensor:
        return self.lstm(features.unsqueeze(0))[0].squeeze(0)


def _output_dim(branch: nn.Module) -> int:
    last = [layer for layer in branch.modules() if isinstance(layer, nn.Linear | nn.LSTM)][-1]
    return last.hidden_size if isinstance(last, nn.LSTM) else last.out_features


def hidden_layers(network: nn.Module, n_outputs: int) -> list[nn.Sequential]:
    """Every sequence of linear layers in ``network``, up to its last hidden one before the activation.

    :param network: SB3's, of any nesting
    :param n_outputs: 1 where sequences end with an output layer, 0 where they do not
    """
    if isinstance(network, nn.Sequential):
        linears = [index for index, layer in enumerate(network) if isinstance(layer, nn.Linear)]
        if linears:
            return [nn.Sequential(*list(network)[: linears[-1 - n_outputs] + 1])] if len(linears) > n_outputs else []
    return [found for child in network.children() for found in hidden_layers(child, n_outputs)]


def trained_network(model: BaseAlgorithm) -> tuple[Any, th.optim.Optimizer]:
    """The network whose encoder an auxiliary loss trains, and the optimizer that steps it.

    :param model: any algorithm of SB3 or contrib with a torch optimizer
    """
    critic = getattr(model, "critic", None)
    if critic is not None:  # SAC, TD3, DDPG, TQC, CrossQ
        return critic, critic.optimizer
    policy: Any = model.policy
    for name in ("q_net", "quantile_net"):  # DQN and its kin, QRDQN
        if hasattr(policy, name):
            return getattr(policy, name), policy.optimizer
    return policy, policy.optimizer


def policy_encoder(model: BaseAlgorithm) -> FeatureEncoder:
    """The encoder of a model: its features extractor where that has weights, else the hidden layers behind it.

    :param model: any algorithm of SB3 or contrib with a torch optimizer
    :raises ValueError: where there is no layer between observation and output
    """
    return network_encoder(trained_network(model)[0])


def network_encoder(network: Any) -> ExtractorEncoder | TrunkEncoder:
    """The same of one network.

    :param network: a policy, value network or critic
    :raises ValueError: where there is no layer between observation and output
    """
    # with an extractor each, the actor's
    extractor = network.features_extractor
    if has_parameters(extractor):
        return ExtractorEncoder(network, extractor)
    branches = _branches(network)
    if not branches:
        raise ValueError(
            f"This {type(network).__name__} has no hidden layer, so there is nothing for an auxiliary loss to train: give the "
            "policy a net_arch or a features extractor."
        )
    return TrunkEncoder(network, extractor, branches)


def _branches(network: Any) -> list[nn.Module]:
    if not hasattr(network, "mlp_extractor"):
        n_actions = get_action_dim(network.action_space) if hasattr(network, "q_networks") else 0
        start: list[nn.Module] = [_ZeroAction(n_actions)] if n_actions else []
        return [nn.Sequential(*start, *layers) for layers in hidden_layers(network, n_outputs=1)]
    actor, critic = network.mlp_extractor.policy_net, network.mlp_extractor.value_net
    sides = {"actor": hidden_layers(actor, n_outputs=0), "critic": hidden_layers(critic, n_outputs=0)}
    branches = [nn.Sequential(*_recurrent(network, side), *(layers[0] if layers else [])) for side, layers in sides.items()]
    return [branch for branch in branches if len(branch) > 0]


def _recurrent(policy: Any, side: str) -> list[nn.Module]:
    """What RecurrentPPO has between features and ``mlp_extractor``."""
    if not hasattr(policy, "lstm_actor"):
        return []
    if side == "actor" or policy.shared_lstm:
        return [_FirstStep(policy.lstm_actor)]
    return [policy.critic if policy.lstm_critic is None else _FirstStep(policy.lstm_critic)]
