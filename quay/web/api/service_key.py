"""
Service keys: the public keys by which this installation believes the tokens of its nodes and of services beside it.

A key that a superuser makes here is approved; its private half is in the answer that makes it, and nowhere else. A key
that is deleted verifies nothing from then on, on any node. Source: Quay's service keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired, TypedDict, cast

from quay.auth import keyring
from quay.database import Transaction
from quay.model import key as keys
from quay.model.key import ServiceKey
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, avatar, http_date, optional_date

routes = Routes("servicekeys", "Manage the service keys of this installation, for superusers.")

PAGE: Final = 500
APPROVAL: Final = "Super User API"
"""Why a key is approved that was made or approved here, in Quay's words."""
METADATA_LIMIT: Final = 100
"""So many members the metadata of a key may have."""
LAST_S: Final = 253_402_300_800
"""The year 10000 in seconds since the epoch: no key expires later, but one may not expire at all."""

Name = Annotated[str, Schema(maxLength=255, pattern=r"^[\sa-zA-Z0-9\-_:/]*$", description="What people call the key")]
Metadata = Annotated[
    dict[str, Any], Schema(maxProperties=METADATA_LIMIT, description="Whatever is to be known of the key")
]
Notes = Annotated[str, Schema(maxLength=4096, description="Why it was approved")]
Expiration = Annotated[
    float | None, Schema(minimum=0, maximum=LAST_S, description="When it expires, in seconds since the epoch")
]


class Approver(TypedDict):
    """The superuser who approved a key."""

    kind: str
    name: str
    username: str
    avatar: Avatar


class Approval(TypedDict):
    """Why a key is believed."""

    approver: Approver | None
    approval_type: str
    approved_date: str
    notes: str


class KeyView(TypedDict):
    """A service key; `private_key` only where it has just been made."""

    name: str
    kid: str
    service: str
    jwk: dict[str, Any]
    metadata: dict[str, Any]
    created_date: str
    expiration_date: str | None
    rotation_duration: int | None
    approval: Approval | None


class NewKeyView(KeyView):
    """A new service key, with the private half that is shown once, both as PEM."""

    public_key: str
    private_key: str


class KeyViews(TypedDict):
    keys: list[KeyView]
    next_page: NotRequired[str]


class CreateServiceKey(TypedDict):
    """Describes creation of a service key."""

    service: Annotated[
        str,
        Schema(minLength=2, maxLength=64, pattern=r"^[a-z0-9_]+$", description="The service authenticating with it"),
    ]
    expiration: Expiration
    name: NotRequired[Name]
    metadata: NotRequired[Metadata]
    notes: NotRequired[Notes]


class PutServiceKey(TypedDict):
    """Describes updates to a service key."""

    name: NotRequired[Name]
    metadata: NotRequired[Metadata]
    expiration: NotRequired[Expiration]


class ApproveServiceKey(TypedDict):
    """Information for approving service keys."""

    notes: NotRequired[Notes]


class KeyQuery(TypedDict):
    next_page: NotRequired[str]


_POWER: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed}


@routes.get("/superuser/keys", "listServiceKeys", needs.superuser, **_POWER)
async def list_keys(call: Call, query: KeyQuery) -> KeyViews:
    """List the service keys of this installation."""
    after = pages.position(call.means.seals, query.get("next_page"), "listServiceKeys") or ""
    found = await call.read(keys.keys, after=after, limit=PAGE + 1)
    kept, more = pages.page(call.means.seals, "listServiceKeys", found, PAGE, lambda key: key.kid)
    return cast("KeyViews", {"keys": [_view(key) for key in kept], **more})


@routes.post("/superuser/keys", "createServiceKey", needs.superuser, fresh=True, **_POWER)
async def create(call: Call, body: CreateServiceKey) -> NewKeyView:
    """Create an approved service key. Its private half is shown in this answer only."""
    if body["service"] == call.means.config.service_key_service:
        raise BadRequest(
            f"Keys of the service {body['service']!r} are made by the nodes of this registry, and nobody else has one: "
            "give the key the name of the service that will sign with it."
        )
    expires_ms = _moment(call, body["expiration"])
    rsa = await call.means.cpu.run(keyring.generate)

    def make(txn: Transaction) -> ServiceKey:
        kid, public = keyring.kid(rsa), cast("dict[str, Any]", rsa.as_dict(private=False))
        name, metadata = body.get("name", ""), body.get("metadata", {})
        keys.publish(txn, kid, body["service"], public, expires_ms, False, name=name, metadata=metadata)
        made = _existing(kid, _approved(call, txn, kid, body.get("notes", "")))
        _record(call, txn, "service_key_create", made)
        return made

    made = await call.write(make)
    halves = {"public_key": rsa.as_pem(private=False).decode(), "private_key": rsa.as_pem(private=True).decode()}
    return cast("NewKeyView", _view(made) | halves)


