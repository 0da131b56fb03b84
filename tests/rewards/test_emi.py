"""EMI: its terms against closed forms, its bonuses by hand, what it learns on worlds whose answer is known."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from sb3_infomax.mi.critics import ConcatenatedCritic
from sb3_infomax.mi.gaussian import correlated_gaussians, gaussian_jensen_shannon
from sb3_infomax.networks.encoders import initialize
from sb3_infomax.rewards.emi import EMI, half_batch_information, kl_to_standard_normal, mean_similarity
from sb3_infomax.types import Transitions

BOUND = 2 * math.log(2)
ACTIONS = {
    "Discrete": spaces.Discrete(4),
    "Discrete from 3": spaces.Discrete(4, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(-2.0, 2.0, (2,), np.float32),
}
OBSERVATIONS = {
    "vector": spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "image": spaces.Box(0, 255, (4, 36, 36), np.uint8),
    "small image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "Discrete": spaces.Discrete(6),
    "Dict": spaces.Dict(image=spaces.Box(0, 255, (12, 12, 1), np.uint8), speed=spaces.Box(-1.0, 1.0, (2,), np.float32)),
}
# the inputs of the notes' and the authors' experiments; whitening has tests of its own
RAW = {"normalize_observations": False}
AUTHORS = RAW | {"lambda_error": 100.0, "lambda_info": 0.1, "lambda_kl": 0.5, "n_epochs": 3, "batch_size": 512}


def vectors(dim):
    return spaces.Box(-np.inf, np.inf, (dim,), np.float32)


def rollout(observations, next_observations, actions):
    """Transitions that ``update`` takes for a whole rollout, and so goes over for several epochs."""
    return replace(Transitions.from_pairs(observations, next_observations, actions), shape=(len(actions), 1))


def samples(space, n):
    if isinstance(space, spaces.Dict):
        return {key: samples(part, n) for key, part in space.spaces.items()}
    return th.as_tensor(np.stack([space.sample() for _ in range(n)]))


def random_rollout(observation_space, action_space, n=64):
    observation_space.seed(0), action_space.seed(0)
    return rollout(samples(observation_space, n), samples(observation_space, n), samples(action_space, n))


@pytest.fixture
def data():
    return random_rollout(vectors(3), spaces.Discrete(4))


def small_emi(**kwargs):
    return EMI(vectors(3), spaces.Discrete(4), **kwargs)


def parameters_of(*networks):
    return [parameter for network in networks for parameter in network.parameters()]


def squared_norm(values):
    return values.square().sum(dim=1).mean().item()


# --- the prior -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.79, 0.0, 0.5])
def test_kl_is_that_of_the_gaussian_with_the_samples_moments(correlation):
    noise = th.randn(400, 2)
    x = th.stack([noise[:, 0], correlation * noise[:, 0] + math.sqrt(1 - correlation**2) * noise[:, 1]], dim=1) + 0.1
    exact = kl_divergence(MultivariateNormal(x.mean(dim=0), th.cov(x.T)), MultivariateNormal(th.zeros(2), th.eye(2)))
    assert kl_to_standard_normal(x).item() == pytest.approx(exact.item(), abs=1e-5)
    if correlation < 0:
        assert exact > 0.4  # clipping the entries of the covariance at 0 would make this next to nothing


def test_kl_of_whitened_samples_is_zero():
    x = th.randn(100, 3, dtype=th.float64)
    x -= x.mean(dim=0)
    white = x @ th.linalg.inv(th.linalg.cholesky(th.cov(x.T))).T
    assert abs(kl_to_standard_normal(white.float()).item()) < 1e-6


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("kind", ["constant", "rank 1"])
def test_kl_and_its_gradient_are_finite_where_samples_span_less(kind, batch_size):
    x = th.ones(batch_size, 2) if kind == "constant" else th.linspace(-1, 1, batch_size)[:, None].repeat(1, 2)
    x.requires_grad_()
    kl = kl_to_standard_normal(x)
    kl.backward()
    assert th.isfinite(kl) and th.isfinite(x.grad).all()
    if kind == "constant":  # (2 + 2e-6 - 2 + 2 * log 1e6) / 2
        assert kl.item() == pytest.approx(math.log(1e6), abs=1e-4)


def test_kl_is_smallest_at_the_floor_it_was_given():
    constant = th.zeros(8, 2)
    assert kl_to_standard_normal(constant, floor=1e-2) < kl_to_standard_normal(constant, floor=1e-6)


# --- information ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_information_never_exceeds_its_bound(scale):
    critic = ConcatenatedCritic(2, 1)
    for parameter in critic.parameters():
        nn.init.normal_(parameter, std=scale)
    assert half_batch_information(critic, th.randn(128, 2), th.randn(128, 1)) <= BOUND


def test_blind_critic_sees_no_information():
    critic = ConcatenatedCritic(2, 1)
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    information = half_batch_information(critic, th.randn(128, 2), th.randn(128, 1)).item()
    assert information == pytest.approx(0.0, abs=1e-6) and BOUND - information == pytest.approx(1.38629, abs=1e-5)


class Spy(nn.Module):
    """A critic that notes what it is asked."""

    def paired(self, x, y):
        self.x, self.y = x, y
        return x.sum(dim=1) + y.sum(dim=1)


@pytest.mark.parametrize("batch_size", [10, 11])
def test_negatives_are_lent_by_the_second_half(batch_size, data):
    emi, batch = small_emi(**RAW), data.select(th.arange(batch_size))
    emi.state_critic, emi.action_critic = Spy(), Spy()
    emi.loss(batch)
    phi, next_phi, psi, _ = emi._embed(batch)
    first, second = th.arange(5), th.arange(5, 10)  # the eleventh row lends nothing
    for spy, x, y in [
        (emi.state_critic, th.cat([phi, psi], dim=1), next_phi),
        (emi.action_critic, th.cat([phi, next_phi], dim=1), psi),
    ]:
        assert th.equal(spy.x, x[th.cat([first, first])])
        assert th.equal(spy.y, y[th.cat([first, second])])


def test_second_half_of_a_batch_changes_negatives_only():
    critic, x, y = Spy(), th.randn(8, 2), th.randn(8, 2)
    swapped = th.tensor([0, 1, 2, 3, 5, 4, 7, 6])
    half_batch_information(critic, x, y)
    before = critic.x + critic.y
    half_batch_information(critic, x[swapped], y[swapped])
    assert th.equal((critic.x + critic.y)[:4], before[:4]) and not th.equal((critic.x + critic.y)[4:], before[4:])


@pytest.mark.parametrize("batch_size", [0, 1, 2, 3])
def test_a_batch_without_two_pairs_holds_no_information(batch_size):
    assert half_batch_information(Spy(), th.randn(batch_size, 2), th.randn(batch_size, 2)).item() == 0.0


def test_a_trained_critic_measures_gaussians_within_a_twentieth():
    values = []
    for rho in (0.0, 0.5, 0.9, 0.99):
        critic = ConcatenatedCritic(1, 1)
        initialize(critic, "xavier")
        optimizer = th.optim.Adam(critic.parameters(), lr=1e-3)
        for _ in range(400):
            bound = half_batch_information(critic, *correlated_gaussians(512, rho))
            optimizer.zero_grad()
            (-bound).backward()
            optimizer.step()
        with th.no_grad():
            values.append(half_batch_information(critic, *correlated_gaussians(100_000, rho)).item())
        assert values[-1] == pytest.approx(gaussian_jensen_shannon(rho), abs=0.05)
    assert values == sorted(values) and values[-1] < BOUND


# --- the two bonuses -----------------------------------------------------------------------------------------------------


def test_residual_bonus_by_hand(data):
    emi = small_emi(**RAW)
    action = nn.functional.one_hot(data.actions, 4).float()
    state, next_state = ({"": observations} for observations in (data.observations, data.next_observations))
    predicted = emi.state_embedding(state) + emi.action_embedding(action) + emi.error_model(state, action)
    expected = (predicted - emi.state_embedding(next_state)).square().sum(dim=1)
    assert th.allclose(emi.compute(data), expected, atol=1e-6) and (expected >= 0).all()


def test_residual_bonus_depends_on_the_error_model(data):
    emi = small_emi()
    before = emi.compute(data)
    nn.init.ones_(emi.error_model.head[-1].bias)
    assert not th.allclose(emi.compute(data), before)


def walk(length=50, dim=3):
    """One path: every state once, each transition sharing its states with its neighbours."""
    frames, index = th.randn(length + 1, dim).cumsum(dim=0), th.arange(length)
    ones = th.ones(length, dtype=th.bool)
    return Transitions(frames, index, index + 1, th.randint(0, 4, (length,)), ~ones, ones, (length, 1))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_diversity_bonus_telescopes(gamma):
    emi, path = small_emi(bonus="diversity"), walk()
    emi.update(path)
    bonus = emi.compute(path).double()
    with th.no_grad():
        g = mean_similarity(emi._phi(path.frames), emi.pool, emi.sigma).double()
    discounts = gamma ** th.arange(len(path), dtype=th.float64)
    identity = g[0] - (1 - gamma) * (discounts[:-1] * g[1:-1]).sum() - discounts[-1] * g[-1]
    assert (discounts * bonus).sum().item() == pytest.approx(identity.item(), abs=1e-5)
    assert bonus.abs().max() < 1 and bonus.abs().max() > 0


def test_similarity_by_hand():
    pool = th.tensor([[0.0, 0.0], [3.0, 4.0]])
    similarity = mean_similarity(th.tensor([[0.0, 0.0], [1e3, 0.0]]), pool, sigma=5.0)
    assert similarity.tolist() == pytest.approx([(1 + math.exp(-0.5)) / 2, 0.0])


def test_similarity_is_precise_far_from_the_origin():
    points = th.randn(300, 2)
    assert th.allclose(mean_similarity(points + 4096, points + 4096, 1.0), mean_similarity(points, points, 1.0), atol=1e-3)


def test_residual_is_asked_before_the_update_and_diversity_after(data):
    assert small_emi().bonus_order == "before"
    emi = small_emi(bonus="diversity")
    assert emi.bonus_order == "after" and EMI.bonus_order == "before"
    with th.no_grad():
        old = emi._phi(data.observations)
    emi.update(data)
    with th.no_grad():
        new = emi._phi(data.observations)
    assert th.allclose(emi.pool, new, atol=1e-6) and not th.allclose(emi.pool, old, atol=1e-6)


def test_diversity_is_not_ready_before_its_first_pool(data):
    emi = small_emi(bonus="diversity")
    assert not emi.ready and not emi.compute(data).any()
    nothing_known = replace(data, valid=th.zeros_like(data.valid))
    assert emi.update(nothing_known) == {} and not emi.ready
    emi.update(data)
    assert emi.ready and emi.compute(data).any()


def test_diversity_takes_replay_batches_of_any_size(data):
    emi = small_emi(bonus="diversity")
    emi.update(replace(data, shape=None))
    emi.update(data.select(th.tensor([3])))
    assert len(emi.pool) == 1 and th.isfinite(emi.compute(data)).all()


@pytest.mark.parametrize(("pool_size", "length"), [(None, 64), (16, 16), (1000, 64)])
def test_pool_size_bounds_the_pool(pool_size, length, data):
    emi = small_emi(bonus="diversity", pool_size=pool_size)
    emi.update(data)
    assert emi.pool.shape == (length, 2)


# --- gradients and data --------------------------------------------------------------------------------------------------


def test_each_term_teaches_what_it_should(data):
    emi = small_emi(**RAW)
    metrics = emi.loss(data)[1]
    networks = ["state_embedding", "action_embedding", "error_model", "state_critic", "action_critic"]

    def taught(term):
        for parameter in emi.parameters():
            parameter.grad = None
        metrics[term].backward(retain_graph=True)
        return [
            name
            for name in networks
            if any((p.grad != 0).any() for p in getattr(emi, name).parameters() if p.grad is not None)
        ]

    assert taught("residual") == networks[:3]
    assert taught("error_norm") == ["error_model"]
    assert taught("mi_state") == ["state_embedding", "action_embedding", "state_critic"]
    assert taught("mi_action") == ["state_embedding", "action_embedding", "action_critic"]
    assert taught("kl") == ["action_embedding"]


def test_linear_dynamics_pull_at_the_state_and_at_the_next_state():
    observations, next_observations = (th.randn(32, 3, requires_grad=True) for _ in range(2))
    emi = small_emi(**RAW)
    emi.loss(Transitions.from_pairs(observations, next_observations, th.randint(0, 4, (32,))))[1]["residual"].backward()
    assert (observations.grad != 0).any() and (next_observations.grad != 0).any()


@pytest.mark.parametrize(("n", "steps"), [(64, 6), (70, 6), (31, 3), (32, 3), (1, 3)])
def test_updates_are_epochs_times_whole_minibatches_and_never_none(n, steps, monkeypatch):
    emi = small_emi(n_epochs=3, batch_size=32)
    taken = []
    step = emi.optimizer.step
    monkeypatch.setattr(emi.optimizer, "step", lambda: taken.append(step()))
    emi.update(random_rollout(vectors(3), spaces.Discrete(4), n))
    assert len(taken) == steps


def test_box_actions_are_clipped_to_their_bounds():
    observations, next_observations = th.randn(2, 8, 3)
    emi = EMI(vectors(3), ACTIONS["Box"])
    at_bound, beyond = (Transitions.from_pairs(observations, next_observations, th.full((8, 2), a)) for a in (2.0, 7.0))
    assert th.equal(emi.compute(at_bound), emi.compute(beyond))


def test_next_observation_is_the_terminal_one_and_not_the_next_row():
    path = walk(10)
    frames = th.cat([path.frames, th.full((1, 3), 7.0)])
    ended = replace(path, frames=frames, next_index=path.next_index.index_fill(0, th.tensor([4]), 11))
    emi = small_emi(**RAW)
    changed = (emi.compute(ended) != emi.compute(path)).nonzero().flatten()
    assert changed.tolist() == [4]


def test_only_the_newest_frame_of_a_stack_counts():
    space = OBSERVATIONS["image"]
    batch = random_rollout(space, spaces.Discrete(4), 4)
    older, newest = batch.frames.clone(), batch.frames.clone()
    older[:, :3] = 0
    newest[:, 3] = 0
    emi, everything = EMI(space, spaces.Discrete(4)), EMI(space, spaces.Discrete(4), newest_channels=None)
    bonus = emi.compute(batch)
    assert th.equal(emi.compute(replace(batch, frames=older)), bonus)
    assert not th.equal(emi.compute(replace(batch, frames=newest)), bonus)
    assert not th.equal(everything.compute(replace(batch, frames=older)), everything.compute(batch))


def test_pixels_reach_the_networks_between_minus_one_and_one():
    frames = th.tensor([0, 255], dtype=th.uint8)[:, None, None, None].expand(2, 4, 36, 36)
    inputs = EMI(OBSERVATIONS["image"], spaces.Discrete(4))._inputs(frames)[""]
    assert inputs.shape == (2, 1, 36, 36) and inputs[0].unique().tolist() == [-1] and inputs[1].unique().tolist() == [1]


def test_weights_are_xavier_uniform_and_biases_zero():
    emi = EMI(OBSERVATIONS["Dict"], ACTIONS["Discrete"])
    for layer in emi.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fans = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            assert layer.weight.abs().max() <= math.sqrt(6 / sum(fans)) and not layer.bias.any()


def test_architecture_is_the_authors():
    """Atari: 52 x 52 images give 5 * 5 * 32 features; locomotion: 64-32; every error model has one layer of 256."""
    atari = EMI(spaces.Box(0, 255, (4, 52, 52), np.uint8), spaces.Discrete(18))
    locomotion = EMI(vectors(20), spaces.Box(-1.0, 1.0, (6,), np.float32))
    widths = {
        "phi": [layer.out_features for layer in atari.state_embedding.modules() if isinstance(layer, nn.Linear)],
        "trunk": atari.error_model.trunk.output_dim,
        "phi of vectors": [
            layer.out_features for layer in locomotion.state_embedding.modules() if isinstance(layer, nn.Linear)
        ],
        "trunk of vectors": locomotion.error_model.trunk.output_dim,
    }
    assert widths == {"phi": [256, 2], "trunk": 800, "phi of vectors": [64, 32, 2], "trunk of vectors": 32}
    assert atari.error_model.head[0].weight.shape == (256, 800 + 18)


# --- what it learns ------------------------------------------------------------------------------------------------------


def linear_world(n, independent=False):
    """s' = s + B a in four dimensions, a uniform in [-1, 1]^2."""
    generator = th.Generator().manual_seed(5)
    dynamics = th.randn(2, 4, generator=generator)
    s, a = th.randn(n, 4), 2 * th.rand(n, 2) - 1
    return rollout(s, th.randn(n, 4) if independent else s + a @ dynamics, a)


