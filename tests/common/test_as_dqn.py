"""What Stable-Baselines3's own tests ask of DQN, asked of C51, DRIML and MIRL."""

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
from toys import OFF_POLICY, AnySpace, goes_on_as_saved, jump_envs, same_run

from sb3_infomax import C51, DRIML, MIRL, IntrinsicReward

OWN = {C51: {}, DRIML: {"k": 2, "infonce_kwargs": {"dim": 16}}, MIRL: {"prior_lr": 0.02}}


@pytest.fixture(params=OWN, ids=lambda cls: cls.__name__)
def algorithm(request):
    return request.param


def make(algorithm, env=None, policy="MlpPolicy", **settings):
    settings = {**OFF_POLICY, **OWN[algorithm], "policy_kwargs": {"net_arch": [8]}} | settings
    return algorithm(policy, jump_envs(2) if env is None else env, **settings)


def images():
    return FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=True)


def any_space(space):
    return lambda: AnySpace(space, spaces.Discrete(3), seed=0)


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


NOT_OF = {  # and why
    (DRIML, "double, dueling"): "it has no layer in common, see tests/driml",
    (MIRL, "n-step, four environments"): "single steps only, see its docstring",
    (MIRL, "double, dueling"): "no dueling",
    (MIRL, "dueling on pictures"): "no dueling",
}


def cases(*names):
    """Each of the runs with each algorithm that has it."""
    having = [(algorithm, name) for name in names for algorithm in OWN if (algorithm, name) not in NOT_OF]
    return pytest.mark.parametrize(
        ("algorithm", "case"), having, ids=[f"{algorithm.__name__}-{name}" for algorithm, name in having]
    )


def build(algorithm, case, **settings):
    arguments = copy.deepcopy(RUNS[case]) | settings
    return make(algorithm, arguments.pop("env", lambda: jump_envs(2))(), **arguments)


@cases(*RUNS)
def test_it_runs_is_saved_and_goes_on(algorithm, case, tmp_path):
    model = build(algorithm, case).learn(60)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=model.env, device="cpu")
    observations = model.env.reset()
    assert np.array_equal(*(one.predict(observations, deterministic=True)[0] for one in (model, loaded)))
    assert same_run(model, loaded)
    states = [one.policy.optimizer.state_dict()["state"] for one in (model, loaded)]
    assert all(th.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])
    if "HerReplayBuffer" not in str(model.replay_buffer_class):
        loaded.learn(40, reset_num_timesteps=False)
        assert loaded._n_updates > model._n_updates


@cases("vectors", "n-step, four environments", "double", "Dict")
def test_the_same_seed_gives_the_same_run(algorithm, case):
    assert same_run(build(algorithm, case).learn(60), build(algorithm, case).learn(60))
    assert not same_run(build(algorithm, case).learn(60), build(algorithm, case, seed=4).learn(60))


@pytest.mark.parametrize(
    "action_space", [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)]
)
def test_actions_that_are_not_discrete_are_refused(algorithm, action_space):
    with pytest.raises(AssertionError, match=r"only supports .*Discrete"):
        make(algorithm, jump_envs(1, action_space=action_space))


IDENTITY = {
    C51: [{"v_min": 0.0, "v_max": 2.0}, {"v_min": 0.0, "v_max": 2.0, "n_steps": 3, "double_q": True}],
    MIRL: [{"prior_lr": 1e-3}, {"prior_lr": 1e-3, "double_q": True, "loss": "huber"}, {"learn_prior": False}],
}
IDENTITY[DRIML] = IDENTITY[C51]


@pytest.mark.parametrize(
    ("algorithm", "own"), [pytest.param(cls, own, id=f"{cls.__name__}-{own}") for cls in OWN for own in IDENTITY[cls]]
)
def test_it_solves_the_identity(algorithm, own):
    settings = {"learning_rate": 5e-3, "gamma": 0.4, "policy_kwargs": {"net_arch": [32]}, "seed": 3}
    env = DummyVecEnv([lambda: IdentityEnv(5)])
    model = make(algorithm, env, **settings | {"buffer_size": 5000, "batch_size": 32, "target_update_interval": 100} | own)
    mean, _ = evaluate_policy(model.learn(1500), env, n_eval_episodes=5, warn=False)
    assert mean == 100  # the best there is


def test_a_saved_policy_stands_alone(algorithm, tmp_path):
    model = make(algorithm).learn(60)
    model.policy.save(tmp_path / "policy")
    policy, observations = type(model.policy).load(tmp_path / "policy"), np.random.default_rng(0).normal(size=(50, 2))
    assert np.array_equal(policy.predict(observations)[0], model.policy.predict(observations)[0])
    here, there = policy.state_dict(), model.policy.state_dict()
    assert here.keys() == there.keys() and all(th.equal(here[key], there[key]) for key in here)


def test_a_loaded_run_continues_as_if_it_had_not_stopped(algorithm, tmp_path):
    """Weights, optimizer, target network, replay, prior and beta: the same batch moves both models to the same weights."""
    goes_on_as_saved(make(algorithm).learn(60), tmp_path)


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


def test_an_intrinsic_reward_changes_what_it_learns_from_and_nothing_at_coefficient_0(algorithm):
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


@pytest.mark.parametrize(("algorithm", "n_steps"), [(C51, 1), (C51, 3), (DRIML, 1), (DRIML, 3), (MIRL, 1)])
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
