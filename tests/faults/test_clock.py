"""The clock of the machine is set back while a server runs: what it does by itself, it goes on doing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distribution import Client
from tests.faults import journal
from tests.faults.server import BUSY, REPOSITORY, Served
from tests.server import RunningQuay

pytestmark = pytest.mark.long

SOURCE = Path(__file__).with_name("clock.c")


def test_the_clock_is_set_back(data: Path, tmp_path: Path) -> None:
    """By a day: garbage is still collected within seconds, and whoever logs in anew pushes and pulls."""
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(8))
    library = journal.built(tmp_path, SOURCE)
    with RunningQuay(data, BUSY | {"LD_PRELOAD": str(library), "QUAY_CLOCK": str(clock)}) as server:
        served, garbage = Served.by(server), b"garbage" * 1000
        served.client.push_blob(REPOSITORY, garbage)
        with clock.open("r+b") as file:
            file.write((-86400).to_bytes(8, "little", signed=True))
        later = Served(server, Client(server.host, "dev"), served.image)
        later.delete(garbage).expect(202)
        later.await_removal(garbage)
        later.push("later")
        later.pull()
        later.check()
