"""Sessions: from a cookie to a principal, and the tokens that keep other sites out."""

from __future__ import annotations

import re

import pytest

from quay.auth.principal import Principal
from quay.auth.sessions import SEEN_S, Login
from quay.model import namespace, removal
from quay.model import session as model
from quay.model.session import SECRET_LENGTH
from tests.unit.auth.house import LIFETIME_S, House


@pytest.fixture
def house(sqlite_url: str) -> House:
    return House(sqlite_url)


def test_a_cookie_is_somebody(house: House) -> None:
    """The secret of a session is its user, with the power that he has now."""
    session, secret = house.begin()
    assert house.find(secret) == Login(session, Principal("user", "ada", house.ada.id, superuser=True))
    assert len(secret) == SECRET_LENGTH


@pytest.mark.parametrize("secret", ["", "A" * SECRET_LENGTH, "A" * 10_000, "\xff\xfe", "\0", "' OR 1=1 --"])
def test_anything_else_is_nobody(house: House, secret: str) -> None:
    """Whatever is no secret of a session is nobody, however long and strange."""
    house.begin()
    assert house.find(secret) is None


def test_being_here_counts(house: House) -> None:
    """A session that is in use lasts; that it is, is written down once a minute at most."""
    _, secret = house.begin()
    for _ in range(5):
        house.clock.advance(LIFETIME_S - 1)
        assert house.find(secret) is not None
    house.clock.advance(SEEN_S - 1)
    before = house.find(secret)
    house.clock.advance(1)
    assert house.find(secret) == before
    house.clock.advance(LIFETIME_S)
    assert house.find(secret) is None


def test_disabled(house: House) -> None:
    """The cookie of a disabled user is nobody's, at once."""
    _, secret = house.begin()
    house.write(namespace.set_enabled, house.ada.id, False)
    assert house.find(secret) is None


def test_removed(house: House) -> None:
    """So is that of one who is gone."""
    _, secret = house.begin()
    house.write(removal.begin, house.ada.id)
    assert house.find(secret) is None


def test_ended(house: House) -> None:
    """And that of a session which was ended."""
    session, secret = house.begin()
    house.write(model.end, house.ada.id, session.uuid)
    assert house.find(secret) is None


def test_csrf_tokens(house: House) -> None:
    """A session has one CSRF token, which no other session has, nor the same one in another installation."""
    (first, secret), (second, _) = house.begin(), house.begin()
    token = house.sessions.csrf_token(first)
    assert re.fullmatch("[0-9a-f]{64}", token) and secret not in token
    assert house.sessions.is_csrf_token(first, token)
    assert house.sessions.csrf_token(first) == token
    assert not house.sessions.is_csrf_token(second, token)
    assert not house.other_installation.is_csrf_token(first, token)


@pytest.mark.parametrize("shown", ["", "0" * 64, "é", "\ud800", "x" * 100_000])
def test_no_csrf_tokens(house: House, shown: str) -> None:
    """Whatever else is shown is none, and does no harm."""
    session, _ = house.begin()
    assert not house.sessions.is_csrf_token(session, shown)
