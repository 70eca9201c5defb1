"""Archives on their way: unpacked in bounded pieces, at the pace of the slower side, and read from anywhere."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from quay.oci.archive import Coding, Part
from quay.oci.reference import Digest
from quay.oci.tar import ArchiveInvalid
from quay.registry.archives.outgoing import ArchiveSource
from quay.registry.archives.packed import PIECE, Packed, unpacked
from quay.registry.archives.stream import HIGH, Inlet, Outlet, Upload
from quay.threads import ImmediatePool

PACK: dict[Coding, Callable[[bytes], bytes]] = {Coding.GZIP: gzip.compress, Coding.ZSTD: zstd.compress}


def run(coroutine: Any) -> Any:
    """The result of what needs no waiting."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    [result] = found
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def gathered(source: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in source])


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.sampled_from(Coding), st.integers(1, 5000))
def test_unpacked(parts: list[bytes], coding: Coding, size: int) -> None:
    """Several frames after one another are one stream, however they are cut; what is not packed stays."""
    pack = PACK.get(coding, bytes)
    start = b"tar!"  # not the beginning of anything else
    packed = pack(start) + b"".join(map(pack, parts))
    assert run(gathered(unpacked(pieces(packed, size), ImmediatePool()))) == start + b"".join(parts)


@pytest.mark.parametrize("coding", PACK)
def test_bounded_pieces(coding: Coding) -> None:
    """However much one piece stands for, it comes in pieces of a mebibyte at most."""
    packed = Packed(coding)
    sizes = []
    piece = packed.feed(PACK[coding](bytes(50 * PIECE)))
    while piece:
        sizes.append(len(piece))
        piece = packed.feed(b"")
    packed.close()
    assert (sum(sizes), max(sizes) <= PIECE) == (50 * PIECE, True)


@given(st.binary(max_size=200), st.sampled_from(list(PACK)))
def test_garbage(data: bytes, coding: Coding) -> None:
    """What begins like a packed archive and is none is refused."""
    packed = Packed(coding)
    with pytest.raises(ArchiveInvalid):
        while packed.feed(PACK[coding](b"x" * 500)[:10] + data):
            pass
        packed.close()


@implementer(IPushProducer)
class Client:
    """A body whose client sends what it is asked for; it counts how often it was paused."""

    length = None

    def __init__(self) -> None:
        self.paused = 0
        self.running = True
        self.cancelled = False

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        self.consumer = consumer
        consumer.registerProducer(self, True)
        self.delivered: Deferred[int] = Deferred(lambda _: setattr(self, "cancelled", True))
        return self.delivered

    def pauseProducing(self) -> None:
        self.paused += 1
        self.running = False

    def resumeProducing(self) -> None:
        self.running = True


def test_a_body_waits_for_whoever_takes_it() -> None:
    """Its client is paused while a mebibyte waits, and goes on when somebody takes that."""
    client = Client()
    inlet = Inlet(client)
    while client.running:
        client.consumer.write(bytes(HIGH // 4))
    taken = inlet.pieces()
    assert len(run(anext(taken))) == HIGH
    assert (client.running, client.paused) == (True, 1)
    inlet.close()
    assert client.cancelled


def test_a_body_that_fails() -> None:
    """Whoever takes it is told, after the bytes that came."""
    client = Client()
    inlet = Inlet(client)
    client.consumer.write(b"one")
    client.delivered.errback(ValueError("gone"))
    taken = inlet.pieces()
    assert run(anext(taken)) == b"one"
    with pytest.raises(ValueError, match="gone"):
        run(anext(taken))


class Store:
    """Where an upload goes: it takes bytes, and may have too much of them."""

    def __init__(self) -> None:
        self.data = b""

    async def receive(self, outlet: Outlet) -> bytes:
        await outlet.deliver_to(self)  # type: ignore[arg-type]
        return self.data

    def registerProducer(self, producer: Outlet, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        del self.producer

    def write(self, data: bytes) -> None:
        if data == b"too much":
            raise OverflowError
        self.data += data


def test_an_upload_waits_for_its_store() -> None:
    """What is written waits while the store is busy, and the result is the store's."""
    store = Store()
    upload = Upload(store.receive, None)
    run(upload.write(b"one "))
    store.producer.pauseProducing()
    waiting = Deferred.fromCoroutine(upload.write(b"two"))
    assert (store.data, waiting.called) == (b"one ", False)
    store.producer.resumeProducing()
    assert waiting.called
    assert run(upload.finish()) == b"one two"


def test_an_upload_that_is_refused() -> None:
    """What the store says is told at the next write, and abandoning it then does nothing."""
    upload = Upload(Store().receive, None)
    with pytest.raises(OverflowError):
        run(upload.write(b"too much"))
    upload.abandon()


def test_an_abandoned_upload() -> None:
    """Its receiver is cancelled, and has got rid of its producer."""
    store = Store()
    upload = Upload(store.receive, None)
    run(upload.write(b"one"))
    upload.abandon()
    assert not hasattr(store, "producer")


class Blob:
    """A blob that is read and closed."""

    open = 0

    def __init__(self, data: bytes) -> None:
        self.data = data
        Blob.open += 1

    def read(self, offset: int, count: int) -> Deferred[bytes]:
        return succeed(self.data[offset : offset + min(count, 100)])

    def close(self) -> None:
        Blob.open -= 1


BLOBS = {Digest.of(data): data for data in (b"", b"a" * 511, b"b" * 512, b"c" * 1300)}
PARTS = [
    Part("index.json", b"{}", 2),
    Part("blobs", None, 0),
    *(Part(f"blobs/{digest.hex}", digest, len(data)) for digest, data in BLOBS.items()),
]


@given(st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 3000)), max_size=5))
def test_read_from_anywhere(reads: list[tuple[int, int]]) -> None:
    """Whatever part is asked for is that part of the whole, which is an archive; one blob is open at a time."""

    async def open_blob(digest: Digest) -> Any:
        return Blob(BLOBS[digest])

    source = ArchiveSource(PARTS, open_blob)
    whole = run_read(source, 0, source.size)
    for offset, count in reads:
        assert run_read(source, offset, count) == whole[offset : offset + count]
        assert Blob.open <= 1
    source.close()
    assert Blob.open == 0
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert [member.name for member in tar] == [part.name for part in PARTS]


def run_read(source: ArchiveSource, offset: int, count: int) -> bytes:
    found: list[bytes] = []
    source.read(offset, count).addCallback(found.append)
    return found[0]
