"""Storage locations, Redis and the mail server are really tried."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.doctor import services, storage
from quay.condition import State
from quay.storage.layout import Layout
from tests.redis_server import RedisServer
from tests.unit.appliance.doctor.patients import look_of, machine, only, patient, well


def test_a_location(tmp_path: Path) -> None:
    """Bytes go there and back, and nothing of them stays."""
    whom = patient(tmp_path)
    Layout("default", whom.config.data / "blobs").make()
    before = sorted((whom.config.data / "blobs").rglob("*"))
    assert well(storage.look, whom)
    assert sorted((whom.config.data / "blobs").rglob("*")) == before


def test_a_location_that_is_not_there(tmp_path: Path) -> None:
    """It is not made."""
    whom = patient(tmp_path)
    assert only(storage.look, whom, State.UNSEEN)
    assert not (whom.config.data / "blobs").exists()


def test_a_location_without_its_directories(tmp_path: Path) -> None:
    """Something else lies where uploads begin: what the storage says is told."""
    whom = patient(tmp_path)
    Layout("default", whom.config.data / "blobs").make()
    uploads = Layout("default", whom.config.data / "blobs").uploads
    uploads.rmdir()
    uploads.write_text("in the way")
    finding = only(storage.look, whom, State.WRONG)
    assert "The storage location 'default' could not" in finding.sentence
    assert finding.link == "/docs/runbooks#the-storage-fails"


def test_as_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not write is told to try as the one who may."""
    whom = patient(tmp_path, machine(tmp_path / "machine", uid=12345))
    Layout("default", whom.config.data / "blobs").make()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "try as root" in only(storage.look, whom, State.UNSEEN).sentence


def test_backups(tmp_path: Path) -> None:
    """None are made, or none was made: both are worth a word."""
    assert "no BACKUP_DIRECTORY" in only(look_of("backup"), patient(tmp_path), State.REMARKABLE).sentence
    whom = patient(tmp_path, BACKUP_DIRECTORY=str(tmp_path / "backups"), BACKUP_SCHEDULE=["03:00"])
    assert "There is no backup in" in only(look_of("backup"), whom, State.WRONG).sentence


# --- Redis and mail


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """A server that says this, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_redis_that_answers(tmp_path: Path) -> None:
    """A real one is asked as a node asks it; a wrong password is told, and not repeated."""
    server = RedisServer()
    server.start()
    try:
        for password, state in ((server.password, State.FINE), ("hunter2", State.WRONG)):
            redis = {"host": "127.0.0.1", "port": server.port, "password": password}
            whom = patient(tmp_path, USER_EVENTS_REDIS=redis, DB_URI="postgresql://a:b@127.0.0.1:1/c")
            finding = only(services.redis, whom, state)
            assert password not in str(finding)
    finally:
        server.close()


def test_redis_that_does_not(tmp_path: Path) -> None:
    """Where nobody listens, that is said."""
    keys = {"USER_EVENTS_REDIS": {"host": "127.0.0.1", "port": 1}, "DB_URI": "postgresql://a:b@127.0.0.1:1/c"}
    finding = only(services.redis, patient(tmp_path, **keys), State.WRONG)
    assert finding.sentence == "There is no Redis at 127.0.0.1:1: Connection refused."


def test_no_redis(tmp_path: Path) -> None:
    """One node needs none."""
    assert well(services.redis, patient(tmp_path))


@pytest.mark.parametrize(("said", "state"), [(b"220 mail ESMTP\r\n", State.FINE), (b"HTTP/1.1 400\r\n", State.WRONG)])
def test_mail(tmp_path: Path, said: bytes, state: State) -> None:
    """A mail server greets, and nothing else does so."""
    with saying(said) as port:
        keys = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port, "MAIL_DEFAULT_SENDER": "quay@example.org"}
        assert only(services.mail, patient(tmp_path, **keys), state)


def test_no_mail_server_there(tmp_path: Path) -> None:
    """Where nobody listens, that is said; without a server, no letters are wanted."""
    keys = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": 1, "MAIL_DEFAULT_SENDER": "quay@example.org"}
    assert "cannot be reached" in only(services.mail, patient(tmp_path, **keys), State.WRONG).sentence
    assert well(services.mail, patient(tmp_path))
