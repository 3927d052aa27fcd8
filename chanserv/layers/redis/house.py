"""What a shard tells its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from chanserv.core.outstanding import Outstanding
from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.mirrors import Mirrors
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.receiving import Receiving

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

Table: TypeAlias = list[Any]
"""What C{lua/feed.lua} returns for a mailbox."""


class House:
    """
    The one place that all shards of a layer object tell of what happens, and ask
    what this process knows.
    """

    def __init__(
        self,
        receiving: Receiving,
        mirrors: Mirrors,
        outstanding: Outstanding,
        capacity_of: Callable[[str], tuple[int, str]],
    ) -> None:
        """
        @param capacity_of: the capacity and the flag of a mailbox.
        """
        self._receiving = receiving
        self._mirrors = mirrors
        self._outstanding = outstanding
        self._capacity_of = capacity_of

    # Messages

    def ready(self, shard: Shard) -> None:
        """It can be taken from, and what was known of it before may be wrong."""
        self._receiving.ready(shard)

    def rung(self, shard: Shard, signature: str) -> None:
        """Something waits there for readers of this signature."""
        self._receiving.rung(shard, signature)

    def recovered(self, shard: Shard, entries: list[Entry]) -> None:
        """What a take brought whose connection broke."""
        self._receiving.recovered(shard, entries)

    def lost(self, shard: Shard) -> None:
        """Its connection is gone."""
        self._receiving.lost(shard)

    def silenced(self, shard: Shard, signature: str) -> None:
        """It does not know any more what readers of this signature read."""
        self._receiving.silenced(shard, signature)

    # Members

    def expect(self, shard: Shard, channels: Iterable[str]) -> None:
        """It is about to be asked for what waits on C{channels}."""
        self._mirrors.expect(shard.name, channels)

    def mailboxes(self, shard: Shard) -> list[str]:
        """The mailboxes there that are read here."""
        return self._mirrors.mailboxes(shard.name)

    def fed(self, shard: Shard, tables: Iterable[Table]) -> None:
        """Changes to the members behind mailboxes."""
        self._mirrors.fed(shard.name, tables)

    def put_back(self, shard: Shard) -> Iterable[list[Word]]:
        """The operations that put back what this process knows of memberships."""
        return self._mirrors.put_back(shard.name, shard.now, self._capacity_of)

    # Receipts

    def owed(self, shard: Shard) -> list[str]:
        """The channels that wait for receipts from it, each as often as it does."""
        owed = self._outstanding.lost(shard.name)
        for channel in owed:
            self._outstanding.asked(shard.name, channel)
        return owed

    def flushed(self) -> None:
        """Somebody has flushed the store."""
        self._outstanding.clear()
