"""Searches: for repositories, for whatever has a name, and for those to whom rights can be given."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import namespace, permission, search
from quay.model.namespace import Namespace
from quay.model.search import FoundTeam, Hit
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, avatar

routes = Routes("search", "Conduct searches against all registry context.")

OF_EACH: Final = 5
"""So many of each kind a search for everything finds."""

ENTITIES: Final = 10
_QUERY_LIMIT: Final = 255

# --- repositories -------------------------------------------------------------------------------------------------


class NamespaceHit(TypedDict):
    """A user or an organization that was found, or in which something was."""

    kind: str
    name: str
    avatar: Avatar
    score: float
    href: str
    title: str


class RepositoryHit(TypedDict):
    """A repository that was found; `last_modified` in seconds since the epoch."""

    kind: str
    title: str
    namespace: NamespaceHit
    name: str
    description: str
    is_public: bool
    score: float
    href: str
    last_modified: int | None
    stars: int
    popularity: int


class RepoSearchQuery(TypedDict):
    query: Annotated[str, Schema(default="", maxLength=_QUERY_LIMIT, description="The search query.")]
    page: Annotated[int, Schema(default=1, minimum=1, description="The page.")]


class RepoSearchPage(TypedDict):
    results: list[RepositoryHit]
    has_additional: bool
    page: int
    page_size: int
    start_index: int


@routes.get("/find/repositories", "conductRepoSearch", needs.anybody)
async def find_repositories(call: Call, query: RepoSearchQuery) -> RepoSearchPage:
    """Get a list of apps and repositories that match the specified query."""
    config = call.means.config
    size, last = config.search_results_per_page, config.search_max_result_page_count
    page = min(query["page"], last)
    start = (page - 1) * size
    found = await call.read(search.repositories, call.reader_id, query["query"], offset=start, limit=size + 1)
    return {
        "results": [_repository(hit) for hit in found[:size]],
        "has_additional": len(found) > size and page < last,
        "page": page,
        "page_size": size,
        "start_index": start,
    }


def _repository(hit: Hit) -> RepositoryHit:
    found = hit.listed
    kind = "organization" if found.organization else "user"
    return {
        "kind": "repository" if found.kind == "image" else found.kind,
        "title": "repo" if found.kind == "image" else "app",
        "namespace": _named(found.name.namespace, kind),
        "name": found.name.path,
        "description": found.description,
        "is_public": found.public,
        "score": round(hit.score, 3),
        "href": f"/{'repository' if found.kind == 'image' else 'application'}/{found.name}",
        "last_modified": None if found.pushed_ms is None else found.pushed_ms // 1000,
        "stars": found.stars,
        "popularity": hit.popularity,
    }


def _named(name: str, kind: str) -> NamespaceHit:
    return {
        "kind": kind,
        "title": "org" if kind == "organization" else "user",
        "name": name,
        "avatar": avatar(name, "org" if kind == "organization" else "user"),
        "score": 1.0,
        "href": f"/{kind}/{name}",
    }


# --- everything ---------------------------------------------------------------------------------------------------


class RobotHit(TypedDict):
    kind: Literal["robot"]
    title: str
    name: str
    short_name: str
    avatar: Avatar
    score: float
    href: str


class TeamHit(TypedDict):
    kind: Literal["team"]
    title: str
    name: str
    organization: NamespaceHit
    avatar: Avatar
    score: float
    href: str


class FindQuery(TypedDict):
    query: Annotated[str, Schema(default="", maxLength=_QUERY_LIMIT, description="The search query.")]


class FoundAll(TypedDict):
    """What was found, the best first: each in the shape of its kind."""

    results: list[dict[str, Any]]


@routes.get("/find/all", "conductSearch", needs.anybody)
async def find_all(call: Call, query: FindQuery) -> FoundAll:
    """Get a list of entities and resources that match the specified query."""
    text = query["query"].strip().lower()

    def read(txn: Transaction) -> list[Any]:
        results: list[Any] = [_repository(hit) for hit in search.repositories(txn, call.reader_id, text, limit=OF_EACH)]
        people = search.namespaces(txn, text, kinds=("user",), exact=_by_whole_name(call), limit=OF_EACH)
        places = search.namespaces(txn, text, kinds=("organization",), limit=OF_EACH)
        results += [_named(one.name, one.kind) for one in (*people, *places)]
        if _sees_accounts(call) and call.principal.namespace_id is not None:
            viewer = call.principal.namespace_id
            found = search.robots(txn, text, search.owners_for(txn, viewer), limit=OF_EACH)
            results += map(_robot, found)
            results += map(_team, search.teams(txn, text, viewer, limit=OF_EACH))
        return results

    found = await call.read(read) if text else []
    return {"results": sorted(map(_closer(text), found), key=lambda one: -one["score"])}


def _by_whole_name(call: Call) -> bool:
    """Whether the caller finds only those people whose names he knows."""
    return call.principal.kind == "anonymous" or not call.means.config.partial_user_autocomplete


def _sees_accounts(call: Call) -> bool:
    """Whether the caller's credentials are good for looking at robots and teams."""
    return call.permits("org:admin") and call.principal.kind != "robot"


