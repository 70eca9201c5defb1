"""Asking for a write changes nothing but when it happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred

from quay.oci.reference import Digest
from quay.storage import partial, writeback
from quay.storage.local import LocalBlobs
from quay.threads import ImmediatePool

MIB = 1024 * 1024


def test_a_large_upload_is_written_before_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few mebibytes the medium is asked to begin, with each byte once, and the blob is what was pushed."""
    asked: list[tuple[int, int]] = []

    def note(fd: int, offset: int, count: int) -> None:
        asked.append((offset, count))
        writeback.start_writeback(fd, offset, count)

    monkeypatch.setattr(partial, "start_writeback", note)
    store = LocalBlobs("local", tmp_path, ImmediatePool())
    data = os.urandom(MIB) * 20
    done: list[object] = []

    async def push() -> None:
        upload = await store.begin("large", "sha256")
        for start in range(0, len(data), MIB):
            upload.write(data[start : start + MIB])
        done.append(await upload.commit(Digest.of(data)))

    Deferred.fromCoroutine(push())
    assert done == [len(data)]
    assert [offset for offset, _ in asked] == [0, asked[0][1]]
    assert sum(count for _, count in asked) <= len(data)
    digest = Digest.of(data)
    assert (tmp_path / "blobs" / "sha256" / digest.hex[:2] / digest.hex).read_bytes() == data


def test_no_descriptor_left_to_ask_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload goes on, and is durable at its end, where nobody could ask for that before."""
    monkeypatch.setattr(os, "dup", Mock(side_effect=OSError(errno.EMFILE, "too many")))
    store = LocalBlobs("local", tmp_path, ImmediatePool())
    data = os.urandom(MIB) * 20
    done: list[object] = []

    async def push() -> None:
        upload = await store.begin("large", "sha256")
        upload.write(data)
        await upload.flushed()
        upload.write(data)
        done.append(await upload.commit(Digest.of(data * 2)))

    Deferred.fromCoroutine(push()).addErrback(done.append)
    assert done == [2 * len(data)]


def test_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no such call, nothing is asked, and the descriptor is closed all the same."""
    monkeypatch.setattr(writeback, "_sync_file_range", None)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    writeback.start_writeback(fd, 0, 10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(fd)
