"""
The directory of a CNCF distribution registry as a source, as it lies on this machine: no registry need run.

    <v2>/repositories/<name>/_manifests/tags/<tag>/current/link         the digest that the tag names
    <v2>/repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link   a manifest of the repository
    <v2>/blobs/<algorithm>/<first two hex digits>/<hex>/data               the bytes of manifests and blobs

Nothing of it is written to. Source: CNCF distribution, "registry/storage/paths.go" as its documentation tells it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from quay.importing.files import Files, asked, read_small, size_of
from quay.importing.source import Found, Moved, SourceError, SourceMissing
from quay.interfaces import IPool
from quay.model.repository import Repository
from quay.oci.descriptor import Descriptor
from quay.oci.errors import DigestInvalid
from quay.oci.manifest import MANIFEST_LIMIT
from quay.oci.reference import HEX_LENGTHS, NAME_LIMIT, Digest, Tag

V2: Final = Path("docker/registry/v2")
LINK_LIMIT: Final = 256
NAMES_AT_ONCE: Final = 256
DEPTH: Final = 128


def layout_of(directory: Path) -> Path:
    """Where `blobs` and `repositories` lie in what somebody calls the directory of the registry. In a thread."""
    for found in (directory / V2, directory / "registry" / "v2", directory / "v2", directory):
        if (found / "repositories").is_dir() and (found / "blobs").is_dir():
            return found
    raise SourceError(
        f"{directory} is no directory of a distribution registry, or cannot be read: there is no {V2}/repositories and "
        f"{V2}/blobs in it. It is what `rootdirectory` says in the configuration of that registry."
    )


class DistributionDirectory:
    """The registry whose files lie below `root`, as `layout_of` found it; `pool` waits for the disk."""

    def __init__(self, root: Path, pool: IPool, files: Files, *, takes_room: bool = True) -> None:
        self.takes_room = takes_room
        self._root = root
        self._pool = pool
        self._files = files

    # --- lists

    async def repositories(self) -> AsyncIterator[str]:
        walk = _repositories(self._root / "repositories")
        while batch := await self._pool.run(_batch, walk):
            for name in batch:
                yield name

    async def tags(self, repository: str) -> AsyncIterator[str]:
        for tag in await self._pool.run(self._tags, repository):
            yield tag

    async def untagged(self, repository: str) -> list[Digest]:
        return await self._pool.run(self._revisions, repository)

    # --- contents

    async def resolve(self, repository: str, tag: Tag) -> Digest | None:
        return await self._pool.run(self._resolve, repository, tag)

    async def manifest(self, repository: str, reference: Digest | Tag) -> Found:
        return await self._pool.run(self._manifest, repository, reference)

    async def referrers(self, repository: str, digest: Digest) -> list[Digest]:
        return []  # distribution keeps no list of them: they come with their tags

    async def size(self, repository: str, digest: Digest) -> int:
        return await self._pool.run(size_of, _blob(digest), self._data(digest))

    async def bring(self, repository: str, blob: Descriptor, target: Repository, moved: Moved) -> None:
        await self._files.take(_blob(blob.digest), self._data(blob.digest), blob, target, moved)

    # --- in a thread

    def _tags(self, repository: str) -> list[str]:
        place = self._repository(repository) / "_manifests"
        if not place.is_dir():
            raise SourceMissing(f"{self._root} has no repository {repository}.")
        return _names(f"The list of tags of {repository}", place / "tags")

    def _revisions(self, repository: str) -> list[Digest]:
        what, place = f"The list of manifests of {repository}", self._repository(repository) / "_manifests/revisions"
        return [
            _parsed(f"{algorithm}:{hexdigits}", what)
            for algorithm in HEX_LENGTHS
            for hexdigits in _names(what, place / algorithm)
        ]

    def _resolve(self, repository: str, tag: Tag) -> Digest:
        what = f"The link of the tag {tag} of {repository}"
        link = self._repository(repository) / "_manifests" / "tags" / tag / "current" / "link"
        return _parsed(read_small(what, link, LINK_LIMIT).decode("ascii", "replace").strip(), what)

    def _manifest(self, repository: str, reference: Digest | Tag) -> Found:
        digest = self._resolve(repository, reference) if isinstance(reference, Tag) else reference
        what = f"The manifest {digest} of {repository}"
        revision = self._repository(repository) / "_manifests" / "revisions" / digest.algorithm / digest.hex / "link"
        read_small(what, revision, LINK_LIMIT)  # without it, the repository has not got that manifest
        return Found("", read_small(what, self._data(digest), MANIFEST_LIMIT), digest)

    # --- places

    def _repository(self, repository: str) -> Path:
        parts = repository.split("/")
        if len(repository) > NAME_LIMIT or any(part in ("", ".", "..") or part.startswith("_") for part in parts):
            raise SourceError(f"{repository[:NAME_LIMIT]!r} is not the name of a repository.")
        return self._root.joinpath("repositories", *parts)

    def _data(self, digest: Digest) -> Path:
        digest = Digest.parse(digest)
        return self._root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex / "data"


def _blob(digest: Digest) -> str:
    return f"The blob {digest}"


def _parsed(text: str, what: str) -> Digest:
    try:
        return Digest.parse(text)
    except DigestInvalid:
        raise SourceError(f"{what} is broken: {text[:80]!r} is no digest.") from None


def _names(what: str, place: Path) -> list[str]:
    """The directories in `place`, in order; none if it is not there."""

    def scan() -> list[str]:
        with os.scandir(place) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    return asked(what, scan) if place.is_dir() else []


def _repositories(root: Path) -> Iterator[str]:
    """The names of all repositories below `root`, in order."""
    ahead = [""]
    while ahead:
        name = ahead.pop()
        inside = _names(f"The directory of {name or 'the repositories'}", root / name)
        if "_manifests" in inside:
            yield name
        below = [f"{name}/{part}" if name else part for part in inside if not part.startswith("_")]
        if name.count("/") < DEPTH:
            ahead += reversed(below)


def _batch(walk: Iterator[str]) -> list[str]:
    return list(islice(walk, NAMES_AT_ONCE))
