"""Teams and their members, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, permission, team
from quay.model.namespace import Namespace
from quay.model.team import Team, TeamInvalid, TeamTaken
from tests.unit.model.conftest import MakeRepository

Make = Callable[[str], Namespace]
MakeOrganization = Callable[[str, Namespace], Namespace]


def test_organization_robot_creates_through_a_team(
    transaction: Transaction, user: Make, organization: MakeOrganization
) -> None:
    """A robot of the organization may create once it is in a team that may, and no longer than that."""
    org = organization("buynlarge", user("chief"))
    robot = namespace.create_robot(transaction, org.id, "ci")
    creators = team.create(transaction, org.id, "creators", "creator")
    assert not permission.may_create(transaction, org.id, robot.id)
    team.add_member(transaction, creators, robot.id)
    team.add_member(transaction, creators, robot.id)
    assert permission.may_create(transaction, org.id, robot.id)
    assert team.remove_member(transaction, creators, robot.id)
    assert not team.remove_member(transaction, creators, robot.id)
    assert not permission.may_create(transaction, org.id, robot.id)
    assert ("member", robot.id) in transaction.changes


def test_strangers_do_not_join(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """Organizations, and robots of somebody else, are not members of a team."""
    chief = user("chief")
    org = organization("buynlarge", chief)
    made = team.create(transaction, org.id, "creators", "creator")
    for stranger in (organization("other", chief), namespace.create_robot(transaction, chief.id, "mine")):
        with pytest.raises(TeamInvalid, match="robots of its own organization"):
            team.add_member(transaction, made, stranger.id)
    with pytest.raises(TeamInvalid, match="no such team"):
        team.add_member(transaction, made, 10**9)


def test_teams_are_of_organizations(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A user has no teams, a team's name has a grammar and is unique in its organization."""
    chief = user("chief")
    org = organization("buynlarge", chief)
    with pytest.raises(TeamInvalid, match="users have no teams"):
        team.create(transaction, chief.id, "team", "member")
    for name in ("", "A1", "a'b", "a\x00b", "a" * 256):
        with pytest.raises(TeamInvalid, match="A team cannot be called"):
            team.create(transaction, org.id, name, "member")
    with pytest.raises(TeamTaken, match="has a team 'owners' already"):
        team.create(transaction, org.id, "owners", "admin")


def test_what_is_known_of_a_team(
    transaction: Transaction, user: Make, organization: MakeOrganization, make_repository: MakeRepository
) -> None:
    """A team is found in its own organization, with what it is for, who is in it and on what it has a role."""
    chief, anna = user("chief"), user("anna")
    org, other = organization("buynlarge", chief), organization("other", chief)
    robot = namespace.create_robot(transaction, org.id, "ci")
    made = team.create(transaction, org.id, "readers", "member", description="They *read*.")
    for each in (anna, robot):
        assert team.add_member(transaction, made, each.id)
        assert not team.add_member(transaction, made, each.id)
    permission.grant(transaction, make_repository("buynlarge/app").id, team_id=made, role=permission.Role.READ)
    found = team.find(transaction, org.id, "readers")
    assert found == Team(made, org.id, "readers", "member", "They *read*.", 2, 1)
    assert team.find(transaction, other.id, "readers") is None
    owners = team.find(transaction, org.id, "owners")
    assert team.of_organization(transaction, org.id) == [owners, found]
    assert [member.name for member in team.members(transaction, made, limit=9)] == ["anna", "buynlarge+ci"]
    assert [member.kind for member in team.members(transaction, made, after="anna", limit=9)] == ["robot"]
    assert len(team.members(transaction, made, limit=1)) == 1
    assert team.ids_of_member(transaction, org.id, anna.id) == {made}
    assert team.ids_of_member(transaction, other.id, anna.id) == set()


def test_a_team_changes_and_goes(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """A team gets another role and another description, and goes with the rights of its members."""
    anna = user("anna")
    org = organization("buynlarge", user("chief"))
    made = team.create(transaction, org.id, "crew", "member")
    team.add_member(transaction, made, anna.id)
    team.set_role(transaction, made, "creator")
    team.describe(transaction, made, "They make.")
    found = team.find(transaction, org.id, "crew")
    assert found is not None
    assert (found.role, found.description) == ("creator", "They make.")
    assert permission.may_create(transaction, org.id, anna.id)
    team.delete(transaction, made)
    assert team.find(transaction, org.id, "crew") is None
    assert not permission.may_create(transaction, org.id, anna.id)


def test_somebody_administers(transaction: Transaction, user: Make, organization: MakeOrganization) -> None:
    """The last user who administers an organization stays, in a team with the role admin, whatever else is there."""
    chief, deputy = user("chief"), user("deputy")
    org = organization("buynlarge", chief)
    owners = team.find(transaction, org.id, "owners")
    assert owners is not None
    robots = team.create(transaction, org.id, "robots", "admin")
    team.add_member(transaction, robots, namespace.create_robot(transaction, org.id, "ci").id)
    deputies = team.create(transaction, org.id, "deputies", "admin")
    team.add_member(transaction, deputies, deputy.id)
    namespace.set_enabled(transaction, deputy.id, False)
    attempts = (
        lambda: team.set_role(transaction, owners.id, "member"),
        lambda: team.delete(transaction, owners.id),
        lambda: team.remove_member(transaction, owners.id, chief.id),
        lambda: team.remove_from_all(transaction, org.id, chief.id),
    )
    for attempt in attempts:
        with transaction.connection.begin_nested() as attempted:
            with pytest.raises(TeamInvalid, match="Nobody could administer the organization any more"):
                attempt()
            attempted.rollback()
    assert not team.remove_member(transaction, owners.id, deputy.id)
    namespace.set_enabled(transaction, deputy.id, True)
    assert team.remove_member(transaction, owners.id, chief.id)
    team.delete(transaction, owners.id)
    assert not permission.administers(transaction, org.id, chief.id)


def test_so_many_teams(
    transaction: Transaction, user: Make, organization: MakeOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization has only so many teams, and is told so."""
    monkeypatch.setattr(team, "MOST", 2)
    org = organization("buynlarge", user("chief"))
    team.create(transaction, org.id, "second", "member")
    with pytest.raises(TeamInvalid, match="has 2 teams, and cannot have more"):
        team.create(transaction, org.id, "third", "member")
