"""Each way of breaking the contract is found, and named in one sentence."""

import random
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_infomax.registry import REWARDS, resolve
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.checks import check_reward_module, random_transitions


@pytest.fixture
def env():
    return gym.make("CartPole-v1")


class Good(RewardModule):
    """A linear forward model of s'."""

    def __init__(self, observation_space, action_space, **kwargs):
        super().__init__(observation_space, action_space, normalize_observations=True, **kwargs)
        self.network = nn.Linear(4, 4)

    def bonus(self, transitions):
        s, next_s = self.preprocess(transitions.observations)[""], self.preprocess(transitions.next_observations)[""]
        return (self.network(s) - next_s).square().mean(dim=1)

    def loss(self, transitions):
        return self.bonus(transitions).mean(), {}


class WrongShape(Good):
    def compute(self, transitions):
        return super().compute(transitions)[:, None]


class WrongType(Good):
    def compute(self, transitions):
        return super().compute(transitions).double()


class NoTensor(Good):
    def compute(self, transitions):
        return super().compute(transitions).numpy()


class WithGradient(Good):
    def compute(self, transitions):
        return self.bonus(transitions)


class NotFinite(Good):
    def bonus(self, transitions):
        return super().bonus(transitions) / 0.0


class Random(Good):
    def bonus(self, transitions):
        bonus = super().bonus(transitions)
        return bonus + 0.01 * th.rand_like(bonus)


class Counting(Good):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("calls", th.zeros(()))

    def compute(self, transitions):
        self.calls += 1
        return super().compute(transitions)


class InTrainingMode(Good):
    def compute(self, transitions):
        self.train()
        return self.bonus(transitions).detach()


class IgnoresMask(Good):
    def compute(self, transitions):
        self.eval()
        return self.bonus(transitions).detach()


class LearnsFromInvalid(Good):
    def update(self, transitions):
        return super().update(type(transitions)(
            transitions.frames, transitions.index, transitions.next_index, transitions.actions, transitions.terminations,
            th.ones_like(transitions.valid), transitions.shape,
        ))  # fmt: skip


class ObservesInvalid(Good):
    def observe(self, transitions):
        self.preprocess.update(transitions.next_observations)


class NormalisesInsideTheBatch(Good):
    def bonus(self, transitions):
        bonus = super().bonus(transitions)
        return bonus / bonus.sum()


class LearnsNothing(Good):
    def update(self, transitions):
        return {"loss": 0.0}


class ReturnsTensors(Good):
    def update(self, transitions):
        return {key: th.tensor(value) for key, value in super().update(transitions).items()}


class LongName(Good):
    def loss(self, transitions):
        loss, _ = super().loss(transitions)
        return loss, {"mean_square_prediction_error": loss}


class NaNMetric(Good):
    def update(self, transitions):
        return {**super().update(transitions), "ratio": float("nan")}


class StaysInTraining(Good):
    def update(self, transitions):
        metrics = super().update(transitions)
        self.train()
        return metrics


class VarianceOfOne(Good):
    def loss(self, transitions):
        loss, _ = super().loss(transitions)
        return loss, {"spread": self.bonus(transitions).std()}


class ForgetsTheOptimizer(Good):
    def get_extra_state(self):
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state):
        self.generator.set_state(state["generator"])


class HiddenCounter(Good):
    n_updates = 0

    def bonus(self, transitions):
        return super().bonus(transitions) / (1 + self.n_updates)

    def update(self, transitions):
        metrics = super().update(transitions)
        self.n_updates += 1
        return metrics


class StateOfObjects(Good):
    def get_extra_state(self):
        return {**super().get_extra_state(), "space": self.observation_space}


class DrawsFromNumpy(Good):
    def update(self, transitions):
        np.random.uniform()
        return super().update(transitions)


class DrawsFromPython(Good):
    def update(self, transitions):
        random.random()
        return super().update(transitions)


