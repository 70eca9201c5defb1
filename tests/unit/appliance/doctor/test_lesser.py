"""What is tried by writing, is tried by whose the files are."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.doctor import lesser, speed, storage
from appliance.programs import Program
from quay.condition import State
from tests.unit.appliance.doctor.patients import machine, only, patient, states

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

ANSWER = {"findings": [{"check": "x", "state": "wrong", "sentence": "As {uid} in {data}.", "fix": "mend", "link": ""}]}


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def program(public: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Instead of the installed command: a script that everybody may run."""
    script = public / "quay"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setattr(lesser.programs, "running", lambda: Program(None, (str(script),), script))


@pytest.mark.parametrize("look", [speed.look, storage.look])
def test_by_the_owner(tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch, look: object) -> None:
    """The command is run by him, with nothing of root's, and what he finds is told."""
    whom = patient(tmp_path, machine(tmp_path / "machine", environ={"QUAY_LISTEN": "127.0.0.1:1"}))
    os.chown(whom.config.data, 65534, 65533)
    answer = json.dumps(ANSWER).replace("{uid}", "$(id -u):$(id -g):$(id -G)").replace("{data}", "$QUAY_DATA")
    program(public, monkeypatch, f"cat <<E\n{answer}\nE")
    finding = only(look, whom, State.WRONG)  # type: ignore[arg-type]
    assert finding.sentence == f"As 65534:65533:65533 in {whom.config.data}."
    assert finding.fix == "mend"


@pytest.mark.parametrize("said", ["exit 3", "echo nonsense", "echo '{}'"])
def test_who_cannot(tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """If he does not come to his end, nothing is known."""
    whom = patient(tmp_path)
    os.chown(whom.config.data, 65534, 65534)
    program(public, monkeypatch, said)
    assert "could not be tried as the owner" in only(storage.look, whom, State.UNSEEN).sentence


def test_a_program_that_he_may_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither then."""
    whom = patient(tmp_path)
    os.chown(whom.config.data, 65534, 65534)
    nowhere = Program(None, (str(tmp_path / "none"),), Path(sys.executable))
    monkeypatch.setattr(lesser.programs, "running", lambda: nowhere)
    assert [state for state, _ in states(storage.look, whom)] == [State.UNSEEN]
