"""The outbound client against real sockets on the loopback: what it calls, what it refuses, and what it survives."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as running
from twisted.internet import ssl
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from quay.egress import AT_ONCE, Answer, Egress, EgressFailed, EgressRefused, Policy

reactor: Any = running
LOOPBACK = Policy(networks=(ipaddress.ip_network("127.0.0.1/32"),))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nok"


class Names:
    """A resolver; each name gives its lists of addresses one after the other, and the last one for ever."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, **_: object) -> None:
        self.asked.append(name)
        answers = self.names.get(name, [[]])
        for address in answers.pop(0) if len(answers) > 1 else answers[0]:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


class Silence:
    """A resolver that never finds anything out."""

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, **_: object) -> None:
        receiver.resolutionBegan(None)


class Peer(Protocol):
    """A server that answers what it has received, as a test says, whenever its head is complete."""

    def __init__(self, answer: Callable[[Peer], object]) -> None:
        self.answer = answer
        self.transport: Any = None
        self.received = b""
        self.clean = False
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        before = b"\r\n\r\n" in self.received
        self.received += data
        if not before and b"\r\n\r\n" in self.received:
            answered = self.answer(self)
            if isinstance(answered, bytes):
                self.transport.write(answered)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.clean = reason.check(ConnectionDone) is not None
        self.lost.callback(None)


