"""
Signing in and out: from a name, a password and perhaps a code to a session, which is a cookie.

A session begins with a new secret, whatever cookie the browser brought along, and its end is the end of its row. What
was right and what was wrong is on record, the password never is. Source: OWASP Session Management; RFC 6265bis.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from quay.auth import Portal
from quay.auth.credentials import USERNAME_LIMIT, UserPassword, of
from quay.auth.sessions import Sessions
from quay.auth.throttle import Throttle, neighbourhood
from quay.auth.totp import SecondFactors
from quay.database import Database, Transaction
from quay.model import audit, namespace
from quay.model import session as sessions
from quay.model.namespace import Namespace
from quay.model.session import Session
from quay.oci.errors import Unauthorized
from quay.web.addresses import Addresses
from quay.web.request import RegistryRequest

COOKIE: Final = b"session"
NEXT_CSRF_TOKEN: Final = b"X-Next-CSRF-Token"
AGENT_LIMIT: Final = 512


class SecondFactorNeeded(Unauthorized):
    """The password was right, and it takes a code as well."""

    def __init__(self) -> None:
        super().__init__(
            "This account has a second factor.", advice="Send a code of your code generator, or a recovery code, too."
        )


class SignIn:
    """Lets people into sessions, and out of them."""

    def __init__(
        self,
        database: Database,
        portal: Portal,
        second_factors: SecondFactors,
        sessions: Sessions,
        addresses: Addresses,
        clock: IReactorTime,
    ) -> None:
        self._database = database
        self._arrivals = Throttle(clock.seconds, burst=20, per_minute=2, what="new accounts from this address")
        self._portal = portal
        self._second_factors = second_factors
        self._sessions = sessions
        self._addresses = addresses

    def take_turn(self, request: RegistryRequest) -> None:
        """For who makes an account. Raises `TooManyRequests` after too many from one address."""
        self._arrivals.spend(neighbourhood(self._addresses.client_address(request)))

    async def prove(self, request: RegistryRequest, username: str, password: str, totp: str | None) -> Namespace:
        """
        The user with this name and password, and with this code if he has a second factor. Raises `Unauthorized`,
        `SecondFactorNeeded`, `TooManyRequests`.
        """
        try:
            return await self._proven(username, password, totp, self._addresses.client_address(request))
        except SecondFactorNeeded:
            raise
        except Unauthorized as refused:
            await self._database.write(self._record_failure, request, username[:USERNAME_LIMIT], refused.message)
            raise

    async def _proven(self, username: str, password: str, totp: str | None, address: str) -> Namespace:
        shown = of(username, password)
        if not isinstance(shown, UserPassword):
            raise Unauthorized(
                f"{shown.username} is not a person.", advice="Robots and tokens are for docker and scripts."
            )
        person = await self._portal.verify(shown, address)
        if person.second_factor:
            if totp is None:
                raise SecondFactorNeeded()
            await self._second_factors.verify(person.user.id, totp)
        return person.user

    async def enter(self, request: RegistryRequest, user: Namespace, before: Session | None = None) -> None:
        """Begin a session of this user, whose cookie goes out with the answer; the one `before` ends."""
        session, secret = await self._database.write(self._begin, request, user, before)
        secure = self._addresses.external_url(request).startswith("https:")
        request.addCookie(
            COOKIE,
            secret,
            max_age=str(self._sessions.lifetime_s),
            path="/",
            secure=secure,
            httpOnly=True,
            sameSite="lax",
        )
        request.setHeader(NEXT_CSRF_TOKEN, self._sessions.csrf_token(session))

    async def leave(self, request: RegistryRequest, session: Session) -> None:
        """End this session."""
        await self._database.write(self._end, request, session)
        request.addCookie(COOKIE, "", max_age="0", path="/", httpOnly=True, sameSite="lax")

    # --- units of work

    def _begin(
        self, txn: Transaction, request: RegistryRequest, user: Namespace, before: Session | None
    ) -> tuple[Session, str]:
        if before is not None:
            sessions.end(txn, before.user.id, before.uuid)
        self._record(txn, request, "login_success", user, user)
        return sessions.begin(
            txn,
            user.id,
            ip=self._addresses.client_address(request),
            user_agent=_agent(request),
            lifetime_s=self._sessions.lifetime_s,
        )

    def _end(self, txn: Transaction, request: RegistryRequest, session: Session) -> None:
        if sessions.end(txn, session.user.id, session.uuid):
            self._record(txn, request, "logout_success", session.user, session.user)

    def _record_failure(self, txn: Transaction, request: RegistryRequest, username: str, why: str) -> None:
        find = namespace.find_by_email if "@" in username else namespace.find
        self._record(txn, request, "login_failure", find(txn, username), None, username=username, message=why)

    def _record(
        self,
        txn: Transaction,
        request: RegistryRequest,
        kind: str,
        account: Namespace | None,
        performer: Namespace | None,
        **details: str,
    ) -> None:
        entry = audit.Entry(
            kind=kind,
            namespace_id=None if account is None else account.id,
            performer_id=None if performer is None else performer.id,
            performer="" if performer is None else performer.name,
            ip=self._addresses.client_address(request),
            details={"type": "quayauth", "useragent": _agent(request), **details},
        )
        audit.append(txn, [entry])


def _agent(request: RegistryRequest) -> str:
    agent: str = request.getHeader("User-Agent") or ""
    return agent[:AGENT_LIMIT]
