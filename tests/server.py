"""
A real server for tests: `python -m quay serve` as a process of its own, on a free port of the loopback.

It can be stopped as an operator stops it or killed as a failing machine ends it, and started again on the same port
with the same data. Where its database is PostgreSQL, `QUAY_DB_URI` in its environment says so.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import attrs
from click.testing import CliRunner

from quay.cli import quay
from quay.database.engines import sqlite
from quay.database.migrations import migrate
from tests.postgres import free_port

PATIENCE = 120.0
"""Seconds that a start, a stop or a command may take, on a machine that does ten other things."""
POLL = 0.05
REPOSITORY = Path(__file__).parent.parent


class ServerFailed(Exception):
    """The server, or a command beside it, did not do what was asked; the message has the end of what it said."""


@attrs.frozen
class User:
    """Somebody who may log in; `name` is also his namespace."""

    name: str
    password: str = attrs.field(repr=False)


@cache
def migrated() -> bytes:
    """A SQLite database that has the schema and nothing else."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "quay.db"
        engine = sqlite(str(path))
        migrate(engine)
        engine.dispose()
        return path.read_bytes()


def rows(data: Path, query: str) -> list[tuple[object, ...]]:
    """What SQLite answers to `query` on the database in this data directory; a change is kept."""
    with closing(sqlite3.connect(data / "quay.db", timeout=10)) as database, database:
        return database.execute(query).fetchall()


class RunningQuay:
    """
    One server with its own data directory. `env` is added to a bare environment; `QUAY_…` in it sets any key of the
    configuration, and `QUAY_CRASH_AT` arms a fault. As a context manager it starts, and is killed at the end.
    """

    def __init__(self, data: Path, env: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.port = free_port()
        self._log = data / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "QUAY_DATA": str(data),
            "QUAY_LISTEN": f"127.0.0.1:{self.port}",
            **(env or {}),
        }
        data.mkdir(parents=True, exist_ok=True)

    @property
    def host(self) -> str:
        """The registry as it stands before a repository: address and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def log(self) -> str:
        """What the server has said, in all its runs."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        return self._running().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self, *, await_health: bool = True) -> None:
        """Start it, and wait until it is healthy. Raises `ServerFailed`."""
        self._begin()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("serve"),
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if await_health:
            self.await_health()

    def _begin(self) -> None:
        """Give it an empty database with its schema: to make that takes longer than most tests do."""
        database = self.data / "quay.db"
        if "QUAY_DB_URI" not in self._environment and not database.exists():
            database.write_bytes(migrated())

    def await_health(self) -> None:
        """Wait until it is healthy. Raises `ServerFailed` if it ends instead, or takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not self.healthy():
            if self._running().poll() is not None:
                raise self._failed(f"ended with status {self.wait()}")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failed(f"was not healthy after {PATIENCE:.0f} s")
            time.sleep(POLL)

    def healthy(self) -> bool:
        """Whether /health says that every part works."""
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False

    def wait(self) -> int:
        """Wait until it has ended, and return its exit status: negative for a signal. Raises `ServerFailed`."""
        process = self._running()
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not end within {PATIENCE:.0f} s") from None
        self._process = None
        return status

    def stop(self) -> int:
        """Stop it as an operator does, and return its exit status. Raises `ServerFailed`."""
        self._running().terminate()
        return self.wait()

    def kill(self) -> None:
        """End it as a failing machine does; nothing happens if it has ended already."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`quay …` on the same data, however it ends."""
        return subprocess.run(
            self._command(*arguments),
            cwd=REPOSITORY,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def command(self, *arguments: str, stdin: str = "") -> str:
        """What `quay …` says when run on the same data. Raises `ServerFailed` if it fails."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode:
            raise ServerFailed(f"quay {' '.join(arguments)} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout

    def add_user(self, name: str, password: str = "password123", *, superuser: bool = False) -> User:
        """Make a user; the server need not run."""
        rights = ["--superuser"] if superuser else []
        arguments = ["user", "create", name, "--email", f"{name}@example.org", "--password-stdin", *rights]
        # The command itself, but in this process: most of what it costs is its start.
        done = CliRunner().invoke(quay, arguments, obj=self._environment, input=password)
        if done.exit_code:
            raise ServerFailed(f"quay {' '.join(arguments)} failed: {done.output.strip()[-1000:]}") from done.exception
        return User(name, password)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "quay", *arguments]

    def _connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("The server does not run: start it first.")
        return self._process

    def _failed(self, how: str) -> ServerFailed:
        return ServerFailed(f"The server {how}; it said: {self.log.strip()[-3000:]}")
