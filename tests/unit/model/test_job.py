"""Jobs, on both engines: asked for, run, interrupted, cancelled, and remembered for a while."""

from __future__ import annotations

import pytest

from quay.database import Transaction
from quay.model import job
from quay.model.job import Job, JobUnderWay, Progress


def found(transaction: Transaction, uuid: str) -> Job:
    one = job.find(transaction, uuid)
    assert one is not None
    return one


def taken_up(transaction: Transaction, *, interrupted: bool) -> Job:
    taken = job.take_up(transaction)
    assert taken is not None
    assert taken[1] is interrupted
    return taken[0]


def test_the_life_of_a_job(transaction: Transaction) -> None:
    """A job waits until it is taken up, tells how far it is, and ends."""
    made = job.create(transaction, "scrub", "ada")
    assert (made.state, made.done, made.total, made.log, made.started_ms) == ("waiting", 0, None, "", None)
    taken = taken_up(transaction, interrupted=False)
    assert (taken.uuid, taken.state, taken.started_ms) == (made.uuid, "running", transaction.now_ms)
    assert taken == found(transaction, made.uuid)
    assert not job.progress(transaction, made.uuid, Progress(5, 20, {"after": 3}, ["One.", "Two."]))
    assert not job.progress(transaction, made.uuid, Progress(9, 20, {"after": 4}, ["Three."]))
    now = found(transaction, made.uuid)
    assert (now.done, now.total, now.cursor, now.log) == (9, 20, {"after": 4}, "One.\nTwo.\nThree.\n")
    job.end(transaction, made.uuid, "done")
    ended = found(transaction, made.uuid)
    assert (ended.state, ended.finished_ms) == ("done", transaction.now_ms)
    assert job.take_up(transaction) is None


def test_in_turn(transaction: Transaction) -> None:
    """What was interrupted comes first, then what has waited longest."""
    first, second = job.create(transaction, "gc", "ada"), job.create(transaction, "fsck", "ada")
    assert taken_up(transaction, interrupted=False).uuid == first.uuid
    assert taken_up(transaction, interrupted=True).uuid == first.uuid  # nobody ended it in between: its server died
    job.end(transaction, first.uuid, "failed")
    assert taken_up(transaction, interrupted=False).uuid == second.uuid


def test_taken_up_again(transaction: Transaction) -> None:
    """A job that is taken up again keeps when it was first begun, its log, and where it was."""
    made = job.create(transaction, "scrub", "ada")
    job.take_up(transaction)
    job.progress(transaction, made.uuid, Progress(7, 20, {"after": {"default": 2}}, ["Seven."]))
    began = transaction.now_ms
    transaction.now_ms += 60_000
    taken = taken_up(transaction, interrupted=True)
    assert (taken.started_ms, taken.begun_ms, taken.begun_at) == (began, transaction.now_ms, 7)
    assert (taken.cursor, taken.log) == ({"after": {"default": 2}}, "Seven.\n")
    job.go_on(transaction, made.uuid, 6, {"after": {"default": 2}})
    assert (found(transaction, made.uuid).done, found(transaction, made.uuid).begun_at) == (6, 6)
    job.go_on(transaction, made.uuid, 0, {})
    again = found(transaction, made.uuid)
    assert (again.done, again.begun_at, again.cursor, again.log) == (0, 0, {}, "Seven.\n")


def test_how_long_it_may_take(transaction: Transaction) -> None:
    """What is left is reckoned from what was done since the job was last taken up; not where that says nothing."""
    made = job.create(transaction, "scrub", "ada")
    assert made.remaining_s(transaction.now_ms) is None
    job.take_up(transaction)
    now_ms = transaction.now_ms + 10_000
    assert found(transaction, made.uuid).remaining_s(now_ms) is None
    job.progress(transaction, made.uuid, Progress(25, 100))
    assert found(transaction, made.uuid).remaining_s(now_ms) == 30.0
    job.progress(transaction, made.uuid, Progress(25, None))
    assert found(transaction, made.uuid).remaining_s(now_ms) is None
    job.progress(transaction, made.uuid, Progress(120, 100))
    assert found(transaction, made.uuid).remaining_s(now_ms) == 0


def test_not_twice(transaction: Transaction) -> None:
    """The same is not asked for again before it has ended; something else is."""
    made = job.create(transaction, "gc", "ada")
    job.create(transaction, "fsck", "ada")
    with pytest.raises(JobUnderWay, match="Garbage collection"):
        job.create(transaction, "gc", "bob")
    job.take_up(transaction)
    with pytest.raises(JobUnderWay):
        job.create(transaction, "gc", "bob")
    job.end(transaction, made.uuid, "cancelled")
    assert job.create(transaction, "gc", "bob").requester == "bob"
    with pytest.raises(ValueError, match="'nothing' is no kind of job"):
        job.create(transaction, "nothing", "ada")


def test_cancelled(transaction: Transaction) -> None:
    """What waits does not begin; what runs is told once that it is to stop; what has ended stays as it is."""
    waiting = job.create(transaction, "gc", "ada")
    assert job.cancel(transaction, waiting.uuid)
    assert found(transaction, waiting.uuid).state == "cancelled"
    running = job.create(transaction, "gc", "ada")
    job.take_up(transaction)
    assert job.cancel(transaction, running.uuid)
    assert not job.cancel(transaction, running.uuid)
    assert found(transaction, running.uuid).state == "running"
    assert job.progress(transaction, running.uuid, Progress())
    job.end(transaction, running.uuid, "cancelled")
    assert not job.cancel(transaction, running.uuid)
    assert not job.cancel(transaction, "unknown")


def test_the_log_is_bounded(transaction: Transaction) -> None:
    """Of a long log the latest whole lines are kept, and it says that there were others; no line is long."""
    made = job.create(transaction, "fsck", "ada")
    for start in range(0, 2_000, 500):
        lines = [f"Line {number} ☂ of {'many' * 10}." for number in range(start, start + 500)]
        job.progress(transaction, made.uuid, Progress(lines=lines))
    log = found(transaction, made.uuid).log
    assert len(log) <= job.LOG_LIMIT
    first, second, *_, last = log.splitlines()
    assert first == "(What was said before is not kept.)"
    assert second.startswith("Line ")
    assert last.startswith("Line 1999 ")
    job.progress(transaction, made.uuid, Progress(lines=["x" * 10_000]))
    assert found(transaction, made.uuid).log.splitlines()[-1] == "x" * job.LINE_LIMIT


def test_the_ended_are_forgotten(transaction: Transaction) -> None:
    """So many jobs that have ended are remembered, the latest; none that waits or runs is forgotten."""
    waiting = job.create(transaction, "scrub", "ada")
    for _ in range(job.KEPT + 20):
        job.end(transaction, job.create(transaction, "gc", "ada").uuid, "done")
    listed = job.jobs(transaction)
    assert len(listed) == job.KEPT + 1
    assert listed[-1].uuid == waiting.uuid
    assert all(not one.log for one in listed)
