"""Answers, errors and addresses, through the real channel without a socket."""

import contextlib
import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.errors import ManifestUnknown, Unauthorized, Unavailable
from quay.web.addresses import is_host
from quay.web.factory import RegistrySite
from quay.web.respond import (
    Addresses,
    client_address,
    request_id,
    run_handler,
    send_empty,
    send_json,
)


class DatabaseBusy(Exception):
    pass


class DatabaseLocked(DatabaseBusy):
    pass


def busy(problem):
    return Unavailable("The database is busy.", headers={"Retry-After": "2"})


class Handled(Resource):
    """Runs `handler` for every request."""

    isLeaf = True
    handler = None

    def render(self, request):
        self.request = request
        self.running = run_handler(request, self.handler(request))
        return NOT_DONE_YET


class RespondTestCase(SynchronousTestCase):
    peer = "192.0.2.1"

    def setUp(self):
        self.resource, self.clock = Handled(), Clock()
        self.site = RegistrySite(
            self.resource, reactor=self.clock, translations={DatabaseBusy: busy}, new_id=lambda: "id-1"
        )
        self.connect()

    def connect(self):
        self.channel, self.transport = self.site.buildProtocol(None), StringTransport()
        self.transport.peerAddr = type("Peer", (), {"host": self.peer})()
        self.channel.makeConnection(self.transport)

    def ask(self, handler, method=b"GET", headers=b"", path=b"/v2/?secret=x"):
        """The answer to one request: status, headers and body, or None if there is none."""
        self.resource.handler = handler
        self.channel.dataReceived(method + b" " + path + b" HTTP/1.1\r\nHost: r.example\r\n" + headers + b"\r\n")
        return self.answer()

    def answer(self):
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        self.transport.clear()
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        return (int(status.split()[1]), headers, body) if status else None

    def codes(self, body):
        return [error["code"] for error in json.loads(body)["errors"]]


