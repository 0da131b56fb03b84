"""Networks of C51: as DQN's, with a distribution over atoms in the place of each Q value."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, NatureCNN, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from sb3_infomax.c51.projection import check_support


class DuelingHead(nn.Module):
    """Value and advantage streams of a distribution: logits V + A - mean of A over the actions (Wang et al., 2016, eq. 9).

    As in Rainbow (Hessel et al., 2018, section 3), the sum is taken atom by atom, before the softmax.

    :param features_dim: size of the input
    :param n_actions: number of actions
    :param n_atoms: number of atoms
    :param net_arch: hidden layers of each stream
    :param activation_fn: activation after each hidden layer
    """

    def __init__(
        self, features_dim: int, n_actions: int, n_atoms: int, net_arch: list[int], activation_fn: type[nn.Module]
    ) -> None:
        super().__init__()
        self.shape = (n_actions, n_atoms)
        self.value = nn.Sequential(*create_mlp(features_dim, n_atoms, net_arch, activation_fn))
        self.advantage = nn.Sequential(*create_mlp(features_dim, n_actions * n_atoms, net_arch, activation_fn))

    def forward(self, features: Tensor) -> Tensor:
        """:return: logits, shape (batch, n_actions * n_atoms)"""
        advantage = self.advantage(features).unflatten(1, self.shape)
        advantage = advantage - advantage.mean(dim=1, keepdim=True)
        return (self.value(features).unsqueeze(1) + advantage).flatten(1)


class CategoricalQNetwork(QNetwork):
    """Distribution of the return of every action over a fixed set of atoms; calling it gives its mean, the Q values.

    :param observation_space: Observation space
    :param action_space: Action space
    :param features_extractor: of the observations
    :param features_dim: Number of features
    :param net_arch: The hidden layers on the features
    :param activation_fn: Activation function
    :param normalize_images: Whether to divide images by 255
    :param n_atoms: Number of atoms
    :param v_min: Return of the first atom
    :param v_max: Return of the last atom
    :param dueling: Value and advantage streams, each with hidden layers ``net_arch`` of its own
    """

    atoms: Tensor  # (n_atoms,)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
        dueling: bool = False,
    ) -> None:
        check_support(n_atoms, v_min, v_max)
        super().__init__(
            observation_space, action_space, features_extractor, features_dim, net_arch, activation_fn, normalize_images
        )
        self.n_atoms, self.v_min, self.v_max, self.dueling = n_atoms, float(v_min), float(v_max), dueling
        self.register_buffer("atoms", th.linspace(self.v_min, self.v_max, n_atoms))
        n_actions = int(self.action_space.n)
        if dueling:
            self.q_net = nn.Sequential(DuelingHead(features_dim, n_actions, n_atoms, self.net_arch, activation_fn))
        else:
            self.q_net = nn.Sequential(*create_mlp(features_dim, n_actions * n_atoms, self.net_arch, activation_fn))

    def logits(self, obs: PyTorchObs) -> Tensor:
        """Unnormalised log-probabilities of the atoms.

        :param obs: Observation
        :return: shape (batch, n_actions, n_atoms)
        """
        return self.logits_of_features(self.extract_features(obs, self.features_extractor))

    def logits_of_features(self, features: Tensor) -> Tensor:
        """The same of features that are there already.

        :param features: what the features extractor gives, shape (batch, features_dim)
        :return: shape (batch, n_actions, n_atoms)
        """
        return self.q_net(features).view(len(features), -1, self.n_atoms)

    def probabilities(self, obs: PyTorchObs) -> Tensor:
        """Probabilities of the atoms.

        :param obs: Observation
        :return: shape (batch, n_actions, n_atoms)
        """
        return self.logits(obs).softmax(dim=2)

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Q values: the means of the distributions.

        :param obs: Observation
        :return: shape (batch, n_actions)
        """
        return self.probabilities(obs) @ self.atoms

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """PyTorch's hook for loading: refuses what was learned on another support, which would be read as if of this one."""
        saved = state_dict.get(f"{prefix}atoms")
        if saved is not None and saved.shape == self.atoms.shape and not th.allclose(saved.to(self.atoms), self.atoms):
            raise ValueError(
                f"These parameters are of a support from v_min={saved[0]:g} to v_max={saved[-1]:g}, and this network's goes "
                f"from {self.v_min:g} to {self.v_max:g}: create the model with v_min={saved[0]:g}, v_max={saved[-1]:g}."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"n_atoms": self.n_atoms, "v_min": self.v_min, "v_max": self.v_max, "dueling": self.dueling}
        return super()._get_constructor_parameters() | own


class C51Policy(DQNPolicy):
    """Policy with a categorical value network and its target, for vectors.

    :param observation_space: Observation space
    :param action_space: Action space
    :param lr_schedule: Learning rate schedule (could be constant)
    :param n_atoms: Number of atoms
    :param v_min: Return of the first atom
    :param v_max: Return of the last atom
    :param dueling: Value and advantage streams, each with hidden layers ``net_arch`` of its own
    :param kwargs: those of Stable-Baselines3's ``DQNPolicy``: ``net_arch``, ``activation_fn``, ``optimizer_kwargs``, ...
    """

    q_net: CategoricalQNetwork
    q_net_target: CategoricalQNetwork

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        *,
        n_atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
        dueling: bool = False,
        **kwargs: Any,
    ) -> None:
        # before the parent's constructor, which builds the networks
        self.distribution_kwargs = {"n_atoms": n_atoms, "v_min": v_min, "v_max": v_max, "dueling": dueling}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def make_q_net(self) -> CategoricalQNetwork:
        """A value network with features extractor of its own, on the policy's device."""
        net_args = self._update_features_extractor(self.net_args | self.distribution_kwargs, features_extractor=None)
        return CategoricalQNetwork(**net_args).to(self.device)

    def set_training_mode(self, mode: bool) -> None:
        """As ``DQNPolicy.set_training_mode``, but only where something changes.

        ``predict`` calls it in every step, and walking over all modules is a tenth of the time of a run on vectors.

        :param mode: if true, set to training mode, else set to evaluation mode
        """
        if mode != self.training or mode != self.q_net.training:
            super().set_training_mode(mode)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self.distribution_kwargs


MlpPolicy = C51Policy


class CnnPolicy(C51Policy):
    """The same for images: see :class:`C51Policy`; ``features_extractor_class`` is ``NatureCNN``."""

    def __init__(self, *args: Any, features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN, **kwargs: Any) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)


class MultiInputPolicy(C51Policy):
    """The same for Dict observations: see :class:`C51Policy`; ``features_extractor_class`` is ``CombinedExtractor``."""

    def __init__(
        self, *args: Any, features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor, **kwargs: Any
    ) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)
