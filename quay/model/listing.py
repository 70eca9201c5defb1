"""
Repositories as people look at them: with their descriptions, their stars, and when something was pushed to them.

Lists are pages in order of name, of what the viewer may read; what lies in a disabled namespace is in none of them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore
from quay.database.schema import namespace, repository, star, tag
from quay.model.permission import readable
from quay.model.repository import Kind, State, catalog
from quay.oci.reference import RepositoryName


@attrs.frozen
class Listed:
    """
    A repository in a list. `organization`: its namespace is one; `starred`: by the viewer; `stars`: by anybody;
    `pushed_ms`: when a tag began last, None for never.
    """

    id: int
    name: RepositoryName
    organization: bool
    description: str
    public: bool
    kind: Kind
    state: State
    starred: bool
    stars: int
    pushed_ms: int | None


LOOKED_AT: Final = 1000

_PUSHED: Final = (
    sa.select(tag.c.start_ms)
    .where(tag.c.repository_id == repository.c.id, sa.not_(tag.c.hidden))
    .order_by(tag.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_STARS: Final = sa.select(sa.func.count()).where(star.c.repository_id == repository.c.id).scalar_subquery()
_STARRED: Final = sa.exists().where(
    star.c.repository_id == repository.c.id, star.c.user_id == sa.bindparam("viewer", type_=sa.BigInteger)
)
_LISTED: Final = (
    sa.select(
        repository.c.id,
        repository.c.name,
        (namespace.c.kind == "organization").label("organization"),
        repository.c.description,
        repository.c.public,
        repository.c.kind,
        repository.c.state,
        _STARRED.label("starred"),
        _STARS.label("stars"),
        _PUSHED.label("pushed_ms"),
    )
    .join_from(repository, namespace, repository.c.namespace_id == namespace.c.id)
    .where(namespace.c.enabled)
    .order_by(repository.c.name)
)


def visible(
    txn: Transaction,
    viewer_id: int | None,
    *,
    public: bool,
    within: str | None = None,
    kind: Kind | None = None,
    after: str | None = None,
    limit: int,
) -> list[Listed]:
    """
    The next `limit` repositories past the name `after` on which the viewer (None: nobody in particular) has a role,
    with the public ones if `public`; only those in the namespace `within`, only those of this kind, if that is given.
    """
    found: list[Listed] = []
    while len(found) < limit:
        names = catalog(txn, viewer_id, public=public, within=within, after=after, limit=limit)
        found += _of(txn, viewer_id, repository.c.name.in_(names), kind)
        if len(names) < limit:
            break
        after = names[-1]
    return found[:limit]


def starred(
    txn: Transaction, user_id: int, *, kind: Kind | None = None, after: str | None = None, limit: int
) -> list[Listed]:
    """The next `limit` repositories past the name `after` that the user has starred and may still read."""
    names = (
        sa.select(repository.c.name)
        .join(star, star.c.repository_id == repository.c.id)
        .join(namespace, namespace.c.id == repository.c.namespace_id)
        .where(star.c.user_id == user_id, repository.c.name > (after or ""), readable(user_id), namespace.c.enabled)
    )
    mine = names if kind is None else names.where(repository.c.kind == kind)
    chosen = txn.execute(mine.order_by(repository.c.name).limit(limit)).scalars().all()
    return _of(txn, user_id, repository.c.name.in_(chosen), kind)


def recent(txn: Transaction, viewer_id: int | None, *, limit: int) -> list[Listed]:
    """
    The repositories that were pushed to last, of those that the viewer may read: the latest first, at most `limit`. No
    more than the last `LOOKED_AT` pushes of all are looked at, so there may be fewer.
    """
    last = sa.select(tag.c.id, tag.c.repository_id).where(sa.not_(tag.c.hidden)).order_by(tag.c.id.desc())
    pushes = last.limit(LOOKED_AT).subquery()
    chosen = (
        sa.select(pushes.c.repository_id)
        .join(repository, repository.c.id == pushes.c.repository_id)
        .where(readable(viewer_id))
        .group_by(pushes.c.repository_id)
        .order_by(sa.func.max(pushes.c.id).desc())
        .limit(limit)
    )
    ids = txn.execute(chosen).scalars().all()
    found = {one.id: one for one in those(txn, viewer_id, ids)}
    return [found[each] for each in ids if each in found]


def those(txn: Transaction, viewer_id: int | None, ids: Collection[int]) -> list[Listed]:
    """These repositories, in order of name, whoever may read them."""
    return _of(txn, viewer_id, repository.c.id.in_(ids), None)


def _of(txn: Transaction, viewer_id: int | None, which: sa.ColumnElement[bool], kind: Kind | None) -> list[Listed]:
    statement = _LISTED.where(which) if kind is None else _LISTED.where(which, repository.c.kind == kind)
    rows = txn.execute(statement, {"viewer": viewer_id})
    return [Listed(**row._asdict() | {"name": RepositoryName(*row.name.split("/", 1))}) for row in rows]


# --- stars --------------------------------------------------------------------------------------------------------


def add_star(txn: Transaction, user_id: int, repository_id: int) -> None:
    """Remember that the user likes it."""
    row = {"user_id": user_id, "repository_id": repository_id, "created_ms": txn.now_ms}
    txn.execute(insert_or_ignore(txn.dialect, star), row)


def remove_star(txn: Transaction, user_id: int, repository_id: int) -> None:
    """Forget it."""
    txn.execute(sa.delete(star).where(star.c.user_id == user_id, star.c.repository_id == repository_id))
