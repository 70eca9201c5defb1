"""
The routes as OpenAPI 3.1, which says all that is checked: generators of clients and test tools read this one.

Source: the OpenAPI specification, 3.1.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from types import NoneType
from typing import Final

from quay.auth.scopes import SCOPES
from quay.web.api import needs
from quay.web.api.errors import ApiErrorBody
from quay.web.api.route import Route
from quay.web.api.shapes import Definitions, Json, schema_of

_OTHERS: Final[tuple[Json, ...]] = ({"token": []}, {"password": []}, {"session": []})
"""How one calls without OAuth."""


def described(routes: Iterable[Route]) -> Json:
    """The members `paths` and `components` of the document, the latter without its security schemes."""
    definitions = Definitions("#/components/schemas/")
    refused = definitions.refer(ApiErrorBody, "ApiError")
    by_path = groupby(sorted(routes, key=attrgetter("template", "method")), key=attrgetter("template"))
    paths = {path: _path(list(found), definitions) for path, found in by_path}
    content = {"application/json": {"schema": refused}}
    responses = {"Refused": {"description": "It was not done, and why", "content": content}}
    return {"paths": paths, "components": {"schemas": dict(definitions), "responses": responses}}


def head(base: str, title: str, version: str) -> Json:
    """The other members, for a server that is reached at `base`."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": title,
            "version": version,
            "summary": "The REST API of a container registry, compatible with Quay's.",
            "description": "Call it with an OAuth token, a robot's or an app-specific token (Bearer), or with a name "
            "and password (Basic). Errors are JSON with `error_type` and a `detail` that says what to do.",
        },
        "servers": [{"url": base}],
    }


def security_schemes(base: str) -> Json:
    """How to say who one is."""
    scopes = {scope.scope: scope.description for scope in SCOPES.values()}
    code = {"authorizationUrl": f"{base}/oauth/authorize", "tokenUrl": f"{base}/oauth/access_token", "scopes": scopes}
    implicit = {"authorizationUrl": f"{base}/oauth/authorize", "scopes": scopes}
    return {
        "oauth2": {"type": "oauth2", "flows": {"authorizationCode": code, "implicit": implicit}},
        "token": {"type": "http", "scheme": "bearer", "description": "A robot's token, or an app-specific token"},
        "password": {"type": "http", "scheme": "basic", "description": "Also a robot's name and token"},
        "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "Changes take X-CSRF-Token"},
    }


def _path(routes: list[Route], definitions: Definitions) -> Json:
    return {
        "parameters": [_parameter("path", name, {"type": "string"}, True) for name in routes[0].parameters],
        **{route.method.lower(): _operation(route, definitions) for route in routes},
    }


def _parameter(place: str, name: str, schema: Json, required: bool) -> Json:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _operation(route: Route, definitions: Definitions) -> Json:
    made: Json = {
        "operationId": route.nickname,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": {str(route.status): _success(route, definitions), "default": {"$ref": _REFUSED}},
        "security": _security(route),
    }
    if route.query is not None:
        made["parameters"] = [_parameter("query", *found) for found in route.query.parameters()]
    if route.body is not None:
        schema = definitions.refer(route.body.shape)
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.takes is not None:
        made["requestBody"] = {"required": True, "content": {route.takes: {}}}
    if route.internal:
        made["x-internal"] = True
    if route.fresh:
        made["x-requires-fresh-login"] = True
    return made


_REFUSED: Final = "#/components/responses/Refused"


def _success(route: Route, definitions: Definitions) -> Json:
    made: Json = {"description": "It was done"}
    if route.gives is not None:
        made["content"] = {route.gives: {}}
    elif route.answer is not NoneType:
        made["content"] = {"application/json": {"schema": schema_of(route.answer, definitions)}}
    return made


def _security(route: Route) -> list[Json]:
    scope = route.need.scope
    nobody: list[Json] = [{}] if route.need.anonymous or route.need == needs.anybody else []
    return [*nobody, {"oauth2": [] if scope is None else [scope]}, *_OTHERS]
