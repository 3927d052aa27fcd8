"""
What a process takes from one server, by number.

One take is under way at a time.  The store keeps what the last one brought until
the next, so what was taken when a connection broke is handed out after all, once:
the next connection asks for it by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from chanserv.layers.redis.entry import Entry, read_entry
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.signatures import KNOWN_FOR, Signatures

Ask: TypeAlias = tuple[str, int, Sequence[str]]
"""What a take asks for: a signature, how many entries, and the channels."""

Found: TypeAlias = "list[list[Entry] | None]"
"""The entries for each ask; L{None} for one that is to be asked again."""


class Takes:
    """
    The numbers of takes, and what goes into one and comes out.

    @ivar answered: the number of the last take whose answer has come.
    @ivar unanswered: the number of one whose answer a connection took with it,
        or 0.
    """

    def __init__(self, process: str, signatures: Signatures) -> None:
        """
        @param signatures: notes which have been named to the store.
        """
        self._process = process
        self._signatures = signatures
        self._last = 0
        self.answered = 0
        self.unanswered = 0

    def next(self, asks: Sequence[Ask], now: float) -> tuple[int, list[Word]]:
        """
        Begin a take.

        @return: its number, and its words for C{lua/take.lua}.
        """
        self._last += 1
        words: list[Word] = [self._process, self._last, round(KNOWN_FOR * 1000)]
        for signature, limit, channels in asks:
            words += (signature, limit, len(channels), *channels)
            self._signatures.use(signature, now)
        return self._last, words

    def read(self, number: int, answer: Sequence[list[bytes] | int]) -> Found:
        """What a take has brought: the entries of each ask."""
        self.answered = number
        place = 0
        found: Found = []
        for raws in answer:
            if isinstance(raws, int):
                found.append(None)
                continue
            found.append([read_entry(raw, number, place + n) for n, raw in enumerate(raws)])
            place += len(raws)
        return found

    def lost(self, number: int) -> None:
        """Note that the answer to a take has not come, and may have been given."""
        self.unanswered = number

    def recovered(self, raws: Sequence[bytes]) -> list[Entry]:
        """What the take brought whose answer had not come."""
        return [read_entry(raw, self.unanswered, place) for place, raw in enumerate(raws)]

    def done(self) -> None:
        """Note that what was recovered is in hand."""
        self.answered, self.unanswered = self.unanswered, 0
