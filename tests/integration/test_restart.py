"""A server that stops, is killed, starts again, or cannot start: nothing is lost, and whoever watches is told."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.distribution import LOST, Client, Image, digest_of
from tests.postgres import free_port
from tests.server import PATIENCE, RunningQuay

MIB = 1024 * 1024
REPOSITORY = "dev/app"

ENDINGS = {"stopped": RunningQuay.stop, "killed": RunningQuay.kill}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningQuay]:
    """A running server with one user."""
    with RunningQuay(tmp_path / "data") as server:
        server.add_user("dev")
        yield server


@pytest.fixture
def client(server: RunningQuay) -> Iterator[Client]:
    client = Client(server.host, "dev")
    yield client
    client.close()


@pytest.fixture(params=ENDINGS.values(), ids=ENDINGS.keys())
def restart(request: pytest.FixtureRequest, server: RunningQuay, client: Client) -> Callable[[], None]:
    """End the server in one way or the other, and start it again."""

    def end_and_start() -> None:
        request.param(server)
        client.close()
        server.start()

    return end_and_start


# --- what goes on after a restart ---------------------------------------------------------------------------------


def test_an_upload_goes_on_after_a_restart(client: Client, restart: Callable[[], None]) -> None:
    """What was acknowledged of an upload is there after a restart, clean or not, and the rest makes the right blob."""
    data = Image.made("upload").layers[0]
    upload = client.begin(REPOSITORY, data)
    client.append(REPOSITORY, upload, 1_000_000)
    client.append(REPOSITORY, upload, 1_170_001)
    restart()
    assert client.held(REPOSITORY, upload) == 1_170_001
    client.append(REPOSITORY, upload, 1_200_000)
    restart()
    client.finish(REPOSITORY, upload)
    answer = client.call("GET", REPOSITORY, f"blobs/{digest_of(data)}").expect(200)
    assert answer.body == data


@pytest.mark.parametrize(("end", "status"), [("stopped", 202), ("killed", 404)])
@pytest.mark.parametrize("held", [0, 100])
def test_a_small_upload_outlives_a_clean_stop(
    server: RunningQuay, client: Client, held: int, end: str, status: int
) -> None:
    """An upload that holds little or nothing goes on after a clean restart; after a crash it is unknown: begin anew."""
    data = Image.made(f"begun {held}").layers[1]
    upload = client.begin(REPOSITORY, data)
    if held:
        client.append(REPOSITORY, upload, held)
    ENDINGS[end](server)
    client.close()
    server.start()
    client.call("PATCH", REPOSITORY, upload.location, data[held:]).expect(status)
    client.finish(REPOSITORY, client.begin(REPOSITORY, data))
    assert client.has_blob(REPOSITORY, data)


def test_a_token_outlives_the_server_that_gave_it(client: Client, restart: Callable[[], None]) -> None:
    """A token from before a restart is good after it, though the key that signed it is gone with its process."""
    image = Image.made("token")
    client.push(REPOSITORY, "latest", image)
    before = dict(client.tokens)
    restart()
    client.pull(REPOSITORY, "latest", image)
    client.tag(REPOSITORY, "second", image.manifest)
    assert client.tokens == before


def test_a_clean_stop_writes_the_audit_log(server: RunningQuay, client: Client) -> None:
    """Who pushed and pulled what, up to the last moment, is on record when the server has stopped."""
    image = Image.made("audit")
    client.push(REPOSITORY, "latest", image)
    client.pull(REPOSITORY, "latest", image)
    assert server.stop() == 0
    database = sqlite3.connect(server.data / "quay.db")
    query = "SELECT kind, performer, details FROM audit WHERE kind LIKE '%_repo' ORDER BY id"
    found = database.execute(query).fetchall()
    database.close()
    assert [(kind, performer) for kind, performer, _ in found] == [
        ("create_repo", "dev"),
        ("push_repo", "dev"),
        ("push_repo", "dev"),
        ("pull_repo", "dev"),
    ]
    assert json.loads(found[-1][2])["tag"] == "latest"


# --- how it stops -------------------------------------------------------------------------------------------------


def test_an_idle_connection_does_not_hold_up_a_stop(server: RunningQuay, client: Client) -> None:
    """A server with nothing but idle connections stops at once, and says that all is well."""
    client.push(REPOSITORY, "latest", Image.made("idle"))  # the connection stays open
    silent = socket.create_connection(("127.0.0.1", server.port))
    assert server.stop() == 0
    assert "still busy" not in server.log  # which it says when the grace for its clients is over
    silent.close()


def test_a_stop_lets_a_download_finish(server: RunningQuay, client: Client) -> None:
    """Whoever is reading a blob when the server is told to stop gets all of it; nobody new is let in."""
    data = Image.made("download").layers[0] * 40  # more than the buffers of both sockets hold
    client.push_blob(REPOSITORY, data)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Authorization": f"Bearer {client.tokens[REPOSITORY]}"}
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(data)}", headers=headers)
    answer = connection.getresponse()
    begun = answer.read(MIB)
    ended = _told_to_stop(server)
    _await_closed(server.port)
    assert begun + answer.read() == data
    assert _status(ended) == 0


def test_a_stop_lets_an_upload_finish_its_request(server: RunningQuay, client: Client) -> None:
    """Whoever is sending a chunk when the server is told to stop may finish it, and goes on after the restart."""
    data = Image.made("chunk").layers[0]
    upload = client.begin(REPOSITORY, data)
    ended: list[Thread] = []

    def slowly() -> Iterator[bytes]:
        yield data[:100_000]
        server.await_health()  # so that the head has been read, too
        ended.append(_told_to_stop(server))
        _await_closed(server.port)
        yield data[100_000:200_000]

    answer = client.call("PATCH", REPOSITORY, upload.location, slowly()).expect(202)
    assert answer.headers["Connection"] == "close"
    assert _status(ended[0]) == 0
    server.start()
    upload.sent = 200_000
    assert client.held(REPOSITORY, upload) == 200_000
    client.finish(REPOSITORY, upload)


def test_a_server_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    """Told to stop before it has started, it ends at once and without a complaint."""
    with socket.socket() as silent:  # a database that accepts connections and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"postgresql://quay@127.0.0.1:{silent.getsockname()[1]}/quay"
        server = RunningQuay(tmp_path / "data", {"QUAY_DB_URI": uri})
        server.start(await_health=False)
        asking = silent.accept()[0]
        ended = _told_to_stop(server)
        _await_closed(server.port)
        asking.close()
        assert _status(ended) == 0
    assert "could not start" not in server.log


@pytest.mark.parametrize(("again", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
def test_being_told_again(server: RunningQuay, again: signal.Signals, status: int) -> None:
    """While a server waits for its clients, a second SIGTERM changes nothing, and a second Ctrl-C ends it at once."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /v2/ HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nand no more")
        server.await_health()  # so that the head has been read, too
        pid, ended = server.pid, _told_to_stop(server)
        _await_closed(server.port)
        os.kill(pid, again)
        if status:
            assert _status(ended) == status
    assert _status(ended) == status
    assert "Traceback" not in server.log


