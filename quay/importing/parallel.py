"""Many things to do, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults

T = TypeVar("T")


async def each(items: AsyncIterator[T], work: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """
    Do `work` to all `items`, `at_once` at a time, taking an item only when there is a hand free for it. The first
    failure ends all, and is raised.
    """
    turn = DeferredLock()
    ended = False

    async def hand() -> None:
        nonlocal ended
        while not ended:
            async with turn:
                item = None if ended else await anext(items, None)
                if item is None:
                    ended = True
                    return
            await work(item)

    hands = [Deferred.fromCoroutine(hand()) for _ in range(at_once)]
    try:
        await gatherResults(hands, consumeErrors=True)
    except FirstError as error:
        ended = True
        error.subFailure.raiseException()
    finally:
        for one in hands:
            one.addErrback(lambda _: None)  # one reason is enough
            one.cancel()


async def listed(items: Iterable[T]) -> AsyncIterator[T]:
    """`items`, for whoever would have to wait for them."""
    for item in items:
        yield item
