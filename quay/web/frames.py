"""
The chunked coding of a body, decoded with few copies and in few pieces.

Twisted's decoder hands on what each chunk has in each read; an engine sends a layer in chunks of 32 KiB, and every
piece costs its way to the store. This one hands on all that one read brought at once, copied once; the grammar of
everything between the bytes of the body is Twisted's. Source: RFC 9112 section 7.1.

Private names of Twisted's decoder that are used here: `_buffer` (what it could not parse yet), and its states.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.web.http import _ChunkedTransferDecoder

LINE: int = 2 * 1024
"""What is given to Twisted at a time between two chunks: more than the end of one and the head of the next have."""


PLAIN_HEAD: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")
PLAIN_LINE: Final = 12
PLAIN_CHUNK: Final = 1024
"""Smaller chunks, the end and everything unusual are Twisted's."""


class FrameDecoder(_ChunkedTransferDecoder):
    """Calls `data` once for each read that brought bytes of the body, and `finish` with what follows it."""

    def __init__(self, data: Callable[[bytes], None], finish: Callable[[bytes], None]) -> None:
        super().__init__(self._take, self._finish)
        self._hand_on = data
        self._ended = finish
        self._pieces: list[bytes | memoryview] = []
        self._not_given = memoryview(b"")  # of this read, to Twisted

    def dataReceived(self, data: bytes) -> None:
        """Raises what Twisted's decoder raises for a coding that is broken."""
        try:
            self._decode(memoryview(data))
        finally:
            self._flush()

    def _decode(self, rest: memoryview) -> None:
        while rest:
            if self.state == "BODY" and not self._buffer:
                rest = self._body(rest)
            elif self.plain and (opened := self._opened(rest, 0)):
                rest = rest[opened:]
            elif self.state in ("BODY", "CRLF", "CHUNK_LENGTH"):
                rest = self._give(rest, LINE)
            else:
                rest = self._give(rest, len(rest))

    @property
    def ahead(self) -> int:
        """So many bytes belong to the chunk that has begun."""
        return self.length if self.state == "BODY" else 0

    @property
    def plain(self) -> bool:
        """Whether `unframe` could go on here."""
        return self.state in ("BODY", "CRLF") and not self._buffer

    def unframe(self, data: memoryview) -> tuple[int, int]:
        """
        Bring the bytes of the body in `data` to its beginning, as far as they are framed plainly, in chunks of some
        size without extensions; how many they are, and how many of `data` that took. The rest is for `dataReceived`.
        """
        body = at = 0
        while at < len(data):
            if self.state == "CRLF":
                opened = self._opened(data, at)
                if not opened:
                    break
                at = opened
            count = min(self.length, len(data) - at)
            data[body : body + count] = data[at : at + count]
            self._passed(count)
            body += count
            at += count
        return body, at

    def may_go_on(self, rest: memoryview | bytes) -> bool:
        """Whether `rest`, on which `unframe` ended, could be the beginning of a plain head."""
        return len(rest) < PLAIN_LINE and bytes(rest).count(b"\n") < 2

    def _opened(self, data: memoryview, at: int) -> int:
        """Begin the chunk whose plain head is at `at`, after the end of another; where that ends, or 0 if none is."""
        head = PLAIN_HEAD.match(data, at)
        length = int(head[1], 16) if head else 0
        if head is None or length < PLAIN_CHUNK:
            return 0
        self.length, self.state = length, "BODY"
        return head.end()

    def _passed(self, count: int) -> None:
        self.length -= count
        if not self.length:
            self.state = "CRLF"

    def _body(self, rest: memoryview) -> memoryview:
        taken = rest[: self.length]
        self._pieces.append(taken)
        self._passed(len(taken))
        return rest[len(taken) :]

    def _give(self, rest: memoryview, count: int) -> memoryview:
        """Let Twisted parse so much; what it finds of the body there is a piece like any other."""
        self._not_given = rest[count:]
        super().dataReceived(bytes(rest[:count]))
        return self._not_given

    def _take(self, data: bytes) -> None:
        self._pieces.append(data)

    def _finish(self, rest: bytes) -> None:
        self._flush()
        following, self._not_given = self._not_given, memoryview(b"")
        self._ended(rest + bytes(following))

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._hand_on(b"".join(pieces))
