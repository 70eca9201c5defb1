"""
What is garbage, and how its rows are removed; the rules stand in `quay.registry.garbage`.

Candidates come from indexes in the order in which they became due, page by page: a page is read without locks, and
whoever acts on it takes the lock of the one repository it concerns and looks again. A `Position` is where a page ended.
Locks are taken in the order that `quay.model.reachability` prescribes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import greatest, upsert
from quay.database.schema import (
    blob,
    manifest,
    manifest_blob,
    manifest_child,
    namespace,
    repository,
    repository_blob,
    setting,
    tag,
)
from quay.model import pull
from quay.model.condemned import Condemned, condemn_unlinked
from quay.model.reachability import lock
from quay.oci.errors import NameUnknown

Position: TypeAlias = tuple[int, ...]

CURSOR: Final = "gc:"
"""Before the name of a position among the settings."""


@attrs.frozen
class Due:
    """A candidate: `position` is its place in the index, `ids` what it takes to name it in its repository."""

    position: Position
    repository_id: int
    id: int


@attrs.frozen
class Page:
    """What was found, and where to go on; `end` is None when there is nothing more."""

    due: Sequence[Due]
    end: Position | None


_NOW: Final = sa.bindparam("now", type_=sa.BigInteger())
_REPOSITORY: Final = sa.bindparam("in_repository", type_=repository.c.id.type)
_IDS: Final[sa.BindParameter[int]] = sa.bindparam("ids", expanding=True)
_LIMIT: Final = sa.bindparam("most", type_=sa.Integer())
_A: Final = sa.bindparam("a", type_=sa.BigInteger())
_B: Final = sa.bindparam("b", type_=sa.BigInteger())
_C: Final = sa.bindparam("c", type_=sa.BigInteger())
_TIME_MACHINE: Final = (
    sa.select(namespace.c.time_machine_s)
    .join(repository, repository.c.namespace_id == namespace.c.id)
    .where(repository.c.id == _REPOSITORY)
)
_NEXT_TIME_MACHINE: Final = sa.select(sa.func.min(namespace.c.time_machine_s)).where(
    namespace.c.time_machine_s > sa.bindparam("above", type_=sa.Integer())
)

# --- which tags, manifests, links and blobs are due ---------------------------------------------------------------


def _due(table: sa.Table, since: sa.Column[Any]) -> sa.Select[Any]:
    """Rows in the order of `since`, whatever their time machine, so that a page is never longer than its limit."""
    return (
        sa.select(since.label("since"), table.c.id, table.c.repository_id, namespace.c.time_machine_s)
        .join(repository, repository.c.id == table.c.repository_id)
        .join(namespace, namespace.c.id == repository.c.namespace_id)
        .where(since.is_not(None), since >= _A, sa.tuple_(since, table.c.id) > sa.tuple_(_A, _B), since <= _NOW)
        .order_by(since, table.c.id)
        .limit(_LIMIT)
    )


_TAGS: Final = _due(tag, tag.c.end_ms)
_MANIFESTS: Final = _due(manifest, manifest.c.unreachable_ms)
_NAMED: Final = sa.exists().where(
    manifest_blob.c.repository_id == repository_blob.c.repository_id,
    manifest_blob.c.blob_id == repository_blob.c.blob_id,
)
_LEASE: Final = repository_blob.c.leased_until_ms
_LINKS: Final = (
    sa.select(_LEASE.label("since"), repository_blob.c.repository_id, repository_blob.c.blob_id, _NAMED.label("named"))
    .where(
        _LEASE >= _A,
        sa.tuple_(_LEASE, repository_blob.c.repository_id, repository_blob.c.blob_id) > sa.tuple_(_A, _B, _C),
        _LEASE <= _NOW,
    )
    .order_by(_LEASE, repository_blob.c.repository_id, repository_blob.c.blob_id)
    .limit(_LIMIT)
)
_LINKED: Final = sa.exists().where(repository_blob.c.blob_id == blob.c.id)
_BLOBS: Final = sa.select(blob.c.id, _LINKED.label("linked")).where(blob.c.id > _A).order_by(blob.c.id).limit(_LIMIT)


def time_machines(txn: Transaction) -> list[int]:
    """How far back the time machines of the namespaces reach, in seconds: each value once."""
    found: list[int] = []
    while (following := txn.execute(_NEXT_TIME_MACHINE, {"above": found[-1] if found else -1}).scalar()) is not None:
        found.append(following)
    return found


def due_tags(txn: Transaction, time_machine_s: int, after: Position, limit: int) -> Page:
    """Tags that ended so long ago that a time machine of this reach cannot restore them."""
    return _restorable_no_more(txn, _TAGS, time_machine_s, after, limit)


def due_manifests(txn: Transaction, time_machine_s: int, after: Position, limit: int) -> Page:
    """Manifests that have been unreachable for longer than a time machine of this reach goes back."""
    return _restorable_no_more(txn, _MANIFESTS, time_machine_s, after, limit)


def _restorable_no_more(
    txn: Transaction, statement: sa.Select[Any], time_machine_s: int, after: Position, limit: int
) -> Page:
    a, b = (*after, 0, 0)[:2]
    rows = txn.execute(statement, {"a": a, "b": b, "now": txn.now_ms - time_machine_s * 1000, "most": limit}).all()
    mine = [Due((row.since, row.id), row.repository_id, row.id) for row in rows if row.time_machine_s == time_machine_s]
    return Page(mine, (rows[-1].since, rows[-1].id) if rows else None)


def due_links(txn: Transaction, after: Position, limit: int) -> Page:
    """Links whose lease has run out and that no manifest names; `id` is that of the blob."""
    return _loose_links(txn, _LINKS, after, limit)


def _loose_links(txn: Transaction, statement: sa.Select[Any], after: Position, limit: int) -> Page:
    a, b, c = (*after, 0, 0, 0)[:3]
    rows = txn.execute(statement, {"a": a, "b": b, "c": c, "now": txn.now_ms, "most": limit}).all()
    positions = [(row.since, row.repository_id, row.blob_id) for row in rows]
    due = [
        Due(position, row.repository_id, row.blob_id)
        for row, position in zip(rows, positions, strict=True)
        if not row.named
    ]
    return Page(due, positions[-1] if positions else None)


def due_blobs(txn: Transaction, after: Position, limit: int) -> Page:
    """Blobs that no repository links, in the order of their rows."""
    return _unlinked_blobs(txn, _BLOBS, after, limit)


def _unlinked_blobs(txn: Transaction, statement: sa.Select[Any], after: Position, limit: int) -> Page:
    rows = txn.execute(statement, {"a": after[0] if after else 0, "most": limit}).all()
    return Page([Due((row.id,), 0, row.id) for row in rows if not row.linked], (rows[-1].id,) if rows else None)


# --- removing -----------------------------------------------------------------------------------------------------

_REMOVE_TAGS: Final = (
    sa.delete(tag)
    .where(
        tag.c.id.in_(_IDS),
        tag.c.repository_id == _REPOSITORY,
        tag.c.end_ms <= sa.bindparam("since", type_=sa.BigInteger()),
    )
    .returning(tag.c.name)
)
_REMOVABLE: Final = sa.select(manifest.c.id).where(
    manifest.c.id.in_(_IDS),
    manifest.c.repository_id == _REPOSITORY,
    manifest.c.unreachable_ms <= sa.bindparam("since", type_=sa.BigInteger()),
)
_NAMED_BLOBS: Final = sa.select(manifest_blob.c.blob_id).where(manifest_blob.c.manifest_id.in_(_IDS))
_LEASE_AGAIN: Final = (
    sa.update(repository_blob)
    .where(repository_blob.c.repository_id == _REPOSITORY, repository_blob.c.blob_id.in_(_NAMED_BLOBS))
    .values(leased_until_ms=greatest(_LEASE, sa.bindparam("until", type_=sa.BigInteger())))
)
_REMOVE_MANIFESTS: Final = sa.delete(manifest).where(manifest.c.id.in_(_IDS)).returning(manifest.c.digest)
_UNLINK: Final = (
    sa.delete(repository_blob)
    .where(repository_blob.c.repository_id == _REPOSITORY, repository_blob.c.blob_id.in_(_IDS), _LEASE <= _NOW, ~_NAMED)
    .returning(repository_blob.c.blob_id)
)
_DIGESTS: Final = sa.select(blob.c.digest).where(blob.c.id.in_(_IDS))


def remove_tags(txn: Transaction, repository_id: int, ids: Collection[int]) -> int:
    """Remove those of these tags that cannot be restored any more, and say how many."""
    since = _held_since(txn, repository_id)
    if since is None:
        return 0
    where = {"ids": list(ids), "in_repository": repository_id, "since": since}
    names = txn.execute(_REMOVE_TAGS, where).scalars().all()
    pull.forget(txn, repository_id, names)
    return len(names)


def remove_manifests(txn: Transaction, repository_id: int, ids: Collection[int], grace_s: int) -> int:
    """
    Remove those of these manifests that nothing can bring back, and say how many. Their blobs stay linked for `grace_s`
    seconds at least: somebody may just have been told that they are here.
    """
    since = _held_since(txn, repository_id)
    if since is None:
        return 0
    where = {"ids": list(ids), "in_repository": repository_id, "since": since}
    removable = set(txn.execute(_REMOVABLE, where).scalars())
    if removable:
        where["ids"] = list(removable)
        removable -= set(txn.execute(_protected(txn.dialect), where).scalars())
    doomed = {"ids": list(removable), "in_repository": repository_id, "until": txn.now_ms + grace_s * 1000}
    if removable:
        txn.execute(_LEASE_AGAIN, doomed)
        digests = txn.execute(_REMOVE_MANIFESTS, {"ids": doomed["ids"]}).scalars().all()
        pull.forget(txn, repository_id, digests)
    return len(removable)


def unlink(txn: Transaction, repository_id: int, blob_ids: Collection[int]) -> tuple[int, int, list[Condemned]]:
    """
    Remove those of these links whose lease has run out and that no manifest names, and forget the blobs that nobody
    links then: how many links, how many blobs, and what is to be removed of them.
    """
    try:
        lock(txn, repository_id)
    except NameUnknown:
        return 0, 0, []
    where = {"in_repository": repository_id, "ids": list(blob_ids), "now": txn.now_ms}
    unlinked = txn.execute(_UNLINK, where).scalars().all()
    if not unlinked:
        return 0, 0, []
    for digest in txn.execute(_DIGESTS, {"ids": unlinked}).scalars():
        txn.changed("blob", repository_id, digest)
    blobs, condemned = condemn_unlinked(txn, unlinked)
    return len(unlinked), blobs, condemned


def _held_since(txn: Transaction, repository_id: int) -> int | None:
    """Lock the repository: what ended by then cannot be restored any more. None if the repository is gone."""
    try:
        lock(txn, repository_id)
    except NameUnknown:
        return None
    time_machine_s: int = txn.execute(_TIME_MACHINE, {"in_repository": repository_id}).scalar_one()
    return txn.now_ms - time_machine_s * 1000


@cache
def _protected(dialect: str) -> sa.Select[Any]:
    """
    Those of the manifests `ids` that a restoration would bring back: they, an index above them or a subject of them,
    at any remove, were named by a tag that can still be restored.
    """
    columns: tuple[sa.Column[Any], ...] = (manifest.c.id, manifest.c.digest, manifest.c.subject_digest)
    seeds = sa.select(manifest.c.id.label("seed"), *columns).where(manifest.c.id.in_(_IDS))
    above = seeds.cte("above", recursive=True)
    parents = (
        sa.select(above.c.seed, *columns)
        .select_from(manifest_child.join(manifest, manifest.c.id == manifest_child.c.manifest_id))
        .where(manifest_child.c.repository_id == _REPOSITORY, manifest_child.c.child_digest == above.c.digest)
    )
    subjects = sa.select(above.c.seed, *columns).where(
        manifest.c.repository_id == _REPOSITORY, manifest.c.digest == above.c.subject_digest
    )
    if dialect == "sqlite":
        above = above.union(parents, subjects)
    else:  # PostgreSQL lets a recursion name itself only once.
        step = sa.union_all(parents.correlate(above), subjects.correlate(above)).lateral()
        above = above.union(sa.select(*step.c).select_from(above.join(step, sa.true())))
    restorable = sa.select(tag.c.manifest_id).where(tag.c.end_ms > sa.bindparam("since", type_=sa.BigInteger()))
    return sa.select(above.c.seed).where(above.c.id.in_(restorable.where(tag.c.manifest_id == above.c.id))).distinct()


# --- how far we are -----------------------------------------------------------------------------------------------


def positions(txn: Transaction) -> dict[str, Position]:
    """Where the last run stopped, for every kind of candidates."""
    rows = txn.execute(sa.select(setting.c.key, setting.c.value).where(setting.c.key.startswith(CURSOR)))
    return {str(row.key).removeprefix(CURSOR): tuple(json.loads(row.value)) for row in rows}


def remember(txn: Transaction, found: dict[str, Position]) -> None:
    """Keep these positions for the next run, of whichever node."""
    values = [{"key": f"{CURSOR}{name}", "value": json.dumps(position)} for name, position in found.items()]
    if values:
        txn.execute(upsert(txn.dialect, setting, "key", update=("value",)), values)


# --- without doing it ---------------------------------------------------------------------------------------------

_ROWS_REHEARSED: Final = 5_000

# The pages above are of what has to be looked at, most of which stays; here all but what goes is left out.
_DUE_LINKS: Final = _LINKS.where(sa.not_(_NAMED))
_DUE_BLOBS: Final = _BLOBS.where(sa.not_(_LINKED))


@attrs.frozen
class Candidates:
    """What may go now: a few thousand of each kind, at most."""

    tags: Sequence[Due]
    manifests: Sequence[Due]
    links: Sequence[Due]
    blobs: Sequence[Due]


def candidates(txn: Transaction) -> Candidates:
    """For `rehearse`. Looks at every link and every blob: some seconds for a million, in which others may write."""

    def due(statement: sa.Select[Any]) -> list[Due]:
        pages = (
            _restorable_no_more(txn, statement.where(namespace.c.time_machine_s == reach), reach, (), _ROWS_REHEARSED)
            for reach in time_machines(txn)
        )
        return [one for page in pages for one in page.due]

    links = _loose_links(txn, _DUE_LINKS, (), _ROWS_REHEARSED)
    blobs = _unlinked_blobs(txn, _DUE_BLOBS, (), _ROWS_REHEARSED)
    return Candidates(due(_TAGS), due(_MANIFESTS), links.due, blobs.due)


def rehearse(txn: Transaction, found: Candidates, grace_s: int) -> dict[str, int]:
    """
    Which of these would go: numbers of tags, manifests, links and blobs, and the bytes of these. All is done and undone
    again.
    """
    with txn.savepoint(keep=False):
        return _rehearsed(txn, found, grace_s)


def _rehearsed(txn: Transaction, found: Candidates, grace_s: int) -> dict[str, int]:
    gone = dict.fromkeys(("tags", "manifests", "links", "blobs", "bytes"), 0)
    for repository_id, ids in _by_repository(found.tags).items():
        gone["tags"] += remove_tags(txn, repository_id, ids)
    for repository_id, ids in _by_repository(found.manifests).items():
        gone["manifests"] += remove_manifests(txn, repository_id, ids, grace_s)
    for repository_id, ids in _by_repository(found.links).items():
        links, blobs, condemned = unlink(txn, repository_id, ids)
        gone["links"] += links
        gone["blobs"] += blobs
        gone["bytes"] += sum(one.size for one in condemned)
    blobs, condemned = condemn_unlinked(txn, [due.id for due in found.blobs])
    gone["blobs"] += blobs
    gone["bytes"] += sum(one.size for one in condemned)
    return gone


def _by_repository(found: Sequence[Due]) -> dict[int, list[int]]:
    ids: dict[int, list[int]] = {}
    for due in found:
        ids.setdefault(due.repository_id, []).append(due.id)
    return ids
