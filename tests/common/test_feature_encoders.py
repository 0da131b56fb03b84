"""The encoder inside SB3's policies: the same numbers as SB3's own forward pass, one layer earlier."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.preprocessing import preprocess_obs
from toys import JumpEnv, box, jump_envs, make

from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.common.feature_encoders import ExtractorEncoder, TrunkEncoder, policy_encoder, trained_network

IMAGE = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}}, "device": "cpu"}


def observations(model, n=4):
    space = model.observation_space
    space.seed(0)
    stack = lambda part: th.as_tensor(np.stack([part.sample() for _ in range(n)]))  # noqa: E731
    return {key: stack(part) for key, part in space.spaces.items()} if isinstance(space, spaces.Dict) else stack(space)


def extracted(model, network, inputs):
    return network.features_extractor(preprocess_obs(inputs, model.observation_space))


@pytest.mark.parametrize("algorithm", [PPO, DQN, QRDQN, SAC, TQC, RecurrentPPO])
def test_of_natures_convolutions_it_shows_the_map_and_the_layer_before_the_relu(algorithm):
    continuous = algorithm in (SAC, TQC)
    env = jump_envs(kind="image", action_space=box() if continuous else None)
    kwargs = IMAGE | ({} if algorithm in (PPO, RecurrentPPO) else {"buffer_size": 10})
    model = algorithm("CnnLstmPolicy" if algorithm is RecurrentPPO else "CnnPolicy", env, **copy.deepcopy(kwargs))
    encoder, inputs, network = policy_encoder(model), observations(model), trained_network(model)[0]
    features = encoder(inputs)
    assert isinstance(encoder, ExtractorEncoder) and encoder.feature_shape == ((64, 1, 1), 16)
    assert features.local_map.shape == (4, 64, 1, 1) and (features.global_vector < 0).any()
    assert th.equal(encoder.output(features), extracted(model, network, inputs))


def test_a_picture_of_any_size_with_our_own_convolutions():
    for size, shape in (((3, 84, 84), (64, 7, 7)), ((3, 21, 19), (64, 4, 4)), ((3, 7, 7), (64, 1, 1))):
        extractor = LocalGlobalCNN(spaces.Box(0, 255, size, np.uint8), features_dim=8)
        images = th.rand(2, *size)
        features = extractor.features(images)
        assert extractor.feature_shape == (shape, 8) and features.local_map.shape == (2, *shape)
        assert th.equal(extractor(images), features.global_vector.relu())


def test_our_own_convolutions_in_a_policy():
    kwargs = {"features_extractor_class": LocalGlobalCNN, "features_extractor_kwargs": {"features_dim": 16}}
    model = DQN("CnnPolicy", jump_envs(kind="image"), policy_kwargs=kwargs, buffer_size=10, device="cpu")
    encoder, inputs = policy_encoder(model), observations(model)
    assert encoder.feature_shape == ((64, 1, 1), 16)
    assert th.equal(encoder.output(encoder(inputs)), extracted(model, model.q_net, inputs))


@pytest.mark.parametrize("knob", [{"features_dim": 9}, {"convolutions": [[4, 3, 1, 0]]}, {"ortho_init": False}], ids=str)
def test_every_knob_of_our_convolutions(knob):
    space = spaces.Box(0, 255, (1, 12, 12), np.uint8)
    results = []
    for kwargs in ({}, knob):
        th.manual_seed(0)
        results.append(LocalGlobalCNN(space, **kwargs)(th.ones(1, 1, 12, 12)))
    assert results[0].shape != results[1].shape or not th.allclose(*results)
    images = spaces.Box(0.0, 1.0, (1, 12, 12), np.float32)
    assert LocalGlobalCNN(images, normalized_image=True).feature_shape.local_map == (64, 2, 2)
    with pytest.raises(ValueError, match="is for images"):
        LocalGlobalCNN(images)


def test_a_dict_of_image_and_vector_is_one_global_vector():
    model = make("PPO-dict")
    encoder, inputs = policy_encoder(model), observations(model)
    features = encoder(inputs)
    assert features.local_map is None
    assert th.equal(features.global_vector, extracted(model, model.policy, inputs))


@pytest.mark.parametrize("learner", ["DQN", "QRDQN"])
def test_of_vectors_it_shows_the_last_hidden_layer(learner):
    model = make(learner)
    network, _ = trained_network(model)
    encoder, inputs = policy_encoder(model), observations(model)
    net = network.q_net if learner == "DQN" else network.quantile_net
    assert isinstance(encoder, TrunkEncoder)
    assert th.equal(net[2](encoder(inputs).global_vector.relu()), net(inputs))


@pytest.mark.parametrize("learner", ["PPO", "A2C", "MaskablePPO"])
def test_of_an_actor_and_a_critic_it_shows_both(learner):
    model = make(learner)
    encoder, inputs = policy_encoder(model), observations(model)
    expected = th.cat(model.policy.mlp_extractor(inputs), dim=1)
    assert th.equal(encoder(inputs).global_vector.tanh(), expected)


@pytest.mark.parametrize("learner", ["SAC", "TD3", "TQC"])
def test_of_critics_it_shows_all_at_the_middle_action(learner):
    model = make(learner)
    encoder, inputs = policy_encoder(model), observations(model)
    hidden = encoder(inputs).global_vector.relu().chunk(2, dim=1)
    zero = th.zeros(4, 2)
    for net, features in zip(model.critic.q_networks, hidden, strict=True):
        assert th.allclose(net[2](features), net(th.cat([inputs, zero], dim=1)), atol=1e-6)


def test_crossq():
    model = make("CrossQ")
    encoder, inputs = policy_encoder(model), observations(model)
    model.critic.set_training_mode(False)
    net = model.critic.q_networks[0]
    after = list(net).index([layer for layer in net if isinstance(layer, th.nn.Linear)][-2]) + 1
    first = encoder(inputs).global_vector.chunk(2, dim=1)[0]
    assert th.allclose(net[after:](first), net(th.cat([inputs, th.zeros(4, 2)], dim=1)), atol=1e-6)


@pytest.mark.parametrize(
    "kwargs", [{}, {"enable_critic_lstm": False}, {"enable_critic_lstm": False, "shared_lstm": True}], ids=str
)
def test_of_a_recurrent_policy_it_shows_the_first_step(kwargs):
    policy_kwargs = {"net_arch": [8], "lstm_hidden_size": 8, **kwargs}
    model = make("RecurrentPPO", policy_kwargs=policy_kwargs)
    encoder, inputs = policy_encoder(model), observations(model)
    policy = model.policy
    zero = (th.zeros(1, 4, 8), th.zeros(1, 4, 8))

    values = policy.predict_values(inputs, zero, th.zeros(4))
    actor, critic = encoder(inputs).global_vector.tanh().chunk(2, dim=1)
    assert th.allclose(policy.value_net(critic), values, atol=1e-6)
    distribution, _ = policy.get_distribution(inputs, zero, th.zeros(4))
    assert th.allclose(policy.action_net(actor).log_softmax(1), distribution.distribution.logits, atol=1e-6)


def test_a_policy_without_hidden_layers_is_refused():
    model = DQN("MlpPolicy", JumpEnv(), policy_kwargs={"net_arch": []}, buffer_size=10, device="cpu")
    with pytest.raises(ValueError, match="no hidden layer"):
        policy_encoder(model)


def test_a_picture_that_the_convolutions_do_not_fit_gets_one_sentence():
    with pytest.raises(ValueError, match="Pictures of 5 x 5 pixels are too small"):
        LocalGlobalCNN(spaces.Box(0, 255, (1, 5, 5), np.uint8))
