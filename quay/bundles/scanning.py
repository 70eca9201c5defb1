"""
What is in the files that somebody brought: the members of tar files, which are found without reading their contents,
and the files of directories. All of it waits for the disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from quay.bundles.depot import DRAFT
from quay.bundles.extents import Extent, FileUnreadable, Span, check_room
from quay.bundles.waybill import BundleInvalid
from quay.interfaces import IPool
from quay.oci import archive
from quay.oci.archive import Coding
from quay.oci.tar import BLOCK, ArchiveInvalid, Kind, Member, TarReader
from quay.registry.archives.packed import unpacked

READ_BYTES: Final = 1024 * 1024
FILES_LIMIT: Final = 100_000
"""Files of a directory that are looked at."""


@attrs.define
class Scanned:
    """The members of one file by name, where links lead, and what is wrong with it, if anything is."""

    path: Path
    members: dict[str, Extent] = attrs.field(factory=dict, repr=False)
    links: dict[str, str] = attrs.field(factory=dict, repr=False)
    damage: str = ""


async def scanned(paths: Iterable[Path], pool: IPool, cpu: IPool, scratch: Path, spare: list[Path]) -> list[Scanned]:
    """
    What `paths` have, files and directories. A compressed one is unpacked below `scratch`, and what comes of it is
    added to `spare`. Raises `ArchiveInvalid` for what is neither tar nor a layout, `FileUnreadable`, `NoRoom`.
    """
    found: list[Scanned] = []
    for path in await pool.run(_listed, list(paths)):
        if path.is_dir():
            found.append(await pool.run(_scan_directory, path))
        else:
            found.append(await pool.run(_scan, await _plain(path, pool, cpu, scratch, spare), path))
    return found


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