@pytest.mark.parametrize("independent", [False, True], ids=["linear", "independent"])
def test_linear_dynamics_are_found_where_there_are_any(independent):
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    emi = EMI(vectors(4), space, **(AUTHORS | {"n_epochs": 29}))
    data, unseen = linear_world(5120, independent), linear_world(5120, independent)
    emi.update(data)
    emi.n_epochs = 1
    metrics = emi.update(data)
    if independent:
        assert abs(metrics["mi_state"]) < 0.05 and abs(metrics["mi_action"]) < 0.05
        return
    with th.no_grad():
        phi, next_phi, psi, _ = emi._embed(unseen)
    assert metrics["ratio"] < 0.05 and emi.compute(unseen).mean() / squared_norm(next_phi - phi) < 0.05
    assert kl_to_standard_normal(psi) < 0.005  # of a minibatch it is as much even for perfect samples
    assert 0.8 < metrics["mi_action"] < BOUND and 0.8 < metrics["mi_state"] < BOUND


@pytest.mark.parametrize("lambda_error", [0.0, 0.1, 1.0, 10.0, 100.0])
def test_error_model_absorbs_its_share_of_the_residual(lambda_error):
    """For given embeddings its optimum is the predictable residual divided by 1 + lambda_error."""
    states, actions = (grid.flatten() for grid in th.meshgrid(th.arange(6), th.arange(4), indexing="ij"))
    next_states = th.randint(0, 6, (24,))
    table = rollout(states, next_states, actions)
    emi = EMI(
        spaces.Discrete(6), spaces.Discrete(4), lambda_error=lambda_error, lambda_info=0.0, lambda_kl=0.0, n_epochs=500, **RAW
    )
    for parameter in parameters_of(emi.state_embedding, emi.action_embedding):
        parameter.requires_grad_(False)
    emi.update(table)
    with th.no_grad():
        phi, next_phi, psi, error = emi._embed(table)
    target = next_phi - phi - psi
    slope = ((error * target).sum() / target.square().sum()).item()
    assert slope == pytest.approx(1 / (1 + lambda_error), abs=0.01)
    ratio = squared_norm(target - error) / squared_norm(target)
    assert ratio == pytest.approx((lambda_error / (1 + lambda_error)) ** 2, abs=0.02)


