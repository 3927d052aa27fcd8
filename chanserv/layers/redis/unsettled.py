"""What is to be settled, until the store is known to have heard of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from chanserv.layers.redis.protocol import Word

Words: TypeAlias = tuple[Word, ...]
"""An operation on one lease: to settle it, or to put the message back."""

Leased: TypeAlias = dict[str, Words]
"""Operations by their leases, in order."""


class Unsettled:
    """
    Operations on leases that have failed, to be done on the next occasion.

    To settle a lease twice does nothing, and not to settle it would leave
    somebody waiting.  What is still under way is not here: it may stand behind
    an answer that is to come before it.
    """

    def __init__(self) -> None:
        self._failed: Leased = {}

    def __bool__(self) -> bool:
        return bool(self._failed)

    def add(self, lease: str, words: Words) -> None:
        """Note that an operation has failed."""
        self._failed[lease] = words

    def take(self) -> Leased:
        """All that there is, for the caller to do or to add again."""
        failed, self._failed = self._failed, {}
        return failed

    def add_all(self, failed: Leased) -> None:
        """Note again what L{take} gave."""
        self._failed = {**failed, **self._failed}

    def clear(self) -> None:
        """Forget all: the store knows nothing of these leases any more."""
        self._failed.clear()


def settling(lease: str, outcome: str) -> Words:
    """The operation that settles a lease."""
    return "t", lease, outcome


def putting_back(lease: str | None, raw: bytes) -> Words:
    """The operation that puts a message back to the front."""
    return "b", lease or "-", raw


def joined(operations: Iterable[Words]) -> list[Word]:
    """The words of many operations."""
    return [word for operation in operations for word in operation]
