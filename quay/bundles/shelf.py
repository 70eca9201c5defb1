"""
What lies in the files that somebody brought: members of tar files, read where they lie, in whatever order.

The files are volumes of a bundle, archives of images, or directories of these; a compressed one is unpacked beside
first. Nothing is laid out under a name that an archive says, and no name leads anywhere: it is a key of a table. What
is damaged is remarked, and what is whole is used: each blob is hashed when it is taken.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from quay.bundles.depot import DRAFT
from quay.bundles.volumes import piece_at
from quay.bundles.waybill import BundleInvalid
from quay.interfaces import IBlobSource, IPool
from quay.oci import archive
from quay.oci.archive import Coding
from quay.oci.errors import DigestInvalid, RegistryError
from quay.oci.reference import Digest
from quay.oci.tar import BLOCK, ArchiveInvalid, Kind, Member, TarReader
from quay.registry.archives.packed import unpacked

READ_BYTES: Final = 1024 * 1024
FILES_LIMIT: Final = 100_000
"""Files of a directory that are looked at."""
RESERVE: Final = 256 * 1024 * 1024
"""Bytes of a disk that are never filled."""
LINKS_LIMIT: Final = 8


class FileUnreadable(RegistryError):
    """A file that was given cannot be read."""

    status = 400

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be read: {error.strerror or error}.", advice="Copy it again, or let it be read."
        )


class NoRoom(RegistryError):
    """A disk has less room than something needs."""

    status = 507

    def __init__(self, where: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{where} has {free} bytes free, and {needed} are needed, beside {RESERVE} that stay free.",
            advice="Free some space there, or choose another disk.",
            needed=needed,
            free=free,
        )


@attrs.frozen
class Extent:
    """Bytes of a file."""

    path: Path
    offset: int
    size: int


@attrs.define
class Scanned:
    """The members of one file by name, where links lead, and what is wrong with it, if anything is."""

    path: Path
    members: dict[str, Extent] = attrs.field(factory=dict, repr=False)
    links: dict[str, str] = attrs.field(factory=dict, repr=False)
    damage: str = ""


class Shelf:
    """
    What the files have: `blobs` by digest, which of them are `cut` into pieces, and all `members` by name. `files` are
    those that were found, and `remarks` say what is wrong with them.
    """

    def __init__(self, pool: IPool, files: Sequence[Scanned]) -> None:
        self._pool = pool
        self.files = files
        self.members: dict[str, Extent] = {}
        self._links: dict[str, str] = {}
        self.blobs: dict[Digest, tuple[Extent, ...]] = {}
        self.remarks = [one.damage for one in files if one.damage]
        self._spare: list[Path] = []
        pieces: dict[Digest, dict[int, Extent]] = {}
        for file in files:
            self._links |= file.links
            for name, extent in file.members.items():
                self._put(name, extent, pieces)
        self.cut = pieces.keys() - self.blobs.keys()
        for digest in self.cut:
            self.blobs[digest] = tuple(pieces[digest][start] for start in sorted(pieces[digest]))

    def _put(self, name: str, extent: Extent, pieces: dict[Digest, dict[int, Extent]]) -> None:
        try:
            digest, cut = archive.digest_at(name), piece_at(name)
        except (ArchiveInvalid, BundleInvalid, DigestInvalid) as error:
            self.remarks.append(f"{extent.path.name}: {error.message}")
            return
        if digest is not None:
            self.blobs.setdefault(digest, (extent,))
        elif cut is not None:
            pieces.setdefault(cut[0], {}).setdefault(cut[1], extent)
        self.members.setdefault(name, extent)

    @classmethod
    async def of(cls, paths: Iterable[Path], pool: IPool, cpu: IPool, scratch: Path) -> Self:
        """
        What `paths` have, files and directories; `scratch` is a directory for what has to be unpacked. Raises
        `ArchiveInvalid` for what is neither tar nor a layout, `FileUnreadable`, `NoRoom`.
        """
        found: list[Scanned] = []
        spare: list[Path] = []
        try:
            for path in await pool.run(_listed, list(paths)):
                if path.is_dir():
                    found.append(await pool.run(_scan_directory, path))
                    continue
                plain = await _plain(path, pool, cpu, scratch, spare)
                found.append(await pool.run(_scan, plain, path))
        except BaseException:
            for file in spare:
                file.unlink(missing_ok=True)
            raise
        made: Self = await pool.run(cls, pool, found)
        made._spare = spare
        return made

    async def close(self) -> None:
        """Remove what was unpacked."""
        for file in self._spare:
            await self._pool.run(file.unlink, missing_ok=True)

    def size(self, digest: Digest) -> int:
        """The bytes of a blob, or of as many of its pieces as are here; 0 for one that is not."""
        return sum(extent.size for extent in self.blobs.get(digest, ()))

    def extent(self, name: str) -> Extent | None:
        """Where the member of this name lies, perhaps by links."""
        for _ in range(LINKS_LIMIT):
            if name in self.members or name not in self._links:
                break
            name = self._links[name]
        return self.members.get(name)

    async def document(self, name: str, limit: int) -> bytes | None:
        """A member as a whole; None if there is none. Raises `BundleInvalid` if it has more than `limit` bytes."""
        extent = self.extent(name)
        return None if extent is None else await self._whole(name, (extent,), limit)

    async def blob(self, digest: Digest, limit: int) -> bytes | None:
        """A small blob, proved; None if it is not here. Raises `BundleInvalid` for one that is larger or damaged."""
        if digest not in self.blobs:
            return None
        content = await self._whole(digest, self.blobs[digest], limit)
        if Digest.of(content, digest.algorithm) != digest:
            file = self.blobs[digest][0].path.name
            raise BundleInvalid(f"{file} is damaged: {digest} has other bytes there.", advice="Copy it again.")
        return content

    async def _whole(self, name: str, extents: Sequence[Extent], limit: int) -> bytes:
        size = sum(extent.size for extent in extents)
        if size > limit:
            raise BundleInvalid(f"{name[:160]} has {size} bytes; at most {limit} are read.")
        return b"".join([piece async for piece in self.pieces(extents)])

    async def pieces(self, extents: Sequence[Extent]) -> AsyncIterator[bytes]:
        """The bytes of these, one after the other."""
        for extent in extents:
            source = Span(self._pool, extent)
            try:
                for offset in range(0, extent.size, READ_BYTES):
                    yield await source.read(offset, READ_BYTES)
            finally:
                source.close()


@implementer(IBlobSource)
class Span:
    """The bytes of an extent. It is one reader's: each read waits for the one before."""

    def __init__(self, pool: IPool, extent: Extent) -> None:
        self.size = extent.size
        self._pool = pool
        self._extent = extent
        self._fd: int | None = None

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        """As the seam promises. Raises `FileUnreadable`; also for a file that ends too early."""
        read: Deferred[bytes] = self._pool.run(self._read, offset, min(count, self.size - offset))
        return read

    def _read(self, offset: int, count: int) -> bytes:
        path = self._extent.path
        try:
            if self._fd is None:
                self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            data = os.pread(self._fd, count, self._extent.offset + offset)
        except OSError as error:
            raise FileUnreadable(path, error) from error
        if len(data) < count:
            raise FileUnreadable(path, OSError(0, "it ends too early"))
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._pool.run(os.close, fd)


