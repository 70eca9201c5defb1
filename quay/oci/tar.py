"""
Tar files, as a stream in pieces of any size: what a member's head says, and what of its bytes has come.

Nothing here touches a file. A name is only ever compared, and still whatever could mean something outside the archive
is refused: it was made by somebody who means harm, or by a program that is broken. Refused, too: members that are no
files (devices, sparse files), a head that is longer than a name needs, more members than an archive of images has, and
an archive that ends before it says so.

Source: POSIX.1-2024, pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar, "Basic Tar Format".
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from enum import Enum
from typing import Final

import attrs

from quay.oci.errors import InvalidRequest

BLOCK: Final = 512
MEMBER_LIMIT: Final = 100_000
NAME_LIMIT: Final = 1024
"""Bytes of a name, or of what a link points to."""
EXTENSION_LIMIT: Final = 64 * 1024
"""Bytes of what may stand before a member to say what its head cannot."""
SIZE_LIMIT: Final = 2**63

CLOSING: Final = bytes(2 * BLOCK)
"""What ends an archive."""

_DEVICES: Final = {b"3": "a character device", b"4": "a block device", b"6": "a named pipe"}


class ArchiveInvalid(InvalidRequest):
    """What was sent is no archive, or none that can be taken."""


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@attrs.frozen
class Member:
    """A member: `size` bytes follow, of a file. A `target` is a name in the archive, too, and so is `name`."""

    name: str
    kind: Kind
    size: int = 0
    target: str = ""


class End(Enum):
    """The mark after the last byte of a member."""

    OF_MEMBER = "end"


END: Final = End.OF_MEMBER
Event = Member | bytes | End


# --- out


def head(name: str, size: int, *, directory: bool = False) -> bytes:
    """The head of a member; the same for the same name and size, whoever asks, and when."""
    info = tarfile.TarInfo(f"{name}/" if directory else name)
    info.size = size
    if directory:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.GNU_FORMAT)


def filled(size: int) -> int:
    """How many bytes `size` bytes of content take in an archive."""
    return -(-size // BLOCK) * BLOCK


# --- in


class TarReader:
    """Reads one archive. Every method raises `ArchiveInvalid`, and is then of no more use."""

    def __init__(self, limit: int = MEMBER_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()  # less than a block, or an extension that is not complete
        self._content = 0  # bytes of the member that are still to come
        self._filling = 0  # and of the filling behind them
        self._members = 0
        self._extension: tuple[bytes, int] | None = None  # one that is coming: its type and size
        self._said: dict[str, str] = {}  # what extensions say of the next member
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        What `data`, the next bytes of the archive, bring: each member, then its bytes in pieces, then `END`. What
        comes after the end of the archive does not count.
        """
        view = memoryview(data)
        while view and not self._ended:
            if self._content:
                piece, view = bytes(view[: self._content]), view[self._content :]
                self._content -= len(piece)
                yield piece
                if not self._content:
                    yield END
            elif self._filling:
                count = min(self._filling, len(view))
                self._filling -= count
                view = view[count:]
            else:
                wanted = self._wanted() - len(self._pending)
                self._pending += view[:wanted]
                view = view[wanted:]
                if len(self._pending) == self._wanted():
                    yield from self._complete(bytes(self._pending))

    @property
    def ended(self) -> bool:
        """Whether the archive has said that it ends."""
        return self._ended

    def skip(self) -> int:
        """
        Pass over what is still to come of the member at hand, with its filling: so many bytes are not to be fed. For
        whoever reads a file, and finds the contents later.
        """
        count = self._content + self._filling
        self._content = self._filling = 0
        return count

    def close(self) -> None:
        """There are no more bytes."""
        if not (self._members or self._ended):
            raise _no_tar()
        if not self._ended:
            raise ArchiveInvalid(
                "The archive ends in the middle: a part of it is missing.", advice="Make or send it again."
            )

    def _wanted(self) -> int:
        return BLOCK if self._extension is None else filled(self._extension[1])

    def _complete(self, block: bytes) -> Iterator[Event]:
        self._pending.clear()
        if self._extension is not None:
            (kind, size), self._extension = self._extension, None
            self._said |= _extension(kind, block[:size])
        elif block.count(0) == BLOCK:
            self._ended = True
        else:
            yield from self._begin(block)

    def _begin(self, block: bytes) -> Iterator[Event]:
        self._members += 1
        if self._members > self._limit:
            raise ArchiveInvalid(
                f"The archive has more than {self._limit} members.", advice="Put fewer images into one archive."
            )
        _check_sum(block)
        kind, size = block[156:157], _number(block[124:136])
        if kind in (b"L", b"K", b"x", b"g"):
            if not 0 < size <= EXTENSION_LIMIT:
                raise ArchiveInvalid(f"The archive has a head of {size} bytes; at most {EXTENSION_LIMIT} are read.")
            self._extension = (kind, size)
            return
        said, self._said = self._said, {}
        member = _member(block, kind, size, said)
        self._content, self._filling = member.size, filled(member.size) - member.size
        yield member
        if not member.size:
            yield END


