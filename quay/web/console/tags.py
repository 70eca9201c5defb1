"""The tags of a repository: as they are, one of them with what can be done to it, how to fetch it, and as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from quay.oci.reference import RepositoryName
from quay.web.api.errors import BadRequest, NotFound
from quay.web.console.archives import downloads
from quay.web.console.commands import Registry
from quay.web.console.page import Context, View

PAGE: Final = 50
"""Tags on a page."""

PLATFORMS: Final = 3
"""Platforms of an index that a row names; of the others it says how many they are."""

ROBOTS: Final = 100
"""Robots to choose from when a tag is to be fetched."""

ATTACHED: Final[Mapping[str, str]] = {
    "signature": "signed",
    "attestation": "attested",
    "sbom": "SBOM",
    "other": "attachments",
}
"""What a row says of a tag to which something is attached."""


async def current(view: View, repository: Context) -> Context:
    """A page of the tags; with `tag` or `fetch` in the query, that tag before them."""
    query = {"onlyActiveTags": "true", "detailed": "true"}
    wanted = view.query.get("filter", "").strip()
    if wanted:
        query["filter_tag_name"] = f"like:{wanted}"
    found = await _listed(view, repository, query)
    return {
        "filter": wanted,
        "tag": await _one(view, repository, view.query["tag"]) if view.query.get("tag") else None,
        "fetch": await _fetch(view, repository, view.query["fetch"]) if view.query.get("fetch") else None,
        "can_change": can_change(repository),
        "counts_pulls": view.config.image_pull_stats,
        "may_lock": view.config.immutable_tags,
        "may_expire": view.config.change_tag_expiration,
        "restored_for": repository["tag_expiration_s"],
        "restored_until": view.now + repository["tag_expiration_s"],
        "pushes": Registry.of(view).pushes(repository["full"], view.principal.name if view.signed_in else "USER"),
        **found,
    }


async def history(view: View, repository: Context) -> Context:
    """A page of what tags were, the latest first; with `tag` in the query, of that tag alone."""
    name = view.query.get("tag", "").strip()
    found = await _listed(view, repository, {"specificTag": name} if name else {})
    reaches = view.now - repository["tag_expiration_s"]
    for row in found["rows"]:
        row["ended"] = "end_ts" in row and row["end_ts"] <= view.now
        row["restorable"] = row["ended"] and row["end_ts"] > reaches
    return {
        "name": name,
        "can_change": can_change(repository),
        "may_choose": can_change(repository) and any(row["restorable"] for row in found["rows"]),
        "may_forget": view.config.permanently_delete_tags,
        "keeps": repository["tag_expiration_s"],
        **found,
    }


async def _listed(view: View, repository: Context, query: Mapping[str, str]) -> Context:
    """A page of what the API lists, as `quay.web.console.tabs.rows` has it."""
    number = _page(view)
    asked = {"limit": str(PAGE), "page": str(number), **query}
    found = await view.ask("listRepoTags", query=asked, repository=_name(repository))
    return {
        "rows": [_row(tag) for tag in found["tags"]],
        "page": number,
        "before": view.at(page=number - 1 if number > 2 else None) if number > 1 else None,
        "after": view.at(page=number + 1) if found["has_additional"] else None,
    }


def _row(tag: Context) -> Context:
    platforms = tag.get("platforms", [])
    return {
        **tag,
        "expires": tag.get("end_ts"),
        "badges": [ATTACHED[kind] for kind in tag.get("attached", [])],
        "named": ", ".join(platforms[:PLATFORMS]),
        "more": max(0, len(platforms) - PLATFORMS),
    }


async def _one(view: View, repository: Context, name: str) -> Context:
    """The tag of this name as it is now. Raises `NotFound`."""
    query = {"specificTag": name, "onlyActiveTags": "true", "detailed": "true", "limit": "1"}
    found = await view.ask("listRepoTags", query=query, repository=_name(repository))
    if not found["tags"]:
        raise NotFound(f"{repository['full']} has no tag {name[:128]}: its history may know what became of it.")
    return _row(found["tags"][0])


async def _fetch(view: View, repository: Context, name: str) -> Context:
    """How to fetch a tag with each tool, as oneself or as a robot."""
    tag, registry = await _one(view, repository, name), Registry.of(view)
    robots = await _robots(view, repository)
    user = view.query.get("as") or (view.principal.name if view.signed_in else "")
    if user not in ["", view.principal.name, *robots]:
        raise BadRequest(f"You have no robot {user[:255]!r} in the namespace of this repository.")
    needs_login = bool(user) or not repository["is_public"]
    return {
        "tag": tag,
        "user": user,
        "robot": user if user in robots else "",
        "robots": robots,
        "logins": registry.logins(user or "USER") if needs_login else [],
        "by_tag": registry.pulls(repository["full"], name, user),
        "by_digest": registry.image(repository["full"], tag["manifest_digest"]),
        **downloads(view, repository["full"], tag, (user or "USER") if needs_login else ""),
    }


async def _robots(view: View, repository: Context) -> list[str]:
    """The robots of the repository's namespace, if the one who looks may know them."""
    owner = repository["namespace"]
    if not view.signed_in:
        return []
    if repository["is_organization"]:
        if not _belongs(await view.ask("getLoggedInUser"), owner):
            return []
        found = await view.ask("getOrgRobots", query={"limit": str(ROBOTS)}, orgname=owner)
    elif owner == view.principal.name:
        found = await view.ask("getUserRobots", query={"limit": str(ROBOTS)})
    else:
        return []
    return [robot["name"] for robot in found["robots"]]


def _belongs(user: Context, organization: str) -> bool:
    mine: Iterable[Any] = user.get("organizations", ())
    return any(one["name"] == organization for one in mine)


def can_change(repository: Context) -> bool:
    """Whether the one who looks may push tags, and delete them."""
    return bool(repository["can_write"] and repository["state"] == "NORMAL")


def _name(repository: Context) -> RepositoryName:
    return RepositoryName.parse(repository["full"])


def _page(view: View) -> int:
    text = view.query.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1
