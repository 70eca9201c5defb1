"""The cache of the hot path: exact, bounded, and distrustful when it has to be."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quay.oci.reference import Digest
from quay.registry.cache import ENTRY_COST, Cache, Recent

TAG = ("tag", 1, "latest")


class CacheTests(SynchronousTestCase):
    """One cache, its clock, and a database that answers when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = Cache(self.clock.seconds)
        self.asked: list[Deferred[object]] = []

    def ask(self) -> Deferred[object]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def load(self, **how: object) -> Deferred[object]:
        return Deferred.fromCoroutine(self.cache.load(TAG, self.ask, **how))  # type: ignore[arg-type]

    def test_remembers(self) -> None:
        """What has been read once is not read again."""
        first = self.load()
        self.asked[0].callback("d1")
        self.assertEqual(self.successResultOf(first), "d1")
        self.assertEqual(self.successResultOf(self.load()), "d1")
        self.assertEqual((len(self.asked), self.cache.get(TAG)), (1, "d1"))
        self.assertEqual((self.cache.hits, self.cache.misses, self.cache.entries), (2, 1, 1))
        self.assertEqual(self.cache.weight, ENTRY_COST)

    def test_nothing_is_not_remembered(self) -> None:
        """That something does not exist is asked anew each time."""
        for _ in range(2):
            answer = self.load()
            self.asked[-1].callback(None)
            self.assertIsNone(self.successResultOf(answer))
        self.assertEqual(len(self.asked), 2)

    def test_a_change_ends_an_entry(self) -> None:
        """A committed change drops exactly what it names."""
        for key in (TAG, ("tag", 1, "other"), ("tag", 2, "latest")):
            self.successResultOf(Deferred.fromCoroutine(self.cache.load(key, self._at_once)))
        self.cache.drop([TAG])
        kept = [self.cache.get(key) for key in (TAG, ("tag", 1, "other"), ("tag", 2, "latest"))]
        self.assertEqual(kept, [None, "value", "value"])

    async def _at_once(self) -> str:
        return "value"

    def test_a_change_while_reading(self) -> None:
        """A value that was on its way when it changed is handed out, and not kept."""
        answer = self.load()
        self.cache.drop([TAG])
        self.asked[0].callback("before the change")
        self.assertEqual(self.successResultOf(answer), "before the change")
        self.assertIsNone(self.cache.get(TAG))

    def test_a_reading_after_a_change(self) -> None:
        """A reading that began after the change is kept, although an older one is still under way."""
        self.load()
        self.cache.drop([TAG])
        second = self.load()
        self.asked[1].callback("new")
        self.asked[0].callback("old")
        self.assertEqual(self.successResultOf(second), "new")
        self.assertEqual(self.cache.get(TAG), "new")

    def test_clear_while_reading(self) -> None:
        """A gap in the announcements spoils what is being read, too."""
        answer = self.load()
        self.cache.clear()
        self.asked[0].callback("old")
        self.successResultOf(answer)
        self.assertIsNone(self.cache.get(TAG))

    def test_a_namespace_ends_everything(self) -> None:
        """A changed namespace may show in any entry."""
        self.successResultOf(Deferred.fromCoroutine(self.cache.load(TAG, self._at_once)))
        self.cache.drop([("namespace", 7)])
        self.assertIsNone(self.cache.get(TAG))

    def test_a_failure_is_not_remembered(self) -> None:
        """Whoever asks after a failed reading reads again."""
        failed = self.load()
        self.asked[0].errback(ValueError("away"))
        self.failureResultOf(failed, ValueError)
        again = self.load()
        self.asked[1].callback("d1")
        self.assertEqual(self.successResultOf(again), "d1")

    def test_expiry(self) -> None:
        """An entry ends at its time, to the moment."""
        answer = self.load(expires=lambda value: 10.0)
        self.asked[0].callback("d1")
        self.successResultOf(answer)
        self.clock.advance(9.9)
        self.assertEqual(self.cache.get(TAG), "d1")
        self.clock.advance(0.1)
        self.assertIsNone(self.cache.get(TAG))

    def test_distrust(self) -> None:
        """While announcements may be missed, nothing is answered and nothing is kept."""
        self.successResultOf(Deferred.fromCoroutine(self.cache.load(TAG, self._at_once)))
        self.cache.trusted = lambda: False
        self.assertIsNone(self.cache.get(TAG))
        self.successResultOf(Deferred.fromCoroutine(self.cache.load(("tag", 1, "x"), self._at_once)))
        self.cache.trusted = lambda: True
        self.assertIsNone(self.cache.get(("tag", 1, "x")))

    def test_bounded(self) -> None:
        """The least recently used entries make room; what weighs more than everything is not kept."""
        cache = Cache(self.clock.seconds, limit=3 * (ENTRY_COST + 100))
        for number in range(4):
            self.successResultOf(
                Deferred.fromCoroutine(cache.load(("manifest", 1, str(number)), self._at_once, weigh=lambda _: 100))
            )
            cache.get(("manifest", 1, "0"))
        kept = [number for number in range(4) if cache.get(("manifest", 1, str(number)))]
        self.assertEqual(kept, [0, 2, 3])
        self.successResultOf(
            Deferred.fromCoroutine(cache.load(("manifest", 1, "big"), self._at_once, weigh=lambda _: 10**9))
        )
        self.assertIsNone(cache.get(("manifest", 1, "big")))


def test_recent_blobs_are_bounded() -> None:
    """Of what was pushed lately, the newest are remembered, and no more bytes than may be."""
    recent = Recent(limit=3 * (10 + ENTRY_COST))
    blobs = [bytes([number]) * 10 for number in range(5)]
    for data in (*blobs, blobs[-1]):
        recent.keep(Digest.of(data), data)
    assert [recent.get(Digest.of(data)) for data in blobs] == [None, None, *blobs[2:]]
