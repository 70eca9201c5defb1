"""
The distribution API: `/v2/` by a route table of its own.

A route names the action it needs, so a route without authorization cannot be written. A request whose token has been
seen, for a tag and manifest that are cached, is answered without a Deferred and without SQL.

Source: OCI Distribution Specification 1.1; Docker Registry HTTP API V2; Quay where the two leave a choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.errors import NameUnknown, Unsupported
from quay.oci.reference import RepositoryName
from quay.registry.manifests import Served
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler, send_json
from quay.web.v2 import blobs, manifests, uploads
from quay.web.v2.call import Call, Means, accept, decoded, link_next, page_of
from quay.web.v2.recall import recall

VERSION: Final = (b"Docker-Distribution-API-Version", b"registry/2.0")

Handler: TypeAlias = Callable[[Call], Coroutine[Any, Any, None]]


@attrs.frozen
class Route:
    """What stands behind `/v2/<name>/`, and for each method the action it needs and the handler."""

    pattern: re.Pattern[str]
    methods: Mapping[bytes, tuple[str, Handler]]


def _route(pattern: str, **methods: tuple[str, Handler]) -> Route:
    return Route(
        re.compile(rf"/v2/(?P<name>.+)/{pattern}"), {method.encode(): target for method, target in methods.items()}
    )


ROUTES: Final = (
    _route(
        "manifests/(?P<argument>[^/]+)",
        GET=("pull", manifests.get),
        HEAD=("pull", manifests.get),
        PUT=("push", manifests.put),
        DELETE=("delete", manifests.delete),
    ),
    _route("blobs/uploads/?(?P<argument>)", POST=("push", uploads.begin)),
    _route(
        "blobs/uploads/(?P<argument>[^/]+)",
        GET=("push", uploads.status),
        PATCH=("push", uploads.append),
        PUT=("push", uploads.finish),
        DELETE=("push", uploads.cancel),
    ),
    _route(
        "blobs/(?P<argument>[^/]+)",
        GET=("pull", blobs.get),
        HEAD=("pull", blobs.get),
        DELETE=("delete", blobs.delete),
    ),
    _route("tags/list(?P<argument>)", GET=("pull", manifests.list_tags)),
    _route("referrers/(?P<argument>[^/]+)", GET=("pull", manifests.list_referrers)),
)
"""Read from the end of the path: a repository may be called `a/manifests`."""


class DistributionAPI(Resource):
    """Everything below `/v2/` but the token service."""

    isLeaf = True

    def __init__(self, means: Means) -> None:
        super().__init__()
        self._means = means
        self._registry = means.registry
        self._guard = means.guard

    def render(self, request: RegistryRequest) -> int:
        """Answer `request`; every answer goes through here."""
        request.responseHeaders.setRawHeaders(VERSION[0], [VERSION[1]])
        if not self._is_answered_from_memory(request):
            run_handler(request, self._handle(request))
        return NOT_DONE_YET

    # --- the fast path of a pull

    def _is_answered_from_memory(self, request: RegistryRequest) -> bool:
        """Whether a manifest could be served from what is known already; whatever is unusual is left to `_handle`."""
        if request.method not in (b"GET", b"HEAD") or b"%" in request.path:
            return False
        found = ROUTES[0].pattern.fullmatch(request.path.decode("latin-1"))
        known = self._guard.known_caller(request) if found is not None else None
        if found is None or known is None:
            return False
        recalled = recall(self._registry, known, found["name"], found["argument"], accept(request))
        if recalled is None:
            return False
        stored = recalled.stored
        served = Served(stored.content, stored.media_type, stored.digest)
        manifests.send(request, self._registry, known[0], recalled.repository, recalled.reference, served)
        return True

    # --- from a request to its handler

    async def _handle(self, request: RegistryRequest) -> None:
        path = decoded(request.path)
        if path in ("/v2", "/v2/"):
            await self._ping(request)
        elif path == "/v2/_catalog":
            await self._catalog(request)
        else:
            await self._route(request, path)

    async def _ping(self, request: RegistryRequest) -> None:
        _check_method(request, (b"GET", b"HEAD"))
        await self._guard.identify(request)
        send_json(request, 200, {})

    async def _catalog(self, request: RegistryRequest) -> None:
        _check_method(request, (b"GET", b"HEAD"))
        caller = await self._guard.identify(request)
        limit, after = page_of(request, self._registry.policy)
        names = await self._registry.catalog(caller, after=after, limit=limit + 1) if limit else []
        link_next(request, names, limit)
        send_json(request, 200, {"repositories": names[:limit]})

    async def _route(self, request: RegistryRequest, path: str) -> None:
        route, found = _matched(path)
        _check_method(request, route.methods)
        action, handler = route.methods[request.method]
        name = RepositoryName.parse(found["name"], self._registry.policy.library_namespace)
        self._registry.check_open(action)
        caller, rights = await self._guard.admit(request, found["name"], name, action)
        try:
            repository = await self._registry.find(name)
        except NameUnknown:
            if handler is not manifests.list_referrers or not self._registry.policy.referrers:
                raise
            manifests.list_no_referrers(request, found["argument"])
            return
        self._guard.confirm(request, caller, rights, found["name"], repository, action)
        await handler(Call(self._means, request, caller, rights, name, repository, found["argument"]))


def _check_method(request: RegistryRequest, methods: Iterable[bytes]) -> None:
    if request.method not in methods:
        raise Unsupported(
            f"{request.method.decode('latin-1')} is not a method of this address.",
            advice="The Allow header lists those that are.",
            headers={"Allow": ", ".join(method.decode() for method in methods)},
        )


def _matched(path: str) -> tuple[Route, re.Match[str]]:
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is not None:
            return route, found
    raise NameUnknown(
        f"There is nothing at {path[:160]!r}.",
        advice="The API is /v2/<name>/manifests/<reference>, /v2/<name>/blobs/<digest>, /v2/<name>/tags/list …",
    )
