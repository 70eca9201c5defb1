"""Pulls are counted off the request's path, together, and at most once a minute."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.database import DatabaseUnavailable
from quay.events import Actor, Bus, Pulled
from quay.model.pull import ALL, Pulls
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry.pulls import PullCounter

NAME = RepositoryName("devtable", "simple")
DIGEST = Digest.of(b"manifest")

Sums = dict[tuple[int, str], Pulls]


@attrs.define
class Table:
    """A database that keeps what is added, or is away."""

    written: list[Sums] = attrs.Factory(list)
    away: bool = False
    broken: bool = False

    def write(self, work: object, sums: Sums) -> Deferred[None]:
        if self.broken:
            return fail(ValueError("these rows cannot be stored"))
        if self.away:
            return fail(DatabaseUnavailable())
        self.written.append(sums)
        return succeed(None)

    def count(self, subject: str, repository_id: int = 3) -> int:
        nothing = Pulls()
        return sum(sums.get((repository_id, subject), nothing).count for sums in self.written)


class PullCounterTests(SynchronousTestCase):
    """A running counter on a bus."""

    def setUp(self) -> None:
        self.clock, self.table, self.bus = Clock(), Table(), Bus()
        self.clock.advance(1_000_000)
        self.counter = PullCounter(self.clock, self.table, self.bus)  # type: ignore[arg-type]
        self.counter.startService()

    def pull(self, tag: str | None = "latest", at_ms: int = 1234, repository_id: int = 3) -> None:
        self.bus.publish(
            Pulled(
                actor=Actor("robot", "devtable+bot", 7),
                repository_id=repository_id,
                namespace_id=2,
                repository=NAME,
                at_ms=at_ms,
                digest=DIGEST,
                tag=None if tag is None else Tag(tag),
            )
        )

    def test_what_is_counted(self) -> None:
        """A pull by a tag counts for the tag, the manifest and the repository; one by a digest for the latter two."""
        self.pull("a", at_ms=5)
        self.pull("a", at_ms=4)
        self.pull(None, at_ms=3)
        self.pull(None, at_ms=2, repository_id=4)
        self.clock.advance(self.counter.soon)
        assert self.table.written == [
            {
                (3, ALL): Pulls(3, 5),
                (3, DIGEST): Pulls(3, 5),
                (3, "a"): Pulls(2, 5),
                (4, ALL): Pulls(1, 2),
                (4, DIGEST): Pulls(1, 2),
            }
        ]

    def test_once_a_minute(self) -> None:
        """However many there are, they are written once a minute; the first after a quiet one is written soon."""
        for _ in range(150):
            self.pull()
            self.clock.advance(1)
        assert len(self.table.written) == 3
        self.clock.advance(self.counter.period)
        assert (len(self.table.written), self.table.count("latest")) == (4, 150)
        self.clock.advance(10 * self.counter.period)
        self.pull()
        self.clock.advance(self.counter.soon)
        assert (len(self.table.written), self.table.count("latest")) == (5, 151)

    def test_the_database_is_away(self) -> None:
        """Pulls wait for it, and none is counted twice."""
        self.table.away = True
        self.pull()
        self.clock.advance(self.counter.soon)
        self.pull()
        self.table.away = False
        self.clock.advance(self.counter.period)
        assert self.table.count("latest") == 2
        assert self.table.count(ALL) == 2

    def test_memory_is_bounded(self) -> None:
        """Many different ones are written at once; while the database is away, what comes beyond is not counted."""
        self.counter.limit = 5
        self.table.away = True
        for number in range(8):
            self.pull(f"t{number}")
        self.clock.advance(0)
        self.table.away = False
        self.clock.advance(self.counter.period)
        assert self.table.count(ALL) == 5
        for number in range(5):
            self.pull(f"t{number}")
        self.clock.advance(0)
        assert self.table.count(ALL) == 10

    def test_batches(self) -> None:
        """No transaction is long, and what is written is not lost when a later one fails."""
        self.counter.batch = 2
        for number in range(5):
            self.pull(f"t{number}")
        self.clock.advance(self.counter.soon)
        assert [sums[3, ALL].count for sums in self.table.written] == [2, 2, 1]

    def test_what_the_database_refuses(self) -> None:
        """It is logged and left; what comes afterwards is written."""
        self.table.broken = True
        self.pull()
        self.clock.advance(self.counter.soon)
        assert len(self.flushLoggedErrors(ValueError)) == 1
        self.table.broken = False
        self.pull()
        self.clock.advance(self.counter.period)
        assert self.table.count("latest") == 1
        self.table.broken = True
        self.pull()
        self.successResultOf(self.counter.stopService())
        assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_a_clean_stop(self) -> None:
        """It writes what is there."""
        self.pull()
        self.successResultOf(self.counter.stopService())
        assert self.table.count("latest") == 1
        assert self.clock.getDelayedCalls() == []
