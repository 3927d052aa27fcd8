"""What is to be settled, until the store is known to have heard of it."""

from __future__ import annotations

from collections.abc import Iterable

from chanserv.layers.redis.protocol import Word


class Unsettled:
    """
    Leases and their outcomes.

    To settle a lease twice does nothing, and not to settle it would leave somebody
    waiting: so each stands here until it has been confirmed.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._outcomes)

    def add(self, lease: str, outcome: str) -> tuple[Word, ...]:
        """Note one; return the words that settle it."""
        self._outcomes[lease] = outcome
        return "t", lease, outcome

    def words(self) -> tuple[list[str], list[Word]]:
        """All leases, and the words that settle them."""
        words: list[Word] = []
        for lease, outcome in self._outcomes.items():
            words += ("t", lease, outcome)
        return list(self._outcomes), words

    def remove(self, leases: Iterable[str]) -> None:
        """Note that the store knows."""
        for lease in leases:
            self._outcomes.pop(lease, None)

    def clear(self) -> None:
        """Forget all: the store knows nothing of these leases any more."""
        self._outcomes.clear()
