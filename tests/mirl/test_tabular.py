"""Exact control with information costs against closed forms, and the tabular learners against the exact solutions."""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest

from sb3_infomax.envs import CORRIDOR_3X20, POCKET_8X8
from sb3_infomax.mi import mutual_information
from sb3_infomax.mirl.tabular import (
    TabularMDP,
    TabularQ,
    optimal_prior,
    plan_with_information_cost,
    soft_backup,
    soft_value_iteration,
    visitation,
)

RIGHT = 1


def uniform(n):
    return np.full(n, 1 / n)


@cache
def random_mdp(n_states=10, n_actions=4, terminal=(9,)):
    rng = np.random.default_rng(1)
    ends = np.isin(np.arange(n_states), terminal)
    transitions = rng.dirichlet(np.full(n_states, 0.5), (n_states, n_actions))
    return TabularMDP(transitions, rng.normal(size=(n_states, n_actions)), ends, ~ends / (~ends).sum())


def bandit(rewards, states):
    """Every step ends the episode, in a state of its own; p(s) is the start."""
    n_states, n_actions = rewards.shape
    transitions = np.zeros((n_states + 1, n_actions, n_states + 1))
    transitions[:, :, -1] = 1
    padded = np.vstack([rewards, np.zeros(n_actions)])
    return TabularMDP(transitions, padded, np.arange(n_states + 1) == n_states, np.append(states, 0.0))


@cache
def world(env_id=CORRIDOR_3X20, **settings):
    return TabularMDP.of(gym.make(env_id, **settings))


def entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


# the soft operator


@pytest.mark.parametrize("scale", [1.0, 1e4, -1e4])
def test_backup_is_the_log_sum_and_stays_finite(scale):
    prior, q_values = np.array([0.7, 0.2, 0.1]), scale * np.array([[0.1, 0.5, 1.0], [0.3, 0.3, 0.3]])
    values, policy = soft_backup(q_values, prior, beta=1.0)
    np.testing.assert_allclose(values, np.logaddexp.reduce(q_values + np.log(prior), axis=1), rtol=1e-12)
    np.testing.assert_allclose(policy.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(policy[1], prior, rtol=1e-9)


def test_infinite_beta_is_the_maximum_and_the_prior_on_ties():
    values, policy = soft_backup(np.array([[1.0, 3.0, 3.0]]), np.array([0.5, 0.3, 0.2]), np.inf)
    assert values.tolist() == [3.0]
    np.testing.assert_allclose(policy, [[0.0, 0.6, 0.4]])


def test_fixed_point_of_one_state_by_hand():
    """V = gamma V + log(sum rho exp(beta r)) / beta."""
    rewards, prior, beta, discount = np.array([[0.0, 1.0, -2.0]]), np.array([0.5, 0.3, 0.2]), 2.0, 0.9
    mdp = TabularMDP(np.ones((1, 3, 1)), rewards, np.array([False]), np.ones(1))
    value = np.log((prior * np.exp(beta * rewards[0])).sum()) / beta / (1 - discount)
    np.testing.assert_allclose(soft_value_iteration(mdp, prior, beta, discount), rewards + discount * value, atol=1e-8)


def test_values_of_the_corridor_by_hand():
    """d cells before the goal the best is to go right: -1 for d - 1 steps, then 9."""
    discount = 0.9
    values = soft_value_iteration(world(), uniform(4), np.inf, discount).max(axis=1)[:-1]
    steps = np.arange(17, 0, -1)
    np.testing.assert_allclose(
        values, -(1 - discount ** (steps - 1)) / (1 - discount) + 9 * discount ** (steps - 1), atol=1e-9
    )


def test_soft_operator_contracts_by_gamma():
    mdp, prior, discount = random_mdp(), np.array([0.4, 0.3, 0.2, 0.1]), 0.9
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 10, 4))
    for _ in range(20):
        distance = np.abs(one - other).max()
        one, other = (
            mdp.rewards + discount * mdp.going_on @ soft_backup(q_values, prior, beta=3.0)[0] for q_values in (one, other)
        )
        assert np.abs(one - other).max() <= discount * distance + 1e-12


