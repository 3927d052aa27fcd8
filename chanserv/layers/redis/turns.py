"""
The order of operations that take several trips.

With several shards, a change to a membership is done first where its mailbox
is and then where its group is.  What the same process asks for meanwhile must
come after it: a change to the same channel waits for its turn, and whatever
sends to a group waits for all the changes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList

T = TypeVar("T")


class Turns:
    """Operations under way, the last one of each name."""

    def __init__(self) -> None:
        self._last: dict[str, Deferred[None]] = {}

    def take(self, name: str, operation: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Do C{operation} when all those of the same name before it are done."""
        done: Deferred[None] = Deferred()
        before = self._last.get(name)
        self._last[name] = done
        if before is None:
            result = operation()
        else:
            result = Deferred()
            before.addCallback(lambda _: operation().chainDeferred(result))

        def end(value: object) -> object:
            if self._last.get(name) is done:
                del self._last[name]
            done.callback(None)
            return value

        result.addBoth(end)
        return result

    async def all_before(self) -> None:
        """Wait for all that is under way now."""
        for last in list(self._last.values()):
            waiting: Deferred[None] = Deferred()
            last.addCallback(_tell, waiting)
            await waiting


async def all_done(waiting: Sequence[Deferred[T]]) -> list[T]:
    """
    Wait until all are done.

    @return: their results.
    @raise ChannelLayerError: the first error among them.
    """
    found: list[tuple[bool, Any]] = await DeferredList(waiting, consumeErrors=True)
    for there, result in found:
        if not there:
            raise result.value
    return [result for _, result in found]


def _tell(_: None, waiting: Deferred[None]) -> None:
    waiting.callback(None)
