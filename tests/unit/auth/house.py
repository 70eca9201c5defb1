"""A small house for tests of who is asking: a database, a portal, sessions, and one user."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from quay.auth import Portal
from quay.auth.internal import LocalUsers
from quay.auth.passwords import Passwords
from quay.auth.seals import Seals
from quay.auth.sessions import Login, Sessions
from quay.database import Database
from quay.database.engines import open_engine
from quay.model import namespace
from quay.model.namespace import Namespace
from quay.model.session import Session
from quay.tasks import Tasks
from quay.threads import ImmediatePool

NOW = 1_800_000_000
LIFETIME_S = 3600
T = TypeVar("T")


def result(awaitable: Awaitable[T]) -> T:
    """What comes of something that needs no waiting; what it raises is raised."""

    async def wait() -> T:
        return await awaitable

    outcome: list[Any] = []
    Deferred.fromCoroutine(wait()).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]  # type: ignore[no-any-return]


class House:
    """Sessions over a database of their own, with the user ada."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.database = Database(self.clock, open_engine(url), ImmediatePool(), ImmediatePool())
        portal = Portal(
            self.database,
            LocalUsers(self.database, Passwords(ImmediatePool())),
            self.clock,
            superusers=["ada"],
        )
        self.sessions = self.made(portal, b"secret")
        self.other_installation = self.made(portal, b"another secret")
        self.ada: Namespace = self.write(namespace.create_user, "ada", time_machine_s=0)

    def made(self, portal: Portal, secret: bytes) -> Sessions:
        seals = Seals(secret, self.clock.seconds)
        return Sessions(self.database, portal, seals, Tasks(), self.clock, LIFETIME_S)

    def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return result(self.database.write(work, *args, **kwargs))

    def begin(self) -> tuple[Session, str]:
        return result(self.sessions.begin(self.ada.id, ip="192.0.2.1", user_agent="Browser/1"))

    def find(self, secret: str) -> Login | None:
        return result(self.sessions.find(secret))