class AnswerTests(RespondTestCase):
    def test_json(self):
        """JSON with its type, its length and the headers that were given."""

        async def handler(request):
            send_json(request, 201, {"tags": ["ü"]}, {"Link": "<x>"})

        status, headers, body = self.ask(handler)
        self.assertEqual((status, json.loads(body)), (201, {"tags": ["ü"]}))
        self.assertEqual((headers[b"content-type"], headers[b"link"]), (b"application/json", b"<x>"))
        self.assertEqual(headers[b"content-length"], b"%d" % len(body))

    def test_head(self):
        """For HEAD the same headers, and no body."""

        async def handler(request):
            raise ManifestUnknown("There is no such manifest.")

        status, headers, body = self.ask(handler, b"HEAD")
        self.assertEqual((status, body), (404, b""))
        self.assertGreater(int(headers[b"content-length"]), 0)

    def test_error(self):
        """A refusal has its status, its headers, and the specification's body; what was begun is not in it."""

        async def handler(request):
            request.setHeader("Content-Range", "bytes 0-1/2")
            request.setETag(b'"x"')
            raise Unauthorized("Who are you?", advice="Log in.", headers={"WWW-Authenticate": "Bearer"})

        status, headers, body = self.ask(handler)
        self.assertEqual((status, self.codes(body)), (401, ["UNAUTHORIZED"]))
        self.assertEqual(headers[b"www-authenticate"], b"Bearer")
        self.assertEqual(headers[b"docker-distribution-api-version"], b"registry/2.0")
        self.assertNotIn(b"content-range", headers)
        self.assertNotIn(b"etag", headers)

    def test_nothing_in_a_header_ends_it(self):
        """A line break in a header value starts no new header."""

        async def handler(request):
            send_empty(request, 202, {"Location": "/x\r\nSet-Cookie: a=b"})

        _, headers, _ = self.ask(handler)
        self.assertNotIn(b"set-cookie", headers)

    def test_unforeseen(self):
        """An exception nobody foresaw is logged once, under an id, which is all that the client is told."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)

        async def handler(request):
            raise KeyError("the password")

        status, _, body = self.ask(handler)
        self.assertEqual((status, self.codes(body)), (500, ["UNKNOWN"]))
        self.assertIn(b"id-1", body)
        self.assertNotIn(b"password", body)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        [event] = [event for event in events if "log_failure" in event]
        self.assertEqual((event["request_id"], event["summary"]), ("id-1", "GET /v2/"))

    def test_translated(self):
        """A transient exception of another layer is told by the table, its subclasses too, and not logged."""

        async def handler(request):
            raise DatabaseLocked

        status, headers, body = self.ask(handler)
        self.assertEqual((status, headers[b"retry-after"], self.codes(body)), (503, b"2", ["UNAVAILABLE"]))

    def test_error_half_way(self):
        """An error after the first byte breaks the connection instead of ending the answer."""

        async def handler(request):
            request.setHeader("Content-Length", "100")
            request.write(b"x")
            raise DatabaseBusy

        self.ask(handler)
        self.assertTrue(self.transport.disconnected)

    def test_status_only(self):
        """A handler may set a status and return; a handler that does nothing at all is a failure."""

        async def deleted(request):
            request.setResponseCode(202)

        async def forgetful(request):
            pass

        status, headers, body = self.ask(deleted)
        self.assertEqual((status, headers[b"content-length"], body), (202, b"0", b""))
        self.assertEqual(self.ask(forgetful)[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_request_id(self):
        """The handler finds the id of its request in the context, also after waiting; others do not."""
        ids, wait = [], Deferred()

        async def handler(request):
            ids.append(request_id.get())
            await wait
            ids.append(request_id.get())
            send_empty(request, 204)

        self.ask(handler)
        wait.callback(None)
        self.assertEqual((ids, request_id.get()), (["id-1", "id-1"], "-"))

    def test_keep_alive_after_an_error(self):
        """An error is no reason to close the connection."""

        async def handler(request):
            raise ManifestUnknown("no")

        self.assertEqual([self.ask(handler)[0] for _ in range(3)], [404] * 3)

    def test_error_before_a_large_body(self):
        """A refusal before a large body closes the connection, and says so."""

        async def handler(request):
            raise Unauthorized("no")

        status, headers, _ = self.ask(handler, b"PUT", b"Content-Length: 99999999\r\n")
        self.assertEqual((status, headers[b"connection"]), (401, b"close"))

    def test_body_error(self):
        """What the reading of a body raises is an answer like any other."""

        async def handler(request):
            await request.body.read(10)

        status, _, body = self.ask(handler, b"PUT", b"Content-Length: 11\r\n")
        self.assertEqual((status, self.codes(body)), (413, ["SIZE_INVALID"]))


class DisconnectTests(RespondTestCase):
    def hang_up(self):
        self.channel.connectionLost(Failure(ConnectionDone()))

    def test_cancelled(self):
        """The handler is cancelled when the client hangs up; nothing is logged and nothing written."""
        trail = []

        async def handler(request):
            try:
                await Deferred()
            except CancelledError:
                trail.append("cancelled")
                raise

        self.ask(handler)
        self.hang_up()
        self.assertEqual((trail, self.successResultOf(self.resource.running)), (["cancelled"], None))

    def test_late_answer(self):
        """A handler that survives the cancellation and answers nobody does no harm."""

        async def handler(request):
            with contextlib.suppress(CancelledError):
                await Deferred()
            raise ManifestUnknown("nobody hears this")

        self.ask(handler)
        self.hang_up()
        self.successResultOf(self.resource.running)

    def test_late_failure(self):
        """What breaks after the client is gone is still logged."""

        async def handler(request):
            with contextlib.suppress(CancelledError):
                await Deferred()
            raise ZeroDivisionError

        self.ask(handler)
        self.hang_up()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_interrupted_by_us(self):
        """A handler that is cancelled while its client waits is answered 503."""
        wait = Deferred()

        async def handler(request):
            await wait

        self.ask(handler)
        wait.cancel()
        self.assertEqual(self.answer()[0], 503)

    def test_hung_up_in_the_body(self):
        """A client that hangs up in the middle of its body ends the handler quietly."""

        async def handler(request):
            await request.body.read(100)

        self.ask(handler, b"PUT", b"Content-Length: 50\r\n")
        self.hang_up()
        self.successResultOf(self.resource.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AddressesTests(RespondTestCase):
    peer = "10.0.0.7"
    trusted = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

    def learn(self, question, headers=b""):
        """What `question` says of a request with `headers`."""
        found = []

        async def handler(request):
            try:
                found.append(question(request))
            finally:
                send_empty(request, 204)

        self.ask(handler, headers=headers)
        return found[0]

    def client(self, forwarded_for, trusted=trusted):
        return self.learn(lambda r: client_address(r, trusted), b"X-Forwarded-For: %s\r\n" % forwarded_for)

    def url(self, headers=b"", **settings):
        return self.learn(Addresses(**settings).external_url, headers)

    def test_untrusted_peer(self):
        """What an untrusted peer forwards is not believed."""
        self.assertEqual(self.client(b"1.1.1.1", trusted=()), "10.0.0.7")
        self.assertEqual(self.url(b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"), "http://r.example")

    def test_trusted_peer(self):
        """Behind trusted proxies the client is the last address that is none of theirs, whatever stands before it."""
        self.assertEqual(self.client(b"6.6.6.6, 198.51.100.9, 10.1.1.1"), "198.51.100.9")
        self.assertEqual(self.client(b"2001:db8::5, fd00::1"), "2001:db8::5")
        self.assertEqual(self.client(b"198.51.100.9:443"), "198.51.100.9")
        self.assertEqual(self.client(b"[2001:db8::5]:443"), "2001:db8::5")
        self.assertEqual(self.client(b"::ffff:198.51.100.9"), "198.51.100.9")
        self.assertEqual(self.client(b"[fe80::1%%%b]" % (b"x" * 300)), "fe80::1")

    def test_garbage_forwarded(self):
        """Garbage ends the search at the last address that made sense."""
        self.assertEqual(self.client(b"1.1.1.1, <script>, 10.1.1.1"), "10.1.1.1")
        self.assertEqual(self.client(b"unknown"), "10.0.0.7")
        self.assertEqual(self.client(b","), "10.0.0.7")

    def test_several_lines(self):
        """Several headers are one list."""
        self.assertEqual(self.client(b"6.6.6.6\r\nX-Forwarded-For: 198.51.100.9"), "198.51.100.9")

    def test_secure_contexts(self):
        """Browsers trust TLS, however far it reaches, and what is on their own machine; no other plain HTTP."""
        asked = self.learn(Addresses().is_secure_context)  # r.example, over plain HTTP
        behind = Addresses(trusted_proxies=self.trusted).is_secure_context
        self.assertFalse(asked)
        self.assertTrue(self.learn(behind, b"X-Forwarded-Proto: https\r\n"))
        self.assertTrue(self.learn(Addresses(scheme="https").is_secure_context))
        own = ("localhost", "localhost:5000", "quay.localhost", "127.0.0.1:8080", "[::1]:80", "[::1]", "127.9.9.9")
        for host in (*own, "127.0.0.1.example", "10.0.0.1", "notlocalhost", "[::2]", ""):
            said = self.learn(behind, f"X-Forwarded-Host: {host}\r\n".encode())
            self.assertEqual((host, said), (host, host in own))

    def test_mapped_peer(self):
        """A peer on a dual-stack socket is the IPv4 address it is."""
        self.peer = "::ffff:10.0.0.7"
        self.connect()
        self.assertEqual(self.client(b"198.51.100.9"), "198.51.100.9")

    def test_unix_peer(self):
        """A peer without an address counts as this machine."""
        self.peer = None
        self.connect()
        self.assertEqual(self.client(b"198.51.100.9"), "127.0.0.1")
        self.assertEqual(self.client(b"198.51.100.9", (ip_network("127.0.0.0/8"),)), "198.51.100.9")

    def test_configured_url(self):
        """What the operator says is not asked of the client."""
        self.assertEqual(self.url(b"", scheme="https", hostname="quay.example:8443"), "https://quay.example:8443")

    def test_forwarded_url(self):
        """A trusted proxy says how the client reached it."""
        headers = b"X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: [2001:db8::1]:5000\r\n"
        self.assertEqual(self.url(headers, trusted_proxies=self.trusted), "https://[2001:db8::1]:5000")
        self.assertEqual(
            self.url(b"X-Forwarded-Proto: javascript\r\n", trusted_proxies=self.trusted), "http://r.example"
        )

    def test_bad_host(self):
        """A host that cannot be one is refused."""

        async def handler(request):
            send_empty(request, 202, {"Location": Addresses(trusted_proxies=self.trusted).external_url(request)})

        status, _, body = self.ask(handler, headers=b"X-Forwarded-Host: a/b\r\n")
        self.assertEqual((status, self.codes(body)), (400, ["INVALID_REQUEST"]))


@pytest.mark.parametrize(
    "host",
    ["r", "r.example:5000", "my_registry", "127.0.0.1:80", "[::1]", "[2001:db8::1]:443", "[::ffff:1.2.3.4]", "A-b.c"],
)
def test_hosts(host):
    """Names, IPv4 addresses and bracketed IPv6 addresses are hosts, with a port or without."""
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "a b", "a/b", "a@b", "::1", "[::1", "[g::1]", "[1.2.3.4]", "r:", "r:0", "r:65536", "r:x", "-a", "a..b"),
        *(".a", "a\r\nb", "a\n", 'a"b', "a,b", "a\\b", "ü", "a" * 64, "a." * 200 + "a", "r:99999999999999"),
    ],
)
def test_not_hosts(host):
    """Everything else is not, above all what could end a header or a quoted string."""
    assert not is_host(host)


@given(st.text(alphabet="aZ0-_.:[]\n /@é", max_size=20))
def test_any_host(host):
    """What is taken for a host can stand in a URL and in a quoted string."""
    if is_host(host):
        assert host.isascii() and not set(host) & set(' \r\n"/@\\,')
