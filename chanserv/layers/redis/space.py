"""What a layer's keys begin with, and how its names stand in a store."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from chanserv.layers.redis.protocol import Word

PREFIX: Final = "chanserv:"
"""What all keys begin with, unless told otherwise."""

HASHED_NAME: Final = 32
"""Hexadecimal digits that stand for the name of a group where names are secret:
128 bits, by which no two groups meet."""


class Space:
    """
    The part of a store that one layer's processes share.

    @ivar prefix: what its keys begin with.
    @ivar stats_prefix: what the keys of its statistics begin with.
    @ivar expiry: milliseconds that messages wait.
    @ivar kept: milliseconds that a membership lasts.
    """

    def __init__(
        self,
        prefix: str,
        stats_prefix: str | None,
        expiry: float,
        group_expiry: float,
        keys: Sequence[str | bytes] = (),
        offset: Callable[[], int] = lambda: 0,
    ) -> None:
        """
        @param stats_prefix: L{None} for C{stats:} behind the prefix.
        @param expiry: seconds that messages wait.
        @param group_expiry: seconds that a membership lasts.
        @param keys: where there are any, the names of groups are hidden with the
            last of them: the one that a change of keys has in common.
        @param offset: milliseconds to add to the server's clock.  For tests.
        """
        self.prefix = prefix
        self.stats_prefix = f"{prefix}stats:" if stats_prefix is None else stats_prefix
        self.expiry = round(expiry * 1000)
        self.kept = round(group_expiry * 1000)
        self._offset = offset
        last = keys[-1] if keys else None
        self._key = last.encode() if isinstance(last, str) else last

    def head(self) -> list[Word]:
        """The first arguments of each script."""
        return [self.prefix, self.stats_prefix, self._offset(), self.expiry]

    def bell(self, process: str) -> bytes:
        """Where readers of C{process} are rung."""
        return f"{self.prefix}bell:{process}".encode()

    def group(self, name: str) -> str:
        """What the group C{name} is called in the store."""
        if self._key is None:
            return name
        return hmac.digest(self._key, b"group " + name.encode(), "sha256").hex()[:HASHED_NAME]
