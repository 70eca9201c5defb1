"""
Imports from other registries, asked for by superusers and done by jobs.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired, TypedDict

from quay.database import Transaction
from quay.egress import EgressRefused
from quay.importing.remote import SECRET
from quay.model import job as jobs
from quay.model import namespace
from quay.model.namespace import NamespaceInvalid
from quay.registry.client import base_of
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Conflict
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema

routes = Routes("imports", "What other registries have, for superusers.")

KIND: Final = "import"
GLOBS: Final = 100
_POWER: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed, "always": True}


class ImportOrder(TypedDict):
    """From where, and what."""

    registry: Annotated[
        str, Schema(maxLength=512, description="A host, which is asked over https, or a URL: http://host:port")
    ]
    repositories: NotRequired[
        Annotated[str, Schema(maxLength=4096, description="Globs, with blanks between them; all, if there are none")]
    ]
    tags: NotRequired[Annotated[str, Schema(maxLength=4096, description="Globs, with blanks between them")]]
    into: NotRequired[
        Annotated[str, Schema(maxLength=255, description="An organization or user below whom all of it goes")]
    ]
    public: NotRequired[Annotated[bool, Schema(description="Let everybody pull from the repositories that are made")]]
    keep: NotRequired[Annotated[bool, Schema(description="Leave tags alone that name something else here")]]
    dry_run: NotRequired[Annotated[bool, Schema(description="Only look, and say what would come")]]
    username: NotRequired[Annotated[str, Schema(maxLength=255, description="Who logs in there")]]
    password: NotRequired[
        Annotated[str, Schema(maxLength=16384, format="password", description="His password or token")]
    ]


class BegunImport(TypedDict):
    """The job that is at work on it."""

    job: str


@routes.post("/superuser/imports/", "importRegistry", needs.superuser, status=201, fresh=True, **_POWER)
async def begin(call: Call, body: ImportOrder) -> BegunImport:
    """
    Pull from another registry all repositories, or those that are chosen: a job does it. The server calls only whom
    its configuration allows (EGRESS_NETWORKS).
    """
    wanted = _wanted(call, body)

    def make(txn: Transaction) -> str:
        made = jobs.create(txn, KIND, call.principal.name, cursor=wanted)
        said = {"into": wanted["into"]} if wanted["into"] else {}
        call.record(txn, "import_registry", job=made.uuid, registry=wanted["registry"], **said)
        return made.uuid

    try:
        made = await call.write(make)
    except jobs.JobUnderWay as error:
        raise Conflict(str(error)) from error
    call.means.work_now(jobs.lane_of(KIND))
    return {"job": made}


def _wanted(call: Call, body: ImportOrder) -> dict[str, Any]:
    """What the job needs to know, looked at; a password only sealed. Raises `BadRequest`."""
    registry, into = body["registry"].strip(), body.get("into", "").strip()
    try:
        call.means.egress.check(base_of(registry))
        if into:
            namespace.check_name(into)
    except (EgressRefused, NamespaceInvalid) as unfit:
        raise BadRequest(str(unfit)) from None
    username, password = body.get("username", ""), body.get("password", "")
    if bool(username) != bool(password):
        raise BadRequest("Give both, a user name and a password, or neither.")
    return {
        "registry": registry,
        "repositories": _globs(body.get("repositories", "")),
        "tags": _globs(body.get("tags", "")),
        "into": into,
        "public": body.get("public", False),
        "keep": body.get("keep", False),
        "dry_run": body.get("dry_run", False),
        "username": username,
        "password": call.means.vault.seal(SECRET, password.encode()) if password else "",
        "ip": call.caller.ip,
    }


def _globs(text: str) -> list[str]:
    found = text.split()
    if len(found) > GLOBS:
        raise BadRequest(f"There may be {GLOBS} globs: import the rest afterwards.")
    return found
