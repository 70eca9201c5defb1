"""Blobs in a dict: for tests and for trying things out. All is gone when the process ends."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Self

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from zope.interface import implementer

from quay.interfaces import IBlobSource, IBlobStore, IBlobUpload, IPool
from quay.oci.reference import Digest
from quay.storage import BlobMissing, DigestMismatch, StorageFull, StorageMisconfigured, UploadBusy, UploadMissing
from quay.storage.upload import Budget, SegmentedUpload, is_upload_id


@attrs.define(eq=False)
class Bytes:
    """What an upload holds; `touched` is when it last grew, in seconds since the epoch."""

    touched: float
    data: bytearray = attrs.field(factory=bytearray)
    is_open: bool = True


class PartialBytes:
    """One upload in memory: a `Partial` (see `quay.storage.upload`)."""

    def __init__(self, store: MemoryBlobs, upload_id: str, held: Bytes) -> None:
        self._store = store
        self._upload_id = upload_id
        self._held = held

    async def append(self, segment: Sequence[bytes]) -> None:
        data = b"".join(segment)
        self._store.make_room(len(data))
        self._held.data += data
        self._held.touched = self._store.now()

    async def place(self, digest: Digest) -> None:
        await self.discard()
        data = bytes(self._held.data)
        actual = Digest.of(data, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(digest, actual)
        self._store.blobs[digest] = data

    async def close(self) -> None:
        self._held.is_open = False

    async def discard(self) -> None:
        del self._store.uploads[self._upload_id]


@implementer(IBlobSource)
class MemorySource:
    """A blob in memory, open for reading."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data: bytes | None = data

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        """Raises ValueError after `close`."""
        if self._data is None:
            raise ValueError("This blob was read after it was closed: open it again.")
        return succeed(self._data[offset : offset + count])

    def close(self) -> None:
        self._data = None


@implementer(IBlobStore)
class MemoryBlobs:
    """At most `limit` bytes, uploads included; `now` tells the seconds since the epoch."""

    def __init__(
        self,
        location: str = "memory",
        limit: int | None = None,
        budget: Budget | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.location = location
        self.limit = limit
        self.now = now
        self.blobs: dict[Digest, bytes] = {}
        self.uploads: dict[str, Bytes] = {}
        self._budget = budget or Budget()

    @classmethod
    def from_options(cls, location: str, options: Mapping[str, object], pool: IPool, budget: Budget | None) -> Self:
        """`options`: `limit`, in bytes, if there shall be one. Raises `StorageMisconfigured`."""
        limit = options.get("limit")
        if set(options) - {"limit"} or not isinstance(limit, int | None):
            raise StorageMisconfigured(
                location,
                f"The storage location {location!r} (MemoryStorage) takes one option, limit, a number of bytes; "
                f"it has {', '.join(sorted(options))}.",
            )
        return cls(location, limit, budget)

    def make_room(self, count: int) -> None:
        """Raises `StorageFull` if `count` bytes more are too many."""
        held = sum(map(len, self.blobs.values())) + sum(len(upload.data) for upload in self.uploads.values())
        if self.limit is not None and held + count > self.limit:
            raise StorageFull(self.location, "write an upload", errno.ENOSPC)

    # --- uploads

    def begin(self, upload_id: str, algorithm: str) -> Deferred[IBlobUpload]:
        return maybeDeferred(self._begin, upload_id)

    def _begin(self, upload_id: str) -> IBlobUpload:
        if not is_upload_id(upload_id):
            raise UploadMissing(self.location, upload_id)
        if upload_id in self.uploads and self.uploads[upload_id].is_open:
            raise UploadBusy(self.location, upload_id)
        self.uploads[upload_id] = Bytes(self.now())
        return self._upload(upload_id)

    def resume(self, upload_id: str) -> Deferred[IBlobUpload]:
        return maybeDeferred(self._resume, upload_id)

    def _resume(self, upload_id: str) -> IBlobUpload:
        if upload_id not in self.uploads:
            raise UploadMissing(self.location, upload_id)
        if self.uploads[upload_id].is_open:
            raise UploadBusy(self.location, upload_id)
        self.uploads[upload_id].is_open = True
        return self._upload(upload_id)

    def _upload(self, upload_id: str) -> IBlobUpload:
        held = self.uploads[upload_id]
        partial = PartialBytes(self, upload_id, held)
        return SegmentedUpload(self.location, upload_id, partial, self._budget, len(held.data))

    def discard(self, upload_id: str) -> Deferred[None]:
        if upload_id in self.uploads and not self.uploads[upload_id].is_open:
            del self.uploads[upload_id]
        return succeed(None)

    def stale_uploads(self, before: float) -> Deferred[list[str]]:
        return succeed([upload_id for upload_id, held in self.uploads.items() if held.touched < before])

    # --- blobs

    def keep(self, digest: Digest, data: bytes) -> Deferred[None]:
        return maybeDeferred(self._keep, digest, data)

    def _keep(self, digest: Digest, data: bytes) -> None:
        self.make_room(len(data))
        actual = Digest.of(data, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(digest, actual)
        self.blobs[digest] = data

    def stat(self, digest: Digest) -> Deferred[int | None]:
        return succeed(len(self.blobs[digest]) if digest in self.blobs else None)

    def open(self, digest: Digest) -> Deferred[IBlobSource]:
        if digest not in self.blobs:
            return fail(BlobMissing(self.location, digest))
        return succeed(MemorySource(self.blobs[digest]))

    def delete(self, digest: Digest) -> Deferred[None]:
        self.blobs.pop(digest, None)
        return succeed(None)

    def quarantine(self, digest: Digest) -> Deferred[None]:
        return self.delete(digest)

    async def walk(self) -> AsyncIterator[Digest]:
        for digest in tuple(self.blobs):
            yield digest

    def check(self) -> Deferred[None]:
        return succeed(None)
