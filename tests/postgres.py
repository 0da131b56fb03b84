"""A real PostgreSQL server for tests, on a port of its own, whoever runs them."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "pass/word"


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; Debian keeps it out of the path."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def why_not() -> str | None:
    """Why there can be no server here; ``None`` where there can be one."""
    if binaries() is None:
        return "needs a PostgreSQL server (Debian, Ubuntu: apt install postgresql)"
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        return "PostgreSQL refuses to run as root, and there is no user 'postgres'"
    return None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A server with one user, one password and any number of databases.

    :param folder: for everything that it writes
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        # the server refuses to run as root
        self.identity: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self.identity:
            shutil.chown(folder, **self.identity)

    def call(self, program: str, *arguments: str) -> None:
        command = [str(binaries() / program), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **self.identity)

    def create(self) -> None:
        (self.folder / "password").write_text(PASSWORD)
        data = ["-D", str(self.folder / "data"), "--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}"]
        self.call("initdb", *data, "--username=tester", "--no-sync", "--encoding=UTF8", "--locale=C")

    def control(self, *arguments: str) -> None:
        """``start``, ``stop``, ``restart`` by ``pg_ctl``, and wait until it is done."""
        options = f"-F -p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = ["-l", str(self.folder / "log"), "-o", options] if arguments[0] != "stop" else []
        self.call("pg_ctl", *arguments, "-w", "-s", "-D", str(self.folder / "data"), *log)

    def url(self, database: str = "postgres", password: bool = True) -> str:
        """The URL that a user would type."""
        secret = ":" + PASSWORD.replace("/", "%2F") if password else ""
        return f"postgresql://tester{secret}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """The URL of a new database."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that is there until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not pytest's, where another user may not enter
    server = Server(folder)
    try:
        server.create()
        server.control("start")
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.control("stop", "-m", "immediate")
        shutil.rmtree(folder)
