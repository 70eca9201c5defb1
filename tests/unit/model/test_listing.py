"""Lists of repositories, and stars, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import repository as table
from quay.model import listing, namespace, repository, team
from quay.model.listing import Listed
from quay.model.namespace import Namespace
from quay.model.permission import Role, grant, readable, revoke, role
from quay.model.repository import Repository
from tests.unit.model.pushing import Client, image

Make = Callable[[str], Namespace]
MakeRepository = Callable[..., Repository]


@pytest.fixture
def devtable(user: Make) -> Namespace:
    return user("devtable")


def paths(found: list[Listed]) -> list[str]:
    return [str(one.name) for one in found]


def test_what_a_list_says(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """A repository in a list has its description, its stars, and when something was pushed to it last."""
    made = make_repository("devtable/app", public=True)
    repository.describe(transaction, made.id, "What it is.")
    (found,) = listing.visible(transaction, None, public=True, limit=10)
    assert (found.description, found.stars, found.starred, found.pushed_ms) == ("What it is.", 0, False, None)
    client = Client(transaction, made)
    client.push(image("one"), "a")
    client.later(10)
    client.push(image("two"), "b")
    client.push(image("hidden"))
    listing.add_star(transaction, devtable.id, made.id)
    listing.add_star(transaction, devtable.id, made.id)
    (found,) = listing.those(transaction, devtable.id, [made.id])
    assert (found.stars, found.starred, found.pushed_ms) == (1, True, transaction.now_ms)
    (found,) = listing.those(transaction, None, [made.id])
    assert (found.stars, found.starred) == (1, False)
    listing.remove_star(transaction, devtable.id, made.id)
    assert listing.those(transaction, devtable.id, [made.id])[0].stars == 0


def test_recent(transaction: Transaction, devtable: Namespace, user: Make, make_repository: MakeRepository) -> None:
    """Those that were pushed to last come first, and none that the viewer may not read, however new."""
    other = user("other")
    names = ("devtable/a", "devtable/b", "other/private", "other/public", "devtable/empty")
    made = {name: make_repository(name, public=name.endswith("public")) for name in names}
    for number, name in enumerate(("devtable/a", "other/public", "devtable/b", "other/private", "devtable/a")):
        Client(transaction, made[name]).push(image(f"{number}"), "latest")
    assert paths(listing.recent(transaction, devtable.id, limit=10)) == ["devtable/a", "devtable/b", "other/public"]
    assert paths(listing.recent(transaction, devtable.id, limit=2)) == ["devtable/a", "devtable/b"]
    assert paths(listing.recent(transaction, other.id, limit=10)) == ["other/private", "other/public"]
    assert paths(listing.recent(transaction, None, limit=10)) == ["other/public"]


def test_filters(transaction: Transaction, devtable: Namespace, user: Make, make_repository: MakeRepository) -> None:
    """A list is of a namespace, of a kind, of what comes after a name; neighbours in the order of names stay out."""
    user("devtable-2")
    for name in ("devtable/a", "devtable/b/c", "devtable-2/x"):
        make_repository(name, public=True)
    repository.create(
        transaction,
        repository.RepositoryName("devtable", "chart"),
        namespace_id=devtable.id,
        creator_id=None,
        public=True,
        kind="application",
    )

    def listed(**how: object) -> list[str]:
        return paths(listing.visible(transaction, None, public=True, limit=10, **how))  # type: ignore[arg-type]

    assert listed(within="devtable") == ["devtable/a", "devtable/b/c", "devtable/chart"]
    assert listed(within="devtable", kind="image") == ["devtable/a", "devtable/b/c"]
    assert listed(within="devtable", after="devtable/a") == ["devtable/b/c", "devtable/chart"]
    assert listed(within="devtable", after="a") == ["devtable/a", "devtable/b/c", "devtable/chart"]
    assert listed(within="devtable-2") == ["devtable-2/x"]
    assert listed(within="dev") == []
    assert listed(kind="application") == ["devtable/chart"]


def test_a_page_is_full(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """What is left out of a list does not make its pages shorter."""
    for number in range(7):
        repository.create(
            transaction,
            repository.RepositoryName("devtable", f"r{number}"),
            namespace_id=devtable.id,
            creator_id=None,
            public=True,
            kind="image" if number in (0, 5, 6) else "application",
        )
    found = listing.visible(transaction, None, public=True, kind="image", limit=2)
    assert paths(found) == ["devtable/r0", "devtable/r5"]
    after = str(found[-1].name)
    assert paths(listing.visible(transaction, None, public=True, kind="image", after=after, limit=2)) == ["devtable/r6"]


def test_starred(transaction: Transaction, devtable: Namespace, user: Make, make_repository: MakeRepository) -> None:
    """Somebody's stars are his alone, and show what he may read now, page by page."""
    reader = user("reader")
    made = [make_repository(f"devtable/r{number}") for number in range(5)]
    for one in made:
        grant(transaction, one.id, grantee_id=reader.id, role=Role.READ)
        listing.add_star(transaction, reader.id, one.id)
    assert paths(listing.starred(transaction, reader.id, limit=2)) == ["devtable/r0", "devtable/r1"]
    assert paths(listing.starred(transaction, reader.id, after="devtable/r2", limit=9)) == [
        "devtable/r3",
        "devtable/r4",
    ]
    assert listing.starred(transaction, reader.id, kind="application", limit=9) == []
    assert listing.starred(transaction, devtable.id, limit=9) == []
    revoke(transaction, made[0].id, grantee_id=reader.id)
    assert "devtable/r0" not in paths(listing.starred(transaction, reader.id, limit=9))
    namespace.set_enabled(transaction, devtable.id, False)
    assert listing.starred(transaction, reader.id, limit=9) == []


def test_readable_is_what_role_says(
    transaction: Transaction,
    devtable: Namespace,
    user: Make,
    organization: Callable[[str, Namespace], Namespace],
    make_repository: MakeRepository,
) -> None:
    """The condition in SQL is the one that a look at one repository has, for whoever asks."""
    reader, stranger = user("reader"), user("stranger")
    org = organization("org", devtable)
    members = team.create(transaction, org.id, "members", "member")
    team.add_member(transaction, members, reader.id)
    made = [make_repository(name) for name in ("devtable/own", "org/a", "org/b", "org/c")]
    made.append(make_repository("org/public", public=True))
    grant(transaction, made[1].id, team_id=members, role=Role.READ)
    grant(transaction, made[2].id, grantee_id=reader.id, role=Role.WRITE)
    for viewer in (None, devtable.id, reader.id, stranger.id):
        found = set(transaction.execute(sa.select(table.c.id).where(readable(viewer))).scalars())
        assert found == {one.id for one in made if role(transaction, one, viewer) is not None}
