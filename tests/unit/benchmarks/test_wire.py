"""The client of the benchmarks, against an echoing server."""

import hashlib
from http.server import BaseHTTPRequestHandler

import pytest

from tests.benchmarks.wire import MIB, Connection, Pool, Refused


class Echo(BaseHTTPRequestHandler):
    """Keeps what is PUT, and gives it back, in one piece or, below /chunked, in chunked coding."""

    protocol_version = "HTTP/1.1"
    kept = b""

    def do_PUT(self):
        Echo.kept = self._body()
        self._answer(201, b"")

    def do_GET(self):
        self._answer(200 if self.path != "/broken" else 500, Echo.kept)

    def _body(self):
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, status, body):
        self.send_response(status)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def connection(serve):
    with Connection(serve(Echo)) as opened:
        yield opened


@pytest.fixture
def pool(tmp_path):
    return Pool(tmp_path / "pool", 2 * MIB)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_blob_arrives_as_its_digest_says(connection, pool, chunked):
    """Sent whole or in chunked coding, the bytes are those of the digest, and come back as such."""
    blob = pool.blob(2 * MIB - 7)
    connection.send("PUT", "/", {}, blob, chunked=chunked).expect(201)
    assert f"sha256:{hashlib.sha256(Echo.kept).hexdigest()}" == blob.digest
    assert connection.hashed("/", {}) == blob.digest
    assert connection.discard("/", {}) == blob.size


def test_a_connection_serves_many_requests(connection):
    """Nothing of one answer is left over for the next, however it was read."""
    connection.ask("PUT", "/", {}, b"hello").expect(201)
    for _ in range(3):
        assert connection.ask("GET", "/", {}).body == b"hello"
        assert connection.ask("GET", "/chunked", {}).body == b"hello"
        assert connection.discard("/", {}) == 5


def test_no_two_blobs_are_alike(pool):
    """Each blob is new to every registry, and its pieces are the whole of it."""
    first, second = pool.blob(MIB), pool.blob(MIB)
    assert first.digest != second.digest
    assert f"sha256:{hashlib.sha256(b''.join(first.pieces(999))).hexdigest()}" == first.digest


def test_an_error_is_not_discarded(connection):
    """An answer that is no success is not counted as bytes."""
    connection.ask("PUT", "/", {}, b"sorry").expect(201)
    with pytest.raises(Refused, match="500: b'sorry'"):
        connection.discard("/broken", {})


def test_an_unexpected_status_is_told_with_what_the_server_said(connection):
    """The message has the status and the body."""
    with pytest.raises(Refused, match="201 instead of 202"):
        connection.ask("PUT", "/", {}, b"hello").expect(202)
