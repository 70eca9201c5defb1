"""
What the account of a user says of him, beside his profile: the organizations he belongs to, whether his address is
verified, whether he has a password; and that of the very first user.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import lock
from quay.database.schema import namespace, setting, team, team_member
from quay.model.namespace import any_user

ORGANIZATIONS: Final = 1000
INITIALIZED: Final = "initialized"


@attrs.frozen
class Belonging:
    """An organization that somebody belongs to, and what he may do there by his teams."""

    name: str
    may_create: bool
    administers: bool


@attrs.frozen
class Standing:
    """Whether the e-mail address of a user is known to be his, and whether a password opens his account."""

    verified: bool
    has_password: bool


_RANK: Final = sa.func.max(sa.case((team.c.role == "admin", 2), (team.c.role == "creator", 1), else_=0))


def organizations(txn: Transaction, user_id: int) -> list[Belonging]:
    """The organizations in teams of which this user is, in order of name, a thousand at most."""
    statement = (
        sa.select(namespace.c.name, _RANK.label("rank"))
        .join_from(team_member, team, team_member.c.team_id == team.c.id)
        .join(namespace, team.c.organization_id == namespace.c.id)
        .where(team_member.c.member_id == user_id)
        .group_by(namespace.c.name)
        .order_by(namespace.c.name)
        .limit(ORGANIZATIONS)
    )
    return [Belonging(row.name, row.rank >= 1, row.rank == 2) for row in txn.execute(statement)]


def standing(txn: Transaction, user_id: int) -> Standing:
    """How things stand with this user; nothing is so for nobody."""
    columns = (namespace.c.verified, namespace.c.password_hash.is_not(None).label("has_password"))
    row = txn.execute(sa.select(*columns).where(namespace.c.id == user_id)).first()
    return Standing(bool(row and row.verified), bool(row and row.has_password))


def is_empty(txn: Transaction) -> bool:
    """Whether nobody is or was here, so that the first user can be made."""
    marked = txn.execute(sa.select(setting.c.key).where(setting.c.key == INITIALIZED)).first()
    return marked is None and not any_user(txn)


def initialize(txn: Transaction) -> bool:
    """
    Whether the first user may be made in this transaction: once, of however many ask at the same time, and never when
    there is or was anybody.
    """
    txn.execute(lock(sa.select(setting.c.key).where(setting.c.key == "schema"))).first()
    if not is_empty(txn):
        return False
    mark = sa.insert(setting).values(key=INITIALIZED, value=str(txn.now_ms))
    txn.execute(mark)
    return True
