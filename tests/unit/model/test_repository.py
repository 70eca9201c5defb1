"""Repositories and the catalog, on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import explain
from quay.database.schema import namespace as namespaces
from quay.database.schema import permission as permissions
from quay.database.schema import repository as repositories
from quay.model import namespace, permission, prototype, repository, team
from quay.model.namespace import Namespace
from quay.model.permission import Role, grant, role
from quay.model.repository import Repository, RepositoryInvalid, RepositoryTaken, catalog
from quay.oci.errors import NameUnknown
from quay.oci.reference import RepositoryName

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]
MakeRepository = Callable[..., Repository]


def test_repository_is_found_as_made(transaction: Transaction, user: Make) -> None:
    """A repository is found by name, of several segments too, and by number, with what its namespace says."""
    owner = user("devtable")
    name = RepositoryName.parse("devtable/group/app")
    made = repository.create(transaction, name, namespace_id=owner.id, creator_id=owner.id, public=True)
    assert (made.name, made.state, made.kind, made.public) == (name, "normal", "image", True)
    assert (made.namespace_enabled, made.time_machine_s) == (True, owner.time_machine_s)
    assert repository.find(transaction, name) == made
    assert repository.by_id(transaction, made.id) == made
    assert repository.find(transaction, RepositoryName("devtable", "other")) is None
    assert ("repository", "devtable/group/app") in transaction.changes


def test_disabled_namespace_shows(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """A repository says that its namespace is disabled."""
    owner, made = user("devtable"), make_repository("devtable/app")
    namespace.set_enabled(transaction, owner.id, False)
    found = repository.by_id(transaction, made.id)
    assert found is not None
    assert not found.namespace_enabled


def test_taken_leaves_the_first_as_it_is(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """A second creation is refused in a sentence and changes nothing, and the transaction goes on."""
    user("devtable")
    other, first = user("other"), make_repository("devtable/app")
    with pytest.raises(RepositoryTaken, match="There is a repository devtable/app already"):
        make_repository("devtable/app", creator_id=other.id, public=True)
    assert repository.find(transaction, first.name) == first
    assert role(transaction, first, other.id) is None


def test_repository_lies_in_its_namespace(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A name cannot be made in somebody else's namespace, in a robot's or nobody's, or beyond the limit."""
    owner, other = user("devtable"), user("other")
    robot = namespace.create_robot(transaction, owner.id, "ci")
    for namespace_id in (other.id, robot.id, 10**9):
        with pytest.raises(RepositoryInvalid, match="cannot be made in a namespace that is not 'devtable'"):
            repository.create(
                transaction, RepositoryName("devtable", "x"), namespace_id=namespace_id, creator_id=None, public=False
            )
    with pytest.raises(RepositoryInvalid, match="more than 255 characters"):
        long = RepositoryName("devtable", "x" * 250)
        repository.create(transaction, long, namespace_id=owner.id, creator_id=None, public=False)


