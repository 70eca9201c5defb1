"""
Files of this machine that become blobs as they are: by a second name for them where they lie on the same disk, else by
a copy. Either way their bytes are compared with the digest first, and are on the medium afterwards.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final
from uuid import uuid4

from quay.oci.reference import Digest
from quay.storage import DigestMismatch
from quay.storage.layout import Layout, Medium, sync_directory
from quay.storage.partial import PartialFile

PIECE: Final = 1024 * 1024

NOT_LINKED: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP})
"""Why a file cannot have another name, although it could be copied."""


def keep_file(medium: Medium, layout: Layout, digest: Digest, path: Path) -> int:
    """
    Make the bytes of the file `path` the blob `digest`; returns their number. The file stays what it is, and nobody may
    write to it afterwards. Raises `DigestMismatch`, `OSError`. In a thread.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "this is no file")
        if found.st_dev != _device(layout) or not _linked(layout, digest, path, fd):
            _copied(medium, layout, digest, fd)
        return found.st_size
    finally:
        os.close(fd)


def _device(layout: Layout) -> int:
    return layout.uploads.stat().st_dev


def _linked(layout: Layout, digest: Digest, path: Path, fd: int) -> bool:
    """Give the file its second name, if it can have one: never to other bytes than those of `fd`."""
    _compare(fd, digest)
    os.fdatasync(fd)
    draft, final = layout.upload(str(uuid4())), layout.blob(digest)
    try:
        os.link(path, draft, follow_symlinks=False)
    except OSError as error:
        if error.errno in NOT_LINKED:
            return False
        raise
    if not os.path.samestat(draft.lstat(), os.fstat(fd)):
        draft.unlink()
        raise OSError(errno.ESTALE, "the file was replaced while it was read")
    draft.rename(final)
    draft.unlink(missing_ok=True)  # a rename between two names of one file does nothing
    sync_directory(final.parent)
    return True


def _compare(fd: int, digest: Digest) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", buffering=0, closefd=False) as file:
        actual = Digest(f"{digest.algorithm}:{hashlib.file_digest(file, digest.algorithm).hexdigest()}")
    if actual != digest:
        raise DigestMismatch(digest, actual)


def _copied(medium: Medium, layout: Layout, digest: Digest, fd: int) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    partial = PartialFile.begun(medium, layout, str(uuid4()), digest.algorithm)
    placed = False
    try:
        while piece := os.read(fd, PIECE):
            partial._append([piece])
        placed = True
        partial._place(digest)
    finally:
        if not placed:
            partial._discard()
