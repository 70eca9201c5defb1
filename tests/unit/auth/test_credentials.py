"""`Authorization: Basic`, parsed strictly."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.auth.credentials import (
    SECRET_LIMIT,
    AccessToken,
    AppToken,
    Credentials,
    OAuthToken,
    RobotToken,
    UserPassword,
    of,
    parse_basic,
)
from quay.oci.errors import Unauthorized


def basic(text: str | bytes) -> bytes:
    return b"Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("username", "kind"),
    [
        ("devtable", UserPassword),
        ("devtable@example.org", UserPassword),
        ("dev+news@example.org", UserPassword),
        ("devtable+bot", RobotToken),
        ("$app", AppToken),
        ("$oauthtoken", OAuthToken),
        ("$token", AccessToken),
    ],
)
def test_the_user_name_says_what_the_secret_is(username: str, kind: type[Credentials]) -> None:
    """The form of the user name decides the type of the credentials."""
    shown = parse_basic(basic(f"{username}:secret"))
    assert type(shown) is kind
    assert (shown.username, shown.secret) == (username, "secret")


@pytest.mark.parametrize("secret", [":", "a:b:", "pa\0ss", " ", "pässwörd", "𝒳", "x" * SECRET_LIMIT])
def test_a_password_may_hold_anything(secret: str) -> None:
    """Colons, NUL, blanks and every letter of Unicode reach the check as they were typed."""
    assert parse_basic(basic(f"devtable:{secret}")).secret == secret


def test_the_scheme_is_case_insensitive() -> None:
    """RFC 7617: the scheme may be written in any case."""
    assert parse_basic(b"bAsIc  ZGV2dGFibGU6cGFzcw== ").username == "devtable"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Bearer ZGV2dGFibGU6cGFzcw==",
        b"Basic ZGV2dGFibGU6cGFzcw",  # no padding
        b"Basic ZGV2dGFibGU6cGFzcx==",  # stray bits
        b"Basic ZGV2dGFi bGU6cGFzcw==",
        b"Basic ZGV2dGFibGU6cGFzcw==\n",
        b"Basic ZGV2dGFibGU6-GFzcw==",  # the alphabet of URLs
        basic("devtable"),  # no colon
        basic("devtable:"),
        basic(":password"),
        basic(":"),
        basic("dev\0table:password"),
        basic("dev\ntable:password"),
        basic("$unknown:password"),
        basic("$:password"),
        basic(b"devtable:\xff\xfe"),
        basic(b"devtable:\xed\xa0\x80"),  # a surrogate in UTF-8
        basic("u" * 256 + ":password"),
        basic("devtable:" + "x" * (SECRET_LIMIT + 1)),
        b"Basic " + b"A" * 100_000,
    ],
)
def test_everything_else_is_unauthorized(value: bytes) -> None:
    """A header that is not exactly right is refused with a sentence that does not repeat it."""
    with pytest.raises(Unauthorized) as refused:
        parse_basic(value)
    assert "Authorization" in refused.value.message
    shown = value[6:].decode("latin-1")
    assert not shown.strip() or shown not in refused.value.message


@given(st.binary(max_size=200))
def test_no_header_breaks_the_parser(value: bytes) -> None:
    """Whatever the bytes are, the outcome is credentials or Unauthorized."""
    for header in (value, b"Basic " + value, basic(value)):
        try:
            assert parse_basic(header).secret
        except Unauthorized:
            continue


@given(st.text(min_size=1, max_size=50).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_every_password_round_trips(secret: str) -> None:
    """What a client encodes is what is checked."""
    assert parse_basic(basic(f"devtable:{secret}")).secret == secret


def test_a_lone_surrogate_is_refused() -> None:
    """JSON can spell half a character; credentials cannot hold one."""
    with pytest.raises(Unauthorized):
        of("devtable", "\ud800")


def test_the_secret_never_shows() -> None:
    """Neither the repr nor the text of credentials holds the secret."""
    shown = of("devtable", "hunter2")
    assert "hunter2" not in repr(shown) + str(shown)
    assert "devtable" in repr(shown)
