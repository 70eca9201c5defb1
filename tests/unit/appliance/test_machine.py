"""The commands for the machine: what they say, what they ask, and how they exit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance import machine
from appliance.cli import AS_ROOT, CARRYING, quay
from appliance.layout import Layout, point
from appliance.removing import Removal, RemovalFailed
from appliance.state import State
from quay.lock import DataLock

DATA = Path("/srv/quay")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A machine on which something is installed, in the place of this one."""
    made = Layout(tmp_path / "machine")
    data = made.here(DATA)
    data.mkdir(parents=True)
    State(version="0.1.0", writable=(Path("/mnt/blobs"),)).keep(data)
    point(made.pointer, DATA)
    made.unit.parent.mkdir(parents=True)
    made.unit.write_text("[Unit]\n")
    monkeypatch.setattr(machine, "Layout", lambda root=None: made)
    return made


def run(*arguments: str, stdin: str | None = None, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(quay, arguments, obj=environ or {}, input=stdin)


def test_only_root(here: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root is told so, and what he can do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    installed, taken = run("install"), run("uninstall", "--yes")
    assert (installed.exit_code, taken.exit_code) == (1, 1)
    assert "`quay serve` runs a registry in any directory" in installed.output
    assert "sudo quay uninstall" in taken.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "somewhere"),
        ("--listen", "443"),
        ("--plain", "nobody"),
        ("--hostname", "https://name"),
        ("--root", "/none"),
    ],
)
def test_called_wrongly(arguments: tuple[str, ...]) -> None:
    """What is no address, no name, or no directory is refused before anything is looked at."""
    assert run("install", *arguments).exit_code == 2


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing is installed, there is nothing to take away, and no journal to look into."""
    monkeypatch.setattr(machine, "Layout", lambda root=None: Layout(tmp_path))
    taken, logs = run("uninstall", "--yes"), run("logs")
    assert (taken.exit_code, logs.exit_code) == (1, 1)
    assert "Nothing is installed here" in taken.output
    assert "`quay serve` says everything where it was started" in logs.output.replace("\n", " ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes it away")
def test_it_is_not_taken_away_by_accident(here: Layout) -> None:
    """Without a terminal nobody is asked, and nothing is done."""
    asked = run("uninstall", stdin="quay\n")
    assert asked.exit_code == 2
    assert "use --yes" in asked.output
    assert here.unit.exists() and here.here(DATA).exists()


def test_taken_away(here: Layout) -> None:
    """What was made is gone, and said to be; what it could write elsewhere is not touched, and said as well."""
    said = list(Removal(here, DATA, keep_data=False).carry_out())
    assert f"Removed {DATA} with all data in it." in said
    assert any(line.startswith("Not touched: /mnt/blobs") for line in said)
    assert not here.unit.exists() and not here.here(DATA).exists() and not here.pointer.parent.exists()
    assert not any("user" in line for line in said), "he was there before it was installed"


def test_data_is_kept(here: Layout) -> None:
    """With --keep-data, all but the data goes, and what is left knows enough to go on."""
    said = list(Removal(here, DATA, keep_data=True).carry_out())
    assert said[-1].startswith(f"Kept {DATA}")
    assert State.read(here.here(DATA)) == State(version="0.1.0", writable=(Path("/mnt/blobs"),))
    assert here.data is None


def test_not_under_a_server(here: Layout) -> None:
    """As long as a server has the data, nothing is removed."""
    lock = DataLock(here.here(DATA))
    lock.acquire()
    try:
        with pytest.raises(RemovalFailed, match=r"A server is using /srv/quay: process \d+"):
            list(Removal(here, DATA, keep_data=False).carry_out())
    finally:
        lock.release()
    assert here.unit.exists() and here.here(DATA).exists()


def test_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that does not run is status 3, in words and in JSON."""
    monkeypatch.setattr(machine, "Layout", lambda root=None: Layout(tmp_path))
    environ = {"QUAY_DATA": str(tmp_path / "data")}
    plain, programs = run("status", environ=environ), run("status", "-o", "json", environ=environ)
    assert (plain.exit_code, programs.exit_code) == (3, 3)
    assert plain.output.startswith("Quay does not run.\n")
    assert '"health": "stopped"' in programs.output


def test_every_command_has_its_user() -> None:
    """The lists of what root does as root, and of what carries files of his, name commands that there are."""
    assert set(quay.commands) >= AS_ROOT | CARRYING
    assert not AS_ROOT & CARRYING
