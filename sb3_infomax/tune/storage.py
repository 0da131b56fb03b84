"""Where a study lives: a file for the processes of one machine, a PostgreSQL server for several machines.

==========================  ============================================================================
``None``                    ``study.db`` (SQLite) in the study's folder
``sqlite:///path.db``       SQLite, the three slashes are part of it
``postgresql://host/name``  a PostgreSQL server; the password is best left to ``PGPASSWORD`` or ``~/.pgpass``
``journal:path.log``        Optuna's journal file, the cheapest
``grpc://host:port``        Optuna's gRPC proxy, in front of a server that very many workers share
==========================  ============================================================================

Whatever the storage, workers may be killed at any time, see :mod:`sb3_infomax.tune.work`.
"""

import os
import random
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from sb3_infomax.compare.spec import UserError
from sb3_infomax.compare.storage import make_folder
from sb3_infomax.tune.retry import queue_again

if TYPE_CHECKING:
    from io import TextIOWrapper

    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

HEARTBEAT_SECONDS = 15
GRACE_BEATS = 3  # a worker is dead when it has missed so many
SERVER_SECONDS = 600.0  # an outage of the server that workers wait out
ADVISORY_LOCK = 5_053_717  # any number, the same for all
KINDS = "sqlite:///study.db, postgresql://user@host/name, journal:study.log or grpc://host:port"


