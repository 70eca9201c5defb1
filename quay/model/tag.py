"""
Tags: one row for each lifetime of a tag.

The current row of a name has no end; pushing another manifest ends it and begins a new one at the same millisecond.
What ended is for `quay.model.time_machine`. A tag whose expiry has passed is gone for every reader at once, though its
row ends only when `expire_tags` comes by.

An immutable tag is locked: until it is unlocked it names what it names, and neither moves, nor ends, nor expires.
What would have it otherwise is refused with `TagImmutable`, on whatever way it comes. The same manifest may be pushed
to it again.

A hidden tag, `$temp-…`, cannot be pulled or listed: it keeps what was pushed by digest until something names it.

Announces `("tag", repository_id, name)` for every visible tag that begins, moves, ends or gets another expiry, and what
`quay.model.reachability` announces. Source: OCI Distribution Specification 1.1 "Content Discovery"; Quay's tags.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import greatest
from quay.database.prepared import Prepared
from quay.database.schema import manifest, tag
from quay.model.reachability import lock, review
from quay.oci.errors import TagImmutable
from quay.oci.reference import Digest

FOREVER: Final = 2**63 - 1
BELOW_EVERY_TAG: Final = "/"  # the character before "0", with which the least tag begins; hidden names lie below it


class TagExpires(Exception):
    """A tag that is to expire cannot be locked."""


@attrs.frozen
class TagRow:
    """
    One lifetime of a tag, from `start_ms` to `end_ms` (None: still current) or `expires_ms`, whichever comes first.
    `reversion`: it began as a restoration. `immutable`: it is locked. `size` is that of the manifest, `layers_size` of
    what it names, in bytes.
    """

    id: int
    name: str
    digest: Digest = attrs.field(converter=Digest)
    manifest_id: int
    start_ms: int
    end_ms: int | None
    expires_ms: int | None
    hidden: bool
    reversion: bool
    immutable: bool
    size: int
    layers_size: int
    media_type: str

    @property
    def until_ms(self) -> int | None:
        """When it ended or will end; None for never."""
        return self.expires_ms if self.end_ms is None else self.end_ms

    def alive(self, now_ms: int) -> bool:
        return self.end_ms is None and (self.expires_ms is None or self.expires_ms > now_ms)


_NOW: Final = sa.bindparam("now", type_=sa.BigInteger())
_IN_REPOSITORY: Final = tag.c.repository_id == sa.bindparam("in_repository")
_NAMED: Final = tag.c.name == sa.bindparam("named")
_LIMIT: Final = sa.bindparam("most", type_=sa.Integer())

LIFETIMES: Final = sa.select(
    tag.c.id,
    tag.c.name,
    manifest.c.digest,
    tag.c.manifest_id,
    tag.c.start_ms,
    tag.c.end_ms,
    tag.c.expires_ms,
    tag.c.hidden,
    tag.c.reversion,
    tag.c.immutable,
    manifest.c.size,
    manifest.c.layers_size,
    manifest.c.media_type,
).join(manifest, manifest.c.id == tag.c.manifest_id)
"""What a `TagRow` is made of, in order."""

_CURRENT: Final = Prepared(LIFETIMES.where(_IN_REPOSITORY, _NAMED, tag.c.end_ms.is_(None)))
_NAMES: Final = Prepared(
    sa.select(tag.c.name)
    .where(
        _IN_REPOSITORY,
        tag.c.end_ms.is_(None),
        sa.or_(tag.c.expires_ms.is_(None), tag.c.expires_ms > _NOW),
        tag.c.name > sa.bindparam("after"),
    )
    .order_by(tag.c.name)
    .limit(_LIMIT)
)
END: Final = (
    sa.update(tag)
    .where(tag.c.end_ms.is_(None))
    .values(
        end_ms=sa.case(
            (tag.c.expires_ms <= _NOW, tag.c.expires_ms), (tag.c.start_ms > _NOW, tag.c.start_ms), else_=_NOW
        )
    )
)
_BEGIN: Final = Prepared(sa.insert(tag))
_END_ROW: Final = Prepared(END.where(tag.c.id == sa.bindparam("row")))
_END_MANIFEST: Final = Prepared(
    END.where(tag.c.manifest_id == sa.bindparam("of_manifest")).returning(tag.c.name, tag.c.hidden)
)
_LOCKED: Final = Prepared(
    sa.select(tag.c.name).where(
        tag.c.manifest_id == sa.bindparam("of_manifest"), tag.c.end_ms.is_(None), tag.c.immutable
    )
)
_EXTEND_HIDDEN: Final = Prepared(
    sa.update(tag)
    .where(tag.c.manifest_id == sa.bindparam("of_manifest"), tag.c.end_ms.is_(None), tag.c.hidden)
    .values(expires_ms=greatest(tag.c.expires_ms, sa.bindparam("until", type_=sa.BigInteger())))
)
_REACHABLE: Final = Prepared(
    sa.select(manifest.c.unreachable_ms.is_(None)).where(manifest.c.id == sa.bindparam("of_manifest"))
)

# --- reading ------------------------------------------------------------------------------------------------------


def resolve_tag(txn: Transaction, repository_id: int, name: str) -> TagRow | None:
    """The current row of the tag, unless it has expired."""
    row = current_row(txn, repository_id, name)
    return row if row is not None and row.alive(txn.now_ms) else None


def tags(txn: Transaction, repository_id: int, *, after: str | None, limit: int) -> list[str]:
    """The names after `after`, in byte order, at most `limit`; as cheap at the end of the list as at its beginning."""
    floor = max(after or "", BELOW_EVERY_TAG)
    parameters = {"in_repository": repository_id, "after": floor, "now": txn.now_ms, "most": limit}
    return txn.execute(_NAMES, parameters).scalars()


# --- changing -----------------------------------------------------------------------------------------------------


def retarget(
    txn: Transaction,
    repository_id: int,
    name: str,
    manifest_id: int,
    *,
    expires_after_s: int | None = None,
    reversion: bool = False,
) -> TagRow | None:
    """
    Point the tag at a manifest of this repository. The same manifest again begins no new lifetime, but a new expiry if
    one is given and the tag may have one. Returns the row that was current before, unless it had expired. Raises
    `TagImmutable`. Needs `lock`.
    """
    before = current_row(txn, repository_id, name)
    alive = before is not None and before.alive(txn.now_ms)
    if before is not None and alive and before.manifest_id == manifest_id:
        _prolong(txn, repository_id, before, expires_after_s)
        return before
    if before is not None and before.immutable:
        raise _immutable(name, "moved to another manifest")
    start_ms = txn.now_ms
    if before is not None:
        start_ms = max(start_ms, before.start_ms)  # the clock may have been set back meanwhile
        txn.execute(_END_ROW, {"row": before.id, "now": txn.now_ms})
    expires_ms = None if expires_after_s is None else _later(start_ms, expires_after_s)
    _begin(txn, repository_id, name, manifest_id, start_ms=start_ms, expires_ms=expires_ms, reversion=reversion)
    review(txn, repository_id, {manifest_id} if before is None else {manifest_id, before.manifest_id})
    txn.changed("tag", repository_id, name)
    return before if alive else None


def keep(txn: Transaction, repository_id: int, manifest_id: int, seconds: int) -> None:
    """See that a manifest without a tag stays reachable for `seconds`, if nothing else keeps it. Needs `lock`."""
    until_ms = _later(txn.now_ms, seconds)
    if txn.execute(_EXTEND_HIDDEN, {"of_manifest": manifest_id, "until": until_ms}).rowcount:
        return
    review(txn, repository_id, [manifest_id])
    if not txn.execute(_REACHABLE, {"of_manifest": manifest_id}).scalar_one():
        name = f"$temp-{uuid4()}"
        _begin(txn, repository_id, name, manifest_id, start_ms=txn.now_ms, expires_ms=until_ms, hidden=True)
        review(txn, repository_id, [manifest_id])


def delete_tag(txn: Transaction, repository_id: int, name: str) -> bool:
    """End the tag; the time machine can restore it. False if there is none. Raises `NameUnknown`, `TagImmutable`."""
    lock(txn, repository_id)
    row = resolve_tag(txn, repository_id, name)
    if row is None:
        return False
    if row.immutable:
        raise _immutable(name, "deleted")
    txn.execute(_END_ROW, {"row": row.id, "now": txn.now_ms})
    review(txn, repository_id, [row.manifest_id])
    txn.changed("tag", repository_id, name)
    return True


def end_tags(txn: Transaction, repository_id: int, manifest_id: int) -> list[str]:
    """
    End all tags of the manifest, and say which visible ones. Raises `TagImmutable`. Needs `lock`; leaves the review to
    the caller.
    """
    locked = txn.execute(_LOCKED, {"of_manifest": manifest_id}).scalar()
    if locked is not None:
        raise _immutable(locked, "deleted, nor the manifest that it names")
    ended = txn.execute(_END_MANIFEST, {"of_manifest": manifest_id, "now": txn.now_ms})
    names = sorted(row.name for row in ended if not row.hidden)
    for name in names:
        txn.changed("tag", repository_id, name)
    return names


def expire(txn: Transaction, repository_id: int, name: str, expires_ms: int | None) -> TagRow | None:
    """
    Let the tag expire at a time, or never (None). Returns what it was before; None if there is none. Raises
    `TagImmutable`, `NameUnknown`.
    """
    lock(txn, repository_id)
    row = resolve_tag(txn, repository_id, name)
    if row is None:
        return None
    if row.immutable and expires_ms is not None:
        raise _immutable(name, "made to expire")
    txn.execute(sa.update(tag).where(tag.c.id == row.id).values(expires_ms=expires_ms))
    txn.changed("tag", repository_id, name)
    return row


def expire_all(txn: Transaction, repository_id: int, manifest_id: int, seconds: int) -> None:
    """Let all tags of the manifest that may expire do so `seconds` from now. Raises `NameUnknown`."""
    lock(txn, repository_id)
    expires_ms = _later(txn.now_ms, seconds)
    for name in txn.execute(_EXPIRE_ALL, {"of_manifest": manifest_id, "at": expires_ms, "now": txn.now_ms}).scalars():
        txn.changed("tag", repository_id, name)


_EXPIRE_ALL: Final = (
    sa.update(tag)
    .where(
        tag.c.manifest_id == sa.bindparam("of_manifest"),
        tag.c.end_ms.is_(None),
        sa.or_(tag.c.expires_ms.is_(None), tag.c.expires_ms > _NOW),
        sa.not_(tag.c.hidden),
        sa.not_(tag.c.immutable),
    )
    .values(expires_ms=sa.bindparam("at", type_=sa.BigInteger()))
    .returning(tag.c.name)
)


def set_immutable(txn: Transaction, repository_id: int, name: str, immutable: bool) -> TagRow | None:
    """
    Lock the tag, or unlock it. Returns what it was before; None if there is none. Raises `TagExpires` for one that is
    to expire, and `NameUnknown`.
    """
    lock(txn, repository_id)
    row = resolve_tag(txn, repository_id, name)
    if row is None:
        return None
    if immutable and row.expires_ms is not None:
        raise TagExpires(f"The tag {name} is to expire, so it cannot be made immutable: let it expire never first.")
    txn.execute(sa.update(tag).where(tag.c.id == row.id).values(immutable=immutable))
    return row


def refuse_if_immutable(txn: Transaction, repository_id: int, name: str, manifest_id: int) -> None:
    """Raises `TagImmutable` if the tag is locked and names this manifest."""
    row = current_row(txn, repository_id, name)
    if row is not None and row.immutable and row.manifest_id == manifest_id:
        raise _immutable(name, "forgotten")


def _immutable(name: str, what: str) -> TagImmutable:
    return TagImmutable(
        f"The tag {name} is immutable: it cannot be {what}.",
        advice="Push under another tag, or let an administrator of the repository unlock this one.",
        tag=name,
    )


# --- rows ---------------------------------------------------------------------------------------------------------


def current_row(txn: Transaction, repository_id: int, name: str) -> TagRow | None:
    """The row of the tag that has no end, also if its expiry has passed."""
    row = txn.execute(_CURRENT, {"in_repository": repository_id, "named": name}).first()
    return None if row is None else TagRow(*row)


def _begin(
    txn: Transaction,
    repository_id: int,
    name: str,
    manifest_id: int,
    *,
    start_ms: int,
    expires_ms: int | None,
    **flags: bool,
) -> None:
    row = {"repository_id": repository_id, "name": name, "manifest_id": manifest_id}
    txn.execute(_BEGIN, {**row, "start_ms": start_ms, "expires_ms": expires_ms, **flags})


def _prolong(txn: Transaction, repository_id: int, row: TagRow, expires_after_s: int | None) -> None:
    if expires_after_s is not None and not row.immutable:
        expires_ms = _later(txn.now_ms, expires_after_s)
        txn.execute(sa.update(tag).where(tag.c.id == row.id).values(expires_ms=expires_ms))
        txn.changed("tag", repository_id, row.name)


def _later(start_ms: int, seconds: int) -> int:
    return min(start_ms + seconds * 1000, FOREVER)
