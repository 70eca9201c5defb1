"""Several nodes on one real Redis: who hears what before whom, and what happens when Redis is not there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, DeferredList
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import TestCase

from quay.coordination import CoordinatorUnavailable
from quay.coordination.redis import RedisCoordinator
from quay.coordination.session import RedisAddress, Session
from tests.redis_server import RedisServer


async def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `condition` is true; real servers take real time."""
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it did not happen"
        await deferLater(reactor, 0.01)


class NodesCase(TestCase):
    """A Redis of each test's own, and two nodes that are connected to it, and as patient as a busy machine needs."""

    patience = 20.0

    async def setUp(self) -> None:
        self.server = RedisServer()
        self.server.start()
        self.addCleanup(self.server.close)
        self.gaps: list[RedisCoordinator] = []
        self.a, self.b = [await self.started() for _ in range(2)]
        self.gaps.clear()

    def node(self, address: RedisAddress | None = None) -> RedisCoordinator:
        node = RedisCoordinator(reactor, address or self.server.address, patience=self.patience)
        node.on_gap(lambda: self.gaps.append(node))
        self.addCleanup(node.stopService)
        return node

    async def started(self, address: RedisAddress | None = None) -> RedisCoordinator:
        node = self.node(address)
        await node.start()
        node._unsettled_until = 0.0  # as if the time were over in which every announcement takes as long as it may
        return node

    async def operator(self, script: str, *args: object) -> Any:
        """What `script` returns to somebody who looks at Redis from outside."""
        session = Session(reactor, self.server.address, self.server.address.endpoint(reactor), lambda _: None)
        await session.open(["operator"], lambda *_: None, 10)
        try:
            return await session.evaluate(script, [], list(args), 10)
        finally:
            await session.close()