def certificate(name: str) -> Any:
    """A self-signed certificate for `name` with its key, as one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ssl.PrivateCertificate.loadPEM(private + made.public_bytes(serialization.Encoding.PEM))


class EgressCase(TestCase):
    """A peer on the loopback, and names that lead to it."""

    timeout = 20

    def setUp(self) -> None:
        self.peers: list[Peer] = []
        self.answer: Callable[[Peer], object] = lambda peer: OK

        def build(_: object) -> Peer:
            self.peers.append(Peer(lambda peer: self.answer(peer)))
            return self.peers[-1]

        self.factory = Factory()
        self.factory.noisy = False
        self.factory.buildProtocol = build  # type: ignore[method-assign, assignment]
        self.port = self.listen()
        self.names = Names(hooks_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]], evil_example=[["10.1.2.3"]])
        self.egress = self.client()

    def listen(self, context: Any = None) -> int:
        listening = (
            reactor.listenTCP(0, self.factory, interface="127.0.0.1")
            if context is None
            else reactor.listenSSL(0, self.factory, context, interface="127.0.0.1")
        )
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port

    def client(self, policy: Policy = LOOPBACK, **options: Any) -> Egress:
        return Egress(reactor, policy, **{"resolver": self.names} | options)

    def url(self, path: str = "/", host: str = "hooks.example") -> str:
        return f"http://{host}:{self.port}{path}"

    async def gone(self) -> None:
        """Every connection is closed: nothing is left behind."""
        await DeferredList([peer.lost for peer in self.peers])

    async def assert_fails(self, kind: type[Exception], asking: Any) -> str:
        try:
            answer = await asking
        except kind as error:
            await self.gone()
            return str(error)
        raise AssertionError(f"this was answered: {answer}")


class RequestTests(EgressCase):
    async def test_get(self) -> None:
        """A request goes to the address of the name, says whom it means, and brings status, headers and body."""
        answer = await self.egress.request("GET", self.url("/a?b=c"), headers={"Accept": "text/plain"})
        assert (answer.status, answer.body, answer.complete, answer.succeeded) == (200, b"ok", True, True)
        assert answer.headers["content-type"] == "text/plain"
        head = self.peers[0].received.decode()
        assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
        assert f"Host: hooks.example:{self.port}\r\n" in head
        assert "Accept: text/plain\r\n" in head
        assert "User-Agent: quay-on-one-reactor/" in head
        await self.gone()

    async def test_post(self) -> None:
        """A body is sent as it is, with its length."""

        def whole(peer: Peer) -> object:
            assert b"Content-Length: 7\r\n" in peer.received
            return OK

        self.answer = whole
        answer = await self.egress.request("POST", self.url(), body=b'{"a":1}', limit=0)
        assert (answer.status, answer.body) == (200, b"")
        assert self.peers[0].received.endswith(b'\r\n\r\n{"a":1}')
        await self.gone()

    async def test_header_injection(self) -> None:
        """A header with a line break is not sent."""
        await self.assert_fails(EgressRefused, self.egress.request("GET", self.url(), headers={"A": "b\r\nC: d"}))
        await self.assert_fails(EgressRefused, self.egress.request("GET", self.url(), headers={"A\r\nC": "d"}))
        assert self.peers == []

    async def test_repr(self) -> None:
        """What an answer holds is not shown where it is printed."""
        assert "s3cr3t" not in repr(Answer(200, {"set-cookie": "s3cr3t"}, b"s3cr3t"))


class PolicyTests(EgressCase):
    async def test_private(self) -> None:
        """A name that leads into a private network is not called, and the refusal says what an administrator can do."""
        said = await self.assert_fails(EgressRefused, self.egress.request("GET", "http://evil.example/"))
        assert "evil.example" in said
        assert "EGRESS_NETWORKS" in said
        assert "10.1.2.3" not in said  # a user does not learn the addresses of the internal network

    async def test_loopback_is_closed(self) -> None:
        """By default nothing on this machine is called, under whatever name."""
        closed = self.client(Policy())
        for url in (self.url(), self.url(host="127.0.0.1"), self.url(host="[::ffff:127.0.0.1]")):
            await self.assert_fails(EgressRefused, closed.request("GET", url))
        assert self.peers == []

    async def test_rebinding(self) -> None:
        """A name is looked up once, and what was checked is what is called: an answer that flips gains nothing."""
        self.names.names["flip.example"] = [["127.0.0.1"], ["10.1.2.3"]]
        answer = await self.egress.request("GET", self.url(host="flip.example"))
        assert answer.status == 200
        assert self.names.asked == ["flip.example"]
        await self.assert_fails(EgressRefused, self.egress.request("GET", self.url(host="flip.example")))
        assert len(self.peers) == 1

    async def test_some_addresses(self) -> None:
        """Of several addresses only those that are open are called."""
        self.names.names["mixed.example"] = [["10.1.2.3", "::1", "127.0.0.1"]]
        assert (await self.egress.request("GET", self.url(host="mixed.example"))).status == 200

    async def test_next_address(self) -> None:
        """If nobody listens at one address, the next one is tried."""
        both = Policy(networks=(ipaddress.ip_network("127.0.0.0/8"),))
        self.names.names["two.example"] = [["127.0.0.9", "127.0.0.1"]]
        assert (await self.client(both).request("GET", self.url(host="two.example"))).status == 200

    async def test_oneself(self) -> None:
        """The registry does not call its own port, also where the loopback is open."""
        careful = self.client(Policy(networks=LOOPBACK.networks, own_ports=frozenset({self.port})))
        said = await self.assert_fails(EgressRefused, careful.request("GET", self.url()))
        assert "itself" in said
        assert self.peers[0].received == b""

    async def test_unknown_name(self) -> None:
        """A name without an address is a failure, not a refusal."""
        said = await self.assert_fails(EgressFailed, self.egress.request("GET", "http://nowhere.example/"))
        assert "nowhere.example" in said

    async def test_nobody_listens(self) -> None:
        """A connection that cannot be made is a failure."""
        await self.assert_fails(EgressFailed, self.egress.request("GET", "http://hooks.example:1/"))


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class RedirectTests(EgressCase):
    def redirecting(self, location: str) -> Callable[[Peer], object]:
        """Redirect the path /start to `location`."""
        return lambda peer: redirect(location) if b" /start " in peer.received else OK

    async def test_not_followed(self) -> None:
        """A redirect is the answer, unless redirects are asked for; for a POST it always is."""
        self.answer = self.redirecting("/end")
        assert (await self.egress.request("GET", self.url("/start"))).status == 302
        assert (await self.egress.request("POST", self.url("/start"), body=b"x", redirects=3)).status == 302
        assert len(self.peers) == 2
        await self.gone()

    async def test_followed(self) -> None:
        """A redirect within the policy is followed."""
        self.answer = self.redirecting("/end")
        assert (await self.egress.request("GET", self.url("/start"), redirects=1)).body == b"ok"
        await self.gone()

    async def test_judged(self) -> None:
        """Each redirect is judged like a first call."""
        for location in ("http://evil.example/", "http://[::1]/", "http://0x7f.1/", "file:///etc/passwd"):
            self.answer = self.redirecting(location)
            await self.assert_fails(EgressRefused, self.egress.request("GET", self.url("/start"), redirects=3))
        assert len(self.peers) == 4

    async def test_endless(self) -> None:
        """A circle of redirects ends."""
        self.answer = lambda peer: redirect("/again")
        await self.assert_fails(EgressFailed, self.egress.request("GET", self.url(), redirects=3))
        assert len(self.peers) == 4

    async def test_credentials_stay(self) -> None:
        """What authorizes for one host is not shown to another, but goes along within the host."""
        for location, kept in ((self.url("/end", "other.example"), False), ("/end", True)):
            self.answer = self.redirecting(location)
            self.peers.clear()
            headers = {"Authorization": "Bearer s3cr3t", "Cookie": "s3cr3t", "Accept": "text/plain"}
            await self.egress.request("GET", self.url("/start"), headers=headers, redirects=1)
            assert (b"s3cr3t" in self.peers[1].received) is kept
            assert b"Accept: text/plain" in self.peers[1].received


class HostileTests(EgressCase):
    """The other side does what it can to keep us busy."""

    async def test_long_body(self) -> None:
        """Of a long body only the beginning is read, and the connection is cut."""
        self.answer = lambda peer: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 5000
        answer = await self.egress.request("GET", self.url(), limit=1000)
        assert (answer.body, answer.complete) == (b"x" * 1000, False)
        await self.gone()

    async def test_body_of_the_limit(self) -> None:
        """A body that is exactly as long as the limit is complete."""
        self.answer = lambda peer: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        answer = await self.egress.request("GET", self.url(), limit=1000)
        assert (len(answer.body), answer.complete) == (1000, True)

    async def test_never_closes(self) -> None:
        """Where only the status counts, a body that never ends is not waited for."""
        self.answer = lambda peer: b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await self.egress.request("POST", self.url(), body=b"x", limit=0)).status == 204
        self.answer = lambda peer: b"HTTP/1.1 200 OK\r\n\r\nx"
        assert (await self.egress.request("POST", self.url(), body=b"x", limit=0)).status == 200
        await self.gone()

    async def test_polite(self) -> None:
        """A short body that nobody reads is let end, so that the other side sees no connection cut."""

        def ends(peer: Peer) -> bytes:
            reactor.callLater(0.05, peer.transport.write, b"ok")
            return OK.removesuffix(b"ok")

        self.answer = ends
        assert (await self.egress.request("POST", self.url(), body=b"x", limit=0)).body == b""
        await self.gone()
        assert self.peers[0].clean

    async def test_closes_early(self) -> None:
        """A body that ends before its length is a failure; one without a length ends with its connection."""
        for head, whole in ((b"Content-Length: 10\r\n", False), (b"", True)):

            def half(peer: Peer, head: bytes = head) -> None:
                peer.transport.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nhalf")
                peer.transport.loseConnection()

            self.answer = half
            if whole:
                assert (await self.egress.request("GET", self.url())).body == b"half"
            else:
                await self.assert_fails(EgressFailed, self.egress.request("GET", self.url()))

    async def test_packed(self) -> None:
        """Nothing is unpacked, so a bomb is as small as it came; and nothing packed is asked for."""
        self.answer = lambda peer: (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        )
        assert (await self.egress.request("GET", self.url())).body == b"abc"
        assert b"gzip" not in self.peers[0].received

    async def test_endless_head(self) -> None:
        """A head without an end is cut off."""

        def pour(peer: Peer) -> None:
            peer.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 20_000)

        self.answer = pour
        await self.assert_fails(EgressFailed, self.egress.request("GET", self.url()))

    async def test_no_http(self) -> None:
        """An answer that is no HTTP is a failure."""
        for nonsense in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\0\1\2\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"):
            self.answer = lambda peer, nonsense=nonsense: nonsense
            await self.assert_fails(EgressFailed, self.egress.request("GET", self.url(), timeout_s=1))

    async def test_slow(self) -> None:
        """Time is limited as a whole: for a name, for a head, and for a body that drips."""
        self.answer = lambda peer: None
        said = await self.assert_fails(EgressFailed, self.egress.request("GET", self.url(), timeout_s=0.1))
        assert "did not answer" in said
        self.answer = lambda peer: b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"
        said = await self.assert_fails(EgressFailed, self.egress.request("GET", self.url(), timeout_s=0.1))
        assert "did not answer" in said
        asking = self.client(resolver=Silence()).request("GET", self.url(), timeout_s=0.1)
        assert "did not answer" in await self.assert_fails(EgressFailed, asking)

    async def test_does_not_take(self) -> None:
        """A receiver that answers before it has taken what it is sent does not keep the connection open."""

        def early(peer: Peer) -> bytes:
            peer.transport.pauseProducing()
            return OK.replace(b"Connection: close\r\n", b"")

        self.answer = early
        assert (await self.egress.request("POST", self.url(), body=b"x" * 50_000_000)).status == 200
        (peer,) = self.peers
        reactor.callLater(1.5, peer.transport.resumeProducing)
        await self.gone()
        assert not peer.clean

    async def test_cancelled(self) -> None:
        """Whoever does not want to wait any more gets no answer, and no connection stays."""
        asked: Deferred[None] = Deferred()
        self.answer = lambda peer: asked.callback(None)
        asking = Deferred.fromCoroutine(self.egress.request("GET", self.url()))
        await asked
        asking.cancel()
        await self.assert_fails(CancelledError, asking)

    async def test_many_at_once(self) -> None:
        """Only so many calls are under way at once; the others wait for their turn, and get it."""
        enough: Deferred[None] = Deferred()

        def count(peer: Peer) -> None:
            if len(self.peers) == AT_ONCE and not enough.called:
                enough.callback(None)

        self.answer = count
        asking = [Deferred.fromCoroutine(self.egress.request("GET", self.url())) for _ in range(AT_ONCE + 5)]
        await enough
        assert len(self.peers) == AT_ONCE
        self.answer = lambda peer: OK
        for peer in self.peers[:]:
            peer.transport.write(OK)
        answers = await DeferredList(asking)
        assert [answer.status for _, answer in answers] == [200] * (AT_ONCE + 5)  # type: ignore[union-attr]


class TLSTests(EgressCase):
    def serve(self, name: str) -> Any:
        """A TLS server whose certificate is for `name`; gives what trusts it."""
        made = certificate(name)
        self.port = self.listen(made.options())
        return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(made.dumpPEM())])

    def url(self, path: str = "/", host: str = "hooks.example") -> str:
        return super().url(path, host).replace("http://", "https://")

    async def test_name_is_verified(self) -> None:
        """The certificate is verified against the name that was asked for, though the connection goes to an address."""
        client = self.client(trust=self.serve("hooks.example"))
        assert (await client.request("GET", self.url())).body == b"ok"
        await self.gone()
        said = await self.assert_fails(EgressFailed, client.request("GET", self.url(host="other.example")))
        assert "certificate" in said
        said = await self.assert_fails(EgressFailed, client.request("GET", self.url(host="127.0.0.1")))
        assert "certificate" in said

    async def test_unknown_issuer(self) -> None:
        """A certificate of nobody we know is not believed."""
        self.serve("hooks.example")
        said = await self.assert_fails(EgressFailed, self.egress.request("GET", self.url()))
        assert "EGRESS_CA" in said

    async def test_long_body(self) -> None:
        """A TLS connection is cut as well, without waiting for the other side."""
        client = self.client(trust=self.serve("hooks.example"))
        self.answer = lambda peer: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 5000
        assert not (await client.request("GET", self.url(), limit=1000)).complete
        await self.gone()

    async def test_no_tls(self) -> None:
        """A server that does not speak TLS is a failure."""
        await self.assert_fails(EgressFailed, self.egress.request("GET", self.url(), timeout_s=1))