# --- why it does not start ----------------------------------------------------------------------------------------


def refusal(server: RunningQuay) -> str:
    """What a server says that does not start, in one line. Raises AssertionError if it starts, or gives no reason."""
    server.start(await_health=False)
    assert server.wait() == 1
    assert "Traceback" not in server.log
    lines = [line for line in server.log.splitlines() if "could not start: " in line]
    return lines[0].partition("could not start: ")[2] if lines else server.log


def test_two_servers_do_not_share_a_data_directory(server: RunningQuay) -> None:
    """The second server on a data directory does not start, and says who is there."""
    second = RunningQuay(server.data)
    said = refusal(second)
    assert said.startswith(f"Another server is using {server.data}: process {server.pid} on ")
    assert server.healthy()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A server whose port is taken does not start, and says which address it is."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = refusal(RunningQuay(tmp_path, {"QUAY_LISTEN": address}))
    assert said.startswith(f"The server cannot listen on {address}: Address already in use.")


@pytest.mark.parametrize(
    ("text", "word"),
    [("LISTEN: [", "Line 1"), ("NO_SUCH_KEY: 1\n", "NO_SUCH_KEY"), ("\0", "Line 1"), (None, "No such file")],
)
def test_a_bad_configuration_is_explained(tmp_path: Path, text: str | None, word: str) -> None:
    """A configuration that cannot be read or understood is a sentence, not a traceback."""
    file = tmp_path / "quay.yaml"
    if text is not None:
        file.write_text(text)
    assert word in refusal(RunningQuay(tmp_path / "data", {"QUAY_CONFIG": str(file)}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("DB_URI", "postgresql://quay@127.0.0.1:{port}/quay"), ("USER_EVENTS_REDIS", "{{host: 127.0.0.1, port: {port}}}")],
)
def test_a_missing_service_is_named(tmp_path: Path, key: str, value: str) -> None:
    """A server whose database or Redis is not there ends, and says what it could not reach."""
    port = free_port()
    said = refusal(RunningQuay(tmp_path, {f"QUAY_{key}": value.format(port=port)}))
    assert "refused" in said
    assert str(port) in said


