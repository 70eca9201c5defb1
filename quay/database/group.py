"""
Group commit for an engine with one writer: units of work that wait for it together are committed together, so that
the disk is asked once for all of them.

Each unit has a savepoint of its own: one that raises takes back its own rows and nobody else's. When it is the engine
that fails, nothing of the group is kept, and each unit is run again alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quay.interfaces import IPool

GROUP: Final = 64
"""Units of work in one transaction, at most: what a reader of one of them may have to wait for."""

Unit: TypeAlias = Callable[[Any], Any]


class GroupCommit:
    """
    Runs units of work in `pool`, one group at a time, in the order in which they came. `transact` takes the units of a
    group, in a thread, and gives for each its outcome or a Failure.
    """

    def __init__(self, pool: IPool, transact: Callable[[Sequence[Unit]], Sequence[Any]]) -> None:
        self._pool = pool
        self._transact = transact
        self._waiting: deque[tuple[Unit, Deferred[Any]]] = deque()
        self._busy = False

    def run(self, unit: Unit) -> Deferred[Any]:
        """The outcome of `unit`, once its group has been committed."""
        done: Deferred[Any] = Deferred()
        self._waiting.append((unit, done))
        if not self._busy:
            self._begin()
        return done

    def _begin(self) -> None:
        self._busy = True
        group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        running = self._pool.run(self._transact, [unit for unit, _ in group])
        running.addBoth(self._settle, [done for _, done in group])

    def _settle(self, outcomes: Sequence[Any] | Failure, waiting: Sequence[Deferred[Any]]) -> None:
        self._busy = False
        if self._waiting:
            self._begin()
        for number, done in enumerate(waiting):
            done.callback(outcomes if isinstance(outcomes, Failure) else outcomes[number])
