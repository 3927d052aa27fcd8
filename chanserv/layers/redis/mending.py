"""
What a process does for a store that does not know what it should.

It may have been started again without its data; or be a replica that knows less
than the server whose place it has taken; or have taken this process for dead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.held import Commands
from chanserv.layers.redis.house import House
from chanserv.layers.redis.programs import OPERATE, OWED, Program
from chanserv.layers.redis.protocol import Word
from chanserv.layers.redis.recent import Recent
from chanserv.layers.redis.refusals import Refused
from chanserv.names import mailbox_of

if TYPE_CHECKING:
    from chanserv.layers.redis.shard import Shard

Run = Callable[[Program, Sequence[Word]], "Deferred[Any]"]
"""Runs a program, on the connection that is being prepared."""


class Mending:
    """One shard's."""

    _log = Logger(namespace="chanserv.redis")

    def __init__(self, shard: Shard, house: House, recent: Recent, head: Sequence[Word]) -> None:
        """
        @param recent: the changes that this process has made there lately.
        @param head: the first arguments of C{lua/operate.lua}.
        """
        self._shard = shard
        self._house = house
        self._recent = recent
        self._head = head

    async def put_back(self, run: Run) -> None:
        """
        Put back the memberships that this process knows, and make its last changes
        again, of which their owners may not have heard.
        """
        count = 0
        for words in self._house.put_back(self._shard):
            await run(OPERATE, (*self._head, *words))
            count += words.count("j")
        for words in self._recent.again():
            await run(OPERATE, (*self._head, *words))
        if count:
            self._log.warn(
                "Redis {name}: {count} memberships have been put back",
                name=self._shard.name,
                count=count,
            )

    async def tell_lost(self, run: Run, taken: Iterable[Entry]) -> None:
        """
        Give the receipts that the store can give no more: those that are owed
        to this process, and neither wait there nor belong to anything there.

        That it has been done shows in the store; so it may be done again.

        @param taken: what this process has taken from it and not looked at yet.
        """
        owed = self._house.owed(self._shard)
        if not owed:
            return
        found = await run(OWED, sorted({mailbox_of(channel) for channel in owed}))
        if found is None:
            self._log.warn(
                "Redis {name} holds too much to look for what it may have lost: some receipts "
                "may never come",
                name=self._shard.name,
            )
            return
        there = Counter(channel.decode() for channel in found)
        there.update(entry.to for entry in taken if entry.kind == b"r")
        # They stay noted: what is given here will be taken as any receipt.
        lost = list((Counter(owed) - there).elements())
        if lost:
            self._log.warn(
                "{count} messages that this process sent are lost with data of Redis {name}",
                count=len(lost),
                name=self._shard.name,
            )
            words = [word for channel in lost for word in ("o", channel)]
            await run(OPERATE, (*self._head, *words))


async def run_id_of(link: Commands) -> bytes | None:
    """
    What tells this run of a server from all others.

    @return: L{None} where that is not for us to know.
    """
    try:
        found = re.search(rb"run_id:(\w+)", await link.call("INFO", "server"))
    except Refused:
        return None
    return found[1] if found else None
