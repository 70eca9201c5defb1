"""The chain of seals: made without gaps, and what is found of it afterwards."""

from __future__ import annotations

import hashlib
import hmac

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import audit, audit_seal
from quay.model import seal
from quay.model.audit import Entry, append
from quay.model.seal import ORIGIN, Found, Seal, SealInterrupted, extend, find, following, head, unsealed_before
from tests.unit.model.pushing import assert_constant_cost, plans

KEY = b"k" * 32


def write(txn: Transaction, many: int, **more: object) -> None:
    append(txn, [Entry(kind="pull_repo", details={"number": number, **more}) for number in range(many)])


def all_found(txn: Transaction) -> list[Found]:
    found: list[Found] = []
    while some := following(txn, found[-1].id if found else None):
        found += some
    return found


def fitting(txn: Transaction) -> list[bool]:
    """Whether each link of the chain fits to the one before."""
    found = all_found(txn)
    before = [ORIGIN, *(link.row.seal if link.row else "?" for link in found)]
    return [link.fits(KEY, previous) for link, previous in zip(found, before, strict=False)]


def test_extend(transaction: Transaction) -> None:
    """Each seal covers the oldest entries that have none, so many at most; when all are sealed, there is no other."""
    assert extend(transaction, KEY, 10) is None and head(transaction) is None
    write(transaction, 25)
    made = [extend(transaction, KEY, 10) for _ in range(4)]
    assert [(one.id, one.entries) for one in made if one] == [(1, 10), (2, 10), (3, 5)]
    assert made[3] is None and head(transaction) == made[2] == find(transaction, 3)
    assert [link.entries for link in all_found(transaction)] == [10, 10, 5]
    assert fitting(transaction) == [True, True, True]


def test_late_entries(transaction: Transaction) -> None:
    """An entry with a low number that is committed late goes under the next seal; what was sealed before still fits."""
    write(transaction, 3)
    first = transaction.execute(sa.select(sa.func.min(audit.c.id))).scalar_one()
    transaction.execute(sa.delete(audit).where(audit.c.id == first))
    extend(transaction, KEY, 10)
    transaction.execute(sa.insert(audit).values(id=first, kind="pull_repo", performed_ms=1, details={}))
    made = extend(transaction, KEY, 10)
    assert made is not None and made == head(transaction) and (made.id, made.entries) == (2, 1)
    assert fitting(transaction) == [True, True]
    assert [link.late for link in all_found(transaction)] == [0, 1]


def test_every_part_is_sealed(transaction: Transaction) -> None:
    """No column of an entry and none of a seal can change without its seal not fitting any more."""
    write(transaction, 3)
    extend(transaction, KEY, 10)
    changes: list[sa.Update] = [
        sa.update(audit).where(audit.c.id == sa.select(sa.func.max(audit.c.id)).scalar_subquery()).values({name: value})
        for name, value in (
            ("id", 999_999_999),
            ("kind", "push_repo"),
            ("performed_ms", 1),
            ("namespace_id", 1),
            ("repository_id", 1),
            ("performer_id", 1),
            ("performer", "x"),
            ("ip", "::1"),
            ("details", {"number": 3}),
            ("seal_id", None),
        )
    ]
    assert len(changes) == len(audit.c)
    changes += [sa.update(audit_seal).values({name: value}) for name, value in (("made_ms", 1), ("seal", "0" * 64))]
    for change in changes:
        with transaction.connection.begin_nested() as nested:
            transaction.execute(change)
            assert fitting(transaction) == [False], change
            nested.rollback()
    assert fitting(transaction) == [True]
    assert not all_found(transaction)[0].fits(b"another key", ORIGIN)


def test_values_survive(transaction: Transaction) -> None:
    """Whatever an entry may hold comes back from the engine as it was sealed."""
    odd = {"text": '\0\\"\n\u2028é\U0001f433', "float": 0.1, "big": 2**70, "nested": {"b": [None, True], "a": {}}}
    append(transaction, [Entry(kind="pull_repo", performer="é\n", ip="2001:db8::1", details=odd)])
    extend(transaction, KEY, 10)
    assert fitting(transaction) == [True]