def check_room(where: Path, needed: int) -> None:
    """See that the disk below `where` has room for so many bytes. Waits for it. Raises `NoRoom`."""
    there = where
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed + RESERVE:
        raise NoRoom(where, needed, free)


# --- finding what there is; all of this waits for the disk -----------------------------------------------------------


def _listed(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant; a directory that is an image or a layout stays one."""
    found: list[Path] = []
    for given in paths:
        path = given.resolve()
        if not path.exists():
            raise FileUnreadable(given, OSError(0, "there is no such file"))
        if path.is_dir() and not _is_layout(path) and not _is_image(path):
            inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            found += [file for file in inside if not file.is_symlink() and file.suffix not in (DRAFT, ".json")]
        else:
            found.append(path)
    if not found:
        raise BundleInvalid(f"There are no files in {', '.join(map(str, paths))}.", advice="Name the volumes.")
    return list(dict.fromkeys(found))


def _is_layout(directory: Path) -> bool:
    return (directory / archive.INDEX_JSON).is_file() and (directory / archive.BLOBS).is_dir()


def _is_image(directory: Path) -> bool:
    """Whether skopeo wrote it (`dir:`)."""
    return (directory / "version").is_file() and (directory / archive.MANIFEST_JSON).is_file()


def _scan(path: Path, called: Path) -> Scanned:
    """The members of the tar file `path`, which was given as `called`. Raises `ArchiveInvalid`, `FileUnreadable`."""
    found, reader = Scanned(called), TarReader()
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while not reader.ended:
                block = file.read(BLOCK)
                if len(block) < BLOCK:
                    break
                for event in reader.feed(block):
                    if isinstance(event, Member):
                        _note(found, event, Extent(path, file.tell(), event.size))
                behind = file.tell() + reader.skip()
                if behind > end:
                    _forget_last(found)
                    break
                file.seek(behind)
            if not reader.ended:
                found.damage = f"{called.name} ends in the middle: a part of it is missing. Copy it again."
            if not found.members:
                reader.close()
        found.members = _at_the_root(found.members)
    except OSError as error:
        raise FileUnreadable(called, error) from error
    except ArchiveInvalid as error:
        if not found.members:
            raise ArchiveInvalid(f"{called.name}: {error.message}", advice=error.advice) from error
        found.damage = f"{called.name} is damaged: {error.message}"
    return found


def _at_the_root(members: dict[str, Extent]) -> dict[str, Extent]:
    """The members of a layout that was packed with its directory, under the names that they have in there."""
    roots = [name.removesuffix(archive.LAYOUT) for name in members if name.endswith(f"/{archive.LAYOUT}")]
    if len(roots) != 1 or archive.INDEX_JSON in members:
        return members
    return {name.removeprefix(roots[0]): extent for name, extent in members.items() if name.startswith(roots[0])}


def _note(found: Scanned, member: Member, extent: Extent) -> None:
    if member.kind is Kind.DIRECTORY:
        return
    if member.name in found.members or member.name in found.links:
        raise ArchiveInvalid(f"The archive has two members called {member.name[:160]!r}.", advice="Make it anew.")
    if member.kind is Kind.LINK:
        found.links[member.name] = member.target
    else:
        found.members[member.name] = extent


def _forget_last(found: Scanned) -> None:
    """Its bytes are not all there."""
    found.members.popitem()


def _scan_directory(directory: Path) -> Scanned:
    """The files of an OCI layout, or of an image that skopeo wrote, under the names that a layout has for them."""
    found = Scanned(directory)
    try:
        for number, file in enumerate(sorted(directory.rglob("*"))):
            if number >= FILES_LIMIT:
                raise BundleInvalid(f"{directory} has more than {FILES_LIMIT} files.")
            if file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(directory):
                found.members[str(file.relative_to(directory))] = Extent(file, 0, file.stat().st_size)
        if _is_image(directory):
            found.members = dict(_as_layout(found.members))
    except OSError as error:
        raise FileUnreadable(directory, error) from error
    return found


def _as_layout(members: Mapping[str, Extent]) -> Iterable[tuple[str, Extent]]:
    for name, extent in members.items():
        digits = name.removesuffix(".manifest.json")
        if len(digits) == 64 and not digits.strip("0123456789abcdef"):
            yield f"{archive.BLOBS}/sha256/{digits}", extent
        else:
            yield name, extent


async def _plain(path: Path, pool: IPool, cpu: IPool, scratch: Path, spare: list[Path]) -> Path:
    """The file itself, or what it unpacks to, which is then among the `spare` ones."""
    size, start = await pool.run(_begun, path)
    if Coding.of(start) is Coding.PLAIN:
        return path
    target = scratch / f"unpacked-{secrets.token_hex(8)}"
    spare.append(target)
    await pool.run(_make, scratch)
    written = 0
    span = Span(pool, Extent(path, 0, size))
    try:
        async for piece in unpacked(_each(span), cpu):
            if written % (64 * READ_BYTES) < len(piece):
                await pool.run(check_room, scratch, len(piece))
            await pool.run(_append, target, piece)
            written += len(piece)
    finally:
        span.close()
    return target


async def _each(span: Span) -> AsyncIterator[bytes]:
    for offset in range(0, span.size, READ_BYTES):
        yield await span.read(offset, READ_BYTES)


def _begun(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size, file.read(4)
    except OSError as error:
        raise FileUnreadable(path, error) from error


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
