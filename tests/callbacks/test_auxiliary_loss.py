"""An auxiliary loss beside any learner: the gradient of the sum, and nothing else."""

import copy
import functools
import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch as th
from gymnasium import spaces
from plain_process import LOAD, OFF_POLICY
from sb3_contrib import ARS
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn
from toys import LEARNERS, STEPS, Call, ForgetfulVecEnv, Rude, Step, box, fingerprint, jump_envs, make, newest, same_run

from sb3_infomax.auxiliary.base import AuxiliaryModule
from sb3_infomax.auxiliary.horizon import RandomHorizon
from sb3_infomax.auxiliary.infonce import InfoNCE
from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.checks import NonFiniteError
from sb3_infomax.common.feature_encoders import policy_encoder, trained_network
from sb3_infomax.common.saving import SavedFileError
from sb3_infomax.registry import AUXILIARY

ALGORITHMS = [name for name in LEARNERS if name != "TRPO"]
#: those that have a CnnPolicy
PICTURES = ["PPO", "A2C", "RecurrentPPO", "MaskablePPO", "DQN", "QRDQN", "C51-double", "SAC", "TD3", "TQC"]
SMALL = {"dim": 8, "batch_size": 16}


def infonce(coef=1.0, loss_kwargs=None, **kwargs):
    return AuxiliaryLoss("infonce", coef, loss_kwargs=SMALL | (loss_kwargs or {}), **kwargs)


class RudeLoss(AuxiliaryModule):
    """Draws from torch's global generator wherever it can."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, batch_size=8, **kwargs)
        self.head = nn.Sequential(nn.Linear(self.feature_shape.global_vector, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def loss(self, pairs, encode, features=None):
        now, later = self.encode_pairs(pairs, encode)
        loss = (self.head(later.global_vector) - self.head(now.global_vector) - th.rand(1)).square().mean()
        return loss, {"loss": loss}


class FixedLoss(AuxiliaryModule):
    """Always of the same observations, without heads."""

    def loss(self, pairs, encode, features=None):
        loss = self.value(encode)
        return loss, {"loss": loss}

    def value(self, encode):
        self.observation_space.seed(0)
        sample = lambda space: th.as_tensor(np.stack([space.sample() for _ in range(4)]))  # noqa: E731
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return encode({key: sample(part) for key, part in space.spaces.items()}).global_vector.square().mean()
        return encode(sample(space)).global_vector.square().mean()


@functools.cache
def plain_run(learner):
    return fingerprint(make(learner).learn(STEPS))


# -- the gradient of the sum -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ALGORITHMS)
def test_coefficient_0_is_bit_identical_though_the_loss_draws_random_numbers(learner):
    callback = AuxiliaryLoss(RudeLoss, 0.0)
    assert same_run(plain_run(learner), make(learner).learn(STEPS, callback=callback)) and callback.n_steps > 0


@contextmanager
def sum_by_hand(model, loss, passes=1):
    """What the learner minimises next after its optimizer's ``zero_grad()`` becomes the sum, in one backward pass or two."""
    _, optimizer = trained_network(model)
    zero_grad, backward, armed = optimizer.zero_grad, th.Tensor.backward, []

    def armed_zero_grad(set_to_none=True):
        zero_grad(set_to_none=set_to_none)
        armed.append(True)

    def backward_of_sum(self, *args, **kwargs):
        added = [loss()] if armed else []
        armed.clear()
        if passes == 2:
            [backward(one) for one in added]
            return backward(self, *args, **kwargs)
        return backward(sum(added, self), *args, **kwargs)

    optimizer.zero_grad, th.Tensor.backward = armed_zero_grad, backward_of_sum
    try:
        yield
    finally:
        del optimizer.zero_grad
        th.Tensor.backward = backward


