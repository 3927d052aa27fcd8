"""
What stands in a queue: a line for the scripts, then the payload.

The format is told in C{lua/queue.lua}; here is what the layer writes of it and
reads back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from chanserv.codec import Codec
from chanserv.core.mirror import Mirror
from chanserv.core.store import RECEIPTS
from chanserv.errors import CorruptMessage
from chanserv.messages import Outcome, SealedMessage
from chanserv.names import mailbox_of

NO_RECEIPT: Final = "-"
"""What stands where nobody wants a receipt; no receipt's channel has this name."""

REDELIVER: Final = "r"
"""The flag of what is given to another reader when its own dies."""

KEEP_NO_COPY: Final = "-"
"""The flag of all else."""


def rest_of_entry(channel: str, receipt: str | None, flag: str, payload: bytes) -> bytes:
    """An entry after its kind and deadline, which the script adds."""
    return f"{channel} {receipt or NO_RECEIPT} {flag}\n".encode() + payload


class Entry(NamedTuple):
    """
    An entry that was taken.

    @ivar kind: C{m}, C{g} or C{r}: a message, a group's, a receipt.
    @ivar to: the channel, or the mailbox of a group's message.
    @ivar lease: what it is settled by; L{None} where nobody waits for that.
    @ivar raw: all of it, for putting it back.
    """

    kind: bytes
    to: str
    lease: str | None
    payload: bytes
    raw: bytes

    @property
    def mailbox(self) -> str:
        """The name that it waited under."""
        return mailbox_of(self.to)

    def message(self, codec: Codec) -> SealedMessage:
        """
        What it says; of a group's message, see L{group_and_number} for the rest.

        @raise CorruptMessage: it says nothing that this version can read.
        """
        if self.kind == b"r":
            try:
                return RECEIPTS[Outcome(self.payload.decode())]
            except ValueError:
                raise CorruptMessage(f"no outcome {self.payload[:20]!r} is known") from None
        if self.kind == b"g":
            return codec.decode(self.payload.partition(b"\n")[2])
        return codec.decode(self.payload)

    def recipients(self, mirror: Mirror | None, now: float) -> tuple[str, ...]:
        """
        Whom it is for.

        @param mirror: the members behind its mailbox, as far as they are known.
        @param now: the store's clock, in seconds.
        """
        if self.kind != b"g":
            return (self.to,)
        if mirror is None:
            return ()
        group, _, number = self.payload.partition(b"\n")[0].partition(b" ")
        return mirror.recipients(group.decode(), int(number), now)


def read_entry(raw: bytes, take: int, place: int) -> Entry:
    """
    Read an entry.

    @param take: the number of the take that brought it.
    @param place: how many it brought before this.
    """
    line, _, payload = raw.partition(b"\n")
    head, to, receipt, flag = line.split(b" ")
    leased = receipt != b"-" or flag == b"r"
    return Entry(head[:1], to.decode(), f"{take}:{place}" if leased else None, payload, raw)
