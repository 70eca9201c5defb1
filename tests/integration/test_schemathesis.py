"""
The REST API against its own OpenAPI document: whatever is sent, by whomever, a real server never fails, and answers as
the document says.

QUAY_TEST_FUZZ is how many requests each operation gets (10 if not given, always the same ones); with it, they are new
each time, and one that fails is made smaller, which may take minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from quay import testdata
from quay.web.api import NOUNS
from tests.server import RunningQuay

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

schemathesis.serializer.alias("application/x-tar", "application/octet-stream")

EXAMPLES = int(os.environ.get("QUAY_TEST_FUZZ", "10"))
THOROUGH = "QUAY_TEST_FUZZ" in os.environ
PATIENCE_S = 20
TOO_LONG = 414
"""What the server says of such an address before it looks whose it is."""
FORESEEN = {501, 503}
"""Not implemented for a repository of this kind; not now: the only statuses from 500 that the API promises."""

LEFT_OUT = {
    "changeInstallUser": "sets the passwords and addresses with which the rest logs in",
    "changeUserDetails": "changes the password and the name with which the rest logs in",
    "confirmSecondFactor": "would make a password too little to log in with",
    "convertUserToOrganization": "ends the user who sends the rest",
    "deleteCurrentUser": "ends the user who sends the rest",
    "deleteInstallUser": "ends the users who send the rest",
    "takeOwnership": "ends the users who send the rest",
    "verifyUser": "wrong passwords lock the user out who sends the rest",
}
"""Operations that get no requests, and why."""

DESTROYERS = {"changeOrganization", "deleteOrganization", "deleteAdminedOrganization", "deleteRepository", "renameRepo"}
"""Operations that get only names of nothing, because the others need what they would end."""

WHO: dict[str, tuple[str, str] | None] = {
    "superuser": ("devtable", testdata.PASSWORD),
    "user": ("creator", testdata.PASSWORD),
    "nobody": None,
}

NAMES = {
    "repository": ["devtable/simple", "buynlarge/orgrepo", "creator/mine", "devtable/someapp", "public/publicrepo"],
    "orgname": ["buynlarge", "creators"],
    "name": ["buynlarge", "titi"],
    "namespace": ["buynlarge", "creator"],
    "username": ["reader", "creator", "devtable"],
    "membername": ["reader", "creator", "buynlarge+ownerbot"],
    "teamname": ["readers", "owners", "fuzz"],
    "robot_shortname": ["dtrobot2", "coolrobot", "fuzz"],
    "tag": ["latest", "prod"],
    "volume": ["images.bundle", "images.bundle.001"],
    "error_type": ["not_found"],
    "prefix": ["c", "dev"],
    "code": ["x"],
}
"""What there is, by the parameter of the path that names it; `made` finds out the rest."""

ROUTES = {route.nickname: route for noun in NOUNS for route in noun}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A running server with the test data."""
    data = tmp_path_factory.mktemp("fuzzed")
    running = RunningQuay(Path(data), {"QUAY_SUPER_USERS": '["devtable"]'})
    running.command("initdb", "--test-data")
    with running:
        yield running


