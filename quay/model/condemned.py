"""
Bytes that are being removed from a location, and why no push ever loses its blob to that.

A row of `condemned` names a digest and a location, and is in one of two states. While it is **open**, whoever holds its
`claim` may remove these bytes. When they are away it is **gone**, and stays as a tombstone for `REMEMBERED_S`.

Bytes are placed outside of transactions, and removed outside of them. What makes that safe:

1. No placement stands beside an open row. `condemn`, `condemn_unlinked` and `condemn_stray` lock the row of the blob
   FOR UPDATE, take its placement away and insert the open row in one transaction. `require_bytes`, which every
   transaction calls that makes a placement, first holds the row of the blob and then looks: it comes before, and the
   condemner passes the blob by or waits; or after, and it finds the open row and raises `BytesInDoubt`.
2. Bytes are removed only under an open row, by the holder of its claim and within `CLAIM_S`; then it is set to gone.
3. So a removal never happens while there is a placement. It is left to see that the bytes are there when the placement
   is made. The push had them in place at `seen_ms`. If they were removed after that, the row was open then, and in the
   transaction it is either still open or it is gone and remembered, since no more than `TRUSTED_S` have passed: both
   raise. Whoever got a tombstone looks whether the bytes are there *after* having read it, and tries again with its
   `claim` as `verified`: if that is still the same tombstone, nothing has removed them since.

Hence a placement means that the bytes are there, always; a mount needs no more than a placement. A crash leaves an
open row, which somebody takes over when its claim has run out (`overdue`), and until then a push of this one digest is
asked to come back. `CLAIM_S` and `REMEMBERED_S` suppose that a removal which was begun ends within a minute, and that
the clocks of the nodes differ by less than hours. A claim that runs out later than that allows was made by a clock that
was wrong (`far_claims`): it is taken over by whoever has watched it for long enough.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore, upsert
from quay.database.prepared import Prepared
from quay.database.schema import blob, condemned, manifest_blob, placement, repository_blob
from quay.model import fence
from quay.oci.errors import Unavailable
from quay.oci.reference import Digest

CLAIM_S: Final = 120
REMEMBERED_S: Final = 24 * 3600
TRUSTED_S: Final = 3600


class BytesInDoubt(Unavailable):
    """Whether the bytes are there has to be looked at; `claim` and `gone` are those of the row that says so."""

    def __init__(self, digest: str, claim: str, *, gone: bool) -> None:
        super().__init__(
            f"The blob {digest} was just being removed when you pushed it.",
            advice="Push it again in a moment.",
            headers={"Retry-After": "5"},
        )
        self.claim = claim
        self.gone = gone


@attrs.frozen
class Condemned:
    """The right to remove the bytes of `digest` at `location`; `size` in bytes, 0 where it is not known."""

    digest: Digest = attrs.field(converter=Digest)
    location: str
    claim: str
    size: int = 0


_DIGEST: Final = blob.c.digest == sa.bindparam("digest")
_AT: Final = (condemned.c.digest == sa.bindparam("of"), condemned.c.location == sa.bindparam("at"))
_LOOK: Final = Prepared(sa.select(condemned.c.claim, condemned.c.gone).where(*_AT))
_CLEAR: Final = Prepared(sa.delete(condemned).where(*_AT))
_MINE: Final = condemned.c.claim == sa.bindparam("held")
_CLEAR_MINE: Final = Prepared(sa.delete(condemned).where(*_AT, _MINE, sa.not_(condemned.c.gone)))
_NEEDED: Final = sa.or_(
    sa.exists().where(repository_blob.c.blob_id == blob.c.id), sa.exists().where(manifest_blob.c.blob_id == blob.c.id)
)
_IDS: Final[sa.BindParameter[int]] = sa.bindparam("ids", expanding=True)
_FREE: Final = sa.select(blob.c.id).where(blob.c.id.in_(_IDS)).order_by(blob.c.id).with_for_update(skip_locked=True)
_UNLINKED: Final = sa.select(blob.c.id).where(blob.c.id.in_(_IDS), sa.not_(_NEEDED))
_PLACEMENTS: Final = (
    sa.select(blob.c.digest, placement.c.location, blob.c.size)
    .join(placement, placement.c.blob_id == blob.c.id)
    .where(blob.c.id.in_(_IDS))
)
_FORGET: Final = sa.delete(blob).where(blob.c.id.in_(_IDS))
_WHOLE: Final = sa.select(blob.c.id).where(_DIGEST).with_for_update()
_LINKING: Final = Prepared(
    sa.select(repository_blob.c.repository_id).where(repository_blob.c.blob_id == sa.bindparam("of_blob"))
)
_DISPLACE: Final = sa.delete(placement).where(
    placement.c.blob_id == sa.bindparam("of_blob"), placement.c.location == sa.bindparam("at")
)
_TAKEN: Final = (
    sa.select(condemned.c.digest, condemned.c.location, condemned.c.gone)
    .order_by(condemned.c.until_ms)
    .limit(sa.bindparam("most", type_=sa.Integer()))
    .with_for_update(skip_locked=True)
)
_OVERDUE: Final = _TAKEN.where(condemned.c.until_ms < sa.bindparam("now"))
_DEAD: Final = _TAKEN.where(condemned.c.claim.in_(sa.bindparam("claims", expanding=True)), sa.not_(condemned.c.gone))
_FAR: Final = (
    sa.select(condemned.c.claim, condemned.c.until_ms)
    .where(condemned.c.until_ms > sa.bindparam("then"), sa.not_(condemned.c.gone))
    .distinct()
    .limit(1000)
)


def require_bytes(
    txn: Transaction, digest: Digest, location: str, *, seen_ms: int | None = None, verified: str = ""
) -> None:
    """
    The bytes that were in place at `seen_ms` still are: for a transaction that holds the row of the blob and makes a
    placement. `verified`: the tombstone with this claim is known. Raises `BytesInDoubt`.
    """
    row = txn.execute(_LOOK, {"of": digest, "at": location}).first()
    if row is None:
        if seen_ms is not None and not 0 <= txn.now_ms - seen_ms <= TRUSTED_S * 1000:
            raise BytesInDoubt(digest, "", gone=True)
        return
    if not row.gone or row.claim != verified:
        raise BytesInDoubt(digest, row.claim, gone=row.gone)
    txn.execute(_CLEAR, {"of": digest, "at": location})


# --- condemning ---------------------------------------------------------------------------------------------------


def condemn_unlinked(txn: Transaction, blob_ids: Collection[int]) -> tuple[int, list[Condemned]]:
    """
    Forget those of these blobs that no repository links and nobody is linking now: how many they were, and their bytes.
    None of them, while a backup copies what its snapshot names (`quay.model.fence`).
    """
    if fence.stands(txn):
        return 0, []
    held = txn.execute(_FREE, {"ids": list(blob_ids)}).scalars().all()
    unlinked = txn.execute(_UNLINKED, {"ids": held}).scalars().all()
    found = txn.execute(_PLACEMENTS, {"ids": unlinked}).all()
    txn.execute(_FORGET, {"ids": unlinked})
    return len(unlinked), _open(txn, found)


def condemn(txn: Transaction, digest: Digest, location: str) -> Condemned | None:
    """Take away the placement of a blob whose bytes there are no good; None if it has none."""
    blob_id = txn.execute(_WHOLE, {"digest": digest}).scalar()
    if blob_id is None or not txn.execute(_DISPLACE, {"of_blob": blob_id, "at": location}).rowcount:
        return None
    moved(txn, blob_id, digest)
    return _open(txn, [(digest, location, 0)])[0]


def condemn_stray(txn: Transaction, digest: Digest, location: str) -> Condemned | None:
    """Take possession of bytes that have no placement; None if they have one, or if somebody is at them already."""
    # The row of the blob is what a push and we both have to hold: if there is none, there is one for that long.
    while (blob_id := txn.execute(_WHOLE, {"digest": digest}).scalar()) is None:
        txn.execute(insert_or_ignore(txn.dialect, blob), {"digest": digest, "size": 0, "created_ms": txn.now_ms})
    locations = txn.execute(sa.select(placement.c.location).where(placement.c.blob_id == blob_id)).scalars().all()
    if not txn.execute(_UNLINKED, {"ids": [blob_id]}).scalars().all() or locations:
        found = [] if location in locations else [(digest, location, 0)]
    else:
        txn.execute(_FORGET, {"ids": [blob_id]})
        found = [(digest, location, 0)]
    row = txn.execute(_LOOK, {"of": digest, "at": location}).first()
    return _open(txn, found)[0] if found and (row is None or row.gone) else None


def _open(txn: Transaction, found: Sequence[Any]) -> list[Condemned]:
    claim = str(uuid4())
    rows = [Condemned(digest, location, claim, size) for digest, location, size in found]
    values = [
        {"digest": row.digest, "location": row.location, "claim": claim, "until_ms": _in(txn, CLAIM_S), "gone": False}
        for row in rows
    ]
    if values:
        update = ("claim", "until_ms", "gone")
        txn.execute(upsert(txn.dialect, condemned, "digest", "location", update=update), values)
    return rows


# --- and after ----------------------------------------------------------------------------------------------------


def gone(txn: Transaction, removed: Collection[Condemned]) -> None:
    """These bytes are away: remember it for a while."""
    statement = sa.update(condemned).where(*_AT, _MINE).values(gone=sa.true(), until_ms=_in(txn, REMEMBERED_S))
    if removed:
        txn.execute(statement, [{"of": one.digest, "at": one.location, "held": one.claim} for one in removed])


def prolong(txn: Transaction, held: Condemned) -> bool:
    """Hold it for longer; False if somebody else has it."""
    mine = {"of": held.digest, "at": held.location, "held": held.claim}
    statement = sa.update(condemned).where(*_AT, _MINE, sa.not_(condemned.c.gone)).values(until_ms=_in(txn, CLAIM_S))
    return txn.execute(statement, mine).rowcount == 1


def reinstate(txn: Transaction, held: Condemned) -> bool:
    """The bytes are there and good after all: place them again, if the blob is still known and the claim still ours."""
    blob_id = txn.execute(_WHOLE, {"digest": held.digest}).scalar()
    mine = {"of": held.digest, "at": held.location, "held": held.claim}
    if blob_id is None or not txn.execute(_CLEAR_MINE, mine).rowcount:
        return False
    txn.execute(insert_or_ignore(txn.dialect, placement), {"blob_id": blob_id, "location": held.location})
    moved(txn, blob_id, held.digest)
    return True


def overdue(txn: Transaction, limit: int, dead: Collection[str] = ()) -> list[Condemned]:
    """
    Take over what others did not finish, up to `limit`: their time is over, or theirs are the claims `dead`. Tombstones
    that are old enough are forgotten.
    """
    rows = list(txn.execute(_OVERDUE, {"now": txn.now_ms, "most": limit}).all())
    if dead:
        rows += txn.execute(_DEAD, {"claims": list(dead), "most": limit}).all()
    for row in rows:
        if row.gone:
            txn.execute(_CLEAR, {"of": row.digest, "at": row.location})
    return _open(txn, [(row.digest, row.location, 0) for row in rows if not row.gone])


def far_claims(txn: Transaction) -> set[tuple[str, int]]:
    """Claims that run out later than any could by now, each with its time."""
    return {(row.claim, row.until_ms) for row in txn.execute(_FAR, {"then": _in(txn, REMEMBERED_S)})}


def moved(txn: Transaction, blob_id: int, digest: Digest) -> None:
    """Announce, for every repository that links the blob, that it is held by other locations than before."""
    for repository_id in txn.execute(_LINKING, {"of_blob": blob_id}).scalars():
        txn.changed("blob", repository_id, digest)


def _in(txn: Transaction, seconds: int) -> int:
    return txn.now_ms + seconds * 1000
