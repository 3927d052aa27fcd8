"""Who has what on lease: taken, and neither finished with nor given up."""

from __future__ import annotations

from typing import Generic, TypeVar

Reader = TypeVar("Reader")
Thing = TypeVar("Thing")


class Ledger(Generic[Reader, Thing]):
    """
    The leases of all readers.

    Each lease has a number that is never used again, so that what is said of
    one too late, or twice, concerns no other.
    """

    __slots__ = ("_last", "_leases")

    def __init__(self) -> None:
        self._last = 0
        self._leases: dict[Reader, dict[int, Thing]] = {}

    def __len__(self) -> int:
        """How many leases there are."""
        return sum(map(len, self._leases.values()))

    def lease(self, reader: Reader, thing: Thing) -> int:
        """
        Write down that C{reader} has C{thing}.

        @return: the number of the lease, above 0.
        """
        self._last = number = self._last + 1
        self._leases.setdefault(reader, {})[number] = thing
        return number

    def settle(self, reader: Reader, number: int) -> Thing | None:
        """
        End a lease.

        @return: what was leased; L{None} where C{reader} has no such lease.
        """
        leases = self._leases.get(reader)
        if leases is None:
            return None
        thing = leases.pop(number, None)
        if not leases:
            del self._leases[reader]
        return thing

    def abandon(self, reader: Reader) -> list[Thing]:
        """
        End all leases of C{reader}, who is gone.

        @return: what it had, in the order in which it took it.
        """
        return list(self._leases.pop(reader, {}).values())

    def clear(self) -> None:
        """End all leases; their numbers stay used."""
        self._leases.clear()
