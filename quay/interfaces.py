"""
The seams: what is plugged by configuration, as zope Interfaces. Small and composed; an optional power is an
interface of its own, and one contract test per interface runs against every provider.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from zope.interface import Attribute, Interface

from quay.oci.reference import Digest

P = ParamSpec("P")
R = TypeVar("R")


class IPool(Interface):
    """Threads that wait for something, so that the reactor need not."""

    def run(f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Call `f` in a thread of this pool; fires in the reactor thread with its result or failure."""


class IBlobStore(Interface):
    """
    Bytes by digest, in one location. Knows nothing of repositories or users. Every method that waits returns a
    Deferred. Failures: `quay.storage.BlobMissing`, `quay.storage.DigestMismatch`, `quay.storage.StorageFull`
    (no space), `quay.storage.StorageFailed` (everything else the medium says).
    """

    location: str = Attribute("the name of this location in the configuration")

    def begin(upload_id: str, algorithm: str) -> Deferred[IBlobUpload]:
        """A new, empty upload. `algorithm` (`sha256` or `sha512`) is what the bytes are hashed with on arrival."""

    def resume(upload_id: str) -> Deferred[IBlobUpload]:
        """
        The upload `upload_id` as it was suspended, or as a crash left it: at the offset of the last byte that is
        really held. Fails with `quay.storage.UploadMissing`.
        """

    def discard(upload_id: str) -> Deferred[None]:
        """Forget an upload that is not open, if it is there."""

    def stale_uploads(before: float) -> Deferred[list[str]]:
        """The ids of uploads whose last byte came before the time `before` (seconds since the epoch)."""

    def keep(digest: Digest, data: bytes) -> Deferred[None]:
        """
        Make `data`, a few bytes, the blob `digest`, as durably as an upload does, in one step. A failure
        (`DigestMismatch`, if they have another digest) leaves nothing.
        """

    def stat(digest: Digest) -> Deferred[int | None]:
        """The size of the blob in bytes; None if it is not here."""

    def open(digest: Digest) -> Deferred[IBlobSource]:
        """The blob, open for reading; survives a deletion of the blob. Fails with `BlobMissing`."""

    def delete(digest: Digest) -> Deferred[None]:
        """Remove the blob, if it is here."""

    def quarantine(digest: Digest) -> Deferred[None]:
        """Move the blob, whose bytes are no good, to where no other method finds it, if it is here."""

    def walk() -> AsyncIterator[Digest]:
        """Every blob that is here, in no particular order; never more than a few names in memory."""

    def check() -> Deferred[None]:
        """Write, read and delete a few bytes: succeeds if this location works."""


class IBlobUpload(IConsumer):
    """
    Bytes on their way in. An `IConsumer` (write, registerProducer with streaming=True, unregisterProducer): it
    pauses its producer while it holds more than a few segments, so that memory is bounded whatever the client does.
    """

    upload_id: str = Attribute("")
    offset: int = Attribute("bytes received so far, held or still on the way to the medium")

    def flushed() -> Deferred[int]:
        """Fires with the offset when every byte written so far is with the medium; fails if one could not be."""

    def commit(digest: Digest) -> Deferred[int]:
        """
        Make these bytes the blob `digest`, durably (fsync, rename, fsync of the directory), and fire with its size.
        If the bytes have another digest, fails with `DigestMismatch`, and the upload is gone.
        """

    def stopped() -> Deferred[Exception]:
        """
        Fires with the reason as soon as no more bytes are taken: a failure of the medium, or the end of this upload.
        May be cancelled.
        """

    def suspend() -> Deferred[None]:
        """Flush, and let go of files and memory: `resume` goes on from here, in this process or the next."""

    def cancel() -> Deferred[None]:
        """Throw the bytes away."""


class IDirectIntake(IConsumer):
    """A consumer, such as an upload, with threads of its own that can take bytes from where they arrive."""

    def fetch(fill: Callable[[memoryview], int], most: int) -> Deferred[None] | None:
        """
        After what has been written, let a thread call `fill`, again and again, which puts bytes at the beginning of
        what it is given and returns how many, until it returns 0 or `most` have come. Fires when the thread has
        ended; a failure to keep the bytes is told as one of `write` is. None where they can only be written now.
        """