def run_by_hand(learner, passes=1):
    model = make(learner)
    encoder = policy_encoder(model)
    module = FixedLoss(model.observation_space, model.action_space, encoder)
    normalizations = [layer for layer in encoder.modules() if hasattr(layer, "running_mean")]

    def by_hand():
        modes = [layer.training for layer in normalizations]
        [layer.eval() for layer in normalizations]
        loss = 0.7 * module.value(encoder)
        [layer.train(mode) for layer, mode in zip(normalizations, modes, strict=True)]
        return loss

    with sum_by_hand(model, by_hand, passes):
        return model.learn(STEPS)


@pytest.mark.parametrize("learner", ALGORITHMS)
def test_a_run_is_bit_identical_to_one_on_the_sum_written_by_hand(learner):
    """The learner's clipping and the optimizer's moments included."""
    ours = make(learner).learn(STEPS, callback=AuxiliaryLoss(FixedLoss, 0.7))
    if learner == "RecurrentPPO":
        # in one pass autograd adds up the steps of an LSTM, ours among them, in an order of its own
        pairs = zip(run_by_hand(learner).policy.parameters(), ours.policy.parameters(), strict=True)
        assert all(th.allclose(first, second, rtol=0, atol=1e-6) for first, second in pairs)
        assert same_run(run_by_hand(learner, passes=2), ours)
    else:
        assert same_run(run_by_hand(learner), ours)
    assert not same_run(plain_run(learner), ours)


@pytest.mark.parametrize("learner", PICTURES)
def test_with_pictures_too(learner):
    ours = with_pictures(learner).learn(48, callback=AuxiliaryLoss(FixedLoss, 0.7))
    model = with_pictures(learner)
    encoder = policy_encoder(model)
    module = FixedLoss(model.observation_space, model.action_space, encoder)
    with sum_by_hand(model, lambda: 0.7 * module.value(encoder)):
        model.learn(48)
    assert same_run(model, ours)


def heads(coef, learner="DQN", **kwargs):
    """The heads after training beside a learner that stands still."""
    callback = infonce(coef, learning_rate=1e-2, **kwargs)
    make(learner, learning_rate=0.0).learn(STEPS, callback=callback)
    return th.cat([parameter.detach().flatten() for parameter in callback.module.parameters()])


def test_heads_learn_the_loss_itself_whatever_the_coefficient():
    assert th.equal(heads(0.0), heads(1.0)) and th.allclose(heads(0.0), heads(0.3), atol=1e-4)
    assert th.allclose(heads(0.0, max_grad_norm=0.1), heads(0.3, max_grad_norm=0.1), atol=1e-4)


def test_the_coefficient_may_follow_a_schedule():
    seen = []
    callback = AuxiliaryLoss(FixedLoss, lambda progress: 0.0 if progress > 0.5 else 0.7)
    log = Call(rollout_start=lambda model: seen.append(model.logger.name_to_value.get("auxiliary/fixedloss_coef")))
    make("PPO").learn(2 * STEPS, callback=[callback, log])
    assert {0.0, 0.7} <= set(seen)
    first = make("PPO").learn(32, callback=AuxiliaryLoss(FixedLoss, lambda progress: 0.0))
    assert same_run(make("PPO").learn(32), first)
    with pytest.raises(ValueError, match="schedule returned nan"):
        make("PPO").learn(STEPS, callback=infonce(lambda progress: float("nan")))


