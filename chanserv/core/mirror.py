"""
The memberships of one mailbox, as the process that owns it knows them.

A group's message reaches a process once, however many members it has there.  So
that it need not bring the list of them along, the owner keeps that list itself.
The store numbers every I{change} to the members of a mailbox, keeps those that
the owner has not seen, and writes on each group message the number of the last
change before it.  The owner may learn of changes early, together with older
messages that are still on their way, and it may learn of several at once: a
change counts only from the first message on that was sent after it.

What is kept here is also what a process puts back when its store has come up
empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chanserv.core.deadlines import NEVER
from chanserv.core.groups import Groups


class Change(NamedTuple):
    """
    One change to the members of a mailbox.

    @ivar number: counts the changes of this mailbox, from 1.
    @ivar group: the group; empty when the channel leaves all of them.
    @ivar channel: the member's full name.
    @ivar until: when the membership ends by time, on the store's clock; 0 when
        it ends now.
    """

    number: int
    group: str
    channel: str
    until: float


class Mirror:
    """
    The members of all groups that share one mailbox.

    Times are seconds on the store's clock.
    """

    __slots__ = ("_groups", "_pending")

    def __init__(self) -> None:
        self._groups = Groups(NEVER)
        self._pending: deque[Change] = deque()

    def note(self, changes: Iterable[Change]) -> None:
        """Learn of the next changes, in their order."""
        self._pending.extend(changes)

    def catch_up(self) -> None:
        """Say that no message older than the changes learnt of is on its way."""
        for change in self._pending:
            self._apply(change)
        self._pending.clear()

    def recipients(self, group: str, number: int, now: float) -> tuple[str, ...]:
        """
        Who gets a message to C{group}.

        Call it for the mailbox's messages in their order.

        @param number: of the last change before the message was sent.
        @return: the full names of the members; none where all have left.
        """
        pending = self._pending
        while pending and pending[0].number <= number:
            self._apply(pending.popleft())
        if self._groups.next_deadline <= now:
            self._groups.drop_due(now)
        for gathering in self._groups.gatherings(group):
            return gathering.recipients
        return ()

    def memberships(self, now: float) -> Iterator[tuple[str, str, float]]:
        """
        All that there is, to be put back: group, channel, deadline.

        The numbers of changes may begin anew after this.
        """
        self.catch_up()
        self._groups.drop_due(now)
        return self._groups.memberships()

    def clear(self) -> None:
        """Forget all memberships."""
        self._groups.clear()
        self._pending.clear()

    def _apply(self, change: Change) -> None:
        if not change.group:
            self._groups.forget(change.channel)
        elif change.until:
            self._groups.add_until(change.group, change.channel, change.until)
        else:
            self._groups.discard(change.group, change.channel)
