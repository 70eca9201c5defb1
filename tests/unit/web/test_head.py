"""Heads, however their bytes come: the same head, the same rest, or the same complaint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.oci.errors import InvalidRequest
from quay.web.connections import Limits
from quay.web.head import Head, HeadMalformed, HeadReader, HeadTooLarge, UriTooLong, VersionUnsupported

WHOLE = b"PUT /v2/a?b=c HTTP/1.1\r\nHost: r\r\nX-One: 1\r\nx-one:\t2 \r\nContent-Length: 5\r\n\r\nhello\r\n\r\n"


def read(pieces, limits=None):
    """The head that these pieces are, what followed it, and the pieces that were not needed."""
    reader, pieces = HeadReader(limits or Limits()), list(pieces)
    while pieces:
        head = reader.take(pieces.pop(0))
        if head is not None:
            return head, reader.rest + b"".join(pieces)
    return None, b""


def cut(data, places):
    """`data` in pieces, cut at these places."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.lists(st.integers(0, 1000), max_size=8), st.sampled_from([b"", b"\r\n"]))
def test_cut_anywhere(places, before):
    """Wherever its bytes are cut, with an empty line before it or not, a head is what it is, and its rest is whole."""
    head, rest = read(cut(before + WHOLE, places))
    assert (head.method, head.target, head.version, head.length) == (b"PUT", b"/v2/a?b=c", b"HTTP/1.1", 5)
    assert head.headers.getRawHeaders(b"X-One") == [b"1", b"2"]
    assert rest == b"hello\r\n\r\n"


@given(st.binary(max_size=120), st.lists(st.integers(0, 1000), max_size=4))
def test_cuts_change_nothing(noise, places):
    """Whatever the bytes are, they are the same head, the same complaint, or as incomplete, however they come."""

    def outcome(pieces):
        try:
            head, rest = read(pieces)
        except InvalidRequest as error:
            return type(error), error.message
        return head and (head.method, head.target, head.length, list(head.headers.getAllRawHeaders())), rest

    data = b"GET / HTTP/1.1\r\nHost: r\r\n" + noise + b"\r\n\r\n"
    assert outcome(cut(data, places)) == outcome([data])


@pytest.mark.parametrize(
    ("line", "length"),
    [(b"", 0), (b"Content-Length: 0\r\n", 0), (b"content-length: 7\r\n", 7), (b"Transfer-Encoding: Chunked\r\n", None)],
)
def test_the_length_of_the_body(line, length):
    """A body has the length that is announced, or comes in chunks, or is none."""
    head, _ = read([b"POST / HTTP/1.1\r\nHost: r\r\n" + line + b"\r\n"])
    assert isinstance(head, Head)
    assert head.length == length


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\r\n\r\nGET / HTTP/1.1\r\n", HeadMalformed),
        (b"nonsense\r\n", HeadMalformed),
        (b"GET / HTTP/3.0\r\n", VersionUnsupported),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", UriTooLong),
        (b"GET /" + b"x" * 17_000, UriTooLong),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 17_000, HeadTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101, HeadTooLarge),
    ],
)
def test_refused_before_its_end(data, kind):
    """What cannot become a good head is refused as soon as that can be known."""
    with pytest.raises(kind):
        read([data])


def test_an_unfinished_head_takes_little_memory():
    """A line that does not end is refused at a size that is bounded, in whatever crumbs it comes."""
    with pytest.raises(HeadTooLarge):
        read([b"GET / HTTP/1.1\r\nX: ", *[b"y" * 100] * 1000])
