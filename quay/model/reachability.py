"""
Which manifests a repository still reaches, and who may change that.

A manifest is **reachable** while an unended tag row names it (a hidden one too), while a reachable index has it as a
child, or while the subject it refers to is reachable; `unreachable_ms` is NULL for exactly these. Everything else is
out of sight: it cannot be read and is no referrer, but the time machine can restore it until the garbage collector
comes. An index can refer to its own child, so two manifests may name each other as keepers: only what hangs on a tag
counts, and a cycle does not hold itself up.

A **deleted** manifest (`deleted_ms`) was deleted by its digest. It is unreachable whoever else would keep it, until it
is pushed again or a tag is restored to it.

Locks, on PostgreSQL (SQLite has one writer), always taken in this order:

1. the repository row: `lock` by whoever changes tags or manifests of the repository or removes anything from it, the
   garbage collector included; `share` by whoever only links blobs. Pushes to one repository stand in line for a few
   statements, and every statement after the lock sees all that was committed before it. Whoever links blobs and puts a
   manifest in one transaction takes `lock` first.
2. the blob row: FOR KEY SHARE by whoever links it. Whoever deletes blob rows locks them FOR UPDATE SKIP LOCKED in one
   statement, and looks in the next, which sees what was committed meanwhile, whether a repository links them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.prepared import Prepared
from quay.database.schema import manifest, manifest_child, repository, tag
from quay.oci.errors import NameUnknown

_REPOSITORY: Final = sa.bindparam("in_repository", type_=manifest.c.repository_id.type)
_ROW: Final = sa.select(repository.c.id).where(repository.c.id == sa.bindparam("id"))
_LOCK: Final = Prepared(_ROW.with_for_update(key_share=True))
_SHARE: Final = Prepared(_ROW.with_for_update(read=True, key_share=True))
# The repository of the child is that of its parent's row, not a parameter: with one, SQLite would rather go through all
# manifests of the repository than through the children of one.
_CHILDREN: Final = manifest_child.join(
    manifest,
    sa.and_(
        manifest.c.repository_id == manifest_child.c.repository_id, manifest.c.digest == manifest_child.c.child_digest
    ),
)
_MARK: Final = Prepared(
    sa.update(manifest)
    .where(manifest.c.id.in_(sa.bindparam("marked", expanding=True)))
    .values(unreachable_ms=sa.bindparam("since", type_=sa.BigInteger()))
)

PARAMETERS: Final = 10_000  # in one statement; SQLite takes 32,766

T = TypeVar("T")


def lock(txn: Transaction, repository_id: int) -> None:
    """Be the only one to change this repository's content until the transaction ends. Raises `NameUnknown`."""
    _hold(txn, repository_id, _LOCK)


def share(txn: Transaction, repository_id: int) -> None:
    """Keep this repository from being deleted until the transaction ends. Raises `NameUnknown`."""
    _hold(txn, repository_id, _SHARE)


def _hold(txn: Transaction, repository_id: int, statement: Prepared) -> None:
    if txn.execute(statement, {"id": repository_id}).first() is None:
        raise NameUnknown("This repository has been deleted.", advice="Push again to create it anew.")


def review(txn: Transaction, repository_id: int, manifest_ids: Collection[int]) -> None:
    """
    Bring `unreachable_ms` of these manifests, and of all that they keep at any remove, in line with the tags as they
    are now. Needs `lock`. One query, whatever the depth, and updates of what is wrong.
    """
    seeds = {"in_repository": repository_id, "seeds": list(manifest_ids)}
    rows = txn.execute(_affected(txn.dialect), seeds).all()
    kept = _spread({row.id for row in rows if row.anchored}, rows)
    wrong = {row.id: row for row in rows if row.reachable != (row.id in kept)}
    for row in wrong.values():
        manifest_changed(txn, repository_id, row.digest, row.subject_digest)
    _mark(txn, [manifest_id for manifest_id in wrong if manifest_id in kept], None)
    _mark(txn, [manifest_id for manifest_id in wrong if manifest_id not in kept], txn.now_ms)


def _spread(anchored: set[int], rows: Sequence[sa.Row[Any]]) -> set[int]:
    """The anchored manifests, and what they keep, and what that keeps."""
    keeps: dict[int, list[int]] = {}
    for row in rows:
        keeps.setdefault(row.keeper_id, []).append(row.id)
    kept, ahead = set(anchored), list(anchored)
    while ahead:
        found = set(keeps.get(ahead.pop(), ())) - kept
        kept |= found
        ahead += found
    return kept


def _mark(txn: Transaction, manifest_ids: list[int], unreachable_ms: int | None) -> None:
    for batch in batches(manifest_ids):
        txn.execute(_MARK, {"marked": batch, "since": unreachable_ms})


