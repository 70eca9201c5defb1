"""
Where images come from: what every source can be asked, whatever it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import attrs

from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.oci.reference import Digest, Tag
from quay.registry.client import RemoteError

Moved = Callable[[int], object]
"""Hears how many bytes have come."""


class SourceError(Exception):
    """The source, or a part of it, cannot be read; the message is a sentence for whoever imports."""


class SourceMissing(SourceError):
    """The source has not got it."""


TROUBLE = (SourceError, RemoteError)
"""What a source raises, whatever it is."""


@attrs.frozen
class Found:
    """
    A manifest as the source has it. `digest` is the one it was asked for, or that the source says it has; None if it
    does not say.
    """

    media_type: str
    content: bytes = attrs.field(repr=False)
    digest: Digest | None = None


class Origin(Protocol):
    """
    What has images. Each method raises one of `TROUBLE`; what is not there is `SourceMissing`, or `RemoteMissing`.
    Repositories are called as it spells them.
    """

    @property
    def takes_room(self) -> bool:
        """Whether what comes takes room: False if blobs only get second names."""

    async def manifest(self, repository: str, reference: Digest | Tag) -> Found:
        """A manifest."""

    async def referrers(self, repository: str, digest: Digest) -> list[Digest]:
        """The manifests that refer to this one, if that is known."""

    async def size(self, repository: str, digest: Digest) -> int:
        """The bytes of a blob."""

    async def bring(self, repository: str, blob: Descriptor, target: Repository, moved: Moved) -> None:
        """
        Make a blob of the source a blob of `target`. Raises what stores and uploads raise, too: `DigestInvalid` or
        `DigestMismatch` if it has other bytes than its digest says.
        """


class Source(Origin, Protocol):
    """What has images, and can list them."""

    def repositories(self) -> AsyncIterator[str]:
        """The names of its repositories."""

    def tags(self, repository: str) -> AsyncIterator[str]:
        """The tags of a repository."""

    async def untagged(self, repository: str) -> list[Digest]:
        """All manifests of a repository, whether or not a tag names them, if the source can list them."""

    async def resolve(self, repository: str, tag: Tag) -> Digest | None:
        """What a tag names; None if that cannot be said without fetching it."""
