"""
Receipts: what this registry has, for whoever makes the next bundle for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

from quay.bundles.choice import Choices
from quay.bundles.waybill import DOCUMENT_LIMIT, BundleInvalid, Receipt
from quay.database import Database, Transaction
from quay.model import inventory
from quay.model import repository as repositories
from quay.oci.reference import Digest, RepositoryName

R = TypeVar("R")

PAGE: Final = 1000
DIGESTS_LIMIT: Final = DOCUMENT_LIMIT // 67
"""More have no room in a receipt."""


async def receipt_of(
    database: Database, called: str, now_ms: int, bundles: Sequence[str], choices: Choices | None = None
) -> Receipt:
    """
    The receipt of the registry that is `called` so and has loaded these `bundles`, about all repositories, or those
    that are chosen. Raises `BundleInvalid` if there is more than a receipt can hold.
    """
    tags: dict[str, Digest] = {}
    digests: set[Digest] = set()
    after: str | None = None
    while True:
        names = await database.read(repositories.catalog, None, public=False, everything=True, after=after, limit=PAGE)
        for name in names:
            if choices is None or choices.within(name):
                await _from(database, RepositoryName(*name.split("/", 1)), tags, digests)
        if len(names) < PAGE:
            break
        after = names[-1]
    return Receipt(made_ms=now_ms, registry=called, tags=tags, blobs=frozenset(digests), bundles=bundles)


async def _from(database: Database, name: RepositoryName, tags: dict[str, Digest], digests: set[Digest]) -> None:
    found = await database.read(repositories.find, name)
    if found is None:
        return
    async for named in _pages(database, inventory.tags, found.id):
        tags |= named
    for listed in (inventory.manifests, inventory.blobs):
        async for page in _pages(database, listed, found.id):
            digests.update(page)
    if len(digests) > DIGESTS_LIMIT:
        raise BundleInvalid(
            f"This registry has more than {DIGESTS_LIMIT} blobs: a receipt has no room for them.",
            advice="Name the repositories that it is to be about.",
        )


async def _pages(
    database: Database, listed: Callable[[Transaction, int, int, int], tuple[R, int | None]], repository_id: int
) -> AsyncIterator[R]:
    after: int | None = 0
    while after is not None:
        page, after = await database.read(listed, repository_id, after, PAGE)
        yield page
