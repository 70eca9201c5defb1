"""
A user becomes an organization: its repositories and robots stay, and somebody else administers them. Nobody logs in as
it any more, and what was granted to it as a person is gone.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import (
    bell,
    credential,
    namespace,
    oauth_code,
    permission,
    prototype,
    recovery_code,
    second_factor,
    session,
    star,
    team_member,
)
from quay.model import removal, team
from quay.model.credential import revoke_where
from quay.model.namespace import Namespace, NamespaceInvalid, lock

OWNERS: Final = "owners"

_PERSONAL: Final[tuple[sa.Column[Any], ...]] = (
    session.c.user_id,
    second_factor.c.user_id,
    recovery_code.c.user_id,
    oauth_code.c.user_id,
    star.c.user_id,
    bell.c.target_id,
    team_member.c.member_id,
    permission.c.grantee_id,
    prototype.c.delegate_id,
    prototype.c.activating_id,
)
"""What only a person has: whose rows these columns name."""


def to_organization(txn: Transaction, user: Namespace, administrator_id: int) -> None:
    """
    Make an organization of `user`, whose team `owners` administers it and has `administrator_id` in it. Raises
    `NamespaceInvalid` if it is no user, or the only one who administers some organization, or that administrator.
    """
    _check(txn, lock(txn, user.id), administrator_id)
    for column in _PERSONAL:
        txn.execute(sa.delete(column.table).where(column == user.id))
    revoke_where(txn, credential.c.namespace_id == user.id)
    values = {"kind": "organization", "password_hash": None, "superuser": False, "verified": True, "enabled": True}
    txn.execute(sa.update(namespace).where(namespace.c.id == user.id).values(**values))
    team.add_member(txn, team.create(txn, user.id, OWNERS, "admin"), administrator_id)
    txn.changed("namespace", user.id)


def _check(txn: Transaction, user: Namespace, administrator_id: int) -> None:
    if user.kind != "user":
        raise NamespaceInvalid(f"{user.name} is a {user.kind}: only a user can be made an organization.")
    if user.id == administrator_id:
        raise NamespaceInvalid(f"{user.name} cannot administer the organization that it becomes: name another user.")
    left = removal.solely_administered(txn, user.id)
    if left:
        raise NamespaceInvalid(
            f"Nobody but {user.name} administers {', '.join(left)}: make another user an administrator there first."
        )