@pytest.mark.parametrize("lambda_error", [0.0, 1.0])
def test_error_model_absorbs_the_mean_of_noise_and_never_the_noise(lambda_error):
    states, actions = th.randint(0, 6, (512,)), th.randint(0, 4, (512,))
    emi = EMI(spaces.Discrete(6), spaces.Discrete(4), **RAW)
    with th.no_grad():
        inputs, one_hot = emi._inputs(states), nn.functional.one_hot(actions, 4).float()
    target = th.randn(6, 4, 2)[states, actions]
    optimizer, noise_sd, residuals = th.optim.Adam(emi.error_model.parameters(), lr=1e-3), 0.7, []
    for _ in range(800):
        error = emi.error_model(inputs, one_hot)
        residual = target + noise_sd * th.randn(512, 2) - error
        residuals.append(squared_norm(residual.detach()))
        optimizer.zero_grad()
        (residual.square().sum(dim=1).mean() + lambda_error * error.square().sum(dim=1).mean()).backward()
        optimizer.step()
    slope = ((error * target).sum() / target.square().sum()).item()
    left = 2 * noise_sd**2 + (lambda_error / (1 + lambda_error)) ** 2 * squared_norm(target)
    assert slope == pytest.approx(1 / (1 + lambda_error), abs=0.02)
    assert np.mean(residuals[-100:]) == pytest.approx(left, rel=0.05)


