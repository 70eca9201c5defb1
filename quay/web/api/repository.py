"""Repositories: made, listed, described, published and deleted."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from quay.database import Transaction
from quay.model import repository as repositories
from quay.model.permission import Role
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import DONE, Success

routes = Routes("repository", "List, create and manage repositories.")


class Visibility(TypedDict):
    """Change the visibility of a repository."""

    visibility: Annotated[Literal["public", "private"], Schema(description="Whether everybody may pull from it")]


@routes.post(
    "/repository/<repository:repository>/changevisibility", "changeRepoVisibility", needs.repository(Role.ADMIN)
)
async def change_visibility(call: Call, body: Visibility) -> Success:
    """Change the visibility of a repository."""
    repository, visibility = call.repository, body["visibility"]

    def change(txn: Transaction) -> None:
        repositories.set_public(txn, repository.id, visibility == "public")
        call.record(txn, "change_repo_visibility", visibility=visibility)

    await call.write(change)
    return DONE


@routes.delete("/repository/<repository:repository>", "deleteRepository", needs.repository(Role.ADMIN))
async def delete(call: Call) -> None:
    """Delete a repository."""
    repository = call.repository

    def remove(txn: Transaction) -> None:
        if repositories.delete(txn, repository.id):
            call.record(txn, "delete_repo")

    await call.write(remove)
