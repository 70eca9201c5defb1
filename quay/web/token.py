"""
The token service, `/v2/auth`: credentials in, a token for the asked scopes out; and the public keys of our tokens.

What a caller may not do is left out of the token, without an error. A scope this service knows nothing of, such as
`registry:catalog:*`, is tolerated. Source: Docker Registry v2 authentication, "Token Authentication Specification" and
"OAuth2 Token Authentication"; Quay, `/v2/auth` and `/keys/services`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

import attrs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.auth import Portal, credentials
from quay.auth.keyring import Keyring
from quay.auth.principal import ANONYMOUS, Principal
from quay.auth.principal import Access as Grants
from quay.oci.errors import InvalidRequest, NameUnknown, Unauthorized, Unsupported
from quay.oci.reference import RepositoryName
from quay.registry.access import Access, Granted
from quay.registry.caller import Caller
from quay.registry.policy import Policy
from quay.web.request import RegistryRequest
from quay.web.respond import Addresses, run_handler, send_json

FORM_LIMIT: Final = 64 * 1024
SCOPE_LIMIT: Final = 100
LIFETIME_S: Final = 3600
"""How long a token is good, unless the configuration wants less."""

NOBODY: Final = Unauthorized(
    "Nobody is logged in, and no repository is asked for.",
    advice="Log in first, or ask for the scope of a public repository.",
)

_SCOPE = re.compile(r"(?P<type>[a-z0-9]+)(?:\([a-z0-9]+\))?:(?P<name>[^,\s]+):(?P<actions>[a-z,*]*)")


@attrs.frozen
class Scope:
    """One `repository:<name>:<actions>`; `spelled` is the name as the client will use it in the path."""

    spelled: str
    name: RepositoryName
    actions: frozenset[str]


@attrs.frozen
class Asked:
    """A request for a token, whether it came as a query or as a form."""

    scopes: tuple[str, ...]
    service: str | None
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)


class TokenService(Resource):
    """
    Answers `GET` (with Basic credentials, or none) and `POST` (the OAuth2 form). `service` is our audience; tokens are
    good for `lifetime_s` seconds.
    """

    isLeaf = True

    def __init__(
        self,
        portal: Portal,
        keyring: Keyring,
        access: Access,
        policy: Policy,
        addresses: Addresses,
        service: str,
        lifetime_s: int = LIFETIME_S,
    ) -> None:
        super().__init__()
        self._portal = portal
        self._keyring = keyring
        self._access = access
        self._policy = policy
        self._addresses = addresses
        self._service = service
        self._lifetime_s = lifetime_s

    def render(self, request: RegistryRequest) -> int:
        request.setHeader("Docker-Distribution-API-Version", "registry/2.0")
        run_handler(request, self._handle(request))
        return NOT_DONE_YET

    async def _handle(self, request: RegistryRequest) -> None:
        if request.method == b"GET":
            asked = _from_query(request)
        elif request.method == b"POST":
            asked = _from_form(await request.body.read(FORM_LIMIT))
        else:
            raise Unsupported(
                "Tokens are given for GET and POST.", advice="Use one of them.", headers={"Allow": "GET, POST"}
            )
        if asked.service not in (None, "", self._service):
            raise InvalidRequest(
                f"This token service gives tokens for {self._service}, not for {asked.service!r}.",
                advice="Take the service from the WWW-Authenticate header of the registry.",
            )
        await self._answer(request, asked)

    async def _answer(self, request: RegistryRequest, asked: Asked) -> None:
        scopes = self._scopes(request, asked.scopes)
        principal = await self._principal(request, asked)
        if principal is ANONYMOUS and not asked.scopes:
            raise _challenged(NOBODY)
        agent: str = request.getHeader("User-Agent") or ""
        caller = Caller(principal, self._addresses.client_address(request), agent)
        grants = {scope.spelled: await self._access.grant_on(caller, scope.name, scope.actions) for scope in scopes}
        token = await self._keyring.mint(principal, self._service, _granted(grants), self._lifetime_s)
        request.setHeader("Cache-Control", "no-cache, no-store")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        send_json(
            request,
            200,
            {"token": token, "access_token": token, "expires_in": self._lifetime_s, "issued_at": now}
            | ({"scope": " ".join(asked.scopes)} if request.method == b"POST" else {}),
        )

    async def _principal(self, request: RegistryRequest, asked: Asked) -> Principal:
        try:
            return await self._authenticated(request, asked)
        except Unauthorized as refused:
            raise _challenged(refused) from refused

    async def _authenticated(self, request: RegistryRequest, asked: Asked) -> Principal:
        address = self._addresses.client_address(request)
        header = request.requestHeaders.getRawHeaders(b"Authorization")
        if asked.username is not None:
            return await self._portal.authenticate(credentials.of(asked.username, asked.password or ""), address)
        if header:
            return await self._portal.authenticate(credentials.parse_basic(header[0]), address)
        return ANONYMOUS

    def _scopes(self, request: RegistryRequest, texts: Iterable[str]) -> list[Scope]:
        """What is asked for, each repository once."""
        hosts = {self._service, request.getHeader("Host") or self._service}
        actions: dict[tuple[str, RepositoryName], frozenset[str]] = {}
        for scope in filter(None, [self._scope(text, hosts) for text in texts]):
            key = scope.spelled, scope.name
            actions[key] = actions.get(key, frozenset()) | scope.actions
        return [Scope(spelled, name, wanted) for (spelled, name), wanted in actions.items()]

    def _scope(self, text: str, hosts: Iterable[str]) -> Scope | None:
        found = _SCOPE.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"{text[:160]!r} is not a scope.", advice="A scope reads repository:<name>:<action>[,<action>…]."
            )
        if found["type"] != "repository":
            return None
        spelled = found["name"]
        for host in hosts:
            spelled = spelled.removeprefix(host + "/")
        name = RepositoryName.parse(spelled, self._policy.library_namespace)
        return Scope(spelled, name, frozenset(found["actions"].split(",")))


def _granted(grants: Mapping[str, Granted]) -> Grants:
    """What a token says of these. Who may do nothing is not told that there is such a repository."""
    named = {spelled: one.repository_id for spelled, one in grants.items() if one.actions}
    return Grants(
        {spelled: one.actions for spelled, one in grants.items()},
        {spelled: number for spelled, number in named.items() if number is not None},
    )


def _from_query(request: RegistryRequest) -> Asked:
    try:
        texts = [value.decode() for value in request.args.get(b"scope", [])]
        service = request.args.get(b"service", [b""])[0].decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not text.", advice="Send it as percent-encoded UTF-8.") from None
    return Asked(_split(texts), service or None)


def _from_form(body: bytes) -> Asked:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=SCOPE_LIMIT + 20)
    except ValueError:
        raise InvalidRequest("The form is not text, or has too many fields.", advice="Send fewer scopes.") from None
    form: Mapping[str, str] = dict(pairs)
    if form.get("grant_type") != "password" or not form.get("username"):
        # Clients that are told so go on with GET and Basic credentials.
        raise Unsupported(
            f"The grant type {form.get('grant_type', '')[:40]!r} is not supported here.",
            advice="Use grant_type=password with username and password, or GET with Basic credentials.",
        )
    scopes = _split([value for key, value in pairs if key == "scope"])
    return Asked(scopes, form.get("service"), form["username"], form.get("password", ""))


def _split(texts: Iterable[str]) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(scope for text in texts for scope in text.split()))
    if len(scopes) > SCOPE_LIMIT:
        raise InvalidRequest(
            f"One token is asked for {len(scopes)} scopes; the limit is {SCOPE_LIMIT}.", advice="Ask for several."
        )
    return scopes


def _challenged(refused: Unauthorized) -> Unauthorized:
    return Unauthorized(
        refused.message, advice=refused.advice, headers={"WWW-Authenticate": 'Basic realm="Quay"'}, **refused.facts
    )


class ServiceKeys(Resource):
    """`/keys/services/<service>/keys`: the public keys that verify our tokens, as a JWK set or one by its `kid`."""

    isLeaf = True

    def __init__(self, keyring: Keyring, issuer: str) -> None:
        super().__init__()
        self._keyring = keyring
        self._prefix = f"/keys/services/{issuer}/keys"

    def render(self, request: RegistryRequest) -> int:
        run_handler(request, self._handle(request))
        return NOT_DONE_YET

    async def _handle(self, request: RegistryRequest) -> None:
        if request.method not in (b"GET", b"HEAD"):
            raise Unsupported("Service keys are for reading only.", advice="Use GET.", headers={"Allow": "GET, HEAD"})
        path, jwks = request.path.decode("latin-1"), self._keyring.jwks()
        found: object = jwks if path == self._prefix else None
        for key in jwks["keys"]:
            if path == f"{self._prefix}/{key['kid']}":
                found = key
        if found is None:
            raise NameUnknown("There is no such service key.", advice=f"The valid ones are listed at {self._prefix}.")
        request.setHeader("Cache-Control", "max-age=60")
        send_json(request, 200, found)
