"""
A file system of a test's own, which can be filled, emptied and made read-only while a server works on it: a tmpfs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

MIB = 1024 * 1024


class Tmpfs:
    """`size` bytes of memory, mounted at `path`; as a context manager. Skips the test where nobody may mount."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._filler = path / "filler"

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root can mount a file system that may be filled")
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size},mode=0700"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "quay-test", str(self.path)], capture_output=True)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.decode(errors='replace').strip()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self) -> None:
        """Leave not one page."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink()

    def protect(self, *, read_only: bool = True) -> None:
        """Take no more writes, or take them again."""
        mode = "ro" if read_only else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True)