def _closer(text: str) -> Any:
    """Weigh a result by how much of its name the query is: all of it counts as twice a repository that fits well."""

    def weighed(result: Any) -> Any:
        name = result.get("short_name", result["name"])
        share = len(text) / len(name) if name.startswith(text) else 0.3
        base = result["score"] if "is_public" in result else 50.0
        return result | {"score": round(base * min(share, 1.0), 3)}

    return weighed


def _robot(found: Namespace) -> RobotHit:
    owner, _, short = found.name.partition("+")
    return {
        "kind": "robot",
        "title": "robot",
        "name": found.name,
        "short_name": short,
        "avatar": avatar(found.name, "robot"),
        "score": 1.0,
        "href": f"/user/{owner}?tab=robots&showRobot={owner}%2B{short}",
    }


def _team(found: FoundTeam) -> TeamHit:
    return {
        "kind": "team",
        "title": "team",
        "name": found.name,
        "organization": _named(found.organization, "organization"),
        "avatar": avatar(found.name, "team"),
        "score": 1.0,
        "href": f"/organization/{found.organization}/teams/{found.name}",
    }


# --- to whom rights can be given ----------------------------------------------------------------------------------


class EntityQuery(TypedDict):
    namespace: Annotated[str, Schema(default="", maxLength=_QUERY_LIMIT, description="The organization they are for")]
    includeTeams: Annotated[bool, Schema(default=False, description="Whether to include team names.")]
    includeOrgs: Annotated[bool, Schema(default=False, description="Whether to include orgs names.")]


class EntityView(TypedDict):
    """Somebody to whom rights can be given; `is_org_member` where an organization was asked for."""

    name: str
    kind: Literal["user", "team", "org"]
    avatar: Avatar
    is_robot: NotRequired[bool]
    is_org_member: NotRequired[bool]


class Entities(TypedDict):
    results: list[EntityView]


@routes.get("/entities/<prefix>", "getMatchingEntities", needs.anybody)
async def entities(call: Call, prefix: str, query: EntityQuery) -> Entities:
    """Get a list of entities that match the specified prefix."""
    text = prefix.replace(" ", "").lower()[:_QUERY_LIMIT]

    def read(txn: Transaction) -> list[EntityView]:
        place = namespace.find(txn, query["namespace"]) if query["namespace"] else None
        organization = place if place is not None and place.kind == "organization" else None
        found = search.namespaces(txn, text, kinds=("user",), exact=_by_whole_name(call), limit=ENTITIES)
        if place is not None and _is_ours(txn, call, place):
            found += search.robots(txn, text, [place.id], limit=ENTITIES)
        shown = _people(txn, found, organization)
        if organization is not None and _is_ours(txn, call, organization):
            shown = _of_organization(txn, call, organization, text, query) + shown
        return shown

    return {"results": await call.read(read) if text else []}


def _is_ours(txn: Transaction, call: Call, place: Namespace) -> bool:
    """Whether the caller may know the robots and teams of a namespace: it is his own, or he is a member."""
    viewer = call.principal.namespace_id
    if viewer is None or not call.permits("org:admin"):
        return False
    return viewer == place.id or permission.is_member(txn, place.id, viewer)


def _people(txn: Transaction, found: list[Namespace], organization: Namespace | None) -> list[EntityView]:
    members = search.members(txn, organization.id, [one.id for one in found]) if organization is not None else set()
    views: list[EntityView] = []
    for one in found:
        robot = one.kind == "robot"
        view: EntityView = {
            "name": one.name,
            "kind": "user",
            "is_robot": robot,
            "avatar": avatar(one.name, "robot" if robot else "user"),
        }
        if organization is not None:
            view["is_org_member"] = one.id in members
        views.append(view)
    return views


def _of_organization(
    txn: Transaction, call: Call, organization: Namespace, text: str, query: EntityQuery
) -> list[EntityView]:
    views: list[EntityView] = []
    viewer = call.principal.namespace_id or 0
    if query["includeTeams"]:
        found = search.teams(txn, text, viewer, organization_id=organization.id, limit=ENTITIES)
        views += [_entity(one.name, "team") for one in found]
    fits = query["includeOrgs"] and organization.name.startswith(text)
    if fits and permission.administers(txn, organization.id, viewer):
        views.append(_entity(organization.name, "org"))
    return views


def _entity(name: str, kind: Literal["team", "org"]) -> EntityView:
    return {"name": name, "kind": kind, "is_org_member": True, "avatar": avatar(name, kind)}


class Linked(TypedDict):
    entity: EntityView


@routes.post("/entities/link/<username>", "linkExternalUser", needs.anybody, internal=True)
async def link(call: Call, username: str) -> Linked:
    """Link a user of an external directory into the registry: there is no directory but the registry's own."""
    raise NotFound("This registry has no external directory from which a user could be linked.")
