"""MIRL's tables: runs that come later join those that are there."""

import csv

from runs_on_disk import stored_run

from tuning import mirl_report


def test_later_runs_join_the_table_and_take_the_place_of_their_like(tmp_path, monkeypatch):
    monkeypatch.setattr(mirl_report, "TASKS", {"cartpole": "CartPole"})
    for session, seed, returns in (
        ("first", 0, (1, 2, 3)),
        ("first", 1, (4, 5, 6)),
        ("later", 1, (7, 8, 9)),
        ("later", 2, (0, 0, 1)),
    ):
        stored_run(tmp_path / session / "cartpole" / "runs" / "CartPole-v1" / "ppo", seed, returns)
        mirl_report.collect(tmp_path / session, tmp_path)
    with (tmp_path / "cartpole.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "evaluation"]
    assert [(int(row["seed"]), float(row["return"])) for row in rows] == [
        *((0, value) for value in (1, 2, 3)), *((1, value) for value in (7, 8, 9)), *((2, value) for value in (0, 0, 1))
    ]  # fmt: skip
