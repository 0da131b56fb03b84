"""Reading runs: our run folders, RL Zoo logs, folders with Monitor files, and tables of evaluations.

Every source ends as :class:`~sb3_infomax.report.scores.RunRecord`. Nothing that is read is executed: NumPy archives are read
without pickle, YAML without objects.
"""

import csv
import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.compare.storage import FORMAT, RunFolder, read_json, read_rows
from sb3_infomax.report.scores import Episodes, RunRecord, Scores

TABLE = "evaluations.csv"
TABLE_COLUMNS = {"method", "seed", "timesteps", "return"}
_LABELLED = re.compile(r"([^=/\\]+)=(.+)")


class DamagedRunError(UserError):
    """A run that cannot be read; the message is one sentence saying why."""


# --- our run folders


def read_run(path: Path) -> RunRecord:
    """A run folder that ``sb3-infomax train`` or ``compare`` wrote.

    :param path: with ``config.json`` in it
    """
    folder = RunFolder(path)
    record = read_json(folder.config)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DamagedRunError(f"{folder.config} was not written by this version of sb3-infomax.")
    try:
        spec = RunSpec.from_json(record["spec"])
        evaluations, training = read_rows(folder.evaluations), read_rows(folder.monitor)
        finished = read_json(folder.finished)
        state = "finished" if finished else "failed" if folder.failed.exists() else "unfinished"
        seconds = (finished or {}).get("seconds", {})
        last = max([row["timesteps"] for row in (*evaluations[-1:], *training[-1:])], default=0)
        run = RunRecord(
            task=spec.env,
            method=spec.label,
            seed=spec.seed,
            source=path,
            state=state,
            timesteps=_length(spec.timesteps, finished, last),
            timed=spec.cpu_seconds is not None and spec.timesteps is None,
            evaluations=_episodes(evaluations, "timesteps", "return", "length", "cpu_seconds", "wall_seconds"),
            training=_episodes(training, "timesteps", "r", "l", "t"),
            cpu_seconds=seconds.get("cpu", math.nan) - seconds.get("evaluation_cpu", 0.0),
            wall_seconds=seconds.get("wall", math.nan) - seconds.get("evaluation_wall", 0.0),
            settings={name: value for name, value in spec.to_json().items() if name not in ("env", "seed")},
            versions=(finished or record).get("versions") or {},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRunError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    if finished and not len(run.evaluations):
        raise DamagedRunError(f"{path} is marked as finished, but {folder.evaluations.name} is empty or missing.")
    return run


def _length(budget: int | None, finished: dict[str, Any] | None, last: float) -> int:
    """The steps that a run stands for: its budget, unless it ended before, by time or unfinished.

    :param budget: in steps, if it has one
    :param finished: its record, where it is finished
    :param last: step of the newest thing recorded
    """
    if finished is None:
        return int(last)
    made = int(finished.get("timesteps", last))
    return made if budget is None else min(budget, made)


def _episodes(rows: list[dict[str, float]], steps: str, returns: str, length: str, *seconds: str) -> Episodes:
    """Rows of a CSV file as columns; the first column of seconds that is there counts."""
    clock = next((name for name in seconds if rows and name in rows[0]), None)
    columns = (steps, returns, length, "success", clock)
    missing = [name for name in (steps, returns) if rows and name not in rows[0]]
    if missing:
        raise KeyError(missing[0])
    return Episodes(*(np.array([math.nan if name is None else row.get(name, math.nan) for row in rows]) for name in columns))


# --- RL Zoo, and Stable-Baselines3's own files


def read_zoo_run(path: Path) -> RunRecord:
    """A folder of the RL Zoo, ``logs/<algo>/<env>_<n>``, or any with EvalCallback's ``evaluations.npz`` or Monitor files.

    :param path: of one run
    """
    parameters = next(iter(sorted(path.glob("*/args.yml"))), None)
    arguments = _read_yaml(parameters) if parameters else {}
    config = _read_yaml(parameters.with_name("config.yml")) if parameters else {}
    evaluations = _read_evaluations(path / "evaluations.npz")
    training, env = _read_monitors(path)
    if not len(evaluations) and not len(training):
        raise DamagedRunError(f"{path} holds no whole evaluation and no whole training episode.")
    seed = arguments.get("seed", -1)
    number = re.search(r"(\d+)$", path.name)
    last = max([0, *evaluations.steps[-1:], *training.steps[-1:]])
    budget = arguments.get("n_timesteps", -1)
    budget = config.get("n_timesteps", last) if not isinstance(budget, (int, float)) or budget <= 0 else budget
    budget = int(float(budget))
    return RunRecord(
        task=str(arguments.get("env") or env or ""),
        method=zoo_method(str(arguments.get("algo") or ""), config),
        seed=seed if isinstance(seed, int) and seed >= 0 else int(number.group(1)) if number else 0,
        source=path,
        # an evaluation every so often, and a rollout may pass the end: nearly there is there
        state="finished" if last >= 0.9 * budget else "unfinished",
        timesteps=int(min(budget, last)) if last >= 0.9 * budget else int(last),
        evaluations=evaluations,
        training=training,
        wall_seconds=float(training.seconds[-1]) if len(training) else math.nan,
        settings={name: value for name, value in config.items() if name != "n_timesteps"},
    )


def zoo_method(algorithm: str, config: dict[str, Any]) -> str:
    """A method's text from the zoo's hyper-parameters: the algorithm, and the bonus or loss in ``callback:``.

    :param algorithm: the zoo's name
    :param config: of ``config.yml``
    :return: such as ``ppo+emi``
    """
    entries: Any = config.get("callback") or []
    parts = [algorithm]
    for entry in entries if isinstance(entries, list) else [entries]:
        name, settings = next(iter(entry.items())) if isinstance(entry, dict) else (str(entry), {})
        if str(name).rpartition(".")[2] in ("IntrinsicReward", "AuxiliaryLoss") and isinstance(settings, dict):
            parts.append(str(settings.get("module", settings.get("loss", ""))))
    return "+".join(part for part in parts if part)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The zoo's YAML: it writes ``OrderedDict`` objects, which are read as lists of pairs; any other object is refused."""
    if not path.exists():
        return {}
    try:
        import yaml
    except ImportError as error:
        raise UserError("The RL Zoo's files are YAML: pip install pyyaml.") from error

    class Loader(yaml.SafeLoader):
        """Safe, and knows what the zoo writes."""

    def pairs(loader: Any, suffix: str, node: Any) -> Any:
        if suffix.endswith("collections.OrderedDict") and isinstance(node, yaml.SequenceNode):
            return dict(loader.construct_sequence(node, deep=True)[0])
        return None  # a wrapper class or a schedule: a report does without it

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", pairs)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError, IndexError) as error:
        raise DamagedRunError(f"{path} is damaged ({' '.join(str(error).split())}).") from error
    return found if isinstance(found, dict) else {}


def _read_evaluations(path: Path) -> Episodes:
    """What ``EvalCallback`` wrote."""
    if not path.exists():
        return Episodes()
    try:
        with np.load(path, allow_pickle=False) as stored:
            results = np.atleast_2d(stored["results"]).astype(float)
            steps = np.repeat(np.asarray(stored["timesteps"], dtype=float), results.shape[1])
            unknown = np.full(results.shape, np.nan)
            lengths = stored["ep_lengths"] if "ep_lengths" in stored else unknown
            success = stored["successes"] if "successes" in stored else unknown
            columns = [np.asarray(values, dtype=float).ravel() for values in (results, lengths, success, unknown)]
            if {len(column) for column in columns} != {len(steps)}:
                raise ValueError("its arrays have different lengths")
            return Episodes(steps, *columns)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedRunError(f"{path} is damaged ({error}).") from error


def _read_monitors(folder: Path) -> tuple[Episodes, str | None]:
    """Training episodes of all Monitor files of one run in the order in which they ended, and the environment's id."""
    rows: list[dict[str, float]] = []
    env = None
    for path in monitor_files(folder):
        try:
            with path.open(encoding="utf-8") as file:
                header = file.readline()
            described = json.loads(header[1:]) if header.startswith("#") else {}
            env = env or described.get("env_id")
            rows += [{**row, "start": float(described.get("t_start", 0.0))} for row in read_rows(path)]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise DamagedRunError(f"{path} is damaged ({error}).") from error
    if rows and not {"r", "l"} <= rows[0].keys():
        raise DamagedRunError(f"{folder} has Monitor files without the columns r and l.")
    first = min([row["start"] for row in rows], default=0.0)
    rows.sort(key=lambda row: row["start"] + row.get("t", 0.0))
    success = ["is_success", "success"]
    columns = (
        np.cumsum([row["l"] for row in rows]),
        [row["r"] for row in rows],
        [row["l"] for row in rows],
        [next((row[name] for name in success if name in row), math.nan) for row in rows],
        [row["start"] - first + row.get("t", math.nan) for row in rows],
    )
    return Episodes(*(np.array(column, dtype=float) for column in columns)), env


def monitor_files(folder: Path) -> list[Path]:
    """Stable-Baselines3's Monitor files directly in a folder."""
    return sorted({*folder.glob("*.monitor.csv"), *folder.glob("monitor.csv")})


# --- tables of evaluations


def is_table(path: Path) -> bool:
    """Whether a file is a CSV table with a row per evaluation episode of several methods."""
    try:
        with path.open(encoding="utf-8") as file:
            return set(file.readline().strip().split(",")) >= TABLE_COLUMNS
    except (OSError, UnicodeDecodeError):
        return False


def read_table(path: Path) -> list[RunRecord]:
    """The runs in a table with the columns method, seed, timesteps, return and, where known, task, length, success, seconds.

    A row is an evaluation episode, or the mean of an evaluation. Without a column ``task``, the folder's name is the task.

    :param path: of the CSV file
    """
    runs: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = (row.get("task") or path.resolve().parent.name, row["method"], int(row["seed"]))
                names = ("timesteps", "return", "length", "success", "seconds")
                runs.setdefault(key, []).append({name: float(row.get(name) or "nan") for name in names})
    except (ValueError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise DamagedRunError(f"{path} is damaged ({error}).") from error
    return [
        RunRecord(
            task=task,
            method=method,
            seed=seed,
            source=path,
            timesteps=int(max(row["timesteps"] for row in rows)),
            evaluations=_episodes(rows, "timesteps", "return", "length", "seconds"),
        )
        for (task, method, seed), rows in runs.items()
    ]


# --- finding them


def split_label(text: str) -> tuple[str | None, Path]:
    """``"my method=logs/a"`` as label and folder; a folder of that very name comes first."""
    matched = _LABELLED.fullmatch(text)
    if matched is None or Path(text).exists():
        return None, Path(text)
    return matched[1].strip(), Path(matched[2])


def find_runs(folder: Path) -> tuple[list[RunRecord], list[str]]:
    """All runs in a folder and below it, in the order of their names.

    :param folder: or the file of a table
    :return: the runs, and a sentence for each that is damaged
    """
    runs: list[RunRecord] = []
    damaged: list[str] = []
    if not folder.exists():
        raise UserError(f"There is no folder {folder}: give one that holds runs.")
    for place in [folder] if folder.is_file() else _places(folder):
        try:
            if place.is_file():
                runs += read_table(place)
            elif (place / "config.json").exists():
                runs.append(read_run(place))
            else:
                runs.append(_named(read_zoo_run(place), folder))
        except UserError as error:
            damaged.append(str(error))
    return runs, damaged


def _places(folder: Path) -> list[Path]:
    """Folders of runs, and files that are tables of several."""
    found = []
    for path, below, files in os.walk(folder):
        here = Path(path)
        below.sort()
        if "config.json" in files and _is_ours(here / "config.json"):
            found.append(here)
            below.clear()
        elif "evaluations.npz" in files or monitor_files(here):
            found.append(here)
            below.clear()
        elif TABLE in files and is_table(here / TABLE):
            found.append(here / TABLE)
    return found


def _is_ours(config: Path) -> bool:
    """Whether a ``config.json`` is a run's; others, such as a Hugging Face model's, are none of our business."""
    try:
        record = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return (config.parent / "evaluations.csv").exists() or (config.parent / "monitor.csv").exists()
    return isinstance(record, dict) and "spec" in record


def _named(run: RunRecord, folder: Path) -> RunRecord:
    """A run whose files do not name method or environment takes the names of its folders."""
    parts = run.source.resolve().relative_to(folder.resolve().parent).parts
    method = run.method or (parts[-2] if len(parts) > 1 else parts[-1])
    return replace(run, method=method, task=run.task or "unnamed task")


def load_scores(
    *folders: str | Path,
    measure: str = "return",
    partial: bool = False,
    skip_damaged: bool = False,
    task: str | None = None,
) -> Scores:
    """Read runs of any source into one form.

    :param folders: walked recursively; ``"label=folder"`` gives all runs in it the method's name ``label``
    :param measure: ``return``, ``success`` or ``length`` of evaluations, or ``training``: the return of training episodes
    :param partial: also take runs that are not finished, and cut all of a task where the shortest ends
    :param skip_damaged: go on without runs that cannot be read
    :param task: name of the task where files do not say it (Monitor files of unregistered environments)
    """
    runs: list[RunRecord] = []
    damaged: list[str] = []
    for text in folders:
        label, folder = split_label(str(text))
        found, broken = find_runs(folder)
        if not found and not broken:
            raise UserError(
                f"There are no runs in {folder}: give a folder of sb3-infomax compare or train, RL Zoo logs, or Monitor files."
            )
        damaged += broken
        runs += [replace(run, method=label or run.method) for run in found]
    if task is not None:
        runs = [replace(run, task=task) if run.task == "unnamed task" else run for run in runs]
    if damaged and not skip_damaged:
        more = f" ({len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise UserError(f"{damaged[0]}{more} Delete it, or go on without it: --skip-damaged.")
    remarks = [f"Left out, as it cannot be read: {sentence}" for sentence in damaged]
    return gather(runs, measure, partial, remarks)


def gather(runs: Iterable[RunRecord], measure: str = "return", partial: bool = False, remarks: Iterable[str] = ()) -> Scores:
    """Put runs together: names that tell them apart, no run twice, and what a reader should know.

    :param runs: of any sources
    :param measure: as in :func:`load_scores`
    :param partial: also take runs that are not finished
    :param remarks: to begin with
    """
    runs = _without_copies(_told_apart(list(runs)))
    remarks = [*remarks]
    waiting = [run for run in runs if run.state != "finished"]
    taken = [run for run in runs if run.state == "finished" or (partial and run.state == "unfinished" and run.timesteps > 0)]
    taken = [run for run in taken if _has(run, measure)]
    if not taken:
        if runs and not waiting:
            raise UserError(f"No run has a {measure}: choose another --measure.")
        return Scores((), measure, tuple(remarks), tuple(waiting))
    _refuse_nan(taken, measure)
    remarks += _unfinished_remarks(waiting, taken)
    taken = [_without_bad_returns(run, remarks) for run in taken]
    scores = Scores(tuple(taken), measure, (), tuple(waiting))
    return replace(scores, remarks=(*remarks, *_budget_remarks(scores), *_missing_remarks(scores)))


def _has(run: RunRecord, measure: str) -> bool:
    """Whether a run has a measure at all; a success that nobody defined is none."""
    episodes = run.training if measure == "training" else run.evaluations
    return len(episodes) > 0 and not np.isnan(episodes.column(measure)).all()


def _refuse_nan(runs: list[RunRecord], measure: str) -> None:
    """A return that is no number would silently vanish in a mean."""
    for run in runs:
        episodes = run.training if measure == "training" else run.evaluations
        bad = ~np.isfinite(episodes.column(measure)) if measure != "success" else np.isinf(episodes.column(measure))
        if bad.any():
            step = int(episodes.steps[bad][0])
            raise UserError(f"{run.source} has a {measure} that is no number at step {step}: leave this run out, or mend it.")


def _without_bad_returns(run: RunRecord, remarks: list[str]) -> RunRecord:
    """A run whose measure is sound keeps it, whatever its other returns are; those are left out.

    :param run: with a measure that has passed
    :param remarks: what is left out is told here
    """
    for kind, words in (("evaluations", "evaluation"), ("training", "training")):
        episodes: Episodes = getattr(run, kind)
        bad = ~np.isfinite(episodes.returns)
        if bad.any():
            step = int(episodes.steps[bad][0])
            where = f"{run.name} has a {words} return that is no number at step {step}"
            remarks.append(f"{where}: its {words} returns are left out.")
            changed: dict[str, Any] = {kind: replace(episodes, returns=np.full(len(episodes), math.nan))}
            run = replace(run, **changed)
    return run


def _told_apart(runs: list[RunRecord]) -> list[RunRecord]:
    """Runs with the same name but other settings get the settings that differ into their names."""
    for label, names, others in (
        ("task", ("env_kwargs", "env_wrappers"), ()),
        ("method", ("algo_kwargs", "n_envs", "normalize"), ("task",)),
    ):
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, run in enumerate(runs):
            key = tuple(getattr(run, name) for name in (label, *others))
            groups.setdefault(key, []).append(index)
        for indices in groups.values():
            flat = [_flat(runs[index].settings, names) for index in indices]
            different = sorted({key for each in flat for key in each if len({str(f.get(key)) for f in flat}) > 1})
            for index, each in zip(indices, flat, strict=True):
                text = ", ".join(f"{key}={each[key]}" for key in different if each.get(key) is not None)
                if text:
                    renamed: dict[str, Any] = {label: f"{getattr(runs[index], label)} ({text})"}
                    runs[index] = replace(runs[index], **renamed)
    return runs


def _flat(settings: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Settings of several groups side by side."""
    flat: dict[str, Any] = {}
    for name in names:
        value = settings.get(name)
        flat |= value if isinstance(value, dict) else {name.removeprefix("env_"): value or None}
    return flat


def _without_copies(runs: list[RunRecord]) -> list[RunRecord]:
    """The same run found twice counts once; two different runs under one name are refused."""
    kept: dict[tuple[str, str, int], RunRecord] = {}
    for run in runs:
        other = kept.setdefault((run.task, run.method, run.seed), run)
        if other is run:
            continue
        same = all(
            np.array_equal(getattr(other, name).column("return"), getattr(run, name).column("return"))
            for name in ("evaluations", "training")
        )
        if not same:
            raise UserError(
                f"{other.source} and {run.source} are both {run.name}, with different results: "
                "leave one out, or tell them apart with LABEL=FOLDER."
            )
    return list(kept.values())


def _unfinished_remarks(waiting: list[RunRecord], taken: list[RunRecord]) -> list[str]:
    """Which runs are not finished, and whether they are in."""
    remarks = []
    included = {id(run) for run in taken}
    for state, inside, words in (
        ("unfinished", True, "still unfinished and taken in up to where {} ended"),
        ("unfinished", False, "unfinished and left out (--partial takes {} in up to where {} ended)"),
        ("failed", False, "failed and left out"),
    ):
        names = [run.name for run in waiting if run.state == state and (id(run) in included) == inside]
        if names:
            few = "; ".join(names[:4]) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")
            it = "it" if len(names) == 1 else "they"
            words = words.format(*(["it" if len(names) == 1 else "them", it] if words.count("{}") == 2 else [it]))
            count = "1 run is" if len(names) == 1 else f"{len(names)} runs are"
            count = count.replace(" is", "").replace(" are", "") if state == "failed" else count
            remarks.append(f"{count} {words}: {few}.")
    return remarks


def _budget_remarks(scores: Scores) -> list[str]:
    """Where runs of one task went on for different numbers of steps."""
    remarks = []
    for task in scores.tasks:
        runs = [run for run in scores.runs if run.task == task and not run.timed]
        budgets = Counter(run.timesteps for run in runs)
        if budgets and max(budgets) > 1.02 * min(budgets):
            remarks.append(
                f"Runs on {task} have different budgets ({', '.join(f'{steps:,}' for steps in sorted(budgets))} steps): "
                f"all are compared at step {min(budgets):,}, and what came later is cut off."
            )
    return remarks


def _missing_remarks(scores: Scores) -> list[str]:
    """Tasks that some methods did not run on, and settings in which methods of a task differ."""
    remarks = []
    for task in scores.tasks:
        without = [method for method in scores.methods if not scores.of(task, method)]
        if without and len(scores.tasks) > 1:
            remarks.append(f"{', '.join(without)} has no run on {task}: the task is left out of what is said over all tasks.")
        for name in ("eval_actions", "eval_episodes", "n_envs", "success_return"):
            found = {str(run.settings[name]) for run in scores.runs if run.task == task and name in run.settings}
            if len(found) > 1:
                remarks.append(f"Runs on {task} differ in {name} ({', '.join(sorted(found))}): mind this in comparing them.")
    return remarks