class AnnouncementTests(NodesCase):
    async def test_heard_before_it_fires(self) -> None:
        """An announcement fires only after the listeners on every other node have run."""
        told: list[str] = []
        self.b.subscribe("tags", lambda message: told.append(f"b heard {message.decode()}"))
        for number in range(20):
            await self.a.announce("tags", b"%d" % number)
            told.append(f"a goes on {number}")
        assert told == [line for number in range(20) for line in (f"b heard {number}", f"a goes on {number}")]

    async def test_heard_once(self) -> None:
        """Every node hears an announcement once, the announcing one included, with every byte of it."""
        heard: list[bytes] = []
        third = await self.started(self.server.unix_address)
        for node in (self.a, self.b, third):
            node.subscribe("a channel", heard.append)
        message = bytes(range(256)) + b"\r\n0042"
        await third.announce("a channel", message)
        assert heard == [message] * 3

    async def test_many_at_once(self) -> None:
        """Hundreds of announcements under way at once are each heard, in their order."""
        heard: list[int] = []
        self.b.subscribe("tags", lambda message: heard.append(int(message)))
        await DeferredList([self.a.announce("tags", b"%d" % number) for number in range(300)])
        assert heard == list(range(300))

    async def test_failing_listener_acknowledges(self) -> None:
        """A node whose listener failed does not keep the announcing node waiting."""
        self.b.subscribe("tags", lambda _: 1 // 0)
        receipts: list[str] = []
        take, self.a._take_receipt = (
            self.a._take_receipt,
            lambda receipt: (receipts.append(receipt.node), take(receipt)),
        )
        await self.a.announce("tags", b"x")
        assert receipts == [self.b._node]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_cancelled(self) -> None:
        """Whoever does not wait for an announcement any more does not keep it from being heard."""
        heard: list[bytes] = []
        self.b.subscribe("tags", heard.append)
        announced = self.a.announce("tags", b"x")
        announced.cancel()
        await self.assertFailure(announced, CancelledError)
        await eventually(lambda: heard == [b"x"])
        assert self.a._receipts == {}

    async def test_other_prefix(self) -> None:
        """Installations that share a Redis do not hear each other, nor share leases."""
        other = RedisCoordinator(reactor, self.server.address, prefix="other:")
        await other.start()
        self.addCleanup(other.stopService)
        heard: list[bytes] = []
        self.a.subscribe("tags", heard.append)
        await other.announce("tags", b"x")
        assert await other.lease("gc", 10) is not None
        assert await self.a.lease("gc", 10) is not None
        assert heard == []

    async def test_unreadable(self) -> None:
        """What a node cannot read it takes for a gap, because it may have been a change."""
        for rubbish in (b"", b"\xff\xfe", b"a b", b"node x tags\n"):
            self.gaps.clear()
            await self.operator("redis.call('PUBLISH', 'quay:announcements', ARGV[1])", rubbish)
            await eventually(lambda: {self.a, self.b} <= set(self.gaps))
        assert self.a.connected
        self.flushLoggedErrors()

    async def test_channel_of_two_lines(self) -> None:
        """A channel whose name is not one line is refused before anything is sent."""
        self.assertRaises(ValueError, self.a.announce, "tags\nmore", b"x")


class ComingAndGoingTests(NodesCase):
    async def test_stranger(self) -> None:
        """Somebody who merely looks on, and is no node, is not waited for."""
        session = Session(reactor, self.server.address, self.server.address.endpoint(reactor), lambda _: None)
        await session.open(["quay:announcements"], lambda *_: None, 10)
        self.addCleanup(session.close)
        announced = self.a.announce("tags", b"x")
        waiting = self.a._receipts[self.a._number]
        await announced
        assert not waiting.missing

    async def test_take_leave(self) -> None:
        """A node that stops is no longer waited for, and causes no gap."""
        await self.b.stop()
        self.gaps.clear()
        assert await self.operator("return redis.call('ZRANGE', 'quay:nodes', 0, -1)") == [self.a._node.encode()]
        assert not self.b.connected
        await self.a.announce("tags", b"x")
        assert self.gaps == []

    async def test_owed_gap(self) -> None:
        """What could not be announced is made up for: everybody drops what they hold when the node is back."""
        late = self.node()
        await late.announce("tags", b"x")
        assert self.b not in self.gaps
        await late.start()
        await eventually(lambda: {self.a, self.b, late} <= set(self.gaps))

    async def test_subscription_cut(self) -> None:
        """A node whose subscription alone is cut drops what it holds at once and connects anew; the others go on."""
        session = self.a._session
        listening = session._listening
        assert listening is not None
        trusted: list[bool] = []
        self.a.on_gap(lambda: trusted.append(self.a.connected))
        listening.transport.abortConnection()
        await eventually(lambda: trusted)
        assert not trusted[0]
        await eventually(lambda: self.a.connected)
        assert self.a._session is not session
        assert self.b not in self.gaps


class PatienceTests(NodesCase):
    patience = 0.4

    async def test_silent_node(self) -> None:
        """A node that is listed and says nothing is waited for, as long as it may trust itself and no longer."""
        await self.operator("redis.call('ZADD', 'quay:nodes', 1e15, 'silent')")
        began = reactor.seconds()
        await self.a.announce("tags", b"x")
        assert reactor.seconds() - began >= self.patience * 0.99

    async def test_vanished_node(self) -> None:
        """When a node has vanished without taking leave, the others drop what they hold: it may have changed things."""
        await self.operator("redis.call('ZADD', 'quay:nodes', 1, 'vanished')")
        await eventually(lambda: {self.a, self.b} <= set(self.gaps))


class OutageTests(NodesCase):
    patience = 0.4

    async def test_killed_and_restarted(self) -> None:
        """When Redis dies every node knows at once, and each is connected again soon after Redis is."""
        self.server.kill()
        await eventually(lambda: {self.a, self.b} <= set(self.gaps))
        assert not self.a.connected
        assert not self.b.connected
        self.gaps.clear()
        self.server.start()
        await eventually(lambda: self.a.connected and self.b.connected)
        assert {self.a, self.b} <= set(self.gaps)  # what was learned meanwhile is dropped, too
        heard: list[bytes] = []
        self.b.subscribe("tags", heard.append)
        await self.a.announce("tags", b"again")
        await eventually(lambda: heard == [b"again"])

    async def test_trusted_when_all_have_found_it(self) -> None:
        """After an outage no node trusts itself before the others, too, must have found Redis again."""
        self.server.kill()
        await eventually(lambda: self.a._away and self.b._away)
        self.server.start()
        await eventually(lambda: self.a._session is not None)
        assert not self.a.connected
        await eventually(lambda: self.a.connected)
        assert self.b._session is not None

    async def test_frozen(self) -> None:
        """A Redis that stays connected and says nothing is not trusted, then given up; thawed, it is used again."""
        self.server.freeze()
        await eventually(lambda: not self.a.connected and not self.b.connected)
        await self.a.announce("tags", b"nobody hears this")
        await eventually(lambda: {self.a, self.b} <= set(self.gaps))
        self.server.thaw()
        await eventually(lambda: self.a.connected and self.b.connected)

    async def test_announce_without_redis(self) -> None:
        """What was committed is not undone: without Redis an announcement tells this node, and fires."""
        self.server.kill()
        await eventually(lambda: not self.a.connected)
        heard: list[bytes] = []
        self.a.subscribe("tags", heard.append)
        for _ in range(2):
            await self.a.announce("tags", b"x")
        assert heard == [b"x", b"x"]

    async def test_lease_without_redis(self) -> None:
        """Without Redis nobody gets a lease, and whoever asks is told why; one that is held can be let go."""
        lease = await self.a.lease("gc", 10)
        self.server.kill()
        await eventually(lambda: not self.a.connected)
        refused = await self.assertFailure(self.a.lease("gc", 10), CoordinatorUnavailable)
        assert "no connection to Redis at redis://127.0.0.1" in str(refused)
        await self.assertFailure(lease.extend(10), CoordinatorUnavailable)
        await lease.release()

    async def test_start_without_redis(self) -> None:
        """Whoever starts a node without a Redis is told where it was looked for."""
        self.server.stop()
        for address in (self.server.address, self.server.unix_address):
            with self.assertRaises(CoordinatorUnavailable) as refused:
                await self.node(address).start()
            assert str(address) in str(refused.exception)

    async def test_start_before_redis(self) -> None:
        """A node that is started before Redis is connects when it can."""
        self.server.stop()
        node = self.node()
        node.startService()
        await deferLater(reactor, 0.1)
        assert not node.connected
        self.server.start()
        await eventually(lambda: node.connected)

    async def test_wrong_password(self) -> None:
        """A wrong password is said in a sentence that does not contain it."""
        wrong = RedisAddress("127.0.0.1", self.server.port, password="hunter2")
        with self.assertRaises(CoordinatorUnavailable) as refused:
            await self.node(wrong).start()
        assert "WRONGPASS" in str(refused.exception)
        assert "hunter2" not in str(refused.exception)

    async def test_stop_while_connecting(self) -> None:
        """A node can be stopped while it waits for a Redis that says nothing."""
        self.server.freeze()
        node = self.node()
        node.startService()
        await deferLater(reactor, 0.05)
        await node.stop()
        assert not node.connected


class ExactnessTests(NodesCase):
    patience = 0.4

    async def test_exact(self) -> None:
        """Whatever happens to connections: once a change is announced, no node that is connected has the old value."""
        held = {self.a: 0, self.b: 0}
        for node in held:
            node.subscribe("value", lambda _, node=node: held.pop(node, None))
            node.on_gap(lambda node=node: held.pop(node, None))
        for truth in range(60):
            if truth % 10 == 0:
                victim = (self.a, self.b)[truth // 10 % 2]
                victim._session._listening.transport.abortConnection()
            await self.b.announce("value", b"") if truth % 2 else await self.a.announce("value", b"")
            for node in (self.a, self.b):
                assert not node.connected or held.get(node, truth) == truth
                held[node] = truth
            await eventually(lambda: self.a.connected and self.b.connected)

    async def test_trust_ends(self) -> None:
        """A node that could not prove for a while that it listens does not trust itself, whoever sets its clock."""
        now = 100.0
        node = RedisCoordinator(reactor, self.server.address, patience=20.0, elapsed=lambda: now)
        await node.start()
        self.addCleanup(node.stopService)
        assert node.connected
        now += 17.9
        assert node.connected
        now += 0.2
        assert not node.connected


class TLSTests(NodesCase):
    """A proxy that speaks TLS stands before Redis."""

    patience = 1.0

    async def setUp(self) -> None:
        await super().setUp()
        self.certificate = self_signed("redis.test")
        proxy = ProxyFactory("127.0.0.1", self.server.port)
        self.port = reactor.listenSSL(0, proxy, self.certificate.options(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def tls(self, host: str, ca: bytes) -> RedisAddress:
        """Where the proxy is, if it is taken for `host`."""
        number = self.port.getHost().port
        return RedisAddress(host, number, password=self.server.password, tls=True, ca=ca)

    async def test_verified(self) -> None:
        """With TLS everything is as without it, an outage included."""
        node = await self.started(self.tls("localhost", self.certificate.dumpPEM()))
        heard: list[bytes] = []
        node.subscribe("tags", heard.append)
        await self.a.announce("tags", b"x")
        await eventually(lambda: heard == [b"x"])
        self.server.kill()
        await eventually(lambda: not node.connected)
        self.server.start()
        await eventually(lambda: node.connected)

    async def test_not_verified(self) -> None:
        """A Redis whose certificate is not trusted, or names another host, does not get the password."""
        stranger = self_signed("localhost").dumpPEM()
        for address in (self.tls("localhost", stranger), self.tls("127.0.0.1", self.certificate.dumpPEM())):
            with self.assertRaises(CoordinatorUnavailable) as refused:
                await self.node(address).start()
            assert "rediss://" in str(refused.exception)


def self_signed(name: str) -> PrivateCertificate:
    """A certificate of `name`, valid for the host `localhost`, that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateCertificate.loadPEM(private + certificate.public_bytes(Encoding.PEM))
