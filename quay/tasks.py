"""
What must finish although nobody waits for it any more.

A client that hangs up cancels the request it made, and every `await` in it. Work that has begun to change things is
given to `Tasks` instead: the request awaits the result, and cancelling the request leaves the work alone.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from quay.oci.errors import RegistryError

R = TypeVar("R")

log = Logger()


class Tasks(Service):
    """Runs coroutines to their end; stopping waits for those that are under way."""

    name = "tasks"

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, R]) -> Deferred[R]:
        """
        Run `work` to its end. The Deferred fires with its outcome, and may be cancelled without disturbing it; a
        failure that nobody was there to see is logged, unless it is a refusal: that was for the client only.
        """
        running = Deferred.fromCoroutine(work)
        outcome: Deferred[R] = Deferred()
        self._running.add(running)

        def settle(result: R | Failure) -> None:
            self._running.discard(running)
            if not outcome.called:
                outcome.callback(result)  # a Failure becomes the errback chain
            elif isinstance(result, Failure) and result.check(RegistryError) is None:
                log.failure("nobody was waiting for this any more, and it failed", failure=result)

        running.addBoth(settle)
        return outcome

    def stopService(self) -> Deferred[None]:
        super().stopService()
        waiting = DeferredList([self._ended(task) for task in self._running])
        return waiting.addCallback(lambda _: None)

    @staticmethod
    def _ended(task: Deferred[Any]) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def tell(result: R) -> R:
            ended.callback(None)
            return result

        task.addBoth(tell)
        return ended
