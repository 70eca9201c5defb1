"""Work that outlives whoever asked for it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quay.oci.errors import DigestInvalid
from quay.tasks import Tasks


class TasksTests(SynchronousTestCase):
    """One set of tasks, and work that waits for the test."""

    def setUp(self) -> None:
        self.tasks = Tasks()
        self.tasks.startService()
        self.gate: Deferred[str] = Deferred()

    async def work(self) -> str:
        return await self.gate

    def test_result(self) -> None:
        """Whoever waits gets the result."""
        outcome = self.tasks.spawn(self.work())
        self.gate.callback("done")
        self.assertEqual(self.successResultOf(outcome), "done")

    def test_failure(self) -> None:
        """Whoever waits gets the failure, and nothing is logged."""
        outcome = self.tasks.spawn(self.work())
        self.gate.errback(ValueError("no"))
        self.failureResultOf(outcome, ValueError)

    def test_cancelling_leaves_the_work_alone(self) -> None:
        """Whoever hangs up is let go at once, and the work goes on to its end."""
        ended: list[str] = []

        async def work() -> None:
            ended.append(await self.gate)

        outcome = self.tasks.spawn(work())
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.assertEqual(ended, [])
        self.gate.callback("done")
        self.assertEqual(ended, ["done"])

    def test_a_failure_nobody_waits_for_is_logged(self) -> None:
        """An error does not vanish because the client did."""
        outcome = self.tasks.spawn(self.work())
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.gate.errback(ValueError("disk"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_refusal_nobody_waits_for_is_not(self) -> None:
        """What a client did wrong is no news for the operator: a client that hangs up cannot fill the log with it."""
        outcome = self.tasks.spawn(self.work())
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.gate.errback(DigestInvalid("wrong"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopping_waits(self) -> None:
        """A stop is over when the work under way is, whether it succeeds or fails."""
        outcome = self.tasks.spawn(self.work())
        stopped = self.tasks.stopService()
        self.assertNoResult(stopped)
        self.gate.callback("done")
        self.successResultOf(stopped)
        self.assertEqual(self.successResultOf(outcome), "done")
