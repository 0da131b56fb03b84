"""Stored runs for tests, without training."""

from sb3_infomax.compare.runner import Run
from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.compare.storage import EVALUATION_COLUMNS, MONITOR_COLUMNS, RunFolder, csv_text, write_json


def stored_run(path, seed, returns):
    """A finished run of 100 steps with evaluations at 0, 50 and 100 and three training episodes."""
    folder = RunFolder(path / f"seed_{seed}")
    folder.claim(RunSpec("CartPole-v1", "ppo", 100, seed=seed))
    rows = [{"timesteps": 50 * point, "return": value, "success": value > 1} for point, value in enumerate(returns)]
    folder.evaluations.write_text(csv_text(EVALUATION_COLUMNS, rows).replace("True", "1").replace("False", "0"))
    episodes = [{"r": r, "l": 1, "t": 0, "timesteps": step} for r, step in ((1, 10), (3, 15), (5, 105))]
    folder.monitor.write_text("#{}\n" + csv_text(MONITOR_COLUMNS, episodes))
    write_json(folder.finished, {"seconds": {"wall": 3, "evaluation_wall": 1, "cpu": 2.5, "evaluation_cpu": 0.5}})
    return Run(folder.spec(), folder, state="finished")
