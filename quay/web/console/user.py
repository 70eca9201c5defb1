"""The pages of users: to oneself, one's account; to others, what everybody may know. And how one gets an account."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from quay.notifications.notice import EVENTS
from quay.web.console import logs, robots
from quay.web.console.organization import expirations
from quay.web.console.page import Context, Elsewhere, NoPage, PageTable, View
from quay.web.console.tabs import Tabs, listed, paged

pages = PageTable()
tabs = Tabs("console/user")

BELLS: Final = 20
"""Things to know on a page."""
TAGS: Final = 10
"""Tags that one of them names, at most."""


def _himself(user: Context) -> bool:
    return bool(user.get("is_me"))


@pages.page("/signup", "console/signup.html")
async def sign_up(view: View) -> Context:
    """Where one makes an account, if this registry lets everybody do so."""
    if view.signed_in:
        raise Elsewhere("/")
    if not may_sign_up(view):
        raise NoPage
    return {}


def may_sign_up(view: View) -> bool:
    """Whether whoever looks can make an account for himself."""
    config = view.config
    return config.user_creation and config.direct_login and not config.invite_only_user_creation


@pages.page("/user/<username>", "console/user.html")
async def show(view: View, username: str) -> Context:
    """A user."""
    found = await view.ask("getUserInformation", username=username)
    return {"user": found, **await tabs.show(view, f"/user/{quote(username)}", found)}


@tabs.tab("repositories", "Repositories")
async def repositories(view: View, user: Context) -> Context:
    """The repositories that the one who looks may see."""
    query = {"namespace": user["username"], "last_modified": "true", "public": "true"}
    found = await view.ask("listRepos", query=query | paged(view))
    return listed(view, found["repositories"], found)


@tabs.tab("robots", "Robots", _himself)
async def robot_accounts(view: View, user: Context) -> Context:
    """The robots."""
    return await robots.gather(view, robots.of_user(user["username"]), administers=True)


@tabs.tab("tokens", "App tokens", _himself)
async def app_tokens(view: View, user: Context) -> Context:
    """The app tokens; `possible` says whether this registry has such."""
    if not view.config.app_specific_tokens:
        return {"possible": False, **listed(view, [], {})}
    found = await view.ask("listAppTokens", query=paged(view))
    return {"possible": True, **listed(view, found["tokens"], found)}


@tabs.tab("authorizations", "Authorizations", _himself)
async def authorizations(view: View, user: Context) -> Context:
    """The applications that may act for one."""
    found = await view.ask("listUserAuthorizations")
    return {"authorizations": found["authorizations"]}


@tabs.tab("sessions", "Sessions", _himself)
async def sessions(view: View, user: Context) -> Context:
    """Where one is signed in."""
    found = await view.ask("listUserSessions")
    return {"sessions": found["sessions"]}


@tabs.tab("security", "Security", _himself)
async def security(view: View, user: Context) -> Context:
    """Password and second factor."""
    return {"factor": await view.ask("getSecondFactor")}


@tabs.tab("logs", "Usage logs", _himself)
async def usage_logs(view: View, user: Context) -> Context:
    """What was done."""
    found = await logs.gather(view, "listUserLogs", "getAggregateUserLogs", "exportUserLogs")
    return {"logs": found, "hidden": {"tab": "logs"}, "by_performer": True}


@tabs.tab("notifications", "Notifications", _himself)
async def notifications(view: View, user: Context) -> Context:
    """What the bell rang for."""
    number = _number(view.query.get("page", ""))
    found = await view.ask("listUserNotifications", query={"page": str(number), "limit": str(BELLS)})
    return {
        "bells": [bell | _told(bell) for bell in found["notifications"]],
        "before": view.at(page=number - 1 if number > 2 else None) if number > 1 else None,
        "after": view.at(page=number + 1) if found["additional"] else None,
    }


def _told(bell: Context) -> Context:
    """What happened to which repository, and to which tags of it."""
    known = bell["metadata"]
    tags = known.get("updated_tags") or known.get("docker_tags") or known.get("tags") or ()
    return {
        "repository": str(known.get("repository", "")),
        "what": EVENTS.get(bell["kind"], bell["kind"].replace("_", " ")),
        "tags": [str(tag) for tag in tags][:TAGS] if isinstance(tags, list) else [],
    }


@tabs.tab("settings", "Settings", _himself)
async def settings(view: View, user: Context) -> Context:
    """What can be set, and the end."""
    known: dict[str, Any] = await view.ask("getLoggedInUser")
    return {
        "expirations": expirations(view, user),
        "may_rename": view.config.user_rename,
        "organizations": known["organizations"],
    }


def _number(text: str) -> int:
    return min(max(1, int(text)), 10_000) if text.isascii() and text.isdigit() and len(text) < 9 else 1
