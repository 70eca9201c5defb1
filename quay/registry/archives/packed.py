"""
Archives that are compressed as a whole: unpacked as they come, in pieces of bounded size, in threads.

What grows beyond all reason is refused: a few bytes that stand for many terabytes are no archive of images.

Source: RFC 1952 (gzip); RFC 8878 (zstd), where 3.1.1.1.2 has the 8 MiB that a decoder should have for its window.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from quay.interfaces import IPool
from quay.oci.archive import Coding
from quay.oci.tar import ArchiveInvalid

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

PIECE: Final = 1024 * 1024
"""Bytes that are unpacked in one go."""
RATIO: Final = 1000
"""How many times larger the whole may become: gzip can do little more at its best."""
FREE: Final = 64 * 1024 * 1024
"""Up to so many bytes nobody asks for the ratio."""
WINDOW_LOG: Final = 23
"""8 MiB: what every level up to 19 keeps to."""

_MAGIC: Final = 4
_FOREIGN: Final = {b"\xfd7zX": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}


class Packed:
    """A stream of frames of one coding. Its methods take a while, and raise `ArchiveInvalid`."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._frame: Any = None  # that of the coding, while a frame is being unpacked
        self._rest = b""  # what it has not taken yet
        self.taken = self.given = 0

    def feed(self, data: bytes) -> bytes:
        """At most `PIECE` bytes of what comes of `data`; it has given all of it when it gives none for no data."""
        self.taken += len(data)
        self._rest += data
        piece = b""
        while not piece and (self._rest or self._has_more()):
            piece = self._unpacked()
        self.given += len(piece)
        if self.given > FREE and self.given > RATIO * self.taken:
            raise ArchiveInvalid(
                f"The archive unpacks to more than {RATIO} times its size: that is no archive of images.",
                advice="Send it as a plain tar file.",
            )
        return piece

    def close(self) -> None:
        """There is no more data."""
        if self._frame is not None:
            raise ArchiveInvalid("The archive ends in the middle of what is compressed.", advice="Send it again.")

    def _has_more(self) -> bool:
        return self._frame is not None and self._coding is Coding.ZSTD and not self._frame.needs_input

    def _unpacked(self) -> bytes:
        try:
            if self._coding is Coding.GZIP:
                return self._gunzipped()
            return self._unzstd()
        except (zlib.error, zstd.ZstdError, EOFError) as error:
            raise ArchiveInvalid(
                f"The archive cannot be unpacked: {error}.",
                advice="Send it again; a zstd archive must be made without --long and --ultra.",
            ) from error

    def _gunzipped(self) -> bytes:
        if self._frame is None:
            if not self._rest.strip(b"\0"):  # some tapes fill up what is behind the end
                self._rest = b""
                return b""
            self._frame = zlib.decompressobj(wbits=31)
        piece: bytes = self._frame.decompress(self._rest, PIECE)
        self._rest = self._frame.unconsumed_tail
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return piece

    def _unzstd(self) -> bytes:
        if self._frame is None:
            self._frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        piece: bytes = self._frame.decompress(self._rest, PIECE)
        self._rest = b""
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return piece


async def unpacked(pieces: AsyncIterator[bytes], pool: IPool) -> AsyncIterator[bytes]:
    """The bytes of a tar file that may come compressed. Raises `ArchiveInvalid`, and what `pieces` raise."""
    start = b""
    async for piece in pieces:
        start += piece
        if len(start) >= _MAGIC:
            break
    _check_foreign(start)
    coding = Coding.of(start)
    if coding is Coding.PLAIN:
        yield start
        async for piece in pieces:
            yield piece
        return
    packed = Packed(coding)
    async for data in _each(start, pieces):
        piece = await pool.run(packed.feed, data)
        while piece:
            yield piece
            piece = await pool.run(packed.feed, b"")
    packed.close()


def _check_foreign(start: bytes) -> None:
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise ArchiveInvalid(f"The archive is compressed by {name}.", advice="Send it plain, or as gzip or zstd.")


async def _each(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
