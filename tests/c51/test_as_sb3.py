"""What Stable-Baselines3's own tests ask of DQN, asked of C51 and of DRIML."""

import copy

import gymnasium as gym
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
from torch import nn
from toys import goes_on_as_saved, jump_envs, same_run

from sb3_infomax import C51, DRIML, IntrinsicReward

SETTINGS = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "train_freq": 4, "gradient_steps": 2, "seed": 3}


OWN = {C51: {}, DRIML: {"k": 2, "infonce_kwargs": {"dim": 16}}}


@pytest.fixture(params=OWN, ids=lambda cls: cls.__name__)
def algorithm(request):
    return request.param


def make(algorithm, env=None, policy="MlpPolicy", **settings):
    settings = {**SETTINGS, **OWN[algorithm], "device": "cpu", "policy_kwargs": {"net_arch": [8]}} | settings
    return algorithm(policy, jump_envs(2) if env is None else env, **settings)


def images():
    return FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=True)


class AnySpace(gym.Env):
    """Samples of an observation space, episodes of nine steps."""

    action_space = spaces.Discrete(3)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), 1.0, self.t == 9, False, {}


RUNS = {
    "vectors": {},
    "one environment": {"env": lambda: jump_envs(1)},
    "n-step, four environments": {"env": lambda: jump_envs(4), "n_steps": 3},
    "double": {"double_q": True},
    "double, dueling": {"double_q": True, "dueling": True},
    "memory-efficient replay": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    "normalised": {"env": lambda: VecNormalize(jump_envs(2))},
    "train every episode": {"env": lambda: jump_envs(1), "train_freq": (1, "episode"), "gradient_steps": -1},
    "pictures": {"env": images, "policy": "CnnPolicy", "policy_kwargs": None},
    "stacked pictures": {"env": lambda: VecFrameStack(DummyVecEnv([images]), 3), "policy": "CnnPolicy", "policy_kwargs": None},
    "dueling on pictures": {"env": images, "policy": "CnnPolicy", "dueling": True, "policy_kwargs": {"net_arch": [16]}},
    "pictures and vectors": {"env": lambda: SimpleMultiObsEnv(random_start=True), "policy": "MultiInputPolicy"},
    "Dict": {"env": lambda: jump_envs(2, kind="dict"), "policy": "MultiInputPolicy"},
    "Discrete": {"env": lambda: AnySpace(spaces.Discrete(5))},
    "MultiDiscrete": {"env": lambda: AnySpace(spaces.MultiDiscrete([4, 3]))},
    "MultiBinary": {"env": lambda: AnySpace(spaces.MultiBinary(4))},
    "rank-2 Box": {"env": lambda: AnySpace(spaces.Box(-1.0, 1.0, (3, 2), np.float64))},
    "hindsight replay": {
        "env": lambda: BitFlippingEnv(n_bits=3),
        "policy": "MultiInputPolicy",
        "replay_buffer_class": HerReplayBuffer,
    },
}


def build(algorithm, case, **settings):
    arguments = copy.deepcopy(RUNS[case]) | settings
    return make(algorithm, arguments.pop("env", lambda: jump_envs(2))(), **arguments)


@pytest.mark.parametrize("case", RUNS)
def test_it_runs_is_saved_and_goes_on(algorithm, case, tmp_path):
    if algorithm is DRIML and case == "double, dueling":  # has no layer in common, see tests/driml
        case = "double"
    model = build(algorithm, case).learn(60)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=model.env, device="cpu")
    observations = model.env.reset()
    assert np.array_equal(*(one.predict(observations, deterministic=True)[0] for one in (model, loaded)))
    states = [one.policy.optimizer.state_dict()["state"] for one in (model, loaded)]
    assert all(th.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])
    if "HerReplayBuffer" not in str(model.replay_buffer_class):
        loaded.learn(40, reset_num_timesteps=False)
        assert loaded._n_updates > model._n_updates


@pytest.mark.parametrize("case", ["vectors", "n-step, four environments", "double", "Dict"])
def test_the_same_seed_gives_the_same_run(algorithm, case):
    assert same_run(build(algorithm, case).learn(60), build(algorithm, case).learn(60))
    assert not same_run(build(algorithm, case).learn(60), build(algorithm, case, seed=4).learn(60))


