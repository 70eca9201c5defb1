"""From a password to a verified token, with real threads and a real clock."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from quay.auth import Portal
from quay.auth.credentials import of
from quay.auth.internal import LocalUsers
from quay.auth.keyring import Keyring
from quay.auth.passwords import Passwords
from quay.auth.principal import Access
from quay.database import open_database
from quay.model import namespace
from quay.threads import Threads

reactor: Any = the_reactor  # what it provides depends on the platform, which its type cannot say


class LoginTests(TestCase):
    url: str

    @pytest.fixture(autouse=True)
    def _url(self, sqlite_url: str) -> None:
        self.url = sqlite_url

    async def test_from_a_password_to_a_token(self) -> None:
        """Twenty clients log in at once, each gets a token, and each token is good."""
        threads = Threads(reactor)
        threads.startService()
        self.addCleanup(threads.stopService)
        database = open_database(reactor, self.url, threads)
        await database.start()
        passwords = Passwords(threads.cpu)
        portal = Portal(database, LocalUsers(database, passwords), reactor)
        keyring = Keyring(database, threads.cpu, reactor)
        await keyring.start()
        hashed = await passwords.hash("correct horse")
        await database.write(namespace.create_user, "devtable", password_hash=hashed, time_machine_s=86400)

        async def login() -> str:
            principal = await portal.authenticate(of("devtable", "correct horse"), "192.0.2.1")
            return await keyring.mint(principal, "quay.example", Access({"a/b": frozenset({"pull"})}))

        tokens = await gatherResults([Deferred.fromCoroutine(login()) for _ in range(20)])
        for token in tokens:
            claims = await keyring.verify(token, "quay.example")
            self.assertEqual(claims.principal.name, "devtable")
            self.assertIs(keyring.verified(token, "quay.example"), claims)
        await keyring.stop()
        await database.stop()
