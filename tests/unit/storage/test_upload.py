"""Segments, backpressure, the budget, and who is told what when a medium fails."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from quay.oci.reference import Digest
from quay.storage import UploadMissing
from quay.storage.upload import HIGH, SEGMENT, Budget, SegmentedUpload, is_upload_id

KIB64 = b"x" * 65536
ANY = Digest.of(b"")


class SlowPartial:
    """A `Partial` that does one thing at a time, when the test says so; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.data = b""
        self._doing: Deferred[None] | None = None

    def append(self, segment: Sequence[bytes]) -> Deferred[None]:
        self.data += b"".join(segment)
        return self._ask(sum(map(len, segment)))

    def place(self, digest: Digest) -> Deferred[None]:
        return self._ask(digest)

    def close(self) -> Deferred[None]:
        return self._ask("close")

    def discard(self) -> Deferred[None]:
        return self._ask("discard")

    def _ask(self, what: object) -> Deferred[None]:
        assert self._doing is None, "asked for two things at once"
        self.asked.append(what)
        self._doing = Deferred()
        return self._doing

    def go_on(self, failure: Exception | None = None) -> None:
        doing, self._doing = self._doing, None
        assert doing is not None, "nothing was asked for"
        doing.callback(None) if failure is None else doing.errback(failure)

    def finish(self) -> None:
        while self._doing is not None:
            self.go_on()


@implementer(IPushProducer)
class Producer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class UploadTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.budget = Budget()
        self.partial = SlowPartial()
        self.upload = self.make_upload(self.partial)
        self.producer = Producer()

    def make_upload(self, partial: SlowPartial) -> SegmentedUpload:
        return SegmentedUpload("here", "one", partial, self.budget)

    def write(self, segments: float) -> None:
        for _ in range(int(segments * SEGMENT / len(KIB64))):
            self.upload.write(KIB64)


