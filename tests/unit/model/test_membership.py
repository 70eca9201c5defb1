"""Who belongs to an organization, and by what, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace as namespaces
from quay.database.schema import permission as permissions
from quay.database.schema import repository as repositories
from quay.database.schema import team as teams
from quay.database.schema import team_member
from quay.model import membership, namespace, permission, prototype, team
from quay.model.membership import Holdings
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.team import TeamInvalid
from tests.unit.model.conftest import MakeRepository, MakeUser

MakeOrganization = Callable[[str, Namespace], Namespace]


def named(page: tuple[list[membership.Person], bool]) -> dict[str, Holdings]:
    assert not page[1]
    return {person.name: person.holdings for person in page[0]}


def test_members_and_collaborators(
    transaction: Transaction, user: MakeUser, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """A member is in a team, a collaborator has only a role; robots are neither; other organizations do not show."""
    chief, insider, outsider, other = user("chief"), user("insider"), user("outsider"), user("other")
    org = organization("a_b", chief)
    lookalike, longer = organization("axb", other), organization("a_b0", other)
    robot = namespace.create_robot(transaction, org.id, "ci")
    crew = team.create(transaction, org.id, "crew", "member")
    for member in (insider, robot):
        team.add_member(transaction, crew, member.id)
    app, tool = make_repository("a_b/app"), make_repository("a_b/deep/tool")
    foreign = [make_repository(name) for name in ("axb/app", "a_b0/app", "other/app")]
    for holder in (insider, outsider, robot):
        permission.grant(transaction, tool.id, grantee_id=holder.id, role=Role.READ)
    permission.grant(transaction, app.id, grantee_id=outsider.id, role=Role.READ)
    permission.grant(transaction, app.id, team_id=crew, role=Role.READ)
    for each in foreign:
        permission.grant(transaction, each.id, grantee_id=insider.id, role=Role.READ)
    assert named(membership.members(transaction, org)) == {
        "chief": Holdings(("owners",)),
        "insider": Holdings(("crew",), ("deep/tool",)),
    }
    assert named(membership.collaborators(transaction, org)) == {"outsider": Holdings((), ("app", "deep/tool"))}
    assert named(membership.collaborators(transaction, lookalike)) == {"insider": Holdings((), ("app",))}
    assert named(membership.collaborators(transaction, longer)) == {"insider": Holdings((), ("app",))}


def test_one_member(
    transaction: Transaction, user: MakeUser, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Users in a team and robots of the organization are known to it; nobody else is."""
    chief, outsider = user("chief"), user("outsider")
    org, other = organization("org", chief), organization("other", chief)
    robot, stranger = (namespace.create_robot(transaction, owner.id, "ci") for owner in (org, other))
    permission.grant(transaction, make_repository("org/app").id, grantee_id=outsider.id, role=Role.READ)
    found = membership.member(transaction, org, chief)
    assert found is not None
    assert (found.kind, found.holdings) == ("user", Holdings(("owners",)))
    found = membership.member(transaction, org, robot)
    assert found is not None
    assert (found.kind, found.holdings) == ("robot", Holdings())
    assert [membership.member(transaction, org, each) for each in (outsider, stranger, org, other)] == [None] * 4


