import os

import pytest

from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.tune.search import plan_search
from sb3_infomax.tune.study import StudySpec

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'sb3-infomax[ray]'")


@pytest.fixture
def local_ray(monkeypatch):
    """Ray on this machine: two cores, no dashboard, no niceness, nothing written to the user's home."""
    here = os.path.dirname(os.path.dirname(__file__))
    settings = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    for name, value in {**settings, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}.items():
        monkeypatch.setenv(name, value)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on_from_its_checkpoint(local_ray, tmp_path):
    from sb3_infomax.tune.ray import best_method, make_tuner

    method = "ppo:n_steps=64,n_epochs=1"
    killer = f"killer:KilledOnce:flag='{tmp_path / 'killed'}',step=300"
    run = RunSpec("CartPole-v1", method, 512, eval_points=4, eval_episodes=1, env_wrappers=[killer])
    spec = StudySpec(run, (1000,), plan_search(method, chosen=["ppo.learning_rate", "ppo.gamma"]))
    tuner = make_tuner(spec, 2, str(tmp_path), "search", checkpoint_seconds=0.0)
    results = tuner.fit()
    assert (tmp_path / "killed").exists() and results.num_errors == 0 and len(results) == 2
    reports = [result.metrics_dataframe for result in results]
    killed = [table for table in reports if table["pid"].nunique() == 2]
    assert len(killed) == 1 and all(table["timesteps"].iloc[-1] == 512 for table in reports)
    # the second process did not evaluate the beginning again: it began at the checkpoint
    first, second = killed[0]["pid"].unique()
    resumed = killed[0][killed[0]["pid"] == second]["timesteps"].min()
    assert 0 < resumed < 512 and resumed > killed[0][killed[0]["pid"] == first]["timesteps"].min()
    assert best_method(spec, results).startswith("ppo:n_steps=64,n_epochs=1,")
    # the defaults are among them, and the same call again finds everything done
    assert spec.search.start in [result.config for result in results]
    again = make_tuner(spec, 2, str(tmp_path), "search", checkpoint_seconds=0.0).fit()
    assert sorted(r.metrics["score"] for r in again) == sorted(r.metrics["score"] for r in results)
