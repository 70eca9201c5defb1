"""Keys that rotate, are published, and verify what any node has signed; on both engines."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import sqlalchemy as sa
from joserfc.jwk import RSAKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.auth import keyring as module
from quay.auth import token
from quay.auth.keyring import Keyring, generate, kid
from quay.auth.principal import ANONYMOUS, NO_ACCESS, Access, Principal
from quay.auth.token import Claims
from quay.database import Database, DatabaseUnavailable, Transaction
from quay.database.engines import open_engine
from quay.database.schema import service_key
from quay.model import key
from quay.oci.errors import Unauthorized, Unavailable
from quay.threads import ImmediatePool

R = TypeVar("R")

if TYPE_CHECKING:
    TestCase = SynchronousTestCase
else:
    TestCase = object  # the tests of a mixin run in the classes that mix it in

NOW = 1_800_000_000
HOST = "quay.example"
USER = Principal("user", "devtable", 7)
ACCESS = Access({"devtable/simple": frozenset({"pull"})})


def delete_key(txn: Transaction, kid: str) -> None:
    txn.execute(sa.delete(service_key).where(service_key.c.kid == kid))
    txn.changed("key", kid)


def delete_quietly(txn: Transaction, kid: str) -> None:
    """As if the announcement had been lost."""
    txn.execute(sa.delete(service_key).where(service_key.c.kid == kid))


class Counting(Database):
    """Counts what it is asked to read, and may be down."""

    reads = 0
    down = False

    def read(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.reads += 1
        return self._refuse() if self.down else super().read(*args, **kwargs)

    def write(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return self._refuse() if self.down else super().write(*args, **kwargs)

    async def _down(self) -> Any:
        raise DatabaseUnavailable

    def _refuse(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._down())


class KeyringTests(TestCase):
    """What holds on every engine; `url` is set by the classes below."""

    url: str

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        self.database = Counting(self.clock, engine, ImmediatePool(), ImmediatePool())
        self.keyring = self.node()

    def node(self, **settings: Any) -> Keyring:
        """A keyring of another process on the same database, started."""
        ring = Keyring(self.database, ImmediatePool(), self.clock, **settings)
        self.database.on_commit(ring.forget)
        self.result(ring.start())
        return ring

    def result(self, work: Coroutine[Any, Any, R]) -> R:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refusal(self, work: Coroutine[Any, Any, object]) -> Unauthorized:
        error: Unauthorized = self.failureResultOf(Deferred.fromCoroutine(work), Unauthorized).value
        return error

    def mint(self, ring: Keyring | None = None, **facts: Any) -> str:
        return self.result((ring or self.keyring).mint(USER, HOST, ACCESS, **facts))

    def advance(self, seconds: float) -> None:
        """Let time go by, a minute at a time, as a real clock does."""
        while seconds > 0:
            self.clock.advance(min(60, seconds))
            seconds -= 60

    def write(self, work: Any, *args: Any) -> Any:
        return self.successResultOf(self.database.write(work, *args))

    # --- minting and verifying

    def test_a_token_comes_back_as_claims(self) -> None:
        """Who was granted what is what is verified, and it lasts an hour."""
        claims = self.result(self.keyring.verify(self.mint(), HOST))
        self.assertEqual((claims.principal, claims.access, claims.audience), (USER, ACCESS, HOST))
        self.assertEqual((claims.issued, claims.expires), (NOW, NOW + 3600))

    def test_a_token_seen_before_is_a_look_into_a_table(self) -> None:
        """Once verified, a token is known without waiting, to its own audience only, until it expires."""
        text = self.mint()
        self.assertIsNone(self.keyring.verified(text, HOST))
        claims = self.result(self.keyring.verify(text, HOST))
        reads = self.database.reads
        self.assertIs(self.keyring.verified(text, HOST), claims)
        self.assertIs(self.result(self.keyring.verify(text, HOST)), claims)
        self.assertEqual(self.database.reads, reads)
        self.assertIsNone(self.keyring.verified(text, "another.example"))
        self.advance(3600 + 29)
        self.assertIs(self.keyring.verified(text, HOST), claims)
        self.advance(1)
        self.assertIsNone(self.keyring.verified(text, HOST))
        self.assertIn("expired", self.refusal(self.keyring.verify(text, HOST)).message)

    def test_a_token_is_for_one_service(self) -> None:
        """Another audience is refused, also after the right one was served."""
        text = self.mint()
        self.result(self.keyring.verify(text, HOST))
        self.assertIn("another.example", self.refusal(self.keyring.verify(text, "another.example")).message)

    def test_the_memory_is_bounded(self) -> None:
        """Of 200 tokens, only as many are remembered as there is room for; the others are verified again."""
        ring = self.node(remembered=50)
        tokens = [self.mint(ring, lifetime=3600 - n) for n in range(200)]
        for text in tokens:
            self.result(ring.verify(text, HOST))
        self.assertEqual(sum(ring.verified(text, HOST) is not None for text in tokens), 50)
        self.assertEqual(self.result(ring.verify(tokens[0], HOST)).principal, USER)

    def test_a_clock_set_back_ends_what_is_remembered(self) -> None:
        """A token that is not valid yet by the new time is not served from memory."""
        text = self.mint()
        self.result(self.keyring.verify(text, HOST))
        self.clock.rightNow -= 3600
        self.assertIsNone(self.keyring.verified(text, HOST))
        self.refusal(self.keyring.verify(text, HOST))

    def test_lifetimes_have_a_limit(self) -> None:
        """Nothing is minted for longer than tokens may last, or for no service."""
        for audience, lifetime in ((HOST, 3661), (HOST, 0), (HOST, -1), ("", 60)):
            work = self.keyring.mint(USER, audience, NO_ACCESS, lifetime)
            self.failureResultOf(Deferred.fromCoroutine(work), ValueError)

    # --- the keys

    def test_only_the_public_half_is_published(self) -> None:
        """The set of keys, and the database, hold no private number, and the id is the key's thumbprint."""
        [public] = self.keyring.jwks()["keys"]
        self.assertEqual(public.keys(), {"kty", "n", "e", "kid", "use", "alg"})
        self.assertEqual(kid(RSAKey.import_key(json.loads(json.dumps(public)))), public["kid"])
        [row] = self.successResultOf(self.database.read(key.active, "quay"))
        self.assertEqual(row.jwk.keys(), {"kty", "n", "e"})
        self.assertEqual(row.expires_ms, (NOW + 7200) * 1000)

    def test_the_private_key_never_shows(self) -> None:
        """No repr of the keyring's values holds it."""
        assert self.keyring._signing is not None
        secret = self.keyring._signing.rsa.as_dict(private=True)["d"]
        self.assertNotIn(secret, repr(self.keyring._signing) + repr(self.keyring) + repr(vars(self.keyring)))

    def test_keys_rotate(self) -> None:
        """After 55 minutes another key signs, and the old one verifies until its tokens have expired."""
        old = self.mint()
        self.advance(55 * 60)
        new = self.mint()
        self.assertNotEqual(token.kid_of(old), token.kid_of(new))
        self.assertEqual(len(self.keyring.jwks()["keys"]), 2)
        for text in (old, new):
            self.assertEqual(self.result(self.keyring.verify(text, HOST)).principal, USER)

    def test_an_old_key_is_forgotten(self) -> None:
        """Two hours after it was made a key is in no set, and in no row."""
        old = token.kid_of(self.mint())
        self.advance(3 * 3600)
        self.assertNotIn(old, [public["kid"] for public in self.keyring.jwks()["keys"]])
        self.assertIsNone(self.successResultOf(self.database.read(key.find, old)))

    def test_every_token_ends_before_its_key(self) -> None:
        """Whenever it is minted, a token can be verified for its whole life."""
        for _ in range(12):
            self.advance(10 * 60)
            claims = self.result(self.keyring.verify(self.mint(lifetime=3660), HOST))
            self.assertEqual(claims.expires - claims.issued, 3660)

    def test_periods_must_fit(self) -> None:
        """A key that would end before its last token cannot be configured."""
        with pytest.raises(ValueError, match="ends before"):
            Keyring(self.database, ImmediatePool(), self.clock, valid_s=3600)

    def test_other_nodes_verify(self) -> None:
        """A token of one node is good on another that started before it, by one look into the database."""
        other = self.node()
        text = self.mint(other)
        reads = self.database.reads
        self.assertEqual(self.result(self.keyring.verify(text, HOST)).principal, USER)
        self.assertEqual(self.database.reads, reads + 1)
        self.assertEqual(self.result(self.keyring.verify(self.mint(other, lifetime=60), HOST)).principal, USER)
        self.assertEqual(self.database.reads, reads + 1)

    def test_a_restart_ends_no_token(self) -> None:
        """A new process verifies what its predecessor signed, without another look."""
        text = self.mint()
        self.result(self.keyring.stop())
        successor = self.node()
        reads = self.database.reads
        self.assertEqual(self.result(successor.verify(text, HOST)).principal, USER)
        self.assertEqual(self.database.reads, reads)

    def test_nothing_is_minted_after_the_end(self) -> None:
        """A stopped keyring has no key, and says that it is unavailable."""
        self.result(self.keyring.stop())
        work = self.keyring.mint(ANONYMOUS, HOST, NO_ACCESS)
        self.failureResultOf(Deferred.fromCoroutine(work), Unavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # --- revocation

    def test_a_revoked_key_is_worth_nothing_at_once(self) -> None:
        """When the transaction that removed a key has committed, its tokens are refused, remembered or not."""
        text = self.mint()
        self.result(self.keyring.verify(text, HOST))
        self.write(delete_key, token.kid_of(text))
        self.assertIsNone(self.keyring.verified(text, HOST))
        self.assertIn("revoked", self.refusal(self.keyring.verify(text, HOST)).message)

    def test_a_missed_announcement_costs_a_minute(self) -> None:
        """A key that vanished without a word is found missing at the next round, and another one signs."""
        text = self.mint()
        self.result(self.keyring.verify(text, HOST))
        self.write(delete_quietly, token.kid_of(text))
        self.advance(60)
        self.assertIsNone(self.keyring.verified(text, HOST))
        self.refusal(self.keyring.verify(text, HOST))
        self.assertNotEqual(token.kid_of(self.mint()), token.kid_of(text))

    def test_a_key_revoked_during_the_look_up_is_not_kept(self) -> None:
        """Claims read while their key is being revoked are not remembered."""
        text = self.mint(self.node())
        row = self.successResultOf(self.database.read(key.find, token.kid_of(text)))
        answer: Deferred[Any] = Deferred()
        self.patch(self.database, "read", lambda *args: answer)
        verifying = Deferred.fromCoroutine(self.keyring.verify(text, HOST))
        self.keyring.forget([("key", token.kid_of(text))])
        answer.callback(row)
        self.successResultOf(verifying)
        self.assertIsNone(self.keyring.verified(text, HOST))

    def test_what_may_have_been_missed_is_not_remembered(self) -> None:
        """After a gap a revoked key is worth nothing, the others are looked up again, and ours still signs."""
        gone, other = self.node(), self.node()
        texts = [self.mint(ring) for ring in (gone, other, self.keyring)]
        for text in texts:
            self.result(self.keyring.verify(text, HOST))
        self.write(delete_quietly, token.kid_of(texts[0]))
        self.keyring.forget_all()
        self.assertEqual([self.keyring.verified(text, HOST) for text in texts], [None] * 3)
        self.assertIn("revoked", self.refusal(self.keyring.verify(texts[0], HOST)).message)
        for text in (*texts[1:], self.mint()):
            self.result(self.keyring.verify(text, HOST))
        self.assertEqual(token.kid_of(self.mint()), token.kid_of(texts[2]))
        self.advance(60)
        self.assertEqual(token.kid_of(self.mint()), token.kid_of(texts[2]))
        self.assertEqual(len(self.keyring.jwks()["keys"]), 2)

    def test_without_trust_nothing_is_remembered(self) -> None:
        """While revocations cannot be heard, a token is verified every time, by its key in the database."""
        text = self.mint()
        self.result(self.keyring.verify(text, HOST))
        self.keyring.trusted = lambda: False
        reads = self.database.reads
        for _ in range(2):
            self.assertIsNone(self.keyring.verified(text, HOST))
            self.result(self.keyring.verify(text, HOST))
        self.assertEqual(self.database.reads, reads + 2)
        self.write(delete_quietly, token.kid_of(text))
        self.refusal(self.keyring.verify(text, HOST))

    def test_a_key_looked_up_across_a_gap_is_not_kept(self) -> None:
        """What was read before a gap is not believed after it."""
        text = self.mint(self.node())
        row = self.successResultOf(self.database.read(key.find, token.kid_of(text)))
        answer: Deferred[Any] = Deferred()
        self.patch(self.database, "read", lambda *args: answer)
        verifying = Deferred.fromCoroutine(self.keyring.verify(text, HOST))
        self.keyring.forget_all()
        answer.callback(row)
        self.successResultOf(verifying)
        self.assertIsNone(self.keyring.verified(text, HOST))

    # --- keys that are not trusted

    def signed_by(self, rsa: RSAKey, **row: Any) -> str:
        """A token signed with a key that is in the database with the given peculiarities."""
        public: Any = rsa.as_dict(private=False)
        facts = {"kid": kid(rsa), "service": "quay", "jwk": public, "expires_ms": (NOW + 7200) * 1000, "approved": True}
        facts |= row
        self.write(key.publish, *facts.values())
        return token.write(Claims(USER, ACCESS, HOST, facts["kid"], NOW, NOW + 3600), rsa, "quay", {})

    def test_a_published_key_is_trusted(self) -> None:
        """The control of the tests below."""
        self.result(self.keyring.verify(self.signed_by(generate()), HOST))

    def test_keys_of_others_are_not(self) -> None:
        """A key of another service, or one nobody approved, or expired, or under a wrong name, signs nothing here."""
        peculiarities: list[dict[str, Any]] = [
            {"service": "clair"},
            {"approved": False},
            {"expires_ms": NOW * 1000},
            {"kid": "0" * 64},
            {"jwk": {"kty": "oct", "n": "x"}},
            {"jwk": {"kty": "RSA", "n": "", "e": "AQAB"}},
            {"jwk": {}},
        ]
        for row in peculiarities:
            text = self.signed_by(generate(), **row)
            self.refusal(self.keyring.verify(text, HOST))
            self.refusal(self.node().verify(text, HOST))

    def test_an_unknown_key_is_looked_up_once(self) -> None:
        """A flood of tokens with one unknown key costs the database one read every few seconds."""
        rsa = generate()
        text = token.write(Claims(USER, ACCESS, HOST, kid(rsa), NOW, NOW + 3600), rsa, "quay", {})
        reads = self.database.reads
        for _ in range(50):
            self.assertIn("unknown", self.refusal(self.keyring.verify(text, HOST)).message)
        self.assertEqual(self.database.reads, reads + 1)
        self.clock.advance(5)
        self.refusal(self.keyring.verify(text, HOST))
        self.assertEqual(self.database.reads, reads + 2)

    def test_a_key_that_is_published_late_is_found_at_once(self) -> None:
        """The announcement of a key ends what was remembered about its absence."""
        rsa = generate()
        text = token.write(Claims(USER, ACCESS, HOST, kid(rsa), NOW, NOW + 3600), rsa, "quay", {})
        self.refusal(self.keyring.verify(text, HOST))
        self.signed_by(rsa)
        self.result(self.keyring.verify(text, HOST))

    def test_rubbish_does_not_reach_the_database(self) -> None:
        """What has not the form of a token, or a key id of the right form, is refused without a look."""
        reads = self.database.reads
        for text in ("", "a.b.c", "x" * 100_000, "." * 50):
            self.refusal(self.keyring.verify(text, HOST))
        self.assertEqual(self.database.reads, reads)

    # --- trouble

    def test_a_database_that_is_down_stops_nothing_that_is_known(self) -> None:
        """While the database is away, the old key signs on, what is known is verified, and rotation is tried again."""
        self.database.down = True
        self.advance(70 * 60)
        self.assertGreater(len(self.flushLoggedErrors(DatabaseUnavailable)), 10)
        text = self.mint()
        self.assertEqual(self.result(self.keyring.verify(text, HOST)).expires, NOW + 7200)  # with its key, no later
        self.database.down = False
        self.advance(60)
        self.assertNotEqual(token.kid_of(self.mint()), token.kid_of(text))

    def test_without_a_valid_key_nothing_is_minted(self) -> None:
        """When the last key has expired, clients are told to come back."""
        self.database.down = True
        self.advance(121 * 60)
        self.flushLoggedErrors(DatabaseUnavailable)
        work = self.keyring.mint(USER, HOST, ACCESS)
        refused = self.failureResultOf(Deferred.fromCoroutine(work), Unavailable)
        self.assertEqual(refused.value.headers["Retry-After"], "30")

    def test_a_start_without_a_database_fails(self) -> None:
        """A keyring that cannot publish its key does not start."""
        self.database.down = True
        ring = Keyring(self.database, ImmediatePool(), self.clock)
        self.failureResultOf(Deferred.fromCoroutine(ring.start()), DatabaseUnavailable)


class SqliteKeyringTests(KeyringTests, SynchronousTestCase):
    @pytest.fixture(autouse=True)
    def _url(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class PostgresKeyringTests(KeyringTests, SynchronousTestCase):
    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url


def test_a_generated_key_is_strong() -> None:
    """Keys have 2048 bits and the usual exponent."""
    numbers = module.generate().public_key.public_numbers()
    assert (numbers.n.bit_length(), numbers.e) == (2048, 65537)