FAULTS = [
    (WrongShape, r"one number per transition, shape \(200,\), not \(200, 1\)"),
    (WrongType, "must return float32, not torch.float64"),
    (NoTensor, "must return a tensor, not ndarray"),
    (WithGradient, "without a gradient: detach it"),
    (NotFinite, "NaN or infinity for a random rollout"),
    (Random, "must be deterministic"),
    (Counting, "must change nothing, but it changes 'calls'"),
    (InTrainingMode, "evaluation mode outside update"),
    (IgnoresMask, "must give 0 where a transition is not valid"),
    (LearnsFromInvalid, r"LearnsFromInvalid\.update must leave out transitions that are not valid"),
    (ObservesInvalid, r"\.observe must leave out transitions that are not valid, but they reach 'preprocess\.moments"),
    (NormalisesInsideTheBatch, "another bonus"),
    (LearnsNothing, "learned nothing"),
    (ReturnsTensors, "must return a dict of floats"),
    (LongName, "'intrinsic/longname_mean_square_prediction_error': at most 36 characters"),
    (NaNMetric, "returned nan for 'ratio'"),
    (StaysInTraining, "back in evaluation mode after update"),
    (VarianceOfOne, r"a single transition must stay finite \(a variance of one number is NaN\)"),
    (ForgetsTheOptimizer, "does not continue exactly from its saved state"),
    (HiddenCounter, "another bonus after loading its saved state: make tensors buffers"),
    (StateOfObjects, "must load with weights_only=True"),
    (DrawsFromNumpy, "global random generators"),
    (DrawsFromPython, "global random generators"),
]


@pytest.mark.parametrize(("module", "sentence"), FAULTS, ids=[module.__name__ for module, _ in FAULTS])
def test_a_fault_is_named_in_one_sentence(module, sentence, env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of a variance of one number
        with pytest.raises(AssertionError, match=sentence) as caught:
            check_reward_module(module, env)
    assert str(caught.value).count("\n") == 0 and module.__name__ in str(caught.value)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
@pytest.mark.parametrize("name", REWARDS)
def test_our_own_modules_keep_the_contract(name, env_id):
    env = gym.make(env_id)
    check_reward_module(resolve(name, REWARDS), env)


@pytest.mark.parametrize("name", ["rnd", "icm"])
def test_more_epochs_on_less_data_keep_it_too(name, env):
    settings = {"n_epochs": 3, "update_fraction": 0.4, "batch_size": 32}
    check_reward_module(resolve(name, REWARDS)(env.observation_space, env.action_space, **settings), env)


def test_an_instance_has_its_state_back(env):
    module = Good(env.observation_space, env.action_space)
    before = {key: value.clone() for key, value in module.state_dict().items() if isinstance(value, th.Tensor)}
    check_reward_module(module, env)
    assert all(th.equal(module.state_dict()[key], value) for key, value in before.items())


def test_what_is_no_module_is_refused(env):
    with pytest.raises(AssertionError, match="Linear is no RewardModule: derive it from"):
        check_reward_module(nn.Linear(4, 1), env)


def test_spaces_that_a_module_does_not_take_are_its_own_sentence():
    env = gym.Env()
    env.observation_space, env.action_space = spaces.Tuple([spaces.Discrete(2)]), spaces.Discrete(2)
    with pytest.raises(ValueError, match="are not supported"):
        check_reward_module(Good, env)


def test_a_module_of_other_spaces_is_named(env):
    with pytest.raises(AssertionError, match="Good was built for other spaces than the environment's"):
        check_reward_module(Good(env.observation_space, spaces.Discrete(3)), env)


def test_random_transitions_end_in_the_terminal_observation(env):
    data = random_transitions(env, 100, seed=3)
    assert data.shape == (100, 1) and data.terminations.any() and data.valid.all()
    assert len(data.frames) == 101 + int(data.terminations.sum())
    beyond = data.next_observations[:, 2].abs() > 0.2095
    assert th.equal(beyond | (data.next_observations[:, 0].abs() > 2.4), data.terminations)
    again = random_transitions(env, 100, seed=3)
    assert th.equal(again.frames, data.frames) and th.equal(again.actions, data.actions)
