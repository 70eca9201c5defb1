"""
Who is logged in in a browser: from the secret in a cookie to a principal, and back to nobody.

A change that a browser sends must come with the session's CSRF token, which other sites cannot read. It follows from
the session by a key of this installation, so that nothing has to be kept for it.
"""

from __future__ import annotations

import hmac

import attrs
from twisted.internet.interfaces import IReactorTime

from quay.auth import Portal
from quay.auth.principal import Principal
from quay.auth.seals import Seals
from quay.database import Database
from quay.model import session as sessions
from quay.model.session import Session
from quay.tasks import Tasks

SEEN_S = 60
"""How exactly it is known when a session was last in use."""


@attrs.frozen
class Login:
    """A session and who is logged in in it."""

    session: Session
    principal: Principal


class Sessions:
    """Sessions that end `lifetime_s` after they were last in use."""

    def __init__(
        self, database: Database, portal: Portal, seals: Seals, tasks: Tasks, clock: IReactorTime, lifetime_s: int
    ) -> None:
        self._database = database
        self._portal = portal
        self._key = seals.key("csrf")
        self._tasks = tasks
        self._now = clock.seconds
        self.lifetime_s = lifetime_s

    async def begin(self, user_id: int, *, ip: str, user_agent: str) -> tuple[Session, str]:
        """A new session of this user, and the secret for its cookie."""
        return await self._database.write(
            sessions.begin, user_id, ip=ip, user_agent=user_agent, lifetime_s=self.lifetime_s
        )

    async def find(self, secret: str) -> Login | None:
        """Who is logged in with this secret; None if it is not, or no longer, that of a session."""
        if not 0 < len(secret) <= sessions.SECRET_LENGTH:
            return None
        found = await self._database.read(sessions.find, secret)
        if found is None:
            return None
        if self._now() * 1000 - found.seen_ms > SEEN_S * 1000:
            self._tasks.spawn(self._seen(found))
        return Login(found, self._portal.logged_in(found.user))

    def csrf_token(self, session: Session) -> str:
        """What a change that comes with this session's cookie has to bring along."""
        return hmac.new(self._key, session.uuid.encode(), "sha256").hexdigest()

    def is_csrf_token(self, session: Session, shown: str) -> bool:
        """Whether `shown` is that."""
        return hmac.compare_digest(self.csrf_token(session).encode(), shown.encode("utf-8", "replace"))

    async def _seen(self, session: Session) -> None:
        await self._database.write(sessions.seen, session.id, lifetime_s=self.lifetime_s)
