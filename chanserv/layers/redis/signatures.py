"""The kinds of readers that a store is to know of."""

from __future__ import annotations

from typing import Final

KNOWN_FOR: Final = 120.0
"""Seconds that the store remembers what a kind of reader reads."""

RENEWED: Final = 30.0
"""Seconds between renewals of that: three may fail."""


class Signatures:
    """What one shard has been told of, and when."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._forgotten: list[str] = []

    def use(self, signature: str, now: float) -> None:
        """The store is being told what C{signature} reads."""
        if signature not in self._known:
            self._known[signature] = now
            if signature in self._forgotten:
                self._forgotten.remove(signature)

    def forget(self, signature: str) -> None:
        """Nobody here reads by it any more."""
        if self._known.pop(signature, None) is not None:
            self._forgotten.append(signature)

    def lost(self, signature: str) -> None:
        """The store does not know it any more."""
        self._known.pop(signature, None)

    def due(self, now: float) -> tuple[list[str], list[str]]:
        """Those to be renewed now, and those to be forgotten."""
        renewed = [signature for signature, at in self._known.items() if now - at >= RENEWED]
        self._known.update(dict.fromkeys(renewed, now))
        forgotten, self._forgotten = self._forgotten, []
        return renewed, forgotten
