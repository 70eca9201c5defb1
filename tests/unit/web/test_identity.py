"""Who calls, and whether he has just shown what proves it."""

from __future__ import annotations

import pytest

from quay.auth.principal import Principal
from quay.model.namespace import Namespace
from quay.model.session import Session
from quay.registry.caller import Caller
from quay.web.api.identity import Identity

NOW = 1_800_000_000
FRESH_S = 600

USER = Namespace(1, "uuid", "ada", "user", None, True, False, None, 0)
CALLER = Caller(Principal("user", "ada", 1), "192.0.2.1", "")


def session(fresh: float) -> Session:
    """A session whose user showed his password at this time."""
    at = int(fresh * 1000)
    return Session(1, "uuid", USER, "", "", created_ms=0, seen_ms=NOW * 1000, fresh_ms=at, expires_ms=NOW * 2000)


@pytest.mark.parametrize(("ago", "fresh"), [(0, True), (FRESH_S, True), (FRESH_S + 1, False), (-5, True)])
def test_fresh(ago: int, fresh: bool) -> None:
    """A session is fresh while the password was shown within the timeout, to its last second."""
    assert Identity(CALLER, session(NOW - ago)).is_fresh(NOW, FRESH_S) is fresh


def test_without_a_session() -> None:
    """Who shows his credentials with each request is always fresh."""
    assert Identity(CALLER).is_fresh(NOW, 0)


def test_principal() -> None:
    """The principal is the caller's."""
    assert Identity(CALLER).principal.name == "ada"
