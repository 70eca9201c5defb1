"""
Backups as the database remembers and needs them: which blobs there are to copy, when the last one was made and
verified, and what is not true any more in a database that was restored.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore, take_turns, upsert
from quay.database.schema import blob, condemned, job, placement, setting, upload
from quay.model.fence import PREFIX as FENCES
from quay.model.job import create, is_under_way
from quay.oci.reference import Digest

PAGE: Final = 2_000
AGAIN_MS: Final = 3600 * 1000
INSTALLATION: Final = "installation"
STANDING: Final = "backup:"
"""Before the name of what is remembered, among the settings."""


@attrs.frozen
class Placed:
    """A blob, its size in bytes, and the locations that hold it."""

    digest: Digest = attrs.field(converter=Digest)
    size: int
    locations: Sequence[str] = attrs.field(converter=tuple)


_PLACED: Final = (
    sa.select(blob.c.digest, blob.c.size, placement.c.location)
    .join(placement, placement.c.blob_id == blob.c.id)
    .where(
        blob.c.id.in_(
            sa.select(blob.c.id)
            .where(blob.c.digest > sa.bindparam("after"), sa.exists().where(placement.c.blob_id == blob.c.id))
            .order_by(blob.c.digest)
            .limit(PAGE)
        )
    )
    .order_by(blob.c.digest, placement.c.location)
)


def placed(txn: Transaction) -> Iterator[Placed]:
    """Every blob that some location holds, in the order of digests; a page of them is in memory."""
    after = ""
    while rows := txn.execute(_PLACED, {"after": after}).all():
        for (digest, size), held in groupby(rows, key=lambda row: (row.digest, row.size)):
            yield Placed(digest, size, [row.location for row in held])
        after = rows[-1].digest


def uploads(txn: Transaction) -> int:
    """How many uploads are under way."""
    return int(txn.execute(sa.select(sa.func.count()).select_from(upload)).scalar_one())


def installation(txn: Transaction) -> str:
    """What tells this installation from all others, whatever machine it is on; made when it is first asked for."""
    known = sa.select(setting.c.value).where(setting.c.key == INSTALLATION)
    txn.execute(insert_or_ignore(txn.dialect, setting).values(key=INSTALLATION, value=str(uuid4())))
    return str(txn.execute(known).scalar_one())


# --- what is remembered of them -----------------------------------------------------------------------------------


def remember(txn: Transaction, name: str, facts: Mapping[str, Any]) -> None:
    """Remember these facts, JSON, under `name`, with the time (`ms`); what was there before is forgotten."""
    value = json.dumps({"ms": txn.now_ms, **facts})
    txn.execute(upsert(txn.dialect, setting, "key", update=("value",)), {"key": f"{STANDING}{name}", "value": value})


def remembered(txn: Transaction) -> dict[str, dict[str, Any]]:
    """All that is remembered, by name; `ms` is when."""
    rows = txn.execute(sa.select(setting.c.key, setting.c.value).where(setting.c.key.startswith(STANDING)))
    return {str(row.key).removeprefix(STANDING): json.loads(row.value) for row in rows}


def ask_once(txn: Transaction, due_ms: int, requester: str) -> None:
    """
    Ask for the backup that has been due since then, unless somebody has, on whichever node; and once an hour again, if
    the last one failed.
    """
    take_turns(txn.connection, "quay backup", alone=True)
    asked = remembered(txn).get("asked", {})
    if due_ms <= asked.get("due_ms", -1) <= txn.now_ms and not (asked["ms"] < txn.now_ms - AGAIN_MS and _failed(txn)):
        return
    remember(txn, "asked", {"due_ms": due_ms})
    if not is_under_way(txn, "backup"):
        create(txn, "backup", requester)


def _failed(txn: Transaction) -> bool:
    last = sa.select(job.c.state).where(job.c.kind == "backup").order_by(job.c.id.desc()).limit(1)
    return txn.execute(last).scalar() == "failed"


# --- afterwards ---------------------------------------------------------------------------------------------------


def settle_restored(txn: Transaction, missing: Collection[Digest]) -> None:
    """
    Forget what is not true any more in a database that was restored: uploads that were under way, removals, fences,
    and that these `missing` blobs are held anywhere. Jobs that were at work do not begin again.
    """
    txn.execute(sa.delete(upload))
    txn.execute(sa.delete(condemned))
    txn.execute(sa.delete(setting).where(setting.c.key.startswith(FENCES)))
    stopped = {"state": "cancelled", "finished_ms": txn.now_ms}
    txn.execute(sa.update(job).where(job.c.state.in_(("waiting", "running"))).values(**stopped))
    for digest in missing:
        lost = sa.select(blob.c.id).where(blob.c.digest == digest)
        txn.execute(sa.delete(placement).where(placement.c.blob_id.in_(lost)))
