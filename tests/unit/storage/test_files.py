"""Files of the machine that become blobs of a local store as they lie there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quay.oci.reference import Digest
from quay.storage import DigestMismatch, StorageFailed
from quay.storage.local import LocalBlobs
from quay.threads import ImmediatePool

DATA = b"layer" * 1000
DIGEST = Digest.of(DATA)


def done(deferred: Deferred[Any]) -> Any:
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs("here", tmp_path / "store", ImmediatePool())


def content(store: LocalBlobs) -> bytes:
    found = done(store.open(DIGEST))
    try:
        data: bytes = done(found.read(0, found.size))
        return data
    finally:
        found.close()


def left(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "store" / "uploads")


def test_a_file_gets_a_second_name(tmp_path: Path, store: LocalBlobs, source: Path) -> None:
    """On one disk nothing is copied: the blob is the file, under another name."""
    assert done(store.keep_file(DIGEST, source)) == len(DATA)
    assert done(store.keep_file(DIGEST, source)) == len(DATA)
    assert source.stat().st_nlink == 2
    source.unlink()
    assert content(store) == DATA
    assert left(tmp_path) == []


def test_a_file_that_cannot_be_linked_is_copied(
    tmp_path: Path, store: LocalBlobs, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there can be no second name, the bytes come as an upload does."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert done(store.keep_file(DIGEST, source)) == len(DATA)
    assert source.stat().st_nlink == 1
    assert content(store) == DATA
    assert left(tmp_path) == []


@pytest.mark.parametrize("linked", [True, False])
def test_other_bytes_are_refused(
    tmp_path: Path, store: LocalBlobs, source: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    """A file with another digest leaves nothing."""
    if not linked:
        monkeypatch.setattr("quay.storage.files._device", lambda layout: -1)
    source.write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        done(store.keep_file(DIGEST, source))
    assert done(store.stat(DIGEST)) is None
    assert left(tmp_path) == []


def test_what_is_no_file_is_refused(tmp_path: Path, store: LocalBlobs, source: Path) -> None:
    """No link is followed, and nothing is waited for."""
    (tmp_path / "link").symlink_to(source)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "missing"):
        with pytest.raises(StorageFailed):
            done(store.keep_file(DIGEST, tmp_path / name))
