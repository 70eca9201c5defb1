"""Sealing, tampering, and what the verification says of it, on both engines."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from quay.database import Transaction
from quay.database.schema import audit, audit_seal
from quay.model import seal
from quay.model.audit import Entry, append
from quay.model.seal import Seal
from quay.registry.garbage import AllTheTime
from quay.registry.sealing import DAY_S, AuditSealer, Verification

KEY = b"k" * 32
NOW_MS = 1_700_000_000_000
LAST: sa.ScalarSelect[Any] = sa.select(sa.func.max(audit_seal.c.id)).scalar_subquery()


@attrs.define
class Direct:
    """A database that does at once what it is asked."""

    engine: sa.Engine
    now_ms: int = NOW_MS

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        with self.engine.begin() as connection:
            return work(Transaction(connection, self.now_ms), *args)

    def read(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return execute(self.run, work, *args)

    write = read

    def do(self, *statements: sa.Executable) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)


class Log:
    """An audit log of fifty entries under five seals, and what somebody does to it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.database = Direct(engine)
        self.clock = Clock()
        self.sealer = AuditSealer(self.database, lambda: KEY, self.clock)  # type: ignore[arg-type]
        self.sealer.batch = 10
        self.write(50)
        self.seal()

    def write(self, many: int) -> None:
        entries = [Entry(kind="pull_repo", details={"number": number}) for number in range(many)]
        self.database.run(append, entries)

    def seal(self) -> None:
        done(self.sealer.run(AllTheTime()))

    def head(self) -> Seal:
        found: Seal = self.database.run(seal.head)
        return found

    def verify(self, noted: str | None = None, key: bytes = KEY) -> tuple[bool, str]:
        """Whether all is well, and what was said; the times are left out."""
        said: list[str] = []
        verification = Verification(self.database, key, said.append, noted)  # type: ignore[arg-type]
        good = done(verification.run())
        assert good == (verification.problems == 0)
        return good, re.sub(r", made [^,]+,", ",", "\n".join(said))

    def do(self, *statements: sa.Executable) -> str:
        """What the verification says after these; it must not be content."""
        self.database.do(*statements)
        good, said = self.verify()
        assert not good, said
        return said


def done(awaitable: Any) -> Any:
    outcome: list[Any] = []
    Deferred.fromCoroutine(awaitable).addBoth(outcome.append)
    [result] = outcome
    if not isinstance(result, bool | None):
        result.raiseException()
    return result


@pytest.fixture
def log(database_engine: sa.Engine) -> Log:
    return Log(database_engine)


def nth(number: int, seal_id: int) -> sa.ScalarSelect[int]:
    """The number of an entry of this seal."""
    ids = sa.select(audit.c.id).where(audit.c.seal_id == seal_id).order_by(audit.c.id)
    return ids.offset(number).limit(1).scalar_subquery()


def test_an_untouched_log(log: Log) -> None:
    """A log that nobody touched is in order, and its head is told."""
    assert log.verify() == (True, f"50 entries under 5 seals: no problems.\nHead: 5:{log.head().seal}")


def test_a_growing_log(log: Log) -> None:
    """What comes later goes under later seals; a head that was noted stays in the chain."""
    head = log.head()
    log.write(15)
    log.seal()
    for noted in (str(head), head.seal, str(log.head())):
        good, said = log.verify(noted)
        assert good and "65 entries under 7 seals" in said


def test_a_new_log(database_engine: sa.Engine) -> None:
    """A log without seals is no fault, and that is said."""
    log = Log.__new__(Log)
    log.database = Direct(database_engine)
    good, said = log.verify()
    assert good and "Nothing has been sealed" in said


def test_a_changed_entry(log: Log) -> None:
    """An entry that was changed is seen, and under which seal it is."""
    said = log.do(sa.update(audit).where(audit.c.id == nth(4, 3)).values(performer="somebody else"))
    assert said.startswith("Entries under seal 3, were changed, or the time that it says.\n")
    assert ": 1 problem." in said


def test_a_changed_entry_of_the_latest_seal(log: Log) -> None:
    """An entry under the latest seal that was changed is seen as well."""
    said = log.do(sa.update(audit).where(audit.c.id == nth(9, 5)).values(performed_ms=1))
    assert said.startswith("Seal 5, fits neither its entries nor its neighbours")


