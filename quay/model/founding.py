"""
How an installation gets its first administrator: with a token that its start prints, once, and only as long as there
is nobody who could administer it. What is kept of the token is its hash.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.engines import lock, upsert
from quay.database.schema import namespace, repository, setting
from quay.model.account import INITIALIZED
from quay.model.namespace import any_superuser
from quay.model.secret import hashed

KEY: Final = "setup_token"
BYTES: Final = 24
LIFETIME_S: Final = 24 * 3600


def is_open(txn: Transaction, super_users: Collection[str]) -> bool:
    """Whether nobody can administer this registry: neither a superuser, nor a user whom the configuration calls one."""
    named = sa.select(namespace.c.id).where(namespace.c.name.in_(super_users), namespace.c.kind == "user").limit(1)
    return not any_superuser(txn) and not (super_users and txn.execute(named).first())


def issue_token(txn: Transaction, lifetime_s: int = LIFETIME_S) -> str:
    """A new token, good for so many seconds; the one before it is worthless now."""
    token = secrets.token_urlsafe(BYTES)
    statement = upsert(txn.dialect, setting, "key", update=("value",))
    txn.execute(statement.values(key=KEY, value=f"{hashed(token)} {txn.now_ms + lifetime_s * 1000}"))
    return token


def is_token(txn: Transaction, token: str, super_users: Collection[str]) -> bool:
    """Whether this is the token that was issued last, is not too old, and there is still nobody."""
    row = txn.execute(sa.select(setting.c.value).where(setting.c.key == KEY)).first()
    if row is None:
        return False
    kept, _, expires_ms = str(row.value).partition(" ")
    right = hmac.compare_digest(kept, hashed(token))
    return right and txn.now_ms < int(expires_ms) and is_open(txn, super_users)


def claim(txn: Transaction, super_users: Collection[str], token: str | None = None) -> bool:
    """
    Whether the first administrator may be made in this transaction: by who has this token, or, without one, by who
    has the machine. Of several that ask at the same time one is told yes, and every token is worthless afterwards.
    """
    txn.execute(lock(sa.select(setting.c.key).where(setting.c.key == "schema"))).first()
    if not (is_open(txn, super_users) if token is None else is_token(txn, token, super_users)):
        return False
    txn.execute(sa.delete(setting).where(setting.c.key == KEY))
    mark = upsert(txn.dialect, setting, "key", update=("value",))
    txn.execute(mark.values(key=INITIALIZED, value=str(txn.now_ms)))
    return True


def is_in_use(txn: Transaction) -> bool:
    """Whether there is a repository, so that the registry cannot be put elsewhere without moving it."""
    return txn.execute(sa.select(repository.c.id).limit(1)).first() is not None
