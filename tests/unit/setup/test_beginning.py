"""What an installation begins with, before anybody was asked."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quay import authority, config
from quay.config import Endpoint
from quay.config.values import Hostname
from quay.setup import CertificateFiles, checks, machine
from quay.setup.beginning import Beginning, begin, beside, is_new, usual

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HTTPS = Endpoint("0.0.0.0", 8443)


def test_a_configuration_that_can_be_used(tmp_path: Path) -> None:
    """TLS with a certificate of its own authority for all that the machine is called, and secrets that no other has."""
    data = tmp_path / "data"
    assert is_new(data)
    begin(data, Beginning(listen=(HTTPS,), plain=(beside(HTTPS),)), NOW)
    assert not is_new(data)
    found = config.load(data / "quay.yaml", {})
    assert (found.listen, found.plain_listen, found.hostname, found.data) == (
        (HTTPS,),
        (Endpoint("0.0.0.0", 8080),),
        None,
        data,
    )
    assert found.secret_key is not None and found.database_secret_key is not None
    assert not found.warnings
    files = CertificateFiles(data)
    own, current = files.authority(), files.current()
    assert own is not None and current is not None
    assert found.tls_certificate == found.tls_key == files.server
    assert authority.is_issued_by(current.certificate, own)
    assert set(authority.names_of(current.certificate)) == {*machine.names(), *machine.addresses()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data / "quay.yaml", files.server)} == {0o600}


def test_a_name(tmp_path: Path) -> None:
    """The name that it is given is what clients are told, and the first of the certificate's."""
    begin(tmp_path, Beginning(listen=(HTTPS,), hostname=Hostname.parse("registry.test:8443")), NOW)
    found = config.load(tmp_path / "quay.yaml", {})
    assert (found.hostname, found.plain_listen) == ("registry.test:8443", ())
    current = CertificateFiles(tmp_path).current()
    assert current is not None
    assert authority.names_of(current.certificate)[0] == "registry.test"


def test_two_share_no_secret(tmp_path: Path) -> None:
    """Whatever begins, begins with secrets of its own."""
    found = []
    for name in ("one", "two"):
        begin(tmp_path / name, Beginning(listen=(HTTPS,)), NOW)
        made = config.load(tmp_path / name / "quay.yaml", {})
        found += [made.secret_key.reveal(), made.database_secret_key.reveal()]
    assert len(set(found)) == 4


@pytest.mark.parametrize("name", ["quay.yaml", "quay.db"])
def test_what_has_begun(tmp_path: Path, name: str) -> None:
    """A configuration or a database says that something has begun here; what `quay install` notes does not."""
    (tmp_path / "installation.json").touch()
    assert is_new(tmp_path)
    (tmp_path / name).touch()
    assert not is_new(tmp_path)


def test_the_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """443 and 80 where this process may listen there, 8443 and 8080 elsewhere; plain HTTP only if its port is free."""
    monkeypatch.setattr(machine, "usual_port", lambda: 443)
    monkeypatch.setattr(checks, "refusal", lambda endpoint: "")
    assert usual() == Beginning(listen=(Endpoint("0.0.0.0", 443),), plain=(Endpoint("0.0.0.0", 80),))
    monkeypatch.setattr(machine, "usual_port", lambda: 8443)
    assert usual() == Beginning(listen=(HTTPS,), plain=(Endpoint("0.0.0.0", 8080),))
    monkeypatch.setattr(checks, "refusal", lambda endpoint: "another program listens there.")
    assert usual() == Beginning(listen=(HTTPS,))
