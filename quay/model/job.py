"""
Jobs: long work that somebody asked for, and that outlives the page on which he did, and the server that began it.

A job waits, runs, and ends as done, failed or cancelled. Whoever runs jobs holds a lease that nobody else has (see
`quay.service.jobs`), so a job that is running when he comes was interrupted, and is taken up again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import lock, take_turns
from quay.database.schema import job as table

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Ending = Literal["done", "failed", "cancelled"]

KINDS: Final[Mapping[str, str]] = {
    "gc": "Garbage collection",
    "fsck": "Comparing the database with the storage",
    "repair": "Comparing the database with the storage, and mending",
    "scrub": "Reading every blob again",
    "backup": "A backup",
    "verify": "Verifying the last backup",
    "bundle_make": "Making a bundle",
    "bundle_verify": "Verifying a bundle",
    "bundle_load": "Loading a bundle",
    "import": "Importing from another registry",
}
"""What can be asked for, and how people call it."""

LANES: Final[Mapping[str, str]] = {
    "backup": "backups",
    "verify": "backups",
    "bundle_make": "bundles",
    "bundle_verify": "bundles",
    "bundle_load": "bundles",
    "import": "imports",
}
"""The kinds that do not wait for those of the lane `jobs`, and theirs."""

ENDED: Final = ("done", "failed", "cancelled")
KEPT: Final = 100
"""So many jobs that have ended are remembered."""
LOG_LIMIT: Final = 32 * 1024
"""Characters of the log that are kept: the latest ones."""
LINE_LIMIT: Final = 500
_CUT: Final = "(What was said before is not kept.)\n"


class JobUnderWay(Exception):
    """The same is being done already, or about to be."""


@attrs.frozen
class Job:
    """
    A job. `done` and `total` count what its kind counts; `begun_at` is what was done when it was last taken up, at
    `begun_ms`. `stop`: it is to be cancelled.
    """

    uuid: str
    kind: str
    requester: str
    state: State
    stop: bool
    done: int
    total: int | None
    log: str = attrs.field(repr=False)
    cursor: Mapping[str, Any]
    created_ms: int
    started_ms: int | None
    begun_ms: int | None
    begun_at: int
    finished_ms: int | None

    def remaining_s(self, now_ms: int) -> float | None:
        """In how many seconds it will be done, if it goes on as since it was taken up; None if nobody can know."""
        if self.state != "running" or self.total is None or self.begun_ms is None:
            return None
        gained, passed = self.done - self.begun_at, now_ms - self.begun_ms
        if gained <= 0 or passed <= 0:
            return None
        return max(0, self.total - self.done) * passed / gained / 1000


@attrs.frozen
class Progress:
    """How far a job is. `lines` are what has been said since the last progress."""

    done: int = 0
    total: int | None = None
    cursor: Mapping[str, Any] = attrs.field(factory=dict)
    lines: Sequence[str] = ()


_COLUMNS: Final = tuple(table.c[field.name] for field in attrs.fields(Job))
_ONE: Final = table.c.uuid == sa.bindparam("of_uuid")
_ACTIVE: Final = table.c.state.in_(("running", "waiting"))
_LOCK: Final = lock(sa.select(table.c.id).where(_ONE))
_NEXT: Final = lock(
    sa.select(*_COLUMNS)
    .where(_ACTIVE, table.c.kind.in_(sa.bindparam("kinds", expanding=True)))
    .order_by(sa.case((table.c.state == "running", 0), else_=1), table.c.id)
    .limit(1)
)


def create(txn: Transaction, kind: str, requester: str, *, cursor: Mapping[str, Any] | None = None) -> Job:
    """A new job of a kind that `KINDS` has; it waits, to begin at `cursor`. Raises `JobUnderWay`."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of job; those are {', '.join(KINDS)}.")
    take_turns(txn.connection, f"quay job {kind}", alone=True)  # of two who ask at once, one is told
    if is_under_way(txn, kind):
        raise JobUnderWay(f"{KINDS[kind]}: this is waiting or running already. Watch it, or cancel it first.")
    _forget_old(txn)
    uuid = str(uuid4())
    row = {"uuid": uuid, "kind": kind, "requester": requester, "state": "waiting", "cursor": dict(cursor or {})}
    txn.execute(sa.insert(table).values(created_ms=txn.now_ms, **row))
    return _existing(txn, uuid)


