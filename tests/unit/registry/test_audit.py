"""The audit trail: off the request's path, in batches, and complete after a clean stop."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.database import DatabaseUnavailable
from quay.events import Actor, Bus, Pulled
from quay.oci.reference import Digest, RepositoryName, Tag
from quay.registry.audit import AuditTrail

NAME = RepositoryName("devtable", "simple")
DIGEST = Digest.of(b"manifest")


@attrs.define
class Rows:
    """A database that keeps what is appended, or is away."""

    batches: list[list[Any]] = attrs.Factory(list)
    away: bool = False
    broken: bool = False

    def write(self, work: object, rows: list[Any]) -> Deferred[None]:
        if self.broken:
            return fail(ValueError("these rows cannot be stored"))
        if self.away:
            return fail(DatabaseUnavailable())
        self.batches.append(rows)
        return succeed(None)


class AuditTrailTests(SynchronousTestCase):
    """A running trail on a bus."""

    def setUp(self) -> None:
        self.clock, self.rows, self.bus = Clock(), Rows(), Bus()
        self.trail = AuditTrail(self.clock, self.rows, self.bus)  # type: ignore[arg-type]
        self.trail.startService()

    def pull(self, tag: str = "latest") -> None:
        actor = Actor("robot", "devtable+bot", 7)
        self.bus.publish(
            Pulled(
                actor=actor,
                repository_id=3,
                namespace_id=2,
                repository=NAME,
                ip="10.0.0.9",
                user_agent="skopeo/1.9",
                at_ms=1234,
                digest=DIGEST,
                tag=Tag(tag),
            )
        )

    def test_batches(self) -> None:
        """Events of one period are written together, once, when the period is over."""
        self.pull("a")
        self.pull("b")
        self.assertEqual(self.rows.batches, [])
        self.clock.advance(self.trail.period)
        self.assertEqual([len(batch) for batch in self.rows.batches], [2])
        self.clock.advance(10 * self.trail.period)
        self.assertEqual(len(self.rows.batches), 1)

    def test_what_is_recorded(self) -> None:
        """A pull is on record with who, what, whence and when, in Quay's words."""
        self.pull()
        self.clock.advance(self.trail.period)
        [[row]] = self.rows.batches
        self.assertEqual((row.kind, row.repository_id, row.namespace_id), ("pull_repo", 3, 2))
        self.assertEqual(
            (row.performer_id, row.performer, row.ip, row.performed_ms), (7, "devtable+bot", "10.0.0.9", 1234)
        )
        self.assertEqual(
            row.details,
            {
                "namespace": "devtable",
                "repo": "simple",
                "robot": "devtable+bot",
                "user-agent": "skopeo/1.9",
                "manifest_digest": DIGEST,
                "tag": "latest",
            },
        )

    def test_a_full_batch_does_not_wait(self) -> None:
        """When a batch has come together it is written at once."""
        self.trail.batch = 10
        for _ in range(10):
            self.pull()
        self.clock.advance(0)
        self.assertEqual([len(batch) for batch in self.rows.batches], [10])

    def test_the_database_is_away(self) -> None:
        """Events wait for the database, in order, and none is written twice."""
        self.rows.away = True
        self.pull("a")
        self.clock.advance(self.trail.period)
        self.pull("b")
        self.rows.away = False
        self.clock.advance(self.trail.period)
        self.assertEqual([row.details["tag"] for batch in self.rows.batches for row in batch], ["a", "b"])

    def test_memory_is_bounded(self) -> None:
        """While the database is away, the oldest events beyond the limit are given up."""
        self.trail.limit = 5
        for number in range(8):
            self.pull(str(number))
        self.clock.advance(self.trail.period)
        self.assertEqual([row.details["tag"] for row in self.rows.batches[0]], ["3", "4", "5", "6", "7"])

    def test_a_refused_batch_does_not_stop_the_trail(self) -> None:
        """A batch that the database refuses is logged and left; the next one is written."""
        self.rows.broken = True
        self.pull("a")
        self.clock.advance(self.trail.period)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.rows.broken = False
        self.pull("b")
        self.clock.advance(self.trail.period)
        self.assertEqual([row.details["tag"] for row in self.rows.batches[0]], ["b"])

    def test_a_refused_batch_does_not_keep_a_server_from_stopping(self) -> None:
        """A batch that is refused at the stop is logged, and everybody else stops as ever."""
        self.rows.broken = True
        self.pull()
        self.successResultOf(self.trail.stopService())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_clean_stop_loses_nothing(self) -> None:
        """Stopping writes what has been collected, and leaves no timer behind."""
        self.pull()
        self.successResultOf(self.trail.stopService())
        self.assertEqual([len(batch) for batch in self.rows.batches], [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
