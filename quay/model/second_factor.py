"""
Second factors of users: the sealed secret of a code generator, and the codes that help when it is lost.

One that was begun counts from when it is confirmed; from then on, a password alone opens little. A code is good once:
the step of the last one is kept, and none of that step or before is taken. Announces `("namespace", user id)` when what
opens an account has changed.

Source: RFC 6238 (TOTP), of which 5.2 demands that a code is not accepted twice.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import insert_or_ignore, lock
from quay.database.schema import recovery_code
from quay.database.schema import second_factor as table
from quay.model.secret import fresh, hashed

RECOVERY_CODES: Final = 10
RECOVERY_LENGTH: Final = 16


@attrs.frozen
class SecondFactor:
    """What a user's codes follow from (`sealed`), and the step of the last one that was used."""

    user_id: int
    sealed: str = attrs.field(repr=False)
    confirmed: bool
    last_step: int


def find(txn: Transaction, user_id: int) -> SecondFactor | None:
    """The second factor of this user, confirmed or not."""
    row = txn.execute(sa.select(table).where(table.c.user_id == user_id)).first()
    if row is None:
        return None
    return SecondFactor(row.user_id, row.secret, row.confirmed_ms is not None, row.last_step)


def begin(txn: Transaction, user_id: int, sealed: str) -> bool:
    """Keep a secret until it is confirmed, instead of another such; False if the user has a confirmed one."""
    txn.execute(sa.delete(table).where(table.c.user_id == user_id, table.c.confirmed_ms.is_(None)))
    made = insert_or_ignore(txn.dialect, table).values(user_id=user_id, secret=sealed)
    return txn.execute(made.returning(table.c.user_id)).first() is not None


def confirm(txn: Transaction, found: SecondFactor, step: int) -> list[str] | None:
    """
    From now on it counts, because its user has shown the code of this step; gives his recovery codes. None if it has
    been confirmed, removed or begun anew meanwhile.
    """
    mine = sa.update(table).where(
        table.c.user_id == found.user_id, table.c.secret == found.sealed, table.c.confirmed_ms.is_(None)
    )
    if not txn.execute(mine.values(confirmed_ms=txn.now_ms, last_step=step)).rowcount:
        return None
    txn.changed("namespace", found.user_id)
    return renew_recovery_codes(txn, found.user_id)


def is_confirmed(txn: Transaction, user_id: int) -> bool:
    """Whether a password alone opens little of this account."""
    found = find(txn, user_id)
    return found is not None and found.confirmed


def spend_step(txn: Transaction, user_id: int, step: int) -> bool:
    """Use up the code of this step; False if it, or a later one, was used before."""
    mine = sa.update(table).where(table.c.user_id == user_id, table.c.last_step < step)
    return bool(txn.execute(mine.values(last_step=step)).rowcount)


def spend_recovery_code(txn: Transaction, user_id: int, code: str) -> bool:
    """Use up this recovery code; False if it is none of this user's, or no longer."""
    mine = sa.delete(recovery_code).where(
        recovery_code.c.user_id == user_id, recovery_code.c.code_hash == hashed(_plain(code))
    )
    return bool(txn.execute(mine).rowcount)


def renew_recovery_codes(txn: Transaction, user_id: int) -> list[str]:
    """New recovery codes, `XXXX-XXXX-XXXX-XXXX`; those until now are worthless."""
    txn.execute(lock(sa.select(table.c.user_id).where(table.c.user_id == user_id)))  # two may ask at once
    codes = [fresh(RECOVERY_LENGTH) for _ in range(RECOVERY_CODES)]
    txn.execute(sa.delete(recovery_code).where(recovery_code.c.user_id == user_id))
    txn.execute(sa.insert(recovery_code), [{"user_id": user_id, "code_hash": hashed(code)} for code in codes])
    return ["-".join(code[start : start + 4] for start in range(0, RECOVERY_LENGTH, 4)) for code in codes]


def recovery_codes_left(txn: Transaction, user_id: int) -> int:
    """How many recovery codes are unused."""
    mine = sa.select(sa.func.count()).select_from(recovery_code).where(recovery_code.c.user_id == user_id)
    left: int = txn.execute(mine).scalar_one()
    return left


def remove(txn: Transaction, user_id: int) -> bool:
    """The password alone will do again; False if the user had no second factor."""
    txn.execute(sa.delete(recovery_code).where(recovery_code.c.user_id == user_id))
    removed = txn.execute(sa.delete(table).where(table.c.user_id == user_id)).rowcount
    if removed:
        txn.changed("namespace", user_id)
    return bool(removed)


def _plain(code: str) -> str:
    """As it was made, however people copy it."""
    return code.replace("-", "").replace(" ", "").upper()
