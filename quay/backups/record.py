"""
What a backup says of itself, and what was found when it was last verified: small files of JSON.

They are read with suspicion: of no more than a few megabytes, and no path in them leaves the directory of the backup.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self

import attrs
import cattrs

from quay.files import write_whole
from quay.model.backup import Placed
from quay.oci.errors import DigestInvalid
from quay.oci.reference import Digest
from quay.storage.layout import Layout

FORMAT: Final = 1
RECORD: Final = "backup.json"
SEAL: Final = "SEAL"
LIST: Final = "blobs.jsonl"
FILES: Final = "files"
VERIFIED: Final = "verified.json"
LONGEST: Final = 16 * 1024 * 1024
LONGEST_LINE: Final = 64 * 1024
BATCH: Final = 256
NAMED: Final = 1_000
"""So many blobs that are missing or damaged are named."""


class BackupFailed(Exception):
    """A backup could not be made, verified or restored; the message is a sentence."""


class BackupDamaged(BackupFailed):
    """A backup is not what it was when it was made."""


def changed(path: Path) -> BackupDamaged:
    """A file of a backup has other bytes than it says."""
    return BackupDamaged(f"{path} is not what it was when the backup was made: restore another one.")


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


def _files(files: Iterable[File]) -> tuple[File, ...]:
    return tuple(files)


@attrs.frozen
class File:
    """A file of the backup: its path from there, its bytes, and their SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str

    def at(self, root: Path) -> Path:
        """Where it is below `root`. Raises `BackupDamaged` for a path that leads elsewhere."""
        path = PurePosixPath(self.path)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in self.path:
            raise BackupDamaged(f"{root} names a file outside of itself, {self.path[:200]!r}: it is not one of ours.")
        return root / path


@attrs.frozen(kw_only=True)
class Record:
    """
    What a backup is. `installation` tells whose it is, `engine` (sqlite, postgresql) and `schema` what its database
    is; `data` and `storage` (by location) are where things were. `size` is that of its blobs in bytes, of which
    `copied` were not there before. `holds_blobs` is False where somebody else takes care of them; `missing` are those
    that could not be had, or the first of them, which are `lost` in number. `held` counts what is in the database.
    """

    format: int = FORMAT
    name: str
    installation: str
    version: str
    made_ms: int
    seconds: float
    engine: str
    schema: int
    data: str
    storage: Mapping[str, str]
    database: File
    listing: File
    files: Sequence[File] = attrs.field(converter=_files)
    holds_blobs: bool
    blobs: int
    size: int
    copied: int
    lost: int
    missing: Sequence[str] = attrs.field(converter=_texts)
    uploads: int
    held: Mapping[str, int]

    def write(self, root: Path) -> None:
        """Write it, and seal it, durably. Waits for the disk."""
        text = json.dumps(cattrs.unstructure(self), indent=1).encode()
        write_whole(root / RECORD, text)
        write_whole(root / SEAL, f"{hashlib.sha256(text).hexdigest()}  {RECORD}\n".encode())

    @classmethod
    def read(cls, root: Path) -> Self:
        """The record of the complete backup `root`. Waits for the disk. Raises `BackupDamaged`, `BackupFailed`."""
        try:
            seal, text = _read(root / SEAL), _read(root / RECORD)
        except FileNotFoundError as error:
            raise BackupFailed(
                f"{root} is no complete backup, since it has no {Path(error.filename).name}: name the directory of "
                "one, which is called after its time."
            ) from None
        except OSError as error:
            raise BackupFailed(f"{error.filename} cannot be read: {error.strerror}.") from error
        if seal.split()[:1] != [hashlib.sha256(text).hexdigest().encode()]:
            raise BackupDamaged(f"{root / RECORD} is not what was sealed when the backup was made.")
        return cls._parsed(root, text)

    @classmethod
    def _parsed(cls, root: Path, text: bytes) -> Self:
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise BackupFailed(
                    f"{root} has the format {found['format']!r}, and this version knows {FORMAT}: use the version that "
                    f"made it, {found.get('version')!r}."
                )
            return cattrs.structure(found, cls)
        except (ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
            raise BackupDamaged(f"{root / RECORD} does not say what a backup says of itself.") from error


@attrs.frozen(kw_only=True)
class Verified:
    """When a backup was read again from end to end, and what was wrong; `damaged` are blobs, or the first of them."""

    ms: int
    problems: int
    damaged: Sequence[str] = attrs.field(default=(), converter=_texts)

    def write(self, root: Path) -> None:
        """Keep it beside the backup. Waits for the disk. Raises `OSError`."""
        write_whole(root / VERIFIED, json.dumps(cattrs.unstructure(self)).encode())

    @classmethod
    def read(cls, root: Path) -> Self | None:
        """What was found last; None if nobody has looked."""
        try:
            return cattrs.structure(json.loads(_read(root / VERIFIED)), cls)
        except (OSError, ValueError, TypeError, cattrs.BaseValidationError):
            return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST)


# --- the list of blobs --------------------------------------------------------------------------------------------


def line_of(placed: Placed) -> bytes:
    """The line of a blob."""
    return json.dumps([placed.digest, placed.size, list(placed.locations)], separators=(",", ":")).encode() + b"\n"


def read_lines(file: IO[bytes]) -> Iterator[Placed]:
    """The blobs of a list, in its order. Raises `BackupDamaged`."""
    while line := file.readline(LONGEST_LINE):
        try:
            digest, size, locations = json.loads(line)
            if not isinstance(size, int) or size < 0 or not all(isinstance(name, str) for name in locations):
                raise ValueError(size)
            yield Placed(Digest.parse(digest), size, locations)
        except (ValueError, TypeError, DigestInvalid) as error:
            raise BackupDamaged(f"The list of blobs has a line that names none: {line[:200]!r}.") from error


def batch(lines: Iterator[Placed]) -> list[Placed]:
    """The next few of them; none at the end."""
    return list(islice(lines, BATCH))


def place_of(root: Path, digest: Digest) -> Path:
    """Where a blob is in the backup `root`."""
    return Layout("backups", root).blob(digest)
