"""Sessions: the browsers in which a user is signed in. Quay does not show them, so these addresses are ours."""

from __future__ import annotations

from typing import TypedDict

from quay.database import Transaction
from quay.model import session
from quay.model.session import Session
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import Routes
from quay.web.api.views import http_date

routes = Routes("session", "Where you are signed in.")


def session_id(call: Call) -> int | None:
    """The number of the session that the caller sits in, if he does."""
    return None if call.identity.session is None else call.identity.session.id


class SessionView(TypedDict):
    """A browser in which the user is signed in; `current` is this one."""

    uuid: str
    ip: str
    user_agent: str
    created: str
    last_seen: str
    expires: str
    current: bool


class SessionViews(TypedDict):
    sessions: list[SessionView]


@routes.get("/user/sessions", "listUserSessions", needs.account("user:admin"))
async def list_sessions(call: Call) -> SessionViews:
    """List the sessions of the current user, the last seen first, a hundred at most."""
    found = await call.read(session.of_user, call.user.id)
    return {"sessions": [_session_view(each, current=each.id == session_id(call)) for each in found]}


def _session_view(found: Session, *, current: bool) -> SessionView:
    return {
        "uuid": found.uuid,
        "ip": found.ip,
        "user_agent": found.user_agent,
        "created": http_date(found.created_ms),
        "last_seen": http_date(found.seen_ms),
        "expires": http_date(found.expires_ms),
        "current": current,
    }


@routes.delete("/user/sessions", "deleteUserSessions", needs.account("user:admin"))
async def end_sessions(call: Call) -> None:
    """End all sessions of the current user but this one."""

    def end(txn: Transaction) -> None:
        if session.end_all(txn, call.user.id, but=session_id(call)):
            _record(call, txn, "all others")

    await call.write(end)


@routes.delete("/user/sessions/<session_uuid>", "deleteUserSession", needs.account("user:admin"))
async def end_session(call: Call, session_uuid: str) -> None:
    """End a session of the current user."""

    def end(txn: Transaction) -> None:
        if not session.end(txn, call.user.id, session_uuid):
            raise NotFound("You have no session of this uuid.")
        _record(call, txn, session_uuid)

    await call.write(end)


def _record(call: Call, txn: Transaction, ended: str) -> None:
    call.record(txn, "logout_success", type="quayauth", username=call.user.name, session=ended)
