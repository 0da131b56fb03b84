"""House rule 6: what was saved goes on exactly; what cannot be read safely is not read."""

import json
import os
import pickle
import re
import warnings

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from toys import LEARNERS, STEPS, Height, Rude, jump_envs, make

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.saving import SavedFileError, load_state, write_atomically
from sb3_infomax.registry import REWARDS, register_reward
from sb3_infomax.rewards.checks import _difference
from sb3_infomax.rewards.rnd import RND
from sb3_infomax.types import Transitions

BATCH = Transitions.from_pairs(th.randn(50, 2), th.randn(50, 2), th.randint(2, (50, 1)))


def saved(tmp_path, learner="PPO", *args, **kwargs):
    """A callback that has trained, and its file."""
    callback = IntrinsicReward(*(args or ("rnd",)), **kwargs)
    model = make(learner).learn(STEPS, callback=callback)
    return callback, model, callback.save(tmp_path / "run")


def attach(callback, model):
    """What ``learn()`` does first."""
    callback.init_callback(model)
    return callback


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
@pytest.mark.parametrize(
    "module, kwargs",
    [(name, {}) for name in sorted(REWARDS)]
    + [
        (["rnd", "icm"], {"weights": [1.0, 2.0], "module_kwargs": {"rnd": {"feature_dim": 8}}}),
        ("emi", {"preset": "mujoco"}),
        ("rnd", {"module_kwargs": {"feature_dim": 8}, "normalize": "std", "center": True}),
    ],
)
def test_bonus_and_update_go_on_bit_for_bit(tmp_path, learner, module, kwargs):
    callback, model, path = saved(tmp_path, learner, module, **kwargs)
    loaded = attach(IntrinsicReward.load(path), model)
    assert loaded.mixture is not callback.mixture
    for _ in range(2):
        bonuses, logs = zip(*(each.mixture.learn(BATCH_OF[learner]) for each in (callback, loaded)), strict=True)
        assert th.equal(*bonuses) and logs[0] == logs[1]
        assert th.equal(callback.mixture(BATCH), loaded.mixture(BATCH))
    assert callback.plan.coefficients.now(model) == loaded.plan.coefficients.now(model)


def rollout_batch():
    """50 steps of one environment in time order."""
    frames = th.randn(51, 2)
    index = th.arange(50)
    false, actions = th.zeros(50, dtype=th.bool), th.randint(2, (50, 1))
    return Transitions(frames, index, index + 1, actions, false, ~false, shape=(50, 1))


BATCH_OF = {"PPO": rollout_batch(), "DQN": BATCH}


@pytest.mark.parametrize("learner", ["PPO", "PPO-two-heads", "SAC"])
def test_a_resumed_run_equals_one_that_only_loaded_its_model(tmp_path, learner):
    """The same model and the same generators, once with the callback that stayed in memory, once with the loaded one."""
    callback, model, path = saved(tmp_path, learner)
    model.save(tmp_path / "model")
    runs = []
    for each in (callback, IntrinsicReward.load(path)):
        resumed = type(model).load(tmp_path / "model", env=LEARNERS[learner][2]())
        if learner == "SAC":
            resumed.replay_buffer = pickle.loads(pickle.dumps(model.replay_buffer))
        if each is callback:  # it is the model that is another one, not what was learned
            counters = each.stream.state_dict()
            each._built_for, each.stream = resumed, None
            attach(each, resumed).stream.load_state_dict(counters)
        resumed.set_random_seed(7)
        resumed.learn(STEPS, callback=each, reset_num_timesteps=False)
        runs.append(th.cat([value.flatten() for value in resumed.policy.state_dict().values()]))
    assert th.equal(*runs)


def test_counters_go_on(tmp_path):
    callback, model, path = saved(tmp_path, "DQN")
    callback.stream.n_due, callback.stream.n_unobserved = 17, 3
    loaded = attach(IntrinsicReward.load(callback.save(path)), model)
    assert (loaded.stream.n_due, loaded.stream.n_unobserved) == (17, 3)


