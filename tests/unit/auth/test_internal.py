"""Local users, on a real database."""

from __future__ import annotations

import bcrypt
import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from quay.auth.internal import LocalUsers
from quay.auth.passwords import Passwords
from quay.database import Database, DatabaseUnavailable, Transaction
from quay.database.engines import open_engine
from quay.interfaces import IIdentityProvider
from quay.model import namespace
from quay.threads import ImmediatePool

DAY = 86400


class LocalUsersTests(SynchronousTestCase):
    url: str

    @pytest.fixture(autouse=True)
    def _url(self, sqlite_url: str) -> None:
        self.url = sqlite_url

    def setUp(self) -> None:
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        self.database = Database(Clock(), engine, ImmediatePool(), ImmediatePool())
        self.passwords = Passwords(ImmediatePool())
        self.users = LocalUsers(self.database, self.passwords)
        self.user_id = self.make("devtable", self.successResultOf(self.passwords.hash("password")))

    def make(self, name: str, hashed: str | None) -> int:
        def work(txn: Transaction) -> int:
            email = f"{name}@example.org"
            return namespace.create_user(txn, name, email=email, password_hash=hashed, time_machine_s=DAY).id

        return self.successResultOf(self.database.write(work))

    def authenticate(self, username: str, password: str) -> int | None:
        return self.successResultOf(self.users.authenticate(username, password))

    def hash_of(self, user_id: int) -> str | None:
        return self.successResultOf(self.database.read(namespace.password_hash, user_id))

    def test_it_is_an_identity_provider(self) -> None:
        """Local users are plugged like any directory."""
        verifyObject(IIdentityProvider, self.users)

    def test_by_name_and_by_address(self) -> None:
        """A user is known by name and by e-mail address, with one password."""
        self.assertEqual(self.authenticate("devtable", "password"), self.user_id)
        self.assertEqual(self.authenticate("devtable@example.org", "password"), self.user_id)
        self.assertIsNone(self.authenticate("devtable", "passwort"))
        self.assertIsNone(self.authenticate("devtable", ""))

    def test_nobody(self) -> None:
        """There is no password for an unknown name, an organization, a robot, or a user who has none."""

        def work(txn: Transaction) -> None:
            namespace.create_organization(txn, "buynlarge", owner_id=self.user_id, time_machine_s=DAY)
            namespace.create_robot(txn, self.user_id, "bot")

        self.successResultOf(self.database.write(work))
        self.make("federated", None)
        for name in ("unknown", "unknown@example.org", "buynlarge", "devtable+bot", "federated", "", "%", "dev_able"):
            self.assertIsNone(self.authenticate(name, "password"))

    def test_an_unknown_user_costs_a_hash(self) -> None:
        """Where there is nobody, a password is verified all the same: the time tells nothing."""
        seen: list[str | None] = []
        verify = self.passwords.verify

        def spy(password: str, hashed: str | None) -> object:
            seen.append(hashed)
            return verify(password, hashed)

        self.patch(self.passwords, "verify", spy)
        self.authenticate("unknown", "password")
        self.assertEqual(seen, [None])

    def test_an_imported_hash_is_replaced(self) -> None:
        """The first login after an import replaces the bcrypt hash, and the password stays what it was."""
        user = self.make("imported", bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode())
        self.assertIsNone(self.authenticate("imported", "passwort"))
        self.assertTrue((self.hash_of(user) or "").startswith("$2b$"))
        self.assertEqual(self.authenticate("imported", "password"), user)
        self.assertTrue((self.hash_of(user) or "").startswith("$argon2id$"))
        self.assertEqual(self.authenticate("imported", "password"), user)

    def test_a_password_changed_meanwhile_stays(self) -> None:
        """A new hash never overwrites a password that was changed while it was made."""
        user = self.make("imported", bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode())
        changed = self.successResultOf(self.passwords.hash("changed"))
        hash_ = self.passwords.hash

        def slow(password: str) -> object:
            self.successResultOf(self.database.write(namespace.set_password, user, changed))
            return hash_(password)

        self.patch(self.passwords, "hash", slow)
        self.authenticate("imported", "password")
        self.assertEqual(self.hash_of(user), changed)

    def test_a_hash_that_cannot_be_replaced_stops_nobody(self) -> None:
        """A login succeeds although its new hash could not be written."""
        user = self.make("imported", bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode())

        async def down(*args: object, **kwargs: object) -> None:
            raise DatabaseUnavailable

        self.patch(self.database, "write", down)
        self.assertEqual(self.authenticate("imported", "password"), user)
