"""Where a role on a repository comes from, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, permission, team
from quay.model.namespace import Namespace
from quay.model.permission import GrantInvalid, Role, grant, role
from quay.model.repository import Repository

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]
MakeRepository = Callable[..., Repository]


@pytest.mark.parametrize("text", ["", "READ", "Admin", "owner", "read ", "re\x00ad", "1"])
def test_only_roles_are_roles(text: str) -> None:
    """A role is read, write or admin, in lower case; everything else is refused in a sentence."""
    assert [str(each) for each in Role] == ["read", "write", "admin"]
    assert [Role.parse(str(each)) for each in Role] == [Role.READ, Role.WRITE, Role.ADMIN]
    with pytest.raises(GrantInvalid, match="a role is read, write or admin"):
        Role.parse(text)


def test_nobody_has_a_role_by_default(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """A private repository is its owner's alone; a public one everybody may read."""
    owner, other = user("owner"), user("other")
    private, public = make_repository("owner/private"), make_repository("owner/public", public=True)
    assert [role(transaction, each, owner.id) for each in (private, public)] == [Role.ADMIN, Role.ADMIN]
    assert [role(transaction, each, other.id) for each in (private, public)] == [None, Role.READ]
    assert [role(transaction, each, None) for each in (private, public)] == [None, Role.READ]


def test_grant_is_exact_and_can_be_changed(
    transaction: Transaction, user: Make, make_repository: MakeRepository
) -> None:
    """The last grant to somebody counts; it goes with `revoke`; each is announced."""
    user("owner")
    other, private = user("other"), make_repository("owner/private")
    grant(transaction, private.id, grantee_id=other.id, role=Role.WRITE)
    assert role(transaction, private, other.id) is Role.WRITE
    grant(transaction, private.id, grantee_id=other.id, role=Role.READ)
    assert role(transaction, private, other.id) is Role.READ
    assert permission.revoke(transaction, private.id, grantee_id=other.id)
    assert role(transaction, private, other.id) is None
    assert not permission.revoke(transaction, private.id, grantee_id=other.id)
    assert ("permission", private.id) in transaction.changes


def test_grant_does_not_lessen_public(transaction: Transaction, user: Make, make_repository: MakeRepository) -> None:
    """On a public repository a grant adds to what everybody may do, and its owner stays its owner."""
    owner, other = user("owner"), user("other")
    public = make_repository("owner/public", public=True)
    grant(transaction, public.id, grantee_id=other.id, role=Role.WRITE)
    grant(transaction, public.id, grantee_id=owner.id, role=Role.READ)
    assert role(transaction, public, other.id) is Role.WRITE
    assert role(transaction, public, owner.id) is Role.ADMIN


def test_robot_has_what_it_was_granted_not_what_its_owner_has(
    transaction: Transaction, user: Make, make_repository: MakeRepository
) -> None:
    """A robot of the owner begins with nothing, neither to read nor to create."""
    owner = user("owner")
    robot = namespace.create_robot(transaction, owner.id, "ci")
    private = make_repository("owner/private")
    assert role(transaction, private, robot.id) is None
    assert not permission.may_create(transaction, owner.id, robot.id)
    assert permission.administers(transaction, owner.id, owner.id)
    assert not permission.administers(transaction, owner.id, robot.id)
    grant(transaction, private.id, grantee_id=robot.id, role=Role.READ)
    assert role(transaction, private, robot.id) is Role.READ


def test_team_roles(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Owners administer all, a granted team has its role, creators may only create, members have nothing by that."""
    chief, reader, creator = user("chief"), user("reader"), user("creator")
    org = organization("buynlarge", chief)
    readers = team.create(transaction, org.id, "readers", "member")
    creators = team.create(transaction, org.id, "creators", "creator")
    team.add_member(transaction, readers, reader.id)
    team.add_member(transaction, creators, creator.id)
    first, second = make_repository("buynlarge/first"), make_repository("buynlarge/second")
    grant(transaction, first.id, team_id=readers, role=Role.READ)
    holders = (chief, reader, creator)
    assert [role(transaction, first, holder.id) for holder in holders] == [Role.ADMIN, Role.READ, None]
    assert [role(transaction, second, holder.id) for holder in holders] == [Role.ADMIN, None, None]
    assert [permission.may_create(transaction, org.id, holder.id) for holder in holders] == [True, False, True]
    assert [permission.administers(transaction, org.id, holder.id) for holder in holders] == [True, False, False]


def test_greatest_role_wins(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Of several grants, direct and by teams, the greatest counts."""
    chief, member = user("chief"), user("member")
    org = organization("buynlarge", chief)
    private = make_repository("buynlarge/app")
    for name, given in (("readers", Role.READ), ("writers", Role.WRITE)):
        made = team.create(transaction, org.id, name, "member")
        team.add_member(transaction, made, member.id)
        grant(transaction, private.id, team_id=made, role=given)
    grant(transaction, private.id, grantee_id=member.id, role=Role.READ)
    assert role(transaction, private, member.id) is Role.WRITE


def test_admin_of_one_organization_is_nobody_in_another(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """Teams reach as far as their organization."""
    chief, rival = user("chief"), user("rival")
    organization("buynlarge", chief)
    other = organization("sellnsmall", rival)
    private = make_repository("sellnsmall/app")
    assert role(transaction, private, chief.id) is None
    assert not permission.may_create(transaction, other.id, chief.id)


def test_grants_stay_in_the_family(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """No grant to another organization's team, to an organization, to nobody, to two at once, on nothing."""
    chief = user("chief")
    org, other = organization("buynlarge", chief), organization("other", chief)
    foreign = team.create(transaction, other.id, "team", "member")
    app = make_repository("buynlarge/app")
    with pytest.raises(GrantInvalid, match="does not belong to the organization"):
        grant(transaction, app.id, team_id=foreign, role=Role.READ)
    for grantee in (org.id, 10**9):
        with pytest.raises(GrantInvalid, match="users, robots and teams"):
            grant(transaction, app.id, grantee_id=grantee, role=Role.READ)
    with pytest.raises(GrantInvalid, match="either to a user or robot, or to a team"):
        grant(transaction, app.id, grantee_id=chief.id, team_id=foreign, role=Role.READ)
    with pytest.raises(GrantInvalid, match="no such repository"):
        grant(transaction, 10**9, grantee_id=chief.id, role=Role.READ)