def manifest_changed(txn: Transaction, repository_id: int, digest: str, subject_digest: str | None) -> None:
    """Announce that a manifest came into sight or went out of it."""
    txn.changed("manifest", repository_id, digest)
    if subject_digest is not None:
        txn.changed("referrers", repository_id, subject_digest)


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """`values` in portions that one statement can take as parameters."""
    return (values[start : start + PARAMETERS] for start in range(0, len(values), PARAMETERS))


@cache
def _affected(dialect: str) -> Prepared:
    """
    The seeds and what they keep at any remove, once for each keeper by which it was found: whether it is reachable
    now, and whether it is anchored, that is, kept by a tag or by something reachable that is not itself in question.
    """
    affected = _closure(dialect)
    keeper = manifest.alias("keeper")
    outside = (
        keeper.c.repository_id == _REPOSITORY,
        keeper.c.unreachable_ms.is_(None),
        keeper.c.id.not_in(sa.select(affected.c.id)),
    )
    tagged = sa.exists().where(tag.c.manifest_id == manifest.c.id, tag.c.end_ms.is_(None))
    child = sa.exists().where(
        manifest_child.c.repository_id == _REPOSITORY,
        manifest_child.c.child_digest == manifest.c.digest,
        keeper.c.id == manifest_child.c.manifest_id,
        *outside,
    )
    referrer = sa.exists().where(keeper.c.digest == manifest.c.subject_digest, *outside)
    found = sa.select(
        affected.c.keeper_id,
        manifest.c.id,
        manifest.c.digest,
        manifest.c.subject_digest,
        manifest.c.unreachable_ms.is_(None).label("reachable"),
        sa.and_(manifest.c.deleted_ms.is_(None), sa.or_(tagged, child, referrer)).label("anchored"),
    )
    return Prepared(found.join(affected, affected.c.id == manifest.c.id))


def _closure(dialect: str) -> sa.CTE:
    """The seeds; children and referrers of these; theirs. What was deleted ends the way."""
    none = sa.literal(0, manifest.c.id.type).label("keeper_id")
    seeds = sa.select(none, manifest.c.id, manifest.c.digest).where(
        manifest.c.repository_id == _REPOSITORY, manifest.c.id.in_(sa.bindparam("seeds", expanding=True))
    )
    closure = seeds.cte("affected", recursive=True)
    kept = manifest.c.deleted_ms.is_(None)
    children = (
        sa.select(closure.c.id, manifest.c.id, manifest.c.digest)
        .select_from(_CHILDREN)
        .where(manifest_child.c.manifest_id == closure.c.id, kept)
    )
    referrers = sa.select(closure.c.id, manifest.c.id, manifest.c.digest).where(
        manifest.c.repository_id == _REPOSITORY, manifest.c.subject_digest == closure.c.digest, kept
    )
    if dialect == "sqlite":
        return closure.union(children, referrers)
    # PostgreSQL lets a recursion name itself only once.
    step = sa.union_all(children.correlate(closure), referrers.correlate(closure)).lateral()
    return closure.union(sa.select(*step.c).select_from(closure.join(step, sa.true())))


def undelete(txn: Transaction, manifest_id: int) -> None:
    """Forget that this manifest, or a child below it, was deleted by its digest. Needs `lock`, and a review after."""
    txn.execute(_UNDELETE, {"seed": manifest_id})


def forsake(txn: Transaction, manifest_id: int, since_ms: int, *, children: bool) -> None:
    """
    Have this manifest, with `children` also all below it, count as unreachable since `since_ms` if it is unreachable
    now. Needs `lock`, and a review before.
    """
    txn.execute(_FORSAKE_WHOLE if children else _FORSAKE, {"seed": manifest_id, "since": since_ms})


def _whole() -> sa.CTE:
    whole = sa.select(sa.bindparam("seed", type_=manifest.c.id.type).label("id")).cte("whole", recursive=True)
    children = sa.select(manifest.c.id).select_from(_CHILDREN).where(manifest_child.c.manifest_id == whole.c.id)
    return whole.union(children)


_UNDELETE: Final = (
    sa.update(manifest)
    .where(manifest.c.deleted_ms.is_not(None), manifest.c.id.in_(sa.select(_whole().c.id)))
    .values(deleted_ms=None)
)
_UNREACHABLE_SINCE: Final = (
    sa.update(manifest)
    .where(manifest.c.unreachable_ms.is_not(None))
    .values(unreachable_ms=sa.bindparam("since", type_=sa.BigInteger()))
)
_FORSAKE: Final = _UNREACHABLE_SINCE.where(manifest.c.id == sa.bindparam("seed"))
_FORSAKE_WHOLE: Final = _UNREACHABLE_SINCE.where(manifest.c.id.in_(sa.select(_whole().c.id)))
