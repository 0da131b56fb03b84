import base64
import io
import zlib

import pytest
from optuna.trial import TrialState
from rich.console import Console
from runs_on_disk import stored_run

from sb3_infomax.cli import main
from sb3_infomax.compare.display import LineDisplay
from sb3_infomax.compare.runner import Run, plan
from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import RunFolder, read_json, read_rows
from sb3_infomax.compare.worker import execute
from sb3_infomax.tune.shared_comparison import FILES, SharedComparison, Sharing, pack, share, task_of, unpack
from sb3_infomax.tune.storage import create_study, open_storage
from sb3_infomax.tune.work import Watch, claim, enqueue, outcomes, work

SPECS = [RunSpec("CartPole-v1", "ppo", 100, seed=seed) for seed in range(3)]


@pytest.fixture
def study(tmp_path):
    return create_study(open_storage(f"journal:{tmp_path}/study.log", heartbeat=1), "study")


def display():
    return LineDisplay(Console(file=io.StringIO()))


def machine(study, out, train=None):
    """One process of a shared comparison; its runs are stored ones rather than trained ones."""
    shown = display()
    shown.runs = runs = plan(SPECS, out)
    comparison = SharedComparison(runs, study, shown)
    comparison.trained = []

    def store(run):
        comparison.trained.append(run.spec.seed)
        (train or (lambda run: stored_run(run.folder.path.parent, run.spec.seed, [1, 2, run.spec.seed])))(run)
        run.finish()

    comparison.train = store
    comparison.queue()
    return comparison


def test_a_runs_key_differs_where_anything_differs():
    others = [RunSpec("CartPole-v1", "ppo", 101), RunSpec("CartPole-v1", "ppo", 100, algo_kwargs={"n_steps": 8})]
    assert len({task_of(spec) for spec in [*SPECS, *others]}) == 5
    assert task_of(SPECS[1]).startswith("CartPole-v1 ppo seed 1 ")


def test_the_files_of_a_run_come_over_as_they_were(tmp_path):
    there = stored_run(tmp_path / "there", 1, [1, 2, 3])
    (here,) = plan([there.spec], tmp_path / "here")
    unpack(pack(there.folder), here)
    assert all((here.folder.path / name).read_text() == (there.folder.path / name).read_text() for name in FILES)
    (other,) = plan([SPECS[2]], tmp_path / "here")
    with pytest.raises(UserError, match="another run under the name of ppo seed 2"):
        unpack(pack(there.folder), other)
    assert not other.folder.finished.exists()


@pytest.mark.parametrize("content", [b"no compressed text", zlib.compress(b"{}"), zlib.compress(b"[1]")])
def test_damaged_files_are_told_in_a_sentence_and_none_is_written(tmp_path, content):
    run = Run(RunSpec("CartPole-v1", "ppo", 100), RunFolder(tmp_path))
    with pytest.raises(UserError, match="seed 0 is damaged: choose another one with --study"):
        unpack(base64.b85encode(content).decode(), run)
    assert not list(tmp_path.iterdir())


def test_everybody_ends_with_all_runs_and_none_is_made_twice(study, tmp_path):
    first = machine(study, tmp_path / "a")
    first.objective(claim(Watch(study), first.runs))  # is killed before it has told
    second = machine(study, tmp_path / "b")
    second.run(1)
    again = machine(study, tmp_path / "a")  # the same command
    again.run(1)
    assert first.trained + second.trained + again.trained in ([0, 1, 2, 0], [0, 1, 2])
    assert [run.state for run in [*second.runs.values(), *again.runs.values()]] == ["finished"] * 6
    assert outcomes(study)[task_of(SPECS[2])].value == 2.0


def test_what_was_finished_before_a_kill_is_told_by_the_same_command(study, tmp_path):
    first = machine(study, tmp_path / "a")
    first.objective(claim(Watch(study), first.runs))
    again = machine(study, tmp_path / "a")
    assert again.trained == [] and outcomes(study)[task_of(SPECS[0])].state == TrialState.COMPLETE
    lonely = create_study(study._storage, "another")
    assert machine(lonely, tmp_path / "a").trained == []
    assert outcomes(lonely)[task_of(SPECS[0])].state == TrialState.COMPLETE


def test_a_failed_run_is_shown_everywhere_and_tried_again_by_the_next_command(study, tmp_path):
    def fail(run):
        raise RuntimeError("no more memory")

    machine(study, tmp_path / "a", fail).run(1)
    enqueue(study, task_of(SPECS[0]))  # is there
    failed = machine(study, tmp_path / "b")
    failed.run(2)
    assert sorted(failed.trained) == [0, 1, 2] and len(study.trials) == 6
    late = SharedComparison(plan(SPECS, tmp_path / "c"), create_study(study._storage, "other"), display())
    for run in late.runs:
        enqueue(late.study, run)
    work(late.study, lambda trial: fail(trial.set_user_attr("by", "elsewhere")))
    late.conclude()
    assert {run.reason for run in late.runs.values()} == {"RuntimeError: no more memory (at elsewhere)"}


class Cut(Exception):
    """Stands for a kill."""


def test_in_a_shared_folder_a_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("sb3_infomax.compare.recording.REPORT_SECONDS", 0.0)
    settings = {"algo_kwargs": {"n_steps": 64, "batch_size": 64, "n_epochs": 1}, "eval_points": 2, "eval_episodes": 1}
    spec = RunSpec("CartPole-v1", "ppo", 512, **settings)

    def cut(record):
        if record["timesteps"] > 300:
            raise Cut

    (run,) = plan([spec], tmp_path / "runs")
    with pytest.raises(Cut):
        execute(spec, run.folder, cut, checkpoint_seconds=0.0)
    before = read_rows(run.folder.evaluations)
    url = f"sqlite:///{tmp_path}/study.db"
    study = create_study(open_storage(url, heartbeat=1), "drill")
    enqueue(study, task_of(spec))
    claim(Watch(study))  # by the one that was killed
    (shared,) = share([spec], tmp_path, 1, display(), Sharing(url, "drill", heartbeat=1))
    assert shared.state == "finished" and read_json(run.folder.finished)["timesteps"] == 512
    assert read_rows(run.folder.evaluations)[0] == before[0]  # not made again
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_ctrl_c_gives_a_run_back(study, tmp_path):
    comparison = machine(study, tmp_path / "a")
    del comparison.train
    comparison.stopping.set()
    with pytest.raises(KeyboardInterrupt):
        work(study, comparison.objective)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING", "WAITING", "WAITING"]
    assert all(run.state == "waiting" for run in comparison.runs.values())


@pytest.mark.parametrize(
    ("options", "say"),
    [
        ("--study mine", "--study is about several machines: name where they meet with --storage"),
        ("--storage nonsense", "Cannot read the storage 'nonsense': write it as sqlite:///study.db"),
        ("--storage sqlite:///x.db --heartbeat 0", "--heartbeat is a whole number of at least 1"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, monkeypatch, capsys, options, say):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "ppo", "--env", "CartPole-v1", *options.split()]) == 2
    assert say in capsys.readouterr().err and not list(tmp_path.rglob("progress.json"))


def test_no_password_is_stored_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["compare", "ppo", "--env", "CartPole-v1", "--storage", "postgresql://me:secret@127.0.0.1:9/x", "--out", "out"])
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert texts and not any("secret" in text for text in texts)
