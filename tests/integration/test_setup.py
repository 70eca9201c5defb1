"""
A machine with nothing but the program: a first start, the setup over HTTP, a restart by itself, and a push over TLS
that trusts nobody but the authority which the setup made.
"""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509

from quay import authority
from quay.setup import CertificateFiles
from tests.distribution import Client, Image
from tests.founding import PASSWORD, Browser, Fresh, address, answers, wait
from tests.postgres import free_port
from tests.server import RunningQuay
from tests.supervisor import Listener


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Fresh]:
    with Fresh(tmp_path / "data") as server:
        yield server


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """Who watches the server."""
    with Listener(tmp_path / "notify") as made:
        yield made


def test_from_nothing_to_a_push(tmp_path: Path, listener: Listener) -> None:
    """Four screens, one restart, and clients push; the process is the same one, and what was set by hand is there."""
    with Fresh(tmp_path / "data", {"NOTIFY_SOCKET": str(listener.path)}) as fresh:
        set_up_and_push(fresh)
        told = [line for line in listener.now() if not line.startswith(("STATUS", "EXTEND", "WATCHDOG"))]
        assert told == ["READY=1", "RELOADING=1", "READY=1"], "for who watches the process, a restart is a reload"
        assert fresh.stop() == 0


def set_up_and_push(fresh: Fresh) -> None:
    port, plain, pid = free_port(), free_port(), fresh.pid
    browser = Browser.at(fresh.port)
    assert browser.get(address(fresh)).expect(303).headers["Location"] == "/setup/administrator"
    first = {"name": "ada", "email": "ada@example.org", "password": PASSWORD, "repeated": PASSWORD}
    browser.send("/setup/administrator", first).expect(303)
    host = f"127.0.0.1:{port}"
    named = {"hostname": host, "listen": host, "plain": f"127.0.0.1:{plain}", "tls": "own", "others": "localhost"}
    browser.send("/setup/names", named).expect(303)
    browser.send("/setup/storage", {"database": "kept", "blobs": "elsewhere"}).expect(303)
    assert f"docker login -u ada {host}".encode() in browser.get("/setup/summary").expect(200).body
    goodbye = browser.send("/setup/apply", {"restart": "1"}, page="/setup/summary").expect(200)
    assert f"https://{host}/".encode() in goodbye.body

    trust = ssl.create_default_context(cafile=str(authority_of(plain, fresh)))
    wait(lambda: answers(port, trust), "the restart")
    assert fresh.pid == pid
    assert (fresh.data / "quay.yaml").read_text().startswith("# by hand\n")
    client = Client(host, "ada", PASSWORD, tls=trust)
    image = Image.made("setup")
    client.push("ada/image", "latest", image)
    client.pull("ada/image", "latest", image)
    assert (fresh.data / "elsewhere").is_dir()
    assert fresh.log.count("/setup/?token=") == 1


def authority_of(plain: int, server: Fresh) -> Path:
    """The certificate of the authority, as a client fetches it from where plain HTTP hands it out."""
    found: list[bytes] = []

    def fetched() -> bool:
        connection = HTTPConnection("127.0.0.1", plain, timeout=10)
        try:
            connection.request("GET", "/ca")
            answer = connection.getresponse()
            found.append(answer.read())
            return answer.status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    wait(fetched, "the certificate of the authority")
    path = server.data / "trusted.pem"
    path.write_bytes(found[-1])
    return path


def test_the_address_dies_with_the_first_administrator(fresh: Fresh) -> None:
    """However he is made: by a command beside the server, say."""
    path = address(fresh)
    fresh.add_user("ada", superuser=True)
    assert Browser.at(fresh.port).get(path).status == 403


def test_another_address(fresh: Fresh) -> None:
    """`quay setup url` prints a new one, of which the running server knows; the first is worthless then."""
    old = address(fresh)
    new = urlsplit(fresh.command("setup", "url").strip())
    assert Browser.at(fresh.port).get(old).status == 403
    assert Browser.at(fresh.port).get(f"{new.path}?{new.query}").status == 303


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    """Keys and tokens are made anew for each: nothing of the kind is in the program."""
    kept: list[set[bytes]] = []
    for name in ("one", "two"):
        with Fresh(tmp_path / name) as server:
            token = address(server).partition("token=")[2].encode()
            secrets = {(server.data / each).read_bytes() for each in ("secret_key", "database_secret_key")}
            kept.append({token, *secrets})
    assert not kept[0] & kept[1]


