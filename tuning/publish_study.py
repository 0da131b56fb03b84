"""Copy what there is to keep of a search into ``tuning/studies``, with a README of its command and its outcome.

    python -m tuning.publish_study runs/studies/c51 tuning/studies/c51

The table is that of the comparison by fresh seeds, see ``sb3-infomax tune --compare``.
"""

import argparse
import csv
import json
import shlex
import shutil
import sqlite3
from pathlib import Path

from sb3_infomax.compare.spec import option_words
from sb3_infomax.compare.storage import write_atomic
from sb3_infomax.tune.study import StudySpec

MAX_DATABASE = 300_000  # bytes
FILES = ("trials.csv", "best.yml", "best.py", "study.png", "slices.png")


def command_of(record: dict, spec: StudySpec, n_trials: int) -> str:
    """The command line of a search."""
    words = ["sb3-infomax", "tune", spec.base.method, "--env", spec.base.env]
    words += [
        *option_words(spec.base),
        "--trials",
        str(n_trials),
        "--seeds",
        str(len(spec.seeds)),
        "--study",
        record["study"],
        "--workers",
        "1",
    ]
    return shlex.join([*words, "--search-seed", str(record["seed"]), "--compare", "5"])


def publish(source: Path, target: Path) -> None:
    """Copy and describe one search.

    :param source: its folder
    :param target: where to
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(source / name, target / name)
    copy = target / "study.db"
    copy.unlink(missing_ok=True)
    with sqlite3.connect(source / "study.db") as database, sqlite3.connect(copy) as whole:
        database.backup(whole)  # one file, without a journal beside it
    if copy.stat().st_size > MAX_DATABASE:
        copy.unlink()
    if (source / "comparison" / "table.csv").exists():
        shutil.copy(source / "comparison" / "table.csv", target / "comparison.csv")
    write_atomic(target / "README.md", readme(source, target))


def readme(source: Path, target: Path) -> str:
    """What was searched, how, and what came out."""
    record = json.loads((source / "study.json").read_text())
    spec = StudySpec.from_json(record["spec"])
    n_trials = len((source / "trials.csv").read_text().splitlines()) - 1
    return f"""# {spec.base.method} on {spec.base.env}

{n_trials} trials of {spec.timesteps:,} steps, seed {", ".join(map(str, spec.seeds))}; then the best settings (`tuned`) and the
defaults (`default`) by seeds that were not tuned on:

```
{command_of(record, spec, n_trials)}
```

{outcome(target)}

All trials: `trials.csv`. The best settings: `best.yml` (RL Zoo), `best.py`.
{"The study itself: `optuna-dashboard sqlite:///study.db`." if (target / "study.db").exists() else ""}

![scores of the trials, and which settings decide](study.png)

![score against each setting](slices.png)
"""


def interval(row: dict[str, str], name: str = "evaluation") -> str:
    """A mean with its interval."""
    return f"{float(row[name]):.4g} [{float(row[f'{name}_low']):.4g}, {float(row[f'{name}_high']):.4g}]"


def compared(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of the comparison, ``default`` and ``tuned``; empty where the defaults were the best."""
    if not (folder / "comparison.csv").exists():
        return {}
    with (folder / "comparison.csv").open(newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def time_ratio(rows: dict[str, dict[str, str]]) -> float:
    """CPU time of training with the tuned settings, in that with the defaults."""
    return float(rows["tuned"]["cpu_seconds"]) / float(rows["default"]["cpu_seconds"])


def outcome(folder: Path) -> str:
    """The comparison as a table."""
    rows = compared(folder)
    if not rows:
        return "The defaults were the best of all: there is nothing to compare."
    lines = ["| settings | final evaluations | training episodes, last tenth |", "|---|---:|---:|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {interval(row)} | {interval(row, 'training')} |")
    note = f"Mean return over {rows['tuned']['seeds']} seeds with its 95 % bootstrap interval, the environment's own. "
    note += f"A run takes {time_ratio(rows):.2g} times the CPU time with the tuned settings."
    return "\n".join([*lines, "", note])


def index(folder: Path) -> str:
    """The README over all studies: what each was worth.

    :param folder: of the studies
    """
    lines = []
    for path in sorted(path.parent for path in folder.glob("*/README.md")):
        rows = compared(path)
        title = (path / "README.md").read_text().splitlines()[0].removeprefix("# ")
        values = "the best of all | | "
        if rows:
            values = f"{interval(rows['default'])} | {interval(rows['tuned'])} | {time_ratio(rows):.2g}"
        lines.append(f"| [{path.name}]({path.name}/README.md) | {title} | {values} |")
    return f"""# Tuned results

One search for each reward and algorithm, on a small task with a small budget: 20 trials, the first of them the defaults, one
seed each. Then the best settings against the defaults, with what the method's text settles equal in both, by 5 seeds that they
were not tuned on: return of the final evaluations, mean and 95 % bootstrap interval over seeds. `bash tuning/studies.sh`
makes them all.

| study | method and task | defaults | tuned | CPU time of a run, tuned to default |
|---|---|---:|---:|---:|
{chr(10).join(lines)}

The budget of both is steps of the environment, so a search may find settings that train more on each step. And one this small
finds what a task with this budget wants above all, often a larger learning rate, and says little about other tasks. The
settings are in each folder's `best.yml` and `best.py`.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    publish(arguments.source, arguments.target)
    write_atomic(arguments.target.parent / "README.md", index(arguments.target.parent))
