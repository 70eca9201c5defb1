"""
What we hold: blobs by digest, in locations; nothing here knows of repositories, users or rows.

This module has the failures that every driver speaks of, and the table of drivers under the names that Quay's
configuration gives them (`DISTRIBUTED_STORAGE_CONFIG`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from quay.interfaces import IBlobStore, IPool
from quay.oci.reference import Digest

if TYPE_CHECKING:
    from quay.storage.upload import Budget

DRIVERS: Final = {
    "LocalStorage": "quay.storage.local:LocalBlobs",
    "MemoryStorage": "quay.storage.memory:MemoryBlobs",
    "FakeStorage": "quay.storage.memory:MemoryBlobs",
}

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class StorageError(Exception):
    """What a location refuses; the message is a sentence without paths, fit for a client."""


class StorageMisconfigured(StorageError):
    """The configuration of `location` is not one that its driver takes."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(message)
        self.location = location


class BlobMissing(StorageError):
    """`location` does not hold `digest`."""

    def __init__(self, location: str, digest: Digest) -> None:
        super().__init__(f"The storage location {location!r} does not hold the blob {digest}: push it again.")
        self.location = location
        self.digest = digest


class UploadMissing(StorageError):
    """`location` has no upload `upload_id` that could be gone on with."""

    def __init__(self, location: str, upload_id: str) -> None:
        super().__init__(
            f"The storage location {location!r} has no open upload {upload_id[:64]!r}: it was finished, cancelled or "
            "suspended, or it never was. Resume it, or begin a new one."
        )
        self.location = location
        self.upload_id = upload_id


class DigestMismatch(StorageError):
    """The bytes received have the digest `actual`, not `expected`; they are gone."""

    def __init__(self, expected: Digest, actual: Digest) -> None:
        super().__init__(f"The bytes received have the digest {actual}, not {expected}: upload them again.")
        self.expected = expected
        self.actual = actual


class StorageFailed(StorageError):
    """The medium of `location` could not do what `doing` says; `errno` is its reason."""

    advice = "Look for this device in the log of the operating system, then try again."

    def __init__(self, location: str, doing: str, number: int) -> None:
        name = errno.errorcode.get(number, str(number))
        super().__init__(
            f"The storage location {location!r} could not {doing}: {os.strerror(number)} ({name}). {self.advice}"
        )
        self.location = location
        self.doing = doing
        self.errno = number


class StorageFull(StorageFailed):
    """`location` has no room for what `doing` says."""

    advice = "Free some space there or raise its quota, then try again."


class UploadBusy(StorageFailed):
    """The upload is open already, in this process or in another one."""

    advice = "Another request is working on this upload; try again when it is done."

    def __init__(self, location: str, upload_id: str) -> None:
        super().__init__(location, f"open the upload {upload_id}", errno.EWOULDBLOCK)
        self.upload_id = upload_id


def refusal(location: str, doing: str, error: OSError) -> StorageFailed:
    """What the operating system's `error` means for `location`, which was to do `doing` ("write an upload")."""
    number = error.errno or errno.EIO
    return (StorageFull if number in _FULL else StorageFailed)(location, doing, number)


class Driver(Protocol):
    """What the table names: a provider of `IBlobStore`."""

    def from_options(
        self, location: str, options: Mapping[str, object], pool: IPool, budget: Budget | None
    ) -> IBlobStore:
        """The store that `options` describe. Raises `StorageMisconfigured`."""


def open_store(
    location: str, driver: str, options: Mapping[str, object], pool: IPool, budget: Budget | None = None
) -> IBlobStore:
    """
    The store of the location `location`: nothing is read or written yet. `pool` waits for the medium, and `budget`
    is what all uploads of the process may hold in memory together. Raises `StorageMisconfigured`.
    """
    if driver not in DRIVERS:
        known = ", ".join(sorted(DRIVERS))
        raise StorageMisconfigured(
            location, f"The storage location {location!r} has the driver {driver!r}, which is none of: {known}."
        )
    module, _, name = DRIVERS[driver].partition(":")
    found = cast(Driver, getattr(import_module(module), name))
    return found.from_options(location, options, pool, budget)
