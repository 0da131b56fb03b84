"""The RL Zoo's commands with our algorithms and callbacks, run as a user types them, in this process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

from sb3_infomax.common.saving import load_state
from sb3_infomax.tune.spaces import load_space
from sb3_infomax.zoo.registration import convert

RND = "{'sb3_infomax.IntrinsicReward': {'module': 'rnd', 'module_kwargs': {'batch_size': 8}}}"
INFONCE = "{'sb3_infomax.AuxiliaryLoss': {'loss': 'infonce'}}"
SMALL = "-params learning_starts:20 train_freq:8 gradient_steps:1 batch_size:8 v_max:200 buffer_size:500".split()


def predictor(path):
    """What RND has learned, in a saved file."""
    _, steps, state = load_state(Path(path))
    return steps, {k: v for k, v in state["mixture"].items() if "predictor" in k and isinstance(v, th.Tensor)}


def equal(a, b):
    return all(th.equal(a[name], b[name]) for name in a)


def test_callbacks_are_saved_beside_every_model_and_go_on_with_it(zoo):
    line = "train --algo c51 --env CartPole-v1 -f logs --seed 1"
    callbacks = f"callback:[{RND}, {INFONCE}, {INFONCE}]"
    code, out, _ = zoo(f"{line} -n 80 --eval-freq 30 --save-freq 40", *SMALL, callbacks)
    folder = Path("logs/c51/CartPole-v1_1")
    assert code == 0 and "sb3_infomax/zoo/hyperparams/c51.yml" in out
    for model in ("CartPole-v1", "best_model", "rl_model_40_steps", "rl_model_80_steps"):
        files = {".zip", ".intrinsic.pt", ".auxiliary.pt", "_2.auxiliary.pt"}
        assert {path.name.removeprefix(model) for path in folder.glob(f"{model}*") if path.is_file()} == files
    steps, saved = predictor(folder / "CartPole-v1.intrinsic.pt")
    assert steps == 80 and saved

    # before learning starts nothing is trained: what it goes on with is what it ends with
    line = f"{line} -n 40 --eval-freq -1 -i {folder}/CartPole-v1.zip"
    code, out, _ = zoo(line, *SMALL, "learning_starts:500", f"callback:{RND}")
    assert code == 0 and f"Going on with {folder}/CartPole-v1.intrinsic.pt" in out
    assert equal(saved, predictor("logs/c51/CartPole-v1_2/CartPole-v1.intrinsic.pt")[1])
    assert not equal(saved, predictor(folder / "rl_model_40_steps.intrinsic.pt")[1])


def test_a_module_that_was_not_saved_starts_afresh_and_another_one_is_refused(zoo):
    line = "train --algo c51 --env CartPole-v1 -f logs --eval-freq -1 -n 24"
    assert zoo(line, *SMALL)[0] == 0
    with pytest.warns(UserWarning, match=r"CartPole-v1.intrinsic.pt: IntrinsicReward starts afresh"):
        assert zoo(f"{line} -i logs/c51/CartPole-v1_1/CartPole-v1.zip", *SMALL, f"callback:{RND}")[0] == 0
    icm = f"callback:{RND.replace('rnd', 'icm')}"
    code, _, errors = zoo(f"{line} -i logs/c51/CartPole-v1_2/CartPole-v1.zip", *SMALL, icm)
    assert code == 2 and "The file holds rnd, but this IntrinsicReward has icm" in errors


def test_several_environments_and_vec_normalize_by_a_file_of_ours(zoo):
    small = "-params n_steps:16 batch_size:32 n_envs:2 normalize:True".split()
    code, out, _ = zoo("train --algo ppo --env CartPole-v1 -conf ppo+empowerment -n 64 -f logs --eval-freq 20", *small)
    assert code == 0 and "hyperparams/ppo+empowerment.yml" in out
    assert Path("logs/ppo/CartPole-v1_1/best_model.intrinsic.pt").is_file()
    assert zoo("enjoy --algo ppo --env CartPole-v1 -f logs --no-render -n 10 --load-best --custom-objects")[0] == 0


def test_tuning_draws_from_our_spaces_and_a_trial_is_taken_up(zoo):
    line = "--algo mirl --env CartPole-v1 -f logs --storage study.log --study-name s --seed 1"
    small = ["-params", "n_envs:1", "buffer_size:500", "learning_starts:500", f"callback:{RND}"]
    code, out, _ = zoo(f"train -optimize -n 40 --n-trials 2 --n-evaluations 1 --no-optim-plots {line}", *small)
    assert code == 0 and "Number of finished trials:  2" in out
    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("study.log"))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert set(trials[0].params) <= set(load_space("mirl").parameters)
    # the RL Zoo itself takes trial 0 for none
    code, out, _ = zoo(f"train -n 20 --eval-freq -1 --trial-id 0 {line}")
    assert code == 0
    for name in ("prior_lr", "beta_lr", "learning_rate"):
        assert f"('{name}', {convert('mirl', trials[0].params)[name]})" in out


def test_atari_is_filmed_as_it_was_trained(zoo):
    pytest.importorskip("ale_py")
    pytest.importorskip("moviepy")
    small = "-params learning_starts:8 train_freq:4 batch_size:4 buffer_size:50".split()
    code, _, _ = zoo("train --algo c51 --env ALE/Pong-v5 -n 12 -f logs --eval-freq -1", *small)
    assert code == 0
    # frameskip=1 of the file: the wrapper skips
    assert "frameskip: 1" in Path("logs/c51/ALE-Pong-v5_1/ALE-Pong-v5/args.yml").read_text()
    code, _, _ = zoo("record_video --algo c51 --env ALE/Pong-v5 -f logs -n 4 -o film")
    assert code == 0 and next(Path("film").glob("*.mp4")).stat().st_size > 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian --algo c51", "Unknown command 'trian': did you mean train"),
        (
            "train --algo c51 --env CartPole-v1 -conf no.yml",
            "There is no file no.yml: give a path, a Python package, or",
        ),
        ("train --algo c51 --env CartPole-v7", "CartPole-v7 not found in gym registry"),
        ("enjoy --algo c51 --env CartPole-v1 -f nowhere", "nowhere/c51 folder was not found"),
    ],
)
def test_mistakes_are_one_sentence(zoo, line, message):
    code, _, errors = zoo(line)
    assert code == 2 and message in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("missing", "command", "message"),
    [
        ("rl_zoo3", "train", "error: The RL Zoo cannot be used, 'rl_zoo3' is missing: pip install 'sb3-infomax[zoo]'\n"),
        ("seaborn", "plot_train", "error: plot_train needs 'seaborn', which the RL Zoo leaves to you: pip install seaborn\n"),
    ],
)
def test_what_is_not_installed_is_told_with_how_to_get_it(zoo, monkeypatch, missing, command, message):
    for name in [name for name in sys.modules if name.startswith("rl_zoo3.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, errors = zoo(command)
    assert (code, errors) == (2, message)


def test_as_a_user_types_it(tmp_path):
    pytest.importorskip("rl_zoo3")
    command = "-m sb3_infomax.zoo train --algo driml --env CartPole-v1 -n 40 -f logs --eval-freq -1 --vec-env subproc"
    run = subprocess.run([sys.executable, *command.split(), *SMALL], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "logs/driml/CartPole-v1_1/CartPole-v1.zip").is_file()
