"""
Reading the files of somebody else's storage: in threads, bounded, and never by a link that leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from quay.importing.source import Moved, SourceError, SourceMissing
from quay.interfaces import IPool
from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.registry.blobs import Blobs
from quay.registry.uploads import Uploads

P = ParamSpec("P")
R = TypeVar("R")

PIECE: Final = 1024 * 1024
OWNER: Final = "$import"

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def asked(what: str, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `f` gives; what the operating system refuses becomes a `SourceError` about `what`."""
    try:
        return f(*args, **kwargs)
    except OSError as error:
        kind = SourceMissing if error.errno in _ABSENT else SourceError
        raise kind(f"{what} cannot be read: {error.strerror}.") from error


def read_small(what: str, path: Path, limit: int) -> bytes:
    """All of a file. Raises `SourceError`. In a thread."""
    return asked(what, _read_small, what, path, limit)


def _read_small(what: str, path: Path, limit: int) -> bytes:
    fd = _opened(path)
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise SourceError(f"{what} has more than {limit} bytes.")
    return data


def size_of(what: str, path: Path) -> int:
    """The bytes of a file that can be read. Raises `SourceError`. In a thread."""

    def measure() -> int:
        fd = _opened(path)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    return asked(what, measure)


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENOENT, "it is no file")
    return fd


def can_link(source: Path, store: Path) -> bool:
    """
    Whether files of `source` can get second names in `store`: on one disk, and ours as the kernel wants it
    (`protected_hardlinks`). In a thread.
    """
    while not store.exists():
        store = store.parent
    found = asked(str(source), source.stat)
    return found.st_dev == store.stat().st_dev and os.geteuid() in (0, found.st_uid)


class Files:
    """Takes files of this machine in as blobs: where they lie if the store can, else as an upload."""

    def __init__(self, pool: IPool, blobs: Blobs, uploads: Uploads) -> None:
        self._pool = pool
        self._blobs = blobs
        self._uploads = uploads

    async def take(self, what: str, path: Path, blob: Descriptor, target: Repository, moved: Moved) -> None:
        """Make the file a blob of `target`. Raises `SourceError`, and what stores and uploads raise."""
        size = await self._pool.run(size_of, what, path)
        if blob.size and size != blob.size:
            raise SourceError(f"{what} has {size} bytes, and its manifest says {blob.size}.")
        if await self._blobs.hold_file(target, blob.digest, path) is None:
            fd = await self._pool.run(asked, what, _opened, path)
            body = FileBody(self._pool, fd, size)
            try:
                await self._uploads.receive_whole(target, OWNER, blob.digest, body)
            finally:
                self._pool.run(os.close, fd)
        moved(size)


@implementer(IPushProducer)
class FileBody:
    """A `Body` that is an open file of `length` bytes."""

    def __init__(self, pool: IPool, fd: int, length: int) -> None:
        self.length = length
        self._pool = pool
        self._fd = fd
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        """As `Body` promises."""
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: IConsumer) -> int:
        consumer.registerProducer(self, True)
        offset = 0
        try:
            while offset < self.length:
                while self._paused:
                    self._waiting = Deferred()
                    await self._waiting
                piece = await self._pool.run(os.pread, self._fd, min(PIECE, self.length - offset), offset)
                if not piece:
                    raise SourceError("A file became shorter while it was read.")
                offset += len(piece)
                consumer.write(piece)
            return offset
        finally:
            consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()
