"""The Portal: who shows which credentials, on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.auth import REMEMBERED_S, Portal
from quay.auth.credentials import Credentials, of
from quay.auth.internal import LocalUsers
from quay.auth.passwords import Passwords
from quay.auth.principal import Principal
from quay.database import Database, DatabaseUnavailable, Transaction
from quay.database.engines import open_engine
from quay.database.schema import credential as credential_table
from quay.database.schema import namespace as namespace_table
from quay.model import credential, namespace, repository, second_factor
from quay.model.credential import Credential
from quay.model.permission import Role
from quay.oci.errors import RegistryError, TooManyRequests, Unauthorized
from quay.oci.reference import RepositoryName
from quay.threads import ImmediatePool

if TYPE_CHECKING:
    TestCase = SynchronousTestCase
else:
    TestCase = object  # the tests of a mixin run in the classes that mix it in

NOW = 1_800_000_000
DAY = 86400
PASSWORD = "correct horse"


class CountingPasswords(Passwords):
    """Counts the hashes, which are what a login costs."""

    verified = 0

    def verify(self, password: str, hashed: str | None) -> Deferred[bool]:
        self.verified += 1
        return super().verify(password, hashed)


class HeldPool:
    """A pool whose calls are made when the test says so."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def run(self, f: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: done.callback(f(*args, **kwargs)))
        return done


