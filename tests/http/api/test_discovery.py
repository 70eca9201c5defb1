"""The discovery documents: what real validators and Quay's clients make of them."""

from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator

from quay.auth.scopes import SCOPES
from quay.web.api import NOUNS, routes_of
from quay.web.api.swagger import translated

SWAGGER = "/api/v1/discovery"
OPENAPI = "/api/v1/discovery/openapi"
QUAYS = {
    nickname: (method, f"/api/v1{path.rstrip('/')}")
    for method, path, nickname in map(str.split, Path(__file__).with_name("nicknames.txt").read_text().splitlines())
}
"""Quay's operations by nickname, as its users know them."""


def operations(document):
    """Each operation by its id, with its method and its path."""
    methods = ("get", "post", "put", "delete")
    return {
        made["operationId"]: (method.upper(), path, made)
        for path, item in document["paths"].items()
        for method, made in item.items()
        if method in methods
    }


def every_route():
    return [route for noun in NOUNS for route in noun]


@pytest.fixture(scope="module")
def swagger(application):
    return application.request("GET", f"{SWAGGER}?internal=true").json


@pytest.fixture(scope="module")
def openapi(application):
    return application.request("GET", f"{OPENAPI}?internal=true").json


def test_swagger_is_valid(swagger):
    """A validator of Swagger 2.0 has nothing to say against Quay's document."""
    assert [error.message for error in OpenAPIV2SpecValidator(swagger).iter_errors()] == []


def test_openapi_is_valid(openapi):
    """A validator of OpenAPI 3.1 has nothing to say against ours."""
    assert [error.message for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []


def test_both_have_the_same_operations(swagger, openapi):
    """What one document lists, the other lists too, at the same address."""
    ours, theirs = operations(openapi), operations(swagger)
    assert {name: found[:2] for name, found in ours.items()} == {name: found[:2] for name, found in theirs.items()}


def test_nicknames_are_unique():
    """No two routes have one nickname, nor one address."""
    routes = every_route()
    assert len({route.nickname for route in routes}) == len(routes)
    assert len({(route.method, route.template.rstrip("/")) for route in routes}) == len(routes)


@pytest.mark.parametrize("route", every_route(), ids=lambda route: route.nickname)
def test_nicknames_are_quays(route):
    """What Quay has is at Quay's address under Quay's nickname, with its names for the parameters; the rest is ours."""
    address = (route.method, route.template.rstrip("/"))
    quays = QUAYS.get(route.nickname, address if address in QUAYS.values() else None)
    assert quays in (None, address)
    assert (route.nickname in QUAYS) == (quays is not None), "Quay calls this something else"


def test_who_reads_it(application):
    """Nobody needs to log in for it, not even where FEATURE_ANONYMOUS_ACCESS is off."""
    assert application.request("GET", SWAGGER).status == 200


def test_head(swagger):
    """Clients find out from it where to send requests and where to get a token."""
    assert swagger["swagger"] == "2.0"
    assert (swagger["host"], swagger["schemes"], swagger["basePath"]) == ("registry.test:5000", ["http"], "/")
    assert swagger["info"]["version"] == "v1"
    oauth = swagger["securityDefinitions"]["oauth2_implicit"]
    assert oauth["authorizationUrl"] == "http://registry.test:5000/oauth/authorize"
    assert oauth["scopes"].keys() == SCOPES.keys()


def test_an_operation(swagger):
    """An operation has its nickname, its scope, its body, its errors and Quay's extensions."""
    item = swagger["paths"]["/api/v1/repository/{repository}/changevisibility"]
    assert item["x-path"] == "/api/v1/repository/{repository}/changevisibility"
    assert item["x-tag"] == "repository"
    assert item["x-name"].startswith("quay.web.api.repository.")
    assert item["parameters"] == [{"name": "repository", "in": "path", "required": True, "type": "string"}]
    made = item["post"]
    assert made["operationId"] == "changeRepoVisibility"
    assert made["security"] == [{"oauth2_implicit": ["repo:admin"]}]
    (body,) = made["parameters"]
    assert (body["in"], body["required"]) == ("body", True)
    assert swagger["definitions"][body["schema"]["$ref"].rpartition("/")[2]]["required"] == ["visibility"]
    assert made["responses"].keys() == {"200", "400", "401", "403", "404"}
    assert made["responses"]["404"]["schema"] == {"$ref": "#/definitions/ApiError"}
    assert {"name": "repository", "description": "List, create and manage repositories."} in swagger["tags"]


def test_internal_operations_are_asked_for(application, swagger):
    """What is marked x-internal is left out, unless asked for."""
    listed = operations(application.request("GET", SWAGGER).json)
    internal = {name for name, (_, _, made) in operations(swagger).items() if made.get("x-internal")}
    assert internal == {route.nickname for route in routes_of(application.config) if route.internal}
    assert listed.keys() == operations(swagger).keys() - internal


def test_fresh_logins_are_marked(application, swagger):
    """What takes a fresh login says so."""
    marked = {name for name, (_, _, made) in operations(swagger).items() if made.get("x-requires-fresh-login")}
    assert marked == {route.nickname for route in routes_of(application.config) if route.fresh}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": ["string", "null"], "maxLength": 3}, {"type": "string", "maxLength": 3, "x-nullable": True}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"type": "string", "enum": ["a"], "x-nullable": True}),
        ({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}, {"allOf": [{"$ref": "#/x"}], "x-nullable": True}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {}),
        ({"type": "null"}, {"x-nullable": True}),
        ({"$ref": "#/x"}, {"$ref": "#/x"}),
        ({"$ref": "#/x", "description": "d"}, {"allOf": [{"$ref": "#/x"}], "description": "d"}),
        (
            {"type": "array", "items": {"type": ["integer", "null"]}},
            {"type": "array", "items": {"type": "integer", "x-nullable": True}},
        ),
        (
            {"type": "object", "additionalProperties": {"type": "null"}},
            {"type": "object", "additionalProperties": {"x-nullable": True}},
        ),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, {"type": "object"}),
    ],
)
def test_what_swagger_cannot_say(schema, told):
    """A schema is said in Swagger's words, as far as they go."""
    assert translated(schema) == told
