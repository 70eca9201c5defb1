"""
The local users: people whose passwords this registry keeps, as hashes, in its own database.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from quay.auth.passwords import Passwords
from quay.database import Database, DatabaseUnavailable, Transaction
from quay.interfaces import IIdentityProvider
from quay.model import namespace

log = Logger()


@attrs.frozen
class _Local:
    id: int
    hashed: str | None = attrs.field(repr=False)


_NOBODY = _Local(0, None)


@implementer(IIdentityProvider)
class LocalUsers:
    """Users by name or e-mail address. An unknown user takes as long as a wrong password."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    def authenticate(self, username: str, password: str) -> Deferred[int | None]:
        return Deferred.fromCoroutine(self._authenticate(username, password))

    async def _authenticate(self, username: str, password: str) -> int | None:
        user = await self._database.read(_find, username)
        if not await self._passwords.verify(password, user.hashed) or user.hashed is None:
            return None
        if self._passwords.needs_rehash(password, user.hashed):
            await self._rehash(user, password)
        return user.id

    async def _rehash(self, user: _Local, password: str) -> None:
        """Replace a hash of an older kind. A login does not fail because its hash could not be replaced."""
        hashed = await self._passwords.hash(password)
        try:
            # Not if the password has been changed meanwhile: that counts.
            await self._database.write(namespace.set_password, user.id, hashed, instead_of=user.hashed)
        except DatabaseUnavailable:
            log.warn("The password hash of namespace {id} is of an older kind and could not be replaced", id=user.id)


def _find(txn: Transaction, username: str) -> _Local:
    found = namespace.find_by_email(txn, username) if "@" in username else namespace.find(txn, username)
    if found is None or found.kind != "user":
        return _NOBODY
    return _Local(found.id, namespace.password_hash(txn, found.id))
