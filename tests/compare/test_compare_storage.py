import math

import pytest

from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import (
    RunFolder,
    csv_text,
    locked,
    locked_when_free,
    make_folder,
    read_json,
    read_rows,
    write_atomic,
    write_json,
)

SPEC = RunSpec("CartPole-v1", "ppo", 100)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_atomic(path, None)
    assert read_json(path) == {"a": 1}


def test_a_folder_is_claimed_once_and_known_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.claim(SPEC) is False
    assert folder.claim(SPEC) is False
    write_json(folder.finished, {})
    assert folder.claim(SPEC) is True
    assert folder.spec() == SPEC


def test_a_folder_with_another_run_is_refused_naming_the_difference(tmp_path):
    folder = RunFolder(tmp_path)
    folder.claim(SPEC)
    with pytest.raises(UserError, match="timesteps = 100, not 200"):
        folder.claim(RunSpec("CartPole-v1", "ppo", 200))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}'])
def test_a_damaged_configuration_is_told(tmp_path, text):
    folder = RunFolder(tmp_path)
    folder.config.write_text(text)
    with pytest.raises(UserError, match="config"):
        folder.claim(SPEC)


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "monitor.csv"
    path.write_text("#{}\nr,l,success\n1.5,2,\n2.5,3,1\n3.5,")
    rows = read_rows(path)
    assert [row["r"] for row in rows] == [1.5, 2.5]
    assert math.isnan(rows[0]["success"]) and rows[1]["success"] == 1


def test_csv_writes_nan_as_nothing():
    assert csv_text(("a", "b"), [{"a": 1, "b": float("nan")}]) == "a,b\n1,\n"


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    for name in ("checkpoint_900", "checkpoint_1000", "checkpoint_2000.tmp"):
        (tmp_path / name).mkdir()
    assert RunFolder(tmp_path).checkpoint() == tmp_path / "checkpoint_1000"


def test_a_locked_folder_is_refused(tmp_path):
    with locked(tmp_path, "busy"), pytest.raises(UserError, match="busy"), locked(tmp_path, "busy"):
        pass


def test_waiting_for_a_locked_folder_ends_when_asked_and_its_own_lock_is_a_lock(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with locked(tmp_path, "busy"), pytest.raises(KeyboardInterrupt), locked_when_free(tmp_path, stop):
        pass
    with locked_when_free(tmp_path), pytest.raises(UserError, match="busy"), locked(tmp_path, "busy"):
        pass


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        make_folder(tmp_path / "file" / "folder")