class IBlobSource(Interface):
    """One blob, open for reading. Whoever opened it closes it, once."""

    size: int = Attribute("bytes")

    def read(offset: int, count: int) -> Deferred[bytes]:
        """Up to `count` bytes from `offset`; fewer only at the end."""

    def close() -> None:
        """Let go of it."""


class IFileSlice(Interface):
    """An `IBlobSource` that is a plain file on this machine: sendfile(2) may be used."""

    def fileno() -> int:
        """The file descriptor, open until `close`."""


class ILinkable(Interface):
    """An `IBlobStore` whose blobs are plain files, which are never written again: they can have other names, too."""

    def link(digest: Digest, target: Path) -> Deferred[bool]:
        """
        Give the blob the name `target`, which is not there yet; False if that cannot be done (on another file system,
        say). Fails with `quay.storage.BlobMissing`.
        """


class IRedirectable(Interface):
    """An `IBlobStore` from which clients may fetch by themselves."""

    def address_of(digest: Digest) -> Deferred[str]:
        """A URL that serves this blob for the next minutes."""


class IFileKeeper(Interface):
    """An `IBlobStore` that can keep files of this machine as they are."""

    def keep_file(digest: Digest, path: Path) -> Deferred[int]:
        """
        Make the bytes of the file `path` the blob `digest`, by a second name for it or by a copy, and fire with their
        number. Fails with `DigestMismatch` if they have another one.
        """


class IIdentityProvider(Interface):
    """People who log in with a password: the local users, or a directory."""

    def authenticate(username: str, password: str) -> Deferred[int | None]:
        """
        The id of the namespace of the user with this name (or e-mail address) and password; None if there is none,
        which takes as long for an unknown name as for a wrong password. Whether the user is disabled is not asked.
        """


class INotice(Interface):
    """Something that happened in a repository, as somebody is to be told of it."""

    uuid: str = Attribute("the same for every attempt, so that a receiver knows what it has seen")
    event: str = Attribute("as the API calls it: repo_push, …")
    repository_id: int = Attribute("where it happened")
    payload: Mapping[str, Any] = Attribute("what there is to tell, as JSON")
    text: str = Attribute("the same in a sentence")


class INotificationMethod(Interface):
    """A way to tell somebody."""

    signs: bool = Attribute("whether it signs what it sends, so that each notification needs a secret")

    def check(repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """
        What of `config` is to be kept; fails with `quay.model.notification.NotificationInvalid` if nobody of this
        repository's could be told in this way.
        """

    def deliver(notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        """
        Tell them, once, within a few seconds. Fires with what came back, in a few words without a secret; fails with
        `quay.notifications.NotDelivered` if it may be tried again.
        """


class ICoordinator(Interface):
    """What several nodes agree on: leases, and messages that each of them hears."""

    connected: bool = Attribute("False while announcements may be missed: exact caches do not answer meanwhile")

    def lease(name: str, seconds: float) -> Deferred[ILease | None]:
        """The lease `name`, for `seconds`; None if somebody else holds it."""

    def announce(channel: str, message: bytes) -> Deferred[None]:
        """
        Tell every subscriber of `channel` on every node; fires when each has handled it, or a second has passed.
        """

    def subscribe(channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """
        Call `listener` with every message on `channel`, whichever node it came from (this one included). Call what
        is returned to end it.
        """

    def on_gap(listener: Callable[[], None]) -> None:
        """Call `listener` whenever announcements may have been missed (a lost connection)."""


class ILease(Interface):
    """The right to do one thing alone, for a time."""

    def extend(seconds: float) -> Deferred[bool]:
        """Hold it for `seconds` from now; False if it was lost meanwhile."""

    def release() -> Deferred[None]:
        """Give it back, if it is still ours."""
