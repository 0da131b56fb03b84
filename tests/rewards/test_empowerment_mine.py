"""MINE empowerment: against exact mutual information, and the published estimator as the negative control that it is."""

import math

import pytest
import torch as th
from samples import ACTIONS, FOUR_ACTIONS, VECTOR, random_rollout
from worlds import assert_landscape, bits, exact_bits, true_dynamics, uniform_bits

from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.rewards.empowerment_mine import MINEEmpowerment, donsker_varadhan_of_states
from sb3_infomax.types import Transitions

ROOM = GridWorldEnv([".....",] * 5, stay=True)  # fmt: skip
BOUNDS = ["jsd", "dv", "nwj"]


def in_room(n_steps, cls=MINEEmpowerment, **settings):
    """Trained with the room's own dynamics, seen through the module's encoder."""
    module = cls(ROOM.observation_space, ROOM.action_space, batch_size=64, **settings)
    encode = None if module.encoder_kind == "identity" else lambda one_hots: module.encoder({"": one_hots})
    del module.dynamics  # a network, which only a network could replace
    module.dynamics = true_dynamics(ROOM, encode)
    rate = module.learning_rate
    for step in range(n_steps):
        module.optimizer.param_groups[0]["lr"] = 0.5 * rate * (1 + math.cos(math.pi * step / n_steps))
        states = th.randint(ROOM.n_states, (64,))
        module._gradient_step(Transitions.from_pairs(states, states, th.zeros(64, dtype=th.int64)))
    return module


def control(**settings):
    """The published estimator, which warns of itself."""
    with pytest.warns(UserWarning, match="negative control"):
        return in_room(1000, published=True, **settings)


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_bound_finds_what_uniform_actions_tell(bound):
    assert_landscape(bits(in_room(1500, bound=bound), ROOM), uniform_bits(ROOM, 1), mae=0.08, correlation=0.95)


@pytest.mark.parametrize("feature_dim", [64, 512])
def test_random_features_of_any_width_train(feature_dim):
    module = in_room(1500, encoder="random", feature_dim=feature_dim)
    assert_landscape(bits(module, ROOM), uniform_bits(ROOM, 1), mae=0.08, correlation=0.95)


def test_the_marginal_has_a_sample_for_every_action_and_no_mean():
    module = MINEEmpowerment(VECTOR, FOUR_ACTIONS)
    ends = th.randn(7, 4, 5)
    assert module._marginal(ends) is ends
    module.published = True
    th.testing.assert_close(module._marginal(ends), ends.mean(dim=1, keepdim=True))
    ends = module._ends_of_all(th.randn(7, 5))
    assert ends.shape == (7, 4, 5) and (ends.std(dim=1) > 0).all()


def test_the_published_reward_is_the_same_in_every_state():
    found = bits(control(), ROOM)
    assert found.max() - found.min() < 0.01 < 0.9 < uniform_bits(ROOM, 1).max() - uniform_bits(ROOM, 1).min()


def test_the_published_donsker_varadhan_value_runs_away():
    assert abs(bits(control(bound="dv"), ROOM)).mean() > 100.0


def test_the_published_reward_starts_at_its_lowest_value_and_is_never_positive():
    with pytest.warns(UserWarning, match="negative control"):
        module = MINEEmpowerment(VECTOR, FOUR_ACTIONS, published=True)
    th.nn.init.zeros_(module.critic.network[-1].weight)
    th.testing.assert_close(module.empowerment(th.randn(9, 5)), th.full((9,), -2 * math.log(2)))
    th.nn.init.normal_(module.critic.network[-1].weight)
    assert (module.empowerment(th.randn(9, 5)) <= 0).all()


class Blind(MINEEmpowerment):
    """T(s', a), but with the right marginal."""

    def _seen(self, features, ends):
        return super()._seen(th.zeros_like(features), ends)


