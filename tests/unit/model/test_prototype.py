"""What new repositories of an organization begin with, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.model import namespace, permission, prototype, repository, team
from quay.model.namespace import Namespace
from quay.model.permission import Granted, GrantInvalid, Role, role
from quay.model.prototype import Party, Prototype
from quay.oci.reference import RepositoryName

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]


def test_prototypes_apply_to_new_repositories(
    transaction: Transaction, user: Make, organization: MakeOrganization
) -> None:
    """Everybody's prototypes apply, those of another creator do not, and one's own goes before everybody's."""
    chief, maker, auditor = user("chief"), user("maker"), user("auditor")
    org = organization("buynlarge", chief)
    robot = namespace.create_robot(transaction, org.id, "ci")
    made = team.create(transaction, org.id, "team", "member")
    member = user("member")
    team.add_member(transaction, made, member.id)
    make = prototype.create
    make(transaction, org.id, delegate_id=robot.id, role=Role.WRITE)
    make(transaction, org.id, delegate_id=robot.id, activating_id=maker.id, role=Role.READ)
    make(transaction, org.id, delegate_id=auditor.id, activating_id=chief.id, role=Role.READ)
    make(transaction, org.id, delegate_team_id=made, role=Role.READ)
    make(transaction, org.id, delegate_id=maker.id, role=Role.READ)
    app = repository.create(
        transaction, RepositoryName("buynlarge", "app"), namespace_id=org.id, creator_id=maker.id, public=False
    )
    holders = (robot, auditor, member, maker)
    assert [role(transaction, app, holder.id) for holder in holders] == [Role.READ, None, Role.READ, Role.ADMIN]


def test_bad_prototypes_are_refused(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A prototype names one delegate, and a team only of its own organization."""
    chief = user("chief")
    org, other = organization("buynlarge", chief), organization("other", chief)
    foreign = team.create(transaction, other.id, "team", "member")
    with pytest.raises(GrantInvalid, match="either to a user or robot, or to a team"):
        prototype.create(transaction, org.id, role=Role.READ)
    with pytest.raises(GrantInvalid, match="does not belong to the organization"):
        prototype.create(transaction, org.id, delegate_team_id=foreign, role=Role.READ)


def test_what_is_known_of_a_prototype(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A prototype says for whose repositories it is and who gets what, and who of them belongs to the organization."""
    chief, anna, outsider = user("chief"), user("anna"), user("outsider")
    org, other = organization("buynlarge", chief), organization("other", anna)
    robot = namespace.create_robot(transaction, org.id, "ci")
    foreign = namespace.create_robot(transaction, other.id, "ci")
    crew = team.create(transaction, org.id, "crew", "member")
    made = [
        prototype.create(transaction, org.id, activating_id=chief.id, delegate_id=outsider.id, role=Role.READ),
        prototype.create(transaction, org.id, activating_id=anna.id, delegate_team_id=crew, role=Role.WRITE),
        prototype.create(transaction, org.id, delegate_id=robot.id, role=Role.ADMIN),
        prototype.create(transaction, org.id, delegate_id=foreign.id, role=Role.READ),
    ]
    prototype.create(transaction, other.id, delegate_id=chief.id, role=Role.READ)
    found = prototype.of_organization(transaction, org.id)
    assert found == [
        Prototype(made[0], Role.READ, Party("chief", False, True), Party("outsider", False, False), None),
        Prototype(made[1], Role.WRITE, Party("anna", False, False), None, "crew"),
        Prototype(made[2], Role.ADMIN, None, Party("buynlarge+ci", True, True), None),
        Prototype(made[3], Role.READ, None, Party("other+ci", True, False), None),
    ]
    assert prototype.find(transaction, org.id, made[1]) == found[1]
    assert prototype.find(transaction, other.id, made[1]) is None


def test_a_prototype_changes_and_goes(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """Only its own organization changes the role, or removes it; all for one delegate go at once."""
    chief, anna = user("chief"), user("anna")
    org, other = organization("buynlarge", chief), organization("other", chief)
    first = prototype.create(transaction, org.id, delegate_id=anna.id, role=Role.READ)
    second = prototype.create(transaction, org.id, delegate_id=chief.id, role=Role.READ)
    prototype.set_role(transaction, other.id, first, Role.ADMIN)
    prototype.delete(transaction, other.id, first)
    prototype.set_role(transaction, org.id, second, Role.WRITE)
    assert [each.role for each in prototype.of_organization(transaction, org.id)] == [Role.READ, Role.WRITE]
    prototype.delete_for(transaction, other.id, anna.id)
    prototype.delete_for(transaction, org.id, anna.id)
    assert [each.uuid for each in prototype.of_organization(transaction, org.id)] == [second]
    prototype.delete(transaction, org.id, second)
    assert prototype.of_organization(transaction, org.id) == []


def test_so_many_prototypes(
    transaction: Transaction, user: Make, organization: MakeOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization has only so many, because each new repository begins with all of them."""
    monkeypatch.setattr(prototype, "MOST", 1)
    chief = user("chief")
    org = organization("buynlarge", chief)
    prototype.create(transaction, org.id, delegate_id=chief.id, role=Role.READ)
    with pytest.raises(GrantInvalid, match="has 1 default permissions, and cannot have more"):
        prototype.create(transaction, org.id, delegate_id=chief.id, role=Role.READ)


def test_many_apply_at_once(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """However many there are, a new repository costs a few statements: nobody who writes meanwhile waits for long."""
    chief = user("chief")
    org = organization("buynlarge", chief)
    people = [user(f"user{number}") for number in range(40)]
    teams = [team.create(transaction, org.id, f"team{number}", "member") for number in range(40)]
    for person in people:
        prototype.create(transaction, org.id, delegate_id=person.id, role=Role.WRITE)
    for each in teams:
        prototype.create(transaction, org.id, delegate_team_id=each, role=Role.READ)
    seen: list[str] = []
    sa.event.listen(transaction.connection, "before_cursor_execute", lambda conn, cursor, sql, *_: seen.append(sql))
    app = repository.create(
        transaction, RepositoryName("buynlarge", "app"), namespace_id=org.id, creator_id=chief.id, public=False
    )
    assert len(seen) < 15
    assert {role(transaction, app, person.id) for person in people} == {Role.WRITE}
    granted = [permission.granted(transaction, team_id=each, limit=9) for each in teams]
    assert granted == [[Granted(app.name, False, Role.READ)]] * 40
