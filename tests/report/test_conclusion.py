"""How ``compare`` ends: tables and pictures of each environment, one page about all of them, and what failed."""

from dataclasses import replace

import pytest
from rich.console import Console
from runs_on_disk import stored_run

from sb3_infomax.compare.storage import write_json
from sb3_infomax.report.conclusion import conclude


def conclude_here(runs, out):
    console = Console(width=150, record=True, file=(out / "shown.txt").open("w"))
    return conclude(runs, out, console), console.export_text()


def test_two_environments_have_tables_of_their_own_and_one_page(tmp_path):
    runs = []
    for env in ("CartPole-v1", "Acrobot-v1"):
        for seed in range(2):
            run = stored_run(tmp_path / "runs" / env, seed, [0, 1, 2 + seed])
            run.spec = replace(run.spec, env=env)
            write_json(run.folder.config, {"format": 1, "spec": run.spec.to_json(), "versions": {}})
            runs.append(run)
    code, shown = conclude_here(runs, tmp_path)
    assert code == 0 and shown.count("Tables: ") == 2 and shown.count("Report: ") == 1
    for env in ("CartPole-v1", "Acrobot-v1"):
        assert {path.name for path in (tmp_path / env).iterdir()} == {"curves.png", "table.md", "table.csv"}
    assert "ppo on 2 tasks" in (tmp_path / "report.html").read_text()


def test_a_failed_run_is_in_the_table_the_page_and_the_exit_code(tmp_path):
    done, failed = (stored_run(tmp_path, seed, [0, 1, 2]) for seed in range(2))
    failed.folder.finished.unlink()
    failed.state, failed.reason = "failed", "out of luck"
    code, shown = conclude_here([done, failed], tmp_path)
    assert code == 1 and "FAILED ppo seed 1: out of luck" in shown and "1 of 2" in shown
    assert "1 run failed and left out: ppo seed 1 on CartPole-v1." in (tmp_path / "report.html").read_text()


def test_a_return_that_is_no_number_leaves_the_runs_and_says_so(tmp_path):
    run = stored_run(tmp_path, 0, [0, float("nan"), 2])
    code, shown = conclude_here([run], tmp_path)
    assert code == 1 and "no number at step 50" in shown and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("bad", ["inf", "nan"])
def test_a_training_return_that_is_no_number_is_left_out_and_named(tmp_path, bad):
    """The evaluations, which the report is about, are sound."""
    runs = [stored_run(tmp_path, seed, [0, 1, 2 + seed]) for seed in range(2)]
    monitor = runs[1].folder.monitor
    monitor.write_text(monitor.read_text().replace("3,1,0,15", f"{bad},1,0,15"))
    code, shown = conclude_here(runs, tmp_path)
    said = "ppo seed 1 on CartPole-v1 has a training return that is no number at step 15: its training returns are left out."
    assert code == 0 and said in (tmp_path / "report" / "report.md").read_text() and "Report: " in shown
