"""
Changes to memberships that this process has made lately.

The owner of a mailbox keeps the list of its members, and puts it back where the
store has lost it.  But it learns of a change only after whoever made it has been
told that it is done; should the store be lost just then, nobody else knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from chanserv.layers.redis.mirrors import AT_ONCE
from chanserv.layers.redis.protocol import Word

REMEMBERED_FOR: Final = 5.0
"""Seconds that a change is remembered while the store is in touch: an owner that
lives has heard of it by then, thousands of times over."""

MOST_REMEMBERED: Final = 10_000
"""Changes that are remembered; of more, the last."""


class Recent:
    """Those made on one shard, as the words of C{lua/operate.lua}."""

    def __init__(self) -> None:
        self._changes: deque[tuple[float, Sequence[Word]]] = deque(maxlen=MOST_REMEMBERED)

    def note(self, words: Sequence[Word], now: float) -> None:
        """
        Remember a change that has been made.

        @param now: seconds on any one clock.
        """
        self._changes.append((now, words))

    def forget_old(self, now: float) -> None:
        """Forget what every owner has heard of; call it while the store is in touch."""
        changes = self._changes
        while changes and changes[0][0] < now - REMEMBERED_FOR:
            changes.popleft()

    def clear(self) -> None:
        """Forget all: somebody has flushed the store."""
        self._changes.clear()

    def again(self) -> Iterator[list[Word]]:
        """
        The operations that make them again, in their order.

        They stay remembered: the store may be lost once more.
        """
        changes = list(self._changes)
        for start in range(0, len(changes), AT_ONCE):
            yield [word for _, words in changes[start : start + AT_ONCE] for word in words]
