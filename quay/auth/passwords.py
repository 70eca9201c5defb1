"""
Passwords of people: hashed slowly, off the reactor, and never cut short.

New hashes are Argon2id with 19 MiB, two passes and one lane (OWASP's first recommendation; 25 ms here). What is hashed
is the UTF-8 of the password in normalization form C, so that the same keys pressed on another system give the same
hash (RFC 8265, OpaqueString; not NFKC, which would make different passwords equal). Every byte counts, NUL too.

The bcrypt hashes of an imported Quay are verified as they were made: raw UTF-8, of which bcrypt sees 72 bytes. Such a
hash is replaced at the next login, unless the password is longer: then nobody knows whether its end was right, and it
stays until the user changes the password.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final, ParamSpec, TypeVar

import argon2
import bcrypt
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from twisted.internet.defer import Deferred, fail

from quay.auth.credentials import SECRET_LIMIT
from quay.interfaces import IPool
from quay.oci.errors import InvalidRequest, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

BCRYPT_BYTES: Final = 72
SHORTEST: Final = 8

_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")


def check_new(password: str) -> None:
    """Raises `InvalidRequest` for what may not be a password from now on. The rule is Quay's."""
    if len(password) < SHORTEST or any(character.isspace() for character in password):
        raise InvalidRequest(
            f"Invalid password: a password has at least {SHORTEST} characters, and no whitespace.",
            advice="Choose another one.",
        )


class Passwords:
    """
    Hashes and verifies in `pool`, with at most `waiting` passwords at a time: more fail with `Unavailable` at once,
    because the same threads sign the tokens of those who are already in.
    """

    def __init__(self, pool: IPool, waiting: int = 64) -> None:
        self._pool = pool
        self._limit = waiting
        self._waiting = 0

    def hash(self, password: str) -> Deferred[str]:
        """A new hash of `password`. Fails with `InvalidRequest` if it is longer than `SECRET_LIMIT`."""
        if _too_long(password):
            return fail(
                InvalidRequest(
                    f"A password may have {SECRET_LIMIT} bytes; this one is longer.", advice="Use a shorter one."
                )
            )
        return self._run(_hash, password)

    def verify(self, password: str, hashed: str | None) -> Deferred[bool]:
        """
        Whether `hashed` is a hash of `password`. None (nobody there, or nobody with a password) takes as long as a
        hash made here, and is False. So is a hash of an unknown form.
        """
        return self._run(_verify, password, hashed)

    def needs_rehash(self, password: str, hashed: str) -> bool:
        """Whether `hashed`, of which `password` was verified, should make way for a new hash."""
        if _is_bcrypt(hashed):
            return len(_raw(password)) <= BCRYPT_BYTES
        return _HASHER.check_needs_rehash(hashed)

    def _run(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        if self._waiting >= self._limit:
            return fail(
                Unavailable(
                    f"{self._waiting} passwords are being checked already.",
                    advice="Try again in a few seconds.",
                    headers={"Retry-After": "3"},
                )
            )
        self._waiting += 1
        return self._pool.run(f, *args, **kwargs).addBoth(self._done)

    def _done(self, outcome: R) -> R:
        self._waiting -= 1
        return outcome


def _hash(password: str) -> str:
    return _HASHER.hash(_composed(password))


def _verify(password: str, hashed: str | None) -> bool:
    if _too_long(password):
        return False
    if hashed is None:
        _verify_argon2(password, _nobody())
        return False
    if _is_bcrypt(hashed):
        return _verify_bcrypt(password, hashed)
    return _is_argon2(hashed) and _verify_argon2(password, hashed)


def _verify_argon2(password: str, hashed: str) -> bool:
    try:
        return _HASHER.verify(hashed, _composed(password))
    except VerifyMismatchError:
        return False


def _verify_bcrypt(password: str, hashed: str) -> bool:
    return bcrypt.checkpw(_raw(password)[:BCRYPT_BYTES], hashed.encode())


@cache
def _nobody() -> str:
    return _hash("nobody has this hash")


def _is_bcrypt(hashed: str) -> bool:
    return _BCRYPT.fullmatch(hashed) is not None


def _is_argon2(hashed: str) -> bool:
    try:
        argon2.extract_parameters(hashed)
    except InvalidHashError:
        return False
    return True


def _composed(password: str) -> bytes:
    return _raw(unicodedata.normalize("NFC", password))


def _raw(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # JSON can spell what UTF-8 cannot


def _too_long(password: str) -> bool:
    return len(_raw(password)) > SECRET_LIMIT
