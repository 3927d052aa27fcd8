"""What is sent in one turn of the reactor, in one call of a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from chanserv.layers.redis.protocol import Word

AT_ONCE: Final = 200
"""Sends and the like in one call: a millisecond or two of the server's time."""

Results: TypeAlias = list[list[Any]]
"""What C{lua/operate.lua} returns."""

_Post: TypeAlias = "tuple[Sequence[Word], int, Deferred[Results]]"


class Posts:
    """
    Gathers operations until the turn of the reactor is over.

    The owner calls L{flush} before it sends anything else, so that the order is
    that of the calls.
    """

    def __init__(self, reactor: Any, send: Callable[[list[Word]], Deferred[Results]]) -> None:
        """
        @param send: has a server do some operations.
        """
        self._reactor = reactor
        self._send = send
        self._posts: list[_Post] = []
        self._turn: IDelayedCall | None = None

    def add(self, words: Sequence[Word], count: int) -> Deferred[Results]:
        """
        Post some operations.

        @param count: how many C{words} are.
        @return: fires with their results, by their own places.
        """
        posted: Deferred[Results] = Deferred()
        if not self._posts:
            self._turn = self._reactor.callLater(0, self._end_turn)
        self._posts.append((words, count, posted))
        if len(self._posts) >= AT_ONCE:
            self.flush()
        return posted

    def flush(self) -> None:
        """Send what has been posted."""
        if self._turn is not None:
            self._turn.cancel()
            self._end_turn()

    def _end_turn(self) -> None:
        self._turn = None
        posts, self._posts = self._posts, []
        words: list[Word] = []
        for some, _, _ in posts:
            words += some
        self._send(words).addCallbacks(_done, _failed, callbackArgs=(posts,), errbackArgs=(posts,))


def _done(results: Results, posts: list[_Post]) -> None:
    """Give each post its own of the results."""
    start = at = 0
    for _, count, posted in posts:
        mine: Results = []
        while at < len(results) and results[at][0] < start + count:
            mine.append([results[at][0] - start, *results[at][1:]])
            at += 1
        start += count
        posted.callback(mine)


def _failed(failure: Failure, posts: list[_Post]) -> None:
    for _, _, posted in posts:
        posted.errback(failure)
