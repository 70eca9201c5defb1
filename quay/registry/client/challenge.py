"""
What another registry asks for before it answers, and what we have to show: pure.

Source: RFC 9110 section 11 (challenges), RFC 7617 (Basic); Docker Registry v2 token authentication, "How to
authenticate" and "Requesting a token".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

TOKEN_LIMIT: Final = 32 * 1024
SHORTEST_S: Final = 60
"""How long a token is good that does not say so; the specification has it so."""
LONGEST_S: Final = 24 * 3600

_SCHEME = re.compile(r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s+|$)")
_PARAMETER = re.compile(r"\s*,?\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")
_SEPARATOR = re.compile(r"\s*,\s*")


@attrs.frozen
class Credentials:
    """A name and a password or token, as `docker login` takes them."""

    username: str
    password: str = attrs.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of `Authorization`."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


@attrs.frozen
class Challenge:
    """One way to authenticate: `scheme` in lower case, and its parameters, their names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@attrs.frozen
class Token:
    """A bearer token, good until `expires` (seconds since the epoch)."""

    value: str = attrs.field(repr=False)
    expires: float


def challenges(header: str) -> list[Challenge]:
    """What a `WWW-Authenticate` header offers, as far as it can be read."""
    return list(_challenges(header[:8192]))


def _challenges(header: str) -> Iterator[Challenge]:
    at = 0
    while (scheme := _SCHEME.match(header, at)) is not None:
        at = scheme.end()
        parameters: dict[str, str] = {}
        while (found := _PARAMETER.match(header, at)) is not None:
            quoted, plain = found[2], found[3]
            parameters[found[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            at = found.end()
        yield Challenge(scheme[1].lower(), parameters)
        separator = _SEPARATOR.match(header, at)
        at = at if separator is None else separator.end()


def read_token(body: bytes, now: float) -> Token | None:
    """The token in the answer of a token server; None if there is none that fits into a header."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    value = found.get("token") or found.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > TOKEN_LIMIT:
        return None
    told = found.get("expires_in")
    lasts = told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else SHORTEST_S
    return Token(value, now + min(lasts, LONGEST_S))