def test_rename(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """A repository goes by its new name, in lists by role as well; caches of both names are told."""
    owner, reader = user("devtable"), user("reader")
    made = make_repository("devtable/app")
    grant(transaction, made.id, grantee_id=reader.id, role=Role.READ)
    txn = Transaction(transaction.connection, transaction.now_ms)
    name = RepositoryName.parse("devtable/group/app")
    renamed = repository.rename(txn, made, name, namespace_id=owner.id, mover_id=owner.id)
    assert (renamed.id, renamed.name) == (made.id, name)
    assert {("repository", "devtable/app"), ("repository", "devtable/group/app"), ("permission", made.id)} <= set(
        txn.changes
    )
    assert repository.find(transaction, made.name) is None
    assert catalog(transaction, reader.id, public=False, limit=9) == ["devtable/group/app"]
    assert role(transaction, renamed, reader.id) == Role.READ


def test_rename_of_what_has_been_renamed(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Caches are told of the name that it has when it is renamed, whatever it was called when somebody found it."""
    owner = user("devtable")
    found, moved = make_repository("devtable/app"), organization("moved", owner)
    name = RepositoryName("moved", "app")
    repository.rename(transaction, found, name, namespace_id=moved.id, mover_id=None)
    txn = Transaction(transaction.connection, transaction.now_ms)
    repository.rename(txn, found, RepositoryName("moved", "api"), namespace_id=moved.id, mover_id=owner.id)
    assert ("repository", "moved/app") in txn.changes
    made = repository.find(transaction, RepositoryName("moved", "api"))
    assert made is not None
    assert not transaction.execute(sa.select(permissions.c.id)).all()  # nobody has moved it this time
    repository.delete(transaction, made.id)
    with pytest.raises(NameUnknown):
        repository.rename(txn, found, name, namespace_id=moved.id, mover_id=None)


def test_rename_to_what_is_taken(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """A name that is taken, too long, or not of the namespace is refused; nothing has changed, and all goes on."""
    owner, other = user("devtable"), user("other")
    made, taken = make_repository("devtable/app"), make_repository("devtable/taken")
    with pytest.raises(RepositoryTaken, match="devtable/taken already"):
        repository.rename(transaction, made, taken.name, namespace_id=owner.id, mover_id=owner.id)
    for name in (RepositoryName("devtable", "x" * 250), RepositoryName("nobody", "app")):
        with pytest.raises(RepositoryInvalid):
            repository.rename(transaction, made, name, namespace_id=other.id, mover_id=owner.id)
    assert repository.find(transaction, made.name) == made


def test_rename_into_another_namespace(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """What moves leaves its teams behind, is its mover's, and gets the roles that its new organization gives."""
    owner, mover, reader = user("devtable"), user("mover"), user("reader")
    old, new = organization("old", owner), organization("new", owner)
    made = make_repository("old/app")
    readers = team.create(transaction, old.id, "readers", "member")
    team.add_member(transaction, readers, reader.id)
    grant(transaction, made.id, team_id=readers, role=Role.READ)
    prototype.create(transaction, new.id, delegate_id=reader.id, role=Role.WRITE)
    name = RepositoryName("new", "app")
    moved = repository.rename(transaction, made, name, namespace_id=new.id, mover_id=mover.id)
    assert moved.namespace_id == new.id
    assert role(transaction, moved, mover.id) == Role.ADMIN
    assert role(transaction, moved, reader.id) == Role.WRITE
    assert catalog(transaction, reader.id, public=False, limit=9) == ["new/app"]
    assert not transaction.execute(sa.select(permissions.c.id).where(permissions.c.team_id == readers)).all()


def test_catalog_within_a_namespace(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """The catalog of one namespace has its repositories, and not those of its neighbours in the order of names."""
    for name in ("dev", "dev-1", "dev0", "de"):
        user(name)
        make_repository(f"{name}/app", public=True)
    assert catalog(transaction, None, public=True, within="dev", limit=9) == ["dev/app"]
    assert catalog(transaction, None, public=True, within="dev", after="dev/app", limit=9) == []
    assert catalog(transaction, None, public=True, within="d", limit=9) == []


def test_creator_administers(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Who makes a repository in an organization administers it; who owns the namespace needs no row for that."""
    maker = user("maker")
    organization("buynlarge", user("chief"))
    theirs = make_repository("buynlarge/app", creator_id=maker.id)
    assert role(transaction, theirs, maker.id) is Role.ADMIN
    make_repository("maker/app", creator_id=maker.id)
    assert transaction.execute(sa.select(sa.func.count()).select_from(permissions)).scalar() == 1


def test_creation_without_creator_gives_nobody_rights(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """What makes itself, a cache of another registry for one, grants nothing."""
    organization("buynlarge", user("chief"))
    make_repository("buynlarge/app")
    assert transaction.execute(sa.select(sa.func.count()).select_from(permissions)).scalar() == 0


def test_changes_are_announced(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """State, visibility and end of a repository drop it, and the roles on it, from every cache."""
    user("devtable")
    made = make_repository("devtable/app")
    for change in (
        lambda txn: repository.set_state(txn, made.id, "read_only"),
        lambda txn: repository.set_public(txn, made.id, True),
        lambda txn: repository.delete(txn, made.id),
    ):
        txn = Transaction(transaction.connection, transaction.now_ms)
        change(txn)
        assert txn.changes == (("repository", "devtable/app"), ("permission", made.id))


def test_state_and_visibility(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """What was set is found."""
    user("devtable")
    made = make_repository("devtable/app")
    repository.set_state(transaction, made.id, "mirror")
    repository.set_public(transaction, made.id, True)
    found = repository.by_id(transaction, made.id)
    assert found is not None
    assert (found.state, found.public) == ("mirror", True)


def test_delete_takes_everything_below(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """Grants go with the repository; a second deletion finds nothing; the name is free again."""
    user("devtable")
    other, made = user("other"), make_repository("devtable/app")
    grant(transaction, made.id, grantee_id=other.id, role=Role.READ)
    assert repository.delete(transaction, made.id)
    assert not repository.delete(transaction, made.id)
    assert repository.find(transaction, made.name) is None
    assert catalog(transaction, other.id, public=True, limit=10) == []
    assert role(transaction, make_repository("devtable/app"), other.id) is None


def test_only_one_of_two_at_once_makes_it(database_engine: sa.Engine) -> None:
    """Of two transactions that make the same repository, the second waits for the first and is refused."""
    name = RepositoryName("devtable", "app")
    with database_engine.begin() as connection:
        owner = namespace.create_user(Transaction(connection, 0), "devtable", time_machine_s=0)

    def make(_: int) -> str:
        with database_engine.begin() as connection:
            txn = Transaction(connection, 0)
            try:
                repository.create(txn, name, namespace_id=owner.id, creator_id=None, public=False)
            except RepositoryTaken:
                return "taken"
            return "made"

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(make, range(4))) == ["made", "taken", "taken", "taken"]


# --- the catalog --------------------------------------------------------------------------------------------------


def test_catalog_shows_what_one_may_read(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Own, granted, granted to a team, of an administered organization, public: each once, in order, and no other."""
    alice, bob, chief = user("alice"), user("bob"), user("chief")
    org = organization("org", chief)
    robot = namespace.create_robot(transaction, alice.id, "ci")
    members = team.create(transaction, org.id, "team", "member")
    team.add_member(transaction, members, bob.id)
    for name in ("alice/own", "alice/shared", "org/hidden", "org/team"):
        make_repository(name)
    made = {name: make_repository(name, public=True) for name in ("alice/public", "bob/public")}
    shared = repository.find(transaction, RepositoryName("alice", "shared"))
    teamed = repository.find(transaction, RepositoryName("org", "team"))
    assert shared is not None
    assert teamed is not None
    for holder in (bob, robot):
        grant(transaction, shared.id, grantee_id=holder.id, role=Role.READ)
    grant(transaction, teamed.id, team_id=members, role=Role.READ)
    grant(transaction, made["bob/public"].id, grantee_id=bob.id, role=Role.ADMIN)

    def seen(holder: Namespace | None, *, public: bool = False, everything: bool = False) -> list[str]:
        holder_id = holder.id if holder else None
        return catalog(transaction, holder_id, public=public, everything=everything, limit=100)

    assert seen(alice) == ["alice/own", "alice/public", "alice/shared"]
    assert seen(bob) == ["alice/shared", "bob/public", "org/team"]
    assert seen(robot) == ["alice/shared"]
    assert seen(chief) == ["org/hidden", "org/team"]
    assert seen(None) == []
    assert seen(None, public=True) == ["alice/public", "bob/public"]
    assert seen(bob, public=True) == ["alice/public", "alice/shared", "bob/public", "org/team"]
    assert seen(None, everything=True) == sorted(
        ["alice/own", "alice/public", "alice/shared", "bob/public", "org/hidden", "org/team"]
    )


def test_catalog_knows_no_wildcards(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """`a_b` sees nothing of `a-b`, `axb` or `a_b0`, however alike the names look to SQL."""
    for name in ("a_b", "a-b", "axb", "a_b0", "a.b"):
        user(name)
        make_repository(f"{name}/app")
    holder = namespace.find(transaction, "a_b")
    assert holder is not None
    assert catalog(transaction, holder.id, public=False, limit=10) == ["a_b/app"]


@pytest.mark.parametrize("after", ["", "zzz", "a%", "a_", "'; DROP TABLE repository; --", "\\", "\x00", "a\x00b", "ü"])
def test_catalog_takes_any_position(
    transaction: Transaction, user: Make, make_repository: MakeRepository, after: str
) -> None:
    """What a client gives as the last name seen is only ever compared, by bytes."""
    user("alice")
    names = [str(make_repository(f"alice/{path}", public=True).name) for path in ("a", "a-b", "a.b", "a/b", "a0", "b")]
    assert names == sorted(names)
    expected = [name for name in names if name > after]
    assert catalog(transaction, None, public=True, after=after, limit=100) == expected
    assert catalog(transaction, None, public=True, after="alice/a.b", limit=2) == ["alice/a/b", "alice/a0"]
    for limit in (0, -1):
        assert catalog(transaction, None, public=True, after=after, limit=limit) == []


def fill(txn: Transaction, *, everybody: int, granted: int) -> tuple[int, list[str]]:
    """`everybody` repositories in 20 namespaces, every tenth public; `granted` of them granted to a robot."""
    owners = [namespace.create_user(txn, f"user-{number:02}", time_machine_s=0) for number in range(20)]
    robot = namespace.create_robot(txn, owners[0].id, "ci")
    rows = []
    for number in range(everybody):
        owner, path = owners[number % 20], f"app-{number:05}"
        rows.append(
            {"namespace_id": owner.id, "path": path, "name": f"{owner.name}/{path}", "public": number % 10 == 0}
        )
    txn.execute(sa.insert(repositories).values(created_ms=0), rows)
    step = everybody // granted
    chosen = txn.execute(sa.select(repositories.c.id, repositories.c.name).order_by(repositories.c.name)).all()[::step]
    grants = [
        {"repository_id": each.id, "repository_name": each.name, "grantee_id": robot.id, "role": "read"}
        for each in chosen
    ]
    txn.execute(sa.insert(permissions), grants)
    txn.execute(sa.text("ANALYZE"))
    return robot.id, [each.name for each in chosen]


def test_catalog_pages_through_two_thousand(transaction: Transaction) -> None:
    """Page by page, every visible name comes once and in order, whoever asks."""
    robot_id, granted = fill(transaction, everybody=2000, granted=250)
    owner = namespace.find(transaction, "user-03")
    assert owner is not None
    for holder_id, public, everything, count in (
        (robot_id, False, False, len(granted)),
        (None, True, False, 200),
        (owner.id, False, False, 100),
        (None, False, True, 2000),
    ):
        names: list[str] = []
        while page := catalog(
            transaction,
            holder_id,
            public=public,
            everything=everything,
            after=names[-1] if names else None,
            limit=77,
        ):
            names += page
        assert len(names) == count
        assert names == sorted(set(names))


@pytest.fixture
def filled(database_engine: sa.Engine) -> Iterator[tuple[Transaction, int, list[str]]]:
    """A database that was filled and then left to itself, with what `fill` gives."""
    with database_engine.begin() as connection:
        robot_id, granted = fill(Transaction(connection, 0), everybody=2000, granted=1000)
    with database_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        vacuum = "VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"
        connection.exec_driver_sql(vacuum)
    with database_engine.connect() as connection:
        yield Transaction(connection, 0), robot_id, granted


def test_page_of_the_catalog_costs_a_page(filled: tuple[Transaction, int, list[str]]) -> None:
    """At any position, each set behind a page is read as a range of its own index, without a full scan or a sort."""
    txn, robot_id, granted = filled
    owner_id = txn.execute(sa.select(namespaces.c.id).where(namespaces.c.name == "user-03")).scalar_one()
    for holder_id, everything in ((robot_id, False), (owner_id, False), (None, True)):
        for after in ("", granted[len(granted) // 2], granted[-5]):
            page = {"past": after, "before": "~", "most": 50}
            for source, values in repository.catalog_sources(txn, holder_id, page, public=True, everything=everything):
                plan = explain(txn.connection, source.statement.params(values))
                assert (plan.scans, plan.sorts) == (frozenset(), False), plan.text
                assert ("ix_repository_public_name" in plan.text) == (source is repository._PUBLIC), plan.text


def test_role_costs_a_lookup(filled: tuple[Transaction, int, list[str]]) -> None:
    """The one query behind a role scans no large table, however many repositories there are."""
    txn, robot_id, _ = filled
    plan = explain(txn.connection, permission._ROLES.statement.params(repository=1, owner=1, holder=robot_id))
    assert not plan.scans & {"permission", "repository", "namespace"}, plan.text
