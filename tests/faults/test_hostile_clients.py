"""Clients that mean harm, or know no better, on real sockets: each gets one clear answer, and hurts nobody else."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import attrs
import pytest

from tests.distribution import MANIFEST, Client, digest_of
from tests.faults.server import REPOSITORY, Served
from tests.faults.wire import Wire
from tests.server import RunningQuay

IDLE = 1000
"""As many connections as a server takes by default, but for those of this test's own."""


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(template, data)
    with RunningQuay(data) as server:
        yield Served.by(server)


@attrs.frozen
class Asked:
    """Requests as bytes."""

    served: Served

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """A head with what every client sends; `lines` come on top of it."""
        token = self.served.client.tokens[REPOSITORY]
        fields = [f"Host: {self.served.server.host}", f"Authorization: Bearer {token}", *lines]
        return "\r\n".join([f"{method} /v2/{REPOSITORY}/{path} HTTP/1.1", *fields, "", ""]).encode("latin-1")

    def wire(self) -> Wire:
        return Wire(self.served.server.port)

    def upload(self) -> str:
        """The path of a new upload, below the repository."""
        location = self.served.client.begin(REPOSITORY, b"").location
        return location.partition(f"/v2/{REPOSITORY}/")[2]


@pytest.fixture
def asked(served: Served) -> Asked:
    return Asked(served)


SMUGGLED = b"GET /v2/smuggled HTTP/1.1\r\nHost: r\r\n\r\n"


