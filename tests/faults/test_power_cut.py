"""
The power fails during a push, and what was not synced is gone, or half of it: what was acknowledged is there
nevertheless, nothing that is there is wrong, and the server starts again and takes the push.

One push is recorded; each moment of it can be that of the power cut, and what that leaves is judged by the oracle of
the crash tests. QUAY_TEST_CRASHES=N judges N moments of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import attrs
import pytest

from tests.distribution import Client, Image, digest_of
from tests.faults.journal import Medium, Record, records
from tests.integration.test_crash import Oracle
from tests.server import RunningQuay

pytestmark = pytest.mark.long

MOMENTS = int(os.environ.get("QUAY_TEST_CRASHES", "0")) or 40
TELLING = {"rename", "sync directory", "created"}
"""After these, each moment is judged."""


@attrs.frozen
class Recorded:
    """A medium as it was, and all that a push then did to it."""

    medium: Medium
    records: list[Record] = attrs.field(repr=False)
    image: Image = attrs.field(repr=False)

    def moments(self) -> Iterator[frozenset[str]]:
        """Play it, and stop at each moment; gives the digests that have been acknowledged."""
        pushing = range(self._first_upload(), len(self.records))
        chosen = set(pushing[:: max(1, len(pushing) // MOMENTS)])
        acknowledged: set[str] = set()
        for number, record in enumerate(self.records):
            self.medium.play(record)
            if record.op == "created":
                acknowledged.add(record.facts["digest"])
            if number in chosen or (number in pushing and record.op in TELLING):
                yield frozenset(acknowledged)

    def _first_upload(self) -> int:
        """Before that the server was starting."""
        return next(
            number
            for number, record in enumerate(self.records)
            if record.op == "open" and "/uploads/" in record.facts["path"] and "/probe-" not in record.facts["path"]
        )


@pytest.fixture
def recorded(data: Path, library: Path, tmp_path: Path) -> Recorded:
    """One push, in every way that clients know."""
    journal, medium, image = tmp_path / "journal", Medium(data), Image.made("power")
    keeping = {"LD_PRELOAD": str(library), "QUAY_JOURNAL": str(journal), "QUAY_JOURNAL_ROOT": str(data)}
    with RunningQuay(data, keeping) as server:
        client = Client(server.host, "dev")
        client.push("dev/app", "latest", image)
        client.close()
    return Recorded(medium, list(records(journal)), image)


def stored(data: Path) -> set[str]:
    """The digests of the blobs and manifests of the repository, in the rows."""
    database = sqlite3.connect(data / "quay.db")
    try:
        return {
            digest
            for (digest,) in database.execute(
                "SELECT digest FROM blob JOIN repository_blob ON blob_id = blob.id UNION SELECT digest FROM manifest"
            )
        }
    finally:
        database.close()


def test_a_push_survives_a_power_cut(recorded: Recorded, tmp_path: Path) -> None:
    """Whenever the power fails, acknowledged blobs and manifests are durable, and no tag, blob or row is wrong."""
    judged = 0
    for acknowledged in recorded.moments():
        for dice in (None, Random(judged)):
            left = tmp_path / f"left-{judged}"
            recorded.medium.cut(left, dice)
            Oracle(left).check()
            assert acknowledged <= stored(left), f"moment {judged}: acknowledged, and lost"
            judged += 1
    assert digest_of(recorded.image.moved) in acknowledged
    assert judged >= 2 * MOMENTS


def test_the_server_goes_on_after_a_power_cut(recorded: Recorded, tmp_path: Path) -> None:
    """On what a power cut in the middle of the push has left, a server starts, and takes the push."""
    left = tmp_path / "left"
    moments = recorded.moments()
    for acknowledged in moments:
        if len(acknowledged) == 3:
            recorded.medium.cut(left, Random(3))
            break
    with RunningQuay(left) as server:
        client = Client(server.host, "dev")
        client.push("dev/app", "latest", recorded.image)
        client.pull("dev/app", "latest", recorded.image)
        client.close()
    Oracle(left).check()
