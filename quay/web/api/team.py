"""
Teams of organizations, their members, and what was granted to them.

Members are added at once: there is no mail yet with which they could be invited (FEATURE_REQUIRE_TEAM_INVITE).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import namespace, permission
from quay.model import team as teams
from quay.model.namespace import Namespace
from quay.model.permission import Granted
from quay.model.team import Team, TeamRole
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.pages import PageQuery
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, avatar

routes = Routes("team", "Create, list and manage an organization's teams.")

PAGE: Final = 1000
"""Members, or permissions, on one page."""
_TEAM: Final = "/organization/<orgname>/team/<teamname>"


class TeamView(TypedDict):
    """A team. `can_view`: whether you may see its members; `new_team`: whether it has just been made."""

    name: str
    description: str
    can_view: bool
    role: TeamRole
    avatar: Avatar
    repo_count: int
    member_count: int
    is_synced: bool
    new_team: NotRequired[bool]


class TeamOf(TypedDict):
    """A team that somebody is in."""

    name: str
    avatar: Avatar


class TeamDescription(TypedDict):
    """Describes a team."""

    role: Annotated[
        Literal["member", "creator", "admin"],
        Schema(description="What its members may do in the organization, beside what is granted to the team"),
    ]
    description: NotRequired[Annotated[str, Schema(maxLength=4096, description="Markdown: what the team is for")]]


class MemberView(TypedDict):
    """A member of a team; `kind` is Quay's, and so `user` for a robot as well."""

    name: str
    kind: Literal["user"]
    is_robot: bool
    avatar: Avatar
    invited: bool


class TeamMembers(TypedDict):
    name: str
    members: list[MemberView]
    can_edit: bool
    next_page: NotRequired[str]


class MembersQuery(PageQuery):
    includePending: NotRequired[
        Annotated[bool, Schema(description="Whether to include pending members: there are none")]
    ]


class RepositoryOf(TypedDict):
    name: str
    is_public: bool


class PermissionOf(TypedDict):
    """A role on a repository."""

    repository: RepositoryOf
    role: Literal["read", "write", "admin"]


class PermissionsOf(TypedDict):
    """What was granted to somebody."""

    permissions: list[PermissionOf]
    next_page: NotRequired[str]


# --- teams --------------------------------------------------------------------------------------------------------


@routes.put(_TEAM, "updateOrganizationTeam", needs.organization())
async def update(call: Call, teamname: str, body: TeamDescription) -> TeamView:
    """Create the team, or change its role and its description."""

    def change(txn: Transaction) -> TeamView:
        found = teams.find(txn, call.organization.id, teamname)
        if found is None:
            _make(txn, call, teamname, body)
        else:
            _change(txn, call, found, body)
        return {**team_view(_named(txn, call, teamname)), "new_team": found is None}

    return await call.write(change)


def _make(txn: Transaction, call: Call, name: str, body: TeamDescription) -> None:
    teams.create(txn, call.organization.id, name, body["role"], description=body.get("description", ""))
    call.record(txn, "org_create_team", team=name)


def _change(txn: Transaction, call: Call, found: Team, body: TeamDescription) -> None:
    description, role = body.get("description", found.description), body["role"]
    if description != found.description:
        teams.describe(txn, found.id, description)
        call.record(txn, "org_set_team_description", team=found.name, description=description)
    if role != found.role:
        teams.set_role(txn, found.id, role)
        call.record(txn, "org_set_team_role", team=found.name, role=role)


@routes.delete(_TEAM, "deleteOrganizationTeam", needs.organization())
async def delete(call: Call, teamname: str) -> None:
    """Delete the team with all that was granted to it. The last one that administers the organization stays."""

    def remove(txn: Transaction) -> None:
        found = teams.find(txn, call.organization.id, teamname)
        if found is None:
            raise BadRequest(f"{call.organization.name} has no team {teamname[:80]!r}.")
        teams.delete(txn, found.id)
        call.record(txn, "org_delete_team", team=teamname)

    await call.write(remove)


