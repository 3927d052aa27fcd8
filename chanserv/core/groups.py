"""
Groups: who is a member, and for how long.

A group's members are kept by the mailbox they are reached through, so that a
send costs one parcel for each mailbox and not one for each member.  The
members that share a mailbox are a I{gathering}; an ordinary channel is alone
in its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chanserv.core.deadlines import NEVER, Deadlines
from chanserv.names import mailbox_of


class Gathering:
    """
    The members of one group that share one mailbox.

    @ivar members: each one's deadline, in the order of these.
    @ivar scheduled: see L{chanserv.core.deadlines.Perishable}.
    """

    __slots__ = ("_recipients", "group", "mailbox", "members", "scheduled")

    def __init__(self, group: str, mailbox: str) -> None:
        self.group = group
        self.mailbox = mailbox
        self.members: dict[str, float] = {}
        self.scheduled = False
        self._recipients: tuple[str, ...] | None = None

    def first_deadline(self) -> float:
        """When the member leaves that has renewed least recently."""
        return next(iter(self.members.values()), NEVER)

    @property
    def recipients(self) -> tuple[str, ...]:
        """All members; the tuple is made once for each change."""
        if self._recipients is None:
            self._recipients = tuple(self.members)
        return self._recipients

    def renew(self, channel: str, deadline: float) -> None:
        """Let C{channel} be a member until C{deadline}, no earlier than others'."""
        if self.members.pop(channel, None) is None:
            self._recipients = None
        self.members[channel] = deadline

    def remove(self, channel: str) -> None:
        """Let C{channel} be no member."""
        if self.members.pop(channel, None) is not None:
            self._recipients = None

    def drop_due(self, now: float) -> list[str]:
        """Remove the members whose time has come, and return them."""
        due = []
        for channel, deadline in self.members.items():
            if deadline > now:
                break
            due.append(channel)
        for channel in due:
            self.remove(channel)
        return due


class Groups:
    """
    All groups of one store.

    Each method is given the time, in seconds, on a clock that does not go
    back.  Before L{add}, L{members} and L{gatherings} are asked, what is due
    must have been dropped by L{drop_due}.
    """

    __slots__ = ("_deadlines", "_expiry", "_groups", "_groups_of")

    def __init__(self, expiry: float) -> None:
        """
        @param expiry: seconds from an L{add} to the end of that membership.
        """
        self._expiry = expiry
        self._groups: dict[str, dict[str, Gathering]] = {}
        self._groups_of: dict[str, set[str]] = {}
        self._deadlines: Deadlines[Gathering] = Deadlines()

    @property
    def next_deadline(self) -> float:
        """No membership ends by time before this."""
        return self._deadlines.next

    def add(self, group: str, channel: str, now: float) -> None:
        """Make C{channel} a member, or renew its membership."""
        self.add_until(group, channel, now + self._expiry)

    def add_until(self, group: str, channel: str, deadline: float) -> None:
        """
        The same with a deadline of the caller's, which is no earlier than those
        of the members that share its gathering.
        """
        mailbox = mailbox_of(channel)
        gatherings = self._groups.setdefault(group, {})
        gathering = gatherings.get(mailbox)
        if gathering is None:
            gathering = gatherings[mailbox] = Gathering(group, mailbox)
        gathering.renew(channel, deadline)
        self._groups_of.setdefault(channel, set()).add(group)
        if not gathering.scheduled:
            self._deadlines.add(gathering, deadline)

    def put_back(self, group: str, channel: str, deadline: float) -> None:
        """
        Begin a membership that was there before the groups were lost.

        One that is there already stays as it is.  Where others that share the
        gathering have begun meanwhile, it lasts as long as those.
        """
        gathering = self._groups.get(group, {}).get(mailbox_of(channel))
        if gathering is not None:
            if channel in gathering.members:
                return
            deadline = max(deadline, next(reversed(gathering.members.values())))
        self.add_until(group, channel, deadline)

    def discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one."""
        gathering = self._groups.get(group, {}).get(mailbox_of(channel))
        if gathering is not None:
            gathering.remove(channel)
            self._note_left(group, channel)
            self._forget_if_empty(gathering)

    def forget(self, channel: str) -> None:
        """End all memberships of C{channel}."""
        for group in tuple(self._groups_of.get(channel, ())):
            self.discard(group, channel)

    def forget_mailbox(self, mailbox: str) -> None:
        """
        End all memberships of the channels that share C{mailbox}.

        Looks at every group: it is for the rare end of a process.
        """
        for channel in [channel for _, channel, _ in self.memberships_of(mailbox)]:
            self.forget(channel)

    def members(self, group: str) -> list[str]:
        """The full names of all members."""
        return [channel for one in self.gatherings(group) for channel in one.members]

    def gatherings(self, group: str) -> Iterable[Gathering]:
        """The members by mailbox; none of them is empty."""
        return self._groups.get(group, {}).values()

    def memberships(self) -> Iterator[tuple[str, str, float]]:
        """Each membership: its group, its channel, its deadline."""
        for group, gatherings in self._groups.items():
            for gathering in gatherings.values():
                for channel, deadline in gathering.members.items():
                    yield group, channel, deadline

    def memberships_of(self, mailbox: str) -> Iterator[tuple[str, str, float]]:
        """Those of the channels that share C{mailbox}; looks at every group."""
        for group, gatherings in self._groups.items():
            gathering = gatherings.get(mailbox)
            if gathering is not None:
                for channel, deadline in gathering.members.items():
                    yield group, channel, deadline

    def drop_due(self, now: float) -> None:
        """End the memberships whose time has come."""
        self._deadlines.drop_due(now, lambda gathering: self._drop(gathering, now))

    def clear(self) -> None:
        """Forget all groups."""
        self._groups.clear()
        self._groups_of.clear()
        self._deadlines.clear()

    def _drop(self, gathering: Gathering, now: float) -> None:
        for channel in gathering.drop_due(now):
            self._note_left(gathering.group, channel)
        self._forget_if_empty(gathering)

    def _note_left(self, group: str, channel: str) -> None:
        groups = self._groups_of.get(channel)
        if groups is not None:
            groups.discard(group)
            if not groups:
                del self._groups_of[channel]

    def _forget_if_empty(self, gathering: Gathering) -> None:
        if gathering.members:
            return
        gatherings = self._groups.get(gathering.group, {})
        # A gathering left empty earlier may come up when another has taken
        # its place.
        if gatherings.get(gathering.mailbox) is gathering:
            del gatherings[gathering.mailbox]
            if not gatherings:
                del self._groups[gathering.group]
