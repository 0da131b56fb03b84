"""The DRIML loss: what it equals, whom its gradient reaches, what it learns where the information is known."""

import math

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from features import EVERYWHERE, FIVE, PIXELS, Identity, SmallCNN, gradients, learn, make_pairs, pictures, vector_space
from gymnasium import spaces

from sb3_infomax.auxiliary.infonce import InfoNCE, ResidualHead, contrast, soft_clip
from sb3_infomax.mi.bounds import infonce
from sb3_infomax.mi.gaussian import correlated_gaussians, gaussian_mutual_information
from sb3_infomax.networks.features import Features


def small(encoder=None, **kwargs):
    return InfoNCE(PIXELS, FIVE, encoder or SmallCNN(), dim=16, **kwargs)


def value(module, pairs, encoder):
    return module.loss(pairs, encoder)[0].item()


ALL_FOUR = {f"lambda_{name}": 1.0 for name in ("ll", "lg", "gl", "gg")}


# -- T1: algebra -------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_the_clipped_scores():
    scores = 30 * th.randn(9, 9)
    loss, logs = contrast(soft_clip(scores, 20.0), EVERYWHERE)
    clipped = 20 * th.tanh(scores / 20)
    assert float(loss) == pytest.approx(float(F.cross_entropy(clipped, th.arange(9))), abs=5e-7)
    assert float(logs["mi"]) == pytest.approx(float(infonce(clipped)), abs=1e-5)
    assert float(logs["accuracy"]) == pytest.approx(float((scores.argmax(1) == th.arange(9)).float().mean()))


def test_a_permutation_of_the_batch_changes_nothing():
    scores, order = th.randn(9, 9), th.randperm(9)
    assert float(contrast(scores[order][:, order], EVERYWHERE)[0]) == pytest.approx(
        float(contrast(scores, EVERYWHERE)[0]), abs=5e-7
    )
    encoder = SmallCNN()
    module, pairs = small(encoder, **ALL_FOUR), pictures(9)
    permuted = make_pairs(pairs.observations[order], pairs.later_observations[order], pairs.actions[order])
    assert value(module, permuted, encoder) == pytest.approx(value(module, pairs, encoder), rel=5e-7)


def test_identical_features_give_log_batch():
    encoder = Identity(3)
    module = InfoNCE(vector_space(3), FIVE, encoder)
    pairs = make_pairs(th.randn(32, 3), th.ones(32, 3))
    assert value(module, pairs, encoder) == pytest.approx(math.log(32), abs=5e-7)


@pytest.mark.parametrize("clip", [5.0, 20.0])
def test_the_clip_bounds_the_loss(clip):
    encoder = Identity(3)
    module = InfoNCE(vector_space(3), FIVE, encoder, clip=clip)
    worst = value(module, make_pairs(1e6 * th.randn(64, 3), 1e6 * th.randn(64, 3)), encoder)
    assert math.log(64) < worst <= math.log(64) + 2 * clip


@pytest.mark.parametrize("batch", [64, 256])
def test_the_loss_begins_a_little_above_log_batch(batch):
    """T19: 5.6 to 5.8 at 256."""
    encoder = SmallCNN()
    module = InfoNCE(PIXELS, FIVE, encoder)
    assert -0.05 < value(module, pictures(batch), encoder) - math.log(batch) < 0.3


# -- T12: locations ----------------------------------------------------------------------------------------------------


def test_terms_equal_an_explicit_loop_over_locations():
    encoder = SmallCNN()
    module, pairs = small(encoder, **ALL_FOUR), pictures(7)
    now, later = encoder(pairs.observations), encoder(pairs.later_observations)
    action = module.action_encoder(pairs.actions)
    for name, scores in module.scores(now, pairs.actions, later).items():
        term = module.terms[name]
        losses = []
        for row in range(3):
            for column in range(3):
                query = now.local_map[:, :, row, column] if name[0] == "l" else now.global_vector
                key = later.local_map[:, :, row, column] if name[1] == "l" else later.global_vector
                raw = term.psi(th.cat([query, action], 1)) @ term.phi(key).T / math.sqrt(16)
                losses.append(F.cross_entropy(raw, th.arange(7)))
        assert contrast(scores, th.ones(7, dtype=th.bool))[0].item() == pytest.approx(sum(losses).item() / 9, abs=1e-5)


def test_heads_have_the_released_numbers_of_parameters():
    count = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
    assert count(ResidualHead(576, 512)) == 852_992 and count(ResidualHead(512, 512)) == 787_456


