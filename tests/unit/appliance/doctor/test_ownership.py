"""What lies in the data directory is its owner's, and nobody else reads its secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.doctor.ownership import look
from quay.condition import State
from tests.unit.appliance.doctor.patients import machine, only, patient, states, well

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_all_is_well(tmp_path: Path) -> None:
    """A directory for its owner only, with his files."""
    whom = patient(tmp_path, machine(tmp_path, uid=os.geteuid()))
    (whom.config.data / "quay.db").touch(0o644)
    assert well(look, whom)


def test_an_open_directory(tmp_path: Path) -> None:
    """Others may enter; so what is in it counts, too."""
    whom = patient(tmp_path, machine(tmp_path, uid=os.geteuid()))
    whom.config.data.chmod(0o755)
    (whom.config.data / "secret_key").write_text("x")
    (whom.config.data / "secret_key").chmod(0o644)
    (whom.config.data / "database_secret_key").write_text("x")
    (whom.config.data / "database_secret_key").chmod(0o640)
    found = {finding.sentence: finding for finding in look(whom)}
    fixes = {finding.fix: finding.state for finding in found.values() if finding.fix}
    assert fixes == {
        f"chmod 700 {whom.config.data}": State.REMARKABLE,
        f"chmod 600 {whom.config.data / 'secret_key'}": State.WRONG,
        f"chmod 600 {whom.config.data / 'database_secret_key'}": State.REMARKABLE,
    }


def test_a_key_elsewhere(tmp_path: Path) -> None:
    """A key of TLS outside the data directory is looked at, however closed that is."""
    key = tmp_path / "key.pem"
    key.write_text("x")
    key.chmod(0o644)
    whom = patient(
        tmp_path, machine(tmp_path, uid=os.geteuid()), TLS_CERTIFICATE=str(tmp_path / "c.pem"), TLS_KEY=str(key)
    )
    assert only(look, whom, State.WRONG).fix == f"chmod 600 {key}"


@root_only
def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    """As a command leaves it that was run as root."""
    whom = patient(tmp_path, machine(tmp_path))
    (whom.config.data / "blobs").mkdir()
    (whom.config.data / "blobs" / "x").touch()
    os.chown(whom.config.data, 65534, 65534)
    finding = only(look, whom, State.WRONG)
    assert (
        f"is nobody, and not all in {whom.config.data} is his: not {whom.config.data}/blobs for one" in finding.sentence
    )
    assert finding.fix == f"chown -R --no-dereference nobody: {whom.config.data}"


@root_only
def test_a_directory_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is, shows from outside."""
    whom = patient(tmp_path, machine(tmp_path))
    (whom.config.data / "blobs").mkdir()
    os.chown(whom.config.data, 65534, 65534)
    scanned = os.scandir

    def refusing(place: Path) -> object:
        if place.name == "blobs":
            raise PermissionError(13, "Permission denied", str(place))
        return scanned(place)

    monkeypatch.setattr(os, "scandir", refusing)
    assert f"not {whom.config.data}/blobs." in only(look, whom, State.WRONG).sentence


@root_only
def test_as_somebody_else(tmp_path: Path) -> None:
    """Who is neither root nor the owner is told whose it is."""
    whom = patient(tmp_path, machine(tmp_path, uid=12345))
    assert "is root's: try as root" in only(look, whom, State.UNSEEN).sentence


def test_nothing_there(tmp_path: Path) -> None:
    """Before the first start there is nothing to see."""
    whom = patient(tmp_path, machine(tmp_path))
    whom.config.data.rmdir()
    assert [state for state, _ in states(look, whom)] == [State.UNSEEN]
