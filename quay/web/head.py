"""
What the head of a request may look like. Whatever two parsers could read in two ways is refused, not repaired.

Source: RFC 9112 sections 2.2, 3, 5.2 and 6 (lines, request line, folding, framing), 11.2 (request smuggling);
RFC 9110 section 7.2 (Host); RFC 6585 section 5 (431).
"""

from __future__ import annotations

import re
from typing import Final

from twisted.web.http_headers import Headers

from quay.oci.errors import InvalidRequest
from quay.web.connections import Limits

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) (HTTP/[0-9]\.[0-9])")
_HEADER_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")


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


def check_request_line(line: bytes, longest: int) -> None:
    """Raises `UriTooLong`, `VersionUnsupported` or `HeadMalformed` unless `line` asks for a path of this server."""
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


def check_header_line(line: bytes) -> None:
    """Raises `HeadMalformed` unless `line` is one header, unfolded, and frames the body in the one plain way."""
    spelled = _HEADER_LINE.fullmatch(line)
    if spelled is None:
        raise HeadMalformed("a header is folded, has no name, or holds a control character")
    name, value = spelled[1].lower(), spelled[2].strip(b" \t")
    if not value.isascii() and not _is_utf8(value):
        raise HeadMalformed("a header is not UTF-8")
    if name == b"content-length" and _LENGTH.fullmatch(value) is None:
        raise HeadMalformed("its Content-Length is not a number of bytes")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        raise HeadMalformed("the only Transfer-Encoding taken here is chunked")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_framing(version: bytes, headers: Headers) -> None:
    """Raises `HeadMalformed` unless the head as a whole says one thing about its host, its sender and its end."""
    hosts = len(headers.getRawHeaders(b"Host", []))
    if hosts > 1 or (hosts == 0 and version == b"HTTP/1.1"):
        raise HeadMalformed("it must have exactly one Host header")
    if len(headers.getRawHeaders(b"Authorization", [])) > 1:
        raise HeadMalformed("it has more than one Authorization header")
    if version == b"HTTP/1.0" and headers.hasHeader(b"Transfer-Encoding"):
        raise HeadMalformed("HTTP/1.0 knows no Transfer-Encoding")


class HeadMeter:
    """The lines of one head on their way in, each checked and all of them counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self.lines = 0

    def take(self, line: bytes) -> None:
        """Raises the `InvalidRequest` that `line` is, where it is one. An empty line ends the head, or precedes it."""
        self._bytes += len(line) + 2
        if self.lines == 0 and not line:
            return
        if self.lines == 0:
            check_request_line(line, self._limits.target_bytes)
        elif line:
            check_header_line(line)
        self.lines += 1
        if self._bytes > self._limits.head_bytes or self.lines > self._limits.headers + 2:
            raise self.too_long()

    def too_long(self) -> InvalidRequest:
        """What to say to a line without an end."""
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
