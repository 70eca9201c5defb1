"""Each thing that keeps clients from believing a certificate is found."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.doctor.patient import Patient
from quay import authority
from quay.condition import State
from quay.setup import CertificateFiles
from tests.unit.appliance.doctor.patients import NOW, look_of, machine, only, patient, states, well

NAME = "registry.example.org"
look = look_of("certificate")


def served(tmp_path: Path, names: tuple[str, ...] = (NAME,), made: datetime = NOW, **keys: Any) -> Patient:
    """An installation with an authority of its own, and a certificate from it."""
    (tmp_path / "data").mkdir(mode=0o700)
    CertificateFiles(tmp_path / "data").make(names, made)
    file = "tls/server.pem"
    return patient(
        tmp_path, machine(tmp_path), **{"SERVER_HOSTNAME": NAME, "TLS_CERTIFICATE": file, "TLS_KEY": file, **keys}
    )


def test_one_of_our_own(tmp_path: Path) -> None:
    """A new certificate of the registry's own authority is fine, and renewed."""
    whom = served(tmp_path)
    assert well(look, whom)
    assert any("is renewed by this server" in sentence for _, sentence in states(look, whom))


def test_for_another_name(tmp_path: Path) -> None:
    """The names that it is for are said."""
    finding = only(look, served(tmp_path, ("other.example.org",)), State.WRONG)
    assert f"not for {NAME}, but for other.example.org" in finding.sentence
    assert finding.fix.startswith("openssl x509 -in ")


def test_one_that_has_ended(tmp_path: Path) -> None:
    """It is wrong."""
    found = states(look, served(tmp_path, made=NOW - timedelta(days=400)))
    assert [state for state, _ in found if state is State.WRONG]
    assert any("ended on" in sentence for _, sentence in found)


def test_one_that_was_not_renewed(tmp_path: Path) -> None:
    """Ten days before its end, a server that runs would have renewed it."""
    whom = served(tmp_path, made=NOW - timedelta(days=355))
    assert "should have been renewed" in only(look, whom, State.REMARKABLE).sentence


def test_an_authority_near_its_end(tmp_path: Path) -> None:
    """Clients need their time to believe another one."""
    files = CertificateFiles(tmp_path / "data")
    (tmp_path / "data").mkdir()
    files.make((NAME,), NOW - timedelta(days=3400))
    (tmp_path / "data/tls/server.pem").unlink()
    own = authority.read_authority((tmp_path / "data/tls/authority.pem").read_bytes())
    (tmp_path / "data/tls/server.pem").write_bytes(authority.issue(own, (NAME,), NOW - timedelta(days=1)).pem)
    keys = {"TLS_CERTIFICATE": "tls/server.pem", "TLS_KEY": "tls/server.pem", "SERVER_HOSTNAME": NAME}
    found = states(look, patient(tmp_path, machine(tmp_path), **keys))
    assert any(state is State.REMARKABLE and "own authority ends" in sentence for state, sentence in found)


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    """They must belong together."""
    whom = served(tmp_path, TLS_KEY="tls/authority.pem")
    assert "does not belong to the first certificate" in only(look, whom, State.WRONG).sentence


def test_no_file(tmp_path: Path) -> None:
    """A certificate that is configured and not there is wrong."""
    whom = patient(tmp_path, machine(tmp_path), TLS_CERTIFICATE="a.pem", TLS_KEY="a.pem")
    assert "cannot be read" in only(look, whom, State.WRONG).sentence


def test_one_that_comes_alone(tmp_path: Path) -> None:
    """A company's certificate without those in between is remarkable: some clients know them, others do not."""
    root = authority.found("Root of the company", NOW)
    pair = authority.issue(root, (NAME,), NOW)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/server.pem").write_bytes(authority.Pair(pair.chain[:1], pair.key).pem)
    keys = {"TLS_CERTIFICATE": "server.pem", "TLS_KEY": "server.pem", "SERVER_HOSTNAME": NAME}
    assert "comes alone" in only(look, patient(tmp_path, machine(tmp_path), **keys), State.REMARKABLE).sentence


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ({"LISTEN": "127.0.0.1:8080"}, State.FINE),
        ({"LISTEN": "0.0.0.0:8080"}, State.REMARKABLE),
        ({"LISTEN": "0.0.0.0:8080", "EXTERNAL_TLS_TERMINATION": True}, State.FINE),
    ],
)
def test_without_one(tmp_path: Path, keys: dict[str, Any], state: State) -> None:
    """Plain HTTP is fine for this machine, and behind a proxy."""
    ((found, _),) = states(look, patient(tmp_path, machine(tmp_path), **keys))
    assert found is state
