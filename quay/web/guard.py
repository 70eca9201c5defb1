"""
From a request to who asks and what he may do; and the challenge that says how to ask again.

A bearer token carries its rights; for a name and password they stand in the database. On `/v2/` a missing right is 401,
never 403, so that a client asks for another token. Source: RFC 6750; RFC 7617; Docker Registry v2 token authentication.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from quay.auth import Portal
from quay.auth.credentials import parse_basic
from quay.auth.keyring import Keyring
from quay.auth.principal import NO_ACCESS, Access, Principal, permits
from quay.model.repository import Repository
from quay.oci.errors import NameInvalid, RegistryError, Unauthorized
from quay.oci.reference import RepositoryName
from quay.registry.access import Access as Permissions
from quay.registry.caller import Caller
from quay.web.request import RegistryRequest
from quay.web.respond import Addresses


@attrs.frozen
class Rights:
    """What came with the credentials: the grants of a token, or `token` None where the database is asked."""

    token: Access | None = NO_ACCESS

    def allow(self, spelled: str, name: RepositoryName, action: str) -> bool:
        """Whether the token grants `action`; it may spell the repository as the path does, or in full."""
        if self.token is None:
            return False
        return self.token.allows(spelled, action) or self.token.allows(str(name), action)

    def allow_on(self, repository: Repository, spelled: str, action: str) -> bool:
        """
        As `allow`, on the repository that has the name now: a token is nothing to one that got the name of another
        after the token was made.
        """
        if self.token is None:
            return False
        named, number = str(repository.name), repository.id
        return self.token.allows_on(number, spelled, action) or self.token.allows_on(number, named, action)

    def reach(self) -> Collection[str] | None:
        """The repositories that a token confines its bearer to for pulling; None if it is not a token."""
        if self.token is None:
            return None
        return [name for name, granted in self.token.grants.items() if permits(granted, "pull")]


class Guard:
    """Admits requests to the distribution API. `service` is the audience of our tokens."""

    def __init__(
        self, portal: Portal, keyring: Keyring, permissions: Permissions, addresses: Addresses, service: str
    ) -> None:
        self._portal = portal
        self._keyring = keyring
        self._permissions = permissions
        self._addresses = addresses
        self.service = service

    def external(self, request: RegistryRequest, path: str) -> str:
        """The URL under which the client reaches `path`."""
        return self._addresses.external_url(request) + path

    def known_caller(self, request: RegistryRequest) -> tuple[Caller, Rights] | None:
        """Who asks, if a token says so that has been verified before; no waiting."""
        value: bytes = request.getHeader(b"Authorization") or b""
        agent: str = request.getHeader("User-Agent") or ""
        return self.bearer(value, self._addresses.client_address(request), agent)

    def bearer(self, authorization: bytes, ip: str, agent: str) -> tuple[Caller, Rights] | None:
        """As `known_caller`, from what it takes: the value of `Authorization`, and whom it came from."""
        if not authorization.startswith(b"Bearer "):
            return None
        claims = self._keyring.verified(authorization[7:].decode("latin-1"), self.service)
        return None if claims is None else (Caller(claims.principal, ip, agent), Rights(claims.access))

    async def identify(self, request: RegistryRequest) -> Caller:
        """Who asks. Raises `Unauthorized` with a challenge, also for nobody."""
        try:
            caller, _ = await self._authenticated(request)
        except Unauthorized as refused:
            raise self._challenged(request, refused, None) from refused
        return caller

    async def admit(
        self, request: RegistryRequest, spelled: str, name: RepositoryName, action: str
    ) -> tuple[Caller, Rights]:
        """Who asks, if he may do `action` to the repository. Raises `Unauthorized` with a challenge."""
        try:
            caller, rights = await self._authenticated(request)
        except Unauthorized as refused:
            raise self._refused(request, refused, spelled, action) from refused
        if rights.token is None:
            allowed = permits(await self._permissions.grant(caller, name, {action, "pull"}), action)
        else:
            allowed = rights.allow(spelled, name, action)
        if not allowed:
            raise self._refused(request, _insufficient(caller, name, action), spelled, action)
        return caller, rights

    def confirm(
        self,
        request: RegistryRequest,
        caller: Caller,
        rights: Rights,
        spelled: str,
        repository: Repository,
        action: str,
    ) -> None:
        """
        Raises `Unauthorized` with a challenge if a token was made for another repository of this name, or when this one
        was in a state that left more to whoever has it.
        """
        if rights.token is None:
            return
        left = self._permissions.state_allows(caller.principal, repository)
        if not (rights.allow_on(repository, spelled, action) and left(action)):
            refused = _insufficient(caller, repository.name, action)
            raise self._refused(request, refused, spelled, action)

    async def may_mount(
        self, request: RegistryRequest, caller: Caller, rights: Rights, target: str, spelled: str, source: Repository
    ) -> bool:
        """
        Whether the caller may pull from the repository `source`, as a push to `target` would. Raises `Unauthorized`
        with a challenge where he may and his token does not say so: the next one spares him an upload.
        """
        if rights.allow_on(source, spelled, "pull"):
            return True
        name = source.name
        try:
            allowed = "pull" in await self._permissions.grant(caller, name, {"pull"})
        except RegistryError:  # disabled, or no images there: nothing to pull
            return False
        if allowed and rights.token is not None:
            scope = f"{_scope(target, 'push')} {_scope(spelled, 'pull')}"
            raise self._challenged(request, _insufficient(caller, name, "pull"), scope)
        return allowed

    async def _authenticated(self, request: RegistryRequest) -> tuple[Caller, Rights]:
        known = self.known_caller(request)
        if known is not None:
            return known
        value: bytes | None = request.getHeader(b"Authorization")
        if value is None:
            raise Unauthorized("Authentication is required.", advice="Log in first, for example with docker login.")
        if value[:7].lower() == b"bearer ":
            claims = await self._keyring.verify(value[7:].strip().decode("latin-1"), self.service)
            return self._caller(request, claims.principal), Rights(claims.access)
        principal = await self._portal.authenticate(parse_basic(value), self._addresses.client_address(request))
        return self._caller(request, principal), Rights(None)

    def _caller(self, request: RegistryRequest, principal: Principal) -> Caller:
        agent: str = request.getHeader("User-Agent") or ""
        return Caller(principal, self._addresses.client_address(request), agent)

    def _refused(self, request: RegistryRequest, refused: Unauthorized, spelled: str, action: str) -> Unauthorized:
        return self._challenged(request, refused, _scope(spelled, action) + _mount_scope(request))

    def _challenged(self, request: RegistryRequest, refused: Unauthorized, scope: str | None) -> Unauthorized:
        realm = self.external(request, "/v2/auth")
        challenge = f'Bearer realm="{realm}",service="{self.service}"'
        if scope is not None:
            challenge += f',scope="{scope}"'
        error = refused.facts.get("error")
        if error is not None:
            challenge += f',error="{error}"'
        return Unauthorized(
            refused.message, advice=refused.advice, headers={"WWW-Authenticate": challenge}, **refused.facts
        )


def _scope(spelled: str, action: str) -> str:
    return f"repository:{spelled}:{'pull' if action == 'pull' else 'pull,push'}"


def _mount_scope(request: RegistryRequest) -> str:
    """For a mount, the repository that it comes from: a client asks for one token, and hardly for another."""
    origin = request.args.get(b"from", [b""])[0].decode("latin-1") if b"mount" in request.args else ""
    try:
        RepositoryName.parse(origin)
    except NameInvalid:
        return ""
    return f" {_scope(origin, 'pull')}"


def _insufficient(caller: Caller, name: RepositoryName, action: str) -> Unauthorized:
    who = "an anonymous client" if caller.principal.kind == "anonymous" else caller.principal.name
    return Unauthorized(
        f"{who} may not {action} {name}, or there is no such repository.",
        advice="Log in as somebody who may, or ask an administrator of the repository for the permission.",
        error="insufficient_scope",
        repository=name,
        action=action,
    )
