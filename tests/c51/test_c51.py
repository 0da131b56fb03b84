"""C51's loss on cases with known answers, what each of its arguments does, and what it says of a wrong one."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.nn.functional import one_hot
from toys import jump_envs, same_run

from sb3_infomax import C51
from sb3_infomax.envs.pacman import PacManEnv
from sb3_infomax.registry import ALGORITHMS, resolve

SETTINGS = {"learning_starts": 20, "batch_size": 8, "buffer_size": 60, "train_freq": 4, "gradient_steps": 2, "seed": 3}


def make(env=None, **settings):
    settings = {**SETTINGS, "device": "cpu", "policy_kwargs": {"net_arch": [8]}} | settings
    return C51("MlpPolicy", jump_envs(2) if env is None else env, **settings)


def batch(n=8, discounts=None, dones=0.0):
    columns = {"actions": th.randint(0, 2, (n, 1)), "dones": th.full((n, 1), dones), "rewards": th.randn(n, 1)}
    return ReplayBufferSamples(observations=th.randn(n, 2), next_observations=th.randn(n, 2), discounts=discounts, **columns)


def known_target(model, atom_of):
    """The target network puts all mass of action a in state x on atom ``atom_of(x, a)``."""
    atoms = lambda x: th.stack([atom_of(x, a) for a in (0, 1)], dim=1)  # noqa: E731
    model.q_net_target.probabilities = lambda obs: one_hot(atoms(obs[:, 0].long()), model.q_net.n_atoms).float()


def test_the_name_in_the_registry_is_the_public_class():
    assert resolve("c51", ALGORITHMS) is C51 and issubclass(C51, DQN)


def test_q_values_are_the_means_of_the_distributions():
    model, observations = make(v_min=0.0, v_max=4.0, n_atoms=5), th.randn(6, 2)
    probabilities = model.q_net.probabilities(observations)
    assert probabilities.shape == (6, 2, 5) and th.allclose(probabilities.sum(dim=2), th.ones(6, 2))
    assert th.allclose(model.q_net(observations), (probabilities * th.arange(5.0)).sum(dim=2), atol=1e-6)
    assert th.allclose(model.q_net.logits(observations).softmax(dim=2), probabilities)


def test_the_agent_acts_by_the_largest_mean():
    model, observations = make(), th.randn(64, 2)
    th.nn.init.normal_(model.q_net.q_net[-1].weight)
    actions, _ = model.predict(observations.numpy(), deterministic=True)
    assert actions.tolist() == model.q_net(observations).argmax(dim=1).tolist() and len(set(actions)) == 2


def test_the_loss_is_the_cross_entropy_to_the_projected_target():
    """By hand: all of the target's mass is on one atom, at -2, -1, 0, 1, 2 for x = 0 to 4; the better action is 1."""
    model = make(v_min=-2.0, v_max=2.0, n_atoms=5, gamma=0.5)
    known_target(model, lambda x, a: x if a else th.zeros_like(x))
    data = batch(5)._replace(next_observations=th.stack([th.arange(5.0)] * 2, dim=1), rewards=th.zeros(5, 1))
    # gamma * z = -1, -.5, 0, .5, 1; at x = 0 both actions are on the first atom
    target = th.tensor([[0, 1, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 1, 0]])
    log_p = model.q_net.logits(data.observations).log_softmax(dim=2)[th.arange(5), data.actions.flatten()]
    assert model._compute_loss(data).item() == pytest.approx(-(target * log_p).sum(dim=1).mean().item(), abs=1e-6)


def test_a_terminal_transition_is_the_reward_alone():
    model = make(v_min=-2.0, v_max=2.0, n_atoms=5)
    data = batch(3, dones=1.0)._replace(rewards=th.tensor([[1.0], [0.5], [9.0]]))
    expected = th.tensor([[0, 0, 0, 1, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1]])
    assert th.allclose(model._target_distribution(data), expected, atol=1e-6)


def test_samples_with_discounts_of_their_own_use_them():
    model = make(gamma=0.99)
    data = batch(discounts=th.rand(8, 1))
    target = model._target_distribution(data) @ model.q_net.atoms
    q_values = model.q_net_target(data.next_observations).max(dim=1).values
    assert th.allclose(target, data.rewards.flatten() + data.discounts.flatten() * q_values, atol=1e-4)


def test_n_step_targets_bootstrap_n_steps_later_and_stop_at_the_end():
    """T13: x grows by one in each step, Q(x) is its last digit, each reward is 1 and episodes have 3, 4, 5, 3, ... steps."""
    model = make(
        jump_envs(1, reward=lambda x: 1.0), n_steps=3, gamma=0.5, v_min=0.0, v_max=10.0, n_atoms=11, learning_starts=60
    )
    model.learn(50)
    known_target(model, lambda x, a: x % 10)
    x, ends = model.replay_buffer.observations[:50, 0, 0], model.replay_buffer.dones[:50, 0]
    terminated = ends * (1 - model.replay_buffer.timeouts[:50, 0])
    for t in range(45):
        n = next((i for i in (1, 2, 3) if ends[t + i - 1]), 3)
        expected = sum(0.5**i for i in range(n)) + (1 - terminated[t + n - 1]) * 0.5**n * ((x[t] + n) % 10)
        data = model.replay_buffer._get_samples(np.array([t]))
        assert (model._target_distribution(data) @ model.q_net.atoms).item() == pytest.approx(expected, abs=1e-5)