@pytest.mark.parametrize(
    "action_space", [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)]
)
def test_actions_that_are_not_discrete_are_refused(algorithm, action_space):
    with pytest.raises(AssertionError, match=r"only supports .*Discrete"):
        make(algorithm, jump_envs(1, action_space=action_space))


@pytest.mark.parametrize("variant", [{}, {"n_steps": 3, "double_q": True}])
def test_it_solves_the_identity(algorithm, variant):
    settings = {"learning_rate": 5e-3, "gamma": 0.4, "v_min": 0.0, "v_max": 2.0, "policy_kwargs": {"net_arch": [32]}}
    env = DummyVecEnv([lambda: IdentityEnv(5)])
    model = make(algorithm, env, buffer_size=5000, batch_size=32, target_update_interval=100, **settings | variant).learn(1500)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=5, warn=False)
    assert mean == 100  # the best there is


def test_a_saved_policy_stands_alone(algorithm, tmp_path):
    model = make(algorithm, n_atoms=11, v_min=-1.0, v_max=3.0).learn(60)
    model.policy.save(tmp_path / "policy")
    policy, observations = type(model.policy).load(tmp_path / "policy"), th.randn(4, 2)
    assert th.equal(policy.q_net.probabilities(observations), model.q_net.probabilities(observations))
    assert th.equal(policy.q_net.atoms, model.q_net.atoms)


def test_a_loaded_run_continues_as_if_it_had_not_stopped(algorithm, tmp_path):
    """Weights, optimizer, target network and replay: the same batch moves both models to the same weights."""
    goes_on_as_saved(make(algorithm).learn(60), tmp_path)


def test_a_support_given_on_loading_must_be_the_saved_one(algorithm, tmp_path):
    make(algorithm, n_atoms=11).save(tmp_path / "model")
    with pytest.raises(ValueError, match="policy kwargs"):
        algorithm.load(tmp_path / "model", policy_kwargs={"net_arch": [8], "n_atoms": 21})


def test_parameters_of_another_support_are_refused(algorithm):
    model, other = make(algorithm, v_max=3.0), make(algorithm, v_max=5.0)
    with pytest.raises(ValueError, match="v_min=-10 to v_max=3, .* create the model with v_min=-10, v_max=3"):
        other.set_parameters(model.get_parameters())
    make(algorithm, v_max=3.0).set_parameters(model.get_parameters())


def test_what_the_networks_are_made_of_cannot_be_given_on_loading(algorithm, tmp_path):
    make(algorithm).save(tmp_path / "model")
    for late in (
        {"v_max": 50.0},
        {"dueling": True},
        *([{"k": 3}, {"infonce_kwargs": {"dim": 9}}] if algorithm is DRIML else []),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(late))} cannot be changed on loading"):
            algorithm.load(tmp_path / "model", device="cpu", **late)


def test_what_the_networks_are_made_of_may_be_repeated_on_loading(algorithm, tmp_path):
    """The RL Zoo hands all hyperparameters on when it continues a run."""
    own = {**OWN[algorithm], "v_max": 50.0}
    make(algorithm, **own).save(tmp_path / "model")
    assert algorithm.load(tmp_path / "model", device="cpu", **own).q_net.v_max == 50.0


def test_a_replay_buffer_of_other_environments_is_refused(algorithm, tmp_path):
    model = make(algorithm).learn(20)
    model.save_replay_buffer(tmp_path / "replay")
    other = make(algorithm, jump_envs(3))
    with pytest.raises(ValueError, match="of 2 environments, and the model has 3"):
        other.load_replay_buffer(tmp_path / "replay")


class Dropped(BaseFeaturesExtractor):
    """Flattening, batch normalisation and dropout, which tell training from evaluation."""

    def __init__(self, space, features_dim=4):
        super().__init__(space, features_dim)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))

    def forward(self, observations):
        return self.layers(observations)


