"""
Permissions: the roles that are granted on a repository, to users, robots and teams.

Somebody who is not there is a bad request, as in Quay; somebody who is there and has no role is not found.
"""

from __future__ import annotations

from typing import Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import grants, namespace, permission, team
from quay.model.grants import Grant
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.team import Team
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.api.views import Avatar, avatar

routes = Routes("permission", "Manage repository permissions.")

_ADMIN: Final = needs.repository(Role.ADMIN)
_USERS: Final = "/repository/<repository:repository>/permissions/user/"
_TEAMS: Final = "/repository/<repository:repository>/permissions/team/"

RoleName = Literal["read", "write", "admin"]


class NewRole(TypedDict):
    """Description of a permission."""

    role: RoleName


class UserPermission(TypedDict):
    """The role of a user or robot; `is_org_member` in a repository of an organization."""

    role: str
    name: str
    is_robot: bool
    avatar: Avatar
    is_org_member: NotRequired[bool]


class TeamPermission(TypedDict):
    role: str
    name: str
    avatar: Avatar


class UserPermissions(TypedDict):
    permissions: dict[str, UserPermission]


class TeamPermissions(TypedDict):
    permissions: dict[str, TeamPermission]


class TransitiveRole(TypedDict):
    role: str


class TransitivePermissions(TypedDict):
    permissions: list[TransitiveRole]


# --- users and robots ---------------------------------------------------------------------------------------------


@routes.get(_USERS, "listRepoUserPermissions", _ADMIN)
async def list_users(call: Call) -> UserPermissions:
    """List all user permissions."""
    found = await call.read(grants.of_users, call.repository)
    return {"permissions": {one.name: _user(one) for one in found}}


@routes.get(f"{_USERS}<username>/transitive", "getUserTransitivePermission", _ADMIN)
async def show_transitive(call: Call, username: str) -> TransitivePermissions:
    """Get the roles that a user has on the repository: by his own right, and by his teams."""

    def read(txn: Transaction) -> TransitivePermissions:
        user = _found(txn, username)
        if user is None:
            raise NotFound(f"There is no user or robot {username[:80]!r}.")
        return {"permissions": [{"role": str(role)} for role in permission.roles(txn, call.repository, user.id)]}

    return await call.read(read)


@routes.get(f"{_USERS}<username>", "getUserPermissions", _ADMIN)
async def show_user(call: Call, username: str) -> UserPermission:
    """Get the permission for the specified user."""

    def read(txn: Transaction) -> UserPermission:
        return _granted_user(txn, call, _known(txn, username))

    return await call.read(read)


@routes.put(f"{_USERS}<username>", "changeUserPermissions", _ADMIN)
async def change_user(call: Call, username: str, body: NewRole) -> UserPermission:
    """Update the permissions for an existing user or robot, or grant one its first."""
    repository, role = call.repository, body["role"]

    def change(txn: Transaction) -> UserPermission:
        user = _known(txn, username)
        if user.id == repository.namespace_id:
            raise BadRequest(f"{user.name} owns {repository.name}, and always administers it.")
        permission.grant(txn, repository.id, grantee_id=user.id, role=Role.parse(role))
        call.record(txn, "change_repo_permission", username=user.name, role=role)
        return _granted_user(txn, call, user)

    return await call.write(change)


@routes.delete(f"{_USERS}<username>", "deleteUserPermissions", _ADMIN)
async def delete_user(call: Call, username: str) -> None:
    """Delete the permission for the user."""

    def remove(txn: Transaction) -> None:
        user = _known(txn, username)
        if not permission.revoke(txn, call.repository.id, grantee_id=user.id):
            raise BadRequest(f"{user.name} has no role on {call.repository.name} that could be taken away.")
        call.record(txn, "delete_repo_permission", username=user.name)

    await call.write(remove)


def _found(txn: Transaction, username: str) -> Namespace | None:
    found = namespace.find(txn, username)
    return found if found is not None and found.kind in ("user", "robot") else None


def _known(txn: Transaction, username: str) -> Namespace:
    found = _found(txn, username)
    if found is None:
        raise BadRequest(f"There is no user or robot {username[:80]!r}.")
    return found


def _granted_user(txn: Transaction, call: Call, user: Namespace) -> UserPermission:
    for one in grants.of_users(txn, call.repository, user.name):
        return _user(one)
    raise NotFound(f"{user.name} has been granted no role on {call.repository.name}.")


def _user(grant: Grant) -> UserPermission:
    shown: UserPermission = {
        "role": str(grant.role),
        "name": grant.name,
        "is_robot": grant.robot,
        "avatar": avatar(grant.name, "robot" if grant.robot else "user"),
    }
    if grant.member is not None:
        shown["is_org_member"] = grant.member
    return shown


# --- teams --------------------------------------------------------------------------------------------------------


@routes.get(_TEAMS, "listRepoTeamPermissions", _ADMIN)
async def list_teams(call: Call) -> TeamPermissions:
    """List all team permissions."""
    found = await call.read(grants.of_teams, call.repository)
    return {"permissions": {one.name: _team(one) for one in found}}


@routes.get(f"{_TEAMS}<teamname>", "getTeamPermissions", _ADMIN)
async def show_team(call: Call, teamname: str) -> TeamPermission:
    """Fetch the permission for the specified team."""

    def read(txn: Transaction) -> TeamPermission:
        return _granted_team(txn, call, _known_team(txn, call, teamname))

    return await call.read(read)


@routes.put(f"{_TEAMS}<teamname>", "changeTeamPermissions", _ADMIN)
async def change_team(call: Call, teamname: str, body: NewRole) -> TeamPermission:
    """Update the existing team permission, or grant the team its first."""

    def change(txn: Transaction) -> TeamPermission:
        found = _known_team(txn, call, teamname)
        permission.grant(txn, call.repository.id, team_id=found.id, role=Role.parse(body["role"]))
        call.record(txn, "change_repo_permission", team=found.name, role=body["role"])
        return _granted_team(txn, call, found)

    return await call.write(change)


@routes.delete(f"{_TEAMS}<teamname>", "deleteTeamPermissions", _ADMIN)
async def delete_team(call: Call, teamname: str) -> None:
    """Delete the permission for the specified team."""

    def remove(txn: Transaction) -> None:
        found = _known_team(txn, call, teamname)
        if not permission.revoke(txn, call.repository.id, team_id=found.id):
            raise BadRequest(f"The team {found.name} has no role on {call.repository.name} that could be taken away.")
        call.record(txn, "delete_repo_permission", team=found.name)

    await call.write(remove)


def _known_team(txn: Transaction, call: Call, name: str) -> Team:
    """The team of the organization that the repository belongs to. Raises `BadRequest`."""
    found = team.find(txn, call.repository.namespace_id, name)
    if found is None:
        raise BadRequest(f"{call.repository.name.namespace} has no team {name[:80]!r}.")
    return found


def _granted_team(txn: Transaction, call: Call, found: Team) -> TeamPermission:
    for one in grants.of_teams(txn, call.repository, found.name):
        return _team(one)
    raise NotFound(f"The team {found.name} has been granted no role on {call.repository.name}.")


def _team(grant: Grant) -> TeamPermission:
    return {"role": str(grant.role), "name": grant.name, "avatar": avatar(grant.name, "team")}