def test_without_s_only_the_information_of_the_place_alone_is_left():
    """.320 bit exactly, where with s it is 1.978; the value of the whole batch, since T does not belong to one state."""
    module = in_room(1500, cls=Blind)
    features = th.eye(ROOM.n_states)
    ends = module._imagine_all(features, module.uniform, module.normal)
    scores = module.critic(module._seen(features, ends).flatten(0, 2), module.sequences.flatten(1)).view(25, -1, 5, 5)
    joint, marginal = scores.diagonal(dim1=-2, dim2=-1).mean(), scores.flatten().logsumexp(0) - math.log(scores.numel())
    assert 0.1 < ((joint - marginal) / math.log(2)).item() < 0.6


def test_a_blind_critic_says_nothing_and_a_constant_changes_nothing():
    assert donsker_varadhan_of_states(th.zeros(3, 2, 5, 5)).abs().max() < 1e-6
    scores = th.randn(3, 2, 5, 5)
    th.testing.assert_close(donsker_varadhan_of_states(scores + 7.0), donsker_varadhan_of_states(scores))


@pytest.mark.parametrize("n_alternations", [1, 8])
def test_alternations_find_the_capacity_of_three_places_that_four_actions_reach(n_alternations):
    # T = log p(s' | a) / p(s') of a noiseless channel, two actions to one place; -20 stands for never
    place = th.tensor([0, 0, 1, 2])
    same = place[:, None] == place
    ratio = th.where(same, (4.0 / same.sum(dim=0)).log()[:, None].expand(4, 4), -20.0)[None, None]
    uniform = donsker_varadhan_of_states(ratio).item()
    assert uniform == pytest.approx(1.5 * math.log(2), abs=1e-4)  # entropy of (1/2, 1/4, 1/4)
    assert uniform < donsker_varadhan_of_states(ratio, n_alternations).item() <= math.log(3) + 1e-6


def test_alternations_of_a_learned_critic_go_towards_the_capacity():
    module = in_room(1500)
    before = bits(module, ROOM)
    module.n_alternations = 8
    after = bits(module, ROOM)
    assert abs(after - exact_bits(ROOM, 1)).mean() < abs(before - exact_bits(ROOM, 1)).mean()
    assert (after - exact_bits(ROOM, 1)).max() < 0.02


def test_ema_rate_of_1_is_the_plain_gradient_and_others_are_not():
    gradients = []
    for rate in (1.0, 0.5, 0.1):
        th.manual_seed(0)
        module = MINEEmpowerment(VECTOR, FOUR_ACTIONS, bound="dv", ema_rate=rate)
        module.n_gradient_steps += 1
        module.log_ema.fill_(2.0)  # of earlier batches
        features = th.randn(64, 5)
        th.manual_seed(1)
        loss, _ = module._information_loss(features)
        loss.backward()
        gradients.append(module.critic.network[-1].weight.grad.clone())
        if rate == 1.0:
            module.zero_grad()
            module.n_gradient_steps.zero_()  # the first batch is its own average
            th.manual_seed(1)
            module._information_loss(features)[0].backward()
            th.testing.assert_close(module.critic.network[-1].weight.grad, gradients[0])
    assert not th.allclose(gradients[0], gradients[1]) and not th.allclose(gradients[1], gradients[2])


def test_scores_beyond_reason_raise_an_alarm_once_and_are_clamped():
    module, data = MINEEmpowerment(VECTOR, FOUR_ACTIONS, warmup_steps=0), random_rollout()
    with th.no_grad():
        module.critic.network[-1].bias.fill_(1e3)
    with pytest.warns(UserWarning, match="scores reach 10") as warned:
        module.update(data)
        module.update(data)
    assert len(warned) == 1 and th.isfinite(module.compute(data)).all()


def test_box_actions_are_stood_for_by_random_ones():
    module = MINEEmpowerment(VECTOR, ACTIONS["Box"], max_sequences=9, horizon=2)
    assert module.sequences.shape == (9, 2, 2) and module.sequences.abs().max() <= 1 and module.ceiling == math.log(9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bound": "kl"}, "bound must be 'jsd', 'dv' or 'nwj'"),
        ({"ema_rate": 0.0}, r"ema_rate must lie in \(0, 1\]"),
        ({"n_alternations": -1}, "n_alternations must be"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        MINEEmpowerment(VECTOR, FOUR_ACTIONS, **arguments)
