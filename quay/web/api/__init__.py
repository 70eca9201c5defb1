"""
The REST API: `/api/v1`, one module for each noun.

A request is identified, then admitted by the need of its route, then checked, then handled: whoever may not is told so
before anybody looks at what he sent. Klein finds the route. Source: Quay's API, whose addresses, nicknames, members,
statuses and errors are the contract.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, ValidationError

from quay.config import Config
from quay.oci.errors import InvalidRequest, NameInvalid, RegistryError
from quay.oci.reference import RepositoryName
from quay.web.api import (
    application,
    apptoken,
    archive,
    bell,
    bundle,
    capabilities,
    discovery,
    error,
    errors,
    importing,
    installation,
    job,
    logs,
    manifest,
    message,
    notification,
    organization,
    permission,
    prototype,
    pull,
    repository,
    repotoken,
    robot,
    search,
    second_factor,
    service_key,
    session,
    signin,
    signup,
    star,
    superuser,
    tag,
    team,
    user,
)
from quay.web.api.call import Call, Means
from quay.web.api.errors import BadRequest, Forbidden, FreshLoginRequired, NotFound, ReadOnly, UnsupportedMedia
from quay.web.api.identity import Identifier, Identity, required
from quay.web.api.needs import Found
from quay.web.api.route import Route, Routes
from quay.web.request import RegistryRequest, Translations
from quay.web.respond import run_handler, send_empty, send_json, translated

NOUNS: Final[tuple[Routes, ...]] = (
    application.routes,
    apptoken.routes,
    archive.routes,
    bell.routes,
    bundle.routes,
    capabilities.routes,
    discovery.routes,
    error.routes,
    importing.routes,
    installation.routes,
    job.routes,
    logs.routes,
    manifest.routes,
    message.routes,
    notification.routes,
    organization.routes,
    permission.routes,
    prototype.routes,
    pull.routes,
    repository.routes,
    repotoken.routes,
    robot.routes,
    search.routes,
    second_factor.routes,
    service_key.routes,
    session.routes,
    signin.routes,
    signup.routes,
    star.routes,
    superuser.routes,
    tag.routes,
    team.routes,
    user.routes,
)
"""Every noun of the API. What is not here is not served."""

BODY_LIMIT: Final = 256 * 1024
"""Bytes of JSON that one request may bring."""
DEPTH_LIMIT: Final = 64
"""So deep may objects and arrays be in one another: whoever walks through what was stored has only so much stack."""

VALUES_LIMIT: Final = 5000
"""So many values a body may have, names of members among them: each is looked at, while everybody else waits."""

_INTEGERS: Final = range(-(2**63), 2**63)
_HEADERS: Final = {
    b"Access-Control-Allow-Origin": b"*",
    b"Access-Control-Allow-Headers": b"Authorization, Content-Type, X-Requested-With",
    b"Access-Control-Allow-Methods": b"GET, POST, PUT, DELETE, OPTIONS",
    b"Cache-Control": b"no-store",
    b"X-Content-Type-Options": b"nosniff",
}
"""Of every answer. Any site may read what it gets without a cookie: browsers send none where `*` is allowed."""


def routes_of(config: Config) -> Iterator[Route]:
    """The routes that there are with this configuration."""
    for noun in NOUNS:
        yield from (route for route in noun if route.when(config))


class RestAPI(Resource):
    """
    Everything below `/api/`: all routes that there are, or these. `translations` are what the site tells clients of the
    failures of other layers.
    """

    isLeaf = True

    def __init__(
        self,
        means: Means,
        identifier: Identifier,
        translations: Translations,
        routes: Iterable[Route] | None = None,
    ) -> None:
        super().__init__()
        self._means = means
        self._identifier = identifier
        self._translations = {**translations, **errors.TRANSLATIONS}
        self.routes = tuple(routes_of(means.config) if routes is None else routes)
        self._by_nickname = {route.nickname: route for route in self.routes}
        self._klein: IResource = self._routed(self.routes)

    def render(self, request: RegistryRequest) -> int:
        """Answer `request`; every answer goes through here."""
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if request.method == b"OPTIONS":
            send_empty(request, 204)
            return NOT_DONE_YET
        segments: list[bytes] = request.postpath or []
        while segments and not segments[-1]:  # Quay's addresses end with a slash, or not: both will do
            segments.pop()
        try:
            b"/".join(segments).decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(request, BadRequest("The address is not UTF-8."))
            return NOT_DONE_YET
        answer: int = self._klein.render(request)
        return answer

    # --- routing

    def _routed(self, routes: Iterable[Route]) -> IResource:
        app = Klein()
        app.url_map.converters["repository"] = RepositoryConverter
        for route in routes:
            path = f"/v1{route.path.rstrip('/')}"
            app.route(path, methods=[route.method], endpoint=route.nickname)(self._endpoint(route))
        app.handle_errors(HTTPException)(cast("Any", self._unrouted))
        resource: IResource = app.resource()
        return resource

    def _endpoint(self, route: Route) -> Callable[..., Deferred[None]]:
        def answer(request: RegistryRequest, **path: Any) -> Deferred[None]:
            return run_handler(request, self._serve(route, request, path), self._translations, self._refuse)

        return answer

    def _unrouted(self, request: RegistryRequest, failure: Failure) -> bytes:
        """What Klein sends, and finishes, where it finds no route."""
        error = _no_route(request, failure.value)
        request.setResponseCode(error.status)
        request.setHeader("Content-Type", "application/json")
        for name, value in error.headers.items():
            request.setHeader(name, value)
        body = json.dumps(errors.body(error, self.base(request))).encode()
        request.setHeader("Content-Length", str(len(body)))
        return body

    def _refuse(self, request: RegistryRequest, error: RegistryError) -> None:
        send_json(request, error.status, errors.body(error, self.base(request)), error.headers)

    def route(self, nickname: str) -> Route:
        """The route of this name. Raises `NotFound`."""
        found = self._by_nickname.get(nickname)
        if found is None:
            raise NotFound(f"There is no operation {nickname[:80]!r}.")
        return found

    def base(self, request: RegistryRequest) -> str:
        """The URL of this server as the client reaches it, without a slash at the end."""
        try:
            return self._means.addresses.external_url(request)
        except InvalidRequest:  # a Host header that is none: the answer is for whoever sent it
            return ""

    # --- from a request to its handler

    async def invoke(
        self,
        request: RegistryRequest,
        identity: Identity,
        nickname: str,
        path: Mapping[str, Any],
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """
        What the route `nickname` answers to this caller: for the pages of the console, which do what the API does. The
        caller of this has checked that a change is meant. Raises what the API would answer.
        """

        async def given() -> Any:
            return {} if body is None else body

        try:
            route = self.route(nickname)
            if route.takes is not None or route.gives is not None:
                raise BadRequest(f"{nickname} moves a stream of bytes: it is for scripts, not for forms.")
            return await self._perform(route, request, identity, path, query or {}, given)
        except Exception as problem:
            error = translated(problem, self._translations)
            if error is None:
                raise
            raise error from problem

    async def _serve(self, route: Route, request: RegistryRequest, path: dict[str, Any]) -> None:
        identity = await self._identifier.identify(request)
        if route.changes:
            self._identifier.check_csrf(request, identity)

        async def body() -> Any:
            return await _json(request)

        _send(route, request, await self._perform(route, request, identity, path, _query(request), body))

    async def _perform(
        self,
        route: Route,
        request: RegistryRequest,
        identity: Identity,
        path: Mapping[str, Any],
        query: Mapping[str, str],
        body: Callable[[], Awaitable[Any]],
    ) -> Any:
        found = await self._admitted(route, identity, path)
        arguments = {name: value for name, value in path.items() if name not in route.need.takes}
        if route.query is not None:
            arguments["query"] = route.query.parse(query)
        if route.body is not None:
            arguments["body"] = route.body.parse(_storable(await body()))
        return await route.handler(Call(self._means, request, identity, found), **arguments)

    async def _admitted(self, route: Route, identity: Identity, path: Mapping[str, Any]) -> Found:
        """What the path names, if this caller may have this route now."""
        policy = self._means.registry.policy
        nobody = identity.principal.kind == "anonymous"
        if nobody and not (policy.anonymous_pulls or route.need.anonymous):
            raise required()
        if any(isinstance(value, str) and "\0" in value for value in path.values()):
            raise NotFound("Nothing has a NUL in its name.")
        try:
            found = await self._means.database.read(
                route.need.admit, identity.principal, self._means.registry.access, path
            )
        except Forbidden as refused:
            raise (required() if nobody else refused) from refused
        if route.changes and policy.read_only and not route.always:
            raise ReadOnly("This registry is read-only now: nothing can be changed.")
        if route.fresh and not identity.is_fresh(
            self._means.clock.seconds(), float(self._means.config.fresh_login_timeout)
        ):
            raise FreshLoginRequired()
        return found


class RepositoryConverter(BaseConverter):
    """`namespace/name`, where the name may have slashes in it."""

    part_isolating = False
    regex = r"[^/]+(?:/[^/]+)+"
    weight = 200

    def __init__(self, url_map: Map, *args: Any, **kwargs: Any) -> None:
        super().__init__(url_map, *args, **kwargs)

    def to_python(self, value: str) -> RepositoryName:
        try:
            return RepositoryName.parse(value)
        except NameInvalid as error:
            raise ValidationError from error


def _no_route(request: RegistryRequest, problem: object) -> RegistryError:
    if not isinstance(problem, MethodNotAllowed):
        return NotFound("There is nothing at this address; /api/v1/discovery lists what there is.")
    allowed = ", ".join(sorted(problem.valid_methods or ()))
    method = request.method.decode("latin-1")
    return errors.MethodNotAllowed(
        f"{method} is not a method of this address; {allowed} are.", headers={"Allow": allowed}
    )


def _send(route: Route, request: RegistryRequest, answer: Any) -> None:
    """Send what the handler gave; a handler may have set a status of its own, or may have answered itself."""
    if not request.answerable:
        return
    status = route.status if request.code == 200 else request.code
    if answer is None and status == 204:
        send_empty(request, status)
    else:
        send_json(request, status, answer)


def _query(request: RegistryRequest) -> dict[str, str]:
    """The first value of each parameter. Raises `BadRequest` for what is not text."""
    try:
        found = {name.decode("utf-8"): values[0].decode("utf-8") for name, values in request.args.items()}
    except UnicodeDecodeError:
        raise BadRequest("The query is not UTF-8.") from None
    if any("\0" in value for value in found.values()):
        raise BadRequest("The query has a NUL in it.")
    return found


async def _json(request: RegistryRequest) -> Any:
    """The body; an empty one is an empty object. Raises `BadRequest`, `UnsupportedMedia`, `BodyTooLarge`."""
    raw: bytes = await request.body.read(BODY_LIMIT)
    if not raw.strip():
        return {}
    kind = (request.getHeader("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMedia(f"The body is {kind[:80] or 'of no stated type'}; send application/json.")
    try:
        value = json.loads(raw, parse_constant=_not_a_number)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    return value


def _not_a_number(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _storable(value: Any) -> Any:
    """`value`, if a database can hold it: JSON can spell more than that. Raises `BadRequest`."""
    rest, count = [(value, 0)], 0
    while rest:
        member, depth = rest.pop()
        if depth > DEPTH_LIMIT:
            raise BadRequest(f"The body is nested more than {DEPTH_LIMIT} levels deep.")
        count += 2 * len(member) if isinstance(member, dict) else len(member) if isinstance(member, list) else 0
        if count > VALUES_LIMIT:
            raise BadRequest(f"The body has more than {VALUES_LIMIT} values.")
        if isinstance(member, dict):
            rest += [(part, depth + 1) for pair in member.items() for part in pair]
        elif isinstance(member, list):
            rest += [(part, depth + 1) for part in member]
        elif isinstance(member, str):
            if "\0" in member or not _is_unicode(member):
                raise BadRequest("The body has a NUL or half a character (a lone surrogate) in a text.")
        elif _is_too_large(member):
            raise BadRequest("The body has a number that is too large.")
    return value


def _is_too_large(value: Any) -> bool:
    return not math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and value not in _INTEGERS


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