def ring_with_a_warp(n=256, size=12):
    """Steps to the left and right around a ring; from state 0, action 1 leads to the other side."""
    s, a = th.randint(0, size, (n,)), th.randint(0, 2, (n,))
    next_s = (s + 2 * a - 1) % size
    return rollout(s, th.where((s == 0) & (a == 1), size // 2, next_s), a), (s == 0) & (a == 1)


def test_a_cheap_error_model_explains_what_a_dear_one_cannot():
    residuals, (data, warps) = {}, ring_with_a_warp()
    for lambda_error in (0.01, 1e4):
        emi = EMI(spaces.Discrete(12), spaces.Discrete(2), lambda_error=lambda_error, n_epochs=300, **RAW)
        emi.update(data)
        residuals[lambda_error] = emi.compute(data)[~warps].mean().item()
    assert residuals[1e4] > 50 * residuals[0.01]


def grid_moves(n, columns, size=9):
    """Four moves on a size x size grid, starting in the given columns."""
    x, y = columns[th.randint(0, len(columns), (n,))], th.randint(0, size, (n,))
    a = th.randint(0, 4, (n,))
    next_x = (x + th.tensor([1, -1, 0, 0])[a]).clamp(0, size - 1)
    next_y = (y + th.tensor([0, 0, 1, -1])[a]).clamp(0, size - 1)
    return rollout(x * size + y, next_x * size + next_y, a)


def area_under_curve(positives, negatives):
    """Probability that a positive scores above a negative."""
    return (positives[:, None] > negatives[None]).float().mean().item()


@pytest.mark.parametrize("settings", [AUTHORS, {}], ids=["authors", "defaults"])
def test_unvisited_cells_of_a_grid_are_novel_until_they_are_visited(settings):
    emi = EMI(spaces.Discrete(81), spaces.Discrete(4), **settings)
    known, new, everywhere = th.arange(4), th.arange(6, 9), th.arange(9)
    unseen, novel = grid_moves(2048, known), grid_moves(2048, new)

    def learn(columns, calls):
        for _ in range(calls):
            data = grid_moves(4096, columns)
            emi.observe(data)
            emi.update(data)

    learn(th.arange(5), 8)
    before = emi.compute(novel), emi.compute(unseen)
    assert area_under_curve(*before) > 0.75 and before[0].mean() > 5 * before[1].mean()
    learn(everywhere, 8)
    assert emi.compute(novel).mean() < 2 * emi.compute(unseen).mean()


def test_rare_actions_keep_a_large_residual():
    """A known limit: psi is whitened under the policy's own actions."""
    emi = EMI(spaces.Discrete(81), spaces.Discrete(4), **(AUTHORS | {"n_epochs": 10}))
    moves = grid_moves(100_000, th.arange(9))
    common = (moves.actions == 0) | (th.rand(100_000) < 0.01 / 0.97)
    data = moves.select(common.nonzero().flatten()[:8192])
    metrics = emi.update(replace(data, shape=(len(data), 1)))
    bonus = emi.compute(data)
    assert bonus[data.actions != 0].mean() > 20 * bonus[data.actions == 0].mean()
    assert metrics["residual_action_max"] > 20 * metrics["residual_action_min"]


# --- state, knobs, odd input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bonus", ["residual", "diversity"])
def test_a_loaded_module_continues_bit_for_bit(bonus, data, tmp_path):
    emi, other_data = small_emi(bonus=bonus), random_rollout(vectors(3), spaces.Discrete(4), 50)
    emi.observe(data)
    emi.update(data)
    th.save(emi.state_dict(), tmp_path / "emi.pt")
    loaded = small_emi(bonus=bonus)
    loaded.update(other_data)  # a pool of another length, other moments in Adam
    loaded.load_state_dict(th.load(tmp_path / "emi.pt", weights_only=True))
    for module in (emi, loaded):
        module.observe(other_data)
        module.update(other_data)
    assert th.equal(emi.compute(data), loaded.compute(data))
    assert all(th.equal(a, b) for a, b in zip(emi.parameters(), loaded.parameters(), strict=True))


def test_a_pool_of_another_dimension_is_refused():
    saved = small_emi(bonus="diversity", embedding_dim=3).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch for pool"):
        small_emi(bonus="diversity").load_state_dict(saved)


def test_computing_changes_nothing(data):
    for bonus in ("residual", "diversity"):
        emi = small_emi(bonus=bonus)
        emi.update(data)
        before, global_state = deepcopy(emi.state_dict()), th.get_rng_state()
        assert th.equal(emi.compute(data), emi.compute(data)) and not emi.compute(data).requires_grad
        th.testing.assert_close(emi.state_dict(), before, rtol=0, atol=0)
        assert th.equal(th.get_rng_state(), global_state)


@pytest.mark.parametrize(
    ("weight", "term", "sign"),
    [
        ("lambda_error", "error_norm", 1),
        ("lambda_kl", "kl", 1),
        ("lambda_info", "mi_state", -1),
        ("lambda_info", "mi_action", -1),
    ],
)
def test_each_weight_multiplies_its_term_in_the_loss(weight, term, sign, data):
    emi = small_emi()
    loss, metrics = emi.loss(data)
    setattr(emi, weight, getattr(emi, weight) + 2.0)
    terms = metrics["mi_state"] + metrics["mi_action"] if weight == "lambda_info" else metrics[term]
    assert (emi.loss(data)[0] - loss).item() == pytest.approx(2.0 * sign * terms.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("bonus", "diversity"),
        ("embedding_dim", 3),
        ("lambda_error", 5.0),
        ("lambda_info", 0.0),
        ("lambda_kl", 0.0),
        ("learning_rate", 1e-2),
        ("n_epochs", 2),
        ("batch_size", 16),
        ("update_fraction", 0.5),
        ("max_grad_norm", 1e-3),
        ("normalize_observations", False),
    ],
)
def test_every_knob_moves_the_bonus(knob, value, data):
    bonuses = []
    for kwargs in ({}, {}, {knob: value}):
        th.manual_seed(0)
        emi = small_emi(**kwargs)
        for _ in range(5):
            emi.observe(data)
            emi.update(data)
        bonuses.append(emi.compute(data))
    assert th.equal(bonuses[0], bonuses[1]) and not th.allclose(bonuses[0], bonuses[2], rtol=1e-3)


@pytest.mark.parametrize(("knob", "value"), [("sigma", 5.0), ("pool_size", 8)])
def test_every_knob_of_the_diversity_bonus_moves_it(knob, value, data):
    bonuses = []
    for kwargs in ({}, {knob: value}):
        th.manual_seed(0)
        emi = small_emi(bonus="diversity", **kwargs)
        emi.update(data)
        bonuses.append(emi.compute(data))
    assert not th.allclose(*bonuses, rtol=1e-3)


def test_keys_choose_what_is_looked_at():
    space = OBSERVATIONS["Dict"]
    batch = random_rollout(space, spaces.Discrete(4), 4)
    other = replace(batch, frames={**batch.frames, "image": th.zeros_like(batch.frames["image"])})
    blind, seeing = EMI(space, spaces.Discrete(4), keys=["speed"]), EMI(space, spaces.Discrete(4))
    assert th.equal(blind.compute(batch), blind.compute(other))
    assert not th.equal(seeing.compute(batch), seeing.compute(other))


@pytest.mark.parametrize("bonus", ["residual", "diversity"])
@pytest.mark.parametrize("action_space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("observation_space", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_every_space_trains_and_pays(observation_space, action_space, bonus):
    emi = EMI(observation_space, action_space, bonus=bonus, n_epochs=1)
    batch = random_rollout(observation_space, action_space, 12)
    emi.observe(batch)
    metrics = emi.update(batch)
    assert all(math.isfinite(value) for value in metrics.values())
    assert th.isfinite(emi.compute(batch)).all() and emi.compute(batch).any()
    assert ("residual_action_max" in metrics) == isinstance(action_space, spaces.Discrete)


@pytest.mark.parametrize(
    "settings", [{}, RAW, EMI.presets["mujoco"], EMI.presets["atari"]], ids=["default", "raw", "mujoco", "atari"]
)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_constant_data_and_tiny_batches_never_give_nan(n, settings):
    callback_knobs = {"coef", "normalize", "center"}
    emi = small_emi(**{knob: value for knob, value in settings.items() if knob not in callback_knobs})
    constant = rollout(th.full((n, 3), 1e3), th.full((n, 3), 1e3), th.zeros(n, dtype=th.long))
    for _ in range(30):
        emi.observe(constant)
        assert all(math.isfinite(value) for value in emi.update(constant).values())
    assert th.isfinite(emi.compute(constant)).all()
    assert all(th.isfinite(parameter).all() for parameter in emi.parameters())


def test_a_single_action_leaves_residual_near_zero_and_all_finite():
    emi, path = EMI(vectors(3), spaces.Discrete(4), n_epochs=50, **RAW), walk(512)
    single = replace(path, actions=th.zeros_like(path.actions))
    metrics = emi.update(single)
    assert all(math.isfinite(value) for value in metrics.values()) and th.isfinite(emi.compute(single)).all()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("bonus", "novelty"),
        ("embedding_dim", 0),
        ("sigma", 0.0),
        ("pool_size", 0),
        ("lambda_kl", -1.0),
        ("lambda_error", math.nan),
    ],
)
def test_bad_values_are_refused_in_one_sentence(knob, value):
    with pytest.raises(ValueError, match=knob if knob != "bonus" else "'residual' or 'diversity'"):
        small_emi(**{knob: value})


def test_presets_are_the_papers():
    mujoco, atari = EMI.presets["mujoco"], EMI.presets["atari"]
    weights = ["lambda_error", "lambda_info", "lambda_kl", "coef", "n_epochs", "batch_size", "bonus", "normalize"]
    assert [mujoco[key] for key in weights] == [1e4, 0.05, 0.1, 0.1, 3, 512, "diversity", "none"] and mujoco["sigma"] == 5.0
    assert [atari[key] for key in weights] == [1e2, 0.1, 0.5, 1e-3, 3, 512, "residual", "none"]
