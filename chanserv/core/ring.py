"""
Consistent hashing: which of several servers a name belongs to.

Each server stands at many points of a ring of hashes, and a name belongs to
the server at the first point after its own hash.  So a server that is added
takes its share of the names from all others, and no name moves between those;
one that is removed leaves its share to all others.  The places depend on the
servers' names alone: neither on their order nor on the process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from chanserv.errors import ConfigurationError

POINTS: Final = 256
"""Points of each server: the shares of ten servers then differ by some 6 % from
their mean (standard deviation), and a ring of ten is made in a few milliseconds."""


class Ring:
    """
    A ring of servers.

    It does not change: any thread may use it.
    """

    __slots__ = ("_names", "_places", "_points")

    def __init__(self, names: Sequence[str]) -> None:
        """
        @param names: what the servers are known by everywhere.
        @raise ConfigurationError: there are none, or two of one name.
        """
        if not names:
            raise ConfigurationError("a ring needs at least one server")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigurationError(f"the server {twice} is named twice: name each once")
        placed = sorted(
            (_place(f"{name}\0{number}"), name) for name in names for number in range(POINTS)
        )
        self._names = tuple(names)
        self._points = [point for point, _ in placed]
        self._places = [name for _, name in placed]

    def owner(self, key: str) -> str:
        """The server that C{key} belongs to."""
        if len(self._names) == 1:
            return self._names[0]
        return self._places[self._index(key)]

    def preference(self, key: str) -> list[str]:
        """
        All servers, each once: the owner of C{key}, then who would own it if
        those before were not there.
        """
        start = self._index(key)
        return list(dict.fromkeys(self._places[start:] + self._places[:start]))

    def _index(self, key: str) -> int:
        return bisect_right(self._points, _place(key)) % len(self._points)


def _place(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