class KernelLock:
    """A lock on a file that ends with the process that holds it; Optuna's own stays when its holder is killed.

    :param path: of the file to lock beside
    """

    def __init__(self, path: str) -> None:
        self.path = path + ".lock"
        self.file: TextIOWrapper | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        import fcntl

        file = open(self.path, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        self.file = file
        return True

    def release(self) -> None:
        """Give it back."""
        if self.file is not None:
            self.file.close()


@contextmanager
def alone(storage: BaseStorage) -> Iterator[None]:
    """Hold a storage while many workers start at once, so that they do not all queue the same tasks.

    What is queued twice is found later as well, so that a storage without such a lock (gRPC, MySQL) needs none.

    :param storage: from :func:`open_storage`, or of a study
    """
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    path = engine.url.database if engine is not None and engine.name == "sqlite" else getattr(storage, "path", None)
    if path is not None and os.name == "posix":
        lock = KernelLock(f"{path}.queue")
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
    elif engine is not None and engine.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            yield  # the lock goes with the transaction
    else:
        yield


def shown(url: str) -> str:
    """A URL as it may be printed: without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return re.sub(r"://.*@", "://***@", url)


def open_storage(
    url: str | None = None,
    folder: Path | None = None,
    heartbeat: int = HEARTBEAT_SECONDS,
    leaving: threading.Event | None = None,
) -> BaseStorage:
    """The storage behind a URL; any number of processes may open a new one at the same moment.

    :param url: see the top of this module
    :param folder: of the study, for the file where there is no URL
    :param heartbeat: seconds between two signs of life of a worker; after three it is taken for dead
    :param leaving: set by another thread where a server that is away is not to be waited for any longer
    :raises UserError: where it cannot be opened
    """
    if heartbeat < 1:
        raise UserError(f"The heartbeat must be at least 1 second, not {heartbeat}.")
    if url is None:
        if folder is None:
            raise ValueError("open_storage needs a URL or the folder of the study.")
        url = f"sqlite:///{(make_folder(folder) / 'study.db').resolve()}"
    kind, _, rest = url.partition(":")
    if kind == "journal" and rest:
        return open_journal(Path(rest.removeprefix("//")), heartbeat)
    if kind == "grpc":
        return open_proxy(url, heartbeat)
    return open_database(url, heartbeat, leaving or threading.Event())


def open_journal(path: Path, heartbeat: int) -> JournalStorage:
    """Optuna's journal file, with a lock that no kill leaves behind."""
    make_folder(path.parent)
    lock: Any = KernelLock(str(path)) if os.name == "posix" else None
    storage = with_heartbeat(JournalStorage(JournalFileBackend(str(path), lock)), heartbeat)
    storage.path = path
    return storage


def open_proxy(url: str, heartbeat: int) -> GrpcStorageProxy:
    """A client of ``optuna.storages.run_grpc_proxy_server``."""
    host, _, port = url.removeprefix("grpc://").strip("/").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"Cannot read the storage {url!r}: write it as grpc://host:port.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = GrpcStorageProxy(host=host, port=int(port))
        storage.wait_server_ready(timeout=10)
    except ImportError as error:
        raise UserError("The gRPC proxy needs two packages more: pip install grpcio protobuf.") from error
    except ConnectionError as error:
        raise UserError(f"Nobody answers at {url}: start Optuna's proxy there, see run_grpc_proxy_server.") from error
    return with_heartbeat(storage, heartbeat)


def with_heartbeat(storage: Any, heartbeat: int) -> Any:
    """Note the interval, which Optuna's databases know themselves, at the other storages."""
    storage.heartbeat_interval = heartbeat
    return storage


def open_database(url: str, heartbeat: int, leaving: threading.Event) -> RDBStorage:
    """An SQL database with Optuna's heartbeat."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(f"Cannot read the storage {shown(url)!r}: write it as {KINDS}.") from None
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() == "sqlite":
        # workers wait for each other, and the driver begins no transactions of its own, see begin_immediately
        settings["connect_args"] = {"timeout": 60, "isolation_level": None}
        make_folder(Path(parsed.database or ".").parent)
    check_connection(parsed)
    storage = create_tables(parsed.render_as_string(hide_password=False), settings, heartbeat)
    if parsed.get_backend_name() == "sqlite":
        sqlalchemy.event.listen(storage.engine, "begin", begin_immediately)
    else:
        sqlalchemy.event.listen(storage.engine, "do_connect", partial(wait_for_server, leaving))
    return storage


def begin_immediately(connection: sqlalchemy.Connection) -> None:
    """SQLAlchemy's hook for transactions: on an SQLite file they exclude each other from their first statement on.

    Python's driver would begin one only before something is written, so that two workers could read that a trial waits, and
    both take it. SQLite has no lock of a row, by which Optuna prevents that in other databases.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def check_connection(url: sqlalchemy.URL) -> None:
    """Connect once and tell what is wrong in a sentence, without the password."""
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect():
            pass
        engine.dispose()
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        how = "pip install 'psycopg[binary]'" if "psycopg" in url.drivername else f"use {KINDS}"
        raise UserError(f"There is no driver for {url.drivername}: {how}.") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        reason = reason.replace(str(url.password), "***") if url.password else reason
        raise UserError(f"Cannot open {url.render_as_string(hide_password=True)}: {reason}") from None


def create_tables(url: str, settings: dict[str, Any], heartbeat: int) -> RDBStorage:
    """Open the database, as one of several who may be creating its tables right now.

    The losers of that race meet tables, or rows, that were not there when they looked: they look again.
    """
    for attempt in range(8):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    engine_kwargs=settings,
                    heartbeat_interval=heartbeat,
                    grace_period=GRACE_BEATS * heartbeat,
                    heartbeat_stale_trial_callback=queue_again,
                )
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError):
            if attempt == 7:
                raise
            time.sleep(random.Random().uniform(0.05, 0.2) * 2**attempt)
    raise AssertionError("unreachable")


def wait_for_server(leaving: threading.Event, dialect: Any, record: Any, arguments: Any, settings: Any) -> Any:
    """SQLAlchemy's hook for connecting: a server that was there and is away is waited for."""
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **settings)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline or leaving.wait(0.5):
                raise


def create_study(
    storage: BaseStorage,
    name: str,
    direction: Literal["maximize", "minimize"] = "maximize",
    sampler: "BaseSampler | None" = None,
    pruner: "BasePruner | None" = None,
) -> optuna.Study:
    """The study of this name, made where there is none; any number of processes may do so at the same moment.

    :param storage: from :func:`open_storage`
    :param name: of the study
    :param direction: ``"maximize"`` or ``"minimize"``
    :param sampler: of this process; processes need samplers of different seeds, or of none, which is the default
    :param pruner: of this process
    """
    return optuna.create_study(
        study_name=name, storage=storage, direction=direction, sampler=sampler, pruner=pruner, load_if_exists=True
    )
