"""
Where events wait for a worker, or for room in their channel: pure bookkeeping.

Each channel has its own row, first in, first out.  A few from the front of
each row are tried at a time; those that are refused again go back to where
they stood.  While there are no workers at all nothing is tried, and only time
takes something out of a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Generic, TypeVar

LOT: Final = 50
"""Events of one channel that are tried at a time: half of what a channel holds
by default, so that trying in vain costs little."""

Item = TypeVar("Item")


@dataclass(eq=False, slots=True)
class Parked(Generic[Item]):
    """
    One event that waits.

    @ivar item: what the caller wants back.
    @ivar size: its bytes.
    @ivar deadline: when it has waited long enough.
    @ivar serial: rises with each event.
    @ivar name: what it may be withdrawn by, or L{None}.
    @ivar farewell: whether it is the end of a connection, which takes no client's
        room.
    """

    channel: str
    item: Item
    size: int
    deadline: float
    serial: int
    name: str | None
    farewell: bool


class Parking(Generic[Item]):
    """
    The rows of all channels, bounded together.  Farewells are bounded by who parks
    them.

    @ivar events: how many wait, besides farewells.
    @ivar bytes: how many bytes they have.
    @ivar farewells: how many farewells wait.
    @ivar farewell_bytes: how many bytes they have.
    @ivar reprieve: nothing has waited long enough before this time.
    """

    __slots__ = (
        "_max_bytes",
        "_max_events",
        "_names",
        "_rows",
        "_serial",
        "_trying",
        "bytes",
        "events",
        "farewell_bytes",
        "farewells",
        "reprieve",
    )

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._rows: dict[str, deque[Parked[Item]]] = {}
        self._names: dict[str, Parked[Item]] = {}
        self._serial = 0
        self._trying = False
        self.events = 0
        self.bytes = 0
        self.farewells = 0
        self.farewell_bytes = 0
        self.reprieve = 0.0

    def __contains__(self, channel: str) -> bool:
        return channel in self._rows

    def __bool__(self) -> bool:
        return bool(self._rows)

    def park(
        self,
        channel: str,
        item: Item,
        size: int,
        deadline: float,
        *,
        name: str | None = None,
        farewell: bool = False,
    ) -> bool:
        """
        Let C{item} wait at the end of its channel's row.

        @return: whether there is room for it.
        """
        if not farewell and (
            self.events >= self._max_events or self.bytes + size > self._max_bytes
        ):
            return False
        self._serial += 1
        entry = Parked(channel, item, size, deadline, self._serial, name, farewell)
        self._rows.setdefault(channel, deque()).append(entry)
        self._count(entry, 1)
        return True

    def _count(self, entry: Parked[Item], one: int) -> None:
        """C{entry} has come (1) or gone (-1)."""
        if entry.farewell:
            self.farewells += one
            self.farewell_bytes += one * entry.size
        else:
            self.events += one
            self.bytes += one * entry.size
        if entry.name is None:
            return
        if one > 0:
            self._names[entry.name] = entry
        else:
            self._names.pop(entry.name, None)

    def withdraw(self, name: str) -> bool:
        """
        Let what was parked under C{name} wait no more.

        @return: whether it did; not if it is just being tried.
        """
        entry = self._names.get(name)
        if entry is None:
            return False
        row = self._rows[entry.channel]
        try:
            row.remove(entry)
        except ValueError:
            return False
        self._count(entry, -1)
        self._drop_empty_rows()
        return True

    def _drop_empty_rows(self) -> None:
        """Drop rows that hold nothing, unless some of it is being tried."""
        if not self._trying:
            self._rows = {channel: row for channel, row in self._rows.items() if row}

    def take_lot(self) -> list[Parked[Item]]:
        """
        Take those that are to be tried now, in the order in which they came.

        Their rows keep their place, so that nothing new overtakes them, and
        they still count.  Give them all back to L{settle}.
        """
        lot = [row.popleft() for row in self._rows.values() for _ in range(min(LOT, len(row)))]
        lot.sort(key=attrgetter("serial"))
        self._trying = True
        return lot

    def settle(self, lot: Sequence[Parked[Item]], refused: Sequence[bool]) -> None:
        """
        Say what became of a lot.

        @param refused: for each, whether it is to go on waiting.
        """
        for entry, again in zip(reversed(lot), reversed(refused), strict=True):
            if again:
                self._rows.setdefault(entry.channel, deque()).appendleft(entry)
            else:
                self._count(entry, -1)
        self._trying = False
        self._drop_empty_rows()

    def has_time(self, entry: Parked[Item], now: float) -> bool:
        """Whether C{entry} may go on waiting."""
        return now < max(entry.deadline, self.reprieve)

    def take_overdue(self, now: float) -> list[Parked[Item]]:
        """Take all that has waited long enough, but for farewells."""
        if now < self.reprieve:
            return []
        return self._take(lambda entry: not entry.farewell and now >= entry.deadline)

    def take_farewells(self) -> list[Parked[Item]]:
        """Take all farewells, in the order in which they came."""
        return self._take(lambda entry: entry.farewell)

    def clear(self) -> int:
        """
        Drop all that waits and is not being tried.

        @return: how many farewells were among it.
        """
        return sum(entry.farewell for entry in self._take(lambda _: True))

    def _take(self, wanted: Callable[[Parked[Item]], bool]) -> list[Parked[Item]]:
        taken = [entry for row in self._rows.values() for entry in row if wanted(entry)]
        for entry in taken:
            self._count(entry, -1)
        if taken:
            for channel, row in self._rows.items():
                self._rows[channel] = deque(entry for entry in row if not wanted(entry))
            self._drop_empty_rows()
        taken.sort(key=attrgetter("serial"))
        return taken
