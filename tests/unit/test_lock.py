"""One server to a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quay.lock import DataInUse, DataLock, DataUnusable

HOLD = """
import sys
from pathlib import Path
from quay.lock import DataLock
DataLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_names_the_holder(tmp_path: Path) -> None:
    """The second server is refused, and told who the first one is and what to do."""
    lock = DataLock(tmp_path / "data")
    lock.acquire()
    with pytest.raises(DataInUse, match=rf"process {os.getpid()} on .*QUAY_DATA"):
        DataLock(tmp_path / "data").acquire()
    lock.release()
    DataLock(tmp_path / "data").acquire()


def test_dies_with_its_holder(tmp_path: Path) -> None:
    """A server that was killed holds nothing up."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataInUse, match=f"process {holder.pid} on"):
            DataLock(tmp_path).acquire()
        holder.kill()
    DataLock(tmp_path).acquire()


def test_the_directory_is_private(tmp_path: Path) -> None:
    """A data directory that is made here is the owner's alone."""
    DataLock(tmp_path / "new" / "data").acquire()
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_used(tmp_path: Path) -> None:
    """A data directory that cannot be made, and a lock that cannot be opened, are sentences with the directory."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnusable, match=r"file/data cannot be used: Not a directory\."):
        DataLock(tmp_path / "file" / "data").acquire()
    (tmp_path / "server.lock").mkdir()
    with pytest.raises(DataUnusable, match=rf"{tmp_path} cannot be used: Is a directory\."):
        DataLock(tmp_path).acquire()
