"""
Many clients with open sockets, who go on talking whatever is deployed meanwhile.

Each sends numbers, of which the site answers each with C{answer:VERSION:PID:NUMBER}.
One of them now and then has it send C{group:NUMBER} to all.  Beside them some browse.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.end_to_end.clients import Socket, get
from tests.end_to_end.split import eventually

AT_ONCE = 50
"""How many handshakes are under way at the same time."""

UNANSWERED = 3
"""Numbers of one client that may wait for their answers.  Who has as many says nothing more
meanwhile: so a machine that is too slow for all is not given ever more to do."""

BROWSERS = 4
"""Clients that ask for one page after the other, each on a connection of its own."""

BROWSE_AFTER = 0.2
"""Seconds between two pages of one of them."""

GROUP_PERIOD = 1.0
"""Seconds between two messages to all."""


@dataclass
class Talker:
    """
    A client.

    @ivar sent: when it sent each of its numbers.
    @ivar answers: the numbers that were answered, as they came.
    @ivar group: the numbers of what came for all, as they came.
    """

    socket: Socket
    sent: list[float] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """How many of its numbers wait for their answers."""
        return len(self.sent) - len(self.answers)

    def speak(self, how: str = "") -> None:
        """
        Send the next number.

        @param how: C{" hold"} for one whose consumer waits until it is let go.
        """
        self.socket.send(f"{len(self.sent)}{how}")
        self.sent.append(time.monotonic())


@dataclass
class Crowd:
    """
    The clients, and what they have seen.

    @ivar by_worker: how many answers each version and process gave.
    @ivar longest_wait: seconds that the slowest answer took.
    @ivar pages: how many were served to browsers.
    @ivar closed: what became of sockets that did not stay open, and of pages that did not
        come.
    """

    talkers: list[Talker]
    period: float
    by_worker: Counter[tuple[str, int]] = field(default_factory=Counter)
    longest_wait: float = 0.0
    waits: list[float] = field(default_factory=list)
    group_sent: int = 0
    pages: int = 0
    closed: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def come(cls, ports: Sequence[int], each: int, period: float) -> AsyncIterator[Crowd]:
        """
        Open the sockets, and talk until the block ends.

        @param each: how many at each port.
        @param period: seconds between two messages of one client.
        """
        places = [port for port in ports for _ in range(each)]
        sockets: list[Socket] = []
        for first in range(0, len(places), AT_ONCE):
            lot = places[first : first + AT_ONCE]
            sockets += await asyncio.gather(*(Socket.open(port, "/crowd/") for port in lot))
        crowd = cls([Talker(socket) for socket in sockets], period)
        for talker in crowd.talkers:
            crowd._tasks.append(asyncio.create_task(crowd._listen(talker)))
            crowd._tasks.append(asyncio.create_task(crowd._talk(talker)))
        crowd._tasks.append(asyncio.create_task(crowd._address_all()))
        for number in range(BROWSERS):
            crowd._tasks.append(asyncio.create_task(crowd._browse(ports[number % len(ports)])))
        try:
            yield crowd
        except BaseException:
            sys.stdout.write(f"{crowd.closed}\n{crowd.missing()}")
            raise
        finally:
            await crowd._leave()

    async def _talk(self, talker: Talker) -> None:
        # Not all of them in the same moment.
        await asyncio.sleep(self.period * random.random())
        while not self._quiet.is_set():
            if talker.unanswered < UNANSWERED:
                talker.speak()
            await asyncio.sleep(self.period)

    async def _browse(self, port: int) -> None:
        while not self._quiet.is_set():
            answer = await get(port)
            if not answer.endswith(b"a page"):
                self.closed.append(f"a page: {answer[:200]!r}")
            self.pages += 1
            await asyncio.sleep(BROWSE_AFTER)

    async def _address_all(self) -> None:
        """One message to the group when the last has come back to who sent it."""
        speaker = self.talkers[0]
        while not self._quiet.is_set():
            speaker.socket.send(f"all:{self.group_sent}")
            self.group_sent += 1
            await asyncio.sleep(GROUP_PERIOD)
            while len(speaker.group) < self.group_sent and not self._quiet.is_set():
                await asyncio.sleep(0.05)

    async def _listen(self, talker: Talker) -> None:
        try:
            while True:
                self._hear(talker, await talker.socket.receive())
        except (ConnectionError, EOFError) as error:
            self.closed.append(f"{type(error).__name__}: {error}")

    def _hear(self, talker: Talker, text: str) -> None:
        kind, *rest = text.split(":")
        if kind == "group":
            talker.group.append(int(rest[0]))
            return
        version, pid, number = rest
        wait = time.monotonic() - talker.sent[int(number)]
        self.waits.append(wait)
        self.longest_wait = max(self.longest_wait, wait)
        talker.answers.append(int(number))
        self.by_worker[version, int(pid)] += 1

    # What a test asks

    @property
    def messages(self) -> int:
        """How many were sent."""
        return self.group_sent + sum(len(talker.sent) for talker in self.talkers)

    def check(self) -> None:
        """
        See that no socket was closed, and nothing came twice or out of order.

        @raise AssertionError: it is not so.
        """
        assert self.closed == []
        for talker in self.talkers:
            for numbers in (talker.answers, talker.group):
                assert numbers == list(range(len(numbers))), numbers

    async def until_answered_by(self, version: str, pids: set[int] | None = None) -> set[int]:
        """
        Wait until code of this version answers.

        @return: the processes that have.
        """

        def seen() -> set[int]:
            self.check()
            return {pid for one, pid in self.by_worker if one == version}

        await eventually(f"version {version} answers", seen)
        return seen()

    async def go(self) -> None:
        """
        Fall silent, wait for every answer that is due, and leave.

        @raise AssertionError: something was lost, or came twice or out of order.
        """
        self._quiet.set()

        def all_is_said() -> bool:
            self.check()
            return all(
                len(one.answers) == len(one.sent) and len(one.group) == self.group_sent
                for one in self.talkers
            )

        await eventually("every message is answered", all_is_said)
        await self._leave()

    async def _leave(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for talker in self.talkers:
            talker.socket.close()
        # Transports close in the next turn.
        await asyncio.sleep(0)

    def missing(self) -> str:
        """Which answers have not come."""
        lines = [
            f"socket {number}: {len(one.answers)} answers to {len(one.sent)}, "
            f"{len(one.group)} of {self.group_sent} to all\n"
            for number, one in enumerate(self.talkers)
            if len(one.answers) != len(one.sent) or len(one.group) != self.group_sent
        ]
        return "".join(lines[:20])

    def figures(self) -> str:
        """What to print."""
        waits = sorted(self.waits)
        half, most = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        return (
            f"{len(self.talkers)} sockets, {len(waits)} answers by {len(self.by_worker)} workers, "
            f"{self.group_sent} messages to all, {self.pages} pages; "
            f"waits: half {half * 1000:.0f} ms, all but a hundredth {most * 1000:.0f} ms, "
            f"longest {self.longest_wait * 1000:.0f} ms\n"
        )
