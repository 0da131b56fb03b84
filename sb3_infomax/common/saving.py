"""Files that are written whole or not at all, and read without running anything that is in them."""

import contextlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch as th

VERSION = 1
#: what saves files of each kind, for messages
CALLBACKS = {"intrinsic": "IntrinsicReward", "auxiliary": "AuxiliaryLoss"}


class SavedFileError(ValueError):
    """A file that is damaged, not ours, or of another make; the message says which."""


def state_path(path: str | Path, kind: str = "intrinsic") -> Path:
    """``path`` with the extension ``.<kind>.pt``, added where it lacks that."""
    path, extension = Path(path), f".{kind}.pt"
    return path if path.name.endswith(extension) else path.with_name(path.name + extension)


def write_atomically(path: Path, write: Any) -> None:
    """Call ``write(file)`` on a temporary file beside ``path`` and put it in place once it is on the disk.

    :param path: what exists when this returns; before that, what was there before
    :param write: takes a binary file open for writing
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give it the mode of any other
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def save_state(path: Path, config: dict[str, Any], num_timesteps: int, state: dict[str, Any], kind: str = "intrinsic") -> None:
    """Write the state of a callback.

    :param path: see :func:`state_path`
    :param config: what is needed to build it again, as JSON
    :param num_timesteps: of the model at this moment
    :param state: tensors and plain containers
    :param kind: of callback
    """
    payload = {
        "format": f"sb3_infomax.{kind}",
        "version": VERSION,
        "config": json.dumps(config),
        "num_timesteps": int(num_timesteps),
        "state": state,
    }
    write_atomically(path, lambda file: th.save(payload, file))


def load_state(path: Path, kind: str = "intrinsic") -> tuple[dict[str, Any], int, dict[str, Any]]:
    """Read what :func:`save_state` wrote, with ``weights_only=True``.

    :param path: of the file
    :param kind: of callback

    :return: config, num_timesteps and state
    :raises SavedFileError: where the file is missing, damaged, not ours or of a later version
    """
    if not path.is_file():
        raise SavedFileError(f"There is no file {path}.")
    damaged = f"{path} is damaged or was not written by sb3_infomax; it cannot be read safely."
    try:
        # torch does not look at the checksums, and would load weights that the disk has changed
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(bad)
        payload = th.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise SavedFileError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # over a damaged file an unpickler may stumble in any way
        raise SavedFileError(damaged) from error
    if not isinstance(payload, dict) or payload.get("format") != f"sb3_infomax.{kind}":
        raise SavedFileError(f"{path} is not a file of sb3_infomax's {CALLBACKS[kind]}.")
    try:
        version, config, num_timesteps, state = (payload[key] for key in ("version", "config", "num_timesteps", "state"))
        known, config = version <= VERSION, dict(json.loads(config))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SavedFileError(damaged) from error
    if not known:
        raise SavedFileError(f"{path} was written by a later sb3_infomax (format {version}); update the package.")
    return config, num_timesteps, state
