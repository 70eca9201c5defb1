"""
The routes as Swagger 2.0, in the shape in which Quay's clients read them.

Swagger 2.0 knows less than JSON Schema: what may be null is marked `x-nullable`, and what may be one of several things
is left open. Source: Quay's `/api/v1/discovery`; the Swagger 2.0 specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from types import NoneType
from typing import Any, Final

from quay.auth.scopes import SCOPES
from quay.web.api.errors import ApiErrorBody
from quay.web.api.route import Route
from quay.web.api.shapes import Definitions, Json, schema_of

_ERRORS: Final = {"400": "Bad Request", "401": "Session required", "403": "Unauthorized access", "404": "Not found"}
_SUCCESSES: Final = {200: "Successful invocation", 201: "Successful creation", 204: "Deleted"}
_SAME: Final = frozenset(
    {"format", "title", "description", "default", "required", "$ref", "minimum", "maximum", "minLength", "maxLength"}
    | {"pattern", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"}
)
"""Keywords that mean in Swagger 2.0 what they mean in JSON Schema 2020-12."""


def described(routes: Iterable[Route]) -> Json:
    """The members `paths` and `definitions` of the document."""
    definitions = Definitions("#/definitions/")
    definitions.refer(ApiErrorBody, "ApiError")
    by_path = groupby(sorted(routes, key=attrgetter("template", "method")), key=attrgetter("template"))
    paths = {path: _path(path, list(found), definitions) for path, found in by_path}
    return {"paths": paths, "definitions": {name: translated(schema) for name, schema in definitions.items()}}


def head(base: str, title: str) -> Json:
    """The other members, for a server that is reached at `base`."""
    scheme, _, host = base.partition("://")
    return {
        "swagger": "2.0",
        "host": host,
        "basePath": "/",
        "schemes": [scheme],
        "info": {
            "version": "v1",
            "title": f"{title} Frontend",
            "description": "This API allows you to perform many of the operations required to work with repositories, "
            "users, and organizations.",
            "termsOfService": base,
            "contact": {"url": base},
        },
        "securityDefinitions": {
            "oauth2_implicit": {
                "type": "oauth2",
                "flow": "implicit",
                "authorizationUrl": f"{base}/oauth/authorize",
                "scopes": {scope.scope: scope.description for scope in SCOPES.values()},
            }
        },
    }


def _path(path: str, routes: list[Route], definitions: Definitions) -> Json:
    first = routes[0]
    return {
        "x-name": f"{first.handler.__module__}.{first.handler.__name__}",
        "x-path": path,
        "x-tag": first.tag,
        "parameters": [{"name": name, "in": "path", "required": True, "type": "string"} for name in first.parameters],
        **{route.method.lower(): _operation(route, definitions) for route in routes},
    }


def _operation(route: Route, definitions: Definitions) -> Json:
    made: Json = {
        "operationId": route.nickname,
        "summary": route.summary,
        "parameters": [*_query(route), *_body(route, definitions)],
        "responses": _responses(route, definitions),
        "tags": [route.tag],
    }
    if route.need.scope is not None:
        made["security"] = [{"oauth2_implicit": [route.need.scope]}]
    if route.takes is not None:
        made["consumes"] = [route.takes]
    if route.gives is not None:
        made["produces"] = [route.gives]
    if route.internal:
        made["x-internal"] = True
    if route.fresh:
        made["x-requires-fresh-login"] = True
    return made


def _query(route: Route) -> Iterable[Json]:
    for name, schema, required in route.query.parameters() if route.query else ():
        plain = {key: value for key, value in translated(schema).items() if key != "x-nullable"}
        yield {"name": name, "in": "query", "required": required, "type": "string"} | plain


def _body(route: Route, definitions: Definitions) -> Iterable[Json]:
    if route.body is not None:
        schema = translated(definitions.refer(route.body.shape))
        yield {"name": "body", "in": "body", "required": True, "schema": schema}
    if route.takes is not None:
        yield {"name": "body", "in": "body", "required": True, "schema": {"type": "string", "format": "binary"}}


def _responses(route: Route, definitions: Definitions) -> Json:
    refused = {"$ref": "#/definitions/ApiError"}
    responses: Json = {status: {"description": text, "schema": refused} for status, text in _ERRORS.items()}
    success: Json = {"description": _SUCCESSES.get(route.status, "Successful invocation")}
    if route.gives is not None:
        success["schema"] = {"type": "string", "format": "binary"}
    elif route.answer is not NoneType:
        success["schema"] = translated(schema_of(route.answer, definitions))
    return {str(route.status): success} | responses


# --- JSON Schema 2020-12 in the words of Swagger 2.0


def translated(schema: Mapping[str, Any]) -> Json:
    """What `schema` says, as far as Swagger 2.0 can say it: never more than `schema` asks for."""
    made = {key: value for key, value in schema.items() if key in _SAME}
    made |= _kind(schema) | _members(schema) | _choice(schema)
    if "$ref" in made and len(made) > 1:  # a reference has no other members
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def _kind(schema: Mapping[str, Any]) -> Json:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    others = [kind for kind in kinds if kind != "null"]
    made: Json = {"x-nullable": True} if len(others) < len(kinds) else {}
    if len(others) == 1:
        made["type"] = others[0]
    if "enum" in schema:
        made["enum"] = [choice for choice in schema["enum"] if choice is not None]
    return made


def _members(schema: Mapping[str, Any]) -> Json:
    made: Json = {}
    if "properties" in schema:
        made["properties"] = {name: translated(member) for name, member in schema["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), Mapping):
            made[keyword] = translated(schema[keyword])
    return made


def _choice(schema: Mapping[str, Any]) -> Json:
    members = schema.get("anyOf", [])
    others = [member for member in members if member != {"type": "null"}]
    made = translated(others[0]) if len(others) == 1 else {}
    return made | ({"x-nullable": True} if len(others) < len(members) else {})
