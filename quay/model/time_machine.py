"""
The time machine: what tags named before, and how they come to name it again.

A tag that was deleted, moved or has expired can be restored for as long as its namespace says; then the garbage
collector takes the rows, and what only they kept. Source: Quay's time machine and tag expiration.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import contains
from quay.database.prepared import Prepared
from quay.database.schema import manifest, namespace, repository, tag
from quay.model import attachment, pull
from quay.model.reachability import forsake, lock, review, undelete
from quay.model.repository import Repository
from quay.model.tag import END, FOREVER, LIFETIMES, TagRow, current_row, refuse_if_immutable, retarget
from quay.oci.errors import ManifestUnknown
from quay.oci.reference import Digest, Tag

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger())
_IN_REPOSITORY: Final = tag.c.repository_id == sa.bindparam("in_repository")
_NAMED: Final = tag.c.name == sa.bindparam("named")
_LIMIT: Final = sa.bindparam("most", type_=sa.Integer())

_LIFETIMES: Final = LIFETIMES.where(
    _IN_REPOSITORY, sa.not_(tag.c.hidden), tag.c.id < sa.bindparam("before", type_=tag.c.id.type)
).order_by(tag.c.id.desc())
_HISTORY: Final = Prepared(_LIFETIMES.limit(_LIMIT))
_HISTORY_OF_TAG: Final = Prepared(_LIFETIMES.where(_NAMED).limit(_LIMIT))
_TIME_MACHINE: Final = Prepared(
    sa.select(namespace.c.time_machine_s)
    .join(repository, repository.c.namespace_id == namespace.c.id)
    .where(repository.c.id == sa.bindparam("in_repository"))
)
_RESTORABLE: Final = (
    sa.select(tag.c.manifest_id)
    .join(manifest, manifest.c.id == tag.c.manifest_id)
    .where(
        manifest.c.repository_id == sa.bindparam("in_repository"),
        manifest.c.digest == sa.bindparam("digest"),
        _NAMED,
        sa.or_(tag.c.end_ms.is_(None), tag.c.end_ms > sa.bindparam("since")),
    )
    .limit(1)
)
_DUE: Final = (
    sa.select(tag.c.id, tag.c.repository_id)
    .where(tag.c.end_ms.is_(None), tag.c.expires_ms <= _NOW)
    .order_by(tag.c.expires_ms)
    .limit(_LIMIT)
)
_FREE_REPOSITORIES: Final = (
    sa.select(repository.c.id)
    .where(repository.c.id.in_(sa.bindparam("repositories", expanding=True)))
    .order_by(repository.c.id)
    .with_for_update(key_share=True, skip_locked=True)
)
_END_DUE: Final = END.where(
    tag.c.id.in_(sa.bindparam("rows", expanding=True)),
    tag.c.repository_id.in_(sa.bindparam("repositories", expanding=True)),
    tag.c.expires_ms <= _NOW,
).returning(tag.c.repository_id, tag.c.name, tag.c.hidden, tag.c.manifest_id)


def tag_history(
    txn: Transaction, repository_id: int, *, name: str | None = None, before_id: int | None = None, limit: int
) -> list[TagRow]:
    """The lifetimes of one tag, or of all tags, the latest first. The next page is `before_id` the last one."""
    parameters = {"in_repository": repository_id, "before": before_id or FOREVER, "most": limit}
    if name is None:
        found = txn.execute(_HISTORY, parameters)
    else:
        found = txn.execute(_HISTORY_OF_TAG, parameters | {"named": name})
    return [TagRow(*row) for row in found]


def lifetimes(
    txn: Transaction,
    repository_id: int,
    *,
    name: str | None = None,
    part: str | None = None,
    active: bool = False,
    folded: bool = False,
    offset: int = 0,
    limit: int,
) -> list[TagRow]:
    """
    At most `limit` lifetimes of tags after the first `offset`, the latest first: of the tag `name` only, of those with
    `part` in their names (in whatever case), of those only that are alive, and without the tags by which something is
    attached to a manifest (`folded`), where that is asked for.
    """
    statement = _LIFETIMES
    if name is not None:
        statement = statement.where(_NAMED)
    if part is not None:
        statement = statement.where(contains(sa.func.lower(tag.c.name), part.lower()))
    if active:
        statement = statement.where(tag.c.end_ms.is_(None), sa.or_(tag.c.expires_ms.is_(None), tag.c.expires_ms > _NOW))
    if folded:
        statement = statement.where(sa.not_(attachment.IS_ONE))
    parameters = {"in_repository": repository_id, "before": FOREVER, "named": name, "now": txn.now_ms}
    found = txn.execute(statement.offset(offset).limit(limit), parameters)
    return [TagRow(**row._mapping) for row in found]


def expired_tag(txn: Transaction, repository_id: int, name: str) -> TagRow | None:
    """The last lifetime of a tag that names nothing now, while it can still be restored."""
    last = next(iter(tag_history(txn, repository_id, name=name, limit=1)), None)
    if last is None or last.until_ms is None or last.alive(txn.now_ms):
        return None
    time_machine_s: int = txn.execute(_TIME_MACHINE, {"in_repository": repository_id}).scalar_one()
    return last if last.until_ms > _since(txn, time_machine_s) else None


def restore_tag(txn: Transaction, repository: Repository, name: Tag, digest: Digest) -> TagRow:
    """
    Point the tag again at a manifest that it named before, even if that was deleted; children that were deleted come
    back with their index. Raises `ManifestUnknown` if the tag never named it, or too long ago, and `NameUnknown`,
    `TagImmutable`.
    """
    lock(txn, repository.id)
    since = _since(txn, repository.time_machine_s)
    parameters = {"in_repository": repository.id, "named": name, "digest": digest, "since": since}
    manifest_id = txn.execute(_RESTORABLE, parameters).scalar()
    if manifest_id is None:
        raise ManifestUnknown(
            f"The tag {name} of {repository.name} cannot be restored to {digest}: "
            "it did not name that manifest, or the time machine does not reach back so far.",
            advice="The history of the tag lists what it can be restored to.",
        )
    undelete(txn, manifest_id)
    retarget(txn, repository.id, name, manifest_id, reversion=True)
    review(txn, repository.id, [manifest_id])  # for the children, also where the tag has not moved
    restored = current_row(txn, repository.id, name)
    assert restored is not None, "it has just been retargeted"
    return restored


def forget(
    txn: Transaction, repository: Repository, name: Tag, digest: Digest, *, alive: bool = False, children: bool = False
) -> int:
    """
    Put it beyond restoration that the tag named this manifest: for good, and for the garbage collector to take at once.
    With `alive`, the tag that names it now goes, else what is in the history; with `children`, the manifests below may
    be taken at once, too. Gives the number of lifetimes. Raises `TagImmutable`, `NameUnknown`.
    """
    lock(txn, repository.id)
    manifest_id = txn.execute(_MANIFEST, {"in_repository": repository.id, "digest": digest}).scalar()
    if manifest_id is None:
        return 0
    if alive:
        refuse_if_immutable(txn, repository.id, name, manifest_id)
    parameters = {"in_repository": repository.id, "named": name, "of_manifest": manifest_id}
    gone = txn.execute(_FORGET_CURRENT if alive else _FORGET_ENDED, parameters).rowcount
    pull.forget(txn, repository.id, [name])
    review(txn, repository.id, [manifest_id])
    forsake(txn, manifest_id, _since(txn, repository.time_machine_s), children=children)
    if alive:
        txn.changed("tag", repository.id, name)
    return gone


_MANIFEST: Final = sa.select(manifest.c.id).where(
    manifest.c.repository_id == sa.bindparam("in_repository"), manifest.c.digest == sa.bindparam("digest")
)
_FORGET: Final = sa.delete(tag).where(_IN_REPOSITORY, _NAMED, tag.c.manifest_id == sa.bindparam("of_manifest"))
_FORGET_CURRENT: Final = _FORGET.where(tag.c.end_ms.is_(None))
_FORGET_ENDED: Final = _FORGET.where(tag.c.end_ms.is_not(None))


def expire_tags(txn: Transaction, limit: int) -> int:
    """
    End up to `limit` tags whose expiry has passed, the longest passed first, and say how many. What lies in a
    repository where somebody is at work is left for the next time.
    """
    due = txn.execute(_DUE, {"now": txn.now_ms, "most": limit}).all()
    repositories = {row.repository_id for row in due}
    free = txn.execute(_FREE_REPOSITORIES, {"repositories": list(repositories)}).scalars().all()
    rows = {"rows": [row.id for row in due], "repositories": free, "now": txn.now_ms}
    ended = txn.execute(_END_DUE, rows).all()
    for repository_id in free:
        review(txn, repository_id, {row.manifest_id for row in ended if row.repository_id == repository_id})
    for row in ended:
        if not row.hidden:
            txn.changed("tag", row.repository_id, row.name)
    return len(ended)


def _since(txn: Transaction, time_machine_s: int) -> int:
    return txn.now_ms - time_machine_s * 1000