@routes.get("/superuser/keys/<kid>", "getServiceKey", needs.superuser, **_POWER)
async def get(call: Call, kid: str) -> KeyView:
    """Show one service key."""
    return _view(_existing(kid, await call.read(keys.find, kid)))


@routes.put("/superuser/keys/<kid>", "updateServiceKey", needs.superuser, fresh=True, **_POWER)
async def update(call: Call, kid: str, body: PutServiceKey) -> KeyView:
    """Say something else of a service key, or when it expires."""
    said: keys.Changes = {}
    if "name" in body:
        said["name"] = body["name"]
    if "metadata" in body:
        said["metadata"] = body["metadata"]
    extended = "expiration" in body
    expires_ms = _moment(call, body["expiration"]) if extended else None

    def change(txn: Transaction) -> ServiceKey:
        found = _existing(kid, keys.find(txn, kid))
        if said:
            found = _existing(kid, keys.update(txn, kid, **said))
            _record(call, txn, "service_key_modify", found)
        if extended:
            old = optional_date(found.expires_ms)
            found = _existing(kid, keys.update(txn, kid, expires_ms=expires_ms))
            _record(call, txn, "service_key_extend", found, old_expiration_date=old)
        return found

    return _view(await call.write(change))


@routes.delete("/superuser/keys/<kid>", "deleteServiceKey", needs.superuser, fresh=True, **_POWER)
async def delete(call: Call, kid: str) -> None:
    """Delete a service key: what was signed with it is worthless at once."""

    def remove(txn: Transaction) -> None:
        found = _existing(kid, keys.find(txn, kid))
        keys.delete(txn, kid)
        _record(call, txn, "service_key_delete", found)

    await call.write(remove)


@routes.post("/superuser/approvedkeys/<kid>", "approveServiceKey", needs.superuser, status=201, fresh=True, **_POWER)
async def approve(call: Call, kid: str, body: ApproveServiceKey) -> str:
    """Approve a service key; one that is approved stays as it is."""

    def change(txn: Transaction) -> None:
        _existing(kid, keys.find(txn, kid))
        approved = _approved(call, txn, kid, body.get("notes", ""))
        if approved is not None:
            _record(call, txn, "service_key_approve", approved)

    await call.write(change)
    return ""


def _approved(call: Call, txn: Transaction, kid: str, notes: str) -> ServiceKey | None:
    return keys.approve(txn, kid, approval=APPROVAL, approver=call.principal.name, notes=notes)


def _moment(call: Call, expiration: float | None) -> int | None:
    """Milliseconds since the epoch. Raises `BadRequest` for what is over."""
    if expiration is not None and expiration <= call.means.clock.seconds():
        raise BadRequest("The expiration has passed: give a time to come, in seconds since the epoch, or null.")
    return None if expiration is None else int(expiration * 1000)


def _existing(kid: str, found: ServiceKey | None) -> ServiceKey:
    if found is None:
        raise NotFound(f"There is no service key {kid[:128]!r}.")
    return found


def _record(call: Call, txn: Transaction, kind: str, key: ServiceKey, **details: Any) -> None:
    call.record(
        txn,
        kind,
        kid=key.kid,
        service=key.service,
        name=key.name,
        expiration_date=optional_date(key.expires_ms),
        **details,
    )


def _view(key: ServiceKey) -> KeyView:
    return {
        "name": key.name,
        "kid": key.kid,
        "service": key.service,
        "jwk": dict(key.jwk),
        "metadata": dict(key.metadata),
        "created_date": http_date(key.created_ms),
        "expiration_date": optional_date(key.expires_ms),
        "rotation_duration": key.rotation_s,
        "approval": _approval(key),
    }


def _approval(key: ServiceKey) -> Approval | None:
    if key.approved_ms is None:
        return None
    approver: Approver | None = None
    if key.approver is not None:
        name = key.approver
        approver = {"kind": "user", "name": name, "username": name, "avatar": avatar(name, "user")}
    return {
        "approver": approver,
        "approval_type": key.approval or keys.AUTOMATIC,
        "approved_date": http_date(key.approved_ms),
        "notes": key.approval_notes,
    }
