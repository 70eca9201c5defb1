"""The fence: while it stands no blob is forgotten, on either engine, whoever comes first."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import open_engine
from quay.database.schema import blob, placement, setting
from quay.model import fence
from quay.model.condemned import condemn_unlinked
from quay.oci.reference import Digest

HOUR_MS = 3600 * 1000


@pytest.fixture
def unlinked(transaction: Transaction) -> int:
    """The row of a blob that is placed, and that no repository links."""
    return make_unlinked(transaction, b"nobody wants it")


def make_unlinked(txn: Transaction, data: bytes) -> int:
    digest = Digest.of(data)
    made = sa.insert(blob).values(digest=digest, size=len(data), created_ms=0).returning(blob.c.id)
    blob_id: int = txn.execute(made).scalar_one()
    txn.execute(sa.insert(placement).values(blob_id=blob_id, location="default"))
    return blob_id


def test_nothing_is_forgotten_behind_it(transaction: Transaction, unlinked: int) -> None:
    """While it stands nobody forgets a blob; when it is taken down, the blob is still there to be forgotten."""
    name = fence.put_up(transaction)
    assert condemn_unlinked(transaction, [unlinked]) == (0, [])
    fence.take_down(transaction, name)
    blobs, doomed = condemn_unlinked(transaction, [unlinked])
    assert blobs == 1 and [one.digest for one in doomed] == [Digest.of(b"nobody wants it")]


def test_each_backup_has_its_own(transaction: Transaction, unlinked: int) -> None:
    """Two stand side by side, and the blob stays until both are down."""
    first, second = fence.put_up(transaction), fence.put_up(transaction)
    fence.take_down(transaction, first)
    assert fence.stands(transaction) and condemn_unlinked(transaction, [unlinked]) == (0, [])
    fence.take_down(transaction, second)
    assert not fence.stands(transaction)


def test_it_lapses(transaction: Transaction) -> None:
    """Nobody holds it any more: it falls by itself, cannot be held again, and the next one clears it away."""
    name = fence.put_up(transaction)
    transaction.now_ms += HOUR_MS - 1
    assert fence.hold(transaction, name)
    transaction.now_ms += HOUR_MS - 1
    assert fence.stands(transaction)
    transaction.now_ms += 1
    assert not fence.stands(transaction) and not fence.hold(transaction, name)
    fence.put_up(transaction)
    rows = transaction.execute(sa.select(setting.c.key).where(setting.c.key.startswith(fence.PREFIX))).all()
    assert len(rows) == 1


def test_a_wrong_clock(transaction: Transaction) -> None:
    """One that was put up by a clock of the next century holds nobody back for a century."""
    transaction.now_ms += 100 * 365 * 24 * HOUR_MS
    fence.put_up(transaction)
    transaction.now_ms -= 100 * 365 * 24 * HOUR_MS
    assert not fence.stands(transaction)


def test_it_waits_for_those_who_came_before(database_url: str) -> None:
    """It goes up after the last transaction that saw none: what that forgot, no snapshot of the backup has."""
    engine = open_engine(database_url)
    order: list[str] = []

    def put_up(connection: Any) -> None:
        with engine.begin() as connection:
            fence.put_up(Transaction(connection, 1))
        order.append("fence")

    with engine.begin() as connection:
        forgetting = Transaction(connection, 1)
        blob_id = make_unlinked(forgetting, b"just before")
        assert condemn_unlinked(forgetting, [blob_id])[0] == 1
        thread = Thread(target=put_up, args=(engine,))
        thread.start()
        thread.join(0.2)  # it can do nothing but wait; if it did not, it would be through by now
        order.append("forgotten")
    thread.join(30)
    assert order == ["forgotten", "fence"]
    engine.dispose()
