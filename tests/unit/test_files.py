"""A file of the data directory is whole, its owner's alone, and replaces the one before it at once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from quay.files import write_whole


def test_replaces(tmp_path: Path) -> None:
    """The new content is there, readable by its owner only, and nothing is left beside it."""
    path = tmp_path / "below" / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    """Where it cannot be written, what was there stays, and no draft does."""
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError):
        write_whole(path, b"two")
    assert list(tmp_path.iterdir()) == [path]
