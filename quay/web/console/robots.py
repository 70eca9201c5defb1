"""Robots, of an organization or one's own: what a tab shows of them, and the page of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import attrs

from quay.web.console.page import Context, NoPage, PageTable, View, only_signed_in
from quay.web.console.tabs import listed, paged

pages = PageTable()


@attrs.frozen
class Owner:
    """Whose robots: their `home` page, what the API's addresses name, and what its routes for them are called."""

    name: str
    home: str
    path: Mapping[str, Any]
    kind: str

    def call(self, pattern: str) -> str:
        """The nickname of a route: `get*Robot` is `getOrgRobot` or `getUserRobot`."""
        return pattern.replace("*", self.kind)


def of_organization(name: str) -> Owner:
    return Owner(name, f"/organization/{quote(name)}", {"orgname": name}, "Org")


def of_user(name: str) -> Owner:
    return Owner(name, f"/user/{quote(name)}", {}, "User")


async def gather(view: View, owner: Owner, *, administers: bool) -> Context:
    """The robots in a tab of their owner's page. Only who administers them is told what they may do."""
    query = {"permissions": "true" if administers else "false", "limit": str(ROBOTS)}
    found = await view.ask(owner.call("get*Robots"), query=query | paged(view), **owner.path)
    robots = [robot | {"short": short_name(robot["name"])} for robot in found["robots"]]
    return {"owner": owner, "administers": administers, **listed(view, robots, found)}


ROBOTS: Final = 50
"""Robots on a page."""


def short_name(name: str) -> str:
    """The part of a robot's name that its owner gave it."""
    return name.partition("+")[2]


@pages.page("/organization/<orgname>/robots/<short>", "console/robot.html")
async def robot_of_organization(view: View, orgname: str, short: str) -> Context:
    """A robot of an organization."""
    only_signed_in(view)
    return await _one(view, of_organization(orgname), short)


@pages.page("/user/<username>/robots/<short>", "console/robot.html")
async def robot_of_user(view: View, username: str, short: str) -> Context:
    """A robot of one's own: nobody sees those of others."""
    only_signed_in(view)
    if username != view.principal.name:
        raise NoPage
    return await _one(view, of_user(username), short)


async def _one(view: View, owner: Owner, short: str) -> Context:
    robot = await view.ask(owner.call("get*Robot"), robot_shortname=short, **owner.path)
    nickname = owner.call("get*RobotPermissions")
    found = await view.ask(nickname, query=paged(view), robot_shortname=short, **owner.path)
    return {"owner": owner, "robot": robot, "short": short, **listed(view, found["permissions"], found)}
