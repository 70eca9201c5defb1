"""Searches and the words they go by, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import explain
from quay.database.schema import repository as table
from quay.database.schema import repository_word
from quay.model import namespace, repository, search, team, words
from quay.model.namespace import Namespace
from quay.model.permission import Role, grant
from quay.model.repository import Repository

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]
MakeRepository = Callable[..., Repository]


@pytest.fixture
def devtable(user: Make) -> Namespace:
    return user("devtable")


def found(txn: Transaction, viewer: Namespace | None, query: str, **page: int) -> list[str]:
    hits = search.repositories(txn, None if viewer is None else viewer.id, query, **{"limit": 50} | page)
    return [str(hit.listed.name) for hit in hits]


def test_words_of() -> None:
    """Words are letters and digits of any script, in lower case, as long as a word may be."""
    assert list(words.words_of("The shop's Über_app-2, 東京!")) == ["the", "shop", "s", "über", "app", "2", "東京"]
    assert list(words.words_of("x" * 100)) == ["x" * words.WORD_LIMIT]
    assert list(words.words_of("%_-./ \U0010ffff")) == []


def test_index_is_bounded(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """A description of thousands of words leaves no more rows than the limit, the name's among them."""
    made = make_repository("devtable/app")
    repository.describe(transaction, made.id, " ".join(f"word{number}" for number in range(5_000)))
    count = sa.select(sa.func.count()).select_from(repository_word)
    assert transaction.execute(count).scalar_one() == words.WORDS_LIMIT
    assert found(transaction, devtable, "app word100") == ["devtable/app"]


def test_index_missing(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """What has no words gets them, so many at a time, until nothing is left to do; what is being removed gets none."""
    for number in range(5):
        make_repository(f"devtable/app-{number}")
    transaction.execute(sa.delete(repository_word))
    transaction.execute(sa.update(table).where(table.c.path == "app-4").values(name="~removed/4"))
    assert [words.index_missing(transaction, 3) for _ in range(3)] == [3, 1, 0]
    assert len(found(transaction, devtable, "app")) == 4


def test_rename_and_delete(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """The words go with the name, and with the repository."""
    made = make_repository("devtable/first")
    name = repository.RepositoryName("devtable", "second")
    repository.rename(transaction, made, name, namespace_id=devtable.id, mover_id=devtable.id)
    assert (found(transaction, devtable, "first"), found(transaction, devtable, "second")) == ([], ["devtable/second"])
    repository.delete(transaction, made.id)
    assert transaction.execute(sa.select(repository_word)).first() is None


def test_what_one_may_not_read(
    transaction: Transaction, devtable: Namespace, user: Make, make_repository: MakeRepository
) -> None:
    """What is found is what one may read, also where most of what fits is not; pages have no holes."""
    reader = user("reader")
    for number in range(60):
        made = make_repository(f"devtable/app-{number:02}")
        if number % 20 == 7:
            grant(transaction, made.id, grantee_id=reader.id, role=Role.READ)
    mine = ["devtable/app-07", "devtable/app-27", "devtable/app-47"]
    assert found(transaction, reader, "app") == mine
    assert found(transaction, reader, "app", offset=1, limit=1) == [mine[1]]
    assert found(transaction, None, "app") == []
    assert found(transaction, reader, "") == mine
    assert len(found(transaction, devtable, "app")) == 50


def test_a_rare_word_leads(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """All words must fit, in whatever order they come."""
    for number in range(30):
        make_repository(f"devtable/app-{number:02}")
    assert found(transaction, devtable, "app 07") == found(transaction, devtable, "07 app") == ["devtable/app-07"]


def test_candidates_are_a_range(transaction: Transaction, devtable: Namespace, make_repository: MakeRepository) -> None:
    """The repositories that fit come from a range of the index of words, in its order: no large table is read whole."""
    rows = [
        {"namespace_id": devtable.id, "path": f"r-{n}", "name": f"devtable/r-{n}", "created_ms": 0}
        for n in range(2_000)
    ]
    transaction.execute(sa.insert(table), rows)
    words.index_missing(transaction, 2_000)
    transaction.execute(sa.text("ANALYZE"))
    if transaction.dialect == "postgresql":
        transaction.execute(sa.text("SET LOCAL enable_seqscan = off"))
    plan = explain(transaction.connection, search.candidates_of(devtable.id, ["199"], words.OF_THE_NAME))
    assert not plan.scans & {"repository", "repository_word", "permission"}, plan.text


def test_namespaces(transaction: Transaction, devtable: Namespace, user: Make, organization: MakeOrganization) -> None:
    """Users and organizations are found by the beginnings of their names; not robots, nor who is disabled."""
    user("developer")
    organization("devices", devtable)
    namespace.create_robot(transaction, devtable.id, "dev")
    names = [one.name for one in search.namespaces(transaction, "dev", limit=9)]
    assert names == ["developer", "devices", "devtable"]
    assert [one.name for one in search.namespaces(transaction, "dev", kinds=("user",), limit=1)] == ["developer"]
    assert [one.name for one in search.namespaces(transaction, "devtable", exact=True, limit=9)] == ["devtable"]
    assert search.namespaces(transaction, "dev_", limit=9) == []
    namespace.set_enabled(transaction, devtable.id, False)
    assert "devtable" not in [one.name for one in search.namespaces(transaction, "dev", limit=9)]


def test_robots(transaction: Transaction, devtable: Namespace, user: Make) -> None:
    """The robots of these owners are found by their names and short names; those of others are not."""
    other = user("other")
    for owner, short in ((devtable, "ci"), (devtable, "deploy"), (other, "ci")):
        namespace.create_robot(transaction, owner.id, short)

    def robots(prefix: str) -> list[str]:
        return [one.name for one in search.robots(transaction, prefix, [devtable.id], limit=9)]

    assert robots("c") == ["devtable+ci"]
    assert robots("devtable+d") == ["devtable+deploy"]
    assert robots("dev") == ["devtable+ci", "devtable+deploy"]
    assert robots("other") == []


def test_teams(transaction: Transaction, devtable: Namespace, user: Make, organization: MakeOrganization) -> None:
    """A member sees the teams that he is in, an administrator all of his organization."""
    reader, stranger = user("reader"), user("stranger")
    org = organization("org", devtable)
    readers = team.create(transaction, org.id, "readers", "member")
    team.create(transaction, org.id, "readers-2", "member")
    team.add_member(transaction, readers, reader.id)

    def teams(viewer: Namespace) -> list[str]:
        return [one.name for one in search.teams(transaction, "rea", viewer.id, limit=9)]

    assert teams(devtable) == ["readers", "readers-2"]
    assert teams(reader) == ["readers"]
    assert teams(stranger) == []
    assert search.owners_for(transaction, devtable.id) == [devtable.id, org.id]
    assert search.owners_for(transaction, reader.id) == [reader.id]
    assert search.members(transaction, org.id, [reader.id, stranger.id, devtable.id]) == {reader.id, devtable.id}