def test_distance_to_value_iteration_is_within_the_bound():
    """gamma / (1 - gamma) log(1 / min rho) / beta, nearly reached where all actions are alike."""
    mdp, prior, discount = random_mdp(), np.array([0.4, 0.3, 0.2, 0.1]), 0.9
    hard = soft_value_iteration(mdp, prior, np.inf, discount)
    for beta in (1.0, 10.0, 100.0, 1e3, 1e4):
        gap = hard - soft_value_iteration(mdp, prior, beta, discount)
        assert gap.min() >= -1e-8
        assert gap.max() <= discount / (1 - discount) * np.log(1 / prior.min()) / beta + 1e-8


def test_value_iteration_stops_at_its_tolerance_wherever_it_begins():
    mdp, prior = random_mdp(), uniform(4)
    exact = soft_value_iteration(mdp, prior, 2.0, 0.9, tolerance=1e-12)
    loose = soft_value_iteration(mdp, prior, 2.0, 0.9, tolerance=0.1)
    assert 1e-6 < np.abs(loose - exact).max() <= 0.1
    np.testing.assert_allclose(soft_value_iteration(mdp, prior, 2.0, 0.9, q_values=loose + 5.0), exact, atol=1e-8)


def test_uniform_prior_is_soft_q_learning_less_a_constant():
    """log-sum-exp without a prior is larger by log(A) / beta each step; in Q by gamma / (1 - gamma) times that."""
    mdp, beta, discount = random_mdp(terminal=()), 2.0, 0.9
    q_values = np.zeros((10, 4))
    for _ in range(400):
        q_values = mdp.rewards + discount * mdp.transitions @ (np.logaddexp.reduce(beta * q_values, axis=1) / beta)
    expected = q_values - discount / (1 - discount) * np.log(4) / beta
    np.testing.assert_allclose(soft_value_iteration(mdp, uniform(4), beta, discount), expected, atol=1e-8)


# the prior


@pytest.mark.parametrize(("beta", "p"), [(2.0, 0.5), (3.0, 0.2), (4.0, 0.3)])
def test_optimal_prior_of_a_binary_source(beta, p):
    """Rate-distortion under Hamming distortion: D = 1 / (1 + e^beta), rho(1) = (p - D) / (1 - 2 D), I = H(p) - H(D)."""
    source, hits = np.array([1 - p, p]), np.eye(2)
    distortion = 1 / (1 + np.exp(beta))
    prior = optimal_prior(hits, source, beta)
    assert prior[1] == pytest.approx((p - distortion) / (1 - 2 * distortion), abs=1e-9)
    _, policy = soft_backup(hits, prior, beta)
    rate = entropy(source) - entropy(np.array([distortion, 1 - distortion]))
    assert mutual_information(source, policy) == pytest.approx(rate, abs=1e-9)


def test_information_that_costs_too_much_is_not_bought():
    """Where D would exceed p the best prior is the one action that is right more often, and I = 0."""
    prior = optimal_prior(np.eye(2), np.array([0.8, 0.2]), beta=1.0)
    assert prior[0] == pytest.approx(1.0, abs=1e-9)


def test_learned_prior_tends_to_blahut_arimoto():
    rng = np.random.default_rng(3)
    rewards, states = rng.normal(size=(6, 4)), rng.dirichlet(np.ones(6))
    learner = TabularQ(bandit(rewards, states), "mirl", n_runs=4, epsilon=0.1, beta=2.0, prior_lr=1e-2)
    learner.q_values[:, :-1] = rewards  # they stay: the targets are the rewards themselves
    learner.train(5_000)
    learner.prior_lr = 1e-3
    learner.train(15_000)
    assert np.abs(learner.prior - optimal_prior(rewards, states, 2.0)).max() <= 0.017
    np.testing.assert_allclose(learner.prior.sum(axis=1), 1.0, atol=1e-9)