def test_a_data_directory_that_is_none_is_explained(tmp_path: Path) -> None:
    """A data directory that cannot be made is a sentence."""
    (tmp_path / "file").write_text("")
    server = RunningQuay(tmp_path / "log", {"QUAY_DATA": str(tmp_path / "file" / "data")})
    assert "file/data cannot be used: Not a directory." in refusal(server)


def test_a_key_of_another_certificate_is_found_at_the_start(tmp_path: Path) -> None:
    """A certificate and a key that do not belong together keep the server from starting; no client has to find out."""
    (tmp_path / "chain.pem").write_bytes(_certificate(ec.generate_private_key(ec.SECP256R1())))
    (tmp_path / "key.pem").write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    files = {"QUAY_TLS_CERTIFICATE": str(tmp_path / "chain.pem"), "QUAY_TLS_KEY": str(tmp_path / "key.pem")}
    said = refusal(RunningQuay(tmp_path / "data", files))
    assert said.startswith(f"TLS cannot be spoken with TLS_CERTIFICATE {tmp_path / 'chain.pem'}")


# --- as a plugin --------------------------------------------------------------------------------------------------


class ByTwistd(RunningQuay):
    """The server as `twistd` runs it."""

    def _command(self, *arguments: str) -> list[str]:
        if arguments != ("serve",):
            return super()._command(*arguments)
        file = self.data / "other.yaml"
        file.write_text("REGISTRY_TITLE: By twistd\n")
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]  # which finds the plugin here
        return [*twistd, "-n", "--pidfile=", "quay", "--config", str(file)]


def test_twistd_serves(tmp_path: Path) -> None:
    """`twistd -n quay --config FILE` is a server like any other."""
    with ByTwistd(tmp_path) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        assert "<title>Home · By twistd</title>".encode() in client.request("GET", "/").expect(200).body
        client.push(REPOSITORY, "latest", Image.made("twistd"))
        client.pull(REPOSITORY, "latest", Image.made("twistd"))
        client.close()
        assert server.stop() == -signal.SIGTERM  # after a clean stop, twistd ends as it was told to
    assert "Main loop terminated." in server.log


def test_twistd_says_why_it_does_not_serve(tmp_path: Path) -> None:
    """What keeps the server from starting is a sentence under twistd, too."""
    server = ByTwistd(tmp_path, {"QUAY_LOG_LEVEL": "loud"})
    server.start(await_health=False)
    assert server.wait() == 1
    assert "LOG_LEVEL" in server.log
    assert "Traceback" not in server.log


# --- pieces -------------------------------------------------------------------------------------------------------


def _told_to_stop(server: RunningQuay) -> Thread:
    """Tell it to stop, and wait in a thread until it has; `_status` waits for that."""
    statuses: list[int] = []
    thread = Thread(target=lambda: statuses.append(server.stop()), daemon=True)
    thread.statuses = statuses  # type: ignore[attr-defined]
    thread.start()
    return thread


def _status(ended: Thread) -> int:
    ended.join()
    return int(ended.statuses[0])  # type: ignore[attr-defined]


def _await_closed(port: int) -> None:
    """Return when nobody listens there any more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except LOST:
            return
        time.sleep(0.02)
    raise AssertionError(f"port {port} is still open")


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
