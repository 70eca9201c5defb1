"""What the API has, as Swagger 2.0 and as OpenAPI 3.1: both follow from the declarations of the routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, TypedDict

from quay import __version__
from quay.web.api import needs, openapi, swagger
from quay.web.api.call import Call
from quay.web.api.route import Route, Routes
from quay.web.api.shapes import Json, Schema

routes = Routes("discovery", "API discovery information.")


class DiscoveryQuery(TypedDict):
    """What to list."""

    internal: Annotated[bool, Schema(default=False, description="Whether to include internal APIs.")]


@routes.get("/discovery", "discovery", needs.anonymous_too)
async def discovery(call: Call, query: DiscoveryQuery) -> Json:
    """List all of the API endpoints available in the swagger API format."""
    listed = _listed(call, query["internal"])
    return swagger.head(call.base, call.means.config.registry_title) | _swagger(listed) | {"tags": _tags(listed)}


@routes.get("/discovery/openapi", "discoveryOpenapi", needs.anonymous_too)
async def discovery_openapi(call: Call, query: DiscoveryQuery) -> Json:
    """List all of the API endpoints available in the OpenAPI 3.1 format."""
    listed = _listed(call, query["internal"])
    made = openapi.head(call.base, call.means.config.registry_title, __version__)
    made |= _openapi(listed) | {"tags": _tags(listed)}
    return made | {"components": made["components"] | {"securitySchemes": openapi.security_schemes(call.base)}}


def _listed(call: Call, internal: bool) -> tuple[Route, ...]:
    from quay.web.api import routes_of  # not above: these two are among them

    return tuple(route for route in routes_of(call.means.config) if internal or not route.internal)


def _tags(listed: tuple[Route, ...]) -> list[Json]:
    from quay.web.api import NOUNS

    used = {route.tag for route in listed}
    described = {noun.tag: noun.description for noun in NOUNS if noun.tag in used}
    return [{"name": tag, "description": description} for tag, description in sorted(described.items())]


# A process has one configuration, so what follows from it alone is made once.


@lru_cache(maxsize=4)
def _swagger(listed: tuple[Route, ...]) -> Json:
    return swagger.described(listed)


@lru_cache(maxsize=4)
def _openapi(listed: tuple[Route, ...]) -> Json:
    return openapi.described(listed)
