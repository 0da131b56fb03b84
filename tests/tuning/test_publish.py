"""What is published of a comparison is what its runs recorded."""

import csv

from sb3_infomax.cli import main
from tuning import publish


def test_published_files_hold_what_the_runs_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "results")
    out = tmp_path / "cartpole"
    settings = ["--timesteps", "128", "--seeds", "2", "--n-envs", "2", "--eval-points", "1", "--eval-episodes", "1"]
    assert main(["compare", "ppo", "--env", "CartPole-v1", *settings, "--algo-arg", "n_steps=32", "--out", str(out)]) == 0
    assert "There is only one method" in (out / "report.html").read_text()
    target = publish.publish(out, "mine")
    monitors = [
        (out / "runs" / "CartPole-v1" / "ppo" / f"seed_{seed}" / "monitor.csv").read_text().splitlines()[2:] for seed in (0, 1)
    ]
    with (target / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for seed, monitor in enumerate(monitors):
        mine = [row for row in rows if row["seed"] == str(seed)]
        assert sum(int(row["episodes"]) for row in mine) == len(monitor)
        total = sum(int(row["episodes"]) * float(row["mean_return"]) for row in mine)
        assert abs(total - sum(float(line.split(",")[0]) for line in monitor)) < 0.01
    assert [row[:8] for row in publish.readme_rows(target)] == ["| ppo | "]
    assert {path.name for path in target.iterdir()} >= {"curves.png", "table.md", "table.csv", "evaluations.csv"}