def test_files_are_saved_in_step_with_the_model(tmp_path):
    path = tmp_path / "deep" / "run"
    make("PPO").learn(96, callback=IntrinsicReward("rnd", save_path=path, save_freq=32))
    names = sorted(name.name for name in path.parent.iterdir())
    assert names == sorted(f"run_{n}_steps.{kind}" for n in (32, 64, 96) for kind in ("zip", "intrinsic.pt"))
    make("PPO").learn(64, callback=IntrinsicReward("rnd", save_path=tmp_path / "end"))
    assert {name.name for name in tmp_path.glob("end*")} == {"end_64_steps.zip", "end_64_steps.intrinsic.pt"}


def test_a_model_at_another_step_is_said(tmp_path):
    _, model, path = saved(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(IntrinsicReward.load(path), model)
    model.num_timesteps = 5
    with pytest.warns(UserWarning, match=f"saved at step {STEPS}, but the model is at step 5"):
        attach(IntrinsicReward.load(path), model)


@pytest.mark.parametrize(
    "env, message",
    [
        (lambda: jump_envs(2, kind="discrete"), r"observation_space was Box.* but the model's is Discrete"),
        (lambda: jump_envs(2, action_space=spaces.Discrete(3)), r"action_space was Discrete\(2.*model's is Discrete\(3"),
    ],
)
def test_other_spaces_are_refused(tmp_path, env, message):
    path = saved(tmp_path)[2]
    with pytest.raises(SavedFileError, match=message):
        make("PPO", env()).learn(STEPS, callback=IntrinsicReward.load(path))


def test_other_settings_are_refused(tmp_path):
    path = saved(tmp_path)[2]
    with pytest.raises(SavedFileError, match="built with other settings"):
        attach(IntrinsicReward.load(path, module_kwargs={"feature_dim": 5}), make("PPO"))


class Mine(Rude):
    """Not registered."""


def test_an_unregistered_class_has_to_be_given_and_keeps_its_arguments(tmp_path):
    callback, model, path = saved(tmp_path, "PPO", Mine, module_kwargs={"batch_size": 7})
    with pytest.raises(SavedFileError, match=r"'mine', which was an instance or is not registered: pass module="):
        IntrinsicReward.load(path)
    loaded = attach(IntrinsicReward.load(path, module=Mine), model)
    assert loaded.module.batch_size == 7 and th.equal(callback.mixture(BATCH), loaded.mixture(BATCH))


def test_an_instance_has_to_be_given_again(tmp_path):
    model = make("PPO")
    instance = lambda: RND(model.observation_space, model.action_space, feature_dim=5)  # noqa: E731
    callback = IntrinsicReward(instance())
    model.learn(STEPS, callback=callback)
    path = callback.save(tmp_path / "run")
    with pytest.raises(SavedFileError, match="was an instance"):
        IntrinsicReward.load(path)
    loaded = attach(IntrinsicReward.load(path, module=instance()), model)
    assert th.equal(callback.mixture(BATCH), loaded.mixture(BATCH))


def test_a_registered_class_of_ones_own_is_loaded_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(REWARDS, "height", Height)
    path = saved(tmp_path, "PPO", "height")[2]
    assert IntrinsicReward.load(path).plan.specs[0].cls is Height
    with pytest.raises(ValueError, match="'height' is taken"):
        register_reward("height", Rude)


def test_a_schedule_cannot_be_saved_and_is_asked_for(tmp_path):
    path = saved(tmp_path, "PPO", "rnd", coef=lambda progress: progress)[2]
    with pytest.raises(SavedFileError, match=r"saved with a schedule for coef.*pass coef="):
        IntrinsicReward.load(path)
    assert IntrinsicReward.load(path, coef=0.5).plan.explicit["coef"] == 0.5


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path):
    path = saved(tmp_path, "PPO", ["rnd", "icm"], coef=np.float32(0.5), weights=[np.float32(1.0), np.int64(2)])[2]
    loaded = IntrinsicReward.load(path)
    assert loaded.plan.explicit["coef"] == 0.5 and loaded.plan.weights == [1.0, 2.0]
    path = saved(tmp_path, "PPO", "rnd", module_kwargs={"feature_dim": np.int64(8)})[2]
    assert IntrinsicReward.load(path).plan.specs[0].kwargs["feature_dim"] == 8


def test_every_truncated_file_is_refused_in_a_sentence(tmp_path):
    path = saved(tmp_path)[2]
    whole = path.read_bytes()
    for n in [0, 1, 10, 100, *np.linspace(200, len(whole) - 1, 12, dtype=int)]:
        path.write_bytes(whole[:n])
        with pytest.raises(SavedFileError, match=r"damaged or was not written by sb3_infomax"):
            load_state(path)