def test_a_head_on_a_map_is_a_block_of_1x1_convolutions():
    head, x = ResidualHead(4, 6), th.randn(2, 4, 3, 3)
    conv = lambda layer, x: F.conv2d(x, layer.weight[..., None, None], layer.bias)  # noqa: E731
    expected = conv(head.output, F.relu(conv(head.hidden, x))) + conv(head.skip, x)
    ours = head(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(2, 6, 3, 3)
    assert th.allclose(ours, expected, atol=1e-5)


def test_film_scales_and_moves_both_layers_after_a_normalisation_by_what_the_action_says():
    """Written out; on a map the action is the same at all locations."""
    head, x, action = ResidualHead(4, 6, film_dim=3), th.randn(2, 9, 4), th.randn(2, 3)
    gamma_1, beta_1, gamma_2, beta_2 = head.film(action).unflatten(1, (4, 6)).unbind(dim=1)

    def normalised(y):
        return (y - y.mean(dim=1, keepdim=True)) / (y.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt()

    def by_hand(x):
        hidden = F.relu(normalised(head.hidden(x)) * (1 + gamma_1) + beta_1)
        return normalised(head.output(hidden)) * (1 + gamma_2) + beta_2 + head.skip(x)

    assert th.allclose(head(x[:, 0], action), by_hand(x[:, 0]), atol=1e-5)
    expected = th.stack([by_hand(x[:, location]) for location in range(9)], dim=1)
    assert th.allclose(head(x, action), expected, atol=1e-5)


# -- T6, T10: masks and gradients --------------------------------------------------------------------------------------


def test_rows_that_are_not_valid_change_nothing_and_get_no_gradient():
    encoder = SmallCNN()
    module, valid = small(encoder, logit_penalty=0.1, **ALL_FOUR), th.arange(10) % 3 != 0
    pairs = pictures(10, valid=valid)
    noise = th.where(valid[:, None, None, None], pairs.later_observations, 255 - pairs.later_observations)
    other = make_pairs(pairs.observations, noise, pairs.actions, valid)
    assert value(module, pairs, encoder) == value(module, other, encoder)
    now, later = encoder(pairs.observations), encoder(pairs.later_observations)
    leaves = [x.detach().requires_grad_() for x in (*now, *later)]
    module.loss(pairs, lambda _: Features(*leaves[2:]), Features(*leaves[:2]))[0].backward()
    for leaf in leaves:
        assert th.equal(leaf.grad[~valid], th.zeros_like(leaf.grad[~valid])) and (leaf.grad[valid] != 0).any()


def test_no_valid_row_is_no_loss():
    encoder = SmallCNN()
    loss, logs = small(encoder).loss(pictures(4, valid=th.zeros(4, dtype=th.bool)), encoder)
    assert float(loss) == 0.0 and all(math.isfinite(float(value)) for value in logs.values())


def test_trajectory_negatives_are_the_blocks_of_the_score_matrix():
    scores = th.randn(9, 9)
    trajectory = th.tensor([0, 1, 1, 0, 2, 1, 0, 0, 2])
    blocks = [scores[trajectory == n][:, trajectory == n] for n in range(3)]
    expected = sum(F.cross_entropy(block, th.arange(len(block)), reduction="sum") for block in blocks) / 9
    assert float(contrast(scores, EVERYWHERE, trajectory)[0]) == pytest.approx(float(expected), abs=1e-6)


def test_the_gradient_reaches_convolutions_layer_heads_and_action_encoder():
    encoder = SmallCNN()
    found = gradients(small(encoder, **ALL_FOUR), encoder, pictures(8))
    assert all(gradient is not None and (gradient != 0).any() for gradient in found.values())


def test_both_branches_have_a_gradient():
    encoder = SmallCNN()
    module, pairs = small(encoder), pictures(8)
    now, later = (encoder(x).global_vector.detach().requires_grad_() for x in (pairs.observations, pairs.later_observations))
    local_map = th.zeros(8, 4, 3, 3)
    module.loss(pairs, lambda _: Features(local_map, later), Features(local_map, now))[0].backward()
    assert (now.grad != 0).any() and (later.grad != 0).any()


def test_features_that_are_known_are_not_computed_again():
    encoder, calls = SmallCNN(), []
    module, pairs = small(encoder), pictures(8)
    encode = lambda observations: (calls.append(len(observations)), encoder(observations))[1]  # noqa: E731
    whole = module.loss(pairs, encode)[0]
    shared = module.loss(pairs, encode, encoder(pairs.observations))[0]
    assert calls == [16, 8] and float(whole) == pytest.approx(float(shared), abs=1e-6)


# -- T11 and every knob --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", ["concat", "film", "none"])
def test_only_the_loss_without_actions_is_blind_to_them(actions):
    encoder = SmallCNN()
    module, pairs = small(encoder, actions=actions, **ALL_FOUR), pictures(8)
    shuffled = make_pairs(pairs.observations, pairs.later_observations, pairs.actions.roll(1, 0))
    assert (value(module, pairs, encoder) == value(module, shuffled, encoder)) == (actions == "none")


@pytest.mark.parametrize(
    "knob",
    [
        *({f"lambda_{name}": 0.5} for name in ("ll", "lg", "gl", "gg")),
        {"actions": "film"},
        {"actions": "none"},
        {"clip": 0.5},
        {"clip": None},
        {"logit_penalty": 1.0},
        {"dim": 8},
        {"ema": 1.0},
        {"shift": 2},
    ],
    ids=str,
)
def test_every_knob_changes_the_loss(knob):
    def result(**kwargs):
        th.manual_seed(1)
        encoder = SmallCNN()
        module = InfoNCE(PIXELS, FIVE, encoder, **({"dim": 16} | kwargs))
        pairs = pictures(16)
        with th.no_grad():
            for parameter in [*encoder.parameters(), *module.terms.parameters()]:
                parameter.mul_(3)  # where the clip bends
        found = gradients(module, encoder, pairs)
        return found["conv.weight"]

    assert not th.allclose(result(), result(**knob), rtol=1e-4)


@pytest.mark.parametrize("name", ["ll", "lg", "gl", "gg"])
def test_a_term_is_weighted_by_its_lambda_and_logged(name):
    encoder = SmallCNN()
    module, pairs = small(encoder, **({"lambda_gg": 0.0} | {f"lambda_{name}": 3.0})), pictures(8)
    loss, logs = module.loss(pairs, encoder)
    assert list(module.terms) == [name] and float(loss) == pytest.approx(3 * float(logs[name]))


def test_the_penalty_is_the_mean_squared_score_of_valid_pairs():
    encoder = SmallCNN()
    module, pairs = small(encoder, logit_penalty=0.5), pictures(8, valid=th.arange(8) < 5)
    raw = module.scores(encoder(pairs.observations), pairs.actions, encoder(pairs.later_observations))["gg"][:5, :5]
    loss, logs = module.loss(pairs, encoder)
    assert float(loss - logs["gg"]) == pytest.approx(0.5 * float(raw.square().mean()), rel=1e-4)


def test_a_momentum_encoder_gets_no_gradient_and_follows():
    encoder = SmallCNN()
    module, pairs = small(encoder, ema=0.25), pictures(8)
    before = encoder.conv.weight.detach().clone()
    with th.no_grad():
        encoder.conv.weight.add_(1.0)
    module.loss(pairs, encoder)[0].backward()
    assert th.allclose(module.momentum.copy.conv.weight, before + 0.25, atol=1e-6)
    assert all(parameter.grad is None for parameter in module.momentum.parameters())
    module.eval()
    module.loss(pairs, encoder)
    assert th.allclose(module.momentum.copy.conv.weight, before + 0.25, atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"lambda_gg": 0.0}, "All four weights are 0"),
        ({"lambda_ll": -1.0}, "lambda_ll is a weight"),
        ({"actions": "add"}, "actions must be"),
        ({"horizon": "far"}, "horizon must be"),
        ({"k": 0}, "k must be a whole number"),
        ({"clip": 0.0}, "clip must be"),
        ({"logit_penalty": -1.0}, "logit_penalty is a weight"),
        ({"batch_size": 1}, "batch_size must be"),
        ({"negatives": "some"}, "negatives must be"),
        ({"n_trajectories": 0}, "n_trajectories must be"),
        ({"ema": 0.0}, "must lie in"),
        ({"shift": -1}, "shift must be"),
    ],
    ids=str,
)
def test_wrong_values_get_a_sentence(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(**kwargs)


def test_vectors_have_no_local_features_and_nothing_to_shift():
    for kwargs, sentence in (({"lambda_ll": 1.0}, "no convolutions"), ({"shift": 4}, "there are none")):
        with pytest.raises(ValueError, match=sentence):
            InfoNCE(vector_space(3), FIVE, Identity(3), **kwargs)


# -- T2 to T4: known information ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "rho"), [(4, 0.5), (4, 0.8), (4, 0.95), (20, 0.9)])
def test_gaussian_information_is_found_up_to_log_batch(dim, rho):
    """T2: never above what there is, nor above log 256."""
    module = InfoNCE(vector_space(dim), FIVE, Identity(dim), dim=64, actions="none")
    generator = th.Generator().manual_seed(0)
    draw = lambda: make_pairs(*correlated_gaussians(256, rho, dim, generator=generator))  # noqa: E731
    estimate, true = learn(module, draw, 600), gaussian_mutual_information(rho, dim)
    assert estimate <= min(true, math.log(256)) + 0.1
    if true < 4:
        assert estimate >= 0.85 * true


def ring(n=16, batch=256):
    moves = th.tensor([1, 3, 6, 10])
    state, action = th.randint(n, (batch,)), th.randint(4, (batch, 1))
    later = (state + moves[action[:, 0]]) % n
    return make_pairs(*(F.one_hot(x, n).float() for x in (state, later)), action)


def test_the_action_is_worth_what_it_tells_on_a_ring():
    """T3: 16 states, 4 moves: log 16 with the action, log 4 without; the loss cannot fall below the log multiplicity."""
    found = {}
    for actions in ("concat", "none"):
        module = InfoNCE(vector_space(16), spaces.Discrete(4), Identity(16), dim=64, actions=actions)
        found[actions] = learn(module, ring, 300)
        if actions == "concat":
            pairs = [ring() for _ in range(40)]
            with th.no_grad():
                losses = [float(module.loss(each, Identity(16))[0]) for each in pairs]
            later = th.stack([each.later_observations.argmax(dim=1) for each in pairs])
            alike = (later[:, :, None] == later[:, None]).sum(dim=2)
            floor = float(alike.double().log().mean())
            assert floor == pytest.approx(2.80, abs=0.02) and floor <= np.mean(losses) < floor + 0.1
    assert found["concat"] - found["none"] >= 1.2
    assert found["concat"] == pytest.approx(math.log(16), abs=0.1) and found["none"] == pytest.approx(math.log(4), abs=0.1)


@pytest.mark.parametrize(("world", "alpha", "k"), [("line", 0.9, 1), ("line", 0.6, 1), ("line", 0.9, 5), ("ring", 0.6, 1)])
def test_scores_recover_the_transition_kernel_of_a_biased_walk(world, alpha, k):
    """T4: 8 states, +1 with probability alpha, else -1; on a line the ends hold, so that states are not equally likely.

    The estimate is the information, and softmax(score + log marginal) is p(s_{t+k} | s_t), within 0.1 in total variation.
    """
    n, states = 8, np.arange(8)
    ends = "wrap" if world == "ring" else "clip"
    step = alpha * np.eye(n).take(states + 1, axis=0, mode=ends) + (1 - alpha) * np.eye(n).take(states - 1, axis=0, mode=ends)
    marginal = np.full(n, 1 / n) if world == "ring" else (alpha / (1 - alpha)) ** states
    marginal = marginal / marginal.sum()
    np.testing.assert_allclose(marginal @ step, marginal, atol=1e-12)
    kernel = np.linalg.matrix_power(step, k)
    true = (marginal[:, None] * kernel * np.log(np.where(kernel > 0, kernel / marginal, 1.0))).sum()
    p, likely = (th.as_tensor(values, dtype=th.float32) for values in (kernel, marginal))

    def draw():
        state = th.multinomial(likely, 256, replacement=True)
        later = th.multinomial(p[state], 1)[:, 0]
        return make_pairs(F.one_hot(state, n).float(), F.one_hot(later, n).float())

    module = InfoNCE(vector_space(n), FIVE, Identity(n), dim=64, actions="none")
    assert learn(module, draw, 300) == pytest.approx(true, abs=0.05)
    with th.no_grad():
        features = Features(None, th.eye(n))
        scores = soft_clip(module.scores(features, th.zeros(n, 1), features)["gg"], 20.0)
    distances = 0.5 * ((scores + likely.log()).softmax(dim=1) - p).abs().sum(dim=1)
    assert float(likely @ distances) < 0.1


def test_masking_pairs_over_ends_finds_more():
    """T7: a ring walked in episodes of 6 steps, k = 3: the loss on valid pairs after training with and without the mask."""
    n, k, length = 64, 3, 6

    def draw(masked=True):
        t, state = th.randint(length, (256,)), th.randint(n, (256,))
        inside = t + k <= length
        later = th.where(inside, (state + k) % n, th.randint(n, (256,)))
        valid = inside if masked else th.ones_like(inside)
        return make_pairs(F.one_hot(state, n).float(), F.one_hot(later, n).float(), valid=valid, k=k)

    losses = []
    for masked in (True, False):
        th.manual_seed(0)
        encoder = Identity(n)
        module = InfoNCE(vector_space(n), FIVE, encoder, dim=64, actions="none")
        learn(module, lambda masked=masked: draw(masked), 300)
        with th.no_grad():
            losses.append(np.mean([float(module.loss(draw(), encoder)[0]) for _ in range(40)]))
    assert losses[1] - losses[0] > 0.4
