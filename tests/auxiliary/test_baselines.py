"""CPC, CURL, ST-DIM, random shifts: each loss in closed form, whom its gradient reaches, every knob, every refusal."""

import math

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from features import EVERYWHERE, FIVE, PIXELS, Identity, SmallCNN, gradients, learn, make_pairs, pictures, vector_space
from gymnasium import spaces

from sb3_infomax.auxiliary.cpc import CPC
from sb3_infomax.auxiliary.curl import CURL
from sb3_infomax.auxiliary.shift import RandomShift
from sb3_infomax.auxiliary.stdim import STDIM
from sb3_infomax.networks.augmentation import random_shift, shift_images
from sb3_infomax.registry import AUXILIARY, register_auxiliary, resolve
from sb3_infomax.types import KStepPairs

LOSSES = {"cpc": CPC, "curl": CURL, "stdim": STDIM}


@pytest.mark.parametrize("name", sorted(AUXILIARY))
def test_names(name):
    cls = resolve(name, AUXILIARY)
    assert cls.paper and name in (cls.__name__.lower(), "shift")


# -- in closed form ------------------------------------------------------------------------------------------------------


def test_cpc_asks_the_predictor_of_each_rows_own_k():
    encoder = Identity(3)
    module = CPC(vector_space(3), FIVE, encoder, k=4)
    k, now, later = th.tensor([1, 4, 2, 2, 3, 1, 1, 3, 4]), th.randn(9, 3), th.randn(9, 3)
    pairs = KStepPairs(now, later, th.zeros(9, 1), k, EVERYWHERE)
    matrices = module.predictors.weight.reshape(4, 3, 3)
    scores = th.stack([(matrices[int(k[i]) - 1] @ now[i]) @ later.T for i in range(9)])
    assert module.loss(pairs, encoder)[0].item() == pytest.approx(F.cross_entropy(scores, th.arange(9)).item(), abs=1e-6)


def test_curl_is_bilinear_between_encoder_and_momentum_copy():
    encoder = SmallCNN()
    module, pairs = CURL(PIXELS, FIVE, encoder).eval(), pictures(9)
    module.shift = 0
    with th.no_grad():
        encoder.linear.weight.mul_(2.0)
    query, key = encoder(pairs.observations).global_vector, module.momentum.copy(pairs.observations).global_vector
    assert not th.allclose(query, key)
    expected = F.cross_entropy(query @ module.critic.projection.weight.T @ key.T, th.arange(9))
    same = make_pairs(pairs.observations, pairs.observations)
    assert module.loss(same, encoder)[0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_stdim_equals_an_explicit_loop_over_locations():
    encoder = SmallCNN()
    module, pairs = STDIM(PIXELS, FIVE, encoder), pictures(7)
    now, later = encoder(pairs.observations), encoder(pairs.later_observations)
    gl, ll = [], []
    for row in range(3):
        for column in range(3):
            earlier = now.local_map[:, :, row, column]
            gl.append(F.cross_entropy(module.global_to_local(later.global_vector) @ earlier.T, th.arange(7)))
            query = module.local_to_local(later.local_map[:, :, row, column])
            ll.append(F.cross_entropy(query @ earlier.T, th.arange(7)))
    loss, logs = module.loss(pairs, encoder)
    assert logs["gl"].item() == pytest.approx(sum(gl).item() / 9, abs=1e-5)
    assert loss.item() == pytest.approx((sum(gl) + sum(ll)).item() / 9, abs=1e-5)


# -- what all promise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_rows_that_are_not_valid_change_nothing(name):
    encoder, valid = SmallCNN(), th.arange(10) % 3 != 0
    module = LOSSES[name](PIXELS, FIVE, encoder).eval()
    module.shift = 0
    pairs = pictures(10, valid=valid)
    flip = lambda images: th.where(valid[:, None, None, None], images, 255 - images)  # noqa: E731
    other = make_pairs(flip(pairs.observations), flip(pairs.later_observations), pairs.actions, valid)
    assert module.loss(pairs, encoder)[0].item() == pytest.approx(module.loss(other, encoder)[0].item(), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_reaches_encoder_and_heads_and_no_momentum_copy(name):
    encoder = SmallCNN()
    found = gradients(LOSSES[name](PIXELS, FIVE, encoder), encoder, pictures(8))
    for parameter, gradient in found.items():
        assert (gradient is None) == parameter.startswith("momentum"), parameter


@pytest.mark.parametrize("name", LOSSES)
def test_actions_do_not_matter(name):
    encoder = SmallCNN()
    module, pairs = LOSSES[name](PIXELS, FIVE, encoder).eval(), pictures(8)
    module.shift = 0
    shuffled = make_pairs(pairs.observations, pairs.later_observations, pairs.actions.roll(1, 0))
    assert th.equal(module.loss(pairs, encoder)[0], module.loss(shuffled, encoder)[0])


@pytest.mark.parametrize(
    ("name", "knob"),
    [
        ("cpc", {"shift": 2}),
        ("cpc", {"ema": 1.0}),
        ("curl", {"shift": 1}),
        ("curl", {"ema": None}),
        ("curl", {"ema": 0.5}),
        ("stdim", {"shift": 2}),
        ("stdim", {"ema": 1.0}),
    ],
    ids=str,
)
def test_every_knob_changes_the_gradient(name, knob):
    def result(**kwargs):
        th.manual_seed(1)
        encoder = SmallCNN()
        module = LOSSES[name](PIXELS, FIVE, encoder, **kwargs)
        with th.no_grad():
            encoder.conv.weight.mul_(2.0)  # away from the momentum copy
        th.manual_seed(2)
        return gradients(module, encoder, pictures(16))["conv.weight"]

    assert th.equal(result(), result()) and not th.allclose(result(), result(**knob), rtol=1e-4)


def test_which_pairs_they_want():
    encoder = SmallCNN()
    assert CPC(PIXELS, FIVE, encoder, k=7).horizon.max_k == 7 and STDIM(PIXELS, FIVE, encoder).horizon.max_k == 1
    module = CURL(PIXELS, FIVE, encoder, batch_size=12, negatives="trajectory", n_trajectories=3)
    assert (module.horizon.max_k, module.batch_size, module.n_trajectories) == (0, 12, 3)
    assert STDIM(PIXELS, FIVE, encoder, n_trajectories=3).n_trajectories is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CPC(vector_space(3), FIVE, Identity(3), k=0), "k must be a whole number"),
        (lambda: CURL(vector_space(3), FIVE, Identity(3)), "CURL compares shifted pictures"),
        (lambda: CURL(PIXELS, FIVE, SmallCNN(), shift=0), "at least 1"),
        (lambda: STDIM(vector_space(3), FIVE, Identity(3)), "ST-DIM needs local features"),
        (lambda: RandomShift(vector_space(3), FIVE, Identity(3)), "'shift' moves pictures"),
    ],
    ids=["CPC k", "CURL on vectors", "CURL without shift", "ST-DIM on vectors", "shift on vectors"],
)
def test_refusals(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_registering_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="name 'curl' is taken"):
        register_auxiliary("curl", CPC)
    register_auxiliary("curl", AUXILIARY["curl"])


