"""MIRL: its targets and limits by hand, the order of Algorithm 1, exploration, temperatures, every parameter, bad input."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import DummyVecEnv
from toys import LEARNERS, Call, fingerprint, jump_envs, same_run

from sb3_infomax.mirl.mirl import MIRL
from sb3_infomax.mirl.prior import kl_divergence, soft_policy
from sb3_infomax.mirl.tabular import TabularMDP, soft_backup, soft_value_iteration

SETTINGS = LEARNERS["DQN"][3]
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


class Table(gym.Env):
    """A deterministic process over ``Discrete`` states: ``following[state, action]``, -1 where the episode ends."""

    def __init__(self, following, rewards):
        self.following, self.rewards = np.asarray(following), np.asarray(rewards, dtype=np.float64)
        self.observation_space = spaces.Discrete(self.rewards.shape[0])
        self.action_space = spaces.Discrete(self.rewards.shape[1])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action):
        reward, following = self.rewards[self.state, action], int(self.following[self.state, action])
        self.state = max(following, 0)
        return self.state, reward, following < 0, False, {}


def random_table(n_states=10, n_actions=4):
    rng = np.random.default_rng(5)
    following = rng.integers(-1, n_states, (n_states, n_actions))
    return Table(following, rng.normal(size=(n_states, n_actions)))


def two_steps():
    """State 0, then state 1, then the end, whatever is done."""
    return Table([[1, 1], [-1, -1]], np.zeros((2, 2)))


def make(env=None, policy="MlpPolicy", **settings):
    return MIRL(policy, jump_envs(2) if env is None else env, **{**SETTINGS, "policy_kwargs": {"net_arch": [8]}, **settings})


def tabular(env, **settings):
    """Without hidden layers the network is a table; ``model.q_net.q_net[0]`` has one column for each state."""
    return make(env, policy_kwargs={"net_arch": []}, **settings)


def set_q_values(model, table):
    """Make the Q values of both networks (n_states, n_actions) numbers."""
    for net in (model.q_net, model.q_net_target):
        net.q_net[0].weight.data[:] = th.as_tensor(np.asarray(table)).T
        net.q_net[0].bias.data.zero_()


def fill(model, env):
    """Every transition of a table, once."""
    for state in range(env.rewards.shape[0]):
        for action in range(env.rewards.shape[1]):
            env.state = state
            after, reward, done, _, _ = env.step(action)
            model.replay_buffer.add(*(np.array([x]) for x in (state, after, action, reward, done)), [{}])


def q_table(net):
    return net(th.arange(net.observation_space.n)).detach().double().numpy()


FIXED = {"learn_prior": False, "beta_schedule": "constant"}


# targets


def losses(model, data):
    """What the loss should be, from the networks' outputs by the tabular solver's operator."""
    with th.no_grad():
        q_values, next_q_values = (
            net(obs).double().numpy()
            for net, obs in ((model.q_net, data.observations), (model.q_net_target, data.next_observations))
        )
    values, _ = soft_backup(next_q_values, model.prior, model.beta)
    rewards, dones, actions = (x.numpy().reshape(-1) for x in (data.rewards, data.dones, data.actions))
    return rewards + (1 - dones) * model.gamma * values - q_values[np.arange(len(actions)), actions.astype(int)]


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_loss_is_the_soft_temporal_difference_and_ends_are_worth_nothing(loss):
    env = random_table()
    model = tabular(env, initial_prior=PRIOR, loss=loss, gamma=0.9)
    fill(model, env)
    set_q_values(model, np.random.default_rng(1).normal(size=(10, 4)))
    model.q_net.q_net[0].bias.data += 0.3  # the online network is not the target
    data = model.replay_buffer.sample(60)
    assert 0 < data.dones.sum() < 60
    errors = np.abs(losses(model, data))
    expected = errors**2 if loss == "mse" else np.where(errors < 1, errors**2 / 2, errors - 0.5)
    assert model._compute_loss(data).item() == pytest.approx(expected.mean(), rel=1e-5)
    ends = data._replace(dones=th.ones_like(data.dones))
    q_values = model.q_net(data.observations).gather(1, data.actions)
    if loss == "mse":
        assert model._compute_loss(ends).item() == pytest.approx(((data.rewards - q_values) ** 2).mean().item(), rel=1e-5)


def test_it_learns_the_fixed_point_of_the_soft_operator():
    """KL-regularised Q-learning towards a policy that is not uniform, to the solution of soft value iteration."""
    env, gamma, beta = random_table(), 0.8, 2.0
    model = tabular(env, initial_prior=PRIOR, beta_init=beta, gamma=gamma, learning_rate=1.0, buffer_size=40, **FIXED)
    model.policy.optimizer = th.optim.SGD(model.q_net.parameters(), lr=1.0)
    model.set_logger(MIRL("MlpPolicy", env).learn(1).logger)
    fill(model, env)
    for _ in range(40):
        model.train(100, 40)
        polyak_update(model.q_net.parameters(), model.q_net_target.parameters(), 1.0)
    transitions = np.zeros((11, 4, 11))
    rows = np.arange(10)[:, None], np.arange(4)[None], np.where(env.following < 0, 10, env.following)
    transitions[rows], transitions[10, :, 10] = 1, 1
    ends = np.arange(11) == 10
    mdp = TabularMDP(transitions, np.vstack([env.rewards, np.zeros(4)]), ends, ~ends / 10)
    np.testing.assert_allclose(q_table(model.q_net), soft_value_iteration(mdp, PRIOR, beta, gamma)[:-1], atol=1e-3)


def test_uniform_prior_is_soft_q_learning_less_a_constant():
    """The target of log-sum-exp without a prior is larger by gamma log(A) / beta."""
    model = tabular(random_table(), beta_init=3.0, **FIXED)
    set_q_values(model, np.random.default_rng(1).normal(size=(10, 4)))
    sums = np.logaddexp.reduce(3.0 * q_table(model.q_net_target), axis=1) / 3.0
    values = model._soft_value(th.arange(10)).detach().numpy()[:, 0]
    np.testing.assert_allclose(model.gamma * values, model.gamma * sums - model.gamma * np.log(4) / 3.0, atol=1e-6)


@pytest.mark.parametrize("double_q", [False, True])
def test_large_beta_has_dqns_target_and_action(double_q):
    model = make(beta_init=1e6, beta_max=1e6, double_q=double_q, **FIXED)
    model.q_net_target.q_net[-1].bias.data += th.tensor([1.0, 0.0])
    observations = th.randn(100, 2)
    online, target = model.q_net(observations), model.q_net_target(observations)
    best = online.argmax(dim=1, keepdim=True) if double_q else target.argmax(dim=1, keepdim=True)
    assert th.allclose(model._soft_value(observations), target.gather(1, best), atol=1e-5)
    actions, _ = model.predict(observations.numpy(), deterministic=True)
    assert (actions == online.argmax(dim=1).numpy()).all()


LIMITS = {"vectors": {}, "gradient steps": {"gradient_steps": 5, "target_update_interval": 8, "max_grad_norm": 0.1}}


@pytest.mark.parametrize("case", LIMITS)
def test_at_large_beta_a_run_is_dqns(case):
    """One environment and no exploration: the same actions, batches and weights, from start to end."""
    greedy = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0} | LIMITS[case]
    dqn = DQN("MlpPolicy", jump_envs(1), **{**SETTINGS, "policy_kwargs": {"net_arch": [8]}, **greedy}).learn(200)
    ours = make(jump_envs(1), loss="huber", beta_init=1e8, beta_max=1e8, **FIXED, **greedy).learn(200)
    assert ours._n_updates == dqn._n_updates > 0
    for name, weights in dqn.q_net.state_dict().items():
        th.testing.assert_close(ours.q_net.state_dict()[name], weights, rtol=1e-5, atol=1e-5)


def test_double_q_is_the_same_where_the_networks_agree():
    plain, double = (tabular(random_table(), double_q=double_q, beta_init=0.7) for double_q in (False, True))
    for model in (plain, double):
        set_q_values(model, np.random.default_rng(1).normal(size=(10, 4)))
    th.testing.assert_close(plain._soft_value(th.arange(10)), double._soft_value(th.arange(10)))
    double.q_net.q_net[0].weight.data[0] += 1
    assert (double._soft_value(th.arange(10)) < plain._soft_value(th.arange(10))).all()


# the order of Algorithm 1


Q_TABLE = np.array([[2.0, 0.0], [-3.0, 0.0]])  # the two states want opposite actions


def test_prior_moves_by_the_state_acted_in_not_the_next():
    model = tabular(two_steps(), learning_starts=0, prior_lr=0.1, train_freq=1, gradient_steps=0)
    set_q_values(model, Q_TABLE)
    expected = np.array([0.5, 0.5])
    for step, state in enumerate([0, 1, 0, 1, 0]):
        model.learn(1, reset_num_timesteps=step == 0)
        expected = 0.9 * expected + 0.1 * soft_policy(Q_TABLE[state], expected, 1.0)
        np.testing.assert_allclose(model.prior, expected, rtol=1e-6)


def test_prior_takes_one_step_for_each_environment_in_their_order():
    model = tabular(DummyVecEnv([two_steps] * 2), learning_starts=0, prior_lr=0.1, train_freq=1, gradient_steps=0)
    model.env.envs[1].unwrapped.reset = lambda **kwargs: (setattr(model.env.envs[1].unwrapped, "state", 1), (1, {}))[1]
    set_q_values(model, Q_TABLE)
    model.learn(2)
    expected = np.array([0.5, 0.5])
    for state in (0, 1):
        expected = 0.9 * expected + 0.1 * soft_policy(Q_TABLE[state], expected, 1.0)
    np.testing.assert_allclose(model.prior, expected, rtol=1e-6)


def test_each_gradient_step_sees_the_prior_of_its_step_and_beta_moves_after_it():
    """Lines 5, 7 and 8."""
    model, seen = tabular(two_steps(), learning_starts=0, train_freq=1, gradient_steps=1, prior_lr=0.1), []
    compute_loss = model._compute_loss
    model._compute_loss = lambda data: seen.append((model.prior, model.beta)) or compute_loss(data)
    priors, betas = [], []
    model.learn(6, callback=Call(step=lambda model: priors.append(model.prior), rollout_start=lambda m: betas.append(m.beta)))
    assert len(seen) == 6
    np.testing.assert_array_equal([prior for prior, _ in seen], priors)
    assert [beta for _, beta in seen] == betas and len(set(betas)) == 6


def test_prior_waits_for_the_warm_up():
    model = make(learning_starts=40)
    model.learn(40)
    assert (model.prior == 0.5).all()
    model.learn(2, reset_num_timesteps=False)
    assert (model.prior != 0.5).all()


def test_evaluation_during_training_does_not_move_the_prior():
    observations = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    evaluate = Call(step=lambda model: model.predict(observations, deterministic=True))
    assert same_run(make().learn(60), make().learn(60, callback=evaluate))


# exploration


def explorer(n_envs, **settings):
    model = tabular(DummyVecEnv([random_table] * n_envs), initial_prior=PRIOR, **settings)
    set_q_values(model, np.tile([0.0, 0.0, 0.0, 50.0], (10, 1)))  # the best action is the one with the smallest prior
    return model, np.zeros(n_envs, dtype=np.int64)


def test_exploring_actions_follow_the_prior_independently_over_environments():
    model, observations = explorer(4)
    model.exploration_rate = 1.0
    actions = np.array([model.predict(observations)[0] for _ in range(4000)])
    counts = np.bincount(actions.ravel(), minlength=4)
    assert ((counts - 16_000 * PRIOR) ** 2 / (16_000 * PRIOR)).sum() < 16.3  # chi-square, 3 degrees, 99.9 %
    pairs = np.bincount(4 * actions[:, 0] + actions[:, 1], minlength=16)
    expected = 4000 * np.outer(PRIOR, PRIOR).ravel()
    assert ((pairs - expected) ** 2 / expected).sum() < 37.7  # 15 degrees


def test_each_environment_has_a_coin_of_its_own():
    """DQN's is one for all: there this correlation is 1."""
    model, observations = explorer(2)
    model.exploration_rate = 0.5
    explored = np.array([model.predict(observations)[0] != 3 for _ in range(4000)])
    np.testing.assert_allclose(explored.mean(axis=0), 0.5 * 0.9, atol=0.03)
    assert abs(np.corrcoef(explored.T)[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("deterministic", [True, False])
def test_without_exploration_the_best_action_of_the_soft_policy_is_taken(deterministic):
    model, observations = explorer(2)
    model.exploration_rate = 1.0 if deterministic else 0.0
    assert model.predict(observations, deterministic=deterministic)[0].tolist() == [3, 3]
    set_q_values(model, np.tile([0.0, 0.0, 0.0, 1.0], (10, 1)))  # log 4 is more
    assert model.predict(observations, deterministic=deterministic)[0].tolist() == [0, 0]


def test_a_single_observation_gives_a_single_action():
    model, _ = explorer(2)
    for rate in (0.0, 1.0):
        model.exploration_rate = rate
        assert model.predict(np.int64(0))[0].shape == ()


# temperature


def test_beta_tends_to_one_over_a_constant_loss():
    """beta_k = 1 / L + (1 - alpha)^k (beta_0 - 1 / L)."""
    model = make(beta_init=2.0, beta_lr=0.1)
    for k in range(1, 30):
        model._squared_error = th.tensor(0.25)
        model._after_gradient_step(model._squared_error)
        assert model.beta == pytest.approx(4 + 0.9**k * (2 - 4), rel=1e-12)


@pytest.mark.parametrize(("squared_error", "limit"), [(0.0, 50.0), (1e-30, 50.0), (1e30, 0.5)])
def test_beta_keeps_within_its_bounds(squared_error, limit):
    model = make(beta_init=1.0, beta_lr=0.1, beta_min=0.5, beta_max=50.0)
    for _ in range(500):
        model._squared_error = th.tensor(squared_error)
        model._after_gradient_step(model._squared_error)
        assert 0.5 <= model.beta <= 50.0
    assert model.beta == pytest.approx(limit)


def test_beta_follows_the_squared_error_whatever_the_loss():
    betas = []
    for loss in ("mse", "huber"):
        model = make(loss=loss, beta_lr=0.5, learning_starts=1000).learn(100)
        model.policy.optimizer = th.optim.SGD(model.q_net.parameters(), lr=0.0)
        np.random.seed(0)
        model.train(1, 8)
        betas.append(model.beta)
    assert betas[0] == betas[1] != 1.0


SCHEDULES = {
    "constant": ({"beta_schedule": "constant", "beta_init": 3.0}, [3.0, 3.0]),
    "linear": ({"beta_schedule": "linear", "beta_lr": 0.1}, [1.0 + 0.1 * 48, 1.0 + 0.1 * 96]),
    "linear, bounded": ({"beta_schedule": "linear", "beta_lr": 0.1, "beta_max": 7.0}, [5.8, 7.0]),
    "a function": ({"beta_schedule": lambda left: 2.0 + 8.0 * (1 - left)}, [6.0, 10.0]),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_scheduled_beta(case):
    settings, expected = SCHEDULES[case]
    betas = {}
    model = make(**settings).learn(96, callback=Call(step=lambda model: betas.update({model.num_timesteps: model.beta})))
    assert [betas[50], model.beta] == pytest.approx(expected)


# diagnostics, and every parameter


def test_logged_diagnostics_are_those_of_the_prior_and_the_last_batch():
    logged = {}
    model = make(prior_lr=0.05).learn(100)
    model.logger.dump = lambda step: logged.update(model.logger.name_to_value)
    model.dump_logs()
    policy = soft_policy(model._batch_q_values.double().numpy(), model.prior, model.beta)
    assert logged["train/beta"] == model.beta and logged["train/temperature"] == 1 / model.beta
    assert logged["train/prior_entropy"] == pytest.approx(-(model.prior * np.log(model.prior)).sum())
    assert logged["train/mutual_information"] == pytest.approx(kl_divergence(policy, policy.mean(axis=0)).mean())
    assert logged["train/prior_kl"] == pytest.approx(kl_divergence(policy, model.prior).mean())
    assert 0 <= logged["train/mutual_information"] <= logged["train/prior_kl"]


CHANGES = {
    "learn_prior": False,
    "initial_prior": [0.8, 0.2],
    "prior_lr": 0.1,
    "prior_floor": 0.49,
    "beta_schedule": "linear",
    "beta_init": 5.0,
    "beta_lr": 0.5,
    "beta_min": 1.0,
    "beta_max": 1.0,
    "loss": "huber",
    "double_q": True,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_parameter_has_an_influence(name):
    kept = {"target_update_interval": 8}
    assert not same_run(make(**kept).learn(100), make(**kept, **{name: CHANGES[name]}).learn(100))


def test_parameters_change_what_they_are_about_and_nothing_else():
    """The initial weights and the warm-up are DQN's; parameters of beta leave the prior alone, and the other way round."""
    dqn = fingerprint(DQN("MlpPolicy", jump_envs(2), **SETTINGS).learn(16))
    ours = make(**{name: CHANGES[name] for name in ("prior_lr", "beta_lr", "loss", "double_q")}).learn(16)
    assert same_run(dqn, [x for x in fingerprint(ours) if x.dtype != th.float64])
    frozen = make(learn_prior=False, prior_lr=0.5).learn(100)
    assert same_run(frozen, make(learn_prior=False).learn(100)) and (frozen.prior == 0.5).all()
    constant = make(beta_schedule="constant", beta_lr=0.5).learn(100)
    assert same_run(constant, make(beta_schedule="constant").learn(100)) and constant.beta == 1.0


# bad input


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_steps": 3}, r"learns from single steps \(n_steps=1\)"),
        (
            {"replay_buffer_class": NStepReplayBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.99}},
            r"learns from single steps \(n_steps=1\)",
        ),
        ({"prior_lr": 1.5}, "prior_lr must be between 0 and 1, got 1.5"),
        ({"beta_lr": -0.1}, "beta_lr must be between 0 and 1"),
        ({"prior_floor": 0.6}, "prior_floor must be between 0 and 1 / 2"),
        ({"prior_floor": 0.0}, "prior_floor must be between"),
        ({"initial_prior": [0.5, 0.3, 0.2]}, "one probability for each of 2 actions"),
        ({"initial_prior": [0.9, 0.9]}, "must sum to 1"),
        ({"beta_schedule": "cosine"}, "beta_schedule must be one of inverse_loss, linear, constant or a function"),
        ({"beta_init": 0.0}, "beta must start between its bounds"),
        ({"beta_min": 1e-9}, r"these lie between 0.0001 and 1e\+30"),
        ({"batch_size": 0}, "batch_size must be a number above 0, got 0"),
        ({"env": jump_envs(action_space=spaces.Discrete(2, start=1))}, "sends the actions 0 to n - 1 .* starts at 1"),
        ({"beta_init": 1e6, "beta_schedule": "constant"}, "beta_max=200"),
        ({"beta_schedule": lambda left: float("nan")}, "beta_schedule returned NaN"),
        ({"beta_init": "1"}, "beta_init must be a number, got '1'"),
        ({"learn_prior": 1}, "learn_prior must be True or False, got 1"),
        ({"loss": "l1"}, "loss must be one of mse, huber"),
        ({"policy": DQN.policy_aliases["MlpPolicy"]}, "needs a policy that derives from MIRLPolicy, got DQNPolicy"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**settings)


def test_a_loss_that_is_not_finite_stops_the_run():
    with pytest.raises(FloatingPointError, match="The loss of MIRL is nan"):
        make(jump_envs(2, reward=lambda x: float("nan"))).learn(60)


def test_nan_does_not_enter_the_prior():
    model = make()
    model.policy.predict(np.full((2, 2), np.nan, dtype=np.float32))
    with pytest.raises(FloatingPointError, match="look for NaN in observations"):
        model.action_prior.update(model.policy.last_weights, 0.1, 1e-6)
    assert np.isfinite(model.prior).all()


def test_settings_given_on_loading_are_checked_and_take_effect(tmp_path):
    make(beta_schedule="constant").save(tmp_path / "model")
    with pytest.raises(ValueError, match="prior_lr must be between 0 and 1, got 5"):
        MIRL.load(tmp_path / "model", prior_lr=5.0)
    assert MIRL.load(tmp_path / "model", env=jump_envs(2), beta_init=7.0).learn(10).beta == 7.0


def test_prior_and_beta_are_saved_and_carried_with_the_parameters(tmp_path):
    trained, other = make(prior_lr=0.02).learn(60), make(seed=9)
    trained.save(tmp_path / "model")
    other.set_parameters(trained.get_parameters(), exact_match=True)
    for one in (MIRL.load(tmp_path / "model"), other):
        assert one.beta == trained.beta != 1.0 and np.array_equal(one.prior, trained.prior) and np.ptp(one.prior) > 0
    loaded = MIRL.load(tmp_path / "model", env=trained.env).learn(40, reset_num_timesteps=False)
    assert not np.array_equal(loaded.prior, trained.prior)