def test_double_q_takes_the_online_networks_choice_at_the_target_networks_value():
    model, data = make(double_q=True, gamma=1.0), batch(32)._replace(rewards=th.zeros(32, 1))
    th.nn.init.normal_(model.q_net.q_net[-1].weight)
    chosen = model.q_net(data.next_observations).argmax(dim=1)
    values = model.q_net_target(data.next_observations)
    assert (chosen != values.argmax(dim=1)).any()
    expected = values[th.arange(32), chosen]
    assert th.allclose(model._target_distribution(data) @ model.q_net.atoms, expected, atol=1e-4)


def test_only_the_action_taken_is_trained():
    model, data = make(), batch()._replace(actions=th.ones(8, 1, dtype=th.long))
    model._compute_loss(data).backward()
    gradient = model.q_net.q_net[-1].weight.grad.unflatten(0, (2, 51))
    assert gradient[0].abs().max() == 0 and gradient[1].abs().max() > 0
    assert all(parameter.grad is None for parameter in model.q_net_target.parameters())


def test_dueling_logits_are_the_value_plus_the_centred_advantage():
    model = make(dueling=True, n_atoms=5)
    head, observations = model.q_net.q_net[0], th.randn(6, 2)
    value, advantage = head.value(observations), head.advantage(observations).view(6, 2, 5)
    by_hand = value[:, None] + advantage - (advantage[:, :1] + advantage[:, 1:]) / 2
    assert th.allclose(model.q_net.logits(observations), by_hand, atol=1e-6)
    assert [tuple(layer.weight.shape) for layer in head.value if hasattr(layer, "weight")] == [(8, 2), (5, 8)]


INFLUENCE = {
    "learning_rate": 1e-3,
    "n_atoms": 11,
    "v_min": -20.0,
    "v_max": 20.0,
    "double_q": True,
    "dueling": True,
    "batch_size": 16,
    "exploration_final_eps": 0.9,
    "policy_kwargs": {"net_arch": [8], "activation_fn": th.nn.Tanh},
    "n_steps": 3,
    "gamma": 0.5,
    "max_grad_norm": 1e-3,
}


@pytest.mark.parametrize("knob", INFLUENCE)
def test_every_argument_changes_what_is_learned(knob):
    settings = {"exploration_fraction": 0.2, "target_update_interval": 16, "learning_rate": 1e-2}
    plain = make(**settings).learn(160)
    assert not same_run(plain, make(**settings | {knob: INFLUENCE[knob]}).learn(160))


def test_defaults_are_the_papers():
    model = C51("MlpPolicy", jump_envs(1))
    group = model.policy.optimizer.param_groups[0]
    assert (model.q_net.n_atoms, model.q_net.v_min, model.q_net.v_max) == (51, -10.0, 10.0)
    assert (group["lr"], group["eps"], model.exploration_final_eps) == (2.5e-4, 0.01 / 32, 0.01)


def test_adams_epsilon_follows_the_batch_size_and_yields_to_the_users():
    eps = lambda **settings: make(**settings).policy.optimizer.param_groups[0]["eps"]  # noqa: E731
    assert eps(batch_size=64) == 0.01 / 64
    assert eps(policy_kwargs={"optimizer_kwargs": {"eps": 1e-8}}) == 1e-8
    assert eps(policy_kwargs={"optimizer_class": th.optim.RMSprop}) == 1e-8  # RMSprop's own
    given = {"net_arch": [8]}
    make(policy_kwargs=given)
    assert given == {"net_arch": [8]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_atoms": 1}, "n_atoms must be an integer"),
        ({"v_max": "10"}, "v_max must be a number, got '10'"),
        ({"env": PacManEnv(), "policy": "CnnPolicy"}, "too small for NatureCNN: enlarge them, or give"),
        ({"double_q": "yes"}, "double_q must be True or False"),
        ({"batch_size": 0}, "batch_size must be a number above 0, got 0"),
        ({"env": jump_envs(action_space=spaces.Discrete(2, start=1))}, "sends the actions 0 to n - 1 .* starts at 1"),
        ({"v_min": 10.0, "v_max": -10.0}, "v_min must be smaller than v_max"),
        ({"policy_kwargs": {"n_atoms": 5}}, "Give n_atoms to the algorithm itself"),
        ({"policy": DQN.policy_aliases["MlpPolicy"]}, "needs a policy that derives from C51Policy, got DQNPolicy"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        C51(**{"policy": "MlpPolicy", "env": jump_envs(1)} | arguments)


def test_returns_outside_the_support_are_told_once():
    model = make(jump_envs(2, reward=lambda x: 30.0))
    with pytest.warns(UserWarning, match=r"leave the support of C51, from v_min=-10 to v_max=10") as warned:
        model.learn(100)
    assert len([one for one in warned if "support" in str(one.message)]) == 1
    assert model.logger.name_to_value["train/outside_support"] == 1.0


def test_returns_that_reach_the_bound_exactly_are_inside():
    """Rewards of 1 - gamma times the bound for ever: the expected target can only tend to the bound."""
    model = make(jump_envs(2, reward=lambda x: 1.0), gamma=0.9, v_min=0.0, v_max=10.0, learning_rate=1e-2).learn(300)
    assert model.logger.name_to_value["train/outside_support"] == 0.0


@pytest.mark.parametrize("where", ["weights", "rewards"])
def test_nan_is_told_before_it_does_harm(where):
    model = make().learn(40)
    if where == "weights":
        th.nn.init.constant_(model.q_net_target.q_net[-1].bias, th.nan)
    else:
        model.replay_buffer.rewards[:] = np.nan
    with pytest.raises(FloatingPointError, match="The loss of C51 is nan: look for NaN"):
        model.train(gradient_steps=1, batch_size=8)
    assert all(parameter.isfinite().all() for parameter in model.q_net.parameters())
