"""The folder of a run: what is in it, and how it gets there whole or not at all."""

import csv
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sb3_infomax.compare.spec import RunSpec, UserError, jsonable, parse_value

FORMAT = 1
LOCK_SECONDS = 0.2  # between two looks at a folder that is in use
EVALUATION_COLUMNS = ("timesteps", "episode", "return", "length", "success", "wall_seconds", "cpu_seconds")
MONITOR_COLUMNS = ("r", "l", "t", "timesteps", "success")
MOMENTS = "vecnormalize.pkl"  # the RL Zoo's name for it
PACKAGES = ("sb3-infomax", "stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy")


def write_atomic(path: Path, text: str, durable: bool = True) -> None:
    """Write a file so that a reader, or a crash at any moment, meets the old content or the new, never a part.

    :param path: of the file; its folder must exist
    :param text: the whole content
    :param durable: wait until it is on the disk, so that a power cut is survived as well
    """
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, record: Any, durable: bool = True) -> None:
    """A record as JSON, whole or not at all."""
    write_atomic(path, json.dumps(jsonable(record), indent=2) + "\n", durable)


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote; ``None`` where there is no such file.

    :raises UserError: where the file is damaged
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): delete its folder and run again.") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Nothing in it is executed; ``1e-3`` and ``1e5`` are numbers, and no key may stand twice.

    :raises UserError: where it cannot be read
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, with numbers as on the command line."""

        def construct_number(self, node: Any) -> Any:
            value = parse_value(node.value)
            return value if isinstance(value, (int, float)) else self.construct_yaml_float(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    line = node.start_mark.line + 1
                    raise UserError(f"{path}: {key!r} is given twice in the table at line {line}: leave one of them out.")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_number)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read {path}: {' '.join(str(error).split())}.") from error


def make_folder(path: Path) -> Path:
    """The folder, made with its parents where it is missing.

    :raises UserError: where it cannot be written
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"  # several processes may look at once
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to the folder {path}: {error.strerror or error}.") from error
    return path


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package == "sb3-infomax":  # run from a checkout
                from sb3_infomax import __version__

                found[package] = __version__
    return found


@contextmanager
def locked(folder: Path, busy: str, shared: bool = False) -> Iterator[None]:
    """Hold a folder alone; the lock goes with the process, however that ends.

    :param folder: an existing folder
    :param busy: what to tell the user where another process holds it
    :param shared: hold it together with others that say the same
    """
    with open(folder / ".lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except ImportError:  # Windows has no flock; two runs at once into one folder are then the user's to avoid
            pass
        except OSError as error:
            raise UserError(busy) from error
        yield


@contextmanager
def locked_when_free(folder: Path, check: Callable[[], None] | None = None) -> Iterator[None]:
    """:func:`locked`, once a process that was believed dead and still works in the folder has let it go.

    :param folder: an existing folder
    :param check: called before each look; what it raises ends the waiting
    """
    with ExitStack() as held:
        while True:
            if check is not None:
                check()
            with suppress(UserError):
                held.enter_context(locked(folder, "in use"))
                break
            time.sleep(LOCK_SECONDS)
        yield


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Wait until no other process is inside such a block for the folder, which several share.

    :param folder: an existing folder
    """
    with open(folder / ".turn", "w") as file:
        with suppress(ImportError):  # as above
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of one of our CSV files; empty fields become NaN, a last line that was cut off is left out.

    :param path: may be missing
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = [line for line in lines if line.endswith("\n") and not line.startswith("#")]
    return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(whole)]


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV text with a header; NaN and ``None`` become empty fields."""
    columns = list(columns)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [row.get(name) for name in columns]
        writer.writerow(["" if value is None or value != value else value for value in values])
    return buffer.getvalue()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    ``config.json`` (specification and versions), ``evaluations.csv`` (a row per evaluation episode), ``monitor.csv`` (a row
    per training episode, in Stable-Baselines3's Monitor format with two columns more), ``progress.json`` while it runs,
    ``finished.json`` or ``failed.json`` at its end, ``model.zip`` and the callbacks' ``model*.pt``, ``vecnormalize.pkl`` where
    there is one, ``log.txt``, and ``checkpoint_<steps>/`` in long runs.

    :param path: the folder
    """

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.csv"

    @property
    def monitor(self) -> Path:
        return self.path / "monitor.csv"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def finished(self) -> Path:
        return self.path / "finished.json"

    @property
    def failed(self) -> Path:
        return self.path / "failed.json"

    @property
    def model(self) -> Path:
        return self.path / "model.zip"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def claim(self, spec: RunSpec) -> bool:
        """Make the folder this run's, or find that it is already.

        :param spec: what is to run here
        :return: whether the run is finished
        :raises UserError: where the folder holds another run
        """
        record = read_json(self.config) if self.path.is_dir() else None
        if record is None:
            make_folder(self.path)
            write_json(self.config, {"format": FORMAT, "spec": spec.to_json(), "versions": versions()})
            return False
        if not isinstance(record, dict) or record.get("format") != FORMAT or "spec" not in record:
            raise UserError(f"{self.config} was not written by this version: choose another folder with --out.")
        stored = RunSpec.from_json(record["spec"])
        different = spec.differences(stored)
        if different:
            name = different[0]
            raise UserError(
                f"{self.path} holds a run with {name} = {getattr(stored, name)!r}, not {getattr(spec, name)!r}: "
                "choose another folder with --out, or delete this one."
            )
        return self.finished.exists()

    def spec(self) -> RunSpec:
        """The stored specification."""
        record = read_json(self.config)
        if record is None:
            raise UserError(f"{self.path} holds no run: there is no config.json.")
        return RunSpec.from_json(record["spec"])

    def checkpoint(self) -> Path | None:
        """The newest whole checkpoint, if there is one."""
        found = [path for path in self.path.glob("checkpoint_*") if path.suffix != ".tmp" and path.is_dir()]
        return max(found, key=lambda path: int(path.name.removeprefix("checkpoint_")), default=None)

    def start_over(self) -> None:
        """Remove what an earlier attempt left, the configuration excepted."""
        for path in self.path.iterdir():
            if path.is_dir() and path.name.startswith("checkpoint_"):
                shutil.rmtree(path)
        files = (self.evaluations, self.monitor, self.progress, self.finished, self.failed, self.model)
        for path in (*files, self.path / MOMENTS, *self.path.glob("model*.pt")):
            path.unlink(missing_ok=True)
