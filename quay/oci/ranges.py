"""
Parts of things: byte ranges of a blob, chunks of an upload, pages of a list.

Source: RFC 9110 section 14 (ranges); RFC 8288 (links); OCI Distribution Specification 1.1 "Pushing a blob in chunks"
and "Listing tags".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from quay.oci.errors import InvalidRequest, PaginationInvalid, RangeInvalid

_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,19})-([0-9]{0,19})\s*", re.IGNORECASE)
_CHUNK = re.compile(r"(?:bytes\s*[= ]\s*)?([0-9]{1,19})-([0-9]{1,19})(?:/(?:([0-9]{1,19})|\*))?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,32}")
_URL_CHARACTERS: Final = "/:@[]%~"


@attrs.frozen
class ByteRange:
    """The bytes from `start` to `end`, both included, as HTTP counts them."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1

    def content_range(self, size: int) -> str:
        """The value of `Content-Range` for this part of `size` bytes."""
        return f"bytes {self.start}-{self.end}/{size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """
    The part of `size` bytes that a `Range` header asks for; None for the whole: without a header, and for several
    ranges, other units and garbage, which RFC 9110 lets us ignore. Raises `RangeInvalid` (416) for a part that
    is not there, and for one that ends before it begins.
    """
    spelled = _RANGE.fullmatch(header.strip()) if header else None
    if spelled is None or not any(spelled.groups()):
        return None
    first, last = spelled.groups()
    if not first:
        return _satisfied(max(size - int(last), 0), size - 1, size)
    return _satisfied(int(first), min(int(last), size - 1) if last else size - 1, size)


def _satisfied(start: int, end: int, size: int) -> ByteRange:
    if start > end:
        raise RangeInvalid(
            f"The range asked for lies outside this blob of {size} bytes, or ends before it begins.",
            advice="Ask for bytes that are there, or leave the Range header out.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return ByteRange(start, end)


def parse_content_range(content_range: str | None, quay_range: str | None = None) -> tuple[int, int] | None:
    """
    The first and the last offset of a chunk, or None if the client does not say. `content_range` is the header of
    the specification, `quay_range` the `Range` header that clients of Quay send instead; the former counts. Spelled
    `a-b`, `bytes a-b/total` or `bytes=a-b`. Raises `InvalidRequest` for everything else.
    """
    header = content_range if content_range is not None else quay_range
    if header is None:
        return None
    spelled = _CHUNK.fullmatch(header.strip())
    if spelled is None:
        raise _bad_chunk(header, "is not the range of a chunk")
    start, end = int(spelled[1]), int(spelled[2])
    if end < start or (spelled[3] and int(spelled[3]) <= end):
        raise _bad_chunk(header, "contradicts itself")
    return start, end


def _bad_chunk(header: str, problem: str) -> InvalidRequest:
    return InvalidRequest(
        f"The Content-Range {header[:80]!r} {problem}.",
        advice="Write the offsets of the first and the last byte of the chunk, such as 0-1023, or leave it out.",
    )


def parse_page_size(text: str | None, default: int, maximum: int) -> int:
    """
    How many entries `n=` asks for: `default` if it is not given, never more than `maximum`; 0 is an empty page.
    Raises `PaginationInvalid` for everything that is not a number.
    """
    if text is None:
        return min(default, maximum)
    if _NUMBER.fullmatch(text) is None:
        raise PaginationInvalid(
            f"n={text[:32]!r} is not a number of entries.", advice=f"Ask for 0 to {maximum} entries, or leave n out."
        )
    return min(int(text), maximum)


def next_link(path: str, params: Mapping[str, str | int]) -> str:
    """The value of `Link` for the page at `path` with the query `params`; nothing in them can end the link."""
    return f'<{quote(path, safe=_URL_CHARACTERS)}?{urlencode(params, quote_via=quote, safe="")}>; rel="next"'
