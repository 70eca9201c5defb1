"""
The images of a Quay as a source: manifests from its database, blobs from its storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.internet.defer import DeferredLock

from quay.database.predecessor import Predecessor, PredecessorUnfit, contents
from quay.database.predecessor.contents import Held
from quay.importing.files import Files, size_of
from quay.importing.source import Found, Moved, SourceError, SourceMissing
from quay.interfaces import IPool
from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.oci.errors import DigestInvalid
from quay.oci.reference import Digest, Tag

P = ParamSpec("P")
R = TypeVar("R")


class Reading:
    """Asks the database of a Quay, one question at a time, in threads of `pool`."""

    def __init__(self, quay: Predecessor, pool: IPool) -> None:
        self._quay = quay
        self._pool = pool
        self._turn = DeferredLock()

    async def ask(self, question: Callable[Concatenate[Predecessor, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What it answers. Raises `SourceError`."""
        async with self._turn:
            try:
                return await self._pool.run(question, self._quay, *args, **kwargs)
            except PredecessorUnfit as error:
                raise SourceError(str(error)) from None


class QuayImages:
    """An `Origin`; `known` are its repositories, by their whole names, as somebody has found them."""

    def __init__(
        self, reading: Reading, storage: Sequence[Path], files: Files, pool: IPool, *, takes_room: bool = True
    ) -> None:
        self.takes_room = takes_room
        self._reading = reading
        self._storage = storage
        self._files = files
        self._pool = pool
        self.known: dict[str, Held] = {}

    async def manifest(self, repository: str, reference: Digest | Tag) -> Found:
        digest = Digest.parse(reference)
        found = await self._reading.ask(contents.manifest, self.known[repository].id, digest)
        if found is None:
            raise SourceMissing(f"{repository} has no manifest {digest}.")
        return Found(found.media_type, found.content, digest)

    async def referrers(self, repository: str, digest: Digest) -> list[Digest]:
        return _parsed(await self._reading.ask(contents.referrers, self.known[repository].id, digest))

    async def size(self, repository: str, digest: Digest) -> int:
        what, path, size = await self._place(digest)
        return await self._pool.run(size_of, what, path) if size is None else size

    async def bring(self, repository: str, blob: Descriptor, target: Repository, moved: Moved) -> None:
        what, path, _ = await self._place(blob.digest)
        await self._files.take(what, path, blob, target, moved)

    async def _place(self, digest: Digest) -> tuple[str, Path, int | None]:
        """What a blob is called, where it lies, and its size, if that is known."""
        size, places = await self._reading.ask(contents.places, digest)
        what = f"The blob {digest}"
        found = await self._pool.run(_first, [root / place for root in self._storage for place in places])
        if found is None:
            raise SourceMissing(f"{what} is in none of the directories {', '.join(map(str, self._storage))}.")
        return what, found, size


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _parsed(digests: Sequence[Any]) -> list[Digest]:
    found = []
    for digest in digests:
        try:
            found.append(Digest.parse(digest))
        except DigestInvalid:
            continue
    return found