class SegmentTests(UploadTestCase):
    def test_segments(self) -> None:
        """Bytes go to the medium about a mebibyte at a time, one segment after the other."""
        self.write(0.5)
        self.assertEqual(self.partial.asked, [])
        self.write(2.5)
        self.assertEqual(len(self.partial.asked), 1)
        self.partial.finish()
        self.assertTrue(all(SEGMENT * 0.9 < size <= SEGMENT for size in self.partial.asked))
        self.assertEqual(self.upload.offset, 3 * SEGMENT)

    def test_the_last_segment_may_be_small(self) -> None:
        """`flushed` sends what is there, and waits for it."""
        self.upload.write(b"abc")
        flushed = self.upload.flushed()
        self.assertNoResult(flushed)
        self.upload.write(b"later")
        self.partial.go_on()
        self.assertEqual(self.successResultOf(flushed), 3)
        self.assertEqual(self.upload.offset, 8)

    def test_crumbs_cost_what_they_cost(self) -> None:
        """A body in one-byte chunks fills a segment long before it has a mebibyte of bytes."""
        for _ in range(SEGMENT // 65 + 1):
            self.upload.write(b"x")
        self.assertEqual(len(self.partial.asked), 1)
        self.assertLess(self.partial.asked[0], SEGMENT // 64)

    def test_nothing_is_asked_for_nothing(self) -> None:
        """Empty writes and flushes of nothing do not reach the medium."""
        self.upload.write(b"")
        self.assertEqual(self.successResultOf(self.upload.flushed()), 0)
        self.assertEqual(self.partial.asked, [])

    @given(st.lists(st.one_of(st.binary(max_size=300_000), st.sampled_from(["go on", "flush"])), max_size=60))
    def test_order(self, script: list[bytes | str]) -> None:
        """Whatever comes between, the medium gets the bytes in the order in which they were written."""
        partial = SlowPartial()
        upload = SegmentedUpload("here", "one", partial, Budget(1_000_000))
        for step in script:
            if isinstance(step, bytes):
                upload.write(step)
            elif step == "flush":
                upload.flushed()
            elif partial._doing is not None:
                partial.go_on()
        done = upload.flushed()
        partial.finish()
        written = b"".join(step for step in script if isinstance(step, bytes))
        self.assertEqual((self.successResultOf(done), partial.data), (len(written), written))


class BackpressureTests(UploadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.upload.registerProducer(self.producer, True)

    def test_pause_and_resume(self) -> None:
        """A producer that is ahead by more than a few segments waits until the medium has caught up."""
        self.write(3.5)
        self.assertEqual(self.producer.told, [])
        self.write(0.5)
        self.assertEqual(self.producer.told, ["pause"])
        self.partial.go_on()
        self.assertEqual(self.producer.told, ["pause"])
        self.partial.finish()
        self.assertEqual(self.producer.told, ["pause", "resume"])

    def test_a_producer_that_did_not_hear(self) -> None:
        """One that writes though it was paused is paused again: nobody grows without bound by a missed word."""
        self.write(4)
        self.upload.write(KIB64)
        self.upload.write(KIB64)
        self.assertEqual(self.producer.told, ["pause"] * 3)

    def test_the_next_producer(self) -> None:
        """After one producer has left, another may come; it is paused at once if there is no room yet."""
        self.write(4)
        self.upload.unregisterProducer()
        second = Producer()
        self.upload.registerProducer(second, True)
        self.partial.finish()
        self.upload.unregisterProducer()
        self.assertEqual((self.producer.told, second.told), (["pause"], ["pause", "resume"]))

    def test_one_streaming_producer(self) -> None:
        """A second producer is refused, and so is one that has to be asked for every write."""
        self.assertRaises(RuntimeError, self.upload.registerProducer, Producer(), True)
        self.upload.unregisterProducer()
        self.assertRaises(RuntimeError, self.upload.registerProducer, Producer(), False)


class FailureTests(UploadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.upload.registerProducer(self.producer, True)

    def fail(self) -> OSError:
        self.write(2.5)
        error = OSError("gone")
        self.partial.go_on(error)
        return error

    def test_a_failure_is_remembered(self) -> None:
        """After a failed write nothing more reaches the medium, and everybody who asks is told, again and again."""
        flushed = []
        self.write(1.5)
        flushed.append(self.upload.flushed())
        error = OSError("gone")
        self.partial.go_on(error)
        asked = list(self.partial.asked)
        self.upload.write(KIB64 * 100)
        flushed += [self.upload.flushed(), self.upload.commit(ANY), self.upload.flushed()]
        for waiting in flushed:
            self.assertIs(self.failureResultOf(waiting, OSError).value, error)
        self.assertEqual(self.partial.asked, asked)

    def test_a_failure_stops_the_producer(self) -> None:
        """The producer is paused for good, and `stopped` tells whoever waits for its last byte why."""
        stopped = self.upload.stopped()
        self.assertNoResult(stopped)
        error = self.fail()
        self.assertEqual(self.producer.told, ["pause"])
        self.assertIs(self.successResultOf(stopped), error)
        self.assertIs(self.successResultOf(self.upload.stopped()), error)

    def test_stopped_may_be_cancelled(self) -> None:
        """Who has seen the last byte need not be told any more."""
        stopped = self.upload.stopped()
        stopped.cancel()
        self.failureResultOf(stopped, CancelledError)
        self.fail()

    def test_memory_is_given_back(self) -> None:
        """What could not be kept does not count against the budget."""
        self.fail()
        self.upload.suspend()
        self.assertEqual(self.budget.held, 0)

    def test_a_failed_upload_is_suspended_or_cancelled(self) -> None:
        """After a failure the medium is still let go of."""
        self.fail()
        suspended = self.upload.suspend()
        self.assertEqual(self.partial.asked[-1], "close")
        self.partial.go_on()
        self.successResultOf(suspended)


class EndTests(UploadTestCase):
    def test_commit_waits_for_what_is_on_its_way(self) -> None:
        """The blob is placed after its last byte, and `commit` fires with its size."""
        self.write(1.5)
        committed = self.upload.commit(ANY)
        self.partial.go_on()
        self.assertNotIn(ANY, self.partial.asked)
        self.partial.go_on()
        self.assertEqual(self.partial.asked[-1], ANY)
        self.assertNoResult(committed)
        self.partial.go_on()
        self.assertEqual(self.successResultOf(committed), 1.5 * SEGMENT)

    def test_cancel_waits_for_the_segment_in_flight(self) -> None:
        """`cancel` lets the running write end, skips those that wait, and then discards."""
        self.write(3.5)
        cancelled = self.upload.cancel()
        self.assertEqual(len(self.partial.asked), 1)
        self.partial.go_on()
        self.assertEqual(self.partial.asked[1:], ["discard"])
        self.assertNoResult(cancelled)
        self.partial.go_on()
        self.successResultOf(cancelled)
        self.assertEqual(self.budget.held, 0)

    def test_suspend_flushes(self) -> None:
        """`suspend` keeps every byte that was written before it."""
        self.write(1.5)
        suspended = self.upload.suspend()
        self.partial.finish()
        self.successResultOf(suspended)
        self.assertEqual((len(self.partial.data), self.partial.asked[-1]), (1.5 * SEGMENT, "close"))

    def test_cancel_overtakes_a_commit_that_waits(self) -> None:
        """Whoever cancels while a commit waits for bytes gets what it asked for; the commit is told."""
        self.write(1.5)
        committed = self.upload.commit(ANY)
        self.upload.cancel()
        self.partial.finish()
        self.failureResultOf(committed, UploadMissing)
        self.assertEqual(self.partial.asked[-1], "discard")

    def test_cancel_cannot_overtake_a_commit_that_runs(self) -> None:
        """A blob that is being placed is placed; `cancel` waits for that."""
        committed = self.upload.commit(ANY)
        cancelled = self.upload.cancel()
        self.assertNoResult(cancelled)
        self.partial.go_on()
        self.assertEqual(self.successResultOf(committed), 0)
        self.successResultOf(cancelled)
        self.assertEqual(self.partial.asked, [ANY])

    def test_the_caller_of_a_commit_is_cancelled(self) -> None:
        """A commit whose caller has gone is done all the same, and nothing else is done meanwhile."""
        committed = self.upload.commit(ANY)
        committed.cancel()
        self.failureResultOf(committed, CancelledError)
        suspended = self.upload.suspend()
        self.assertNoResult(suspended)
        self.partial.go_on()
        self.successResultOf(suspended)
        self.assertEqual(self.partial.asked, [ANY])

    def test_the_end_is_told(self) -> None:
        """Somebody who ends an upload under a producer stops it, and whoever waits for its bytes hears of it."""
        self.upload.registerProducer(self.producer, True)
        stopped = self.upload.stopped()
        self.upload.cancel()
        self.assertIsInstance(self.successResultOf(stopped), UploadMissing)
        self.assertEqual(self.producer.told, ["pause"])


class BudgetTests(UploadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.budget = Budget(8 * SEGMENT)
        self.partials = [SlowPartial() for _ in range(20)]
        self.uploads = [self.make_upload(partial) for partial in self.partials]
        self.producers = [Producer() for _ in self.uploads]
        for upload, producer in zip(self.uploads, self.producers, strict=True):
            upload.registerProducer(producer, True)

    def test_the_sum_is_bounded(self) -> None:
        """Many uploads that hold little each wait when they hold too much together, and none waits for ever."""
        for upload in self.uploads:
            upload.write(KIB64 * 15)  # less than a segment each: nobody would write of his own accord
        self.assertTrue(self.budget.full)
        self.assertTrue(all(len(partial.asked) == 1 for partial in self.partials))
        self.assertIn("pause", self.producers[-1].told)
        for partial in self.partials:
            partial.finish()
        self.assertEqual((self.budget.full, self.budget.held), (False, 0))
        self.assertEqual(self.producers[-1].told[-1], "resume")

    def test_crumbs_do_not_become_many_segments(self) -> None:
        """While the budget is full, an upload sends what it has when its last segment is done, not byte by byte."""
        self.budget.take(self.budget.limit)
        for _ in range(1000):
            self.uploads[0].write(b"x")
        self.partials[0].finish()
        self.assertEqual(self.partials[0].asked, [1, 999])

    def test_an_upload_that_ends_leaves(self) -> None:
        """A budget does not keep uploads alive that are over."""
        for upload in self.uploads:
            upload.cancel()
        self.assertEqual(list(self.budget._uploads), [])

    def test_one_upload_is_bounded_by_itself(self) -> None:
        """One greedy upload is paused long before the budget is."""
        while not self.producers[0].told:
            self.uploads[0].write(KIB64)
        self.assertFalse(self.budget.full)
        self.assertLessEqual(self.budget.held, HIGH + 2 * len(KIB64))


@given(st.text(max_size=70))
def test_upload_ids(name: str) -> None:
    """What is an upload's id is a plain file name, whoever made it up."""
    if is_upload_id(name):
        assert name.isascii()
        assert 1 <= len(name) <= 64
        assert name.replace("-", "a").isalnum()
