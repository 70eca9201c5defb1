"""
The named thread pools: everything that waits for a disk, a database, a processor or a directory server.

Twisted's own pool is left to DNS; nothing here uses it. A thread cannot be interrupted: cancelling what `run` returned
forgets the answer and nothing else, and whoever must know when the work has really ended uses `shielded`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.interfaces import IPool

P = ParamSpec("P")
R = TypeVar("R")

log = Logger()


class PoolStopped(Exception):
    """Work was given to a pool that takes no more."""

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"The thread pool {pool} has stopped, because the server is stopping: try again after its start."
        )
        self.pool = pool


@attrs.define(eq=False)
class _Call:
    """Work for a thread, and who waits for what comes of it."""

    work: Callable[[], Any]
    done: Deferred[Any]
    asked: float
    outcome: Any = None
    """What was returned, or a Failure."""


@implementer(IPool)
class Pool(Service):
    """
    At most `size` threads, started when first needed; on stop, what was begun or is waiting is finished.

    `asked` and `begun` count the calls, the difference waits for a thread; `waited` is how long the begun ones waited,
    in seconds. Work comes from the reactor's thread, and what came of it is told there.
    """

    # Not Twisted's ThreadPool: a push passes here a dozen times, and each time cost more than most of the work did.

    def __init__(self, reactor: IReactorFromThreads, name: str, size: int) -> None:
        self.setName(name)
        self._reactor = reactor
        self._size = size
        self._threads: list[Thread] = []
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: deque[_Call] = deque()
        self._telling = False
        self._unanswered = 0
        self._stopped = False
        self._lock = Lock()
        self.asked = self.begun = 0
        self.waited = 0.0

    def startService(self) -> None:
        super().startService()
        self._start_threads()

    def stopService(self) -> Deferred[None]:
        """Fires when the last thread has ended, after everything it found out has been told."""
        super().stopService()
        self._stopped = True
        ended: Deferred[None] = Deferred()
        Thread(target=self._join, args=(ended,), name=f"{self.name}-stop").start()
        return ended

    def _join(self, ended: Deferred[None]) -> None:
        # In a thread of its own: the last results reach their Deferreds only while the reactor turns.
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._reactor.callFromThread(ended.callback, None)

    def run(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        if self._stopped:
            return fail(PoolStopped(str(self.name)))
        self._unanswered += 1
        try:
            self._start_threads()
        except RuntimeError:
            self._unanswered -= 1
            return fail()
        done: Deferred[R] = Deferred()
        self.asked += 1
        self._calls.put(_Call(partial(f, *args, **kwargs), done, perf_counter()))
        return done

    def _start_threads(self) -> None:
        while self.running and len(self._threads) < min(self._size, self._unanswered):
            thread = Thread(target=self._work, name=f"{self.name}-{len(self._threads)}")
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads, for now: those that there are do the work
                if self._threads:
                    return
                raise
            self._threads.append(thread)

    # --- in a thread

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            with self._lock:
                self.begun += 1
                self.waited += perf_counter() - call.asked
            try:
                call.outcome = call.work()
            except BaseException:  # whatever it is: whoever waits is told, and the thread goes on
                call.outcome = Failure()
            self._ended.append(call)
            del call  # what came of it belongs to whoever waited, and not to a thread that rests
            if not self._telling:  # else the reactor has been woken, and has not looked yet
                self._telling = True
                self._reactor.callFromThread(self._tell)

    # --- in the reactor's

    def _tell(self) -> None:
        self._telling = False
        while self._ended:
            call = self._ended.popleft()
            self._unanswered -= 1
            call.done.callback(call.outcome)  # a Failure becomes the errback chain


class Threads(MultiService):
    """
    The pools of one process.

    `blobs` reads, writes and hashes blob bytes; `cpu` hashes passwords, signs, converts; `directory` waits for
    directory servers; `db_read` and `db_write` belong to the database (one writer where the engine has only one).
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        *,
        blobs: int = 8,
        cpu: int = 2,
        directory: int = 4,
        db_read: int = 4,
        db_write: int = 1,
    ) -> None:
        super().__init__()
        self.blobs = Pool(reactor, "blobs", blobs)
        self.cpu = Pool(reactor, "cpu", cpu)
        self.directory = Pool(reactor, "directory", directory)
        self.db_read = Pool(reactor, "db-read", db_read)
        self.db_write = Pool(reactor, "db-write", db_write)
        for pool in (self.blobs, self.cpu, self.directory, self.db_read, self.db_write):
            pool.setServiceParent(self)


@implementer(IPool)
class ImmediatePool:
    """A pool for tests: the call happens at once, in the caller's thread."""

    def run(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        return maybeDeferred(f, *args, **kwargs)


def shielded(work: Deferred[R], give_back: Callable[[R], object] | None = None) -> Deferred[R]:
    """
    The outcome of `work`, which may be cancelled without disturbing `work`. A result that nobody waits for any more
    goes to `give_back`, which closes what it opened; a failure that nobody waits for is logged.
    """
    outcome: Deferred[R] = Deferred()

    def succeeded(result: R) -> None:
        if not outcome.called:
            outcome.callback(result)
        elif give_back is not None:
            give_back(result)

    def failed(failure: Failure) -> None:
        if not outcome.called:
            outcome.errback(failure)
        else:
            log.warn("Nobody waits any more for work that failed: {reason}", reason=failure.getErrorMessage())

    work.addCallbacks(succeeded, failed)
    return outcome


async def interruptible(pool: IPool, f: Callable[Concatenate[Event, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """
    What `f(stop, …)` gives in a thread of `pool`: work that takes long, and looks now and then whether `stop` is set.
    Whoever is cancelled while he awaits this sets it, and his cancellation goes on when `f` has ended.
    """
    stop, cancelled = Event(), False
    outcome: list[R | Failure] = []
    waiting: list[Deferred[None]] = []

    def ended(result: R | Failure) -> None:
        outcome.append(result)
        for waiter in waiting:
            waiter.callback(None)

    pool.run(f, stop, *args, **kwargs).addBoth(ended)
    while not outcome:
        waiting[:] = [Deferred()]
        try:
            await waiting[0]
        except CancelledError:
            cancelled = True
            stop.set()
    if cancelled:
        raise CancelledError
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
