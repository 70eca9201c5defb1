"""Byte ranges, chunks, links and page sizes."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.errors import InvalidRequest, PaginationInvalid, RangeInvalid
from quay.oci.ranges import ByteRange, next_link, parse_content_range, parse_page_size, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=0-9", ByteRange(0, 9)),
        ("bytes=0-99", ByteRange(0, 9)),
        ("bytes=4-", ByteRange(4, 9)),
        ("bytes=-3", ByteRange(7, 9)),
        ("bytes=-99", ByteRange(0, 9)),
        ("Bytes = 2-3 ", ByteRange(2, 3)),
        ("bytes=0-9999999999999999999", ByteRange(0, 9)),
    ],
)
def test_single_range(header: str, expected: ByteRange) -> None:
    """Closed, open and suffix ranges, cut at the end of the blob."""
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=0-1-2",
        "bytes=+1-2",
        "bytes=٠-١",
        "bytes=" + "9" * 5000 + "-",
        "bytes=0 - 1",
    ],
)
def test_other_ranges_mean_the_whole(header: str | None) -> None:
    """Several ranges, other units and garbage are ignored, as RFC 9110 allows."""
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=5-4", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_range_outside_is_416_with_the_size(header: str, size: int) -> None:
    """A part that is not there is refused, and the header tells how much is there."""
    with pytest.raises(RangeInvalid) as refused:
        parse_range(header, size)
    assert refused.value.status == 416
    assert refused.value.headers == {"Content-Range": f"bytes */{size}"}


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_range_cuts_like_a_slice(start: int, end: int, size: int) -> None:
    """A range within the blob is the same part as Python's slice."""
    data = bytes(range(size))
    if start > end or start >= size:
        return
    part = parse_range(f"bytes={start}-{end}", size)
    assert part is not None
    assert data[part.start : part.end + 1] == data[start : end + 1]
    assert part.length == len(data[start : end + 1])
    assert part.content_range(size) == f"bytes {start}-{min(end, size - 1)}/{size}"


def test_a_thousand_ranges_are_cheap(cost: Callable[..., float]) -> None:
    """Many overlapping ranges cost no more than to be looked over once."""
    header = "bytes=" + ",".join("0-999" for _ in range(1_000))
    assert parse_range(header, 1_000) is None
    assert cost(parse_range, header, 1_000) < 1


@pytest.mark.parametrize(
    "header", ["5-9", "bytes 5-9/10", "bytes 5-9/*", "bytes=5-9", "5-9/10", " 5-9 ", "BYTES 5-9/10"]
)
def test_chunk(header: str) -> None:
    """All the spellings that clients use, in either header."""
    assert parse_content_range(header, None) == (5, 9)
    assert parse_content_range(None, header) == (5, 9)


def test_chunk_without_headers() -> None:
    """A client that does not say where a chunk belongs appends."""
    assert parse_content_range(None, None) is None


def test_content_range_counts_more_than_range() -> None:
    """The header of the specification wins."""
    assert parse_content_range("0-1", "bytes=7-8") == (0, 1)


@pytest.mark.parametrize(
    "header",
    ["", "5", "5-", "-5", "9-5", "a-b", "bytes 0-9/9", "bytes 0-9/x", "0-1,2-3", "items 0-1/2", "9" * 5_000 + "-1"],
)
def test_chunk_refused(header: str) -> None:
    """Garbage and contradictions are 400, in a sentence."""
    with pytest.raises(InvalidRequest) as refused:
        parse_content_range(header)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("text", "expected"), [(None, 50), ("0", 0), ("1", 1), ("100", 100), ("101", 100), ("2147483648", 100), ("007", 7)]
)
def test_page_size(text: str | None, expected: int) -> None:
    """The default without `n`, and never more than the maximum."""
    assert parse_page_size(text, 50, 100) == expected


@pytest.mark.parametrize("text", ["", "-1", "abc", "1.5", "+1", " 1", "٣", "1e3", "9" * 5_000, "0x10"])
def test_page_size_refused(text: str) -> None:
    """What is no number is refused, however it is spelled."""
    with pytest.raises(PaginationInvalid):
        parse_page_size(text, 50, 100)


def test_default_page_size_is_bounded() -> None:
    """A default above the maximum is cut, too."""
    assert parse_page_size(None, 500, 100) == 100


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(min_value=0))
def test_link_is_one_link(last: str, count: int) -> None:
    """Whatever the last entry is named, the link has one pair of brackets, and its query gives the name back."""
    value = next_link("/v2/a/b/tags/list", {"n": count, "last": last})
    assert value.startswith("<")
    assert value.endswith('>; rel="next"')
    url = value[1 : value.index(">")]
    assert value == f'<{url}>; rel="next"'
    query = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert query == {"n": [str(count)], "last": [last]}


def test_link_path_cannot_end_the_link() -> None:
    """Brackets and line ends in the path are escaped; an absolute URL stays one."""
    assert next_link('/v2/>\r\n"x', {"n": 1}) == '</v2/%3E%0D%0A%22x?n=1>; rel="next"'
    assert next_link("https://[::1]:443/v2/", {"n": 1}) == '<https://[::1]:443/v2/?n=1>; rel="next"'
