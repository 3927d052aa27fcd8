"""
The order of operations that take several trips.

With several shards, a change to a membership is done first where its mailbox
is and then where its group is, and a message for a group first asks where the
group is and then goes to the mailboxes.  What the same process asks for must
come out in the order of its asking: a change waits for those to the same channel
and for the messages before it, and a message waits for all changes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList

T = TypeVar("T")


class Turns:
    """Operations under way."""

    def __init__(self) -> None:
        # The last change of each name, and all messages.
        self._changes: dict[str, Deferred[None]] = {}
        self._messages: dict[Deferred[None], None] = {}

    def change(
        self, name: str, operation: Callable[[], Coroutine[Any, Any, None]]
    ) -> Deferred[None]:
        """
        Change something, in its turn.

        @param name: what is changed: changes of different names do not wait for
            each other.
        """
        before = [*self._messages]
        if name in self._changes:
            before.append(self._changes[name])
        done: Deferred[None] = Deferred()
        self._changes[name] = done

        def end(result: Any) -> Any:
            if self._changes.get(name) is done:
                del self._changes[name]
            done.callback(None)
            return result

        return Deferred.fromCoroutine(_after(before, operation)).addBoth(end)

    async def message(
        self, operation: Callable[[], Coroutine[Any, Any, T]], changes: bool = False
    ) -> T:
        """
        Send something to groups, after the changes that are under way now.

        @param changes: whether it changes memberships too.
        """
        before = [*self._changes.values()]
        done: Deferred[None] = Deferred()
        name = f"batch {id(done)}"
        if changes:
            before += self._messages
            self._changes[name] = done
        self._messages[done] = None
        try:
            return await _after(before, operation)
        finally:
            self._changes.pop(name, None)
            del self._messages[done]
            done.callback(None)

    async def all_changes(self) -> None:
        """Wait for all changes that are under way now."""
        await _wait_for([*self._changes.values()])


async def _after(
    before: Iterable[Deferred[None]], operation: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    await _wait_for(before)
    return await operation()


async def _wait_for(some: Iterable[Deferred[None]]) -> None:
    """Wait for each of C{some}, for which others may wait too."""
    for one in some:
        waiting: Deferred[None] = Deferred()
        one.addCallback(_tell, waiting)
        await waiting


def _tell(_: None, waiting: Deferred[None]) -> None:
    waiting.callback(None)


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
