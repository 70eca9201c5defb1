"""What new repositories of an organization begin with, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, prototype, repository, team
from quay.model.namespace import Namespace
from quay.model.permission import GrantInvalid, Role, role
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