def test_networks_train_in_training_mode_and_act_in_evaluation_mode(algorithm):
    model = make(algorithm, policy_kwargs={"net_arch": [8], "features_extractor_class": Dropped}, target_update_interval=8)
    norm, modes = model.q_net.features_extractor.layers[2], []
    compute_loss = model._compute_loss
    model._compute_loss = lambda data: modes.append(("train", model.q_net.training, norm.training)) or compute_loss(data)
    before = norm.running_mean.clone()
    model.learn(60)
    assert set(modes) == {("train", True, True)} and not th.equal(norm.running_mean, before)
    observations = model.env.reset()
    q_values = [model.predict(observations, deterministic=True) and model.q_net(th.as_tensor(observations)) for _ in range(2)]
    assert not norm.training and not model.q_net_target.training and th.equal(*q_values)


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_follows_by_tau_and_interval(algorithm, tau):
    model = make(algorithm, target_update_interval=10, tau=tau, learning_starts=10**6)
    online, target = (net.q_net[-1].weight for net in (model.q_net, model.q_net_target))
    th.nn.init.ones_(online), th.nn.init.zeros_(target)
    model.learn(8)
    assert target.abs().max() == 0
    model.learn(4)
    assert th.allclose(target, th.full_like(target, tau))


def test_callbacks_see_it_as_they_see_dqn(algorithm, tmp_path):
    model = make(algorithm, tensorboard_log=str(tmp_path))
    evaluation = EvalCallback(jump_envs(1, monitor=True), eval_freq=20, n_eval_episodes=1, verbose=0, log_path=str(tmp_path))
    model.learn(60, callback=[evaluation, CheckpointCallback(20, str(tmp_path), verbose=0)])
    assert np.load(tmp_path / "evaluations.npz")["results"].size > 0
    assert len(list(tmp_path.glob("rl_model_*_steps.zip"))) > 0 and (tmp_path / f"{algorithm.__name__}_1").is_dir()
    algorithm.load(next(tmp_path.glob("rl_model_*_steps.zip")))


def test_an_intrinsic_reward_at_coefficient_0_leaves_it_bit_identical(algorithm):
    plain, with_bonus = (
        make(algorithm).learn(100, callback=callback) for callback in (None, IntrinsicReward("rnd", coef=0.0))
    )
    assert same_run(plain, with_bonus)
    assert not same_run(plain, make(algorithm).learn(100, callback=IntrinsicReward("rnd", coef=1.0)))


class Colours(gym.Env):
    """Pictures in colour, each with three bytes of its own that say when it was shown; for what replay gives back."""

    observation_space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.shown = getattr(self, "shown", 0) + 1
        return self.picture(), {}

    def step(self, action):
        self.shown += 1
        return self.picture(), 0.0, self.shown % 7 == 0, False, {}

    def picture(self):
        colours = np.array([self.shown % 256, 100 + self.shown // 256, 255 - self.shown % 256], np.uint8)
        return np.broadcast_to(colours[:, None, None], self.observation_space.shape)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_networks_learn_from_the_very_pictures_that_the_agent_saw(algorithm, n_steps):
    """T14: the released code of DRIML acts on (R, G, B) and trains on three blue channels."""
    settings = {"policy_kwargs": None, "learning_starts": 0, "exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}
    model = make(algorithm, DummyVecEnv([Colours] * 2), "CnnPolicy", n_steps=n_steps, **settings)
    seen, learned, bootstrapped = set(), set(), set()
    names = lambda pictures: {tuple(picture[:, 0, 0].tolist()) for picture in pictures}  # noqa: E731
    predict, compute_loss = model.policy.predict, model._compute_loss
    model.policy.predict = lambda observation, *rest: seen.update(names(observation)) or predict(observation, *rest)

    def loss(data):
        learned.update(names(data.observations)), bootstrapped.update(names(data.next_observations[data.dones[:, 0] == 0]))
        return compute_loss(data)

    model._compute_loss = loss
    if algorithm is DRIML:
        auxiliary_loss = model.auxiliary.loss

        def loss_of_pairs(pairs, *rest):
            inside = pairs.later_observations[:, 0, 0, 0] % 7 != 0  # those that end episodes are never acted on
            bootstrapped.update(names(pairs.later_observations[pairs.valid & inside]))
            return auxiliary_loss(pairs, *rest)

        model.auxiliary.loss = loss_of_pairs
    model.learn(100)
    model.policy.predict(model._last_obs)  # the newest ones were not acted on yet
    assert len(learned) > 20 and learned <= seen and len(bootstrapped) > 20 and bootstrapped <= seen
