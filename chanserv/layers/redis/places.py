"""
Which shard a thing belongs on, and how much of it may be there.

A process-specific or single-reader channel has its shard by the hash of its
mailbox, a group by its name.  An ordinary channel is read on all shards: its
messages go where the answer to them goes, by their receipt or C{reply_channel},
so that what one connection sends stays in order and its receipts come behind
its answers; and those without either, by the channel's own name.  Where that
shard is down, an ordinary message that nobody wants a receipt for goes to the
next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chanserv.core.capacity import Capacities
from chanserv.core.patterns import NamePatterns
from chanserv.core.ring import Ring
from chanserv.layers.redis.entry import KEEP_NO_COPY, REDELIVER
from chanserv.messages import SealedMessage
from chanserv.names import is_process_specific, is_single_reader, mailbox_of

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

_KNOWN: Final = 1_024
"""Mailboxes whose capacity is remembered, since it takes all patterns to find."""


class Mailboxes:
    """What is set for each mailbox."""

    def __init__(self, capacities: Capacities, redeliver: NamePatterns) -> None:
        self._capacities = capacities
        self._redeliver = redeliver
        self._known: dict[str, tuple[int, str]] = {}

    def of(self, mailbox: str) -> tuple[int, str]:
        """The capacity of C{mailbox}, and the flag of what waits there."""
        known = self._known.get(mailbox)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known = {}
            flag = REDELIVER if self._redeliver and mailbox in self._redeliver else KEEP_NO_COPY
            known = self._known[mailbox] = (self._capacities.of(mailbox), flag)
        return known


class Places:
    """
    The shards of a layer.

    @ivar only: the shard, where there is but one.
    """

    def __init__(self, ring: Ring, shards: Sequence[Shard]) -> None:
        self.only = shards[0] if len(shards) == 1 else None
        self._ring = ring
        self._shards = {shard.name: shard for shard in shards}

    def owner_of(self, name: str) -> Shard:
        """The shard of a mailbox, or of a group by its name in the store."""
        return self.only or self._shards[self._ring.owner(name)]

    def of(self, channel: str, message: SealedMessage, receipt: str | None) -> Shard:
        """Where a message goes."""
        if self.only is not None:
            return self.only
        if is_process_specific(channel) or is_single_reader(channel):
            return self.owner_of(mailbox_of(channel))
        if receipt is not None:
            return self.owner_of(mailbox_of(receipt))
        answer = message.get("reply_channel")
        key = mailbox_of(answer) if isinstance(answer, str) else channel
        shards = [self._shards[name] for name in self._ring.preference(key)]
        return next((shard for shard in shards if not shard.down), shards[0])
