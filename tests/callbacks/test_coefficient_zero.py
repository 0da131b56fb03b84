"""House rule 1: with coefficient 0 a run is bit-identical to plain Stable-Baselines3."""

import functools

import pytest
import torch as th
from toys import LEARNERS, NO_WARM_UP, STEPS, Rude, fingerprint, make, same_run

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.registry import REWARDS


@functools.cache
def plain_run(learner: str) -> list[th.Tensor]:
    return fingerprint(make(learner).learn(STEPS))


@pytest.mark.parametrize("learner", LEARNERS)
def test_coefficient_0_is_bit_identical_though_the_module_draws_random_numbers(learner):
    assert same_run(plain_run(learner), make(learner).learn(STEPS, callback=IntrinsicReward(Rude, coef=0.0)))


@pytest.mark.parametrize("learner", LEARNERS)
def test_coefficient_1_is_not(learner):
    assert not same_run(plain_run(learner), make(learner).learn(STEPS, callback=IntrinsicReward(Rude, coef=1.0)))


@pytest.mark.parametrize("reward", sorted(REWARDS))
@pytest.mark.parametrize("learner", ["PPO", "SAC"])
def test_every_registered_reward_is_bit_identical_at_0(learner, reward):
    callback = IntrinsicReward(reward, coef=0.0, module_kwargs=NO_WARM_UP.get(reward))
    before = fingerprint(make(learner))
    assert same_run(plain_run(learner), make(learner).learn(STEPS, callback=callback))
    assert not same_run(plain_run(learner), before) and float(callback.module.ready) == 1.0


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "DQN"])
def test_coefficient_0_is_bit_identical_over_two_learn_calls(learner):
    callback = IntrinsicReward(Rude, coef=0.0)
    plain = fingerprint(make(learner).learn(STEPS).learn(STEPS, reset_num_timesteps=False))
    ours = make(learner).learn(STEPS, callback=callback)
    assert same_run(plain, ours.learn(STEPS, callback=callback, reset_num_timesteps=False))


@pytest.mark.parametrize("learner", ["A2C", "DQN"])
def test_a_model_without_a_seed_is_left_alone_too(learner):
    """The module's own seed comes from the system then, not from the learner's generators."""
    runs = []
    for callback in (None, IntrinsicReward(Rude, coef=0.0)):
        model = make(learner)
        model.seed = None
        runs.append(fingerprint(model.learn(STEPS, callback=callback)))
    assert same_run(*runs)
