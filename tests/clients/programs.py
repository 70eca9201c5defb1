"""
Programs under test: each command in bounded time, each daemon stopped at the end, and a workshop that is left empty.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

PATIENCE = 60.0
"""Seconds that a command may take."""
STARTING = 30.0
"""Seconds that a daemon may take until it answers."""
STOPPING = 20.0
POLL = 0.1


class ProgramFailed(Exception):
    """A program ended otherwise than the test expects; the message has the end of what it said."""


@attrs.frozen
class Program:
    """A command with the arguments and the environment that every call of it shares."""

    command: tuple[str, ...]
    env: Mapping[str, str] = attrs.field(repr=False)

    def __call__(self, *arguments: object, stdin: str = "") -> str:
        """What it prints when it succeeds. Raises `ProgramFailed` if it does not."""
        return self._succeeded(arguments, stdin).stdout.decode()

    def raw(self, *arguments: object) -> bytes:
        """The bytes that it prints when it succeeds. Raises `ProgramFailed` if it does not."""
        return self._succeeded(arguments).stdout

    def remarks(self, *arguments: object) -> str:
        """What it writes to standard error when it succeeds. Raises `ProgramFailed` if it does not."""
        return self._succeeded(arguments).stderr.decode(errors="replace")

    def refused(self, *arguments: object, stdin: str = "") -> str:
        """What it says when it fails, all of it. Raises `ProgramFailed` if it succeeds."""
        done = self._run(arguments, stdin)
        if not done.returncode:
            raise ProgramFailed(f"{self._spelled(arguments)} succeeded: {_end(done)}")
        return (done.stdout + done.stderr).decode(errors="replace")

    def having(self, **env: object) -> Program:
        """The same program in an environment with these variables as well."""
        return attrs.evolve(self, env={**self.env, **{name: str(value) for name, value in env.items()}})

    def _succeeded(self, arguments: tuple[object, ...], stdin: str = "") -> subprocess.CompletedProcess[bytes]:
        done = self._run(arguments, stdin)
        if done.returncode:
            raise ProgramFailed(f"{self._spelled(arguments)} ended with {done.returncode}: {_end(done)}")
        return done

    def _run(self, arguments: tuple[object, ...], stdin: str) -> subprocess.CompletedProcess[bytes]:
        line = [*self.command, *map(str, arguments)]
        return subprocess.run(
            line, env=dict(self.env), input=stdin.encode(), capture_output=True, timeout=PATIENCE, check=False
        )

    def _spelled(self, arguments: tuple[object, ...]) -> str:
        return " ".join((self.command[0], *map(str, arguments)))


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr or done.stdout).decode(errors="replace").strip()[-1500:]


class Daemon:
    """A process that serves until the end of the `with`, and is ended with all its group if it does not stop then."""

    def __init__(self, program: Program, log: Path, answers: Callable[[], object]) -> None:
        """`answers` is called until it no longer raises `ProgramFailed`."""
        self._program = program
        self._log = log
        self._answers = answers

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._program.command,
                env=dict(self._program.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_answer()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + STARTING
        while not self._answered():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"{self._program.command[0]} does not start here: {self._last_line()}")
            time.sleep(POLL)

    def _answered(self) -> bool:
        try:
            self._answers()
        except ProgramFailed:
            return False
        return True

    def _last_line(self) -> str:
        return self._log.read_text(errors="replace").strip().rpartition("\n")[2]

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOPPING)


@contextmanager
def workshop() -> Iterator[Path]:
    """A directory with a short name (sockets lie in it); at the end its mounts are released, and it is removed."""
    directory = Path(tempfile.mkdtemp(prefix="quay-clients-"))
    try:
        yield directory
    finally:
        for mount in reversed(mounts_below(directory)):
            subprocess.run(["umount", "--lazy", mount], check=True, timeout=PATIENCE)
        shutil.rmtree(directory)


def mounts_below(directory: Path) -> list[str]:
    """What is mounted below `directory`, in the order in which it was mounted."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{directory}/")]
