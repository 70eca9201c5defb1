"""
One server to a data directory: a lock that the kernel lets go of when its holder dies, and that names the holder.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path


class DataInUse(Exception):
    """Another process serves this data directory."""

    def __init__(self, data: Path, holder: str) -> None:
        super().__init__(
            f"Another server is using {data}: {holder}. Stop it first, or give this one a data directory of its own "
            "with QUAY_DATA."
        )


class DataLock:
    """Held from `acquire` until `release` or the end of the process."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises `DataInUse` if another process has it."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._data / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
