"""A Redis is asked whether it can be used, and each way in which it cannot is a sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from quay.coordination import probe as module
from quay.coordination.probe import RedisUnfit, probe
from tests.postgres import free_port
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


def test_it_answers(redis: RedisServer) -> None:
    """With its password, and a database that it has, it can be used."""
    probe("127.0.0.1", redis.port, password=redis.password, database=3)


@pytest.mark.parametrize(
    ("password", "database", "why"),
    [
        ("wrong", 0, "refuses AUTH: WRONGPASS"),
        ("", 0, "refuses SELECT: NOAUTH"),
        ("s3cret", 999, "refuses SELECT: ERR DB index is out of range"),
    ],
)
def test_refused(redis: RedisServer, password: str, database: int, why: str) -> None:
    """What it refuses is said in its own words, without the password."""
    with pytest.raises(RedisUnfit, match=why) as unfit:
        probe("127.0.0.1", redis.port, password=password, database=database)
    assert not password or password not in str(unfit.value)


def test_without_tls(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that speaks no TLS waits for the end of what it takes for a command: the sentence asks for that."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    with pytest.raises(RedisUnfit, match="does it speak TLS there"):
        probe("127.0.0.1", redis.port, password=redis.password, tls=True)


def test_nobody_there() -> None:
    """Where nothing listens, there is no Redis."""
    port = free_port()
    with pytest.raises(RedisUnfit, match=f"There is no Redis at 127.0.0.1:{port}: Connection refused"):
        probe("127.0.0.1", port)


def test_no_such_host() -> None:
    """A host that nobody knows is said to be that."""
    with pytest.raises(RedisUnfit, match="not known to the DNS"):
        probe("redis.invalid", 6379)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a Redis"),
        (b"x" * 10_000, "not a Redis"),
        (b"", "closed the connection"),
    ],
)
def test_something_else(says: bytes, why: str) -> None:
    """What answers otherwise, or without an end, is no Redis, and is not read for ever."""
    with answering(says) as port, pytest.raises(RedisUnfit, match=why):
        probe("127.0.0.1", port)


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never answers is waited for, and then it is said."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(RedisUnfit, match="Nobody answers"):
            probe("127.0.0.1", silent.getsockname()[1])


class answering:  # noqa: N801  # used like a function
    """A server for one connection that says this, whatever it is asked."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._socket = socket.socket()

    def __enter__(self) -> int:
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *problem: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(self._says)