@routes.get(f"{_TEAM}/permissions", "getOrganizationTeamPermissions", needs.organization())
async def list_permissions(call: Call, teamname: str, query: PageQuery) -> PermissionsOf:
    """List the repositories on which the team has a role, and the roles."""
    about = f"getOrganizationTeamPermissions {call.organization.id} {teamname}"
    after = pages.position(call.means.seals, query.get("next_page"), about)

    def read(txn: Transaction) -> list[Granted]:
        found = _named(txn, call, teamname)
        return permission.granted(txn, team_id=found.id, after=after or "", limit=PAGE + 1)

    return permission_page(call, about, await call.read(read))


def permission_page(call: Call, about: str, found: list[Granted]) -> PermissionsOf:
    """The page of the list `about` that begins with what was `found`, which is one more if there is another page."""
    kept, more = pages.page(call.means.seals, about, found, PAGE, lambda each: str(each.repository))
    permissions: list[Any] = [
        {"repository": {"name": each.repository.path, "is_public": each.public}, "role": str(each.role)}
        for each in kept
    ]
    return {"permissions": permissions, **more}


def team_of(name: str) -> TeamOf:
    """A team that somebody is in."""
    return {"name": name, "avatar": avatar(name, "team")}


def team_view(found: Team, *, can_view: bool = True) -> TeamView:
    """The team as the members of its organization see it."""
    return {
        "name": found.name,
        "description": found.description,
        "can_view": can_view,
        "role": found.role,
        "avatar": avatar(found.name, "team"),
        "repo_count": found.repositories,
        "member_count": found.members,
        "is_synced": False,
    }


def _named(txn: Transaction, call: Call, name: str) -> Team:
    found = teams.find(txn, call.organization.id, name)
    if found is None:
        raise NotFound(f"{call.organization.name} has no team {name[:80]!r}.")
    return found


# --- members ------------------------------------------------------------------------------------------------------


@routes.get(f"{_TEAM}/members", "getOrganizationTeamMembers", needs.a_look_at_a_team)
async def list_members(call: Call, teamname: str, query: MembersQuery) -> TeamMembers:
    """List the members of the team."""
    about = f"getOrganizationTeamMembers {call.organization.id} {teamname}"
    after = pages.position(call.means.seals, query.get("next_page"), about)

    def read(txn: Transaction) -> tuple[list[teams.Member], bool]:
        found = _named(txn, call, teamname)
        members = teams.members(txn, found.id, after=after or "", limit=PAGE + 1)
        return members, needs.is_administrator(txn, call.principal, call.organization)

    members, can_edit = await call.read(read)
    kept, more = pages.page(call.means.seals, about, members, PAGE, lambda member: member.name)
    views = [_member_view(member.name, member.kind == "robot") for member in kept]
    return {"name": teamname, "members": views, "can_edit": can_edit, **more}


@routes.put(f"{_TEAM}/members/<membername>", "updateOrganizationTeamMember", needs.organization())
async def add_member(call: Call, teamname: str, membername: str) -> MemberView:
    """Add a user, or a robot of the organization, to the team."""

    def add(txn: Transaction) -> Namespace:
        found, member = _named(txn, call, teamname), _person(txn, membername)
        if teams.add_member(txn, found.id, member.id):
            call.record(txn, "org_add_team_member", member=member.name, team=found.name)
        return member

    member = await call.write(add)
    return _member_view(member.name, member.kind == "robot")


@routes.delete(f"{_TEAM}/members/<membername>", "deleteOrganizationTeamMember", needs.organization())
async def remove_member(call: Call, teamname: str, membername: str) -> None:
    """Remove a member from the team. The last one who administers the organization stays."""

    def remove(txn: Transaction) -> None:
        found, member = _named(txn, call, teamname), _person(txn, membername)
        if not teams.remove_member(txn, found.id, member.id):
            raise BadRequest(f"{member.name} is not in the team {found.name}.")
        call.record(txn, "org_remove_team_member", member=member.name, team=found.name)

    await call.write(remove)


def _person(txn: Transaction, name: str) -> Namespace:
    """The user or robot of this name. Raises `BadRequest`."""
    found = namespace.find(txn, name)
    if found is None or found.kind not in ("user", "robot"):
        raise BadRequest(f"There is no user or robot {name[:80]!r}.")
    return found


def _member_view(name: str, robot: bool) -> MemberView:
    kind: Literal["robot", "user"] = "robot" if robot else "user"
    return {"name": name, "kind": "user", "is_robot": robot, "avatar": avatar(name, kind), "invited": False}
