"""
A bundle cut into volumes: what each of them holds, known to the byte before one is written.

Each volume is a tar file of its own, and says by itself what it belongs to: it has the OCI layout's files, the signed
waybill, its number, blobs in the order of the tags that need them, and at last the checksums of all this. Unpacked into
one directory, all volumes together are an OCI layout. A blob that does not fit goes on in the next volume: its pieces
lie below `pieces/`, each under the offset at which it begins, so that they are in order as they are listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from quay.bundles.waybill import BundleInvalid
from quay.oci.archive import Part, place
from quay.oci.errors import InvalidRequest
from quay.oci.reference import Digest
from quay.oci.tar import BLOCK, CLOSING, MEMBER_LIMIT, filled, head

WAYBILL: Final = "bundle.jws"
VOLUME: Final = "volume.json"
SUMS: Final = "SHA256SUMS"
PIECES: Final = "pieces"
LEAST_PIECE: Final = 1024 * 1024
"""Bytes; no blob is cut for less, unless it is its end."""
MEMBERS: Final = MEMBER_LIMIT - 1000
VOLUMES_LIMIT: Final = 999
_DIGITS: Final = 20
_SUM: Final = 64 + 2 + 1
"""Bytes of a line of checksums, beside the name."""


@attrs.frozen
class Volume:
    """The parts of one volume, without its checksums, and the bytes of the whole file."""

    number: int
    parts: tuple[Part, ...] = attrs.field(repr=False)
    size: int


def piece(digest: Digest, start: int) -> str:
    """Where the bytes of a blob from `start` on lie."""
    return f"{PIECES}/{digest.algorithm}/{digest.hex}/{start:0{_DIGITS}d}"


def piece_at(name: str) -> tuple[Digest, int] | None:
    """What `piece` gave this name, if it did. Raises `BundleInvalid`."""
    first, _, rest = name.partition("/")
    if first != PIECES:
        return None
    whole, _, start = rest.rpartition("/")
    algorithm, _, digits = whole.partition("/")
    if not (start.isascii() and start.isdigit() and len(start) == _DIGITS):
        raise BundleInvalid(f"The member {name[:160]!r} is in the place of a piece, but says not of what.")
    return Digest.parse(f"{algorithm}:{digits}"), int(start)


def label(bundle: str, number: int, of: int) -> bytes:
    """The `volume.json` of a volume; it is as long for every number."""
    return json.dumps({"bundle": bundle, "number": f"{number:03d}", "of": f"{of:03d}"}).encode()


def cut(
    bundle: str,
    common: Sequence[Part],
    blobs: Iterable[tuple[Digest, int]],
    limit: int | None = None,
    *,
    least: int = LEAST_PIECE,
) -> list[Volume]:
    """
    The volumes of `bundle`: the parts that they have in `common`, and blobs of these sizes. None has more than `limit`
    bytes. Raises `InvalidRequest` for a limit below which nothing could be done.
    """
    cutting = _Cutting(common, limit, least)
    for digest, size in blobs:
        cutting.add(digest, size)
    drafts = cutting.finished()
    made = []
    for number, parts in enumerate(drafts, 1):
        named = [*common, _labelled(label(bundle, number, len(drafts))), *parts]
        made.append(Volume(number, tuple(named), _size(named)))
    return made


def _labelled(content: bytes) -> Part:
    return Part(VOLUME, content, len(content))


class _Cutting:
    """Fills one volume after the other."""

    def __init__(self, common: Sequence[Part], limit: int | None, least: int) -> None:
        always = [*common, _labelled(label("0" * 36, 1, 1))]
        self._fixed = sum(map(_taken, always))
        self._lines = sum(map(_line, always))
        self._limit = limit
        self._least = least
        self._done: list[list[Part]] = []
        self._begin()
        smallest = _size(always) + 2 * (least + 2 * BLOCK)
        if limit is not None and limit < smallest:
            raise InvalidRequest(
                f"Volumes of {limit} bytes are too small for this bundle: its lists alone take much of that.",
                advice=f"Give it {smallest} bytes at least.",
            )

    def _begin(self) -> None:
        self._parts: list[Part] = []
        self._used, self._listed = self._fixed, self._lines

    def add(self, digest: Digest, size: int) -> None:
        """The next blob."""
        start = 0
        while start < size or not size:
            part = Part(place(digest), digest, size)
            room = self._room(part)
            if start or (room is not None and room < size):
                room = self._room(Part(piece(digest, start), digest, size - start))
                count = min(size - start, room if room is not None else size)
                part = Part(piece(digest, start), digest, count, start)
                if count < min(self._least, size - start) or size <= self._least:
                    self._next()
                    continue
            self._put(part)
            start += part.size
            if not size:
                return

    def _room(self, part: Part) -> int | None:
        """How many bytes of content a member of this name may still have; None for any number."""
        if len(self._parts) >= MEMBERS:
            return -1
        if self._limit is None:
            return None
        sums = BLOCK + filled(self._listed + _line(part))
        left = self._limit - len(CLOSING) - self._used - sums - len(head(part.name, part.size))
        return left // BLOCK * BLOCK

    def _put(self, part: Part) -> None:
        self._parts.append(part)
        self._used += _taken(part)
        self._listed += _line(part)

    def _next(self) -> None:
        self._done.append(self._parts)
        if len(self._done) >= VOLUMES_LIMIT:
            raise InvalidRequest(
                f"This bundle would have more than {VOLUMES_LIMIT} volumes.", advice="Let the volumes be larger."
            )
        self._begin()

    def finished(self) -> list[list[Part]]:
        return [*self._done, self._parts]


def _taken(part: Part) -> int:
    return len(head(part.name, part.size)) + filled(part.size)


def _line(part: Part) -> int:
    return _SUM + len(part.name)


def _size(parts: Sequence[Part]) -> int:
    return sum(map(_taken, parts)) + BLOCK + filled(sum(map(_line, parts))) + len(CLOSING)
