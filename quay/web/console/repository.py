"""The pages of repositories: listed, made, and one of them with its tabs."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from quay.oci.reference import RepositoryName
from quay.web.console import archives, logs, repository_settings, tags
from quay.web.console.chart import chart
from quay.web.console.commands import Registry
from quay.web.console.page import Context, PageTable, View, only_signed_in
from quay.web.console.tabs import Tabs, listed, paged
from quay.web.pages.markdown import render

pages = PageTable()
tabs = Tabs("console/repository")

VISIBILITIES: Final = (
    ("private", "Private: by roles only"),
    ("public", "Public: anybody may pull"),
)


# --- lists, and a new one -----------------------------------------------------------------------------------------


@pages.page("/repository", "console/repositories.html")
async def repositories(view: View) -> Context:
    """The repositories that one sees: all of them, those of one namespace, or those with a star."""
    namespaces = await _namespaces(view)
    if view.query.get("starred") and view.signed_in:
        chosen, asked = "starred", {"starred": "true"}
    elif view.query.get("namespace"):
        chosen = view.query["namespace"]
        asked = {"namespace": chosen, "public": "true"}
    else:
        chosen, asked = "", {"public": "true"}
    found = await view.ask("listRepos", query=asked | {"last_modified": "true"} | paged(view))
    strange = chosen not in ("", "starred") and all(one["name"] != chosen for one in namespaces)
    return {
        "namespaces": namespaces,
        "chosen": chosen,
        "strange": strange,
        "pushes": Registry.of(view).pushes(f"{_pushed_to(view, chosen)}/IMAGE", view.principal.name),
        **listed(view, found["repositories"], found),
    }


def _pushed_to(view: View, chosen: str) -> str:
    if chosen not in ("", "starred"):
        return chosen
    return view.principal.name if view.signed_in else "NAMESPACE"


async def _namespaces(view: View) -> list[Context]:
    """One's own namespace, and the organizations that one belongs to, with whether one may make repositories there."""
    if not view.signed_in:
        return []
    user = await view.ask("getLoggedInUser")
    own = {"name": user["username"], "avatar": user["avatar"], "can_create_repo": True}
    return [own, *user.get("organizations", [])]


@pages.page("/new", "console/repository_new.html")
async def new(view: View) -> Context:
    """Where one makes a repository."""
    only_signed_in(view)
    names = [(one["name"], one["name"]) for one in await _namespaces(view) if one["can_create_repo"]]
    return {"namespaces": names, "namespace": view.query.get("namespace", ""), "visibilities": VISIBILITIES}


# --- one of them --------------------------------------------------------------------------------------------------


@pages.page("/repository/<repository:repository>", "console/repository.html")
async def show(view: View, repository: RepositoryName) -> Context:
    """A repository, as far as the one who looks may see it."""
    home = home_of(repository)
    with_stats = view.query.get("tab", "information") == "information"
    query = {"includeTags": "false", "includeStats": "true" if with_stats else "false"}
    found = await view.ask("getRepo", query=query, repository=repository)
    subject = found | {"full": str(repository), "home": home}
    return {
        "repository": subject,
        "path": {"repository": subject["full"]},
        **await tabs.show(view, home, subject),
    }


def home_of(repository: RepositoryName) -> str:
    """The address of the page of a repository."""
    return f"/repository/{quote(str(repository))}"


def _has_images(repository: Context) -> bool:
    return bool(repository["kind"] == "image")


def _administers(repository: Context) -> bool:
    return bool(repository["can_admin"])


@tabs.tab("information", "Information")
async def information(view: View, repository: Context) -> Context:
    """What it is for, how to pull from it, and how much it is used."""
    registry, name = Registry.of(view), repository["full"]
    latest = await _latest(view, repository)
    return {
        "about": await view.in_background(render, repository["description"]),
        "latest": latest,
        "pulls": registry.pulls(name, latest["name"]) if latest else [],
        "pushes": registry.pushes(name, view.principal.name if view.signed_in else "USER"),
        "activity": chart((day["date"], day["count"]) for day in repository.get("stats", [])),
    }


async def _latest(view: View, repository: Context) -> Any:
    """The tag that a reader most likely wants: `latest`, else the one that was pushed last; None if there is none."""
    if not _has_images(repository):
        return None
    name = RepositoryName.parse(repository["full"])
    for wanted in ({"specificTag": "latest"}, {"detailed": "true"}, {}):
        query = {"onlyActiveTags": "true", "limit": "1"} | wanted
        found = await view.ask("listRepoTags", query=query, repository=name)
        if found["tags"]:
            return found["tags"][0]
    return None


@tabs.tab("tags", "Tags", _has_images)
async def current(view: View, repository: Context) -> Context:
    return await tags.current(view, repository)


@tabs.tab("history", "Tag history", _has_images)
async def history(view: View, repository: Context) -> Context:
    return await tags.history(view, repository)


@tabs.tab("upload", "Upload", lambda repository: _has_images(repository) and tags.can_change(repository))
async def upload(view: View, repository: Context) -> Context:
    return await archives.upload(view, repository)


@tabs.tab("logs", "Usage logs", _administers)
async def usage_logs(view: View, repository: Context) -> Context:
    name = RepositoryName.parse(repository["full"])
    found = await logs.gather(view, "listRepoLogs", "getAggregateRepoLogs", "exportRepoLogs", repository=name)
    return {"logs": found, "hidden": {"tab": "logs"}}


@tabs.tab("settings", "Settings", _administers)
async def settings(view: View, repository: Context) -> Context:
    return await repository_settings.settings(view, repository) | {"visibilities": VISIBILITIES}


@tabs.tab("deliveries", "Settings", _administers, listed=False)
async def deliveries(view: View, repository: Context) -> Context:
    return await repository_settings.deliveries(view, repository)
