"""A clock that cannot be right is wrong; one that nobody keeps is remarkable."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from appliance.doctor.clock import look
from quay.condition import State, clock
from quay.condition.clock import Kept
from tests.unit.appliance.doctor.patients import NOW, machine, only, patient, well


def test_a_clock_that_is_kept(tmp_path: Path) -> None:
    """It is fine."""
    assert well(look, patient(tmp_path, machine(tmp_path)))


def test_a_clock_that_nobody_keeps(tmp_path: Path) -> None:
    """Sites without a time server have such clocks."""
    finding = only(look, patient(tmp_path, machine(tmp_path, kept=Kept(False, 16.0))), State.REMARKABLE)
    assert finding.sentence.startswith("Nothing keeps the clock")
    assert finding.fix == "timedatectl set-ntp true"


def test_a_kernel_that_does_not_say(tmp_path: Path) -> None:
    """That is said."""
    assert only(look, patient(tmp_path, machine(tmp_path, kept=None)), State.UNSEEN)


def test_before_this_version_was_made(tmp_path: Path) -> None:
    """A machine whose battery is empty wakes up in 1970."""
    host = machine(tmp_path, now=datetime(1970, 1, 1, tzinfo=UTC))
    assert "before this version was made" in only(look, patient(tmp_path, host), State.WRONG).sentence


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """What the server wrote an hour from now shows it."""
    whom = patient(tmp_path, machine(tmp_path))
    written = whom.config.data / "quay.db"
    written.touch()
    os.utime(written, (NOW.timestamp() + 3600,) * 2)
    assert "the clock was set back" in only(look, whom, State.WRONG).sentence


def test_the_kernel_of_this_machine() -> None:
    """It says how its clock is kept."""
    found = clock.kept()
    assert found is not None
    assert found.error_s >= 0
