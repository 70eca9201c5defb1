"""
The power fails while a client deletes, or while garbage is collected, and what was not synced is gone, or half of it:
what must be kept is whole, what was acknowledged as deleted stays deleted, and the next upkeep finishes the work.

Deletions and a whole upkeep are recorded once; each moment of them can be that of the power cut.
QUAY_TEST_CRASHES=N judges N moments of each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import attrs
import pytest

from tests.distribution import Client
from tests.faults import estate
from tests.faults.estate import DELETIONS, Deletion, Estate
from tests.faults.journal import Medium, Record, records
from tests.integration.test_upkeep_crash import LATER, MOMENTS, Process
from tests.server import PATIENCE, REPOSITORY, RunningQuay

pytestmark = pytest.mark.long

JUDGED = int(os.environ.get("QUAY_TEST_CRASHES", "0")) or 10
TELLING = {"unlink", "sync directory", "accepted"}
"""After these, each moment is judged."""


@attrs.define
class Recorded:
    """A medium as it was, and all that then happened to it; `at_end` when the last of it has been played."""

    medium: Medium
    records: list[Record] = attrs.field(repr=False)
    at_end: bool = False

    def cuts(self, directory: Path) -> Iterator[tuple[Estate, list[Deletion]]]:
        """What each moment leaves, first without what was not synced, then by the dice; and what was acknowledged."""
        step = max(1, len(self.records) // JUDGED)
        accepted = 0
        for number, record in enumerate(self.records):
            self.medium.play(record)
            accepted += record.op == "accepted"
            self.at_end = number == len(self.records) - 1
            if number % step == 0 or record.op in TELLING or self.at_end:
                for dice in (None, Random(number)):
                    left = directory / "left"
                    self.medium.cut(left, dice)
                    (left / "blobs" / "uploads").mkdir(exist_ok=True)  # a directory without files is left out of a cut
                    yield Estate(left), DELETIONS[:accepted]
                    shutil.rmtree(left)


@pytest.fixture
def estate_of_dev(data: Path) -> Path:
    """A data directory with everything in it, and nothing deleted."""
    with RunningQuay(data) as server:
        client = Client(server.host, "dev")
        estate.push(client)
        client.close()
        server.stop()
    return data


def delete_all(server: RunningQuay) -> None:
    client = Client(server.host, "dev")
    for deletion in DELETIONS:
        assert deletion.do(client)
    client.close()


def keeping(data: Path, library: Path, journal: Path) -> dict[str, str]:
    """The environment of a process that keeps a journal of `data`."""
    return {"LD_PRELOAD": str(library), "QUAY_JOURNAL": str(journal), "QUAY_JOURNAL_ROOT": str(data)}


def test_deletions_survive_a_power_cut(estate_of_dev: Path, library: Path, tmp_path: Path) -> None:
    """Whenever the power fails, deletions that were acknowledged are done, and all else is whole."""
    data, journal = estate_of_dev, tmp_path / "journal"
    medium = Medium(data)
    with RunningQuay(data, keeping(data, library, journal)) as server:
        delete_all(server)
    recorded = Recorded(medium, list(records(journal)))
    judged = 0
    for left, acknowledged in recorded.cuts(tmp_path):
        left.check()
        left.check_deleted(acknowledged)
        judged += 1
    assert acknowledged == DELETIONS
    assert judged >= 2 * min(JUDGED, len(recorded.records))


def test_an_upkeep_survives_a_power_cut(estate_of_dev: Path, library: Path, tmp_path: Path) -> None:
    """
    Whenever the power fails, what must be kept is whole, and the next upkeep finishes the work. What a power cut can
    bring back is bytes whose rows are gone: the check finds and removes them, and nothing is left.
    """
    data, journal = estate_of_dev, tmp_path / "journal"
    with RunningQuay(data) as server:
        delete_all(server)
        server.stop()
    medium = Medium(data)
    command = [sys.executable, "-m", "tests.faults.upkeep", *map(str, MOMENTS)]
    environment = {"PATH": os.environ["PATH"], "QUAY_DATA": str(data), **keeping(data, library, journal)}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=PATIENCE)
    recorded = Recorded(medium, list(records(journal)))
    judged, returned = 0, list[set[str]]()
    for left, _ in recorded.cuts(tmp_path):
        left.check()
        if judged % 99 == 0 or recorded.at_end:
            returned.append(finish(left))
        judged += 1
    assert judged >= 2 * min(JUDGED, len(recorded.records))
    assert returned[0] == set()  # nothing had been removed by then
    assert returned[-2] != set()  # no name had been removed for good


def finish(left: Estate) -> set[str]:
    """The next upkeep, and the check where it is needed, leave nothing but what is to be kept: what the check found."""
    assert Process(left.data, LATER).wait() == 0
    left.check()
    strays = left.strays()
    if strays:
        RunningQuay(left.data).command("fsck", "--repair")
        assert left.strays() == set()
        assert Process(left.data, [2 * LATER[-1]]).wait() == 0  # until the tombstones are forgotten, too
    left.check_swept()
    return strays