def _member(block: bytes, kind: bytes, size: int, said: dict[str, str]) -> Member:
    name = said["path"] if "path" in said else _name(block)
    shown = repr(name[:80])
    if "size" in said:
        size = _decimal(said["size"], shown)
    if kind == b"5" or (kind in (b"\0", b"0") and name.endswith("/")):
        return Member(inside(name, shown), Kind.DIRECTORY)
    if kind in (b"1", b"2"):
        target = said["linkpath"] if "linkpath" in said else _text(block[157:257])
        base = posixpath.dirname(name) if kind == b"2" else ""  # hard links are told from the root of the archive
        if target.startswith("/"):
            raise _outside(shown)
        return Member(_file(name, shown), Kind.LINK, target=_file(f"{base}/{target}" if base else target, shown))
    if kind not in (b"0", b"\0", b"7"):
        what = _DEVICES.get(kind, "a sparse file" if kind == b"S" else "of a kind that is not known here")
        raise ArchiveInvalid(f"The member {shown} is {what}; archives of images have files, directories and links.")
    return Member(_file(name, shown), Kind.FILE, size)


def _file(name: str, shown: str) -> str:
    found = inside(name, shown)
    if not found:
        raise ArchiveInvalid(f"A member of the archive is called {shown}, which is the name of no file.")
    return found


def inside(name: str, shown: str) -> str:
    """The plain spelling of a name in an archive. Raises `ArchiveInvalid` for one that leads out of it."""
    if len(name) > NAME_LIMIT:
        raise ArchiveInvalid(f"The name {shown}… has {len(name)} characters; at most {NAME_LIMIT} are taken.")
    plain = posixpath.normpath(name) if name else "."
    if plain.startswith(("/", "../")) or plain == ".." or "\0" in name:
        raise _outside(shown)
    return "" if plain == "." else plain


def _outside(shown: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"The member {shown} leads out of the archive.", advice="Members have relative names without '..'."
    )


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == b"L":
        return {"path": _text(data)}
    if kind == b"K":
        return {"linkpath": _text(data)}
    said = dict(_records(data))
    if any(key.startswith("GNU.sparse") for key in said):
        raise ArchiveInvalid("The archive has a sparse file; archives of images have plain ones.")
    if kind == b"g" and said:  # for all that follow: dates and the like, but nothing by which members would be found
        raise ArchiveInvalid(f"The archive gives all its members one {', '.join(said)}.")
    return said


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """The records `<length> <key>=<value>\\n` of a pax head."""
    while data:
        digits, space, _ = data[:8].partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not (equals and value.endswith(b"\n") and length <= len(data)):
            raise ArchiveInvalid("The archive has a pax head that cannot be read.")
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse"):
            yield _text(key), _text(value[:-1], whole=True)
        data = data[length:]


def _name(block: bytes) -> str:
    name, prefix = _text(block[0:100]), block[345:500] if block[257:263] == b"ustar\0" else b""
    return f"{_text(prefix)}/{name}" if prefix.strip(b"\0") else name


def _text(raw: bytes, *, whole: bool = False) -> str:
    try:
        return (raw if whole else raw.partition(b"\0")[0]).decode()
    except UnicodeDecodeError:
        raise ArchiveInvalid("A member of the archive has a name that is not UTF-8.") from None


def _decimal(text: str, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < SIZE_LIMIT):
        raise ArchiveInvalid(f"The member {shown} has no size that could be read.")
    return int(text)


def _number(field: bytes) -> int:
    """A number in octal digits, or, beyond 8 GiB, in base 256 as GNU tar has it."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:])
        if number < SIZE_LIMIT:  # else it is refused below: it is no octal number either
            return number
    octal = _octal(field)
    if octal is None:
        raise ArchiveInvalid("A member of the archive has no size that could be read.")
    return octal


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0") or b"0"
    return None if digits.strip(b"01234567") else int(digits, 8)


def _check_sum(block: bytes) -> None:
    """Of the bytes of a head, with blanks in the place of the sum; old programs added them up as signed numbers."""
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    if _octal(block[148:156]) not in (total, total - 256 * sum(byte > 127 for byte in rest)):
        raise _no_tar()


def _no_tar() -> ArchiveInvalid:
    return ArchiveInvalid(
        "This is no tar file, or it is damaged: there is no head of a member where one should be.",
        advice="Send what docker save made, or an OCI layout as tar; it may be compressed once, by gzip or zstd.",
    )
