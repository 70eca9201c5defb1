"""
The end of a namespace: it is gone at once, and its rows go bit by bit.

`begin` takes a user or an organization out of sight in one transaction: nobody logs in as it or as a robot of its, no
list and no search shows it or what it held, and its name and e-mail address are free. What is left is rows under a name
that nobody can have (`~` and its uuid). `proceed` removes them, so many at a time that no writer waits for long, until
there are none. Blobs then have no links, and the garbage collector comes for their bytes.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import (
    bell,
    credential,
    label,
    manifest,
    manifest_blob,
    manifest_child,
    namespace,
    oauth_application,
    oauth_code,
    permission,
    prototype,
    pull,
    recovery_code,
    repository,
    repository_blob,
    repository_word,
    second_factor,
    session,
    star,
    tag,
    team,
    team_member,
    upload,
)

GONE: Final = "~"
"""What the names of removed namespaces begin with: no name may, and in byte order they come after all that may be."""

ROWS: Final = 500
"""So many rows go in one transaction: some ten milliseconds."""
REPOSITORY_COST: Final = 10
"""So many rows a repository counts as, beside its content: a dozen tables are looked through for what it may have."""


def begin(txn: Transaction, namespace_id: int) -> bool:
    """
    Take this user, organization or robot out of sight, with its robots and repositories; False if it was gone. Whether
    an organization is left without an administrator, `solely_administered` says beforehand.
    """
    row = sa.select(namespace.c.uuid).where(namespace.c.id == namespace_id, namespace.c.kind != "deleted")
    uuid = txn.execute(row.with_for_update()).scalar()
    if uuid is None:
        return False
    _lock_out(txn, namespace_id)
    _withdraw(txn, namespace_id)
    _hide_repositories(txn, namespace_id, f"{GONE}{uuid}/")
    _rename(txn, namespace_id)
    txn.changed("namespace", namespace_id)
    return True


def solely_administered(txn: Transaction, user_id: int, limit: int = 10) -> list[str]:
    """Names of organizations that no enabled user but this one administers, in order, not more than `limit`."""
    statement = (
        sa.select(namespace.c.name)
        .join_from(team_member, team, team_member.c.team_id == team.c.id)
        .join(namespace, team.c.organization_id == namespace.c.id)
        .where(team_member.c.member_id == user_id, team.c.role == "admin", ~_another_administrator(user_id))
        .distinct()
        .order_by(namespace.c.name)
        .limit(limit)
    )
    return list(txn.execute(statement).scalars())


def _another_administrator(user_id: int) -> sa.ColumnElement[bool]:
    """Whether somebody else administers the organization that the row of `namespace` around it is."""
    membership, administrators, user = team_member.alias(), team.alias(), namespace.alias()
    return sa.exists().where(
        administrators.c.organization_id == namespace.c.id,
        administrators.c.role == "admin",
        membership.c.team_id == administrators.c.id,
        membership.c.member_id == user.c.id,
        user.c.id != user_id,
        user.c.kind == "user",
        user.c.enabled,
    )


# --- out of sight -------------------------------------------------------------------------------------------------


def _lock_out(txn: Transaction, namespace_id: int) -> None:
    """Nobody shows anything that opens it, or that an application of its was given."""
    doomed = _doomed(namespace_id)
    for table, holder in (
        (session, session.c.user_id),
        (second_factor, second_factor.c.user_id),
        (recovery_code, recovery_code.c.user_id),
        (oauth_code, oauth_code.c.user_id),
    ):
        txn.execute(sa.delete(table).where(holder.in_(doomed)))
    applications = sa.select(oauth_application.c.id).where(oauth_application.c.organization_id == namespace_id)
    held = sa.or_(credential.c.namespace_id.in_(doomed), credential.c.application_id.in_(applications))
    for ended in txn.execute(sa.delete(credential).where(held).returning(credential.c.id)).scalars().all():
        txn.changed("credential", ended)
    txn.execute(sa.delete(oauth_application).where(oauth_application.c.organization_id == namespace_id))


def _withdraw(txn: Transaction, namespace_id: int) -> None:
    """It has no teams and belongs to none, and nothing is granted to it, or will be."""
    doomed = _doomed(namespace_id)
    txn.execute(sa.delete(prototype).where(prototype.c.organization_id == namespace_id))
    txn.execute(sa.delete(prototype).where(prototype.c.delegate_id.in_(doomed)))
    txn.execute(sa.delete(prototype).where(prototype.c.activating_id.in_(doomed)))
    txn.execute(sa.delete(team).where(team.c.organization_id == namespace_id))
    txn.execute(sa.delete(team_member).where(team_member.c.member_id.in_(doomed)))
    txn.execute(sa.delete(permission).where(permission.c.grantee_id.in_(doomed)))
    txn.execute(sa.delete(star).where(star.c.user_id == namespace_id))
    txn.execute(sa.delete(bell).where(bell.c.target_id == namespace_id))


def _hide_repositories(txn: Transaction, namespace_id: int, prefix: str) -> None:
    """Nobody has a role on them, no search finds them, and their names are free."""
    mine = sa.select(repository.c.id).where(repository.c.namespace_id == namespace_id)
    for table in (permission, star, repository_word):
        txn.execute(sa.delete(table).where(table.c.repository_id.in_(mine)))
    hidden = sa.update(repository).where(repository.c.namespace_id == namespace_id)
    txn.execute(hidden.values(name=prefix + sa.cast(repository.c.id, sa.String), public=False))


def _rename(txn: Transaction, namespace_id: int) -> None:
    values = {
        "name": GONE + namespace.c.uuid,
        "kind": "deleted",
        "email": None,
        "password_hash": None,
        "enabled": False,
        "superuser": False,
        "owner_id": None,
    }
    txn.execute(sa.update(namespace).where(namespace.c.id.in_(_doomed(namespace_id))).values(**values))


def _doomed(namespace_id: int) -> sa.Select[tuple[int]]:
    """It and its robots."""
    return sa.select(namespace.c.id).where(sa.or_(namespace.c.id == namespace_id, namespace.c.owner_id == namespace_id))


# --- bit by bit ---------------------------------------------------------------------------------------------------

_FIRST: Final = (
    sa.select(namespace.c.id)
    .where(namespace.c.name >= GONE, namespace.c.kind == "deleted")
    .order_by(namespace.c.name)
    .limit(1)
)
_CONTENT: Final[tuple[tuple[sa.Column[Any], ...], ...]] = (
    (tag.c.id,),
    (label.c.id,),
    (manifest_child.c.manifest_id, manifest_child.c.child_digest),
    (manifest_blob.c.manifest_id, manifest_blob.c.blob_id),
    (manifest.c.id,),
    (repository_blob.c.repository_id, repository_blob.c.blob_id),
    (upload.c.uuid,),
    (pull.c.repository_id, pull.c.subject),
)
"""The keys of what a repository can have much of, in an order in which nothing is left pointing to what is gone."""


def proceed(txn: Transaction, rows: int = ROWS) -> bool:
    """Remove about so many rows of what `begin` has hidden; False if there was nothing left."""
    doomed = txn.execute(_FIRST).scalar()
    if doomed is None:
        return False
    some = _repositories(txn, doomed, rows // REPOSITORY_COST + 1)
    if not some:
        txn.execute(sa.delete(namespace).where(namespace.c.id == doomed))
    elif _empty(txn, some, rows) < rows:
        txn.execute(sa.delete(repository).where(repository.c.id.in_(some)))
    return True


def _repositories(txn: Transaction, namespace_id: int, limit: int) -> list[int]:
    """Some of its repositories, locked: a push that is under way comes before, or finds nothing."""
    some = sa.select(repository.c.id).where(repository.c.namespace_id == namespace_id).order_by(repository.c.id)
    return list(txn.execute(some.limit(limit).with_for_update()).scalars())


def _empty(txn: Transaction, repository_ids: list[int], rows: int) -> int:
    """Remove so many rows of their content at most; says how many."""
    removed = 0
    for key in _CONTENT:
        table, columns = key[0].table, sa.tuple_(*key)
        theirs = sa.select(*key).where(table.c.repository_id.in_(repository_ids)).limit(rows - removed)
        removed += txn.execute(sa.delete(table).where(columns.in_(theirs))).rowcount
        if removed >= rows:
            break
    return removed