def is_under_way(txn: Transaction, kind: str) -> bool:
    """Whether a job of this kind runs, or waits."""
    active = sa.select(table.c.uuid).where(table.c.kind == kind, _ACTIVE)
    return txn.execute(active.limit(1)).first() is not None


def find(txn: Transaction, uuid: str) -> Job | None:
    """The job with this uuid."""
    row = txn.execute(sa.select(*_COLUMNS).where(_ONE), {"of_uuid": uuid}).first()
    return None if row is None else Job(**row._asdict())


def jobs(txn: Transaction) -> list[Job]:
    """All that are remembered, the latest first, without their logs; they are no more than a page has room for."""
    columns = [column if column.name != "log" else sa.literal("").label("log") for column in _COLUMNS]
    rows = txn.execute(sa.select(*columns).order_by(table.c.id.desc()).limit(2 * KEPT))
    return [Job(**row._asdict()) for row in rows]


def cancel(txn: Transaction, uuid: str) -> bool:
    """Let it not begin, or ask that it stop; False if there is none, or it has ended, or was asked to before."""
    txn.execute(_LOCK, {"of_uuid": uuid})  # nobody takes it up meanwhile
    found = find(txn, uuid)
    if found is None or found.state in ENDED or found.stop:
        return False
    if found.state == "waiting":
        end(txn, uuid, "cancelled")
    else:
        txn.execute(sa.update(table).where(_ONE).values(stop=True), {"of_uuid": uuid})
    return True


def lane_of(kind: str) -> str:
    """In which lane, one after the other, jobs of this kind run: the name of its worker."""
    return LANES.get(kind, "jobs")


# --- for who runs them --------------------------------------------------------------------------------------------


def take_up(txn: Transaction, kinds: Collection[str] = tuple(KINDS)) -> tuple[Job, bool] | None:
    """
    The job to run now, of one of these kinds, and whether it was interrupted: such a one comes first, then the one that
    has waited longest. It runs from now on. Only for the holder of the lease.
    """
    row = txn.execute(_NEXT, {"kinds": list(kinds)}).first()
    if row is None:
        return None
    found = Job(**row._asdict())
    begun = attrs.evolve(
        found, state="running", started_ms=found.started_ms or txn.now_ms, begun_ms=txn.now_ms, begun_at=found.done
    )
    changed = {name: getattr(begun, name) for name in ("state", "started_ms", "begun_ms", "begun_at")}
    txn.execute(sa.update(table).where(_ONE).values(**changed), {"of_uuid": found.uuid})
    return begun, found.state == "running"


def go_on(txn: Transaction, uuid: str, done: int, cursor: Mapping[str, Any]) -> None:
    """It goes on from `cursor`, where so much was done; an empty one is the beginning."""
    values = {"done": done, "begun_at": done, "cursor": dict(cursor)}
    txn.execute(sa.update(table).where(_ONE).values(**values), {"of_uuid": uuid})


def progress(txn: Transaction, uuid: str, made: Progress) -> bool:
    """Record how far it is; True if it is to stop."""
    found = _existing(txn, uuid)
    values = {
        "done": made.done,
        "total": made.total,
        "cursor": dict(made.cursor),
        "log": _bounded(found.log, made.lines),
    }
    txn.execute(sa.update(table).where(_ONE).values(**values), {"of_uuid": uuid})
    return found.stop


def end(txn: Transaction, uuid: str, state: Ending) -> None:
    """It is over."""
    txn.execute(sa.update(table).where(_ONE).values(state=state, finished_ms=txn.now_ms), {"of_uuid": uuid})


def _existing(txn: Transaction, uuid: str) -> Job:
    found = find(txn, uuid)
    assert found is not None, "a job that is not ended is not forgotten"
    return found


def _bounded(log: str, lines: Sequence[str]) -> str:
    """The log with these lines, as much of its end as is kept, and whole lines."""
    whole = log + "".join(f"{line[:LINE_LIMIT]}\n" for line in lines)
    if len(whole) <= LOG_LIMIT:
        return whole
    kept = whole[-(LOG_LIMIT - len(_CUT)) :].partition("\n")[2]
    return _CUT + kept


def _forget_old(txn: Transaction) -> None:
    ended = sa.select(table.c.id).where(table.c.state.in_(ENDED)).order_by(table.c.id.desc()).offset(KEPT - 1).limit(1)
    last = txn.execute(ended).scalar()
    if last is not None:
        txn.execute(sa.delete(table).where(table.c.state.in_(ENDED), table.c.id <= last))
