"""
The doctor beside a real server: what is really wrong with it is found, what is well is left alone; and a probe goes
through its TLS as a client would.
"""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from quay.authority import pem_of
from quay.setup import CertificateFiles
from tests.faults.medium import MIB, Tmpfs
from tests.server import RunningQuay


class Installed(RunningQuay):
    """A server as it is installed, with the commands for its machine; with `names`, it has a certificate for them."""

    def __init__(self, data: Path, *names: str, env: Mapping[str, str] | None = None) -> None:
        tls = {"QUAY_TLS_CERTIFICATE": "tls/server.pem", "QUAY_TLS_KEY": "tls/server.pem"} if names else {}
        patience = {"RES_OPTIONS": "timeout:1 attempts:1"}  # where there is no DNS, it is not waited for
        super().__init__(data, {**tls, **patience, **(env or {})})
        data.chmod(0o700)
        self._tls = bool(names)
        if names:
            CertificateFiles(data).make(names, datetime.now(UTC))

    def called(self, name: str) -> None:
        """From now on, clients call it so."""
        self._environment["QUAY_SERVER_HOSTNAME"] = f"{name}:{self.port}"

    def examined(self, *checks: str) -> dict[str, list[tuple[str, str]]]:
        """What the doctor finds, state and sentence, by check; whether it is well must be what its status says."""
        only = [word for check in checks for word in ("--only", check)]
        done = self.run("doctor", "-o", "json", *only)
        value: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if value["well"] else 1), done.stderr
        found: dict[str, list[tuple[str, str]]] = {}
        for finding in value["findings"]:
            found.setdefault(finding["check"], []).append((finding["state"], finding["sentence"]))
        return found

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "appliance", *arguments]

    def _connection(self) -> HTTPConnection:
        if not self._tls:
            return super()._connection()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether it is up, and nothing else
        return HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)


@contextmanager
def running(server: Installed) -> Iterator[Installed]:
    with server:
        yield server


def worst(found: list[tuple[str, str]]) -> str:
    return next(state for state in ("wrong", "remarkable", "unseen", "fine") if state in {each for each, _ in found})


def test_a_server_that_is_well(tmp_path: Path) -> None:
    """With its own certificate, each check that is about the installation finds it fine, from outside and inside."""
    server = Installed(tmp_path / "data", "localhost", "127.0.0.1")
    server.called("localhost")
    with running(server):
        before = {path for path in server.data.rglob("*") if path.is_file()}
        found = server.examined()
        assert {path for path in server.data.rglob("*") if path.is_file()} == before
        of_ours = ("lock", "certificate", "ports", "ownership", "database", "storage", "audit")
        assert {check: worst(found[check]) for check in of_ours} == dict.fromkeys(of_ours, "fine")
        assert worst(found["names"]) != "wrong"
        assert any("answers as a registry" in sentence for _, sentence in found["ports"])
        assert found["lock"][0][1].startswith(f"The server runs: process {server.pid} on ")


def test_a_certificate_and_a_name_of_others(tmp_path: Path) -> None:
    """A name that nobody knows, and a certificate for somebody else: both are said, and that clients refuse it."""
    server = Installed(tmp_path / "data", "other.example.org")
    server.called("nowhere.invalid")
    with running(server):
        found = server.examined("names", "certificate", "ports")
    assert ("wrong", "nowhere.invalid has no address here") in [
        (state, sentence.partition(":")[0]) for state, sentence in found["names"]
    ]
    assert any(
        state == "wrong" and "not for nowhere.invalid, but for other.example.org" in sentence
        for state, sentence in found["certificate"]
    )
    refused = [sentence for state, sentence in found["ports"] if state == "wrong"]
    assert any("The certificate that is shown is not for nowhere.invalid." in sentence for sentence in refused)
    assert any(f"No connection to nowhere.invalid, port {server.port}" in sentence for sentence in refused)


def test_a_disk_that_is_full_and_one_that_fails(tmp_path: Path) -> None:
    """Room, kind and storage are wrong, beside the server and after it; and the doctor comes to its end."""
    with Tmpfs(tmp_path / "small", 24 * MIB) as disk:
        server = Installed(disk.path / "data")
        with running(server):
            disk.fill()
            full = server.examined("disk", "storage")
            disk.empty()
            assert worst(server.examined("storage")["storage"]) == "fine"
            server.stop()
        disk.protect()
        failed = server.examined("disk", "storage", "database")
        disk.protect(read_only=False)
    sentences = [sentence for state, sentence in full["disk"] if state == "wrong"]
    assert any("pushes are about to be refused" in sentence for sentence in sentences)
    assert any("is on tmpfs" in sentence for sentence in sentences)
    ((state, sentence),) = full["storage"]
    assert state == "wrong"
    assert "ENOSPC" in sentence
    assert any("read-only" in sentence for _, sentence in failed["disk"])
    assert worst(failed["storage"]) == "wrong"
    assert worst(failed["database"]) == "fine"


