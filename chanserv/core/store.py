"""
All mailboxes and groups of a layer that keeps its messages in memory.

The rules, and nothing else: there is no clock (each method is told the time),
no lock and no waiting here.  The caller holds a lock where it has threads, and
after each call looks at L{Store.arrived} for readers that can be served.

B{Expiry.}  Every message waits equally long, so the oldest of a mailbox is the
first to expire, and L{chanserv.core.deadlines} needs one entry for each
mailbox.  Each operation that comes at or after L{Store.due} first drops what
is due; so nothing that has expired is ever seen by the rest.

B{What exists.}  A mailbox is made when something is put there.  When it falls
empty it stays for its statistics among the L{MAX_IDLE} that fell empty last.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from operator import attrgetter
from typing import Final

from chanserv.core.capacity import Capacities
from chanserv.core.deadlines import NEVER, Deadlines
from chanserv.core.groups import Groups
from chanserv.core.mailbox import Mailbox, Parcel
from chanserv.core.patterns import NamePatterns
from chanserv.errors import ChannelFull, MessageTooLarge
from chanserv.messages import Outcome, SealedMessage
from chanserv.names import mailbox_of

MAX_IDLE: Final = 1_024
"""Empty mailboxes that are kept for their statistics: more than a site has
channels, and a megabyte at most."""

RECEIPTS: Final = {
    outcome: SealedMessage({"receipt": outcome.value}, len("receipt") + len(outcome.value))
    for outcome in Outcome
}
"""The message that tells of each outcome."""

NO_NAMES: Final = NamePatterns("")
"""No mailbox at all."""

_turn_of: Final = attrgetter("turn")


class Store:
    """
    Mailboxes, groups and statistics.

    @ivar arrived: the names of the watched mailboxes where something has been
        put, each once, in the order of that; the caller clears it.
    @ivar due: nothing in the store expires before this time; L{NEVER} while
        it is empty.
    @ivar redelivers: the mailboxes whose messages are not lost with their reader.
    """

    __slots__ = (
        "_capacities",
        "_deadlines",
        "_expired",
        "_expiry",
        "_groups",
        "_idle",
        "_lost",
        "_mailboxes",
        "_max_message_size",
        "_pending",
        "_received",
        "_redelivers_any",
        "_refused",
        "_turn",
        "_watched",
        "arrived",
        "due",
        "redelivers",
    )

    def __init__(
        self,
        expiry: float,
        group_expiry: float,
        capacities: Capacities,
        max_message_size: int,
        watched: Container[str] = (),
        redelivers: NamePatterns = NO_NAMES,
    ) -> None:
        """
        @param expiry: seconds that a message waits.
        @param group_expiry: seconds that a membership lasts.
        @param max_message_size: bytes that a message may hold.
        @param watched: the mailboxes that L{arrived} tells of: those with a
            waiting reader.  Looked at on every put.
        """
        self._expiry = expiry
        self._capacities = capacities
        self._max_message_size = max_message_size
        self._watched = watched
        self.redelivers = redelivers
        # Asked for each message: to ask the patterns takes ten times as long.
        self._redelivers_any = bool(redelivers)
        self._groups = Groups(group_expiry)
        self.clear()

    def clear(self) -> None:
        """Forget all messages, groups and statistics."""
        self._mailboxes: dict[str, Mailbox] = {}
        self._idle: dict[str, Mailbox] = {}
        self._deadlines: Deadlines[Mailbox] = Deadlines()
        self._groups.clear()
        self._turn = 0
        self._pending = 0
        self._received = 0
        self._refused = 0
        self._expired = 0
        self._lost = 0
        self.arrived: dict[str, None] = {}
        self.due = NEVER

    # Messages

    def put(self, channel: str, message: SealedMessage, receipt: str | None, now: float) -> None:
        """
        Put C{message} at the end of C{channel}.

        @raise ChannelFull: its mailbox holds as many as it may.
        @raise MessageTooLarge: it is over the limit.
        """
        if now >= self.due:
            self.expire(now)
        if message.size > self._max_message_size:
            raise MessageTooLarge(channel, message.size, self._max_message_size)
        name = mailbox_of(channel)
        mailbox = self._mailboxes.get(name)
        if mailbox is None:
            mailbox = self._open(name)
        if len(mailbox.parcels) >= mailbox.capacity:
            raise self._refusal(mailbox, now)
        self._append(mailbox, (now + self._expiry, (channel,), message, receipt))

    def put_group(self, group: str, message: SealedMessage, now: float) -> None:
        """
        Put C{message} once in each mailbox that has members of C{group}.

        A full mailbox misses it, which is counted there.

        @raise MessageTooLarge: it is over the limit.
        """
        if now >= self.due:
            self.expire(now)
        if message.size > self._max_message_size:
            raise MessageTooLarge(group, message.size, self._max_message_size)
        deadline = now + self._expiry
        for gathering in self._groups.gatherings(group):
            mailbox = self._mailboxes.get(gathering.mailbox) or self._open(gathering.mailbox)
            if len(mailbox.parcels) >= mailbox.capacity:
                mailbox.refused += 1
                self._refused += 1
            else:
                self._append(mailbox, (deadline, gathering.recipients, message, None))

    def put_receipt(self, channel: str, outcome: Outcome, now: float) -> None:
        """Tell C{channel}, which need not have room, what became of a message."""
        if now >= self.due:
            self.expire(now)
        name = mailbox_of(channel)
        mailbox = self._mailboxes.get(name) or self._open(name)
        self._append(mailbox, (now + self._expiry, (channel,), RECEIPTS[outcome], None))

    def take(self, mailboxes: Sequence[str], limit: int, now: float) -> list[Parcel]:
        """
        Take up to C{limit} parcels out of C{mailboxes}.

        Of several that hold some, each gives one in turn, the one least
        recently taken from first; so none of them starves.

        @return: the parcels of each mailbox in its order; none if all are empty.
        """
        if now >= self.due:
            self.expire(now)
        if len(mailboxes) == 1:
            mailbox = self._mailboxes.get(mailboxes[0])
            if mailbox is None or not mailbox.parcels:
                return []
            return self._drain(mailbox, limit)
        found = [
            mailbox
            for name in mailboxes
            if (mailbox := self._mailboxes.get(name)) is not None and mailbox.parcels
        ]
        if not found:
            return []
        if len(found) > 1:
            # A mailbox may have been named twice.
            found = list(dict.fromkeys(found))
        if len(found) == 1:
            return self._drain(found[0], limit)
        return self._alternate(found, limit)

    def take_one(self, mailboxes: Sequence[str], now: float) -> tuple[str, Parcel] | None:
        """
        Take one message for one recipient.

        Of a parcel with several, the others stay where they are, at the front.

        @return: the recipient, and the parcel it came in.
        """
        parcels = self.take(mailboxes, 1, now)
        if not parcels:
            return None
        deadline, recipients, message, receipt = parcels[0]
        if len(recipients) > 1:
            # Its mailbox has fallen due in time for it all along.
            self._return((deadline, recipients[1:], message, receipt))
        return recipients[0], parcels[0]

    def put_back(self, parcel: Parcel) -> None:
        """
        Put a parcel that was taken, and not used, back to the front.

        It keeps its deadline, and need not find room.
        """
        self._deadlines.add(self._return(parcel), parcel[0])
        self.due = min(self.due, parcel[0])

    def is_leased(self, parcel: Parcel) -> bool:
        """Whether the store is to hear what becomes of a parcel that is taken."""
        return parcel[3] is not None or (
            self._redelivers_any and mailbox_of(parcel[1][0]) in self.redelivers
        )

    def settle(self, parcel: Parcel, outcome: Outcome, now: float) -> None:
        """
        Say what became of a parcel that was taken, and is leased.

        Whoever wants a receipt gets it.  One that was lost, in a mailbox that
        redelivers, goes back to the front instead.
        """
        _, recipients, _, receipt = parcel
        if outcome is Outcome.LOST:
            name = mailbox_of(recipients[0])
            if self._redelivers_any and name in self.redelivers:
                self.put_back(parcel)
                return
            self._lost += 1
            where = self._mailboxes.get(name)
            if where is not None:
                where.lost += 1
        if receipt is not None:
            self.put_receipt(receipt, outcome, now)

    def exists(self, name: str) -> bool:
        """Whether a mailbox has this very name."""
        return name in self._mailboxes

    # Groups

    def add_member(self, group: str, channel: str, now: float) -> None:
        """Make C{channel} a member of C{group}, or renew its membership."""
        if now >= self.due:
            self.expire(now)
        self._groups.add(group, channel, now)
        self.due = min(self.due, self._groups.next_deadline)

    def discard_member(self, group: str, channel: str, now: float) -> None:
        """End a membership, if there is one."""
        if now >= self.due:
            self.expire(now)
        self._groups.discard(group, channel)

    def forget(self, channel: str, now: float) -> None:
        """End all memberships of C{channel}."""
        if now >= self.due:
            self.expire(now)
        self._groups.forget(channel)

    def members(self, group: str, now: float) -> list[str]:
        """The members of C{group}."""
        if now >= self.due:
            self.expire(now)
        return self._groups.members(group)

    # Time

    def expire(self, now: float) -> None:
        """
        Drop the messages and memberships that are due.

        Whoever asked for a receipt of a dropped message gets one.
        """
        unread: list[str] = []
        self._deadlines.drop_due(now, lambda mailbox: self._drop_due(mailbox, now, unread))
        self._groups.drop_due(now)
        self.due = min(self._deadlines.next, self._groups.next_deadline)
        for receipt in unread:
            self.put_receipt(receipt, Outcome.EXPIRED, now)

    # Statistics

    def totals(self, now: float) -> Mapping[str, int]:
        """Counts over all mailboxes since the store was made or cleared."""
        if now >= self.due:
            self.expire(now)
        oldest = self._deadlines.first()
        return {
            "messages_count": self._received,
            "channel_full_count": self._refused,
            "messages_expired_count": self._expired,
            "messages_lost_count": self._lost,
            "messages_pending": self._pending,
            "messages_max_age": int(self._age(oldest, now)),
        }

    def counts(self, mailbox: str, now: float) -> Mapping[str, int]:
        """
        The same for one mailbox, since it was last made.

        All are zero for one that does not exist.
        """
        if now >= self.due:
            self.expire(now)
        found = self._mailboxes.get(mailbox) or Mailbox(mailbox, 1, 0)
        return {
            "messages_count": found.received,
            "channel_full_count": found.refused,
            "messages_expired_count": found.expired,
            "messages_lost_count": found.lost,
            "messages_pending": len(found.parcels),
            "messages_max_age": int(self._age(found.first_deadline(), now)),
        }

    def __len__(self) -> int:
        """How many mailboxes exist, with those kept for their statistics."""
        return len(self._mailboxes)

    # Inside

    def _open(self, name: str) -> Mailbox:
        mailbox = Mailbox(name, self._capacities.of(name), self._turn)
        self._mailboxes[name] = mailbox
        return mailbox

    def _return(self, parcel: Parcel) -> Mailbox:
        name = mailbox_of(parcel[1][0])
        mailbox = self._mailboxes.get(name) or self._open(name)
        self._idle.pop(name, None)
        mailbox.parcels.appendleft(parcel)
        self._pending += 1
        if name in self._watched:
            self.arrived[name] = None
        return mailbox

    def _append(self, mailbox: Mailbox, parcel: Parcel) -> None:
        if not mailbox.parcels:
            self._idle.pop(mailbox.name, None)
            if not mailbox.scheduled:
                self._deadlines.add(mailbox, parcel[0])
                if parcel[0] < self.due:
                    self.due = parcel[0]
        mailbox.parcels.append(parcel)
        mailbox.received += 1
        self._received += 1
        self._pending += 1
        if mailbox.name in self._watched:
            self.arrived[mailbox.name] = None

    def _drain(self, mailbox: Mailbox, limit: int) -> list[Parcel]:
        """Take from one mailbox alone."""
        parcels = mailbox.parcels
        self._turn = mailbox.turn = self._turn + 1
        if len(parcels) <= limit:
            taken = list(parcels)
            parcels.clear()
            self._fall_idle(mailbox)
        else:
            taken = [parcels.popleft() for _ in range(limit)]
        self._pending -= len(taken)
        return taken

    def _alternate(self, found: list[Mailbox], limit: int) -> list[Parcel]:
        """Take from each of several in turn."""
        taken: list[Parcel] = []
        found.sort(key=_turn_of)
        while found and len(taken) < limit:
            for mailbox in found[: limit - len(taken)]:
                taken.append(mailbox.parcels.popleft())
                self._turn = mailbox.turn = self._turn + 1
                if not mailbox.parcels:
                    self._fall_idle(mailbox)
            found = [mailbox for mailbox in found if mailbox.parcels]
        self._pending -= len(taken)
        return taken

    def _fall_idle(self, mailbox: Mailbox) -> None:
        idle = self._idle
        idle[mailbox.name] = mailbox
        if len(idle) > MAX_IDLE:
            oldest = next(iter(idle))
            del idle[oldest]
            del self._mailboxes[oldest]

    def _drop_due(self, mailbox: Mailbox, now: float, unread: list[str]) -> None:
        parcels = mailbox.parcels
        dropped = 0
        while parcels and parcels[0][0] <= now:
            receipt = parcels.popleft()[3]
            dropped += 1
            if receipt is not None:
                unread.append(receipt)
        if dropped:
            mailbox.expired += dropped
            self._expired += dropped
            self._pending -= dropped
            if not parcels:
                self._fall_idle(mailbox)

    def _refusal(self, mailbox: Mailbox, now: float) -> ChannelFull:
        mailbox.refused += 1
        self._refused += 1
        return ChannelFull(
            mailbox.name,
            len(mailbox.parcels),
            mailbox.capacity,
            self._age(mailbox.first_deadline(), now),
        )

    def _age(self, deadline: float, now: float) -> float:
        """How long the parcel that expires at C{deadline} has waited."""
        return 0.0 if deadline == NEVER else max(0.0, now - (deadline - self._expiry))
