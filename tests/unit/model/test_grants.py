"""Who has which role on a repository by a grant, on both engines."""

from __future__ import annotations

from collections.abc import Callable

from quay.database import Transaction
from quay.model import grants, namespace, team
from quay.model.grants import Grant
from quay.model.namespace import Namespace
from quay.model.permission import Role, grant, roles
from quay.model.repository import Repository

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]
MakeRepository = Callable[..., Repository]


def test_of_an_organization(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Users, robots and teams come in order of name, with who is a member; a repository has its own grants only."""
    owner, reader, stranger = user("owner"), user("reader"), user("stranger")
    org = organization("org", owner)
    robot = namespace.create_robot(transaction, org.id, "ci")
    readers = team.create(transaction, org.id, "readers", "member")
    team.add_member(transaction, readers, reader.id)
    made, other = make_repository("org/app"), make_repository("org/other")
    for who, given in ((reader, Role.READ), (stranger, Role.WRITE), (robot, Role.ADMIN)):
        grant(transaction, made.id, grantee_id=who.id, role=given)
    grant(transaction, made.id, team_id=readers, role=Role.WRITE)
    assert grants.of_users(transaction, made) == [
        Grant(robot.id, "org+ci", Role.ADMIN, robot=True, member=True),
        Grant(reader.id, "reader", Role.READ, member=True),
        Grant(stranger.id, "stranger", Role.WRITE, member=False),
    ]
    assert grants.of_users(transaction, made, "reader") == [Grant(reader.id, "reader", Role.READ, member=True)]
    assert grants.of_teams(transaction, made) == [Grant(readers, "readers", Role.WRITE)]
    assert grants.of_teams(transaction, made, "other") == []
    assert (grants.of_users(transaction, other), grants.of_teams(transaction, other)) == ([], [])
    assert sorted(roles(transaction, made, reader.id)) == [Role.READ, Role.WRITE]
    assert roles(transaction, made, owner.id) == [Role.ADMIN]
    assert roles(transaction, other, stranger.id) == []


def test_of_a_user(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """Where there is no organization, nobody is a member of one, or not."""
    owner, reader = user("owner"), user("reader")
    made = make_repository("owner/app")
    grant(transaction, made.id, grantee_id=reader.id, role=Role.READ)
    assert grants.of_users(transaction, made) == [Grant(reader.id, "reader", Role.READ)]
    assert roles(transaction, made, owner.id) == [Role.ADMIN]
