"""What the database remembers of backups, and when it asks for one."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import backup, job
from quay.model.job import Ending

HOUR_MS = 3600 * 1000


def asked(txn: Transaction, due_ms: int) -> bool:
    """Whether that made a job, which is then taken up."""
    backup.ask_once(txn, due_ms, "the schedule")
    return job.take_up(txn, ["backup"]) is not None


def end(txn: Transaction, state: Ending) -> None:
    [running] = [one for one in job.jobs(txn) if one.state == "running"]
    job.end(txn, running.uuid, state)


def test_once_for_each_time(transaction: Transaction) -> None:
    """Each time of the schedule asks for one backup, however often it is looked."""
    now = transaction.now_ms
    assert asked(transaction, now - 5)
    end(transaction, "done")
    assert not asked(transaction, now - 5)
    assert asked(transaction, now)


def test_not_beside_another(transaction: Transaction) -> None:
    """One that is under way is enough."""
    job.create(transaction, "backup", "somebody")
    backup.ask_once(transaction, transaction.now_ms, "the schedule")
    assert [one.requester for one in job.jobs(transaction)] == ["somebody"]


@pytest.mark.parametrize(("state", "again"), [("failed", True), ("done", False), ("cancelled", False)])
def test_again(transaction: Transaction, state: Ending, again: bool) -> None:
    """One that failed is tried again in an hour; one that somebody cancelled is not."""
    due = transaction.now_ms
    assert asked(transaction, due)
    end(transaction, state)
    transaction.now_ms += HOUR_MS - 1
    assert not asked(transaction, due)
    transaction.now_ms += 2
    assert asked(transaction, due) is again


def test_a_clock_that_was_wrong(transaction: Transaction) -> None:
    """A backup that was asked for by a clock of next year keeps nobody from asking now."""
    transaction.now_ms += 365 * 24 * HOUR_MS
    assert asked(transaction, transaction.now_ms)
    end(transaction, "done")
    transaction.now_ms -= 365 * 24 * HOUR_MS
    assert asked(transaction, transaction.now_ms)


def test_one_installation(transaction: Transaction) -> None:
    """It has one name, which does not change."""
    assert backup.installation(transaction) == backup.installation(transaction) != ""


def test_facts(transaction: Transaction) -> None:
    """The last facts of each name are remembered, with their time."""
    for problems in (1, 2):
        backup.remember(transaction, "verified", {"problems": problems})
    assert backup.remembered(transaction) == {"verified": {"ms": transaction.now_ms, "problems": 2}}
