"""
Bytes on their way in that a thread of the store takes from where they arrive.

For a large body this spares the reactor an event, an object and a copy for every 64 KiB, and the client the waits for
the reactor: one thread receives, hashes and writes in turn, with a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import local
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from quay.interfaces import IDirectIntake
from quay.storage.upload import Partial, SegmentedUpload, Work
from quay.threads import shielded

BUFFER: Final = 512 * 1024
"""So many bytes are received, then hashed, then written: few calls, and still in the processor's cache."""

Fill = Callable[[memoryview], int]


class _Buffers(local):
    """One buffer for each thread that needs one; it is never given back."""

    def __init__(self) -> None:
        self.own = memoryview(bytearray(BUFFER))


_buffers = _Buffers()


def pieces(fill: Fill, most: int) -> Iterator[memoryview]:
    """What `fill` has, up to `most` bytes of it; each piece is good until the next is asked for."""
    buffer = _buffers.own
    while most and (count := fill(buffer[:most])):
        most -= count
        yield buffer[:count]


class DirectPartial(Partial, Protocol):
    """A `Partial` on a medium that threads write to."""

    def fetch(self, segment: Sequence[bytes], fill: Fill, most: int) -> Work[int]:
        """Append `segment`, and then `pieces(fill, most)`; how many bytes these were."""


@implementer(IDirectIntake)
class DirectUpload(SegmentedUpload):
    """An upload whose bytes are written, or fetched, in any order of these."""

    _partial: DirectPartial

    def fetch(self, fill: Fill, most: int) -> Deferred[None] | None:
        if self._refusal is not None:
            return None
        return shielded(self._turn.run(self._fetch, *self._taken(), fill, most))

    async def _fetch(self, segment: list[bytes], weight: int, fill: Fill, most: int) -> None:
        with self._keeping(weight):
            if self._refusal is None:
                self.offset += await self._partial.fetch(segment, fill, most)
