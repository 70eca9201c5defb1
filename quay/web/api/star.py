"""Stars: the repositories that a user has marked, to find them again."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import listing
from quay.model import repository as repositories
from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.repository import PAGE, RepoItems, item
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema

routes = Routes("star", "Star repositories, and list those that are starred.")


class StarQuery(TypedDict):
    next_page: NotRequired[str]


class NewStar(TypedDict):
    """The repository to star."""

    namespace: Annotated[str, Schema(maxLength=255, description="Namespace in which the repository belongs")]
    repository: Annotated[str, Schema(maxLength=255, description="Repository name")]


@routes.get("/user/starred", "listStarredRepos", needs.account())
async def list_starred(call: Call, query: StarQuery) -> RepoItems:
    """List all starred repositories."""
    user_id, seals = call.user.id, call.means.seals

    def read(txn: Transaction) -> RepoItems:
        after = pages.position(seals, query.get("next_page"), "listStarredRepos")
        found = listing.starred(txn, user_id, after=after, limit=PAGE + 1)
        kept, more = pages.page(seals, "listStarredRepos", found, PAGE, lambda one: str(one.name))
        items = [item(one, modified=False, starred=True) for one in kept]
        return {"repositories": items, **more}

    return await call.read(read)


@routes.post("/user/starred", "createStar", needs.account(), status=201)
async def create(call: Call, body: NewStar) -> NewStar:
    """Star a repository."""
    name = _name(body)

    def add(txn: Transaction) -> None:
        found = repositories.find(txn, name)
        if found is None or call.means.registry.access.role(txn, call.principal, found) is None:
            raise NotFound(f"There is no repository {name}, or you may not see it.")
        listing.add_star(txn, call.user.id, found.id)

    await call.write(add)
    return body


def _name(body: NewStar) -> RepositoryName:
    """Raises `NotFound` for what can be the name of nothing."""
    try:
        return RepositoryName.parse(f"{body['namespace']}/{body['repository']}")
    except NameInvalid as fault:
        raise NotFound(fault.message) from None


@routes.delete("/user/starred/<repository:repository>", "deleteStar", needs.account())
async def delete(call: Call, repository: RepositoryName) -> None:
    """Remove a star from a repository."""

    def remove(txn: Transaction) -> None:
        found = repositories.find(txn, repository)
        if found is not None:
            listing.remove_star(txn, call.user.id, found.id)

    await call.write(remove)
