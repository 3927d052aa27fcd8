"""
Who is a member: changes, and the list.

A membership stands on two shards, that of its channel's mailbox and that of its
group.  It begins where the mailbox is, so that whoever finds the mailbox by the
group finds its owner told; where both are on one shard, one call does it.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from chanserv.layers.redis.places import Mailboxes, Places
from chanserv.layers.redis.programs import MEMBERS
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.space import Space
from chanserv.layers.redis.turns import Turns
from chanserv.names import mailbox_of


class Memberships:
    """Names are given as they are outside the store, and checked."""

    def __init__(self, places: Places, mailboxes: Mailboxes, space: Space, turns: Turns) -> None:
        self._places = places
        self._mailboxes = mailboxes
        self._space = space
        self._turns = turns

    def add(self, group: str, channel: str) -> Deferred[None]:
        """Begin or renew a membership."""
        name, lasts = self._space.group(group), self._space.kept
        return self._change(
            name,
            channel,
            ["j", name, channel, lasts],
            ["e", name, channel, lasts, *self._mailboxes.of(mailbox_of(channel))],
        )

    def discard(self, group: str, channel: str) -> Deferred[None]:
        """End a membership."""
        name = self._space.group(group)
        return self._change(name, channel, ["l", name, channel], ["x", name, channel])

    def _change(
        self, group: str, channel: str, at_mailbox: list[Word], at_group: list[Word]
    ) -> Deferred[None]:
        there, here = self._places.owner_of(mailbox_of(channel)), self._places.owner_of(group)

        async def change() -> None:
            if there is here:
                await there.change(at_mailbox + at_group)
            else:
                await there.change(at_mailbox)
                await here.change(at_group)

        if self._places.only is not None:
            return Deferred.fromCoroutine(change())
        return self._turns.change(channel, change)

    async def of(self, group: str) -> list[str]:
        """The members of C{group}."""
        await self._turns.all_changes()
        name = self._space.group(group)
        found = await self._places.owner_of(name).run(MEMBERS, name)
        return [channel.decode() for channel in found]