AMBIGUOUS = [
    ("Content-Length: 4", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 4"),
    ("Content-Length: 4", "Content-Length: 44"),
    ("Content-Length: 4, 44",),
    ("Content-Length: +4",),
    ("Content-Length: 0x4",),
    ("Content-Length: -1",),
    ("Content-Length: 4\x0b",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: identity, chunked",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: \x0bchunked",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding : chunked",),
    ("Transfer-Encoding:\r\n chunked",),
    ("X: y\nTransfer-Encoding: chunked",),
    ("X: y\rTransfer-Encoding: chunked",),
    ("Host: elsewhere",),
    ("X\x00: y",),
]
"""Header lines with which a head or its body can be read in two ways."""


@pytest.mark.parametrize("lines", AMBIGUOUS)
def test_two_meanings_are_refused(asked: Asked, lines: tuple[str, ...]) -> None:
    """A head whose end or body could be read in two ways is answered 400, once; nothing after it is a request."""
    with asked.wire() as wire:
        wire.send(asked.head("PATCH", asked.upload(), *lines) + b"0\r\n\r\n" + SMUGGLED)
        reply = wire.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert json.loads(reply.body)["errors"][0]["message"]
        assert wire.ended() == b""


@pytest.mark.parametrize("lines", AMBIGUOUS)
def test_two_meanings_are_refused_on_the_fast_path(asked: Asked, lines: tuple[str, ...]) -> None:
    """Behind a pull that was answered from memory, and in one of its kind, such a head is refused all the same."""
    pull = asked.head("GET", "manifests/kept", f"Accept: {MANIFEST}")
    with asked.wire() as wire:
        wire.send(pull)
        assert wire.reply().body == asked.served.image.moved
        wire.send(pull + asked.head("GET", "manifests/kept", *lines) + b"0\r\n\r\n" + SMUGGLED)
        assert [wire.reply().status, wire.reply().status] == [200, 400]
        assert wire.ended() == b""


def test_a_pipeline_ends_at_its_first_bad_request(asked: Asked) -> None:
    """What was asked before a bad request is answered, in order, whatever it takes; what comes behind it is not."""
    data = asked.served.image.layers[0]
    good = [asked.head("GET", f"blobs/{digest_of(data)}"), asked.head("GET", "manifests/kept", f"Accept: {MANIFEST}")]
    with asked.wire() as wire:
        wire.send(b"".join(good) + b"GET nowhere\r\n\r\n" + good[1])
        assert (wire.reply().body, wire.reply().body) == (data, asked.served.image.moved)
        assert wire.reply().status == 400
        assert wire.ended() == b""


def test_a_body_where_none_is_expected(asked: Asked) -> None:
    """The body of a GET, of a HEAD and of a DELETE is read to its end, and never taken for a request."""
    body = f"Content-Length: {len(SMUGGLED)}"
    with asked.wire() as wire:
        wire.send(asked.head("GET", "manifests/kept", f"Accept: {MANIFEST}", body) + SMUGGLED)
        wire.send(asked.head("HEAD", "manifests/kept", f"Accept: {MANIFEST}", body) + SMUGGLED)
        wire.send(asked.head("DELETE", "manifests/nothing", body) + SMUGGLED)
        wire.send(asked.head("GET", "tags/list"))
        assert [wire.reply(method).status for method in ("GET", "HEAD", "DELETE", "GET")] == [200, 200, 404, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"0x4\r\nabcd\r\n0\r\n\r\n",
        b"-4\r\nabcd\r\n0\r\n\r\n",
        b"4 \x00\r\nabcd\r\n0\r\n\r\n",
        b"4\r\nabcdXX0\r\n\r\n",
        b"4\nabcd\r\n0\r\n\r\n",
        b"4;" + b"x" * 20000 + b"\r\nabcd\r\n0\r\n\r\n",
        b"\r\nabcd\r\n0\r\n\r\n",
    ],
)
def test_broken_chunks_are_refused(asked: Asked, body: bytes) -> None:
    """A chunked body that breaks its own coding is answered 400, once; nothing after it is a request."""
    with asked.wire() as wire:
        wire.send(asked.head("PATCH", asked.upload(), "Transfer-Encoding: chunked") + body + SMUGGLED)
        assert wire.reply().status == 400
        assert wire.ended() == b""


def test_an_early_answer_smuggles_nothing(asked: Asked) -> None:
    """The body of a request that is refused before it is read is never taken for the next request."""
    with asked.wire() as wire:
        wire.send(asked.head("PUT", "nothing/here", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED)
        wire.send(asked.head("GET", "tags/list"))
        assert wire.reply().status == 404
        assert json.loads(wire.reply().body)["tags"] == ["kept"]


def expected(served: Served, path: str) -> bytes:
    """What there is at `path`."""
    return {"manifests/kept": served.image.moved}.get(path) or next(
        data for data in (*served.image.layers, served.image.config) if path.endswith(digest_of(data))
    )


@pytest.mark.parametrize("seed", range(6))
def test_answers_come_in_order(asked: Asked, seed: int) -> None:
    """However requests are pipelined and cut, fast ones and slow ones, each answer is that of its request."""
    served, dice = asked.served, Random(seed)
    blobs = [f"blobs/{digest_of(data)}" for data in (*served.image.layers, served.image.config)]
    paths = [dice.choice(["manifests/kept", "manifests/kept", *blobs]) for _ in range(40)]
    stream = b"".join(asked.head("GET", path, f"Accept: {MANIFEST}") for path in paths)
    one = len(asked.head("GET", "manifests/kept", f"Accept: {MANIFEST}"))
    with asked.wire() as wire:
        while stream:
            cut = dice.choice((1, one, 2 * one, dice.randint(1, 5000)))
            wire.send(stream[:cut])
            stream = stream[cut:]
            time.sleep(dice.choice((0, 0, 0.002)))
        for path in paths:
            reply = wire.reply()
            assert (reply.status, reply.body == expected(served, path)) == (200, True), path


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v2/" + b"a" * 20000 + b" HTTP/1.1\r\n", 414),
        (b"GET /v2/ HTTP/1.1\r\nHost: r\r\nX: " + b"y" * 40000 + b"\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: r\r\n" + b"X: y\r\n" * 5000, 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: r\r\nX: " + b"y" * 3_000_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_giant_and_foreign_heads_are_refused(asked: Asked, head: bytes, status: int) -> None:
    """A head that is too large, or no HTTP/1.1, is answered in a sentence before it ends."""
    with asked.wire() as wire:
        wire.send(head)
        reply = wire.reply()
        assert reply.status == status
        assert json.loads(reply.body)["errors"][0]["message"]


LAYER = 2
"""The layer of the image that the ranges are of: 20 KiB."""


@pytest.mark.parametrize(
    ("asking", "span"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=100-199", range(100, 200)),
        ("bytes=20479-", range(20479, 20480)),
        ("bytes=20000-9999999999999999999", range(20000, 20480)),
        ("bytes=-1", range(20479, 20480)),
        ("bytes=-99999999", range(20480)),
    ],
)
def test_ranges(asked: Asked, asking: str, span: range) -> None:
    """A part of a blob is exactly that part, up to the very ends."""
    data = asked.served.image.layers[LAYER]
    with asked.wire() as wire:
        wire.send(asked.head("GET", f"blobs/{digest_of(data)}", f"Range: {asking}"))
        reply = wire.reply()
    assert (reply.status, reply.body) == (206, data[span.start : span.stop])
    assert reply.headers["content-range"] == f"bytes {span.start}-{span.stop - 1}/{len(data)}"


@pytest.mark.parametrize("asking", ["bytes=20480-", "bytes=9999999999999999999-", "bytes=-0", "bytes=5-4"])
def test_ranges_that_cannot_be_satisfied(asked: Asked, asking: str) -> None:
    """A range without a byte in it is answered 416, with the size of the blob."""
    data = asked.served.image.layers[LAYER]
    with asked.wire() as wire:
        wire.send(asked.head("GET", f"blobs/{digest_of(data)}", f"Range: {asking}"))
        reply = wire.reply()
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(data)}")


@pytest.mark.parametrize(
    "asking",
    [
        "bytes=99999999999999999999-",
        "bytes=a-b",
        "bytes=--1",
        "lines=1-2",
        "bytes",
        "bytes=0-1,5-6",
        "bytes=" + "0-0," * 500,
        "bytes=0-99,50-149",
        "bytes=0-0,-1",
        "bytes=",
        "bytes=-",
        "bytes=0-1-2",
    ],
)
def test_ranges_that_mean_nothing(asked: Asked, asking: str) -> None:
    """A range that is none, and one of several parts, is ignored: the whole blob comes, once."""
    data = asked.served.image.layers[LAYER]
    with asked.wire() as wire:
        wire.send(asked.head("GET", f"blobs/{digest_of(data)}", f"Range: {asking}"))
        reply = wire.reply()
    assert (reply.status, reply.body) == (200, data)


def test_a_thousand_idle_connections(asked: Asked) -> None:
    """With a thousand connections that say nothing, one more is told to come back, and others go on as before."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 2 * IDLE:
        pytest.skip(f"this process may not open {IDLE} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE), most))
    served = asked.served
    served.pull()
    before = served.descriptors()
    wires = [asked.wire() for _ in range(IDLE)]  # and the connection that has just been pulled through
    served.pull()
    wires[-1].send(asked.head("GET", "tags/list"))
    reply = wires[-1].reply()
    assert (reply.status, int(reply.headers["retry-after"]) > 0) == (503, True)
    for wire in wires:
        wire.close()
    served.await_descriptors(before)
    served.pull()


class Impatient(RunningQuay):
    """A server that waits a second for a head and for progress in a body."""

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.faults.impatient", *arguments]


@pytest.fixture
def impatient(data: Path) -> Iterator[Served]:
    with Impatient(data) as server:
        yield Served.by(server)


def test_slow_clients_are_shown_out(impatient: Served) -> None:
    """Heads and bodies that trickle are answered 408 and end; nobody waits for them, and they leave nothing open."""
    asked, before = Asked(impatient), impatient.descriptors()
    uploads = [asked.upload() for _ in range(20)]
    heads = [asked.wire() for _ in range(60)]
    bodies = [asked.wire() for _ in uploads]
    for wire in heads:
        wire.send(b"GET /v2/ HTTP/1.1\r\nHost: r\r\nX: ")
    for wire, upload in zip(bodies, uploads, strict=True):
        wire.send(asked.head("PATCH", upload, "Content-Length: 100000"))
    for _ in range(4):
        for wire in (*heads, *bodies):
            with suppress(ConnectionError):  # it has been shown out, and its answer waits to be read
                wire.send(b"y")
        time.sleep(0.2)
    impatient.client.close()  # a connection that rests is shown out as well
    impatient.push("meanwhile")
    assert {wire.reply().status for wire in heads} == {408}
    assert {wire.reply().status for wire in bodies} == {408}
    for wire in (*heads, *bodies):
        assert wire.ended() == b""
        wire.close()
    impatient.await_descriptors(before + len(bodies))  # an upload may be gone on with


def test_somebody_else_is_served_meanwhile(asked: Asked) -> None:
    """After all of this, a new client logs in, pushes and pulls."""
    newcomer = Client(asked.served.server.host, "dev")
    newcomer.pull(REPOSITORY, "kept", asked.served.image)
    newcomer.close()
    asked.served.push("last")
