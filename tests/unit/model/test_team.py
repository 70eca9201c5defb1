"""Teams and their members, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, permission, team
from quay.model.namespace import Namespace
from quay.model.team import TeamInvalid, TeamTaken

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
