"""
What users have let applications do: codes on their way to an application, and the tokens that it got for them.

A code is good once and for a few minutes; when it was asked for with a PKCE challenge, only with the verifier. Tokens
are credentials of the kind `oauth` that know their application. Announces what `quay.model.credential` announces.
Source: RFC 6749 section 4.1; RFC 7636.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import credential as tokens
from quay.database.schema import namespace as makers
from quay.database.schema import oauth_code as codes
from quay.model import credential
from quay.model.application import Application
from quay.model.credential import Credential
from quay.model.secret import fresh, hashed

CODE_LENGTH: Final = 64
CODE_LIFETIME_S: Final = 600
TOKEN_LIFETIME_S: Final = 315_576_000
"""Ten years, as Quay has it: what scripts were given lasts until somebody revokes it."""


@attrs.frozen
class Grant:
    """What a code stands for: `user_id` lets an application use `scope`."""

    user_id: int
    scope: str


@attrs.frozen
class Authorization:
    """A token that an application has for a user; `creator` is the name of who made it."""

    id: int
    uuid: str
    application_id: int
    title: str
    scope: str
    created_ms: int
    expires_ms: int | None
    last_used_ms: int | None
    creator: str


def issue_code(
    txn: Transaction, application_id: int, user_id: int, scope: str, *, redirect_uri: str, challenge: str | None
) -> str:
    """A code for what `user_id` allows the application; it is good for `CODE_LIFETIME_S`, where it was sent to."""
    _forget_expired(txn)
    code = fresh(CODE_LENGTH)
    row = {
        "code_hash": hashed(code),
        "application_id": application_id,
        "user_id": user_id,
        "scope": scope,
        "redirect_uri": redirect_uri,
        "challenge": challenge,
        "expires_ms": txn.now_ms + CODE_LIFETIME_S * 1000,
    }
    txn.execute(sa.insert(codes).values(**row))
    return code


def redeem(
    txn: Transaction, application_id: int, code: str, *, redirect_uri: str, verifier: str | None, proved: bool
) -> Grant | None:
    """
    What the code stands for; it is worthless afterwards, whatever comes of it. None if it is not this application's,
    has been used, has expired, was sent elsewhere, or if the verifier is not that of its challenge. Without a
    challenge, the application must have `proved` itself with its secret.
    """
    taken = sa.delete(codes).where(codes.c.code_hash == hashed(code), codes.c.application_id == application_id)
    row = txn.execute(taken.returning(*codes.c)).first()
    if row is None or row.expires_ms <= txn.now_ms or row.redirect_uri != redirect_uri:
        return None
    if row.challenge is None:
        return Grant(row.user_id, row.scope) if proved and verifier is None else None
    return Grant(row.user_id, row.scope) if verifier and is_verifier(verifier, row.challenge) else None


def is_verifier(verifier: str, challenge: str) -> bool:
    """Whether the S256 challenge was made from `verifier`. Source: RFC 7636 section 4.6."""
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode("utf-8", "replace"))


def issue_token(
    txn: Transaction,
    application: Application,
    user_id: int,
    scope: str,
    *,
    title: str | None = None,
    lifetime_s: int = TOKEN_LIFETIME_S,
    creator_id: int | None = None,
) -> tuple[Credential, str]:
    """A token with which the application acts for the user within `scope`, and its secret."""
    return credential.create(
        txn,
        user_id,
        "oauth",
        title=(title or application.name)[:255],
        scope=scope,
        expires_ms=txn.now_ms + lifetime_s * 1000,
        application_id=application.id,
        creator_id=creator_id,
    )


def granted(txn: Transaction, application_id: int, user_id: int) -> frozenset[str]:
    """The scopes of the tokens that the application has for this user and that are still good."""
    mine = sa.select(tokens.c.scope).where(
        tokens.c.namespace_id == user_id, tokens.c.application_id == application_id, *_alive(txn)
    )
    return frozenset(scope for text in txn.execute(mine).scalars() for scope in (text or "").split())


def of_user(txn: Transaction, user_id: int, *, uuid: str | None = None, limit: int = 500) -> list[Authorization]:
    """The tokens that applications have for this user (only the one with this uuid), the latest first."""
    mine = _SELECT.where(tokens.c.namespace_id == user_id, tokens.c.application_id.is_not(None), *_alive(txn))
    return _authorizations(txn, mine if uuid is None else mine.where(tokens.c.uuid == uuid), limit)


def of_application(
    txn: Transaction, application_id: int, *, before_id: int | None = None, limit: int
) -> list[Authorization]:
    """The tokens that this application has, for whomever, the latest first; the next page is `before_id` the last."""
    its = _SELECT.where(tokens.c.application_id == application_id, *_alive(txn))
    return _authorizations(txn, its if before_id is None else its.where(tokens.c.id < before_id), limit)


def revoke(txn: Transaction, application_id: int, uuid: str) -> bool:
    """Make a token of this application worthless, whosever it is; False if there is none with this uuid."""
    return credential.revoke_where(txn, tokens.c.application_id == application_id, tokens.c.uuid == uuid)


def revoke_secret(txn: Transaction, application_id: int, secret: str) -> bool:
    """As `revoke`, for the token with this secret. Source: RFC 7009."""
    return credential.revoke_where(
        txn, tokens.c.application_id == application_id, tokens.c.secret_hash == hashed(secret)
    )


def _alive(txn: Transaction) -> Iterable[sa.ColumnElement[bool]]:
    return (
        tokens.c.kind == "oauth",
        sa.or_(tokens.c.expires_ms.is_(None), tokens.c.expires_ms > txn.now_ms),
    )


_SELECT: Final[sa.Select[Any]] = sa.select(
    tokens.c.id,
    tokens.c.uuid,
    tokens.c.application_id,
    tokens.c.title,
    tokens.c.scope,
    tokens.c.created_ms,
    tokens.c.expires_ms,
    tokens.c.last_used_ms,
    makers.c.name.label("creator"),
).join_from(tokens, makers, makers.c.id == sa.func.coalesce(tokens.c.creator_id, tokens.c.namespace_id))


def _authorizations(txn: Transaction, statement: sa.Select[Any], limit: int) -> list[Authorization]:
    found = txn.execute(statement.order_by(tokens.c.id.desc()).limit(limit))
    return [Authorization(**row._mapping) for row in found]


def _forget_expired(txn: Transaction) -> None:
    txn.execute(sa.delete(codes).where(codes.c.expires_ms <= txn.now_ms))
