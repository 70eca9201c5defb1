"""
What a server needs in memory does not grow with what it moves.

QUAY_TEST_BIG=N pushes a blob of N GiB instead of one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest

from quay.storage.upload import Budget
from tests.distribution import Client
from tests.server import RunningQuay

pytestmark = pytest.mark.long

MIB = 1024 * 1024
GIB = 1024 * MIB
BIG = int(float(os.environ.get("QUAY_TEST_BIG", "1")) * GIB)
ROOM = 64 * MIB
"""How much one transfer may cost, whatever its size."""

REPOSITORY = "dev/big"
PATTERN = bytes(range(256)) * (MIB // 256)


def pieces(size: int) -> Iterator[bytes]:
    """A blob of `size` bytes, in mebibytes that all differ."""
    for number in range(size // MIB):
        yield number.to_bytes(8) + PATTERN[8:]


def digest_of_pieces(size: int) -> str:
    """Its digest, computed here."""
    hasher = hashlib.sha256()
    for piece in pieces(size):
        hasher.update(piece)
    return f"sha256:{hasher.hexdigest()}"


class Memory:
    """How much more memory a process has than when the watching began; `growth` is the most that was seen."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._ended = Event()
        self._before = self._resident()
        self._most = self._before
        self._watching = Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()

    @property
    def growth(self) -> int:
        return self._most - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._most = max(self._most, self._resident())

    def _resident(self) -> int:
        lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A server that has pushed and pulled before: what is loaded once does not count."""
    with RunningQuay(tmp_path_factory.mktemp("memory")) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        for size in (0, 3 * MIB):
            client.finish(REPOSITORY, client.begin(REPOSITORY, PATTERN * (size // MIB)))
        client.close()
        yield server
        assert "Traceback" not in server.log
    shutil.rmtree(server.data)


@pytest.fixture
def client(server: RunningQuay) -> Iterator[Client]:
    client = Client(server.host, "dev", timeout=120)
    yield client
    client.close()


def push(client: Client, size: int) -> str:
    """Push the big blob as one chunked stream; returns its digest."""
    upload = client.begin(REPOSITORY, b"")
    answer = client.call("PATCH", REPOSITORY, upload.location, pieces(size)).expect(202)
    assert answer.headers["Range"] == f"0-{size - 1}"
    digest = digest_of_pieces(size)
    client.call("PUT", REPOSITORY, f"{upload.location}?digest={digest}").expect(201)
    return digest


def pull_slowly(server: RunningQuay, client: Client, digest: str, start: int, end: int) -> int:
    """Read as much as a client with a small buffer who rests now and then gets in a second; returns the bytes read."""
    token = client.tokens[REPOSITORY]
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        raw.connect(("127.0.0.1", server.port))
        raw.sendall(
            f"GET /v2/{REPOSITORY}/blobs/{digest} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {token}\r\n"
            f"Range: bytes={start}-{end - 1}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1)
        assert head.startswith(b"HTTP/1.1 206 ")
        read, deadline = 0, time.monotonic() + 1.0
        while time.monotonic() < deadline:
            expected = start + read
            data = raw.recv(16 * 1024)
            assert data[0] == byte_at(expected)
            read += len(data)
            time.sleep(0.002)
        return read


def byte_at(offset: int) -> int:
    number, within = divmod(offset, MIB)
    return number.to_bytes(8)[within] if within < 8 else PATTERN[within]


def pull(client: Client, digest: str, start: int, size: int) -> None:
    """Read a part of the blob, and compare it with what it must be."""
    answer = client.call(
        "GET", REPOSITORY, f"blobs/{digest}", headers={"Range": f"bytes={start}-{start + size - 1}"}
    ).expect(206)
    assert len(answer.body) == size
    assert all(answer.body[at] == byte_at(start + at) for at in range(0, size, 4099))


@pytest.mark.timeout(3600)
def test_a_big_blob_goes_in_and_out_in_bounded_memory(server: RunningQuay, client: Client) -> None:
    """A blob that is far larger than what it may cost is pushed as one stream, and pulled fast, slowly and in part."""
    with Memory(server.pid) as pushing:
        began = time.monotonic()
        digest = push(client, BIG)
        seconds = time.monotonic() - began
    with Memory(server.pid) as pulling:
        with ThreadPoolExecutor(8) as threads:
            slow = [threads.submit(pull_slowly, server, client, digest, n * BIG // 8, BIG) for n in range(8)]
            for n in range(4):
                pull(client, digest, n * BIG // 4 + 12345, 32 * MIB)
        assert min(pulled.result() for pulled in slow) > 0
    figures = f"push of {BIG / GIB:.0f} GiB in {seconds:.1f} s: +{pushing.growth / MIB:.1f} MiB; "
    figures += f"pulls: +{pulling.growth / MIB:.1f} MiB"
    print(figures)
    assert pushing.growth < ROOM
    assert pulling.growth < ROOM


def test_many_uploads_at_once_share_one_budget(server: RunningQuay, client: Client) -> None:
    """Fifty uploads of 8 MiB at once arrive whole, and cost no more than the budget of all uploads."""
    token = client.login(REPOSITORY)

    def upload(number: int) -> None:
        data = number.to_bytes(8) + PATTERN[8:] * 8
        own = Client(server.host, "dev", timeout=120)
        own.tokens[REPOSITORY] = token
        own.finish(REPOSITORY, own.begin(REPOSITORY, data))
        assert own.has_blob(REPOSITORY, data)
        own.close()

    with Memory(server.pid) as memory, ThreadPoolExecutor(50) as threads:
        list(threads.map(upload, range(50)))
    print(f"50 uploads of 8 MiB: +{memory.growth / MIB:.1f} MiB")
    assert memory.growth < Budget().limit + ROOM
