"""The intake: off the path of a push, in batches, without a write where nobody listens, complete after a clean stop."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.database import DatabaseUnavailable
from quay.events import Actor, Bus, Pulled, Pushed
from quay.notifications.intake import BATCH, Intake
from quay.oci.reference import Digest, RepositoryName, Tag

FACTS: dict[str, Any] = {
    "actor": Actor("user", "devtable", 1),
    "repository_id": 3,
    "namespace_id": 1,
    "repository": RepositoryName("devtable", "simple"),
    "digest": Digest.of(b"manifest"),
}


@attrs.define
class Rows:
    """A database that keeps what is written, or is away, or refuses."""

    listens: bool = True
    away: bool = False
    broken: bool = False
    reads: int = 0
    batches: list[list[str]] = attrs.Factory(list)

    def read(self, work: object, events: list[Pushed]) -> Deferred[dict[int, list[int]]]:
        self.reads += 1
        if self.broken:
            return fail(ValueError("the schema is another one"))
        if self.away:
            return fail(DatabaseUnavailable())
        return succeed({3: [7]} if self.listens else {})

    def write(self, work: object, events: list[Pushed]) -> Deferred[None]:
        self.batches.append([str(event.tag) for event in events])
        return succeed(None)


class IntakeTests(SynchronousTestCase):
    """A running intake on a bus."""

    def setUp(self) -> None:
        self.clock, self.rows, self.bus, self.woken = Clock(), Rows(), Bus(), 0
        self.intake = Intake(self.clock, self.rows, self.bus, self.wake)  # type: ignore[arg-type]
        self.intake.startService()

    def wake(self) -> None:
        self.woken += 1

    def push(self, *tags: str) -> None:
        for tag in tags:
            self.bus.publish(Pushed(**FACTS, tag=Tag(tag)))

    def test_batches(self) -> None:
        """What comes within a moment is written together, and whoever delivers is woken once."""
        self.push("a", "b")
        assert self.rows.reads == 0
        self.clock.advance(1)
        self.push("c")
        self.clock.advance(1)
        assert self.rows.batches == [["a", "b"], ["c"]]
        assert self.woken == 2

    def test_long_batches(self) -> None:
        """Many at once go in several batches, none of which is large."""
        self.push(*(str(number) for number in range(BATCH + 1)))
        self.clock.pump([1, 1])
        assert [len(batch) for batch in self.rows.batches] == [BATCH, 1]

    def test_nobody_listens(self) -> None:
        """Where nobody wants to hear of it, nothing is written."""
        self.rows.listens = False
        self.push("a")
        self.clock.advance(1)
        assert (self.rows.reads, self.rows.batches, self.woken) == (1, [], 0)

    def test_other_events(self) -> None:
        """Pulls, and pushes by digest, do not even ask."""
        self.bus.publish(Pulled(**FACTS, tag=Tag("a")))
        self.bus.publish(Pushed(**FACTS))
        self.clock.advance(1)
        assert self.rows.reads == 0

    def test_database_away(self) -> None:
        """While the database is away, pushes wait, in their order."""
        self.rows.away = True
        self.push("a")
        self.clock.advance(1)
        self.push("b")
        self.clock.advance(1)
        assert self.rows.batches == []
        self.rows.away = False
        self.clock.advance(1)
        assert self.rows.batches == [["a", "b"]]

    def test_unforeseen(self) -> None:
        """A failure that nobody foresaw is logged, and the next pushes are told."""
        self.rows.broken = True
        self.push("a")
        self.clock.advance(1)
        assert len(self.flushLoggedErrors(ValueError)) == 1
        self.rows.broken = False
        self.push("b")
        self.clock.advance(1)
        assert self.rows.batches == [["b"]]

    def test_stop(self) -> None:
        """A clean stop writes what is collected, and leaves no timer."""
        self.push("a")
        self.successResultOf(self.intake.stopService())
        assert self.rows.batches == [["a"]]
        assert self.clock.getDelayedCalls() == []

    def test_stop_without_database(self) -> None:
        """A stop ends also when the database is away."""
        self.rows.away = True
        self.push("a")
        self.successResultOf(self.intake.stopService())
        assert self.clock.getDelayedCalls() == []
