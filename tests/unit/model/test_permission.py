"""Where a role on a repository comes from, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, permission, repository
from quay.model.namespace import Namespace
from quay.model.permission import GrantInvalid, Role, TeamInvalid, TeamTaken, grant, role
from quay.model.repository import Repository
from quay.oci.reference import RepositoryName

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
    readers = permission.create_team(transaction, org.id, "readers", "member")
    creators = permission.create_team(transaction, org.id, "creators", "creator")
    permission.add_member(transaction, readers, reader.id)
    permission.add_member(transaction, creators, creator.id)
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
        team = permission.create_team(transaction, org.id, name, "member")
        permission.add_member(transaction, team, member.id)
        grant(transaction, private.id, team_id=team, role=given)
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


def test_organization_robot_creates_through_a_team(
    transaction: Transaction, user: Make, organization: MakeOrganization
) -> None:
    """A robot of the organization may create once it is in a team that may, and no longer than that."""
    org = organization("buynlarge", user("chief"))
    robot = namespace.create_robot(transaction, org.id, "ci")
    creators = permission.create_team(transaction, org.id, "creators", "creator")
    assert not permission.may_create(transaction, org.id, robot.id)
    permission.add_member(transaction, creators, robot.id)
    permission.add_member(transaction, creators, robot.id)
    assert permission.may_create(transaction, org.id, robot.id)
    assert permission.remove_member(transaction, creators, robot.id)
    assert not permission.remove_member(transaction, creators, robot.id)
    assert not permission.may_create(transaction, org.id, robot.id)
    assert ("member", robot.id) in transaction.changes


def test_strangers_do_not_join(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """Organizations, and robots of somebody else, are not members of a team."""
    chief = user("chief")
    org = organization("buynlarge", chief)
    team = permission.create_team(transaction, org.id, "creators", "creator")
    for stranger in (organization("other", chief), namespace.create_robot(transaction, chief.id, "mine")):
        with pytest.raises(TeamInvalid, match="robots of its own organization"):
            permission.add_member(transaction, team, stranger.id)
    with pytest.raises(TeamInvalid, match="no such team"):
        permission.add_member(transaction, team, 10**9)


def test_teams_are_of_organizations(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A user has no teams, a team's name has a grammar and is unique in its organization."""
    chief = user("chief")
    org = organization("buynlarge", chief)
    with pytest.raises(TeamInvalid, match="users have no teams"):
        permission.create_team(transaction, chief.id, "team", "member")
    for name in ("", "A1", "a'b", "a\x00b", "a" * 256):
        with pytest.raises(TeamInvalid, match="A team cannot be called"):
            permission.create_team(transaction, org.id, name, "member")
    with pytest.raises(TeamTaken, match="has a team 'owners' already"):
        permission.create_team(transaction, org.id, "owners", "admin")


def test_grants_stay_in_the_family(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """No grant to another organization's team, to an organization, to nobody, to two at once, on nothing."""
    chief = user("chief")
    org, other = organization("buynlarge", chief), organization("other", chief)
    foreign = permission.create_team(transaction, other.id, "team", "member")
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


def test_prototypes_apply_to_new_repositories(
    transaction: Transaction, user: Make, organization: MakeOrganization
) -> None:
    """Everybody's prototypes apply, those of another creator do not, and one's own goes before everybody's."""
    chief, maker, auditor = user("chief"), user("maker"), user("auditor")
    org = organization("buynlarge", chief)
    robot = namespace.create_robot(transaction, org.id, "ci")
    team = permission.create_team(transaction, org.id, "team", "member")
    member = user("member")
    permission.add_member(transaction, team, member.id)
    make = permission.create_prototype
    make(transaction, org.id, delegate_id=robot.id, role=Role.WRITE)
    make(transaction, org.id, delegate_id=robot.id, activating_id=maker.id, role=Role.READ)
    make(transaction, org.id, delegate_id=auditor.id, activating_id=chief.id, role=Role.READ)
    make(transaction, org.id, delegate_team_id=team, role=Role.READ)
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
    foreign = permission.create_team(transaction, other.id, "team", "member")
    with pytest.raises(GrantInvalid, match="either to a user or robot, or to a team"):
        permission.create_prototype(transaction, org.id, role=Role.READ)
    with pytest.raises(GrantInvalid, match="does not belong to the organization"):
        permission.create_prototype(transaction, org.id, delegate_team_id=foreign, role=Role.READ)