def test_answers_from_a_file(tmp_path: Path) -> None:
    """The same without a browser: then the server starts on TLS, and its administrator pushes."""
    server = Fresh(tmp_path / "data")
    host = f"127.0.0.1:{server.port}"
    given = {
        "administrator": {"name": "ada", "email": "ada@example.org", "password": PASSWORD},
        "names": {"hostname": host, "listen": [host], "plain": [], "others": ["localhost"]},
    }
    file = tmp_path / "answers.yaml"
    file.write_text(yaml.safe_dump(given))
    rehearsed = server.command("setup", "--answers", str(file), "--dry-run")
    assert "Nothing was changed" in rehearsed
    assert not (server.data / "tls").exists()
    assert "ada administers the registry" in server.command("setup", "--answers", str(file))
    server.start(await_health=False)
    try:
        own = CertificateFiles(server.data).authority()
        assert own is not None
        trust = ssl.create_default_context(cadata=authority.pem_of(own).decode())
        wait(lambda: answers(server.port, trust), "the start")
        Client(host, "ada", PASSWORD, tls=trust).push("ada/image", "latest", Image.made("answers"))
    finally:
        server.kill()


def test_a_certificate_is_taken_up_while_running(tmp_path: Path) -> None:
    """On SIGHUP, new connections see the new certificate and open ones go on; a pair that is no good changes none."""
    files = CertificateFiles(tmp_path)
    now = datetime.now(UTC)
    first = files.make(("127.0.0.1",), now)
    trust = ssl.create_default_context(cadata=authority.pem_of(first.chain[1]).decode())
    tls = {"QUAY_TLS_CERTIFICATE": "tls/server.pem", "QUAY_TLS_KEY": "tls/server.pem"}
    server = RunningQuay(tmp_path, tls)
    server.start(await_health=False)
    try:
        wait(lambda: answers(server.port, trust), "the start")
        assert shown(server.port, trust) == first.certificate.serial_number
        open_one = HTTPSConnection("127.0.0.1", server.port, timeout=10, context=trust)
        open_one.request("GET", "/health")
        open_one.getresponse().read()

        second = files.make(("127.0.0.1",), now)
        hang_up(server)
        wait(lambda: shown(server.port, trust) == second.certificate.serial_number, "the new certificate")
        open_one.request("GET", "/health")
        assert open_one.getresponse().status == 200

        files.server.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
        hang_up(server)
        wait(lambda: "The certificate stays as it was" in server.log, "the refusal")
        assert shown(server.port, trust) == second.certificate.serial_number
    finally:
        server.kill()


def test_a_certificate_that_ended_meanwhile(tmp_path: Path) -> None:
    """After a long rest, the first client already sees a certificate that is good, by the authority that he trusts."""
    files = CertificateFiles(tmp_path)
    ended = files.make(("127.0.0.1",), datetime.now(UTC) - timedelta(days=400))
    trust = ssl.create_default_context(cadata=authority.pem_of(ended.chain[1]).decode())
    server = RunningQuay(tmp_path, {"QUAY_TLS_CERTIFICATE": "tls/server.pem", "QUAY_TLS_KEY": "tls/server.pem"})
    server.start(await_health=False)
    try:
        wait(lambda: answers(server.port, trust), "the start")
        assert shown(server.port, trust) != ended.certificate.serial_number
        assert "was renewed" in server.log
    finally:
        server.kill()


def test_another_authority_takes_over(tmp_path: Path) -> None:
    """Who has fetched both authorities trusts the server before and after, and his connection goes on all the while."""
    files = CertificateFiles(tmp_path)
    first = files.make(("127.0.0.1",), datetime.now(UTC))
    former = ssl.create_default_context(cadata=authority.pem_of(first.chain[1]).decode())
    server = RunningQuay(tmp_path, {"QUAY_TLS_CERTIFICATE": "tls/server.pem", "QUAY_TLS_KEY": "tls/server.pem"})
    server.start(await_health=False)
    try:
        wait(lambda: answers(server.port, former), "the start")
        server.command("setup", "authority", "--replace")
        open_one = HTTPSConnection("127.0.0.1", server.port, timeout=10, context=former)
        open_one.request("GET", "/ca")
        both = ssl.create_default_context(cadata=open_one.getresponse().read().decode())
        assert shown(server.port, both) == first.certificate.serial_number
        server.command("setup", "authority", "--take-over")
        hang_up(server)
        wait(lambda: shown(server.port, both) != first.certificate.serial_number, "the new certificate")
        assert not answers(server.port, former)
        open_one.request("GET", "/health")
        assert open_one.getresponse().status == 200
    finally:
        server.kill()


def hang_up(server: RunningQuay) -> None:
    os.kill(server.pid, signal.SIGHUP)


def shown(port: int, trust: ssl.SSLContext) -> int:
    """The number of the certificate that a new connection sees."""
    connection = HTTPSConnection("127.0.0.1", port, timeout=10, context=trust)
    connection.connect()
    der = connection.sock.getpeercert(binary_form=True)
    connection.close()
    return x509.load_der_x509_certificate(der).serial_number
