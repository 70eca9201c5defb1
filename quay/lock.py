"""
One server to a data directory: a lock that the kernel lets go of when its holder dies, and that names the holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Final

RESTORING: Final = "restoring.json"
"""In a data directory into which a backup is being restored: until that is done, nobody may use it."""


class DataUnusable(Exception):
    """The data directory cannot be made, or not be written to."""

    def __init__(self, data: Path, why: str) -> None:
        super().__init__(
            f"The data directory {data} cannot be used: {why}. Let this user write to it, or give another one with "
            "QUAY_DATA."
        )


class RestorationUnfinished(DataUnusable):
    """A backup was being restored there, and that was cut short."""

    def __init__(self, data: Path) -> None:
        Exception.__init__(
            self,
            f"The data directory {data} cannot be used: a backup was being restored into it, and that was cut short. "
            "Run the same 'quay restore' again.",
        )


class DataInUse(Exception):
    """Another process serves this data directory."""

    def __init__(self, data: Path, holder: str) -> None:
        super().__init__(
            f"Another server is using {data}: {holder}. Stop it first, or give this one a data directory of its own "
            "with QUAY_DATA."
        )


def prepare(data: Path, *, restoring: bool = False) -> None:
    """
    Make the data directory, which nobody else may enter, if it is not there. Raises `DataUnusable`, also where a
    restoration was begun and not finished, unless this is one.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnusable(data, str(error.strerror)) from error
    if not os.access(data, os.W_OK | os.X_OK):
        raise DataUnusable(data, os.strerror(errno.EACCES))
    if not restoring and (data / RESTORING).exists():
        raise RestorationUnfinished(data)


def holder(data: Path, locks: Path = Path("/proc/locks")) -> str | None:
    """
    Who serves this data directory now, as `process 1234 on host`; None if nobody does on this machine. The lock is not
    touched: the kernel is asked who has it. Source: proc_locks(5).
    """
    file = data / "server.lock"
    try:
        number = file.stat().st_ino
        held = [line.split() for line in locks.read_text(encoding="ascii").splitlines() if " FLOCK " in line]
        if not any(fields[5].rpartition(":")[2] == str(number) for fields in held if "->" not in fields[1]):
            return None
        return file.read_text(encoding="utf-8", errors="replace")[:200].strip() or "an unknown process"
    except (OSError, IndexError):
        return None


class DataLock:
    """Held from `acquire` until `release` or the end of the process; by a server, or by a restoration."""

    def __init__(self, data: Path, *, restoring: bool = False) -> None:
        self._data = data
        self._restoring = restoring
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises `DataInUse` if another process has it, and `DataUnusable`."""
        prepare(self._data, restoring=self._restoring)
        try:
            fd = os.open(self._data / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataUnusable(self._data, str(error.strerror)) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 200).decode("utf-8", "replace").strip() or "an unknown process"
            os.close(fd)
            raise DataInUse(self._data, holder) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go of it, if it is held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