# -- learning ------------------------------------------------------------------------------------------------------------


def test_cpc_finds_the_information_of_every_k_on_a_ring():
    """A walk of +1 with probability 0.9 on 8 states; information log 8 - H(s_{t+k} | s_t), averaged over k = 1 ... 3."""
    n, k_max = 8, 3
    step = 0.9 * np.eye(n)[(np.arange(n) + 1) % n] + 0.1 * np.eye(n)[np.arange(n) - 1]
    kernels = [np.linalg.matrix_power(step, k) for k in range(1, k_max + 1)]
    true = np.mean([math.log(n) + (kernel[0][kernel[0] > 0] * np.log(kernel[0][kernel[0] > 0])).sum() for kernel in kernels])
    tables = th.as_tensor(np.array(kernels), dtype=th.float32)

    def draw():
        state, k = th.randint(n, (256,)), th.randint(1, k_max + 1, (256,))
        later = th.multinomial(tables[k - 1, state], 1)[:, 0]
        one_hot = lambda x: F.one_hot(x, n).float()  # noqa: E731
        return KStepPairs(one_hot(state), one_hot(later), th.zeros(256, 1), k, th.ones(256, dtype=th.bool))

    estimate = learn(CPC(vector_space(n), FIVE, Identity(n), k=k_max), draw, 400, lr=1e-2)
    assert estimate == pytest.approx(true, abs=0.1)


# -- shifts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [th.uint8, th.float32])
def test_a_shift_moves_each_picture_as_a_whole_and_repeats_its_border(dtype):
    images = th.arange(2 * 6 * 5).reshape(1, 2, 6, 5).to(dtype).repeat(200, 1, 1, 1)
    shifted = random_shift(images, 2)
    assert shifted.dtype == dtype and shifted.shape == images.shape
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="replicate")
    crops = {(i, j): padded[0, :, i : i + 6, j : j + 5] for i in range(5) for j in range(5)}
    found = [next(key for key, crop in crops.items() if th.equal(crop, picture)) for picture in shifted.float()]
    assert set(found) == set(crops)


def test_only_images_are_shifted_whatever_their_layout():
    space = spaces.Dict(last=spaces.Box(0, 255, (9, 9, 3), np.uint8), x=spaces.Box(-1.0, 1.0, (4,), np.float32))
    batch = {"last": th.randint(0, 256, (16, 9, 9, 3), dtype=th.uint8), "x": th.randn(16, 4)}
    shifted = shift_images(batch, space, 3)
    assert th.equal(shifted["x"], batch["x"]) and not th.equal(shifted["last"], batch["last"])
    # all channels by the same
    repeated = batch["last"][..., :1].repeat(1, 1, 1, 3)
    moved = shift_images({"last": repeated, "x": batch["x"]}, space, 3)["last"]
    assert th.equal(moved[..., :1].expand_as(moved), moved)
    assert shift_images(batch, space, 0) is batch
