"""Password hashes: Argon2id for new ones, bcrypt for those of an imported Quay."""

from __future__ import annotations

from typing import Any

import bcrypt
import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quay.auth.credentials import SECRET_LIMIT
from quay.auth.passwords import Passwords
from quay.oci.errors import InvalidRequest, Unavailable
from quay.threads import ImmediatePool


def imported(password: bytes, prefix: bytes = b"2b") -> str:
    hashed = bcrypt.hashpw(password[:72], bcrypt.gensalt(4))
    return hashed.replace(b"$2b$", b"$" + prefix + b"$").decode()


class StuckPool:
    """A pool whose threads never come back."""

    def run(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return Deferred()


class PasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.passwords = Passwords(ImmediatePool())

    def hash(self, password: str) -> str:
        return self.successResultOf(self.passwords.hash(password))

    def verify(self, password: str, hashed: str | None) -> bool:
        return self.successResultOf(self.passwords.verify(password, hashed))

    def test_a_hash_is_argon2id_and_salted(self) -> None:
        """Two hashes of one password differ, both are Argon2id, and both verify."""
        one, other = self.hash("password"), self.hash("password")
        self.assertNotEqual(one, other)
        self.assertTrue(one.startswith("$argon2id$v=19$m=19456,t=2,p=1$"))
        self.assertTrue(self.verify("password", one) and self.verify("password", other))
        self.assertFalse(self.verify("passwort", one))

    def test_every_byte_counts(self) -> None:
        """Passwords that differ only in byte 73, or after a NUL, are different passwords."""
        for right, wrong in (
            ("x" * 72 + "a", "x" * 72 + "b"),
            ("a\0b", "a\0c"),
            ("a", "a\0"),
            ("x" * 4096, "x" * 4095),
        ):
            hashed = self.hash(right)
            self.assertTrue(self.verify(right, hashed))
            self.assertFalse(self.verify(wrong, hashed))

    def test_the_same_letters_are_the_same_password(self) -> None:
        """A composed and a decomposed é are one password; a ligature and its letters are two."""
        self.assertTrue(self.verify("cafe\u0301", self.hash("caf\u00e9")))
        self.assertFalse(self.verify("file", self.hash("\ufb01le")))

    def test_half_a_character_breaks_nothing(self) -> None:
        """A lone surrogate, which JSON can carry, is a password like any other."""
        self.assertTrue(self.verify("\ud800", self.hash("\ud800")))

    def test_a_password_has_a_limit(self) -> None:
        """More than 4 KiB is refused when set, and wrong when shown."""
        self.failureResultOf(self.passwords.hash("x" * (SECRET_LIMIT + 1)), InvalidRequest)
        self.failureResultOf(self.passwords.hash("é" * (SECRET_LIMIT // 2 + 1)), InvalidRequest)
        self.assertFalse(self.verify("x" * (SECRET_LIMIT + 1), self.hash("x")))

    def test_imported_hashes_verify(self) -> None:
        """bcrypt in all its spellings is verified, and makes way for a new hash."""
        for prefix in (b"2a", b"2b", b"2y"):
            hashed = imported("pässword".encode(), prefix)
            self.assertTrue(self.verify("pässword", hashed))
            self.assertFalse(self.verify("password", hashed))
            self.assertTrue(self.passwords.needs_rehash("pässword", hashed))

    def test_an_imported_hash_of_a_long_password_stays(self) -> None:
        """bcrypt saw 72 bytes: a longer password is let in, but its unproved end is not hashed anew."""
        hashed = imported(b"x" * 80)
        self.assertTrue(self.verify("x" * 80, hashed))
        self.assertFalse(self.passwords.needs_rehash("x" * 80, hashed))

    def test_a_hash_made_here_stays(self) -> None:
        """What was hashed with today's parameters needs no new hash; weaker parameters do."""
        self.assertFalse(self.passwords.needs_rehash("password", self.hash("password")))
        weak = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$Gpmj2bP5yDVAoTZn2ZkOl4OLkXVDZbSRpLQUTtWbHlY"
        self.assertTrue(self.passwords.needs_rehash("password", weak))

    def test_nobody_has_no_password(self) -> None:
        """Where there is no hash, nothing verifies, not even what the stand-in was made of."""
        self.assertFalse(self.verify("password", None))
        self.assertFalse(self.verify("nobody has this hash", None))

    def test_rubbish_is_not_a_hash(self) -> None:
        """A hash of an unknown form, or a bcrypt cost that would take days, verifies nothing."""
        for hashed in ("", "password", "$2b$", "$2b$31$" + "x" * 53, "$argon2id$", "$1$abc$def", "*"):
            self.assertFalse(self.verify("password", hashed))

    def test_the_queue_is_bounded(self) -> None:
        """With enough passwords waiting, the next one is told to come back."""
        passwords = Passwords(StuckPool(), waiting=3)  # type: ignore[arg-type]  # a pool in all but its signature
        for _ in range(3):
            self.assertNoResult(passwords.verify("password", None))
        refused = self.failureResultOf(passwords.verify("password", None), Unavailable)
        self.assertEqual(refused.value.headers["Retry-After"], "3")

    def test_the_queue_empties(self) -> None:
        """Whoever was served, in whatever way, makes room."""
        passwords = Passwords(ImmediatePool(), waiting=1)
        for _ in range(3):
            self.assertFalse(self.successResultOf(passwords.verify("password", "rubbish")))


@pytest.mark.parametrize("password", ["password", "x" * 4000])
def test_an_unknown_user_costs_a_real_hash(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody is, the same function runs over a hash of the same parameters."""
    from quay.auth import passwords as module

    seen: list[str] = []
    monkeypatch.setattr(module, "_verify_argon2", lambda _, hashed: seen.append(hashed))
    Passwords(ImmediatePool()).verify(password, None)
    assert seen[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
