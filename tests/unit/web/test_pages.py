"""Page tokens: good for the list that gave them out, for two days, and telling nothing."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from quay.auth.seals import Seals
from quay.web.api.errors import BadRequest
from quay.web.api.pages import LIFETIME_S, page, position, token


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.advance(1_700_000_000)
    return made


@pytest.fixture
def seals(clock: Clock) -> Seals:
    return Seals(b"s" * 32, clock.seconds)


positions = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(where=positions)
def test_a_position_comes_back(where: object) -> None:
    """A list gets back what it gave out."""
    seals = Seals(b"s" * 32, lambda: 1_700_000_000)
    assert position(seals, token(seals, "listRepos public", where), "listRepos public") == where


def test_the_first_page(seals: Seals) -> None:
    """Without a token, or with an empty one, a list begins at its beginning."""
    assert position(seals, None, "listRepos") is None
    assert position(seals, "", "listRepos") is None


def refused(seals: Seals, shown: str, about: str) -> None:
    with pytest.raises(BadRequest, match="begin at the first page"):
        position(seals, shown, about)


def test_another_list(seals: Seals) -> None:
    """A token of one list, or of the same list filtered otherwise, is refused by another."""
    made = token(seals, "listUserLogs devtable", 5)
    refused(seals, made, "listUserLogs public")
    refused(seals, made, "listOrgLogs devtable")


def test_expiry(seals: Seals, clock: Clock) -> None:
    """A token is good for two days."""
    made = token(seals, "listRepos", 5)
    clock.advance(LIFETIME_S)
    assert position(seals, made, "listRepos") == 5
    clock.advance(2)
    refused(seals, made, "listRepos")


def test_tampering(seals: Seals) -> None:
    """A token with any one bit of any byte changed is refused."""
    made = base64.urlsafe_b64decode(token(seals, "listRepos", 5))
    for index in range(len(made)):
        changed = bytearray(made)
        changed[index] ^= 1 << index % 8
        with pytest.raises(BadRequest):
            position(seals, base64.urlsafe_b64encode(changed).decode(), "listRepos")


@pytest.mark.parametrize("shown", ["x", "=", "%", "é", "\ud800", "A" * 100_000, "[]", "null"])
def test_rubbish(seals: Seals, shown: str) -> None:
    """What was never given out is refused."""
    refused(seals, shown, "listRepos")


def test_what_else_is_sealed(seals: Seals) -> None:
    """What was sealed for another purpose, or is no position, is no page."""
    refused(seals, seals.seal("sessions", json.dumps(["listRepos", 5]).encode()), "listRepos")


def test_it_says_nothing(seals: Seals) -> None:
    """Whoever gets a token learns nothing from it about where it leads."""
    assert "secretname" not in token(seals, "listRepos", "secretname")


def test_pages(seals: Seals) -> None:
    """A list that has more than a page gives a token that leads to the rest; one that has not gives none."""
    found = ["a", "b", "c"]
    kept, more = page(seals, "listRepos", found, 2, str)
    assert kept == ["a", "b"]
    assert position(seals, more["next_page"], "listRepos") == "b"
    assert page(seals, "listRepos", found, 3, str) == (found, {})
