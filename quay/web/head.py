"""
What the head of a request may look like. Whatever two parsers could read in two ways is refused, not repaired.

Source: RFC 9112 sections 2.2, 3, 5.2 and 6 (lines, request line, folding, framing), 11.2 (request smuggling);
RFC 9110 section 7.2 (Host); RFC 6585 section 5 (431).
"""

from __future__ import annotations

import re
from typing import Final

import attrs
from twisted.web.http_headers import Headers

from quay.oci.errors import InvalidRequest
from quay.web.connections import Limits

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) (HTTP/[0-9]\.[0-9])")
_HEADER_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")
CRLF: Final = b"\r\n"
LINE: Final = 16 * 1024
"""The longest line that is read, in bytes."""


class HeadMalformed(InvalidRequest):
    """A head that does not follow the grammar, or that could be read in two ways."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"This request cannot be understood: {problem}.",
            advice="Speak HTTP/1.1 as RFC 9112 has it; a proxy in between may have changed the request.",
        )


class UriTooLong(InvalidRequest):
    """A request line longer than is read here."""

    status = 414


class HeadTooLarge(InvalidRequest):
    """More headers, or longer ones, than are read here."""

    status = 431


class HeadTimeout(InvalidRequest):
    """A head that did not arrive in time."""

    status = 408


class VersionUnsupported(InvalidRequest):
    """Another HTTP than 1.0 and 1.1."""

    status = 505


def request_line(line: bytes, longest: int) -> tuple[bytes, bytes, bytes]:
    """
    Method, target and version of a first line. Raises `UriTooLong`, `VersionUnsupported` or `HeadMalformed` unless it
    asks for a path of this server.
    """
    spelled = _REQUEST_LINE.fullmatch(line)
    if spelled is None:
        raise HeadMalformed("its first line is not METHOD /path HTTP/1.1")
    method, target, version = spelled.groups()
    if len(target) > longest:
        raise uri_too_long(longest)
    if version not in VERSIONS:
        raise VersionUnsupported(
            f"This port does not speak {version.decode()}.", advice="Use HTTP/1.1; newer versions need other ports."
        )
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        raise HeadMalformed("its target does not begin with a slash, and this server is no proxy")
    return method, target, version


def header_line(line: bytes) -> tuple[bytes, bytes]:
    """
    Name and value of a header. Raises `HeadMalformed` unless it is one header, unfolded, and frames the body, if it
    does, in the one plain way.
    """
    spelled = _HEADER_LINE.fullmatch(line)
    if spelled is None:
        raise HeadMalformed("a header is folded, has no name, or holds a control character")
    name, value = spelled[1], spelled[2].strip(b" \t")
    if not value.isascii() and not _is_utf8(value):
        raise HeadMalformed("a header is not UTF-8")
    lower = name.lower()
    if lower == b"content-length" and _LENGTH.fullmatch(value) is None:
        raise HeadMalformed("its Content-Length is not a number of bytes")
    if lower == b"transfer-encoding" and value.lower() != b"chunked":
        raise HeadMalformed("the only Transfer-Encoding taken here is chunked")
    return name, value


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def body_length(version: bytes, headers: Headers) -> int | None:
    """
    How long the body of a request is, in bytes; None for one in chunks. Raises `HeadMalformed` unless the head as a
    whole says one thing about its host, its sender and its end.
    """
    hosts = len(headers.getRawHeaders(b"Host", []))
    if hosts > 1 or (hosts == 0 and version == b"HTTP/1.1"):
        raise HeadMalformed("it must have exactly one Host header")
    if len(headers.getRawHeaders(b"Authorization", [])) > 1:
        raise HeadMalformed("it has more than one Authorization header")
    lengths, codings = headers.getRawHeaders(b"Content-Length", []), headers.getRawHeaders(b"Transfer-Encoding", [])
    if len(lengths) + len(codings) > 1:
        raise HeadMalformed("its headers contradict each other")
    if codings and version == b"HTTP/1.0":
        raise HeadMalformed("HTTP/1.0 knows no Transfer-Encoding")
    return None if codings else int(lengths[0]) if lengths else 0


@attrs.frozen
class Head:
    """A whole head; `length` as `body_length` gives it."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    length: int | None


class HeadReader:
    """
    Takes the bytes of one head as they come; each line is checked as soon as it is there, and all of them are counted.
    `rest` is what followed the head; it `is_fresh` until something came. One empty line may precede a head (RFC 9112
    section 2.2).
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._unread = b""
        self._skipped = False  # an empty line
        self.is_fresh = True
        self._first = (b"", b"", b"")
        self._headers = Headers()
        self.lines = 0
        self.rest = b""

    def take(self, data: bytes) -> Head | None:
        """The head, if `data` ends it. Raises the `InvalidRequest` that it is, where it is one."""
        data, self.is_fresh = self._unread + data, False
        if not self._skipped and not self.lines and data.startswith(CRLF):
            data, self._skipped = data[2:], True
        if self.lines and data.startswith(CRLF):  # the line before it is read already
            lines, ended, self.rest = [], True, data[2:]
        else:
            before, end, self.rest = data.partition(CRLF + CRLF)
            lines, ended = before.split(CRLF), bool(end)
        self._unread = b"" if ended else lines.pop()
        for line in lines:
            self._take_line(line)
        if self._unread:
            self._check_size(len(self._unread))
        return Head(*self._first, self._headers, body_length(self._first[2], self._headers)) if ended else None

    def _take_line(self, line: bytes) -> None:
        self._check_size(len(line) + 2)
        if self.lines:
            self._headers.addRawHeader(*header_line(line))
        else:
            self._first = request_line(line, self._limits.target_bytes)
        self._bytes += len(line) + 2
        self.lines += 1

    def _check_size(self, coming: int) -> None:
        if coming > LINE or self._bytes + coming > self._limits.head_bytes or self.lines > self._limits.headers:
            raise self._too_long()

    def _too_long(self) -> InvalidRequest:
        if self.lines == 0:
            return uri_too_long(self._limits.target_bytes)
        return HeadTooLarge(
            f"The head of this request is too large: at most {self._limits.headers} headers "
            f"and {self._limits.head_bytes} bytes are read.",
            advice="Send fewer or shorter headers; a token with many scopes may be the long one.",
        )


def uri_too_long(longest: int) -> UriTooLong:
    return UriTooLong(
        f"The URL of this request is longer than {longest} bytes.", advice="Shorten the path or the query."
    )