@pytest.fixture(scope="module")
def names(server: RunningQuay) -> dict[str, list[str]]:
    """What there is: the test data, and one of each thing that has an id of its own."""

    def call(who: str, method: str, path: str, body: object = None) -> Any:
        url = f"{server.url}/api/v1{path}"
        answer = requests.request(method, url, json=body, auth=WHO[who], timeout=PATIENCE_S)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def made(path: str, body: object) -> Any:
        return call("superuser", "POST", path, body)

    repository = "/repository/devtable/simple"
    call("user", "POST", "/organization/", {"name": "creators"})
    call("user", "POST", "/repository", {"repository": "mine", "visibility": "private", "description": ""})
    tag = call("superuser", "GET", f"{repository}/tag/")["tags"][0]
    digest = tag["manifest_digest"]
    label = {"key": "fuzzed", "value": "yes", "media_type": "text/plain"}
    prototype = {"role": "read", "delegate": {"name": "reader", "kind": "user"}}
    bell = {"event": "repo_push", "method": "quay_notification", "eventConfig": {}, "title": "fuzzed"}
    bell["config"] = {"target": {"name": "devtable", "kind": "user", "is_robot": False}}
    return NAMES | {
        "tag": [tag["name"], "prod"],
        "manifestref": [digest],
        "labelid": [made(f"{repository}/manifest/{digest}/labels", label)["label"]["id"]],
        "client_id": [made("/organization/buynlarge/applications", {"name": "fuzzed"})["client_id"]],
        "prototypeid": [made("/organization/buynlarge/prototypes", prototype)["id"]],
        "uuid": [made(f"{repository}/notification/", bell)["uuid"]],
        "token_uuid": [made("/user/apptoken", {"title": "fuzzed"})["token"]["uuid"]],
        "bundle": [made("/superuser/bundles/incoming", None)["uuid"]],
        "kid": [made("/superuser/keys", {"service": "fuzzed", "expiration": None})["kid"]],
    }


@pytest.fixture(scope="module")
def operations(server: RunningQuay) -> dict[str, Any]:
    """The operations of its document, by nickname."""
    schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/discovery/openapi?internal=true")
    found = (result.ok() for result in schema.get_all_operations())
    return {operation.definition.raw["operationId"]: operation for operation in found}


@st.composite
def calls(draw: st.DrawFn, operation: Any, names: dict[str, list[str]]) -> tuple[str, Case]:
    """Who calls, and how: as the document has it, or not quite."""
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = draw(operation.as_strategy(generation_mode=mode))
    for name in sorted(names.keys() & case.path_parameters.keys()):
        if draw(st.integers(0, 9)) < 8:
            case.path_parameters[name] = draw(st.sampled_from(names[name]))
    return draw(st.sampled_from(list(WHO))), case


def harm(nickname: str) -> tuple[int, str]:
    """What only reads comes first and what deletes last, so that there is something to meet."""
    return ("GET", "PUT", "POST", "DELETE").index(ROUTES[nickname].method), nickname


def check(server: RunningQuay, who: str, case: Case) -> None:
    """Make one call, and look at the answer."""
    response = case.call(base_url=server.url, auth=WHO[who], timeout=PATIENCE_S)
    status = response.status_code
    assert status < 500 or status in FORESEEN, f"{who}: {status} {response.text}\n{server.log[-6000:]}"
    if status == TOO_LONG:
        return
    try:
        case.validate_response(response, checks=[content_type_conformance, response_schema_conformance])
    except (Failure, FailureGroup) as failure:
        raise AssertionError(f"{who}: {status} {response.text[:2000]}\n{failure}") from None


@pytest.mark.parametrize("nickname", sorted(ROUTES.keys() - LEFT_OUT.keys(), key=harm))
def test_operation(server: RunningQuay, operations: dict[str, Any], names: dict[str, list[str]], nickname: str) -> None:
    """No request makes the server fail, and every answer has the type and the shape that the document promises."""
    if nickname not in operations:
        pytest.skip("not with this configuration")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not THOROUGH,
        phases=[Phase.generate, *([Phase.shrink] if THOROUGH else [])],
        suppress_health_check=list(HealthCheck),
    )
    @given(calls(operations[nickname], {} if nickname in DESTROYERS else names))
    def every(call: tuple[str, Case]) -> None:
        check(server, *call)

    every()


def test_the_server_lives(server: RunningQuay) -> None:
    """After all of it the server is healthy, those who called can still log in, and its log has no traceback."""
    assert server.healthy()
    assert "Traceback" not in server.log, server.log[-6000:]


def test_what_is_left_out_is_there() -> None:
    """Nothing is left out that does not exist any more."""
    assert LEFT_OUT.keys() - ROUTES.keys() == set()
    assert DESTROYERS - ROUTES.keys() == set()
