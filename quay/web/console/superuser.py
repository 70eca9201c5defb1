"""The administration of the whole registry, for superusers: each tab is what one route of the API lists, with forms."""

from __future__ import annotations

from typing import Final

from quay.web.api.errors import Forbidden
from quay.web.console import logs
from quay.web.console.page import Context, PageTable, View, only_signed_in
from quay.web.console.surroundings import rendered
from quay.web.console.tabs import Tabs, listed, paged

pages = PageTable()
tabs = Tabs("console/superuser")

HOME: Final = "/superuser/"
JOBS: Final = "/superuser/jobs/"
BUNDLES: Final = "/superuser/bundles/"
ROWS: Final = 50
"""Users, organizations on a page."""

WORKERS: Final = {
    "garbage-collector": "Removes what nobody can reach or restore",
    "tag-expiry": "Ends tags whose time has come",
    "upload-reaper": "Forgets uploads that nobody goes on with",
    "namespace-removal": "Removes what deleted accounts and organizations had",
    "session-reaper": "Forgets sessions that are over",
    "last-use": "Writes down when credentials were last used",
    "token-expiry": "Forgets app tokens that have expired",
    "audit-sealer": "Seals the audit log",
    "search-index": "Keeps what is searched in step",
    "log-upkeep": "Forgets exports and old entries of the log",
    "notifier": "Delivers notifications",
    "notification-log": "Forgets old deliveries of notifications",
    "jobs": "Runs the jobs that were asked for",
    "backups": "Makes and verifies the backups that were asked for",
    "bundles": "Makes, verifies and loads the bundles that were asked for",
    "imports": "Brings what was asked for from other registries",
    "backup-schedule": "Asks for the backups that are due",
    "tls-renewal": "Renews the certificate of this server",
}
"""What the work in the background is for; one that is not here is told by its name."""


@pages.page("/superuser", "console/superuser.html")
async def show(view: View) -> Context:
    """The administration, for superusers and nobody else."""
    only_superusers(view)
    found = await tabs.show(view, HOME, {})
    return found | {"tabs": navigation(found["tabs"])}


def navigation(shown: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The tabs, with the pages of jobs and bundles among them."""
    return [*shown, (JOBS, "Jobs"), (BUNDLES, "Bundles")]


def only_superusers(view: View) -> None:
    """Raises `SignInFirst`, `Forbidden`."""
    only_signed_in(view)
    if not view.principal.superuser:
        raise Forbidden(f"{view.principal.name} does not administer this registry.")


@tabs.tab("users", "Users")
async def users(view: View, subject: Context) -> Context:
    if view.query.get("user"):
        one = await view.ask("getInstallUser", username=view.query["user"])
        return {"one": one, "rows": [], "before": None, "after": None}
    found = await view.ask("listAllUsers", query={"limit": str(ROWS)} | paged(view))
    return {"one": None, "may_create": view.config.authentication == "Database", **listed(view, found["users"], found)}


@tabs.tab("organizations", "Organizations")
async def organizations(view: View, subject: Context) -> Context:
    found = await view.ask("listAllOrganizations", query={"limit": str(ROWS)} | paged(view))
    chosen = view.query.get("organization", "")
    return {"chosen": chosen, **listed(view, found["organizations"], found)}


@tabs.tab("logs", "Usage logs")
async def usage_logs(view: View, subject: Context) -> Context:
    found = await logs.gather(view, "listAllLogs", "listAllAggregateLogs")
    return {"logs": found, "hidden": {"tab": "logs"}}


@tabs.tab("messages", "Messages")
async def messages(view: View, subject: Context) -> Context:
    found = await view.ask("getGlobalMessages")
    return {"rows": [one | {"shown": await rendered(view, one)} for one in found["messages"]]}


@tabs.tab("keys", "Service keys")
async def service_keys(view: View, subject: Context) -> Context:
    found = await view.ask("listServiceKeys", query=paged(view))
    return listed(view, found["keys"], found)


@tabs.tab("health", "Health")
async def health(view: View, subject: Context) -> Context:
    found = await view.ask("getInstallationHealth")
    return {
        "services": [_service(name, works) for name, works in found["services"].items()],
        "workers": [worker | {"what": WORKERS.get(worker["name"], worker["name"])} for worker in found["workers"]],
        "condition": found["condition"],
        "well": all(found["services"].values()) and not any(one["last_error"] for one in found["workers"]),
        "ailing": any(one["state"] == "wrong" for one in found["condition"]),
    }


def _service(name: str, works: bool) -> Context:
    kind, _, location = name.partition(":")
    if kind == "database":
        what, advice = "The database takes rows and keeps them", "database-away"
    else:
        what, advice = f"The storage {location} takes bytes and gives them back", "disk-full"
    return {"name": name, "works": works, "what": what, "advice": advice}


@tabs.tab("storage", "Storage")
async def storage(view: View, subject: Context) -> Context:
    wanted = bool(view.query.get("garbage"))
    found = await view.ask("getStorageUse", query={"garbage": "true" if wanted else "false"})
    return {"storage": found, "bytes": sum(one["bytes"] for one in found["locations"])}