def test_canonical_form(transaction: Transaction) -> None:
    """What is sealed is the same in every release: or no log of before could be verified."""
    entry = Entry(kind="pull_repo", performer="devtable", ip="::1", details={"b": 1, "a": "é"}, performed_ms=5)
    append(transaction, [entry])
    transaction.execute(sa.update(audit).values(id=7))
    transaction.now_ms = 1_700_000_000_000
    extend(transaction, KEY, 10)
    line = b'[7,5,"pull_repo",null,null,null,"devtable","::1",{"a":"\\u00e9","b":1}]\n'
    digest = hashlib.sha256(line).hexdigest()
    sealed = b'["quay audit seal 1",1,"",1700000000000,1,"%b"]' % digest.encode()
    value = hmac.new(KEY, sealed, hashlib.sha256).hexdigest()
    assert value == "21bb6ceb3b74e41f96d45e3073a9da01414717a95d2a5c84b315496257055eb6"
    assert all_found(transaction) == [Found(1, Seal(1, 1, value, 1_700_000_000_000), 1, digest, 1)]


def test_missing_rows_and_strays(transaction: Transaction) -> None:
    """A seal without its row, one without entries, and entries of seals that never were, are all found, in order."""
    write(transaction, 4)
    for _ in range(4):
        extend(transaction, KEY, 1)
    transaction.execute(sa.delete(audit_seal).where(audit_seal.c.id == 2))
    transaction.execute(sa.delete(audit).where(audit.c.seal_id == 3))
    transaction.execute(sa.insert(audit).values(kind="pull_repo", performed_ms=1, details={}, seal_id=99))
    transaction.execute(sa.insert(audit).values(kind="pull_repo", performed_ms=1, details={}, seal_id=-5))
    found = all_found(transaction)
    assert [(link.id, link.row is not None, link.entries) for link in found] == [
        (-5, False, 1),
        (1, True, 1),
        (2, False, 1),
        (3, True, 0),
        (4, True, 1),
        (99, False, 1),
    ]


def test_some_at_a_time(transaction: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many seals and entries there are, they are read some at a time, and each is found once."""
    monkeypatch.setattr(seal, "_SEALS_READ", 3)
    monkeypatch.setattr(seal, "_ENTRIES_READ", 4)
    write(transaction, 50)
    while extend(transaction, KEY, 7):
        pass
    transaction.execute(sa.update(audit_seal).where(audit_seal.c.id == 4).values(id=40))
    for number in range(50, 60):
        transaction.execute(sa.insert(audit).values(kind="pull_repo", performed_ms=1, details={}, seal_id=number))
    assert len(following(transaction, None)) == 3
    found = all_found(transaction)
    assert [link.id for link in found] == [1, 2, 3, 4, 5, 6, 7, 8, 40, *range(50, 60)]
    assert [link.entries for link in found] == [7, 7, 7, 7, 7, 7, 7, 1, 0, *[1] * 10]


def test_nothing_is_sealed_twice(transaction: Transaction) -> None:
    """Whoever finds that a seal of this number was just made by somebody else seals nothing."""
    write(transaction, 3)
    other = Seal(1, 3, "0" * 64, 1)
    assert seal._write(transaction, other, [])
    assert not seal._write(transaction, other, [1, 2, 3])
    assert transaction.execute(sa.select(sa.func.count(audit.c.seal_id))).scalar_one() == 0


def test_interrupted(transaction: Transaction) -> None:
    """An entry that goes away while it is sealed is noticed before anything is written."""
    with pytest.raises(SealInterrupted):
        seal._write(transaction, Seal(1, 1, "0" * 64, 1), [12345])


def test_unsealed_before(transaction: Transaction) -> None:
    """Entries that wait for a seal for too long can be counted."""
    write(transaction, 3)
    assert unsealed_before(transaction, transaction.now_ms) == 0
    assert unsealed_before(transaction, transaction.now_ms + 1) == 3
    extend(transaction, KEY, 10)
    assert unsealed_before(transaction, transaction.now_ms + 1) == 0


def test_cost(transaction: Transaction) -> None:
    """To make the next seal, and to check the next ones, costs the same however long the log is."""
    write(transaction, 3000)
    while extend(transaction, KEY, 100):
        pass
    write(transaction, 10)
    for work in (lambda: extend(transaction, KEY, 5), lambda: unsealed_before(transaction, 5)):
        plan = plans(transaction, work)
        assert_constant_cost(
            "\n".join(line for line in plan.splitlines() if line not in ("SCAN audit_seal", "SCAN anon_1"))
        )
    plan = plans(transaction, lambda: following(transaction, 20))
    assert "Seq Scan" not in plan and "SCAN" not in plan, plan