def test_a_changed_byte_is_refused_or_is_none_of_the_state(tmp_path):
    path = saved(tmp_path)[2]
    whole, state, refused = path.read_bytes(), load_state(path), 0
    for place in np.random.default_rng(0).integers(0, len(whole), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert _difference(load_state(path), state) is None
        except SavedFileError as error:
            refused += "is damaged" in str(error)
    assert refused > 50  # torch alone loads changed weights as if nothing were


@pytest.mark.parametrize("junk", [b"", b".", b"text\n", b"]q\x00(h\x01", bytes(range(256))])
def test_what_is_no_archive_is_refused(tmp_path, junk):
    path = tmp_path / "junk.intrinsic.pt"
    path.write_bytes(junk)
    with pytest.raises(SavedFileError, match="is damaged or was not written"):
        IntrinsicReward.load(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": th.ones(2)}, {"format": "other"}, th.ones(3), "text"])
def test_a_foreign_torch_file_is_refused(tmp_path, content):
    path = tmp_path / "foreign.intrinsic.pt"
    th.save(content, path)
    with pytest.raises(SavedFileError, match="is not a file of sb3_infomax"):
        IntrinsicReward.load(path)


@pytest.mark.parametrize("change", ["version", "config", "num_timesteps", "state"])
def test_a_file_that_lacks_a_part_is_refused(tmp_path, change):
    path = saved(tmp_path)[2]
    payload = th.load(path, weights_only=True)
    del payload[change]
    th.save(payload, path)
    with pytest.raises(SavedFileError, match="damaged"):
        IntrinsicReward.load(path)


@pytest.mark.parametrize("config", ["{}", "[]", '{"modules": 3, "knobs": {}, "schedules": []}', '{"modules": [1]}'])
def test_a_file_with_a_forged_or_incomplete_config_is_refused(tmp_path, config):
    path = saved(tmp_path)[2]
    th.save(th.load(path, weights_only=True) | {"config": config}, path)
    with pytest.raises(SavedFileError, match="damaged"):
        IntrinsicReward.load(path)


def test_a_later_format_is_refused(tmp_path):
    path = saved(tmp_path)[2]
    payload = th.load(path, weights_only=True)
    th.save(payload | {"version": 99}, path)
    with pytest.raises(SavedFileError, match=r"written by a later sb3_infomax \(format 99\)"):
        IntrinsicReward.load(path)
    with pytest.raises(SavedFileError, match="There is no file"):
        IntrinsicReward.load(tmp_path / "nothing")


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("write", [th.save, lambda obj, path: path.write_bytes(pickle.dumps(obj, protocol=2))])
def test_a_malicious_file_is_refused_and_not_run(tmp_path, write):
    path, mark = tmp_path / "run.intrinsic.pt", tmp_path / "executed"
    write({"format": "sb3_infomax.intrinsic", "version": 1, "state": Malicious(str(mark))}, path)
    with pytest.raises(SavedFileError, match="cannot be read safely"):
        IntrinsicReward.load(path)
    assert not mark.exists()


def forge(path, change):
    """Rewrite what the file says of its making."""
    payload = th.load(path, weights_only=True)
    config = json.loads(payload["config"])
    change(config)
    th.save(payload | {"config": json.dumps(config)}, path)
    return path


def test_a_file_names_no_code_to_import(tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = forge(saved(tmp_path)[2], lambda config: config["modules"][0].update(registered="planted:Module"))
    with pytest.raises(SavedFileError, match=r"holds the reward 'planted:Module', which is not registered"):
        IntrinsicReward.load(path)


def test_a_file_does_not_say_where_to_write(tmp_path):
    path = forge(saved(tmp_path)[2], lambda config: config["knobs"].update(save_path="/elsewhere", save_freq=1))
    callback = IntrinsicReward.load(path)
    assert callback.save_path is None and callback.save_freq == 0


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half of the n")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    assert re.fullmatch(r"0o100[0-7]{3}", oct(path.stat().st_mode)) and path.stat().st_mode & 0o044


def test_there_is_nothing_to_save_before_training(tmp_path):
    with pytest.raises(ValueError, match="nothing to save before training"):
        IntrinsicReward("rnd").save(tmp_path / "run")
    assert not list(tmp_path.iterdir())
