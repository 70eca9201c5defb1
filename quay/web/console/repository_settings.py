"""The settings of a repository: who may do what, who is told of what happens, who sees it, what it is called."""

from __future__ import annotations

from typing import Final

from quay.oci.reference import RepositoryName
from quay.web.console.page import Context, View
from quay.web.console.tabs import listed, paged, rows

ROLES: Final = ("read", "write", "admin")
ROLE_TEXTS: Final = (
    ("read", "read: may pull"),
    ("write", "write: may push, and change tags"),
    ("admin", "admin: may change these settings"),
)
EVENTS: Final = (
    ("repo_push", "Something is pushed"),
    ("repo_image_expiry", "Tags expire soon"),
    ("repo_mirror_sync_started", "A synchronisation of the mirror begins"),
    ("repo_mirror_sync_success", "A synchronisation of the mirror succeeds"),
    ("repo_mirror_sync_failed", "A synchronisation of the mirror fails"),
)
"""What one can choose to be told of; the API knows Quay's events of builds and scanners, too."""

METHODS: Final = {"webhook": "Webhook", "slack": "Slack", "quay_notification": "Bell", "email": "E-mail"}
STATES: Final = (("NORMAL", "Normal"), ("READ_ONLY", "Read-only: nothing in it can be changed"))


async def settings(view: View, repository: Context) -> Context:
    """All settings; the people in pages, because there may be many."""
    name = RepositoryName.parse(repository["full"])
    users = await view.ask("listRepoUserPermissions", repository=name)
    teams = await view.ask("listRepoTeamPermissions", repository=name)
    found = await view.ask("listRepoNotifications", repository=name)
    return {
        "roles": ROLES,
        "role_texts": ROLE_TEXTS,
        "users": rows(view, _by_name(users["permissions"])),
        "teams": _by_name(teams["permissions"]),
        "notifications": [one | {"how": METHODS.get(one["method"], one["method"])} for one in found["notifications"]],
        "events": EVENTS,
        "event_texts": dict(EVENTS),
        "states": STATES,
        "signing": view.config.signing,
        "mailing": view.config.mailing,
        "namespaces": await _namespaces(view, repository),
    }


def _by_name(permissions: dict[str, Context]) -> list[Context]:
    return [permissions[name] for name in sorted(permissions)]


async def _namespaces(view: View, repository: Context) -> list[tuple[str, str]]:
    """Where the repository may move: where one may make repositories."""
    user = await view.ask("getLoggedInUser")
    mine = [one["name"] for one in user.get("organizations", []) if one["can_create_repo"]]
    return [(name, name) for name in dict.fromkeys([repository["namespace"], user["username"], *mine])]


async def deliveries(view: View, repository: Context) -> Context:
    """Each attempt to tell somebody, the latest first."""
    path: Context = {"repository": RepositoryName.parse(repository["full"]), "uuid": view.query.get("uuid", "")}
    notification = await view.ask("getRepoNotification", **path)
    found = await view.ask("listRepoNotificationDeliveries", query=paged(view), **path)
    return {
        "notification": notification | {"how": METHODS.get(notification["method"], notification["method"])},
        "event_texts": dict(EVENTS),
        **listed(view, found["deliveries"], found),
    }
