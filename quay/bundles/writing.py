"""
Volumes onto a disk: all of a bundle, or nothing of it. Every byte is hashed on its way, and a blob that has rotted in
the storage is found out before it travels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from quay.bundles.depot import DRAFT
from quay.bundles.extents import check_room
from quay.bundles.gathering import Gathered, Plan
from quay.bundles.loading import Progress
from quay.bundles.volumes import SUMS, Volume
from quay.interfaces import IBlobSource, IPool
from quay.oci import archive
from quay.oci.archive import Part
from quay.oci.errors import RegistryError
from quay.oci.reference import Digest
from quay.oci.tar import CLOSING, filled, head
from quay.registry import Registry

READ_BYTES: Final = 1024 * 1024


class CannotWrite(RegistryError):
    """A volume cannot be written, or there is one already."""


class BlobRotted(RegistryError):
    """The storage gives other bytes than it was given."""


def names_of(target: Path, count: int) -> list[Path]:
    """The files of a bundle that is called `target`: it alone, or one for each volume."""
    if count == 1:
        return [target]
    return [target.with_name(f"{target.name}.{number:03d}") for number in range(1, count + 1)]


class Writing:
    """Writes bundles of `registry`; `pool` waits for the disk."""

    def __init__(self, registry: Registry, pool: IPool, progress: Progress) -> None:
        self._registry = registry
        self._pool = pool
        self._progress = progress

    async def write(self, plan: Plan, target: Path, *, replace: bool = False) -> list[Path]:
        """
        The files of the bundle, all of them whole. Raises `CannotWrite`, `NoRoom`, `BlobRotted`, and what reading
        raises: there is none of them then.
        """
        files = names_of(target, len(plan.volumes))
        await self._pool.run(_prepare, files, plan.size, replace)
        drafts = [file.with_name(file.name + DRAFT) for file in files]
        self._progress.total = plan.size
        try:
            for volume, draft in zip(plan.volumes, drafts, strict=True):
                await self._volume(plan.gathered, volume, draft)
        except BaseException:
            await self._pool.run(_remove, drafts)
            raise
        await self._pool.run(_rename, drafts, files)
        return files

    async def _volume(self, gathered: Gathered, volume: Volume, draft: Path) -> None:
        file = await self._pool.run(_Draft, draft)
        try:
            for part in volume.parts:
                await self._part(gathered, part, file)
            await self._pool.run(file.seal)
        finally:
            await self._pool.run(file.close)
        self._progress.say(f"{draft.name.removesuffix(DRAFT)} is written.")

    async def _part(self, gathered: Gathered, part: Part, file: _Draft) -> None:
        await self._pool.run(file.begin, part)
        if isinstance(part.content, Digest):
            if part.content in gathered.manifests:
                stored = await self._registry.manifests.find(gathered.sources[part.content], part.content)
                await self._pool.run(file.add, stored.content[part.start : part.start + part.size])
            else:
                _, source = await self._registry.blobs.open(gathered.sources[part.content], part.content)
                await self._copy(source, part, file)
        else:
            await self._pool.run(file.add, part.content or b"")
        told = await self._pool.run(file.end)
        if _is_whole(part) and part.content != f"sha256:{told}":
            raise BlobRotted(
                f"The storage has other bytes for {part.content!r} than were pushed.",
                advice="Let `quay scrub` set it aside, push it again, and make the bundle again.",
            )
        self._progress.done += part.size

    async def _copy(self, source: IBlobSource, part: Part, file: _Draft) -> None:
        before = self._progress.done
        try:
            for offset in range(0, part.size, READ_BYTES):
                piece = await source.read(part.start + offset, min(READ_BYTES, part.size - offset))
                await self._pool.run(file.add, piece)
                self._progress.done += len(piece)
        finally:
            source.close()
            self._progress.done = before


def _is_whole(part: Part) -> bool:
    """Whether the member is a blob, from its first byte to its last, with a digest of the kind that is summed here."""
    return isinstance(part.content, Digest) and part.name.startswith(f"{archive.BLOBS}/sha256/")


class _Draft:
    """A volume while it is written. All of it waits for the disk."""

    def __init__(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)  # what a kill left there
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except OSError as error:
            raise _cannot(path, error) from error
        self._path = path
        self._sums: list[str] = []
        self._part = Part("", b"", 0)
        self._hash: Any = None
        self._written = 0

    def begin(self, part: Part) -> None:
        self._part, self._hash, self._written = part, sha256(), 0
        self._put(head(part.name, part.size))

    def add(self, data: bytes) -> None:
        self._hash.update(data)
        self._written += len(data)
        self._put(data)

    def end(self) -> str:
        """The hash of the part, in hex."""
        if self._written != self._part.size:
            raise BlobRotted(
                f"The storage has {self._written} bytes of {self._part.name}, where {self._part.size} were expected.",
                advice="Let `quay fsck` say what is wrong with it.",
            )
        self._put(bytes(filled(self._written) - self._written))
        told: str = self._hash.hexdigest()
        self._sums.append(f"{told}  {self._part.name}\n")
        return told

    def seal(self) -> None:
        """The checksums, and the end; all of it durable."""
        sums = "".join(self._sums).encode()
        self._put(head(SUMS, len(sums)) + sums + bytes(filled(len(sums)) - len(sums)) + CLOSING)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot(self._path, error) from error

    def close(self) -> None:
        self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _cannot(self._path, error) from error


def _cannot(path: Path, error: OSError) -> CannotWrite:
    return CannotWrite(f"{path} cannot be written: {error.strerror}.", advice="Choose another place.")


def _prepare(files: Sequence[Path], size: int, replace: bool) -> None:
    there = [file for file in files if file.exists()]
    if there and not replace:
        raise CannotWrite(f"{there[0]} exists.", advice="Choose another name, or say that it is to be replaced.")
    if not files[0].parent.is_dir():
        raise CannotWrite(f"There is no directory {files[0].parent}.", advice="Make it, or choose another place.")
    check_room(files[0].parent, size - sum(file.stat().st_size for file in there))


def _rename(drafts: Sequence[Path], files: Sequence[Path]) -> None:
    for draft, file in zip(drafts, files, strict=True):
        draft.replace(file)
    directory = os.open(files[0].parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _remove(drafts: Sequence[Path]) -> None:
    for draft in drafts:
        draft.unlink(missing_ok=True)
