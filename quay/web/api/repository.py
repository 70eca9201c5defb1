"""Repositories: made, listed, shown, described, published, renamed and deleted."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import activity, listing, namespace, permission, pull, time_machine
from quay.model import repository as repositories
from quay.model.listing import Listed
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.repository import Repository
from quay.model.tag import TagRow
from quay.oci.reference import RepositoryName
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden
from quay.web.api.identity import required
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import DONE, Success, http_date, optional_date

routes = Routes("repository", "List, create and manage repositories.")

PAGE: Final = 100
RECENT: Final = 5
"""Repositories that a short list of the latest has."""
TAGS_SHOWN: Final = 500
DAYS_SHOWN: Final = 92
_ONE: Final = "/repository/<repository:repository>"

Name = Annotated[str, Schema(minLength=1, maxLength=255)]
Description = Annotated[str, Schema(maxLength=25_000, description="Markdown encoded description for the repository")]
VisibilityName = Annotated[Literal["public", "private"], Schema(description="Whether everybody may pull from it")]

# --- a new one ----------------------------------------------------------------------------------------------------


class NewRepo(TypedDict):
    """Describes a new repository."""

    repository: Annotated[Name, Schema(description="Repository name")]
    visibility: VisibilityName
    namespace: NotRequired[Annotated[Name, Schema(description="Namespace in which it is made: by default, the user's")]]
    description: Description
    repo_kind: NotRequired[Annotated[Literal["image", "application"] | None, Schema(description="The kind")]]


class CreatedRepo(TypedDict):
    namespace: str
    name: str
    kind: str


@routes.post("/repository", "createRepo", needs.anybody, status=201)
async def create(call: Call, body: NewRepo) -> CreatedRepo:
    """Create a new repository."""
    where = body.get("namespace") or _own_namespace(call)
    if call.principal.kind == "anonymous":
        raise required()
    name, kind = _name(call, where, body["repository"]), body.get("repo_kind") or "image"

    def make(txn: Transaction) -> None:
        made = repositories.create(
            txn,
            name,
            namespace_id=_namespace_for_new(txn, call, where).id,
            creator_id=call.principal.namespace_id,
            public=body["visibility"] == "public",
            description=body["description"],
            kind=kind,
        )
        call.record(txn, "create_repo", repository=made)

    await call.write(make)
    return {"namespace": name.namespace, "name": name.path, "kind": kind}


def _own_namespace(call: Call) -> str:
    if call.principal.kind not in ("user", "app_token", "oauth_token"):
        raise BadRequest("Must provide a namespace or must be logged in.")
    return call.principal.name


def _name(call: Call, namespace: str, path: str) -> RepositoryName:
    """The name of a repository to be. Raises `BadRequest`, `NameInvalid`."""
    name = RepositoryName.parse(f"{namespace}/{path}")
    if name.namespace != namespace:
        raise BadRequest("Invalid repository name: a namespace has no slash in it.")
    if "/" in name.path and not call.means.registry.policy.nested_names:
        raise BadRequest("Invalid repository name: this registry takes no names with slashes in them.")
    return name


def _namespace_for_new(txn: Transaction, call: Call, name: str) -> Namespace:
    """The namespace `name`, if the caller may make a repository in it. Raises `Forbidden`."""
    found, holder_id = namespace.find(txn, name), call.principal.namespace_id
    if found is None or holder_id is None or not call.permits("repo:create"):
        raise Forbidden(f"{call.principal.name} may not create repositories in {name}.")
    if not found.enabled or not permission.may_create(txn, found.id, holder_id):
        raise Forbidden(f"{call.principal.name} may not create repositories in {name}.")
    return found


# --- lists --------------------------------------------------------------------------------------------------------


class RepoQuery(TypedDict):
    next_page: NotRequired[str]
    namespace: NotRequired[Annotated[str, Schema(maxLength=255, description="Filters to this namespace")]]
    starred: Annotated[bool, Schema(default=False, description="Only those that the user has starred")]
    public: Annotated[bool, Schema(default=False, description="Also those that are visible by being public")]
    recent: Annotated[bool, Schema(default=False, description="Only a few, to which somebody pushed last; no pages")]
    last_modified: Annotated[bool, Schema(default=False, description="Whether to say when they were last pushed to")]
    popularity: Annotated[bool, Schema(default=False, description="Whether to include the popularity metric")]
    repo_kind: Annotated[Literal["image", "application"], Schema(default="image")]


class RepoItem(TypedDict):
    """A repository in a list."""

    namespace: str
    name: str
    description: str
    is_public: bool
    kind: str
    state: str
    last_modified: NotRequired[int | None]
    popularity: NotRequired[int]
    is_starred: NotRequired[bool]


class RepoItems(TypedDict):
    repositories: list[RepoItem]
    next_page: NotRequired[str]


@routes.get("/repository", "listRepos", needs.anybody)
async def list_repositories(call: Call, query: RepoQuery) -> RepoItems:
    """Fetch the list of repositories visible to the current user under a variety of situations."""
    within, starred, reader = query.get("namespace"), query["starred"], call.reader_id
    if not (within or starred or query["public"] or query["recent"]):
        raise BadRequest("namespace, starred or public are required for this API call")
    if starred and reader is None:
        raise BadRequest("Nobody is logged in, so nobody has starred anything.")
    about = f"listRepos {within or ''} {starred} {query['public']} {query['repo_kind']}"

    def read(txn: Transaction) -> RepoItems:
        if query["recent"]:
            latest = listing.recent(txn, reader, limit=RECENT)
            return {"repositories": [item(one, modified=True, starred=reader is not None) for one in latest]}
        where: dict[str, Any] = {"after": pages.position(call.means.seals, query.get("next_page"), about)}
        where |= {"kind": query["repo_kind"], "limit": PAGE + 1}
        if starred:
            found = listing.starred(txn, reader or 0, **where)
        else:
            found = listing.visible(txn, reader, public=query["public"], within=within or None, **where)
        kept, more = pages.page(call.means.seals, about, found, PAGE, lambda one: str(one.name))
        popular = activity.popularity(txn, [one.id for one in kept]) if query["popularity"] else None
        items = [item(one, popular, modified=query["last_modified"], starred=reader is not None) for one in kept]
        return {"repositories": items, **more}

    return await call.read(read)


def item(found: Listed, popularity: dict[int, int] | None = None, *, modified: bool, starred: bool) -> RepoItem:
    """How a list shows a repository, with what was asked for."""
    shown: RepoItem = {
        "namespace": found.name.namespace,
        "name": found.name.path,
        "description": found.description,
        "is_public": found.public,
        "kind": found.kind,
        "state": found.state.upper(),
    }
    if modified:
        shown["last_modified"] = None if found.pushed_ms is None else found.pushed_ms // 1000
    if popularity is not None:
        shown["popularity"] = popularity[found.id]
    if starred:
        shown["is_starred"] = found.starred
    return shown


# --- one of them --------------------------------------------------------------------------------------------------


class OneQuery(TypedDict):
    includeStats: Annotated[bool, Schema(default=False, description="Whether to include action statistics")]
    includeTags: Annotated[bool, Schema(default=True, description="Whether to include repository tags")]


class TagOfRepo(TypedDict):
    name: str
    size: int
    last_modified: str
    manifest_digest: str
    expiration: NotRequired[str]


class DayCount(TypedDict):
    date: str
    count: int


class RepoView(TypedDict):
    """A repository, as whoever looks at it sees it."""

    namespace: str
    name: str
    kind: str
    description: str
    is_public: bool
    is_organization: bool
    is_starred: bool
    status_token: str
    trust_enabled: bool
    tag_expiration_s: int
    is_free_account: bool
    state: str
    can_write: bool
    can_admin: bool
    tags: NotRequired[dict[str, TagOfRepo]]
    stats: NotRequired[list[DayCount]]
    pull_count: NotRequired[int]
    last_pulled: NotRequired[str | None]


@routes.get(_ONE, "getRepo", needs.repository(Role.READ))
async def show(call: Call, query: OneQuery) -> RepoView:
    """Fetch the specified repository."""
    repository = call.repository

    def read(txn: Transaction) -> RepoView:
        (found,) = listing.those(txn, call.reader_id, [repository.id]) or (None,)
        shown = _view(repository, found, call.role)
        if query["includeTags"]:
            tags = time_machine.lifetimes(txn, repository.id, active=True, limit=TAGS_SHOWN)
            shown["tags"] = {tag.name: _tag(tag) for tag in tags}
        if query["includeStats"]:
            days = activity.stats(txn, repository.id, DAYS_SHOWN)
            shown["stats"] = [{"date": day.date.isoformat(), "count": day.count} for day in days]
            if call.means.config.image_pull_stats:
                pulled = pull.pulls(txn, repository.id, [pull.ALL])[pull.ALL]
                shown["pull_count"], shown["last_pulled"] = pulled.count, optional_date(pulled.last_ms)
        return shown

    return await call.read(read)


def _view(repository: Repository, found: Listed | None, role: Role) -> RepoView:
    return {
        "namespace": repository.name.namespace,
        "name": repository.name.path,
        "kind": repository.kind,
        "description": "" if found is None else found.description,
        "is_public": repository.public,
        "is_organization": found is not None and found.organization,
        "is_starred": found is not None and found.starred,
        "status_token": "",
        "trust_enabled": repository.trust_enabled,
        "tag_expiration_s": repository.time_machine_s,
        "is_free_account": True,
        "state": repository.state.upper(),
        "can_write": role >= Role.WRITE,
        "can_admin": role >= Role.ADMIN,
    }


def _tag(tag: TagRow) -> TagOfRepo:
    shown: TagOfRepo = {
        "name": tag.name,
        "size": tag.layers_size,
        "last_modified": http_date(tag.start_ms),
        "manifest_digest": tag.digest,
    }
    if tag.until_ms is not None:
        shown["expiration"] = http_date(tag.until_ms)
    return shown


class RepoUpdate(TypedDict):
    """Fields which can be updated in a repository."""

    description: Description


@routes.put(_ONE, "updateRepo", needs.repository(Role.WRITE))
async def update(call: Call, body: RepoUpdate) -> Success:
    """Update the description in the specified repository."""

    def describe(txn: Transaction) -> None:
        repositories.describe(txn, call.repository.id, body["description"])
        call.record(txn, "set_repo_description", description=body["description"][:1000])

    await call.write(describe)
    return DONE


@routes.delete(_ONE, "deleteRepository", needs.repository(Role.ADMIN, gone=True))
async def delete(call: Call) -> None:
    """Delete a repository."""
    repository = call.found.repository
    if repository is None:
        return

    def remove(txn: Transaction) -> None:
        if repositories.delete(txn, repository.id):
            call.record(txn, "delete_repo", repository=repository)

    await call.write(remove)


# --- its settings -------------------------------------------------------------------------------------------------


class Visibility(TypedDict):
    """Change the visibility of a repository."""

    visibility: VisibilityName


@routes.post(f"{_ONE}/changevisibility", "changeRepoVisibility", needs.repository(Role.ADMIN))
async def change_visibility(call: Call, body: Visibility) -> Success:
    """Change the visibility of a repository."""
    visibility = body["visibility"]

    def change(txn: Transaction) -> None:
        repositories.set_public(txn, call.repository.id, visibility == "public")
        call.record(txn, "change_repo_visibility", visibility=visibility)

    await call.write(change)
    return DONE


class Trust(TypedDict):
    """Change the trust settings for the repository."""

    trust_enabled: Annotated[bool, Schema(description="Whether or not signing is enabled for the repository.")]


@routes.post(f"{_ONE}/changetrust", "changeRepoTrust", needs.repository(Role.ADMIN), when=lambda config: config.signing)
async def change_trust(call: Call, body: Trust) -> Success:
    """Change the trust settings for the repository."""

    def change(txn: Transaction) -> None:
        repositories.set_trust(txn, call.repository.id, body["trust_enabled"])
        call.record(txn, "change_repo_trust", trust_enabled=body["trust_enabled"])

    await call.write(change)
    return DONE


class StateChange(TypedDict):
    """Change the state of the repository."""

    state: Annotated[Literal["NORMAL", "READ_ONLY", "MIRROR"], Schema(description="Who may push from now on")]


@routes.put(f"{_ONE}/changestate", "changeRepoState", needs.repository(Role.ADMIN))
async def change_state(call: Call, body: StateChange) -> Success:
    """Change the state of the repository."""
    state, repository = body["state"], call.repository
    if state == "MIRROR" and repository.mirror_robot_id is None:
        raise BadRequest(f"{repository.name} cannot be made a mirror: it has no robot that mirrors something into it.")

    def change(txn: Transaction) -> None:
        repositories.set_state(txn, repository.id, state.lower())  # type: ignore[arg-type]
        call.record(txn, "change_repo_state", state_changed=state)

    await call.write(change)
    return DONE


class Rename(TypedDict):
    """A new name for the repository."""

    name: Annotated[Name, Schema(description="What it is to be called")]
    namespace: NotRequired[Annotated[Name, Schema(description="The namespace into which it moves, if into another")]]


class Renamed(TypedDict):
    namespace: str
    name: str


@routes.post(f"{_ONE}/rename", "renameRepo", needs.repository(Role.ADMIN))
async def rename(call: Call, body: Rename) -> Renamed:
    """
    Call the repository something else, or move it to another namespace in which one may create repositories. There is
    nothing under its old name then.
    """
    repository = call.repository
    name = _name(call, body.get("namespace", repository.name.namespace), body["name"])

    def change(txn: Transaction) -> None:
        target = _namespace_for_new(txn, call, name.namespace)
        mover = call.principal.namespace_id
        renamed = repositories.rename(txn, repository, name, namespace_id=target.id, mover_id=mover)
        old = repository.name
        call.record(txn, "rename_repo", repository=renamed, old_namespace=old.namespace, old_repo=old.path)
        if target.id != repository.namespace_id:  # whom it has left is to know where it is
            call.record(txn, "rename_repo", repository=repository, new_namespace=name.namespace, new_repo=name.path)

    await call.write(change)
    return {"namespace": name.namespace, "name": name.path}