def test_blahut_arimoto_stops_where_it_is_told():
    q_values, states = np.eye(2), np.array([0.7, 0.3])
    _, policy = soft_backup(q_values, uniform(2), 3.0)
    np.testing.assert_allclose(optimal_prior(q_values, states, 3.0, max_iterations=1), states @ policy)
    gap = optimal_prior(q_values, states, 3.0, tolerance=1e-2) - optimal_prior(q_values, states, 3.0)
    assert 1e-6 < np.abs(gap).max() < 0.1


# planning


def test_planning_never_lowers_the_objective_and_buys_more_information_as_it_gets_cheaper():
    information = []
    for beta in (0.2, 0.5, 1.0, 3.0, 10.0):
        plan = plan_with_information_cost(random_mdp(), beta, 0.9)
        assert np.diff(plan.objective).min(initial=0.0) >= -1e-8
        np.testing.assert_allclose(plan.prior, plan.states @ plan.policy, atol=1e-6)
        information.append(plan.information)
    assert information == sorted(information) and information[0] < 0.05 < 0.5 < information[-1]


def test_planning_stops_where_it_is_told():
    lengths = [
        len(plan_with_information_cost(random_mdp(), 1.0, 0.9, **stop).objective)
        for stop in ({"max_iterations": 2}, {"tolerance": 1e-2}, {})
    ]
    assert lengths[0] == 2 < lengths[1] < lengths[2]


def test_objective_of_a_plan_is_reward_less_information():
    """J (1 - gamma) = E[r] - I / beta where no episode ends."""
    beta, discount = 2.0, 0.9
    mdp = random_mdp(terminal=())
    plan = plan_with_information_cost(mdp, beta, discount)
    reward = (plan.states[:, None] * plan.policy * mdp.rewards).sum()
    assert plan.objective[-1] * (1 - discount) == pytest.approx(reward - plan.information / beta, abs=1e-7)


def test_corridor_needs_no_information_and_the_noops_vanish():
    plan = plan_with_information_cost(world(useless_actions=12), beta=1.0, discount=0.99)
    assert plan.prior[RIGHT] == pytest.approx(1.0, abs=1e-3) and plan.information < 1e-3


def test_visits_are_those_of_simulated_episodes():
    mdp, discount, rng = random_mdp(), 0.8, np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(4), 10)
    counts, states, weight = np.zeros(10), rng.choice(10, size=20_000, p=mdp.start), 1.0
    moves = np.einsum("sa,sat->st", policy, mdp.transitions)
    for _ in range(60):
        states = states[~mdp.terminal[states]]
        counts += weight * np.bincount(states, minlength=10)
        states = (rng.random((len(states), 1)) < moves[states].cumsum(axis=1)).argmax(axis=1)
        weight *= discount
    np.testing.assert_allclose(visitation(mdp, policy, discount), counts / counts.sum(), atol=0.01)


# the learners


def converged(learner, exact):
    """No entry is biased, and single runs are off by no more than the noise of their step sizes, n^-0.7."""
    errors = learner.q_values[:, :-1] - exact
    return np.abs(errors.mean(axis=0)).max() < 0.05 and np.sqrt((errors**2).mean()) < 0.1


@pytest.mark.parametrize(("method", "beta"), [("ql", np.inf), ("sql", 2.0), ("sql", 20.0)])
def test_learner_converges_to_value_iteration(method, beta):
    learner = TabularQ(random_mdp(), method, n_runs=64, discount=0.8, epsilon=1.0, omega=0.7, beta=beta)
    learner.train(30_000)
    exact = soft_value_iteration(random_mdp(), uniform(4), beta, 0.8)[:-1]
    assert converged(learner, exact)