def test_a_server_that_does_not_run(tmp_path: Path) -> None:
    """Nothing is made, not even a data directory, and nothing is wrong."""
    server = Installed(tmp_path / "data")
    found = server.examined("disk", "database", "storage", "ports", "lock", "audit")
    assert {worst(findings) for findings in found.values()} <= {"fine", "unseen", "remarkable"}
    assert list(server.data.iterdir()) == []


def test_a_configuration_that_is_broken(tmp_path: Path) -> None:
    """Its mistakes are told, and the machine is looked at all the same."""
    server = Installed(tmp_path / "data", env={"QUAY_LISTEN": "nowhere"})
    found = server.examined()
    assert any(
        "LISTEN[0]: 'nowhere' is not an address and a port" in sentence for _, sentence in found["configuration"]
    )
    assert worst(found["database"]) == "unseen"
    assert found["limits"]


def test_it_reads_well(tmp_path: Path) -> None:
    """For people it is a line for each check, and what to do in a line that can be copied."""
    server = Installed(tmp_path / "data")
    (server.data / "secret_key").touch(0o644)
    server.data.chmod(0o755)
    done = server.run("doctor", "--only", "ownership")
    assert done.returncode == 1
    assert f"\n              $ chmod 600 {server.data}/secret_key\n" in done.stdout
    assert f"\n              http://127.0.0.1:{server.port}/docs/runbooks#secrets-can-be-read\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 wrong, ")


# --- the probe


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    server = Installed(tmp_path_factory.mktemp("probed") / "data", "localhost", "127.0.0.1")
    server.called("localhost")
    server.add_user("ada")
    with server:
        yield server


def url(server: Installed) -> str:
    return f"https://localhost:{server.port}"


def ca(server: Installed, tmp_path: Path) -> str:
    own = CertificateFiles(server.data).authority()
    assert own is not None
    (tmp_path / "ca.pem").write_bytes(pem_of(own))
    return str(tmp_path / "ca.pem")


def test_a_probe(probed: Installed, tmp_path: Path) -> None:
    """An image goes there and back through TLS, each step with its time, and its tag is gone afterwards."""
    asked = ("probe", url(probed), "--ca", ca(probed, tmp_path), "--username", "ada", "--password-stdin")
    done = probed.run(*asked, stdin="password123\n")
    assert done.returncode == 0, done.stderr
    steps = [line.partition(" ms  ")[2] for line in done.stdout.splitlines()[:-1]]
    assert [step.split()[0] for step in steps] == [
        "reached",
        "signed",
        "pushed",
        "pushed",
        "pushed",
        "pulled",
        "pulled",
        "deleted",
    ]
    assert done.stdout.splitlines()[-1] == "A client can push and pull through this URL."
    collected = probed.run("gc", "--dry-run")
    assert collected.returncode == 0
    assert "password123" not in done.stdout + done.stderr + probed.log


@pytest.mark.parametrize(
    ("password", "name", "more", "why"),
    [
        ("wrong-one", "ada", (), "There is no user ada with this password."),
        ("password123", "ada", ("--repository", "somebody/else"), "answered 401"),
    ],
)
def test_a_probe_that_is_refused(
    probed: Installed, tmp_path: Path, password: str, name: str, more: tuple[str, ...], why: str
) -> None:
    """Who may not push is told so in the words of the registry."""
    asked = ("probe", url(probed), "--ca", ca(probed, tmp_path), "--username", name, "--password-stdin", *more)
    done = probed.run(*asked, stdin=password)
    assert done.returncode == 1
    assert why in done.stderr
    assert password not in done.stderr


def test_a_probe_that_believes_nobody(probed: Installed) -> None:
    """Without the authority, the certificate is not believed, and it is said why."""
    done = probed.run("probe", url(probed), "--repository", "ada/probe")
    assert done.returncode == 1
    assert "The certificate is not believed by the CAs of this machine" in done.stderr