def test_a_removed_entry(log: Log) -> None:
    """An entry that was removed is seen, and how many are missing under which seal."""
    said = log.do(sa.delete(audit).where(audit.c.id == nth(0, 2)))
    assert said.startswith("Seal 2, lacks 1 of its 10 entries.\n") and ": 1 problem." in said


def test_an_entry_put_under_a_seal(log: Log) -> None:
    """An entry that was added under an old seal is seen."""
    said = log.do(sa.insert(audit).values(kind="pull_repo", performed_ms=1, details={}, seal_id=4))
    assert said.startswith("Seal 4, has 1 entry more than when it was made.\n") and ": 1 problem." in said


def test_a_reinserted_entry(log: Log) -> None:
    """An entry that was removed and put in again otherwise than it was is seen: with another number, or time."""
    row = sa.select(*(column for column in audit.c if column.name != "id")).where(audit.c.id == nth(4, 3))
    copied = sa.insert(audit).from_select([column.name for column in row.selected_columns], row)
    said = log.do(copied, sa.delete(audit).where(audit.c.id == nth(4, 3)))
    assert said.startswith("Entries under seal 3, were changed, or the time that it says.\n")


def test_an_entry_taken_out_of_its_seal(log: Log) -> None:
    """An entry that is sealed once more, after it was changed, is missing where it was."""
    changed = sa.update(audit).where(audit.c.id == nth(4, 3)).values(seal_id=None, performer="somebody else")
    log.database.do(changed)
    log.seal()
    good, said = log.verify()
    assert not good and said.startswith("Seal 3, lacks 1 of its 10 entries.\n")


def test_an_entry_without_a_seal(log: Log) -> None:
    """Old entries that have no seal, although younger ones have, are counted."""
    log.database.now_ms += 2 * 3600 * 1000
    log.write(1)
    log.seal()
    said = log.do(sa.insert(audit).values(kind="pull_repo", performed_ms=NOW_MS, details={}))
    assert said.startswith("1 entry without a seal, although others an hour younger have one")


def test_a_removed_seal(log: Log) -> None:
    """A seal that was removed with its entries is missing, and what comes after the next one is still verified."""
    said = log.do(
        sa.delete(audit).where(audit.c.seal_id.in_([2, 3])), sa.delete(audit_seal).where(audit_seal.c.id.in_([2, 3]))
    )
    assert said.startswith("Seals were removed: 2 to 3. Seal 4 builds on them, and cannot be checked.\n")
    assert ": 1 problem." in said


def test_a_seal_removed_alone(log: Log) -> None:
    """Entries whose seal was removed are told of."""
    said = log.do(sa.delete(audit_seal).where(audit_seal.c.id == 1))
    assert said.startswith("Seal 1, named by 10 entries, is not there.\nSeals were removed: 1. Seal 2")


def test_removed_and_renumbered(log: Log) -> None:
    """Closing the gap by numbering the seals anew does not help: the next one does not fit."""
    said = log.do(
        sa.delete(audit).where(audit.c.seal_id == 2),
        sa.delete(audit_seal).where(audit_seal.c.id == 2),
        *(
            sa.update(table).where(column == number).values({column.name: number - 1})
            for number in (3, 4, 5)
            for table, column in ((audit, audit.c.seal_id), (audit_seal, audit_seal.c.id))
        ),
    )
    assert said.startswith("Seal 2, fits neither") and "Seal 3, fits neither" in said and ": 3 problems." in said


def test_an_overwritten_seal(log: Log) -> None:
    """A seal that was overwritten is told apart from changed entries, by the seal after it."""
    said = log.do(sa.update(audit_seal).where(audit_seal.c.id == 3).values(seal="0" * 64))
    assert said.startswith("Seal 3, was overwritten; its entries are as they were sealed.\n") and ": 1 problem." in said


def test_reordered_seals(log: Log) -> None:
    """Two seals that changed places, with their entries, are seen."""
    swaps = [(2, 99), (3, 2), (99, 3)]
    said = log.do(
        *(sa.update(audit_seal).where(audit_seal.c.id == old).values(id=new) for old, new in swaps),
        *(sa.update(audit).where(audit.c.seal_id == old).values(seal_id=new) for old, new in swaps),
    )
    assert "Seal 2, fits neither" in said and "Seal 3, fits neither" in said and "Seal 4, fits neither" in said