class PortalTests(TestCase):
    """What holds on every engine; `url` is set by the classes below."""

    url: str

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        self.database = Database(self.clock, engine, ImmediatePool(), ImmediatePool())
        self.passwords = CountingPasswords(ImmediatePool())
        self.portal = self.make_portal()
        hashed = self.successResultOf(self.passwords.hash(PASSWORD))
        self.user = self.write(self._seed, hashed)

    def _seed(self, txn: Transaction, hashed: str) -> namespace.Namespace:
        user = namespace.create_user(
            txn, "devtable", email="devtable@example.org", password_hash=hashed, time_machine_s=DAY
        )
        self.robot = namespace.create_robot(txn, user.id, "bot")
        credential.create(txn, self.robot.id, "robot", secret="robot secret")
        name = RepositoryName("devtable", "simple")
        self.repository = repository.create(txn, name, namespace_id=user.id, creator_id=user.id, public=False)
        return user

    def make_portal(self, passwords: Passwords | None = None, **settings: Any) -> Portal:
        users = LocalUsers(self.database, passwords or self.passwords)
        portal = Portal(self.database, users, self.clock, **settings)
        self.database.on_commit(portal.forget)
        return portal

    def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return self.successResultOf(self.database.write(work, *args, **kwargs))

    def credential(self, kind: credential.Kind, secret: str, **facts: Any) -> Credential:
        made: Credential = self.write(credential.create, self.user.id, kind, secret=secret, **facts)[0]
        return made

    def login(self, username: str, secret: str, address: str = "192.0.2.1", portal: Portal | None = None) -> Principal:
        return self.successResultOf(self.begin(of(username, secret), address, portal))

    def begin(self, shown: Credentials, address: str = "", portal: Portal | None = None) -> Deferred[Principal]:
        return Deferred.fromCoroutine((portal or self.portal).authenticate(shown, address))

    def refusal(
        self, username: str, secret: str, address: str = "192.0.2.1", portal: Portal | None = None
    ) -> RegistryError:
        failure = self.failureResultOf(self.begin(of(username, secret), address, portal), RegistryError)
        error: RegistryError = failure.value
        self.assertNotIn(secret, repr(error.body()))
        return error

    # --- each kind of credentials

    def test_a_user(self) -> None:
        """A person logs in by name or by e-mail address, and is the same principal."""
        expected = Principal("user", "devtable", self.user.id)
        self.assertEqual(self.login("devtable", PASSWORD), expected)
        self.assertEqual(self.login("devtable@example.org", PASSWORD), expected)

    def test_a_robot(self) -> None:
        """A robot logs in with its token, and has permissions of its own."""
        principal = self.login("devtable+bot", "robot secret")
        self.assertEqual((principal.kind, principal.name), ("robot", "devtable+bot"))
        self.assertEqual(principal.namespace_id, self.robot.id)

    def test_an_app_token(self) -> None:
        """An app-specific token acts as the user who made it."""
        made = self.credential("app", "app secret")
        expected = Principal("app_token", "devtable", self.user.id, credential_uuid=made.uuid)
        self.assertEqual(self.login("$app", "app secret"), expected)

    def test_an_oauth_token(self) -> None:
        """An OAuth token acts as the user who granted it, within its scopes."""
        self.credential("oauth", "oauth secret", scope="repo:read repo:write")
        principal = self.login("$oauthtoken", "oauth secret")
        self.assertEqual((principal.kind, principal.name), ("oauth_token", "devtable"))
        self.assertEqual(principal.scopes, frozenset({"repo:read", "repo:write"}))

    def test_an_access_token(self) -> None:
        """An access token has a role on one repository, and nobody's permissions."""
        self.credential("access", "access secret", repository_id=self.repository.id, role=Role.WRITE)
        principal = self.login("$token", "access secret")
        self.assertEqual((principal.kind, principal.name, principal.namespace_id), ("access_token", "$token", None))
        self.assertEqual((principal.repository_id, principal.role), (self.repository.id, Role.WRITE))

    def test_an_access_token_ends_with_its_repository(self) -> None:
        """Nobody is let in with a token for a repository that has just been deleted."""
        self.credential("access", "access secret", repository_id=self.repository.id, role=Role.WRITE)
        self.login("$token", "access secret")
        self.write(repository.delete, self.repository.id)
        self.assertIn("has been revoked", str(self.refusal("$token", "access secret")))

    def test_superusers(self) -> None:
        """A superuser is one by the database or by the configuration, as a user; an OAuth token needs the scope."""
        self.write(namespace.create_user, "admin", superuser=True, time_machine_s=DAY)
        portal = self.make_portal(superusers=["devtable"])
        self.credential("oauth", "oauth with", scope="super:user")
        self.credential("oauth", "oauth without", scope="repo:admin")
        self.assertTrue(self.login("devtable", PASSWORD, portal=portal).superuser)
        self.assertFalse(self.login("devtable", PASSWORD).superuser)
        self.assertTrue(self.login("$oauthtoken", "oauth with", portal=portal).superuser)
        self.assertFalse(self.login("$oauthtoken", "oauth without", portal=portal).superuser)
        self.assertFalse(self.login("devtable+bot", "robot secret", portal=portal).superuser)

    # --- what is refused, and how it reads

    def test_unknown_and_wrong_read_the_same(self) -> None:
        """Nobody learns from a refusal whether a user exists."""
        wrong, unknown = self.refusal("devtable", "wrong"), self.refusal("nosuch", "wrong")
        self.assertIsInstance(wrong, Unauthorized)
        self.assertEqual(wrong.message, "There is no user devtable with this password.")
        self.assertEqual(wrong.message.replace("devtable", "nosuch"), unknown.message)
        self.assertEqual((wrong.advice, wrong.facts), (unknown.advice, unknown.facts))
        self.assertEqual(self.passwords.verified, 2)

    def test_a_robot_needs_its_own_token(self) -> None:
        """Unknown robots, wrong tokens and other robots' tokens are refused alike."""
        other = self.write(namespace.create_robot, self.user.id, "other")
        self.write(credential.create, other.id, "robot", secret="other secret")
        for name, secret in (("devtable+bot", "other secret"), ("devtable+bot", "x"), ("no+bot", "robot secret")):
            error = self.refusal(name, secret)
            self.assertEqual(error.message, f"There is no robot account {name} with this token.")

    def test_secrets_of_one_kind_are_none_of_another(self) -> None:
        """A secret opens only the door of its kind."""
        self.credential("app", "app secret")
        self.credential("access", "access secret", repository_id=self.repository.id, role=Role.ADMIN)
        for name in ("$oauthtoken", "$token", "devtable+bot", "devtable"):
            self.assertIsInstance(self.refusal(name, "app secret"), Unauthorized)
        for name in ("$app", "$oauthtoken"):
            self.assertIsInstance(self.refusal(name, "access secret"), Unauthorized)
        self.assertIsInstance(self.refusal("$app", "robot secret"), Unauthorized)

    def test_the_disabled_stay_out(self) -> None:
        """A disabled user is told so once his password is right; his robots and tokens stay out with him."""
        self.credential("app", "app secret")
        self.write(namespace.set_enabled, self.user.id, False)
        self.assertEqual(self.refusal("devtable", PASSWORD).message, "devtable is disabled.")
        self.assertIn("no user", self.refusal("devtable", "wrong").message)
        self.assertEqual(self.refusal("devtable+bot", "robot secret").message, "devtable+bot is disabled.")
        self.assertEqual(self.refusal("$app", "app secret").message, "devtable is disabled.")

    def test_tokens_expire(self) -> None:
        """An app token works until its time, also when it was used a moment before."""
        self.credential("app", "app secret", expires_ms=(NOW + 10) * 1000)
        self.login("$app", "app secret")
        self.clock.advance(9.9)
        self.login("$app", "app secret")
        self.clock.advance(0.1)
        self.assertIn("expired", self.refusal("$app", "app secret").message)

    def test_passwords_may_be_forbidden(self) -> None:
        """With AUTHENTICATION_TYPE AppToken a password is refused unseen, and tokens and robots get in."""
        portal = self.make_portal(passwords_allowed=False)
        self.credential("app", "app secret")
        self.assertIn("tokens only", self.refusal("devtable", PASSWORD, portal=portal).message)
        self.assertEqual(self.passwords.verified, 0)
        self.login("$app", "app secret", portal=portal)
        self.login("devtable+bot", "robot secret", portal=portal)

    def test_app_tokens_may_be_forbidden(self) -> None:
        """With FEATURE_APP_SPECIFIC_TOKENS false even a good token is refused, and whatever else there is gets in."""
        portal = self.make_portal(app_tokens_allowed=False)
        self.credential("app", "app secret")
        self.assertIn("takes no app-specific tokens", self.refusal("$app", "app secret", portal=portal).message)
        self.login("devtable", PASSWORD, portal=portal)
        self.login("devtable+bot", "robot secret", portal=portal)

    # --- what is remembered

    def test_a_login_is_remembered_for_a_minute(self) -> None:
        """The same credentials cost one hash a minute, and other ones are never taken for them."""
        for _ in range(5):
            self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 1)
        self.refusal("devtable", PASSWORD + "2")
        self.assertEqual(self.passwords.verified, 2)
        self.clock.advance(REMEMBERED_S)
        self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 3)

    def test_a_changed_password_counts_at_once(self) -> None:
        """When a new password is committed, the old one is not remembered."""
        self.login("devtable", PASSWORD)
        hashed = self.successResultOf(self.passwords.hash("changed"))
        self.write(namespace.set_password, self.user.id, hashed)
        self.refusal("devtable", PASSWORD)
        self.login("devtable", "changed")

    def test_whoever_is_disabled_is_out_at_once(self) -> None:
        """Disabling a user ends what is remembered of him, his tokens, and his robots."""
        self.credential("app", "app secret")
        logins = [("devtable", PASSWORD), ("devtable+bot", "robot secret"), ("$app", "app secret")]
        for name, secret in logins:
            self.login(name, secret)
        self.write(namespace.set_enabled, self.user.id, False)
        for name, secret in logins:
            self.assertIn("disabled", self.refusal(name, secret).message)

    def test_a_revoked_token_is_out_at_once(self) -> None:
        """Revoking a token, and regenerating a robot's, ends what is remembered of it."""
        made = self.credential("app", "app secret")
        self.login("$app", "app secret")
        self.write(credential.revoke, self.user.id, made.uuid)
        self.refusal("$app", "app secret")
        self.login("devtable+bot", "robot secret")
        self.write(credential.replace_robot_token, self.robot.id, "new secret")
        self.refusal("devtable+bot", "robot secret")
        self.login("devtable+bot", "new secret")

    def test_other_peoples_changes_end_nothing(self) -> None:
        """A change elsewhere leaves what is remembered."""
        self.login("devtable", PASSWORD)
        self.write(namespace.create_user, "reader", time_machine_s=DAY)
        self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 1)

    def test_a_change_during_the_check_is_not_lost(self) -> None:
        """Credentials that were revoked while they were checked are not remembered."""
        pool = HeldPool()
        portal = self.make_portal(Passwords(pool))  # type: ignore[arg-type]  # a pool in all but its signature
        checking = self.begin(of("devtable", PASSWORD), portal=portal)
        self.write(namespace.set_password, self.user.id, None)
        pool.held.pop()()
        self.successResultOf(checking)
        again = self.begin(of("devtable", PASSWORD), portal=portal)
        pool.held.pop()()
        self.failureResultOf(again, Unauthorized)

    def test_what_may_have_been_missed_is_not_remembered(self) -> None:
        """After a gap everybody is checked again, also those whose check had begun before it."""
        self.login("devtable", PASSWORD)
        self.portal.forget_all()
        self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 2)
        pool = HeldPool()
        portal = self.make_portal(Passwords(pool))  # type: ignore[arg-type]  # a pool in all but its signature
        checking = self.begin(of("devtable", PASSWORD), portal=portal)
        portal.forget_all()
        pool.held.pop()()
        self.successResultOf(checking)
        self.begin(of("devtable", PASSWORD), portal=portal)
        self.assertEqual(len(pool.held), 1)

    def test_without_trust_nobody_is_remembered(self) -> None:
        """While changes cannot be heard, everybody is checked every time, and nothing is kept for later."""
        self.login("devtable", PASSWORD)
        self.portal.trusted = lambda: False
        for _ in range(2):
            self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 3)
        self.portal.forget_all()  # as it is told before it is trusted again
        self.login("devtable", PASSWORD)
        self.portal.trusted = lambda: True
        self.assertEqual(len(self.portal._admitted), 0)

    def test_the_memory_holds_no_secret(self) -> None:
        """What is remembered is named by a keyed hash: the portal holds no password."""
        self.login("devtable", PASSWORD)
        self.assertNotIn(PASSWORD, repr(list(self.portal._admitted._entries)))
        self.assertNotEqual(self.portal._fingerprint(of("a", "b")), self.make_portal()._fingerprint(of("a", "b")))

    def test_the_memory_is_bounded(self) -> None:
        """However many tokens log in, so many are remembered."""
        portal = self.make_portal(remembered=5)
        for n in range(12):
            self.credential("app", f"secret {n}")
            self.login("$app", f"secret {n}", portal=portal)
        self.assertEqual(len(portal._admitted), 5)

    # --- many at once

    def test_logins_at_the_same_time_share_one_hash(self) -> None:
        """Fifty layers pulled at once with one password cost one hash; whoever hangs up disturbs nobody."""
        pool = HeldPool()
        portal = self.make_portal(Passwords(pool))  # type: ignore[arg-type]  # a pool in all but its signature
        waiting = [self.begin(of("devtable", PASSWORD), portal=portal) for _ in range(50)]
        self.assertEqual(len(pool.held), 1)
        waiting[0].addErrback(lambda _: None).cancel()
        pool.held.pop()()
        for login in waiting[1:]:
            self.assertEqual(self.successResultOf(login).name, "devtable")

    def test_a_second_factor(self) -> None:
        """With a confirmed second factor the password alone is refused at once, with advice; a token does."""
        self.login("devtable", PASSWORD)
        self.write(self._protect)
        refused = self.refusal("devtable", PASSWORD)
        self.assertIsInstance(refused, Unauthorized)
        self.assertIn("app-specific token", refused.advice)
        self.credential("app", "app secret")
        self.assertEqual(self.login("$app", "app secret").name, "devtable")
        self.write(second_factor.remove, self.user.id)
        self.assertEqual(self.login("devtable", PASSWORD).name, "devtable")

    def _protect(self, txn: Transaction) -> None:
        second_factor.begin(txn, self.user.id, "sealed")
        found = second_factor.find(txn, self.user.id)
        assert found is not None and second_factor.confirm(txn, found, 1)

    def test_verify_says_what_is_missing(self) -> None:
        """The right password is told apart from a wrong one, and with it whether it is enough."""
        shown = of("devtable", PASSWORD)
        person = self.successResultOf(Deferred.fromCoroutine(self.portal.verify(shown, "")))
        self.assertEqual((person.user, person.second_factor), (self.user, False))
        self.write(self._protect)
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.portal.verify(shown, ""))).second_factor)

    def test_spraying_is_slow(self) -> None:
        """Two hundred wrong passwords from one address, each for another account, are enough for a while."""
        for number in range(200):
            self.assertIsInstance(self.refusal(f"user{number}", "wrong"), Unauthorized)
        refused = self.refusal("devtable", PASSWORD)
        self.assertIsInstance(refused, TooManyRequests)
        self.assertIn("from this address", refused.message)
        self.assertEqual(self.login("devtable", PASSWORD, "192.0.2.2").name, "devtable")
        self.clock.advance(1)
        self.assertEqual(self.login("devtable", PASSWORD).name, "devtable")

    def test_guessing_is_slow(self) -> None:
        """After ten wrong passwords from one address even the right one has to wait, and only there."""
        self.login("devtable", PASSWORD)  # remembered, which must not help to guess
        for n in range(10):
            self.assertIsInstance(self.refusal("devtable", f"guess {n}"), Unauthorized)
        hashes = self.passwords.verified
        refused = self.refusal("DevTable", PASSWORD)
        self.assertIsInstance(refused, TooManyRequests)
        self.assertIsInstance(self.refusal("devtable", PASSWORD), TooManyRequests)
        self.assertEqual(refused.headers["Retry-After"], "6")
        self.assertEqual(self.passwords.verified, hashes)
        self.login("devtable", PASSWORD, address="192.0.2.2")
        self.clock.advance(6)
        self.login("devtable", PASSWORD)

    def test_guesses_at_once_are_counted(self) -> None:
        """A hundred guesses at the same time are ten."""
        pool = HeldPool()
        portal = self.make_portal(Passwords(pool))  # type: ignore[arg-type]  # a pool in all but its signature
        guesses = [self.begin(of("devtable", f"guess {n}"), "192.0.2.1", portal) for n in range(100)]
        self.assertEqual(len(pool.held), 10)
        for guess in guesses[10:]:
            self.failureResultOf(guess, TooManyRequests)
        for held in pool.held:
            held()
        for guess in guesses[:10]:
            self.failureResultOf(guess, Unauthorized)

    def test_machines_are_not_throttled(self) -> None:
        """A token that cannot be guessed is refused for what it is, however often it is shown."""
        for n in range(30):
            self.assertIsInstance(self.refusal("devtable+bot", f"wrong secret {n}"), Unauthorized)
        self.login("devtable+bot", "robot secret")

    def test_a_database_that_is_down_costs_no_attempt(self) -> None:
        """Trouble of ours is not counted as a wrong password."""

        async def down(*args: object) -> None:
            raise DatabaseUnavailable

        real = self.database.read
        self.patch(self.database, "read", down)
        for _ in range(30):
            self.failureResultOf(self.begin(of("devtable", PASSWORD)), DatabaseUnavailable)
        self.patch(self.database, "read", real)
        self.login("devtable", PASSWORD, address="")

    # --- use

    def test_use_is_recorded(self) -> None:
        """Which tokens were used is written down when asked for, once."""
        made = self.credential("app", "app secret")
        self.login("$app", "app secret")
        self.clock.advance(5)
        self.successResultOf(Deferred.fromCoroutine(self.portal.record_use()))
        self.clock.advance(5)
        self.successResultOf(Deferred.fromCoroutine(self.portal.record_use()))

        def last_used(txn: Transaction) -> object:
            column = credential_table.c.last_used_ms
            return txn.execute(credential_table.select().where(credential_table.c.id == made.id)).one()._mapping[column]

        self.assertEqual(self.successResultOf(self.database.read(last_used)), (NOW + 5) * 1000)

    def test_use_is_recorded_when_the_database_is_back(self) -> None:
        """What could not be written down is the next time, however much that is by then."""
        with patch.object(self.database, "write", lambda *_: fail(DatabaseUnavailable())):
            self.login("devtable+bot", "robot secret")
            recorded = Deferred.fromCoroutine(self.portal.record_use())
            self.failureResultOf(recorded, DatabaseUnavailable)
        self.portal._seen |= set(range(10**6, 10**6 + 70_000))
        self.portal._used |= set(range(10**6, 10**6 + 70_000))
        self.assertEqual(self.last_access(self.portal), {"devtable": None, "devtable+bot": NOW * 1000})

    def last_access(self, portal: Portal) -> dict[str, object]:
        """When everybody was here, after `portal` has written it down."""
        self.successResultOf(Deferred.fromCoroutine(portal.record_use()))

        def work(txn: Transaction) -> dict[str, object]:
            columns = sa.select(namespace_table.c.name, namespace_table.c.last_accessed_ms)
            return {row.name: row.last_accessed_ms for row in txn.execute(columns)}

        seen: dict[str, object] = self.successResultOf(self.database.read(work))
        return seen

    def test_who_was_here_is_recorded(self) -> None:
        """The time of the last access is that of whoever got in, user or robot, and of nobody else."""
        self.refusal("devtable", "wrong")
        self.assertEqual(self.last_access(self.portal), {"devtable": None, "devtable+bot": None})
        self.login("devtable+bot", "robot secret")
        self.assertEqual(self.last_access(self.portal), {"devtable": None, "devtable+bot": NOW * 1000})
        self.clock.advance(5)
        self.login("devtable", PASSWORD)
        self.assertEqual(self.last_access(self.portal), {"devtable": (NOW + 5) * 1000, "devtable+bot": NOW * 1000})

    def test_to_be_here_is_no_change(self) -> None:
        """Writing down who was here ends nothing that is remembered."""
        self.login("devtable", PASSWORD)
        self.last_access(self.portal)
        self.login("devtable", PASSWORD)
        self.assertEqual(self.passwords.verified, 1)

    def test_who_was_here_may_be_nobodys_business(self) -> None:
        """With FEATURE_USER_LAST_ACCESSED false nobody's access is recorded, and a token's use still is."""
        portal = self.make_portal(last_access=False)
        self.login("devtable", PASSWORD, portal=portal)
        self.login("devtable+bot", "robot secret", portal=portal)
        self.assertEqual(self.last_access(portal), {"devtable": None, "devtable+bot": None})


class SqlitePortalTests(PortalTests, SynchronousTestCase):
    @pytest.fixture(autouse=True)
    def _url(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class PostgresPortalTests(PortalTests, SynchronousTestCase):
    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url