def test_mirl_with_a_fixed_prior_converges_to_its_fixed_point():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    learner = TabularQ(random_mdp(), "mirl", n_runs=64, discount=0.8, epsilon=1.0, omega=0.7, beta=2.0, prior_lr=0.0)
    learner.prior[:] = prior
    learner.train(30_000)
    assert converged(learner, soft_value_iteration(random_mdp(), prior, 2.0, 0.8)[:-1])
    shares = learner.visits.sum(axis=(0, 1)) / learner.visits.sum()
    np.testing.assert_allclose(shares, prior, atol=0.005)  # of exploring actions, which all are


def test_one_step_by_hand():
    """Algorithm 1: pi at s with the old prior and values, then Q with the new prior, beta = 0.5 * (step number)."""
    mdp = TabularMDP(np.eye(2)[None].repeat(2, axis=0), np.array([[0.0, 1.0]] * 2), np.zeros(2, bool), np.array([1.0, 0.0]))
    learner = TabularQ(mdp, n_runs=1, discount=0.5, epsilon=0.0, omega=0.5, prior_lr=0.1, beta=lambda step: 0.5 * step)
    learner.q_values[0] = [[0.2, 0.4], [3.0, 1.0]]
    learner.train(1)
    policy = np.exp(0.5 * np.array([0.2, 0.4]))
    prior = 0.9 * 0.5 + 0.1 * policy / policy.sum()
    np.testing.assert_allclose(learner.prior[0], prior)
    target = 1.0 + 0.5 * np.log((prior * np.exp(0.5 * np.array([3.0, 1.0]))).sum()) / 0.5
    np.testing.assert_allclose(learner.q_values[0], [[0.2, target], [3.0, 1.0]])
    assert learner.beta == 1.0 and learner.visits[0, 0].tolist() == [0, 1] and learner.states.tolist() == [1]


def test_terminal_states_are_worth_nothing():
    learner = TabularQ(bandit(np.array([[2.0, 3.0]]), np.ones(1)), n_runs=1, discount=0.999, beta=1.0)
    learner.q_values[0, -1] = 100.0
    learner.train(50)
    np.testing.assert_allclose(learner.q_values[0, 0], [2.0, 3.0])


@pytest.mark.parametrize(("method", "shares"), [("ql", [0.5, 0.5]), ("sql_m", [0.9, 0.1]), ("mirl", [0.8, 0.2])])
def test_each_method_explores_in_its_way(method, shares):
    learner = TabularQ(bandit(np.zeros((1, 2)), np.ones(1)), method, n_runs=1)
    learner.n_steps, learner.visits[0, 0] = 10, [9, 1]
    if method == "mirl":
        learner.prior[0] = [0.8, 0.2]
    actions = learner.act(np.zeros((1, 20_000), dtype=np.int64), 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(actions[0]) / 20_000, shares, atol=0.012)


def test_greedy_action_weighs_the_prior_and_breaks_ties_at_random():
    learner = TabularQ(bandit(np.zeros((1, 3)), np.ones(1)), n_runs=1, beta=1.0)
    states, rng = np.zeros((1, 3000), dtype=np.int64), np.random.default_rng(0)
    assert np.bincount(learner.act(states, 0.0, rng)[0]).min() > 900
    learner.q_values[0, 0], learner.prior[0] = [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]  # log(0.8 / 0.1) > 1
    assert set(learner.act(states, 0.0, rng)[0]) == {1}


def test_evaluation_is_bounded_below_and_leaves_training_alone():
    one, other = (TabularQ(world(), n_runs=3, seed=4) for _ in range(2))
    one.train(100), other.train(50)
    returns = other.evaluate(n_episodes=5)
    assert returns.shape == (3,) and (returns >= -100).all() and (returns <= 9).all()
    assert (other.evaluate(max_steps=7, n_episodes=50) >= -7).all()
    other.train(50)
    np.testing.assert_array_equal(one.q_values, other.q_values)
    np.testing.assert_array_equal(one.prior, other.prior)


