"""What this process knows of the members behind the mailboxes that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from chanserv.core.mirror import Change, Mirror
from chanserv.layers.redis.protocol import Word

AT_ONCE: Final = 500
"""Memberships that are put back, or changed again, by one script: some milliseconds of
the server's time."""

REFRESH: Final = "d"


class Mirrors:
    """
    One L{Mirror} for each mailbox that is read here.

    Groups go by the names that they have in the store.
    """

    def __init__(self, owner_of: Callable[[str], str]) -> None:
        """
        @param owner_of: the name of the shard that a mailbox or a group belongs to.
        """
        self._owner_of = owner_of
        self._mirrors: dict[str, Mirror] = {}
        # The number of the last change that is known.
        self._last: dict[str, int] = {}

    def of(self, mailbox: str) -> Mirror | None:
        """The members behind C{mailbox}, if anything is known of them."""
        return self._mirrors.get(mailbox)

    def fed(self, shard: str, tables: Iterable[list[Any]]) -> None:
        """
        Learn of changes.

        @param shard: where from: only the shard of a mailbox knows its members.
        @param tables: what C{lua/feed.lua} returns.
        """
        for name, kind, _, content in tables:
            mailbox = name.decode()
            if self._owner_of(mailbox) != shard:
                continue
            mirror = self._mirrors.setdefault(mailbox, Mirror())
            changes = list(_members(content) if kind == b"all" else map(_change, content))
            if kind != b"more":
                mirror.clear()
            elif changes and changes[0].number <= self._last.get(mailbox, 0):
                # The count has begun anew, after a time as long as memberships last.
                mirror.catch_up()
            mirror.note(changes)
            self._last[mailbox] = changes[-1].number if changes else 0

    def expect(self, shard: str, channels: Iterable[str]) -> None:
        """
        Note that C{shard} is about to be asked for what waits on C{channels}.

        The bell for a change to the members behind a mailbox has a connection of
        its own, and may be heard before the answer to the take that made this
        process the owner.
        """
        for channel in channels:
            if (
                channel.endswith("!")
                and channel not in self._mirrors
                and self._owner_of(channel) == shard
            ):
                self._mirrors[channel] = Mirror()

    def mailboxes(self, shard: str) -> list[str]:
        """The mailboxes on C{shard} that are read here."""
        return [mailbox for mailbox in self._mirrors if self._owner_of(mailbox) == shard]

    def put_back(
        self, shard: str, now: float, capacity_of: Callable[[str], tuple[int, str]]
    ) -> Iterator[list[Word]]:
        """
        The operations that put back what belongs on C{shard}.

        @param now: its clock, in seconds.
        @param capacity_of: the capacity and the flag of a mailbox.
        """
        words: list[Word] = []
        count = 0
        for mailbox, mirror in self._mirrors.items():
            here = self._owner_of(mailbox) == shard
            capacity, flag = capacity_of(mailbox)
            for group, channel, until in list(mirror.memberships(now)):
                lasts = max(1, round((until - now) * 1000))
                if here:
                    words += ("j", group, channel, lasts)
                if self._owner_of(group) == shard:
                    words += ("e", group, channel, lasts, capacity, flag)
                count += 1
                if count % AT_ONCE == 0:
                    yield words
                    words = []
            if here:
                words += (REFRESH, mailbox)
        if words:
            yield words


def _members(content: list[bytes]) -> Iterator[Change]:
    for member, until in zip(content[::2], content[1::2], strict=True):
        group, _, channel = member.decode().partition(" ")
        # They count for every message that is still on its way.
        yield Change(0, group, channel, float(until) / 1000)


def _change(text: bytes) -> Change:
    number, until, group, channel = text.decode().split(" ")
    return Change(int(number), "" if group == "*" else group, channel, float(until) / 1000)
