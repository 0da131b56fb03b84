"""Made ``from_rliable.json``: what rliable 1.2.0 and SciPy say of made-up scores, to check our statistics against.

rliable does not import beside the current pandas, so it has an environment of its own::

    python -m venv rliable && rliable/bin/pip install "rliable==1.2.0" "pandas<3" scipy
    rliable/bin/python tests/report/data/from_rliable.py
"""

import json
from pathlib import Path

import numpy as np
import scipy.stats
from rliable import library, metrics

REPS = 2000


def main() -> None:
    rng = np.random.default_rng(0)
    ours = np.round(rng.normal([0.2, 0.5, 0.9, 1.1], 0.3, (5, 4)), 2)
    theirs = np.round(rng.normal([0.1, 0.3, 0.8, 0.9], 0.3, (7, 4)), 2)
    theirs[0] = ours[0]  # ties
    aggregates = {
        "IQM": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality gap": metrics.aggregate_optimality_gap,
    }
    found = {"ours": ours.tolist(), "theirs": theirs.tolist(), "reps": REPS, "aggregates": {}}
    for name, statistic in aggregates.items():
        state = np.random.RandomState(0)
        value, interval = library.get_interval_estimates(
            {"x": ours}, lambda x, statistic=statistic: np.array([statistic(x)]), reps=REPS, random_state=state
        )
        found["aggregates"][name] = [float(value["x"][0]), float(interval["x"][0, 0]), float(interval["x"][1, 0])]
    value, interval = library.get_interval_estimates(
        {"x,y": (ours, theirs)}, metrics.probability_of_improvement, reps=REPS, random_state=np.random.RandomState(0)
    )
    found["improvement"] = [float(value["x,y"]), *interval["x,y"].ravel().tolist()]
    thresholds = np.linspace(-0.5, 1.5, 9)
    np.random.seed(0)
    profiles, bands = library.create_performance_profile({"x": ours}, thresholds, reps=REPS)
    found["profile"] = {
        "thresholds": thresholds.tolist(),
        "value": profiles["x"].tolist(),
        "low": bands["x"][0].tolist(),
        "high": bands["x"][1].tolist(),
    }
    no_ties = rng.permuted(np.tile(np.arange(11.0), (4, 1)), axis=1)
    found["scipy"] = {
        "trim_mean": float(scipy.stats.trim_mean(ours, 0.25, axis=None)),
        "no_ties": no_ties.tolist(),
        "mannwhitneyu_p": [float(scipy.stats.mannwhitneyu(x[:5], x[5:], method="exact").pvalue) for x in no_ties],
    }
    Path(__file__).with_name("from_rliable.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