def test_reordered_entries(log: Log) -> None:
    """Two entries that changed their numbers are seen."""
    first, second = (log.database.run(lambda txn, n=n: txn.execute(sa.select(nth(n, 3))).scalar_one()) for n in (1, 2))
    swaps = [(first, 10**9), (second, first), (10**9, second)]
    said = log.do(*(sa.update(audit).where(audit.c.id == old).values(id=new) for old, new in swaps))
    assert said.startswith("Entries under seal 3, were changed")


def test_a_forged_seal(log: Log) -> None:
    """Whoever does not have the key cannot seal what he has changed."""
    other = AuditSealer(log.database, lambda: b"another key", Clock())  # type: ignore[arg-type]
    log.write(5)
    done(other.run(AllTheTime()))
    log.write(5)
    log.seal()
    good, said = log.verify()
    assert not good and said.startswith("Entries under seal 6, were changed, or the time that it says.\n")


def test_the_end_cut_off(log: Log) -> None:
    """Without its newest seal and its entries the chain is in order; whoever noted the head sees that it is gone."""
    head = log.head()
    log.database.do(sa.delete(audit).where(audit.c.seal_id == LAST))
    log.database.do(sa.delete(audit_seal).where(audit_seal.c.id == head.id))
    assert log.verify()[0]
    log.write(10)
    log.seal()
    assert log.verify()[0] and log.head().id == head.id
    for noted in (str(head), head.seal):
        good, said = log.verify(noted)
        assert not good and f"The seal that was noted, {noted}, is not in the chain" in said


def test_a_seal_before_the_first(log: Log) -> None:
    """A seal with a number that none has is told of."""
    said = log.do(sa.insert(audit_seal).values(id=0, entries=0, seal="\x1b[2J\u2028é", made_ms=2**62))
    assert said.startswith("Seal 0 was put in") and said.isascii()


def test_hostile_rows(log: Log) -> None:
    """What stands in a forged seal neither ends the verification nor reaches the terminal as it is."""
    said = log.do(sa.update(audit_seal).where(audit_seal.c.id == 5).values(seal="\x1b[2J\u2028é", made_ms=2**62))
    assert "Seal 5, fits neither" in said and said.replace("\n", "").isprintable() and said.isascii()


def test_another_key(log: Log) -> None:
    """With another SECRET_KEY no seal fits, and the sentence asks for the right one."""
    good, said = log.verify(key=b"another key")
    assert not good and "No seal fits at all: is SECRET_KEY the one" in said


def test_many_problems(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is wrong, a limited number of sentences is said, and how much there is."""
    monkeypatch.setattr(Verification, "SENTENCES", 2)
    said = log.do(sa.update(audit).values(performer="x"))
    assert said.count("\n") == 5 and "And so on: 5 problems." in said


def test_old_entries(log: Log) -> None:
    """Entries that were old when they were sealed are pointed out, and are no problem by themselves."""
    log.database.do(sa.insert(audit).values(kind="pull_repo", performed_ms=1, details={}))
    log.seal()
    good, said = log.verify()
    assert good and said.startswith("Note: 1 entry more than a day old when sealed")


def test_progress(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long log says how far it is."""
    monkeypatch.setattr(Verification, "PROGRESS", 20)
    assert log.verify()[1].startswith("20 entries under 2 seals so far.\n40 entries under 4 seals")


def test_a_run_ends_with_its_time(log: Log) -> None:
    """A run that has no more time leaves the rest to the next one."""

    class Spent:
        spent = True

    log.write(30)
    done(log.sealer.run(Spent()))
    assert log.head().id == 6
    log.seal()
    assert log.head().id == 8


def test_the_head_is_logged(log: Log) -> None:
    """Once a day the head goes to the log of the server, where whoever cuts off the chain does not reach it."""
    with capturedLogs() as captured:
        for seconds in (1, DAY_S, 1):
            log.clock.advance(seconds)
            log.write(1)
            log.seal()
    heads = [event["head"] for event in captured if event["log_level"] is LogLevel.info and "head" in event]
    assert [head.partition(":")[0] for head in heads] == ["7"]
