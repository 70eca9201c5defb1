"""What an installation holds, on both engines."""

from __future__ import annotations

from collections.abc import Callable

from quay.database import Transaction
from quay.model import holdings, tag
from quay.model.holdings import Held, Holdings
from quay.model.namespace import Namespace
from quay.model.repository import Repository
from tests.unit.model.pushing import Client, image


def test_nothing(transaction: Transaction) -> None:
    """An empty registry holds nothing, anywhere."""
    assert holdings.holdings(transaction) == Holdings([], 0, 0, 0, 0, 0)


def test_counted_once(
    transaction: Transaction, user: Callable[[str], Namespace], make_repository: Callable[..., Repository]
) -> None:
    """A blob that two repositories have is held once; a deleted tag is none of now."""
    user("ada")
    first, second = (Client(transaction, make_repository(f"ada/{name}")) for name in ("first", "second"))
    for client in (first, second):
        client.push(image("a config", layers=["a layer", "another layer"]), "latest")
    first.push(image("a config"), "old")
    tag.delete_tag(*first.at, "old")
    found = holdings.holdings(transaction)
    size = sum(map(len, ("a config", "a layer", "another layer")))
    assert found.locations == [Held("local", 3, size)]
    assert (found.repositories, found.manifests, found.tags, found.users) == (2, 3, 2, 1)


def test_people(
    transaction: Transaction,
    user: Callable[[str], Namespace],
    organization: Callable[[str, Namespace], Namespace],
) -> None:
    """Users and organizations are counted apart."""
    organization("acme", user("ada"))
    found = holdings.holdings(transaction)
    assert (found.users, found.organizations) == (1, 1)
