"""
Prototypes: an organization's default permissions, which each new repository of it begins with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import prototype
from quay.model.permission import GrantInvalid, Role, check_grantee, check_team, grant

if TYPE_CHECKING:
    from quay.model.repository import Repository


def create(
    txn: Transaction,
    organization_id: int,
    *,
    activating_id: int | None = None,
    delegate_id: int | None = None,
    delegate_team_id: int | None = None,
    role: Role,
) -> str:
    """
    From now on, a new repository of the organization (only one that `activating_id` makes, if given) grants `role`
    to the delegate, a user or robot or a team of the organization. Gives the prototype's uuid. Raises `GrantInvalid`.
    """
    if (delegate_id is None) == (delegate_team_id is None):
        raise GrantInvalid("A default role is given either to a user or robot, or to a team.")
    if delegate_id is not None:
        check_grantee(txn, delegate_id)
    if delegate_team_id is not None:
        check_team(txn, delegate_team_id, organization_id)
    uuid = str(uuid4())
    statement = sa.insert(prototype).values(
        uuid=uuid,
        organization_id=organization_id,
        activating_id=activating_id,
        delegate_id=delegate_id,
        delegate_team_id=delegate_team_id,
        role=str(role),
    )
    txn.execute(statement)
    return uuid


def apply(txn: Transaction, repository: Repository, creator_id: int | None) -> None:
    """
    Grant what the organization's prototypes say for a repository that `creator_id` made. For one delegate, a
    prototype for this creator goes before one for everybody; the creator's own role is not lessened.
    """
    applies = sa.or_(prototype.c.activating_id.is_(None), prototype.c.activating_id == creator_id)
    statement = sa.select(prototype).where(prototype.c.organization_id == repository.namespace_id, applies)
    delegates = {}
    for row in sorted(txn.execute(statement), key=lambda row: (row.activating_id is not None, Role.parse(row.role))):
        delegates[row.delegate_id, row.delegate_team_id] = Role.parse(row.role)
    for (grantee_id, team_id), given in delegates.items():
        if grantee_id is None or grantee_id != creator_id:
            grant(txn, repository.id, grantee_id=grantee_id, team_id=team_id, role=given)
