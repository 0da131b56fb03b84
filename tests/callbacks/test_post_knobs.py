"""What RND's paper and the empowerment post ask of a set-up works with every reward module there is."""

import numpy as np
import pytest
import torch as th
from samples import FOUR_ACTIONS, VECTOR, random_rollout
from toys import Call, make

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.compare.environments import make_vec_env
from sb3_infomax.registry import REWARDS, resolve
from sb3_infomax.rewards.scaling import RewardScaler


def paying_at_once(reward):
    """Settings with which a module does not wait before it pays."""
    return {"warmup_steps": 0} if reward.startswith("empowerment") else {}


def first_rollout(learner, callback, **settings):
    """Advantages and returns of the first rollout, and what was logged after the last."""
    kept = {}

    def keep(model):
        kept.setdefault("advantages", model.rollout_buffer.advantages.copy())
        kept.setdefault("returns", model.rollout_buffer.returns.copy())
        kept["logged"] = dict(model.logger.name_to_value)

    callbacks = [Call(rollout_end=keep)] if callback is None else [callback, Call(rollout_end=keep)]
    make(learner, **settings).learn(3 * 32, callback=callbacks)
    return kept


@pytest.mark.parametrize("learner", ["PPO-two-heads", "A2C-two-heads"])
@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_an_endless_intrinsic_stream_with_its_own_head_and_a_high_extrinsic_discount(reward, learner):
    callback = IntrinsicReward(reward, 1.0, gamma=0.99, episodic=False, module_kwargs=paying_at_once(reward), seed=0)
    plain, found = first_rollout(learner, None, gamma=0.999), first_rollout(learner, callback, gamma=0.999)
    np.testing.assert_array_equal(plain["returns"], found["returns"])  # the targets of the extrinsic head
    assert not np.array_equal(plain["advantages"], found["advantages"])
    assert np.isfinite(found["logged"]["intrinsic/value_loss"])
    low = first_rollout(learner, None, gamma=0.5)
    assert not np.array_equal(plain["returns"], low["returns"])


@pytest.mark.parametrize("mode", ["none", "std", "batch_std", "return_std", "minmax"])
@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_every_normalisation_of_the_bonus(reward, mode):
    knobs = {"normalize": mode, "center": False, "module_kwargs": paying_at_once(reward), "seed": 0}
    logged = first_rollout("PPO", IntrinsicReward(reward, **knobs))["logged"]
    assert np.isfinite(logged["intrinsic/bonus_mean"]) and logged["intrinsic/bonus_std"] > 0
    if mode == "batch_std":
        assert logged["intrinsic/bonus_std"] == pytest.approx(1.0, abs=1e-3)
    if mode == "minmax":
        assert 0 <= logged["intrinsic/bonus_mean"] <= 1


@pytest.mark.parametrize("reward", sorted(REWARDS))
def test_normalisation_of_observations(reward):
    data, losses = random_rollout(n_steps=64), []
    for normalize in (True, False):
        th.manual_seed(0)
        module = resolve(reward, REWARDS)(VECTOR, FOUR_ACTIONS, normalize_observations=normalize, **paying_at_once(reward))
        module.observe(data)
        losses.append(module.update(data)["loss"])
        assert len(module.preprocess.moments) == normalize and th.isfinite(module.compute(data)).all()
    assert losses[0] != losses[1]


def test_the_deviation_of_returns_follows_a_constant_bonus_to_its_geometric_sum():
    scaler, one = RewardScaler("return_std", gamma=0.9), th.ones(4)
    for _ in range(100):
        scaler.observe(one, one.bool(), (4, 1))
    sums = (1 - 0.9 ** th.arange(1, 401)) / (1 - 0.9)
    assert sums[-1] == pytest.approx(10.0)
    # no mean is subtracted: a constant stays what it is, divided by the deviation of the sums
    assert scaler(one, one.bool()) == pytest.approx((one / sums.std(correction=0)).numpy(), rel=1e-3)


PADDLE, RIGHT, LEFT, NOTHING = 72, 3, 4, 0  # byte of Breakout's memory, numbers of the emulator's actions


def moves_of_the_paddle(stickiness, n_probes):
    """How often a single frame of the joystick, which was at rest, moves the paddle."""
    env = make_vec_env("ALE/Breakout-v5", 1, 0, {"repeat_action_probability": stickiness})
    emulator, moved = env.envs[0].unwrapped.ale, 0
    env.reset()
    for _ in range(n_probes):
        before = int(emulator.getRAM()[PADDLE])
        for action in (LEFT if before > 110 else RIGHT, *[NOTHING] * 5):  # away from the walls
            emulator.act(action)
        moved += emulator.getRAM()[PADDLE] != before
    env.close()
    return moved / n_probes


def test_sticky_actions_are_the_emulators_own():
    pytest.importorskip("ale_py")
    assert moves_of_the_paddle(0.0, 20) == 1.0
    assert moves_of_the_paddle(1.0, 20) == 0.0
    assert moves_of_the_paddle(0.25, 2500) == pytest.approx(0.75, abs=0.02)