def test_evaluation_explores_as_told():
    learner = TabularQ(world(), "ql", n_runs=2)
    learner.q_values[..., RIGHT] = 1.0
    assert (learner.evaluate(epsilon=0.0, n_episodes=200) > -1.5).all()  # 9 - 8 on average
    assert (learner.evaluate(epsilon=1.0, n_episodes=200) < -50).all()


def area(learner, n_steps=30_000, every=2000):
    """Mean evaluation return over training, of each run."""
    returns = []
    for _ in range(n_steps // every):
        learner.train(every)
        returns.append(learner.evaluate())
    return np.mean(returns, axis=0)


def test_mirl_learns_the_corridor_sooner_than_soft_q_learning():
    mirl, sql = TabularQ(world(), "mirl"), TabularQ(world(), "sql")
    assert (area(mirl) - area(sql)).mean() > 5  # 11.7 here, 12.2 in an implementation of one run at a time
    assert mirl.prior[:, RIGHT].min() > 0.9


@pytest.mark.parametrize(("env_id", "most"), [(CORRIDOR_3X20, 0.2), (POCKET_8X8, 1e-3)])
def test_mirl_gives_up_twelve_noops(env_id, most):
    mdp = world(env_id, useless_actions=12)
    mirl, sql = (TabularQ(mdp, method, prior_lr=5e-4) for method in ("mirl", "sql"))
    gain = (area(mirl) - area(sql)).mean()
    assert gain > (5 if env_id == CORRIDOR_3X20 else 0)
    assert mirl.prior[:, 4:].sum(axis=1).mean() < most < 12 / 16


# influence of the other arguments, and refusals


@pytest.mark.parametrize(
    "change", [{"discount": 0.9}, {"epsilon": 0.5}, {"omega": 0.6}, {"prior_lr": 1e-2}, {"beta": 1.0}, {"seed": 1}]
)
def test_every_argument_has_an_influence(change):
    one, other = TabularQ(world(), n_runs=2), TabularQ(world(), **{"n_runs": 2, **change})
    one.train(200), other.train(200)
    assert not np.array_equal(one.q_values, other.q_values)
    assert other.q_values.shape == (2, 18, 4)


def test_prior_has_no_part_in_q_learning():
    one, other = (TabularQ(world(), "ql", n_runs=2, prior_lr=rate, beta=rate) for rate in (0.1, 0.9))
    one.train(200), other.train(200)
    np.testing.assert_array_equal(one.q_values, other.q_values)
    assert (one.prior == 0.25).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rewards": np.zeros(3)}, "rewards must have shape"),
        ({"start": np.ones(2)}, "start must have shape \\(3,\\)"),
        ({"transitions": np.ones((3, 2, 3))}, "transitions must be probabilities"),
        ({"start": np.array([0.0, 0.0, 1.0])}, "No episode may start in a terminal state"),
    ],
)
def test_what_is_no_process_is_refused(change, sentence):
    good = {
        "transitions": np.full((3, 2, 3), 1 / 3),
        "rewards": np.zeros((3, 2)),
        "terminal": np.array([False, False, True]),
        "start": np.array([1.0, 0.0, 0.0]),
    }
    TabularMDP(**good)
    with pytest.raises(ValueError, match=sentence):
        TabularMDP(**{**good, **change})


def test_wrong_names_and_numbers_are_refused():
    with pytest.raises(ValueError, match="method must be"):
        TabularQ(world(), "sarsa")
    with pytest.raises(ValueError, match="discount must be"):
        soft_value_iteration(world(), uniform(4), 1.0, 1.0)
    with pytest.raises(ValueError, match="beta must be"):
        soft_value_iteration(world(), uniform(4), 0.0, 0.9)