# -- the knobs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 5])
def test_one_gradient_step_in_so_many_has_the_loss(every):
    class Counted(FixedLoss):
        calls = 0

        def loss(self, pairs, encode, features=None):
            Counted.calls += 1
            return super().loss(pairs, encode)

    callback = AuxiliaryLoss(Counted, every=every)
    make("DQN").learn(STEPS, callback=callback)
    assert callback.n_steps == 20 and Counted.calls == -(-20 // every)


@pytest.mark.parametrize("knob", [{"learning_rate": 1e-3}, {"max_grad_norm": 1e-6}, {"seed": 5}], ids=str)
def test_knobs_of_the_heads(knob):
    def result(**kwargs):
        callback = infonce(**({"seed": 1, "learning_rate": 1e-2} | kwargs))
        make("DQN").learn(STEPS, callback=callback)
        return callback.module.terms["gg"].psi.output.weight

    assert th.equal(result(), result()) and not th.equal(result(), result(**knob))


def test_the_gradient_of_the_heads_is_clipped_and_the_encoders_left_to_the_learner():
    norms, callback = [], infonce(10.0, max_grad_norm=0.01)
    model = make("PPO", max_grad_norm=1e6)

    def watch(*_):
        parameters = callback.optimizer.param_groups[0]["params"], [*callback.encoder.parameters()]
        norms.append([th.cat([each.grad.flatten() for each in part if each.grad is not None]).norm() for part in parameters])

    # the first rollout ends before the first of the heads' steps
    attach = Call(rollout_end=lambda _: None if norms else callback.optimizer.register_step_pre_hook(watch))
    model.learn(32, callback=[callback, attach])
    heads_norm, encoder_norm = th.tensor(norms).unbind(dim=1)
    assert th.allclose(heads_norm, th.full_like(heads_norm, 0.01), rtol=1e-3) and encoder_norm.min() > 0.1


def test_heads_have_the_learners_rate_by_default():
    callback = infonce()
    make("PPO", learning_rate=lambda progress: 0.1 * progress + 0.01).learn(STEPS, callback=callback)
    assert callback.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_settings_of_the_loss_come_from_presets_and_arguments():
    callback = AuxiliaryLoss("infonce", preset="pacman", loss_kwargs={"dim": 8})
    make("DQN").learn(40, callback=callback)
    assert callback.module.terms["gg"].actions == "film" and callback.module.terms["gg"].psi.output.out_features == 8


def test_verbose_tells_what_is_attached(capsys):
    make("DQN").learn(40, callback=infonce(verbose=1))
    assert "Auxiliary loss infonce (" in capsys.readouterr().out


BAD = {
    "every must be a whole number": {"every": 0},
    "learning_rate must be a number above 0": {"learning_rate": 0.0},
    "max_grad_norm must be a number above 0": {"max_grad_norm": -1.0},
    "coef must be a finite number": {"coef": "much"},
    "save_freq needs a save_path": {"save_freq": 5},
    "did you mean infonce": {"loss": "infonc"},
    "Unknown preset of InfoNCE": {"preset": "atari"},
    "Unknown argument of InfoNCE 'lambda_g'": {"loss_kwargs": {"lambda_g": 1.0}},
    "every is an argument of AuxiliaryLoss": {"loss_kwargs": {"every": 2}},
    "is no auxiliary loss: give a registered name": {"loss": PPO},
    "for several give learn\\(\\) a list of AuxiliaryLoss": {"loss": ["infonce", "cpc"]},
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_arguments_get_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        AuxiliaryLoss(**BAD[sentence])


# -- the pairs ---------------------------------------------------------------------------------------------------------


class Recorder(AuxiliaryModule):
    """Keeps what it is given."""

    def __init__(self, *args, k=3, **kwargs):
        super().__init__(*args, horizon=RandomHorizon(k), batch_size=32, **kwargs)
        self.seen = []

    def loss(self, pairs, encode, features=None):
        self.seen.append(pairs)
        loss = encode(pairs.observations).global_vector.sum() * 0.0
        return loss, {"loss": loss}


def recorded(learner, env=None, n_learns=2, others=(), **settings):
    """All pairs that were drawn over several learn() calls."""
    model, callback = make(learner, env, **settings), AuxiliaryLoss(Recorder)
    for _ in range(n_learns):
        model.learn(STEPS, callback=[callback, *others])
    return callback.module.seen


def check_pairs(seen):
    """Every valid pair of JumpEnv is as many apart as its k says: its x grows by one a step and starts far away."""
    valid = [(newest(pairs.later_observations) - newest(pairs.observations) - pairs.k)[pairs.valid] for pairs in seen]
    assert len(seen) > 5 and sum(map(len, valid)) > 50
    assert all(th.allclose(gap, th.zeros_like(gap), atol=1e-4) for gap in valid)


@pytest.mark.parametrize("learner", [name for name in ALGORITHMS if "HER" not in name])
def test_pairs_are_k_steps_apart_over_episodes_environments_wraps_and_learn_calls(learner):
    check_pairs(recorded(learner))


def test_pairs_with_one_array_for_both_observations():
    kwargs = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    check_pairs(recorded("DQN", **kwargs))


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_pairs_where_ends_are_not_told(learner):
    with pytest.warns(UserWarning, match="no pair ends with them"):
        check_pairs(recorded(learner, jump_envs(2, cls=ForgetfulVecEnv)))


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_pairs_are_of_normalised_observations_as_the_learner_sees_them(learner):
    env = VecNormalize(jump_envs(2), training=False)
    env.obs_rms.mean, env.obs_rms.var = np.array([100.0, 0.0]), np.array([10_000.0, 1.0])
    for pairs in recorded(learner, env, n_learns=1):
        gap = newest(pairs.later_observations) - newest(pairs.observations)
        assert th.allclose(gap[pairs.valid], 0.01 * pairs.k[pairs.valid], atol=1e-4)


def test_actions_of_pairs_are_what_the_environment_received():
    for learner in ("PPO-box", "SAC"):
        actions = th.cat([pairs.actions for pairs in recorded(learner, n_learns=1)])
        assert actions.min() >= -2.0 and actions.max() <= 3.0 and actions.max() > 1.0


# -- algorithms, images and vectors ------------------------------------------------------------------------------------

CNN = {"features_extractor_kwargs": {"features_dim": 8}}
IMAGES = {"n_envs": 2, "kind": "image"}
SETTINGS = {
    "infonce": {**SMALL, "lambda_ll": 1.0, "lambda_lg": 1.0, "lambda_gl": 1.0, "ema": 0.1, "shift": 2, "horizon": "randk"},
    "cpc": {"batch_size": 16, "k": 2},
    "curl": {"batch_size": 16},
    "stdim": {"batch_size": 16},
    "shift": {},
}


def with_pictures(learner):
    continuous = learner in ("SAC", "TD3", "TQC")
    env = jump_envs(**IMAGES, action_space=box() if continuous else None)
    algorithm, _, _, settings = LEARNERS[learner]
    recurrent = learner == "RecurrentPPO"
    policy_kwargs = CNN | ({"lstm_hidden_size": 8} if recurrent else {})
    settings = {key: value for key, value in settings.items() if key != "action_noise"} | {"policy_kwargs": policy_kwargs}
    return algorithm("CnnLstmPolicy" if recurrent else "CnnPolicy", env, **copy.deepcopy(settings))


def stores_a_line(model):
    """Column 10 of stored pictures is white: pictures of one colour do not show that they move."""
    add = model.replay_buffer.add

    def add_with_line(obs, next_obs, *args):
        obs, next_obs = obs.copy(), next_obs.copy()
        obs[..., 10] = next_obs[..., 10] = 255
        return add(obs, next_obs, *args)

    model.replay_buffer.add = add_with_line
    return model


@functools.cache
def plain_run_with_pictures(learner, line):
    model = with_pictures(learner)
    return fingerprint((stores_a_line(model) if line else model).learn(48))


@pytest.mark.parametrize("loss", sorted(SETTINGS))
@pytest.mark.parametrize("learner", PICTURES)
def test_every_loss_runs_on_every_algorithm_with_pictures(learner, loss):
    assert set(SETTINGS) == set(AUXILIARY)
    model, callback = with_pictures(learner), AuxiliaryLoss(loss, loss_kwargs=SETTINGS[loss])
    if loss == "shift" and learner in ("PPO", "A2C", "RecurrentPPO", "MaskablePPO"):
        with pytest.raises(ValueError, match="use it off-policy"):
            model.learn(48, callback=callback)
        return
    line = loss == "shift"
    (stores_a_line(model) if line else model).learn(48, callback=callback)
    assert not same_run(plain_run_with_pictures(learner, line), model)
    assert loss == "shift" or callback.n_steps > 0


DISCRETE = ["PPO", "A2C", "RecurrentPPO", "MaskablePPO", "DQN", "QRDQN", "C51-double"]


@pytest.mark.parametrize(
    ("learner", "horizon"),
    [(learner, horizon) for learner in DISCRETE for horizon in ("fix", "randk", "ada")]
    + [(learner, "randk") for learner in ("PPO-box", "SAC", "TD3", "DDPG", "TQC", "CrossQ")],
)
def test_infonce_runs_with_vectors_and_changes_what_is_learned(learner, horizon):
    callback = infonce(loss_kwargs={"horizon": horizon})
    model = make(learner).learn(STEPS, callback=callback)
    assert callback.n_steps > 0 and not same_run(plain_run(learner), model)
    assert model.logger.name_to_value["auxiliary/infonce_valid"] > 0


def test_same_trajectory_negatives_in_live_training():
    for learner in ("PPO", "DQN"):
        callback = infonce(loss_kwargs={"negatives": "trajectory", "n_trajectories": 2})
        make(learner).learn(STEPS, callback=callback)
        assert callback.n_steps > 0
        recorder = AuxiliaryLoss(Recorder, loss_kwargs={"k": 1, "negatives": "trajectory", "n_trajectories": 2})
        make(learner).learn(STEPS, callback=recorder)
        for pairs in recorder.module.seen:
            for number in pairs.trajectory.unique():
                x = newest(pairs.observations)[(pairs.trajectory == number) & pairs.valid]
                assert x.max() - x.min() <= 4 and len(x.unique()) == len(x)  # steps of one episode, each once


def test_running_statistics_of_the_encoder_are_the_learners_own():
    """CrossQ normalises by what its critic has seen; the middle action of the encoder is not among that."""
    ours = make("CrossQ").learn(STEPS, callback=AuxiliaryLoss(FixedLoss, 1e-30))
    for name, value in make("CrossQ").learn(STEPS).policy.state_dict().items():
        if "running" in name:
            assert th.allclose(value, ours.policy.state_dict()[name])


# -- shifts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["DQN", "SAC"])
def test_shift_moves_what_the_learner_trains_on_and_not_what_it_acts_on(learner):
    model, columns = stores_a_line(with_pictures(learner)), {True: set(), False: set()}
    train, training = model.train, []

    def marked_train(*args, **kwargs):
        training.append(True)
        train(*args, **kwargs)
        training.clear()

    def watch(_, inputs, output):
        columns[bool(training)] |= set((inputs[0] == 1.0).all(dim=2).nonzero()[:, 2].tolist())

    # below the wrapper that runs the next train() of the class
    type_of_model = type("Marked", (type(model),), {"train": lambda self, *args, **kwargs: marked_train(*args, **kwargs)})
    model.__class__ = type_of_model
    extractors = [layer for layer in model.policy.modules() if isinstance(layer, NatureCNN)]
    attach = Call(
        rollout_end=lambda _: [layer.register_forward_hook(watch) for layer in extractors if not layer._forward_hooks]
    )
    model.learn(60, callback=[AuxiliaryLoss("shift", loss_kwargs={"shift": 3}), attach])
    assert columns[True] == set(range(7, 14)) and columns[False] == set()


@pytest.mark.parametrize("learner", ["DQN", "SAC"])
def test_shift_with_coefficient_0_is_bit_identical_and_leaves_no_hook(learner):
    plain = with_pictures(learner).learn(48)
    assert same_run(plain, with_pictures(learner).learn(48, callback=AuxiliaryLoss("shift", 0.0)))
    ours = with_pictures(learner).learn(48, callback=AuxiliaryLoss("shift"))
    assert not any(layer._forward_pre_hooks for layer in ours.policy.modules())


# -- beside others, and nothing left -----------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["PPO", "DQN", "SAC"])
def test_beside_an_intrinsic_reward_and_another_auxiliary_loss(learner):
    callbacks = [AuxiliaryLoss(RudeLoss, 0.0), IntrinsicReward(Rude, coef=0.0), infonce(0.0)]
    for order in (callbacks, callbacks[::-1]):
        assert same_run(plain_run(learner), make(learner).learn(STEPS, callback=order))


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
@pytest.mark.parametrize("first", [True, False])
def test_bonus_and_pairs_are_right_beside_each_other(learner, first):
    bonus, loss = IntrinsicReward(Step, normalize="none"), AuxiliaryLoss(Recorder)
    make(learner).learn(2 * STEPS, callback=[loss, bonus] if first else [bonus, loss])
    assert set(th.cat(bonus.module.paid).tolist()) == {1.0}
    check_pairs(loss.module.seen)


@pytest.mark.parametrize("learner", ["PPO", "DQN", "SAC"])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_an_exception_inside_train_leaves_plain_objects(learner, exception):
    model, callback = make(learner), infonce()
    before, (_, optimizer) = set(vars(model)), trained_network(model)

    def interrupt(*args, **kwargs):
        raise exception

    optimizer.step = interrupt
    with pytest.raises(exception):
        model.learn(STEPS, callback=callback)
    assert "train" not in vars(model) and "zero_grad" not in vars(optimizer)
    assert set(vars(model)) - before <= {"start_time", "_custom_logger", "_logger"}
    if learner == "PPO":
        assert "_rollout_frames" not in vars(model.rollout_buffer)


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_ending_and_detaching_at_any_time_is_harmless(learner):
    for moment in ("rollout_start", "step", "rollout_end"):
        callback = infonce()
        model = make(learner).learn(STEPS, callback=[callback, Call(**{moment: lambda _, c=callback: c.detach()})])
        assert "train" not in vars(model) and callback.stream is None
        model.learn(STEPS, callback=callback)
        assert callback.stream is not None
        for end in (callback.on_training_end, callback.detach, callback.detach, callback.on_training_end):
            end()


def test_models_saved_meanwhile_load_and_learn_where_this_package_is_missing(tmp_path):
    names = [name for name, (algorithm, *_) in LEARNERS.items() if algorithm.__name__ == name and name in ALGORITHMS]
    names = [name for name in names if LEARNERS[name][0].__module__.split(".")[0] != "sb3_infomax"]
    for name in names:
        model = make(name)
        base = f"{name}_{model.n_envs}"
        every_step = CheckpointCallback(32 // model.n_envs, str(tmp_path), base, save_replay_buffer=name in OFF_POLICY)
        at_end = Call(rollout_end=lambda model, base=base: model.num_timesteps == 32 and model.save(tmp_path / f"{base}_end"))
        model.learn(32, callback=[infonce(), every_step, at_end])
    result = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == sorted(2 * names)


def test_logged_keys(tmp_path):
    model = make("PPO")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64, callback=infonce(loss_kwargs={"horizon": "ada"}))
    progress = pd.read_csv(tmp_path / "progress.csv")
    expected = "coef loss gg mi accuracy logits valid k_mean action_mi concordance".split()
    assert {f"auxiliary/infonce_{name}" for name in expected} <= set(progress.columns)
    assert max(map(len, progress.columns)) <= 36 and set(progress["auxiliary/infonce_coef"].dropna()) == {1.0}


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_trpo_is_refused():
    with pytest.raises(ValueError, match="natural gradient"):
        make("TRPO").learn(STEPS, callback=infonce())


def test_ars_is_refused():
    with pytest.raises(ValueError, match="ARS has no rollout or replay buffer"):
        ARS("MlpPolicy", jump_envs(), n_delta=1, device="cpu").learn(8, callback=infonce())


def test_a_learner_without_a_torch_optimizer_is_refused():
    model = make("DQN")
    model.policy.optimizer = object()
    with pytest.raises(ValueError, match="has no torch optimizer"):
        model.learn(STEPS, callback=infonce())


def test_a_learner_that_never_clears_gradients_is_found_out():
    class Strange(DQN):
        def train(self, gradient_steps, batch_size=100):
            self._n_updates += gradient_steps

    with pytest.raises(RuntimeError, match="trained without calling zero_grad"):
        Strange("MlpPolicy", jump_envs(), learning_starts=4, buffer_size=50, device="cpu").learn(STEPS, callback=infonce())


def test_use_inside_every_n_timesteps_is_refused():
    with pytest.raises(ValueError, match="cannot work inside EveryNTimesteps"):
        make("DQN").learn(STEPS, callback=EveryNTimesteps(4, infonce()))


def test_two_losses_of_one_name_log_apart():
    model = make("DQN").learn(
        60, callback=[AuxiliaryLoss("infonce", coef=coef, loss_kwargs={"dim": 8}) for coef in (1.0, 2.0)]
    )
    logged = model.logger.name_to_value
    assert (logged["auxiliary/infonce_coef"], logged["auxiliary/infonce2_coef"]) == (1.0, 2.0)


def test_the_same_callback_twice_in_a_list_is_refused():
    auxiliary = AuxiliaryLoss("infonce")
    with pytest.raises(ValueError, match="twice: give each loss one of its own"):
        make("DQN").learn(60, callback=[auxiliary, CallbackList([auxiliary])])


def test_actions_that_do_not_start_at_0_are_refused():
    model = PPO("MlpPolicy", jump_envs(action_space=spaces.Discrete(2, start=1)), n_steps=16, batch_size=16)
    with pytest.raises(ValueError, match=r"sends the actions 0 to n - 1 .* starts at 1"):
        model.learn(16, callback=AuxiliaryLoss("infonce"))


def test_a_loss_that_is_not_finite_is_told_before_it_does_harm():
    class Broken(FixedLoss):
        def value(self, encode):
            return super().value(encode) * float("nan")

    model = make("DQN")
    with pytest.raises(NonFiniteError, match="loss of broken is nan"):
        model.learn(STEPS, callback=AuxiliaryLoss(Broken))
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())


def test_the_module_is_there_once_training_has_started():
    callback = infonce()
    for use in (lambda: callback.module, lambda: callback.save("nowhere")):
        with pytest.raises(ValueError, match="training"):
            use()


# -- instances, other models -------------------------------------------------------------------------------------------


def test_an_instance_is_used_and_starts_afresh_with_another_model():
    model = make("DQN")
    module = InfoNCE(model.observation_space, model.action_space, policy_encoder(model), **SMALL)
    callback = AuxiliaryLoss(module, seed=1)
    results = []
    for _ in range(2):
        model = make("DQN").learn(STEPS, callback=callback)
        results.append(fingerprint(model))
    assert callback.module is module and same_run(*results)
    with pytest.raises(ValueError, match="was made for features"):
        make("DQN", policy_kwargs={"net_arch": [5]}).learn(STEPS, callback=callback)
    with pytest.raises(ValueError, match="was made for the observation space"):
        make("DQN", jump_envs(2, kind="discrete")).learn(STEPS, callback=AuxiliaryLoss(module))


def test_one_callback_for_two_models_is_rebuilt():
    callback = infonce(seed=1)
    results = [fingerprint(make("DQN").learn(STEPS, callback=callback)) for _ in range(2)]
    assert same_run(*results)


# -- saving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["PPO", "DQN", "SAC"])
@pytest.mark.parametrize("loss_kwargs", [{}, {"ema": 0.1, "actions": "film"}], ids=str)
def test_a_resumed_run_equals_one_that_was_never_saved(tmp_path, learner, loss_kwargs):
    model, callback = make(learner), infonce(loss_kwargs=loss_kwargs, save_path=tmp_path / "run")
    path = tmp_path / f"run_{STEPS}_steps"
    model.learn(STEPS, callback=callback)
    resumed = type(model).load(path, env=copy.deepcopy(model.env), force_reset=False)
    if learner != "PPO":
        model.save_replay_buffer(tmp_path / "buffer")
        resumed.load_replay_buffer(tmp_path / "buffer")
    runs = []
    for each, its_callback in ((model, callback), (resumed, AuxiliaryLoss.load(path))):
        each.set_random_seed(7)
        runs.append(fingerprint(each.learn(STEPS, callback=its_callback, reset_num_timesteps=False)))
    assert same_run(*runs)


def test_all_state_is_in_the_file(tmp_path):
    callback = infonce(every=3, loss_kwargs={"horizon": "ada", "ema": 0.5})
    model = make("DQN").learn(STEPS, callback=callback)
    loaded = AuxiliaryLoss.load(callback.save(tmp_path / "run"))
    loaded.init_callback(model)
    assert loaded.n_steps == callback.n_steps and loaded.every == 3
    for first, second in zip(callback.module.state_dict().values(), loaded.module.state_dict().values(), strict=True):
        assert th.equal(first, second)
    first, second = callback.optimizer.state_dict()["state"], loaded.optimizer.state_dict()["state"]
    assert all(th.equal(first[key]["exp_avg"], second[key]["exp_avg"]) for key in first) and len(first) > 0
    with callback.rng():
        one = th.rand(3)
    with loaded.rng():
        assert th.equal(one, th.rand(3))


def test_files_are_saved_in_step_with_the_model(tmp_path):
    path = tmp_path / "deep" / "run"
    make("PPO").learn(96, callback=infonce(save_path=path, save_freq=32))
    names = sorted(name.name for name in path.parent.iterdir())
    assert names == sorted(f"run_{n}_steps.{kind}" for n in (32, 64, 96) for kind in ("zip", "auxiliary.pt"))


def test_what_does_not_fit_a_file_gets_a_sentence(tmp_path):
    callback = infonce(np.float32(0.5))
    model = make("DQN").learn(STEPS, callback=callback)
    path = callback.save(tmp_path / "run")
    loaded = AuxiliaryLoss.load(path)
    assert loaded.knobs["coef"] == 0.5 and loaded.spec.kwargs == SMALL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.init_callback(model)
    model.num_timesteps = 5
    with pytest.warns(UserWarning, match="saved at step 96, but the model is at step 5"):
        AuxiliaryLoss.load(path).init_callback(model)
    with pytest.raises(SavedFileError, match="built with other settings"):
        AuxiliaryLoss.load(path, loss_kwargs={"dim": 5}).init_callback(model)
    with pytest.raises(SavedFileError, match=r"observation_space was Box"):
        AuxiliaryLoss.load(path).init_callback(make("DQN", jump_envs(2, kind="discrete")))
    with pytest.raises(SavedFileError, match="is not a file of sb3_infomax's IntrinsicReward"):
        IntrinsicReward.load(path.rename(tmp_path / "run.intrinsic.pt"))
    scheduled = infonce(lambda progress: progress)
    make("DQN").learn(STEPS, callback=scheduled)
    with pytest.raises(SavedFileError, match=r"schedule for coef.*pass coef="):
        AuxiliaryLoss.load(scheduled.save(tmp_path / "scheduled"))
    rude = AuxiliaryLoss(RudeLoss)
    make("DQN").learn(STEPS, callback=rude)
    with pytest.raises(SavedFileError, match=r"not registered: pass loss="):
        AuxiliaryLoss.load(rude.save(tmp_path / "rude"))
    assert AuxiliaryLoss.load(tmp_path / "rude", loss=RudeLoss).spec.cls is RudeLoss
