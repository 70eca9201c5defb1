"""
What a client shows to prove who it is: an `Authorization: Basic` header, parsed into one type for each kind of secret.

The user name decides the kind, as in Quay: `$app`, `$oauthtoken` and `$token` announce a token of that kind,
`namespace+robot` a robot, anything else a person by user name or e-mail address. Source: RFC 7617.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import attrs

from quay.oci.errors import Unauthorized

HEADER_LIMIT: Final = 8192
"""Bytes of header value that are looked at: twice the longest password, in base64."""

USERNAME_LIMIT: Final = 255
SECRET_LIMIT: Final = 4096
"""Bytes of UTF-8."""

_BASIC = re.compile(rb"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/]+={0,2}) *")
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+) *")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@attrs.frozen
class Credentials:
    """A name and a secret; the secret never shows in a repr."""

    username: str
    secret: str = attrs.field(repr=False)


class UserPassword(Credentials):
    """A person: user name or e-mail address, and password."""


class RobotToken(Credentials):
    """A robot, `namespace+short`, and its token."""


class AppToken(Credentials):
    """An app-specific token: acts as the user who made it."""


class OAuthToken(Credentials):
    """An OAuth access token: acts as the user who granted it, within its scopes."""


class AccessToken(Credentials):
    """A token for one repository."""


class BearerToken(Credentials):
    """The token of a robot or an application, or an OAuth access token, shown without a name; see `bearer`."""


BY_NAME: Final[Mapping[str, type[Credentials]]] = {"$app": AppToken, "$oauthtoken": OAuthToken, "$token": AccessToken}


def parse_basic(value: bytes) -> Credentials:
    """The credentials in the header value `Basic <base64 of username:secret>`. Raises `Unauthorized`."""
    found = _BASIC.fullmatch(value) if len(value) <= HEADER_LIMIT else None
    if found is None:
        raise _unusable("it is not 'Basic' and up to 8 KiB of base64")
    username, colon, secret = _decode(found[1]).partition(":")
    if not colon:
        raise _unusable("there is no colon between user name and password")
    return of(username, secret)


def of(username: str, secret: str) -> Credentials:
    """The credentials that this pair is, by the form of the user name. Raises `Unauthorized`."""
    if not username or len(username) > USERNAME_LIMIT or _CONTROL.search(username):
        raise _unusable("the user name is empty, too long, or has control characters in it")
    if not secret:
        raise _unusable("the password is empty")
    if _SURROGATE.search(username + secret):
        raise _unusable("it has half a character in it (a lone surrogate)")
    if len(secret.encode()) > SECRET_LIMIT:
        raise _unusable(f"the password is longer than {SECRET_LIMIT} bytes")
    return _kind(username)(username, secret)


def bearer(value: bytes) -> BearerToken:
    """The credentials in the header value `Bearer <token>`. Raises `Unauthorized`. Source: RFC 6750."""
    found = _BEARER.fullmatch(value) if len(value) <= HEADER_LIMIT else None
    if found is None:
        raise _unusable("after 'Bearer' there is not one token and nothing else")
    return BearerToken("$bearer", found[1].decode("ascii"))


def _kind(username: str) -> type[Credentials]:
    if username.startswith("$"):
        kind = BY_NAME.get(username)
        if kind is None:
            raise _unusable(f"{username!r} is not a user name; the special ones are {', '.join(BY_NAME)}")
        return kind
    if "@" in username:  # before the robots: an e-mail address may have a plus sign
        return UserPassword
    return RobotToken if "+" in username else UserPassword


def _decode(encoded: bytes) -> str:
    try:
        raw = base64.b64decode(encoded, validate=True)
        text = raw.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise _unusable("it is not UTF-8 in base64") from None  # the cause would quote the secret
    if base64.b64encode(raw) != encoded:
        raise _unusable("its base64 has stray bits at the end")
    return text


def _unusable(why: str) -> Unauthorized:
    return Unauthorized(
        f"The Authorization header cannot be used: {why}.",
        advice="Log in with a user name and password, a robot account, or $app and an app-specific token.",
    )
