"""Prototypes: the default permissions with which new repositories of an organization begin."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import namespace, prototype, team
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.prototype import Party, Prototype
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, avatar

routes = Routes("prototype", "Manage default permissions added to repositories.")

_ALL: Final = "/organization/<orgname>/prototypes"

RoleName = Annotated[Literal["read", "write", "admin"], Schema(description="The role that the delegate gets")]
Name = Annotated[str, Schema(maxLength=255)]


class ActivatingUser(TypedDict):
    """The one whose new repositories it is for."""

    name: Name


class Delegate(TypedDict):
    """The user, robot or team that gets the role."""

    name: Name
    kind: Literal["user", "team"]


class NewPrototype(TypedDict):
    """Describes a new prototype."""

    role: RoleName
    activating_user: NotRequired[ActivatingUser | None]
    delegate: Delegate


class PrototypeUpdate(TypedDict):
    """Describes the new role of a prototype."""

    role: RoleName


class PartyView(TypedDict):
    """A user or robot, or a team, of which nothing is said but name and avatar."""

    name: str
    kind: Literal["user", "team"]
    avatar: Avatar
    is_robot: NotRequired[bool]
    is_org_member: NotRequired[bool]


class PrototypeView(TypedDict):
    """A default permission; without `activating_user`, it is for everybody's new repositories."""

    id: str
    role: Literal["read", "write", "admin"]
    activating_user: PartyView | None
    delegate: PartyView


class PrototypeViews(TypedDict):
    prototypes: list[PrototypeView]


@routes.get(_ALL, "getOrganizationPrototypePermissions", needs.organization())
async def list_all(call: Call) -> PrototypeViews:
    """List the default permissions of the organization."""
    found = await call.read(prototype.of_organization, call.organization.id)
    return {"prototypes": [_view(each) for each in found]}


@routes.post(_ALL, "createOrganizationPrototypePermission", needs.organization())
async def create(call: Call, body: NewPrototype) -> PrototypeView:
    """Create a default permission. Repositories that there are stay as they are."""
    activating = body.get("activating_user")

    def make(txn: Transaction) -> Prototype:
        made = prototype.create(
            txn,
            call.organization.id,
            activating_id=_account(txn, activating["name"], "activating user").id if activating else None,
            role=Role.parse(body["role"]),
            **_delegate(txn, call, body["delegate"]),
        )
        return _recorded(txn, call, "create_prototype_permission", made)

    return _view(await call.write(make))


@routes.put(f"{_ALL}/<prototypeid>", "updateOrganizationPrototypePermission", needs.organization())
async def update(call: Call, prototypeid: str, body: PrototypeUpdate) -> PrototypeView:
    """Change the role of a default permission. Repositories that there are stay as they are."""

    def change(txn: Transaction) -> Prototype:
        found, role = _one(txn, call, prototypeid), Role.parse(body["role"])
        if found.role is role:
            return found
        prototype.set_role(txn, call.organization.id, prototypeid, role)
        return _recorded(txn, call, "modify_prototype_permission", prototypeid, original_role=str(found.role))

    return _view(await call.write(change))


@routes.delete(f"{_ALL}/<prototypeid>", "deleteOrganizationPrototypePermission", needs.organization())
async def delete(call: Call, prototypeid: str) -> None:
    """Delete a default permission. Repositories that there are stay as they are."""

    def remove(txn: Transaction) -> None:
        _recorded(txn, call, "delete_prototype_permission", prototypeid)
        prototype.delete(txn, call.organization.id, prototypeid)

    await call.write(remove)


def _one(txn: Transaction, call: Call, uuid: str) -> Prototype:
    found = prototype.find(txn, call.organization.id, uuid)
    if found is None:
        raise NotFound(f"{call.organization.name} has no default permission with this id.")
    return found


def _recorded(txn: Transaction, call: Call, kind: str, uuid: str, **details: Any) -> Prototype:
    """The prototype, on record with what was done to it. Raises `NotFound`."""
    found = _one(txn, call, uuid)
    delegate: dict[str, Any] = (
        {"delegate_user": found.delegate.name} if found.delegate else {"delegate_team": found.delegate_team}
    )
    described: dict[str, Any] = {
        "prototypeid": found.uuid,
        "username": call.principal.name,
        "activating_username": found.activating and found.activating.name,
        "role": str(found.role),
    }
    call.record(txn, kind, **described, **details, **delegate)
    return found


def _delegate(txn: Transaction, call: Call, delegate: Delegate) -> dict[str, int]:
    """Who gets the role, as `prototype.create` takes it. Raises `BadRequest`."""
    if delegate["kind"] == "user":
        return {"delegate_id": _account(txn, delegate["name"], "delegate").id}
    found = team.find(txn, call.organization.id, delegate["name"])
    if found is None:
        raise BadRequest(f"{call.organization.name} has no team {delegate['name'][:80]!r} to be the delegate.")
    return {"delegate_team_id": found.id}


def _account(txn: Transaction, name: str, part: str) -> Namespace:
    found = namespace.find(txn, name)
    if found is None or found.kind not in ("user", "robot"):
        raise BadRequest(f"There is no user or robot {name[:80]!r} to be the {part}.")
    return found


def _view(found: Prototype) -> PrototypeView:
    if found.delegate is not None:
        delegate = _party_view(found.delegate)
    else:
        name = found.delegate_team or ""
        delegate = {"name": name, "kind": "team", "avatar": avatar(name, "team")}
    role: Any = str(found.role)
    activating = None if found.activating is None else _party_view(found.activating)
    return {"id": found.uuid, "role": role, "activating_user": activating, "delegate": delegate}


def _party_view(party: Party) -> PartyView:
    return {
        "name": party.name,
        "kind": "user",
        "avatar": avatar(party.name, "robot" if party.robot else "user"),
        "is_robot": party.robot,
        "is_org_member": party.member,
    }
