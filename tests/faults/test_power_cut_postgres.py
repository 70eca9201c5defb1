"""
The power fails on the machine with the blobs, and PostgreSQL, which is durable by itself, is as it was: every row that
it has committed has its bytes on the medium, while some push and others delete and garbage is collected.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import attrs
import psycopg
import pytest

from tests.distribution import Client, Image, digest_of
from tests.faults.journal import Medium, records
from tests.faults.server import BUSY, REPOSITORY, await_that
from tests.server import RunningQuay

pytestmark = pytest.mark.long

PLACED = "SELECT b.digest, b.size FROM blob b JOIN placement p ON p.blob_id = b.id"
GARBAGE = "SELECT count(*) FROM blob WHERE id NOT IN (SELECT blob_id FROM repository_blob)"
IMAGES = 6


@attrs.frozen
class Sample:
    """What was placed when the journal ended at `end`."""

    placed: frozenset[tuple[str, int]]
    end: int


def sampled(url: str, journal: Path, done: Event) -> Iterator[Sample]:
    """As many samples as can be taken. What is placed just before and just after is placed."""
    with psycopg.connect(url, autocommit=True) as connection:
        before = frozenset(connection.execute(PLACED))
        while not done.is_set():
            end = journal.stat().st_size
            after = frozenset(connection.execute(PLACED))
            yield Sample(before & after, end)
            before = after


def watch(url: str, journal: Path, done: Event, samples: list[Sample]) -> None:
    """Put each sample where others see it."""
    for sample in sampled(url, journal, done):
        samples.append(sample)


def await_sample(samples: list[Sample]) -> None:
    """Return when one has been taken that began and ended from now on: the one that is under way may not have."""
    taken = len(samples)
    await_that(lambda: len(samples) > taken + 2, "samples are taken")


def loose(number: int) -> bytes:
    """A blob that no manifest names."""
    return b"loose %d" % number * 100


@attrs.frozen
class Recorded:
    """A server on PostgreSQL that keeps a journal of its blobs, and collects garbage all the time."""

    server: RunningQuay
    medium: Medium
    journal: Path

    def judge(self, samples: list[Sample], directory: Path) -> int:
        """Raise AssertionError unless the bytes of each sample are on the medium; how many were different."""
        ahead, judged, last = records(self.journal), 0, None
        played = 0
        for sample in samples:
            if sample.placed == last:
                continue  # the first moment after a commit says most
            while played < sample.end and (record := next(ahead, None)) is not None:
                self.medium.play(record)
                played = record.end
            left = directory / f"left-{judged}"
            self.medium.cut(left)
            for digest, size in sample.placed:
                algorithm, _, hexadecimal = digest.partition(":")
                content = (left / "blobs" / algorithm / hexadecimal[:2] / hexadecimal).read_bytes()
                assert (len(content), hashlib.new(algorithm, content).hexdigest()) == (size, hexadecimal)
            shutil.rmtree(left, ignore_errors=True)
            judged, last = judged + 1, sample.placed
        return judged


@pytest.fixture
def recorded(postgres_url: str, library: Path, tmp_path: Path) -> Iterator[Recorded]:
    data, journal = tmp_path / "data", tmp_path / "journal"
    RunningQuay(data, {"QUAY_DB_URI": postgres_url}).add_user("dev")
    (data / "blobs").mkdir(exist_ok=True)
    medium = Medium(data / "blobs")
    keeping = {"LD_PRELOAD": str(library), "QUAY_JOURNAL": str(journal), "QUAY_JOURNAL_ROOT": str(data / "blobs")}
    with RunningQuay(data, {"QUAY_DB_URI": postgres_url} | keeping | BUSY) as server:
        yield Recorded(server, medium, journal)


def test_committed_rows_have_durable_bytes(recorded: Recorded, postgres_url: str, tmp_path: Path) -> None:
    """Whatever PostgreSQL has committed at any moment, a power cut at that moment leaves the bytes of it."""
    done, samples = Event(), list[Sample]()
    watching = Thread(target=watch, args=(postgres_url, recorded.journal, done, samples), daemon=True)
    watching.start()
    client = Client(recorded.server.host, "dev")
    for number in range(IMAGES):
        client.push(REPOSITORY, f"t{number}", Image.made(f"postgres {number}"))
        await_sample(samples)
        client.push_blob(REPOSITORY, loose(number))
        await_sample(samples)
        client.call("DELETE", REPOSITORY, f"blobs/{digest_of(loose(number))}").expect(202)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        await_that(lambda: connection.execute(GARBAGE).fetchone() == (0,), "garbage is collected")
    client.close()
    done.set()
    watching.join(30)
    recorded.server.stop()
    assert recorded.judge(samples, tmp_path) >= 2 * IMAGES  # and as a rule, one for each blob
