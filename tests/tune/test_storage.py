import signal

import pytest
from optuna.trial import TrialState
from study_workers import lines, start, wait_until

from sb3_infomax.compare.spec import UserError
from sb3_infomax.tune.retry import MAX_DEATHS, first_number
from sb3_infomax.tune.storage import create_study, open_storage, shown
from sb3_infomax.tune.work import STOPPED, Watch, all_trials, claim, enqueue, is_lost, is_over, lose, outcomes, work


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("database")
    return {"sqlite": f"sqlite:///{tmp_path}/study.db", "journal": f"journal:{tmp_path}/study.log"}[request.param]


def study_of(url):
    return create_study(open_storage(url, heartbeat=1), "study")


def test_workers_that_start_together_do_exactly_what_was_asked_for(tmp_path, url):
    log = tmp_path / "log"
    assert [worker.wait(300) for worker in [start(url, 7, 0.1, log) for _ in range(3)]] == [0, 0, 0]
    trials = study_of(url).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 7
    assert len({trial.params["x"] for trial in trials}) == 7  # no two samplers draw the same
    work(study_of(url), None, 7)  # is finished: calls nothing
    assert len(lines(log, "begin")) == 7


def test_no_two_workers_take_one_trial(tmp_path, url):
    """With trials that take no time, so that the workers do little but claim."""
    log = tmp_path / "log"
    assert [worker.wait(300) for worker in [start(url, 60, 0.0, log) for _ in range(4)]] == [0] * 4
    assert sorted(first_number(trial) for trial in study_of(url).trials) == list(range(60))
    assert len(lines(log, "begin")) == len(lines(log, "end")) == 60


def test_a_killed_workers_trial_is_done_by_another_and_nothing_else_again(tmp_path, url):
    log = tmp_path / "log"
    victim = start(url, 3, 30.0, log)
    wait_until(lambda: lines(log, "begin"))
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert start(url, 3, 0.1, log).wait(300) == 0
    trials = study_of(url).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] + [TrialState.COMPLETE] * 3
    assert trials[3].params == trials[0].params and first_number(trials[3]) == 0
    assert len(lines(log, "end")) == 3 and len(lines(log, "begin 0")) == 2


@pytest.fixture
def study(url):
    return study_of(url)


def test_an_exception_fails_its_trial_and_ends_nobody(study):
    def objective(trial):
        if trial.number == 1:
            raise RuntimeError("on\nfire")
        return float("nan") if trial.number == 2 else 1.0

    told = []
    work(study, objective, 4, told.append)
    assert [trial.state.name for trial in told] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert told[1].user_attrs["reason"] == "RuntimeError: on fire" and len(outcomes(study)) == 4


@pytest.mark.filterwarnings("ignore:The reported value is ignored")
def test_ctrl_c_gives_the_trial_back_with_its_parameters_and_reports(study):
    def interrupted(trial):
        trial.suggest_float("x", 0, 1)
        trial.report(0.5, 10)
        raise KeyboardInterrupt

    for _ in range(MAX_DEATHS + 2):  # counts as no death
        with pytest.raises(KeyboardInterrupt):
            work(study, interrupted, 1)
    work(study, lambda trial: trial.suggest_float("x", 0, 1), 1)
    (outcome,) = outcomes(study).values()
    assert outcome.value == study.trials[0].params["x"] and outcome.intermediate_values == {10: 0.5}
    assert first_number(outcome) == 0 and "reason" not in outcome.user_attrs and len(study.trials) == MAX_DEATHS + 3


def test_a_trial_that_kills_its_workers_is_given_up(study):
    enqueue(study, "deadly")
    watch, lives = Watch(study), 0
    while (trial := claim(watch)) is not None:
        lives += 1
        lose(study, trial._trial_id, "its worker was killed")
    assert lives == 1 + MAX_DEATHS and is_over(study) and not is_lost(outcomes(study)["deadly"])


def test_of_tasks_that_were_queued_twice_one_is_void(study):
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={"task": "a"})
    enqueue(study, "a")
    work(study, lambda trial: trial.number)
    assert [trial.number for trial in all_trials(study)] == [0] and len(study.trials) == 2


def test_a_copy_that_was_not_queued_in_time_is_queued_by_the_others(study):
    enqueue(study, "a")
    trial = claim(Watch(study))
    trial.set_user_attr("reason", STOPPED)
    study.tell(trial, state=TrialState.FAIL)  # and killed here
    assert is_lost(outcomes(study)["a"])
    work(study, lambda trial: 1.0)
    assert outcomes(study)["a"].value == 1.0 and len(study.trials) == 2


def test_an_outcome_that_comes_after_the_burial_is_dropped(study):
    def late(trial):
        if not first_number(trial) == trial.number:
            return 1.0
        lose(study, trial._trial_id, "its worker was killed")
        return 0.0

    work(study, late, 1)
    assert [(trial.state.name, trial.value) for trial in study.trials] == [("FAIL", None), ("COMPLETE", 1.0)]


def test_the_search_begins_where_it_is_told_to(study):
    work(study, lambda trial: trial.suggest_float("x", 0, 1), 3, starts=[{"x": 0.25}])
    assert study.trials[0].value == 0.25 and len({trial.value for trial in study.trials}) == 3


@pytest.mark.parametrize(
    ("url", "say"),
    [
        ("nonsense", "write it as sqlite:///study.db"),
        ("postgresql://me:secret@host:port/x", r"Cannot read the storage 'postgresql://\*\*\*@host:port/x'"),
        ("grpc://nowhere", "write it as grpc://host:port"),
        (
            "postgresql://me:secret@127.0.0.1:9/none",
            r"Cannot open postgresql\+psycopg://me:\*\*\*@127.*: .*refused",
        ),
        ("oracle9i://me:secret@host/x", "There is no driver for oracle9i"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence_without_the_password(url, say):
    with pytest.raises(UserError, match=say) as error:
        open_storage(url)
    assert "secret" not in str(error.value) and "secret" not in shown(url)


def test_without_a_url_the_study_is_a_file_in_its_folder(tmp_path):
    study_of_folder = create_study(open_storage(folder=tmp_path / "new"), "study")
    assert (tmp_path / "new" / "study.db").exists() and study_of_folder.direction.name == "MAXIMIZE"
    with pytest.raises(UserError, match="at least 1 second"):
        open_storage(folder=tmp_path, heartbeat=0)
