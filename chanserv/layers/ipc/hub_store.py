"""
The rules of a hub: a store whose messages are bytes, and whose groups are told
of in changes.

The message of a group goes to a mailbox without the list of its members there.
The owner of the mailbox keeps that list, in a L{Mirror<chanserv.core.mirror>},
out of the changes that are numbered here.  What the owner has yet to be told of
is a mailbox's L{Roll}.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final, cast

from chanserv.codec import Codec
from chanserv.core.capacity import Capacities
from chanserv.core.mailbox import Parcel
from chanserv.core.mirror import Change
from chanserv.core.patterns import NamePatterns
from chanserv.core.store import RECEIPTS, Store
from chanserv.errors import MessageTooLarge
from chanserv.messages import Outcome, SealedMessage
from chanserv.names import is_process_specific, mailbox_of

MAX_CHANGES: Final = 10_000
"""Changes that are kept for a mailbox whose owner does not take them, or has yet
to come; past it, the owner gets the members as they stand instead, which costs no
more than that."""

FIRST_WEEDING: Final = 1_024
"""Rolls from which on those are looked for that nobody needs any more."""


class Body:
    """
    A message as bytes, with what the rules ask of a message.

    @ivar data: the bytes.
    @ivar size: the size of the message, as L{SealedMessage} has it.
    """

    __slots__ = ("data", "size")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size


def as_message(body: Body) -> SealedMessage:
    """
    C{body} for the rules, which look at no more of a message than its size.
    """
    return cast(SealedMessage, body)


def data_of(parcel: Parcel) -> bytes:
    """The bytes of a message in the store."""
    return cast(Body, parcel[2]).data


def _bytes_of(parcel: Parcel) -> int:
    """Those of a message, with what is around it as it is delivered, roughly."""
    return len(data_of(parcel)) + 100


_codec: Final = Codec()

RECEIPT_BODIES: Final = {
    outcome: Body(_codec.encode(message), message.size) for outcome, message in RECEIPTS.items()
}
"""The message that tells of each outcome."""


class Roll:
    """
    What the owner of a mailbox has yet to be told of its members.

    @ivar number: of the last change.
    @ivar changes: the last ones.
    @ivar is_whole: whether C{changes} are all since the owner was last told;
        otherwise it needs the members as they stand.
    @ivar had_members: whether there are members that no change tells of.
    """

    __slots__ = ("changes", "had_members", "is_whole", "number")

    def __init__(self) -> None:
        self.number = 0
        self.changes: list[Change] = []
        self.is_whole = True
        self.had_members = False


class HubStore(Store):
    """
    See L{Store}.

    A parcel of a group's message to a mailbox has as its recipients the
    mailbox, the group, and the number of the last change before it.

    @ivar changed: the mailboxes with changes since their owners were told.
    """

    __slots__ = ("_group_expiry", "_owned", "_rolls", "_weed_at", "changed")

    def __init__(
        self,
        expiry: float,
        group_expiry: float,
        capacities: Capacities,
        max_message_size: int,
        watched: Container[str],
        redelivers: NamePatterns,
        owned: Container[str],
    ) -> None:
        """
        @param owned: the mailboxes whose owner is there.
        """
        self._group_expiry = group_expiry
        self._owned = owned
        super().__init__(expiry, group_expiry, capacities, max_message_size, watched, redelivers)

    def clear(self) -> None:
        """See L{Store.clear}."""
        super().clear()
        self._rolls: dict[str, Roll] = {}
        self._weed_at = FIRST_WEEDING
        self.changed: set[str] = set()

    # Messages

    def put_group(self, group: str, message: SealedMessage, now: float) -> None:
        """See L{Store.put_group}."""
        if now >= self.due:
            self.expire(now)
        if message.size > self._max_message_size:
            raise MessageTooLarge(group, message.size, self._max_message_size)
        deadline = now + self._expiry
        for gathering in self._groups.gatherings(group):
            name = gathering.mailbox
            mailbox = self._mailboxes.get(name) or self._open(name)
            if len(mailbox.parcels) >= mailbox.capacity:
                mailbox.refused += 1
                self._refused += 1
                continue
            recipients = gathering.recipients
            if is_process_specific(name):
                # Typed for full names only; whoever opens the parcel knows.
                mark = (name, group, self._rolls[name].number)
                recipients = cast("tuple[str, ...]", mark)
            self._append(mailbox, (deadline, recipients, message, None))

    def take_portion(
        self, mailboxes: Sequence[str], limit: int, room: int, now: float
    ) -> list[Parcel]:
        """
        Take up to C{limit} parcels, see L{take}; but no more of them once they
        fill C{room}.

        @param room: bytes.
        """
        taken = self.take(mailboxes, 1, now)
        if limit == 1 or not taken:
            return taken
        held = _bytes_of(taken[0])
        while len(taken) < limit and held < room:
            # As many as there is room for, should the next be like these.
            step = max(1, (room - held) * len(taken) // held)
            step = min(step, limit - len(taken), 8 * len(taken))
            more = self.take(mailboxes, step, now)
            for place, parcel in enumerate(more):
                if held >= room:
                    # They are larger than those.
                    for unwanted in reversed(more[place:]):
                        self.put_back(unwanted)
                    break
                held += _bytes_of(parcel)
                taken.append(parcel)
            if len(more) < step:
                break
        return taken

    def put_receipt(self, channel: str, outcome: Outcome, now: float) -> None:
        """See L{Store.put_receipt}."""
        if now >= self.due:
            self.expire(now)
        name = mailbox_of(channel)
        mailbox = self._mailboxes.get(name) or self._open(name)
        body = as_message(RECEIPT_BODIES[outcome])
        self._append(mailbox, (now + self._expiry, (channel,), body, None))

    @property
    def pending(self) -> int:
        """How many messages wait."""
        return self._pending

    def holds_any(self, mailbox: str) -> bool:
        """Whether messages wait in C{mailbox}."""
        found = self._mailboxes.get(mailbox)
        return found is not None and bool(found.parcels)

    def count_lost(self, number: int) -> None:
        """Count messages that were lost in no mailbox of this store."""
        self._lost += number

    def remove_mailbox(self, name: str, now: float) -> int:
        """
        Forget a mailbox whose owner is gone, with all that waits in it and the
        memberships that led there.

        @return: how many messages were lost with it; who wants a receipt for
            one gets it.
        """
        self._groups.forget_mailbox(name)
        self._rolls.pop(name, None)
        self.changed.discard(name)
        mailbox = self._mailboxes.pop(name, None)
        if mailbox is None:
            return 0
        self._idle.pop(name, None)
        lost = list(mailbox.parcels)
        mailbox.parcels.clear()
        self._pending -= len(lost)
        self._lost += len(lost)
        for _, _, _, receipt in lost:
            if receipt is not None:
                self.put_receipt(receipt, Outcome.LOST, now)
        return len(lost)

    # Groups

    def add_member(self, group: str, channel: str, now: float) -> None:
        """See L{Store.add_member}."""
        super().add_member(group, channel, now)
        if is_process_specific(channel):
            self._note(group, channel, now + self._group_expiry)

    def discard_member(self, group: str, channel: str, now: float) -> None:
        """See L{Store.discard_member}."""
        super().discard_member(group, channel, now)
        if is_process_specific(channel):
            self._note(group, channel, 0.0)

    def forget(self, channel: str, now: float) -> None:
        """See L{Store.forget}."""
        super().forget(channel, now)
        if is_process_specific(channel):
            self._note("", channel, 0.0)

    def put_back_members(
        self, mailbox: str, memberships: Iterable[tuple[str, str, float]], now: float
    ) -> None:
        """
        Begin the memberships that the owner of C{mailbox} knows of a hub that
        is gone; all but those of which something newer has been said here.

        @param memberships: group, channel, and the seconds that are left.
        """
        if now >= self.due:
            self.expire(now)
        roll = self._rolls.get(mailbox)
        newer = {change[1:3] for change in roll.changes} if roll is not None else set()
        for group, channel, left in memberships:
            if (group, channel) not in newer and ("", channel) not in newer:
                self._groups.put_back(group, channel, now + left)
        self.due = min(self.due, self._groups.next_deadline)
        if roll is None:
            roll = self._rolls[mailbox] = Roll()
        roll.had_members = True

    def knows_all_changes(self, mailbox: str) -> bool:
        """Whether L{changes} begin with the very first."""
        roll = self._rolls.get(mailbox)
        if roll is None:
            return True
        return roll.is_whole and not roll.had_members and len(roll.changes) == roll.number

    def changes(self, mailbox: str) -> list[Change] | None:
        """
        Take what the owner of C{mailbox} has yet to be told.

        @return: L{None} where that is no longer known: then it needs
            L{standing}.
        """
        roll = self._rolls.get(mailbox)
        if roll is None:
            return []
        if not roll.is_whole:
            return None
        changes, roll.changes = roll.changes, []
        return changes

    def standing(self, mailbox: str) -> list[Change]:
        """
        The members of C{mailbox} as they stand, as changes before all others;
        there is nothing to be told beyond them.
        """
        roll = self._rolls.setdefault(mailbox, Roll())
        roll.changes = []
        roll.is_whole = True
        # In the order of their deadlines within each group, as a mirror needs it.
        return [Change(0, *one) for one in self._groups.memberships_of(mailbox)]

    def _note(self, group: str, channel: str, until: float) -> None:
        name = mailbox_of(channel)
        roll = self._rolls.get(name)
        if roll is None:
            if len(self._rolls) >= self._weed_at:
                self._weed()
            roll = self._rolls[name] = Roll()
        roll.number += 1
        if roll.is_whole:
            roll.changes.append(Change(roll.number, group, channel, until))
            if len(roll.changes) > MAX_CHANGES:
                roll.changes = []
                roll.is_whole = False
        self.changed.add(name)

    def _weed(self) -> None:
        """
        Drop the rolls of mailboxes that have neither owner nor members, nor
        messages that bear a number of theirs.
        """
        peopled = {mailbox_of(channel) for _, channel, _ in self._groups.memberships()}
        self._rolls = {
            name: roll
            for name, roll in self._rolls.items()
            if name in self._owned or name in peopled or self.holds_any(name)
        }
        self.changed.intersection_update(self._rolls)
        self._weed_at = max(FIRST_WEEDING, 2 * len(self._rolls))
