"""
Robots of users and of organizations: made, listed, deleted, their tokens regenerated.

A token is kept as a hash. So it is in the answers to PUT and to `regenerate`, which make it, and in no other: reading a
robot, or a list of them with Quay's `token=true`, gives everything but the member `token`. Whoever has lost a token
regenerates it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import credential, membership, permission
from quay.model import robot as robots
from quay.model.membership import Holdings
from quay.model.namespace import Namespace
from quay.model.permission import Granted
from quay.model.robot import Robot
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest
from quay.web.api.pages import PageQuery
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.team import PermissionsOf, TeamOf, permission_page, team_of
from quay.web.api.views import http_date, optional_date

routes = Routes("robot", "Manage user and organization robot accounts.")

PAGE: Final = 1000
"""Robots on one page."""
NAMED: Final = 100
"""Robots on one page that names their teams and repositories."""
METADATA_LIMIT: Final = 4096
"""Bytes of JSON that an owner may keep with a robot."""

_USERS: Final = "/user/robots"
_ORGANIZATIONS: Final = "/organization/<orgname>/robots"


class CreateRobot(TypedDict):
    """Optional data for creating a robot."""

    description: NotRequired[Annotated[str | None, Schema(maxLength=255, description="What the robot is for")]]
    unstructured_metadata: NotRequired[dict[str, Any] | None]


class RobotView(TypedDict):
    """A robot; `token` only where it has just been made, and nowhere afterwards."""

    name: str
    created: str
    last_accessed: str | None
    description: str
    unstructured_metadata: NotRequired[dict[str, Any]]
    token: NotRequired[str]


class ListedRobot(RobotView):
    """A robot in a list; its teams and the repositories it has a role on, if `permissions` asked for them."""

    teams: list[TeamOf]
    repositories: list[str]


class RobotViews(TypedDict):
    robots: list[ListedRobot]
    next_page: NotRequired[str]


class RobotsQuery(PageQuery):
    permissions: Annotated[bool, Schema(default=False, description="Whether to name teams and repositories")]
    token: NotRequired[Annotated[bool, Schema(description="Taken and passed over: tokens are shown once")]]
    limit: NotRequired[Annotated[int, Schema(minimum=1, description="The number of robots to return at most")]]


@routes.get(_USERS, "getUserRobots", needs.account("user:admin"))
@routes.get(_ORGANIZATIONS, "getOrgRobots", needs.organization("member"))
async def list_all(call: Call, query: RobotsQuery) -> RobotViews:
    """List the robots. Only who administers an organization is told what its robots may do."""
    owner = _owner(call)
    about = f"robots of {owner.id}"
    after = pages.position(call.means.seals, query.get("next_page"), about)
    named = query["permissions"]
    limit = min(query.get("limit", PAGE), NAMED if named else PAGE)

    def read(txn: Transaction) -> tuple[list[Robot], Mapping[int, Holdings]]:
        found = robots.of_owner(txn, owner, after=after or "", limit=limit + 1)
        told = named and (owner.kind == "user" or needs.is_administrator(txn, call.principal, owner))
        held = membership.holdings(txn, owner, [each.id for each in found], everywhere=True) if told else {}
        return found, held

    found, held = await call.read(read)
    sizes = (len(each.teams) + len(each.repositories) for each in held.values())
    room = membership.affordable(sizes) if held else limit
    kept, more = pages.page(call.means.seals, about, found, min(limit, room), lambda robot: robot.name)
    views = [_listed(robot, held.get(robot.id, Holdings())) for robot in kept]
    return {"robots": views, **more}


@routes.get(f"{_USERS}/<robot_shortname>", "getUserRobot", needs.account("user:admin"))
@routes.get(f"{_ORGANIZATIONS}/<robot_shortname>", "getOrgRobot", needs.organization())
async def get(call: Call, robot_shortname: str) -> RobotView:
    """Get the robot. Its token was shown when it was made, and is not shown again."""
    return _view(await call.read(_one, _owner(call), robot_shortname))


@routes.put(f"{_USERS}/<robot_shortname>", "createUserRobot", needs.account("user:admin"), status=201)
@routes.put(f"{_ORGANIZATIONS}/<robot_shortname>", "createOrgRobot", needs.organization(), status=201)
async def create(call: Call, robot_shortname: str, body: CreateRobot) -> RobotView:
    """Create a robot. Its token is shown in this answer only."""
    if not call.means.registry.policy.allows_robot(f"{_owner(call).name}+{robot_shortname}"):
        raise BadRequest("This registry takes no robots but those in its ROBOTS_WHITELIST.")
    description, metadata = body.get("description") or "", _checked(body.get("unstructured_metadata") or {})

    def make(txn: Transaction) -> tuple[Robot, str]:
        made = robots.create(txn, _owner(call), robot_shortname, description=description, metadata=metadata)
        call.record(txn, "create_robot", robot=robot_shortname, description=description, unstructured_metadata=metadata)
        return made

    return _view(*await call.write(make))


@routes.delete(f"{_USERS}/<robot_shortname>", "deleteUserRobot", needs.account("user:admin"))
@routes.delete(f"{_ORGANIZATIONS}/<robot_shortname>", "deleteOrgRobot", needs.organization())
async def delete(call: Call, robot_shortname: str) -> None:
    """Delete the robot. Its token is worthless at once."""

    def remove(txn: Transaction) -> None:
        robots.delete(txn, _one(txn, _owner(call), robot_shortname).id)
        call.record(txn, "delete_robot", robot=robot_shortname)

    await call.write(remove)


@routes.post(f"{_USERS}/<robot_shortname>/regenerate", "regenerateUserRobotToken", needs.account("user:admin"))
@routes.post(f"{_ORGANIZATIONS}/<robot_shortname>/regenerate", "regenerateOrgRobotToken", needs.organization())
async def regenerate(call: Call, robot_shortname: str) -> RobotView:
    """Give the robot a new token, shown in this answer only. The old one is worthless at once."""

    def replace(txn: Transaction) -> tuple[Robot, str]:
        found = _one(txn, _owner(call), robot_shortname)
        token = credential.replace_robot_token(txn, found.id)
        call.record(txn, "regenerate_robot_token", robot=robot_shortname)
        return found, token

    return _view(*await call.write(replace))


@routes.get(f"{_USERS}/<robot_shortname>/permissions", "getUserRobotPermissions", needs.account("user:admin"))
@routes.get(f"{_ORGANIZATIONS}/<robot_shortname>/permissions", "getOrgRobotPermissions", needs.organization())
async def list_permissions(call: Call, robot_shortname: str, query: PageQuery) -> PermissionsOf:
    """List the repositories on which the robot has a role, and the roles."""
    owner = _owner(call)
    about = f"permissions of robot {owner.id} {robot_shortname}"
    after = pages.position(call.means.seals, query.get("next_page"), about)

    def read(txn: Transaction) -> list[Granted]:
        found = _one(txn, owner, robot_shortname)
        return permission.granted(txn, grantee_id=found.id, after=after or "", limit=PAGE + 1)

    return permission_page(call, about, await call.read(read))


def _owner(call: Call) -> Namespace:
    """Whose robots the path speaks of: the organization's, else the caller's."""
    return call.found.organization or call.user


def _one(txn: Transaction, owner: Namespace, short: str) -> Robot:
    found = robots.find(txn, owner, short)
    if found is None:
        raise BadRequest(f"{owner.name} has no robot {short[:80]!r}.")
    return found


def _checked(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(metadata)) > METADATA_LIMIT:
        raise BadRequest(f"'unstructured_metadata' has more than {METADATA_LIMIT} bytes.")
    return metadata


def _view(robot: Robot, token: str | None = None) -> RobotView:
    view: RobotView = {
        "name": robot.name,
        "created": http_date(robot.created_ms),
        "last_accessed": optional_date(robot.last_accessed_ms),
        "description": robot.description,
        "unstructured_metadata": dict(robot.metadata),
    }
    if token is not None:
        view["token"] = token
    return view


def _listed(robot: Robot, held: Holdings) -> ListedRobot:
    return {
        "name": robot.name,
        "created": http_date(robot.created_ms),
        "last_accessed": optional_date(robot.last_accessed_ms),
        "description": robot.description,
        "teams": [team_of(name) for name in held.teams],
        "repositories": list(held.repositories),
    }
