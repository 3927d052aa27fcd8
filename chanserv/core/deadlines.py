"""
What falls due when, at a cost that idle things do not add to.

Many things (mailboxes, gatherings) each hold a row of items that fall due in
the order in which they came.  A heap holds B{one} entry for each thing: the
deadline of its first item when it was put there.  When that item is taken
early the entry is left as it is, and mended when it comes up: the thing is
asked for its first deadline again.  So the entries are never later than the
truth, sending and receiving costs no heap operation on a channel that is
already there, and nothing ever walks over channels on which nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic, Protocol, TypeVar

NEVER: Final = float("inf")
"""The deadline of nothing."""

_REVIEW_AT: Final = 64
"""Entries from which on empty things are weeded out before the heap grows."""


class Perishable(Protocol):
    """
    Something whose items fall due.

    @ivar scheduled: whether L{Deadlines} has an entry for it; only that
        changes it, and it begins as C{False}.
    """

    scheduled: bool

    def first_deadline(self) -> float:
        """When its first item falls due; L{NEVER} while it holds none."""


Thing = TypeVar("Thing", bound=Perishable)


class Deadlines(Generic[Thing]):
    """
    The heap of one kind of thing.

    @ivar next: no item falls due before this; L{NEVER} when nothing is held.
    """

    __slots__ = ("_heap", "_review_at", "_serial", "next")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Thing]] = []
        self._serial = 0
        self._review_at = _REVIEW_AT
        self.next = NEVER

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, thing: Thing, deadline: float) -> None:
        """
        Hold C{thing}, whose first item falls due at C{deadline}.

        Call it when C{thing.scheduled} is false, or when an item came before
        the first: the entry that is then one too many does no harm, and goes
        when its time comes.
        """
        if len(self._heap) >= self._review_at:
            self._weed()
        self._serial += 1
        thing.scheduled = True
        heappush(self._heap, (deadline, self._serial, thing))
        self.next = self._heap[0][0]

    def drop_due(self, now: float, drop: Callable[[Thing], None]) -> None:
        """
        Call C{drop} with each thing that may hold an item due at C{now}.

        @param drop: removes the items that are due.  It must not call L{add}.
        """
        heap = self._heap
        while heap and heap[0][0] <= now:
            drop(heap[0][2])
            self._mend()
        self.next = heap[0][0] if heap else NEVER

    def first(self) -> float:
        """The deadline of the item that falls due first, exactly."""
        heap = self._heap
        while heap and heap[0][2].first_deadline() != heap[0][0]:
            self._mend()
        self.next = heap[0][0] if heap else NEVER
        return self.next

    def clear(self) -> None:
        """Hold nothing; the things themselves are forgotten with it."""
        for _, _, thing in self._heap:
            thing.scheduled = False
        self._heap.clear()
        self._review_at = _REVIEW_AT
        self.next = NEVER

    def _mend(self) -> None:
        """Bring the top entry up to date, or remove it."""
        _, serial, thing = self._heap[0]
        deadline = thing.first_deadline()
        if deadline == NEVER:
            heappop(self._heap)
            thing.scheduled = False
        else:
            heapreplace(self._heap, (deadline, serial, thing))

    def _weed(self) -> None:
        """
        Remove the entries of empty things.

        The next time is when the heap has doubled, so that each L{add} pays
        for a constant number of entries looked at here.
        """
        kept: list[tuple[float, int, Thing]] = []
        for _, _, thing in self._heap:
            thing.scheduled = False
        for _, serial, thing in self._heap:
            deadline = thing.first_deadline()
            if deadline != NEVER and not thing.scheduled:
                thing.scheduled = True
                kept.append((deadline, serial, thing))
        heapify(kept)
        self._heap = kept
        self._review_at = max(_REVIEW_AT, 2 * len(kept))
