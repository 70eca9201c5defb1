"""
Lifetimes of tags that began elsewhere: what a registry remembers of which it has taken the place.

A lifetime comes with the times that it had there, so the history of a tag goes back to before it was here. Of a tag
that is used here already, what is newer stays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest, tag
from quay.model.reachability import batches, lock, review
from quay.oci.reference import Digest, Tag


@attrs.frozen
class Past:
    """
    What the tag `name` was from `start_ms` on: until `end_ms`, or until now and further (None), unless it expires at
    `expires_ms`.
    """

    name: Tag
    digest: Digest
    start_ms: int
    end_ms: int | None = None
    expires_ms: int | None = None
    reversion: bool = False
    immutable: bool = False


_MANIFESTS: Final = sa.select(manifest.c.digest, manifest.c.id).where(
    manifest.c.repository_id == sa.bindparam("in_repository"),
    manifest.c.digest.in_(sa.bindparam("digests", expanding=True)),
    manifest.c.deleted_ms.is_(None),
)
_ROWS: Final = sa.select(tag.c.id, tag.c.name, tag.c.manifest_id, tag.c.start_ms, tag.c.end_ms, tag.c.immutable).where(
    tag.c.repository_id == sa.bindparam("in_repository"), tag.c.name.in_(sa.bindparam("names", expanding=True))
)
_END: Final = sa.update(tag).where(tag.c.id == sa.bindparam("row")).values(end_ms=sa.bindparam("at"))


@attrs.frozen
class Recalled:
    """
    How many lifetimes are new here, how many of these go on, and the tags that stay what they are here, because that is
    newer.
    """

    count: int
    current: int
    kept: Collection[Tag]


def recall(txn: Transaction, repository_id: int, lifetimes: Sequence[Past]) -> Recalled:
    """
    Remember these lifetimes, the oldest first, whose manifests the repository has; what it remembers already stays.
    Raises `NameUnknown`.
    """
    lock(txn, repository_id)
    known = _manifests(txn, repository_id, [past.digest for past in lifetimes])
    rows = _rows(txn, repository_id, [past.name for past in lifetimes])
    changed: dict[int, None] = {}
    new, current, kept = 0, 0, dict[Tag, None]()
    for past in sorted(lifetimes, key=lambda past: past.start_ms):
        here = rows.setdefault(past.name, [])
        manifest_id = known.get(past.digest)
        if manifest_id is None or _is_known(txn, past, manifest_id, here, changed):
            continue
        if past.end_ms is None and not _makes_way(txn, past, manifest_id, here, changed):
            kept[past.name] = None
            continue
        here.append(_begin(txn, repository_id, past, manifest_id))
        changed[manifest_id] = None
        new += 1
        current += past.end_ms is None
    review(txn, repository_id, list(changed))
    for name in {past.name for past in lifetimes}:
        txn.changed("tag", repository_id, name)
    return Recalled(new, current, list(kept))


@attrs.define
class _Row:
    id: int
    manifest_id: int
    start_ms: int
    end_ms: int | None
    immutable: bool


def _is_known(txn: Transaction, past: Past, manifest_id: int, here: list[_Row], changed: dict[int, None]) -> bool:
    """Whether this lifetime is here; if it has ended there since, it ends here, too."""
    found = next((row for row in here if (row.manifest_id, row.start_ms) == (manifest_id, past.start_ms)), None)
    if found is not None and found.end_ms is None and past.end_ms is not None and not found.immutable:
        txn.execute(_END, {"row": found.id, "at": past.end_ms})
        found.end_ms = past.end_ms
        changed[manifest_id] = None
    return found is not None


def _makes_way(txn: Transaction, past: Past, manifest_id: int, here: list[_Row], changed: dict[int, None]) -> bool:
    """Whether a tag can be this now: what it is here ends, if it is older and something else."""
    current = next((row for row in here if row.end_ms is None), None)
    if current is None:
        return True
    if current.manifest_id == manifest_id or current.immutable or current.start_ms > past.start_ms:
        return False
    txn.execute(_END, {"row": current.id, "at": past.start_ms})
    current.end_ms = past.start_ms
    changed[current.manifest_id] = None
    return True


def _begin(txn: Transaction, repository_id: int, past: Past, manifest_id: int) -> _Row:
    values: dict[str, Any] = attrs.asdict(past, filter=attrs.filters.exclude("digest"))
    inserted = sa.insert(tag).values(repository_id=repository_id, manifest_id=manifest_id, **values)
    made = txn.execute(inserted.returning(tag.c.id)).scalar_one()
    return _Row(made, manifest_id, past.start_ms, past.end_ms, past.immutable)


def _manifests(txn: Transaction, repository_id: int, digests: Sequence[Digest]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches(list(dict.fromkeys(digests))):
        rows = txn.execute(_MANIFESTS, {"in_repository": repository_id, "digests": batch})
        found.update({row.digest: row.id for row in rows})
    return found


def _rows(txn: Transaction, repository_id: int, names: Sequence[Tag]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for batch in batches(list(dict.fromkeys(names))):
        for row in txn.execute(_ROWS, {"in_repository": repository_id, "names": batch}):
            made = _Row(row.id, row.manifest_id, row.start_ms, row.end_ms, row.immutable)
            found.setdefault(row.name, []).append(made)
    return found
