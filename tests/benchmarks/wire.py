"""
A client that costs little, so that it is the server that is measured: keep-alive over a socket, bodies received without
being copied where the kernel allows it, and sent from the page cache.

Source: HTTP/1.1 (RFC 9112); Linux, recv(2) `MSG_TRUNC`.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import attrs

MIB: Final = 1 << 20
FRAME: Final = 32 * 1024
"""What Go's client, and so the docker engine, puts into one frame of the chunked coding."""


class Refused(Exception):
    """The server answered with another status than the scenario needs, or broke off."""


@attrs.frozen
class Answer:
    """What the server said; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(default=b"", repr=False)

    def expect(self, status: int) -> Answer:
        if self.status != status:
            raise Refused(f"The server answered {self.status} instead of {status}: {self.body[:300]!r}")
        return self


class Pool:
    """Random bytes in a file, of which every blob has a part: only the head of a blob is new."""

    HEAD: Final = 16

    def __init__(self, path: Path, size: int) -> None:
        if not path.exists() or path.stat().st_size != size:
            with path.open("wb") as file:
                for _ in range(0, size, MIB):
                    file.write(os.urandom(MIB))
        self.file = path.open("rb")
        self.bytes = memoryview(mmap.mmap(self.file.fileno(), size, prot=mmap.PROT_READ))

    def blob(self, size: int) -> Blob:
        head = os.urandom(self.HEAD)
        digest = hashlib.sha256(head)
        digest.update(self.bytes[self.HEAD : size])
        return Blob(self, head, size, f"sha256:{digest.hexdigest()}")


@attrs.frozen
class Blob:
    """`size` bytes that no other blob has."""

    pool: Pool = attrs.field(repr=False)
    head: bytes
    size: int
    digest: str

    def pieces(self, length: int = 16 * MIB) -> Iterator[bytes]:
        """The blob in parts of this length."""
        yield self.head
        for at in range(len(self.head), self.size, length):
            yield bytes(self.pool.bytes[at : min(at + length, self.size)])

    def frames(self) -> Iterator[tuple[bytes | memoryview, ...]]:
        """The blob in chunked coding, a frame at a time."""
        yield b"%x\r\n" % len(self.head), self.head, b"\r\n"
        for at in range(len(self.head), self.size, FRAME):
            piece = self.pool.bytes[at : min(at + FRAME, self.size)]
            yield b"%x\r\n" % len(piece), piece, b"\r\n"
        yield (b"0\r\n\r\n",)


class Connection:
    """One connection to the loopback, one request at a time."""

    def __init__(self, port: int, *, tls: bool = False, timeout: float = 120) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.settimeout(None)  # sendfile wants a socket that blocks
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"
        self._tls = tls
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)
        self._read = b""
        self._room = bytearray(4 * MIB)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """The whole answer."""
        if method in ("POST", "PUT", "PATCH"):
            headers = {**headers, "Content-Length": str(len(body))}
        self._socket.sendall(self.head(method, path, headers) + body)
        return self.answer()

    def discard(self, path: str, headers: Mapping[str, str]) -> int:
        """GET, and throw the body away; the number of its bytes. Raises `Refused` for anything but 200."""
        self._socket.sendall(self.head("GET", path, headers))
        head = self._answer_head()
        size = int(head.headers["content-length"])
        if head.status != 200:
            raise Refused(f"The server answered {head.status}: {self._take(size)[:300]!r}")
        left = size - len(self._read)
        self._read = b""
        flags = 0 if self._tls else socket.MSG_TRUNC
        while left > 0:
            got = self._socket.recv_into(self._room, min(left, len(self._room)), flags)
            if not got:
                raise Refused("The server closed the connection in a body.")
            left -= got
        return size

    def hashed(self, path: str, headers: Mapping[str, str]) -> str:
        """GET, and the digest of the body."""
        self._socket.sendall(self.head("GET", path, headers))
        head = self._answer_head()
        left, digest = int(head.headers["content-length"]), hashlib.sha256()
        while left > 0:
            piece = self._read or self._socket.recv(MIB)
            if not piece:
                raise Refused("The server closed the connection in a body.")
            self._read = b""
            digest.update(piece)
            left -= len(piece)
        return f"sha256:{digest.hexdigest()}"

    def send(self, method: str, path: str, headers: Mapping[str, str], blob: Blob, *, chunked: bool) -> Answer:
        """A request with a blob as its body, in one piece or in chunked coding. Not over TLS."""
        coding = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(blob.size)}
        self._socket.sendall(self.head(method, path, {**headers, **coding}), socket.MSG_MORE)
        self._send_chunked(blob) if chunked else self._send_whole(blob)
        return self.answer()

    def _send_whole(self, blob: Blob) -> None:
        self._socket.sendall(blob.head, socket.MSG_MORE)
        at = len(blob.head)
        while at < blob.size:
            at += os.sendfile(self._socket.fileno(), blob.pool.file.fileno(), at, blob.size - at)

    def _send_chunked(self, blob: Blob) -> None:
        for frame in blob.frames():
            sent = self._socket.sendmsg(frame)
            if sent < sum(map(len, frame)):
                self._socket.sendall(b"".join(frame)[sent:])

    def fileno(self) -> int:
        return self._socket.fileno()

    def say(self, data: bytes) -> None:
        """Send what `head` made; `answer` is for later."""
        self._socket.sendall(data)

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def answer(self) -> Answer:
        head = self._answer_head()
        if head.headers.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._take(int(head.headers.get("content-length", 0)))
        return attrs.evolve(head, body=body)

    def _answer_head(self) -> Answer:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return Answer(int(first.split()[1]), headers)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n"), 16):
            yield self._take(size + 2)[:-2]
        self._take(2)

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            self._more()
        taken, _, self._read = self._read.partition(end)
        return taken

    def _take(self, count: int) -> bytes:
        while len(self._read) < count:
            self._more()
        taken, self._read = self._read[:count], self._read[count:]
        return taken

    def _more(self) -> None:
        piece = self._socket.recv(256 * 1024)
        if not piece:
            raise Refused("The server closed the connection.")
        self._read += piece
