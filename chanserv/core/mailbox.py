"""One queue of deliveries, and what has happened on it."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from chanserv.core.deadlines import NEVER
from chanserv.messages import SealedMessage

Parcel: TypeAlias = tuple[float, tuple[str, ...], SealedMessage, str | None]
"""
What waits in a mailbox: the time at which it expires, its recipients, the
message, and the channel that wants a receipt for it, if one does.

A bare tuple, since one is made for each message.
"""


class Mailbox:
    """
    The parcels that wait under one name, first in, first out.

    @ivar name: a channel's name, or a process-specific channel's mailbox.
    @ivar parcels: what waits, oldest first.
    @ivar capacity: how many parcels may.
    @ivar turn: when it was last read from, as a serial number of the store's:
        of several channels with messages, a reader gets the least recent.
    @ivar scheduled: see L{chanserv.core.deadlines.Perishable}.
    @ivar received: parcels put here, ever.
    @ivar refused: parcels that found it full.
    @ivar expired: parcels dropped because they waited too long.
    @ivar lost: parcels whose reader said that they were lost.
    """

    __slots__ = (
        "capacity",
        "expired",
        "lost",
        "name",
        "parcels",
        "received",
        "refused",
        "scheduled",
        "turn",
    )

    def __init__(self, name: str, capacity: int, turn: int) -> None:
        self.name = name
        self.capacity = capacity
        self.turn = turn
        self.parcels: deque[Parcel] = deque()
        self.scheduled = False
        self.received = 0
        self.refused = 0
        self.expired = 0
        self.lost = 0

    def first_deadline(self) -> float:
        """When the oldest parcel expires."""
        return self.parcels[0][0] if self.parcels else NEVER
