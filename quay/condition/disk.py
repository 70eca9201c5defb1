"""
The file system below a directory: its room, its kind, and how it is mounted.

Source: Linux, proc_pid_mountinfo(5); SQLite, "Write-Ahead Logging" (no network file system); statvfs(3).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from quay.condition.finding import Finding, fine, remarkable, wrong

MOUNTS: Final = Path("/proc/self/mountinfo")
LEAST_FREE: Final = 1024**3
"""Bytes: less room than a usual image takes is wrong."""
LITTLE: Final = 0.10
SOON_D: Final = 30
"""A disk that is full within so many days is worth a word."""
FAR_D: Final = 3650
"""What comes later, nobody foresees."""

FULL: Final = "/docs/runbooks#disk-full"
KIND: Final = "/docs/runbooks#the-wrong-file-system"

_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@attrs.frozen
class Mount:
    """A mounted file system: where, of what kind, from what, and with which options."""

    point: Path
    kind: str
    source: str
    options: frozenset[str]


@attrs.frozen
class Room:
    """Bytes and inodes of a file system, and those of them that its user may still take."""

    bytes: int
    free: int
    inodes: int
    free_inodes: int


def mount_of(path: Path, table: Path = MOUNTS) -> Mount | None:
    """The file system that has `path`; None where the kernel does not say."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = Path(os.path.realpath(path))
    around = [mount for mount in map(_mount, lines) if mount is not None and place.is_relative_to(mount.point)]
    deepest = max((len(mount.point.parts) for mount in around), default=0)
    return next((mount for mount in reversed(around) if len(mount.point.parts) == deepest), None)


def _mount(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, more = before.split(), after.split()
    if len(fields) < 6 or len(more) < 3:
        return None
    options = frozenset(fields[5].split(",")) | frozenset(more[2].split(","))
    return Mount(Path(_plain(fields[4])), more[0], _plain(more[1]), options)


def _plain(text: str) -> str:
    """Blanks and the like are written in octal digits."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def room_of(path: Path) -> Room:
    """Raises `OSError`."""
    found = os.statvfs(path)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def room(path: Path, daily: float = 0.0) -> Iterator[Finding]:
    """Whether there is room below `path`, into which come `daily` bytes a day. Raises `OSError`."""
    found = room_of(path)
    yield _bytes(path, found, daily)
    if found.inodes:  # some file systems have none, or as many as one likes
        yield _inodes(path, found)


def _bytes(path: Path, found: Room, daily: float) -> Finding:
    share = found.free / found.bytes if found.bytes else 0.0
    said = f"{path} has {amount(found.free)} free of {amount(found.bytes)} ({share:.0%})"
    if found.free < min(LEAST_FREE, found.bytes):
        return wrong(f"{said}: pushes are about to be refused.", "quay gc", FULL)
    days = found.free / daily if daily > 0 else FAR_D
    forecast = "" if days >= FAR_D else f", and is full in {days:,.0f} days if pushes go on as in the last month"
    if days < SOON_D:
        return remarkable(f"{said}{forecast}.", "quay gc --dry-run", FULL)
    if share < LITTLE:
        return remarkable(f"{said}{forecast}: make room before pushes are refused.", "quay gc --dry-run", FULL)
    return fine(f"{said}{forecast}.")


def _inodes(path: Path, found: Room) -> Finding:
    share = found.free_inodes / found.inodes
    said = f"{path} has room for {found.free_inodes:,} more files ({share:.0%})"
    if found.free_inodes < 1000:
        return wrong(f"{said}: pushes are about to be refused, however many bytes are free.", "quay gc", FULL)
    if share < 0.05:
        return remarkable(f"{said}, however many bytes are free.", "quay gc --dry-run", FULL)
    return fine(f"{said}.")


def kind(path: Path, *, database: bool, table: Path = MOUNTS) -> Iterator[Finding]:
    """Whether the file system below `path` will do; `database` says that SQLite's file is there."""
    mount = mount_of(path, table)
    if mount is None:
        return
    where = f"{path} is on {mount.kind}, mounted at {mount.point}"
    if "ro" in mount.options:
        fix = f"mount -o remount,rw {shlex.quote(str(mount.point))}"
        yield wrong(f"{where}, read-only: nothing can be pushed.", fix, KIND)
    yield _judged(where, mount, database)


def _judged(where: str, mount: Mount, database: bool) -> Finding:
    if mount.kind in _MEMORY:
        return wrong(f"{where}: all of it is gone when this machine stops. Keep it on a disk.", "", KIND)
    if mount.kind in _NETWORK and database:
        return wrong(
            f"{where}: SQLite's write-ahead log does not work on a network file system. Keep the data on a disk of "
            "this machine, or the rows in PostgreSQL.",
            "",
            KIND,
        )
    if mount.kind in _NETWORK:
        return remarkable(
            f"{where}: blobs may be there, if it is mounted `hard` and its server keeps what it has confirmed.",
            "",
            KIND,
        )
    if mount.kind == "overlay":
        return remarkable(
            f"{where}, which is the layer of a container: it goes when the container is removed. Mount a volume there.",
            "",
            KIND,
        )
    return fine(f"{where}, which will do.")


def amount(count: float) -> str:
    """A number of bytes, for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
