"""
The receipts that a process still waits for, by the store that owes them.

A store outside the process may come back without what it held: a Redis server
started again empty, a hub that died with its process.  What was there is gone,
and with it the news of what became of it.  So whoever sends keeps a note of
each receipt that it asked for, and when its store is known to have lost
everything, says itself what the store no longer can: that they are lost.

Pure: it sends nothing.  The layer calls L{Outstanding.asked} before a send goes
out and L{Outstanding.answered} when its receipt comes, or the send fails; a
failed send is news enough.
"""

from __future__ import annotations

from typing import Final

MAX_OUTSTANDING: Final = 100_000
"""Receipts noted at once, some 20 MB of them at worst: five for each of the
connections that an interface server takes by default.  Past it a lost message
is noticed by the time-outs of those who wait."""


class Outstanding:
    """
    Receipts that have been asked for and have not come.

    @ivar count: how many there are.
    @ivar unnoted: how many receipts have found no room here, ever.
    """

    __slots__ = ("_by_store", "_limit", "count", "unnoted")

    def __init__(self, limit: int = MAX_OUTSTANDING) -> None:
        """@param limit: how many receipts are noted at once."""
        self._limit = limit
        # A connection's events in flight all give their receipts to one
        # channel: a count for each.
        self._by_store: dict[str, dict[str, int]] = {}
        self.count = 0
        self.unnoted = 0

    def asked(self, store: str, receipt: str) -> None:
        """
        Note that C{store} will owe one receipt to the channel C{receipt}.

        @param store: the name of a shard; any one name where there is but one.
        """
        if self.count >= self._limit:
            self.unnoted += 1
            return
        self.count += 1
        channels = self._by_store.setdefault(store, {})
        channels[receipt] = channels.get(receipt, 0) + 1

    def answered(self, store: str, receipt: str) -> None:
        """
        Note that one receipt of the channel C{receipt} has come from C{store},
        or never will, since the send has failed.

        Nothing happens where none is noted.
        """
        channels = self._by_store.get(store)
        count = channels.get(receipt) if channels else None
        if not channels or not count:
            return
        self.count -= 1
        if count == 1:
            del channels[receipt]
        else:
            channels[receipt] = count - 1

    def lost(self, store: str) -> list[str]:
        """
        Take what C{store} owes, since it has lost everything.

        @return: the channels to tell that a message is lost, each as often as
            it waits for that, in the order in which they first asked.
        """
        channels = self._by_store.pop(store, {})
        told = [channel for channel, count in channels.items() for _ in range(count)]
        self.count -= len(told)
        return told

    def clear(self) -> None:
        """Forget all: the layer has been flushed, which gives no receipts."""
        self._by_store.clear()
        self.count = 0
