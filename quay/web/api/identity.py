"""
Who calls the API: by a bearer token, by name and password, or by the cookie of a session; else nobody in particular.

Credentials that are wrong are refused, also where nobody in particular would do. A change that comes with a cookie
needs the session's CSRF token, because browsers send cookies for whoever asks them to, and passwords that they have
been asked for; a token in an `Authorization` header no other site could have put there.
"""

from __future__ import annotations

import attrs

from quay.auth import Portal
from quay.auth.credentials import Credentials, bearer, parse_basic
from quay.auth.principal import ANONYMOUS, Principal
from quay.auth.sessions import Sessions
from quay.model.session import Session
from quay.oci.errors import Unauthorized
from quay.registry.caller import Caller
from quay.web.api.errors import ApiError, InvalidToken
from quay.web.request import RegistryRequest
from quay.web.respond import Addresses
from quay.web.signin import COOKIE


class CsrfRefused(ApiError):
    """A change that a browser may have been tricked into."""

    error_type, status = "insufficient_scope", 403


@attrs.frozen
class Identity:
    """Who calls, and in which session, if in one. `fresh`: he has just shown what proves it."""

    caller: Caller
    session: Session | None = None

    @property
    def principal(self) -> Principal:
        return self.caller.principal

    def is_fresh(self, now: float, timeout_s: float) -> bool:
        """Whether the password was shown in the last `timeout_s` seconds; other credentials come with each request."""
        return self.session is None or now * 1000 - self.session.fresh_ms <= timeout_s * 1000


class Identifier:
    """Finds out who calls."""

    def __init__(self, portal: Portal, sessions: Sessions, addresses: Addresses) -> None:
        self._portal = portal
        self._sessions = sessions
        self._addresses = addresses

    async def identify(self, request: RegistryRequest) -> Identity:
        """Who calls. Raises `Unauthorized` for credentials that are wrong, `TooManyRequests` after too many of them."""
        shown: bytes | None = request.getHeader(b"Authorization")
        if shown is not None:
            principal = await self._portal.authenticate(_parsed(shown), self._addresses.client_address(request))
            return Identity(self._caller(request, principal))
        cookie: bytes | None = request.getCookie(COOKIE)
        login = await self._sessions.find(cookie.decode("latin-1")) if cookie else None
        if login is None:
            return Identity(self._caller(request, ANONYMOUS))
        return Identity(self._caller(request, login.principal), login.session)

    def check_csrf(self, request: RegistryRequest, identity: Identity) -> None:
        """
        Raises `CsrfRefused` unless a request that changes something was meant by the one whose cookie, or whose
        password, it has: browsers send both for whoever asks them to.
        """
        if identity.session is None and identity.principal.kind == "user" and self._is_from_elsewhere(request):
            raise CsrfRefused("A page of another site cannot change anything here with a password.")
        if identity.session is not None and not self._sessions.is_csrf_token(identity.session, _csrf_token(request)):
            raise CsrfRefused("CSRF token was invalid or missing.")

    def _is_from_elsewhere(self, request: RegistryRequest) -> bool:
        origin: str | None = request.getHeader("Origin")
        return origin not in (None, self._addresses.external_url(request))

    def _caller(self, request: RegistryRequest, principal: Principal) -> Caller:
        agent: str = request.getHeader("User-Agent") or ""
        return Caller(principal, self._addresses.client_address(request), agent)


def _parsed(value: bytes) -> Credentials:
    scheme = value.partition(b" ")[0].lower()
    if scheme == b"bearer":
        return bearer(value)
    if scheme == b"basic":
        return parse_basic(value)
    raise Unauthorized("The Authorization header is neither Bearer nor Basic.", advice="Send one of these.")


def _csrf_token(request: RegistryRequest) -> str:
    shown: str | None = request.getHeader("X-CSRF-Token")
    return shown or request.args.get(b"_csrf_token", [b""])[0].decode("utf-8", "replace")


def required() -> InvalidToken:
    """What somebody is told who may not, as long as nobody knows who he is."""
    return InvalidToken("Requires authentication")
