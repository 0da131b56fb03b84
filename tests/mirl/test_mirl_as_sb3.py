"""What Stable-Baselines3's own tests ask of DQN, asked of MIRL."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, IdentityEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from test_matrix import AnySpace
from torch import nn
from toys import LEARNERS, goes_on_as_saved, jump_envs, same_run

from sb3_infomax import MIRL, IntrinsicReward
from sb3_infomax.mirl.policies import MIRLPolicy

SETTINGS = LEARNERS["DQN"][3] | {"prior_lr": 0.02}


def make(env=None, policy="MlpPolicy", **settings):
    return MIRL(policy, jump_envs(2) if env is None else env, **{**SETTINGS, "policy_kwargs": {"net_arch": [8]}, **settings})


def images():
    return FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=True)


def any_space(space):
    return lambda: AnySpace(space, spaces.Discrete(3), seed=0)


RUNS = {
    "vectors": {},
    "double": {"double_q": True},
    "one environment": {"env": lambda: jump_envs(1)},
    "memory-efficient replay": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    "normalised": {"env": lambda: VecNormalize(jump_envs(2))},
    "train every episode": {"env": lambda: jump_envs(1), "train_freq": (1, "episode"), "gradient_steps": -1},
    "pictures": {"env": images, "policy": "CnnPolicy", "policy_kwargs": None},
    "stacked pictures": {"env": lambda: VecFrameStack(DummyVecEnv([images]), 3), "policy": "CnnPolicy", "policy_kwargs": None},
    "pictures and vectors": {"env": lambda: SimpleMultiObsEnv(random_start=True), "policy": "MultiInputPolicy"},
    "Dict": {"env": lambda: jump_envs(2, kind="dict"), "policy": "MultiInputPolicy"},
    "Discrete": {"env": any_space(spaces.Discrete(5))},
    "MultiDiscrete": {"env": any_space(spaces.MultiDiscrete([4, 3]))},
    "MultiBinary": {"env": any_space(spaces.MultiBinary(4))},
    "rank-2 Box": {"env": any_space(spaces.Box(-1.0, 1.0, (3, 2), np.float64))},
    "hindsight replay": {
        "env": lambda: BitFlippingEnv(n_bits=3),
        "policy": "MultiInputPolicy",
        "replay_buffer_class": HerReplayBuffer,
    },
}


def build(case, **settings):
    arguments = copy.deepcopy(RUNS[case]) | settings
    return make(arguments.pop("env", lambda: jump_envs(2))(), **arguments)


@pytest.mark.parametrize("case", RUNS)
def test_it_runs_is_saved_and_goes_on(case, tmp_path):
    model = build(case).learn(60)
    model.save(tmp_path / "model")
    loaded = MIRL.load(tmp_path / "model", env=model.env, device="cpu")
    observations = model.env.reset()
    assert np.array_equal(*(one.predict(observations, deterministic=True)[0] for one in (model, loaded)))
    # prior, beta and weights
    assert np.ptp(model.prior) > 0 and model.beta != 1.0 and same_run(model, loaded)
    if "HerReplayBuffer" not in str(model.replay_buffer_class):
        loaded.learn(40, reset_num_timesteps=False)
        assert loaded._n_updates > model._n_updates and not np.array_equal(loaded.prior, model.prior)


@pytest.mark.parametrize("case", ["vectors", "double", "Dict"])
def test_the_same_seed_gives_the_same_run(case):
    assert same_run(build(case).learn(60), build(case).learn(60))
    assert not same_run(build(case).learn(60), build(case, seed=4).learn(60))


@pytest.mark.parametrize(
    "action_space", [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)]
)
def test_actions_that_are_not_discrete_are_refused(action_space):
    with pytest.raises(AssertionError, match=r"only supports .*Discrete"):
        make(jump_envs(1, action_space=action_space))


@pytest.mark.parametrize("variant", [{}, {"double_q": True, "loss": "huber"}, {"learn_prior": False}])
def test_it_solves_the_identity(variant):
    settings = {"learning_rate": 5e-3, "gamma": 0.4, "policy_kwargs": {"net_arch": [32]}, "prior_lr": 1e-3}
    env = DummyVecEnv([lambda: IdentityEnv(5)])
    model = make(env, buffer_size=5000, batch_size=32, target_update_interval=100, **settings | variant).learn(1500)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=5, warn=False)
    assert mean == 100  # the best there is


def test_a_saved_policy_stands_alone(tmp_path):
    model = make().learn(60)
    model.policy.save(tmp_path / "policy")
    policy, observations = MIRLPolicy.load(tmp_path / "policy"), np.random.default_rng(0).normal(size=(50, 2))
    assert np.array_equal(policy.predict(observations)[0], model.policy.predict(observations)[0])
    assert th.equal(policy.prior.probabilities, model.policy.prior.probabilities)


def test_set_parameters_carries_prior_and_beta():
    trained, other = make().learn(60), make(seed=9)
    other.set_parameters(trained.get_parameters(), exact_match=True)
    assert other.beta == trained.beta != 1.0 and np.array_equal(other.prior, trained.prior)


def test_a_loaded_run_continues_as_if_it_had_not_stopped(tmp_path):
    """Weights, optimizer, target network, replay, prior and beta: the same batch moves both models to the same weights."""
    goes_on_as_saved(make().learn(60), tmp_path)


class Dropped(BaseFeaturesExtractor):
    """Flattening, batch normalisation and dropout, which tell training from evaluation."""

    def __init__(self, space, features_dim=4):
        super().__init__(space, features_dim)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))

    def forward(self, observations):
        return self.layers(observations)


def test_networks_train_in_training_mode_and_act_in_evaluation_mode():
    model = make(policy_kwargs={"net_arch": [8], "features_extractor_class": Dropped}, target_update_interval=8)
    norm, modes = model.q_net.features_extractor.layers[2], set()
    compute_loss, predict = model._compute_loss, model.policy._predict
    model._compute_loss = lambda data: modes.add(("train", norm.training)) or compute_loss(data)
    model.policy._predict = lambda obs, **kwargs: modes.add(("act", norm.training)) or predict(obs, **kwargs)
    before = norm.running_mean.clone()
    model.learn(60)
    assert modes == {("train", True), ("act", False)} and not th.equal(norm.running_mean, before)
    observations = model.env.reset()
    q_values = [model.predict(observations, deterministic=True) and model.q_net(th.as_tensor(observations)) for _ in range(2)]
    assert not norm.training and not model.q_net_target.training and th.equal(*q_values)


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_follows_by_tau_and_interval(tau):
    model = make(target_update_interval=10, tau=tau, learning_starts=10**6)
    online, target = (net.q_net[-1].weight for net in (model.q_net, model.q_net_target))
    th.nn.init.ones_(online), th.nn.init.zeros_(target)
    model.learn(8)
    assert target.abs().max() == 0
    model.learn(4)
    assert th.allclose(target, th.full_like(target, tau))


def test_callbacks_see_it_as_they_see_dqn(tmp_path):
    model = make(tensorboard_log=str(tmp_path))
    evaluation = EvalCallback(jump_envs(1, monitor=True), eval_freq=20, n_eval_episodes=1, verbose=0, log_path=str(tmp_path))
    model.learn(60, callback=[evaluation, CheckpointCallback(20, str(tmp_path), verbose=0)])
    assert np.load(tmp_path / "evaluations.npz")["results"].size > 0
    assert len(list(tmp_path.glob("rl_model_*_steps.zip"))) > 0 and (tmp_path / "MIRL_1").is_dir()
    MIRL.load(next(tmp_path.glob("rl_model_*_steps.zip")))


def test_an_intrinsic_reward_relabels_what_it_learns_from():
    plain, with_nothing = (make().learn(100, callback=callback) for callback in (None, IntrinsicReward("rnd", coef=0.0)))
    assert same_run(plain, with_nothing)
    assert not same_run(plain, make().learn(100, callback=IntrinsicReward("rnd", coef=1.0)))
