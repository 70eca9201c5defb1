"""
New names for users and organizations: what is theirs is called after them, so their robots and repositories get new
names too. Nothing answers to the old names afterwards, and somebody else may have them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from quay.database import Transaction
from quay.database.schema import namespace as table
from quay.database.schema import permission, repository
from quay.model import namespace, words
from quay.model.namespace import LIMIT, Namespace, NamespaceInvalid, NamespaceTaken
from quay.oci.reference import NAME_LIMIT


def rename(txn: Transaction, found: Namespace, name: str) -> Namespace:
    """Call the user or organization `name` from now on. Raises `NamespaceInvalid`, `NamespaceTaken`."""
    found = namespace.lock(txn, found.id)  # somebody else may have renamed it since it was found
    if found.kind == "robot":
        raise NamespaceInvalid(f"{found.name} is a robot, which is called after its owner.")
    namespace.check_name(name)
    if name == found.name:
        return found
    _check_lengths(txn, found, len(name) - len(found.name))
    _take_name(txn, found, name)
    _rename_robots(txn, found, name)
    _rename_repositories(txn, found, name)
    renamed = namespace.by_id(txn, found.id)
    assert renamed is not None, "it was changed in this transaction"
    txn.changed("namespace", found.id)  # ends whatever a cache holds
    return renamed


def _take_name(txn: Transaction, found: Namespace, name: str) -> None:
    try:
        with txn.savepoint():
            txn.execute(sa.update(table).where(table.c.id == found.id).values(name=name))
    except IntegrityError:
        raise NamespaceTaken(f"The name {name!r} is taken: choose another one.") from None


def _rename_robots(txn: Transaction, found: Namespace, name: str) -> None:
    mine = sa.update(table).where(table.c.owner_id == found.id)
    for robot in (
        txn.execute(mine.values(name=_called(table.c.name, found, name)).returning(table.c.id)).scalars().all()
    ):
        txn.changed("namespace", robot)


def _rename_repositories(txn: Transaction, found: Namespace, name: str) -> None:
    mine = repository.c.namespace_id == found.id
    txn.execute(sa.update(repository).where(mine).values(name=_called(repository.c.name, found, name)))
    granted = permission.c.repository_id.in_(sa.select(repository.c.id).where(mine))
    called = _called(permission.c.repository_name, found, name)
    txn.execute(sa.update(permission).where(granted).values(repository_name=called))
    words.index_namespace(txn, found.id)


def _called(column: sa.Column[str], found: Namespace, name: str) -> sa.ColumnElement[str]:
    """What stands in `column`, which begins with the old name, with the new one instead."""
    return sa.literal(name) + sa.func.substr(column, len(found.name) + 1)


def _check_lengths(txn: Transaction, found: Namespace, longer: int) -> None:
    for longest, limit in (
        (_longest(table.c.name).where(table.c.owner_id == found.id), LIMIT),
        (_longest(repository.c.name).where(repository.c.namespace_id == found.id), NAME_LIMIT),
    ):
        length = txn.execute(longest).scalar() or 0
        if length + longer > limit:
            raise NamespaceInvalid(
                f"The new name is too long: with it, a robot or repository of {found.name} would have a name of "
                f"{length + longer} characters, and {limit} are possible."
            )


def _longest(column: sa.Column[str]) -> sa.Select[Any]:
    return sa.select(sa.func.max(sa.func.length(column)))