def test_removed_is_out(
    transaction: Transaction, user: MakeUser, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Whoever is removed has no team, no role and no role to come there, and keeps what is elsewhere."""
    chief, leaver, outsider = user("chief"), user("leaver"), user("outsider")
    org, other = organization("org", chief), organization("other", leaver)
    crew = team.create(transaction, org.id, "crew", "creator")
    team.add_member(transaction, crew, leaver.id)
    app, foreign = make_repository("org/app"), make_repository("other/app")
    for each in (app, foreign):
        permission.grant(transaction, each.id, grantee_id=leaver.id, role=Role.WRITE)
        permission.grant(transaction, each.id, grantee_id=outsider.id, role=Role.WRITE)
    for organization_id in (org.id, other.id):
        prototype.create(transaction, organization_id, delegate_id=leaver.id, role=Role.READ)
    later = Transaction(transaction.connection, transaction.now_ms)
    assert membership.remove(later, org, leaver.id)
    assert {("member", leaver.id), ("permission", app.id)} == set(later.changes)
    assert membership.member(transaction, org, leaver) is None
    assert permission.role(transaction, app, leaver.id) is None
    assert permission.role(transaction, app, outsider.id) is Role.WRITE
    assert prototype.of_organization(transaction, org.id) == []
    assert permission.role(transaction, foreign, leaver.id) is Role.ADMIN
    assert len(prototype.of_organization(transaction, other.id)) == 1
    assert not membership.remove(transaction, org, outsider.id)
    with pytest.raises(TeamInvalid, match="Nobody could administer"):
        membership.remove(transaction, org, chief.id)


def counting(connection: sa.Connection) -> list[str]:
    """The statements that are executed from now on."""
    seen: list[str] = []
    sa.event.listen(connection, "before_cursor_execute", lambda conn, cursor, sql, *rest: seen.append(sql))
    return seen


def crowd(transaction: Transaction, organization: Namespace, people: int, crews: int, apps: int) -> None:
    """So many users, each in so many teams and with a role on so many repositories."""
    common = {"time_machine_s": 0, "created_ms": 0}
    users = [{"uuid": f"u{n}", "name": f"user{n:05}", "kind": "user"} | common for n in range(people)]
    ids = transaction.execute(sa.insert(namespaces).returning(namespaces.c.id), users).scalars().all()
    made = [{"organization_id": organization.id, "name": f"team{n:04}", "role": "member"} for n in range(crews)]
    if made:
        transaction.execute(sa.insert(teams), made)
    all_in_all = sa.select(teams.c.id, namespaces.c.id).join_from(teams, namespaces, namespaces.c.id.in_(ids))
    crews_of = all_in_all.where(teams.c.role == "member")
    transaction.execute(sa.insert(team_member).from_select(["team_id", "member_id"], crews_of))
    for n in range(apps):
        path = f"app{n:05}"
        row = {"namespace_id": organization.id, "path": path, "name": f"{organization.name}/{path}", "created_ms": 0}
        found = transaction.execute(sa.insert(repositories).values(**row).returning(repositories.c.id)).scalar_one()
        roles = [
            {"repository_id": found, "repository_name": row["name"], "grantee_id": each, "role": "read"} for each in ids
        ]
        transaction.execute(sa.insert(permissions), roles)


def test_a_page_has_a_bound_and_few_queries(
    transaction: Transaction, user: MakeUser, organization: MakeOrganization
) -> None:
    """Two hundred members of fifty teams come in pages that nobody has to wait for, and none is left out."""
    org = organization("org", user("chief"))
    crowd(transaction, org, people=200, crews=50, apps=1)
    seen = counting(transaction.connection)
    names, after, pages = [], "", 0
    more = True
    while more:
        people, more = membership.members(transaction, org, after=after)
        names += [person.name for person in people]
        assert sum(len(each.holdings.teams) + len(each.holdings.repositories) for each in people) <= membership.ENTRIES
        after, pages = people[-1].name, pages + 1
    assert names == ["chief", *(f"user{n:05}" for n in range(200))]
    assert len(seen) == 3 * pages


def test_one_with_very_many_repositories(
    transaction: Transaction, user: MakeUser, organization: MakeOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one person's repositories so many are named and no more, and he still gets his page."""
    monkeypatch.setattr(membership, "REPOSITORIES", 5)
    monkeypatch.setattr(membership, "ENTRIES", 3)
    org = organization("org", user("chief"))
    crowd(transaction, org, people=2, crews=0, apps=9)
    first, more = membership.collaborators(transaction, org)
    assert more
    second, more = membership.collaborators(transaction, org, after=first[-1].name)
    assert not more
    assert [person.name for person in first + second] == ["user00000", "user00001"]
    for person in first + second:
        assert person.holdings.repositories == tuple(f"app{n:05}" for n in range(5))
