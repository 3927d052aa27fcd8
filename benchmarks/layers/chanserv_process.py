"""
A process of the benchmark: it sends, or reads its own mailbox, as it is told.

Its orders are the public methods of L{Orders}: each comes as a line
C{[order, *arguments]} on the standard input, and is answered by a line
C{[answer, error]} on the standard output.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from benchmarks.layers.traffic import PAUSE, TEXT, Heard
from chanserv.interfaces import IChannelLayer
from chanserv.layers import make_layer
from chanserv.messages import Delivery, Send

JOINING: Final = 100
"""Members that are added at a time."""


@dataclass
class Mailbox:
    """
    What this process reads, and what has come.

    @ivar delays: seconds from the send to here, of messages that say when they
        were sent.
    @ivar news: fired, and made anew, when something has come.
    """

    name: str
    count: int = 0
    delays: list[float] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    news: Deferred[float] = field(default_factory=Deferred)

    async def read(self, layer: IChannelLayer) -> None:
        """Take what comes, until the layer is closed."""
        while True:
            deliveries = await layer.receive([self.name], 1_000)
            now = time.monotonic()
            for delivery in deliveries:
                self._note(delivery, now)
            self.count += len(deliveries)
            news, self.news = self.news, Deferred()
            news.callback(now)

    def _note(self, delivery: Delivery, now: float) -> None:
        sent = delivery.message.get("sent")
        if sent is None:
            return
        number = delivery.message.get("number")
        if number is None:
            self.delays.append(now - sent)
            return
        heard = self.heard.setdefault(number, Heard())
        heard.members += len(delivery.recipients)
        heard.seconds = now - sent


class Orders:
    """What this process can be told; each layer is known by a name."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._layers: dict[str, IChannelLayer] = {}
        self._mailboxes: dict[str, Mailbox] = {}

    async def hello(self) -> None:
        """Be there."""

    async def open(self, name: str, spec: str) -> None:
        """Make a layer, and see that it works."""
        self._layers[name] = make_layer(spec, self._reactor, {"mailbox_capacity": 1_000_000})
        await self._layers[name].group_channels("none")

    async def close(self, name: str) -> None:
        """Let go of a layer."""
        self._mailboxes.pop(name, None)
        await self._layers.pop(name).close()

    async def read(self, name: str) -> str:
        """Make up a mailbox and read it from now on; tell its name."""
        layer = self._layers[name]
        channel = await layer.new_channel("bench!")
        # The part behind the mark is for us to choose: this mailbox is one name for all.
        mailbox = self._mailboxes[name] = Mailbox(channel.replace("!", ".") + "!")
        ensureDeferred(mailbox.read(layer)).addErrback(lambda failure: None)
        return mailbox.name

    async def join(self, name: str, group: str, count: int) -> None:
        """Make C{count} channels of the mailbox members of a group."""
        layer, mailbox = self._layers[name], self._mailboxes[name].name
        for first in range(0, count, JOINING):
            await gatherResults(
                [
                    layer.group_add(group, f"{mailbox}{number}")
                    for number in range(first, min(count, first + JOINING))
                ]
            )

    # Sending

    async def send_one_by_one(
        self, name: str, mailbox: str, seconds: float, senders: int = 1
    ) -> list[float]:
        """
        Send, each when the last is in the store.

        @param senders: do so this often at a time.
        @return: how many were sent, and when it began.
        """
        layer, channel = self._layers[name], f"{mailbox}x"
        begun = time.monotonic()

        async def send() -> int:
            count = 0
            while time.monotonic() < begun + seconds:
                await layer.send(channel, {"text": TEXT})
                count += 1
            return count

        return [sum(await gatherResults([ensureDeferred(send()) for _ in range(senders)])), begun]

    async def send_batches(self, name: str, mailbox: str, seconds: float, size: int) -> list[float]:
        """The same in batches of C{size}, one batch after the other."""
        layer, channel = self._layers[name], f"{mailbox}x"
        begun, count = time.monotonic(), 0
        while time.monotonic() < begun + seconds:
            errors = await layer.send_batch([Send(channel, {"text": TEXT}) for _ in range(size)])
            if any(errors):
                raise RuntimeError(f"a batch was refused: {next(filter(None, errors))}")
            count += size
        return [count, begun]

    async def send_slowly(self, name: str, mailbox: str, count: int) -> None:
        """Send messages that say when, with pauses between them."""
        layer, channel = self._layers[name], f"{mailbox}x"
        for _ in range(count):
            await deferLater(self._reactor, PAUSE, lambda: None)
            await layer.send(channel, {"text": TEXT, "sent": time.monotonic()})

    async def send_group(self, name: str, group: str, number: int) -> None:
        """Send a numbered message to a group."""
        message = {"text": TEXT, "number": number, "sent": time.monotonic()}
        await self._layers[name].send_group(group, message)

    # What has come

    async def reached(self, name: str, count: int) -> float:
        """Wait until so many messages have come; tell when the last did."""
        mailbox = self._mailboxes[name]
        when = time.monotonic()
        while mailbox.count < count:
            when = await mailbox.news
        mailbox.count -= count
        return when

    async def delays(self, name: str, count: int) -> list[float]:
        """Wait for so many messages that say when they were sent; tell how late they came."""
        mailbox = self._mailboxes[name]
        while len(mailbox.delays) < count:
            await mailbox.news
        delays, mailbox.delays, mailbox.count = mailbox.delays, [], 0
        return delays

    async def heard(self, name: str, number: int, members: int) -> float:
        """Wait for a group message; tell how late it came."""
        mailbox = self._mailboxes[name]
        while mailbox.heard.get(number, Heard()).members < members:
            await mailbox.news
        heard = mailbox.heard.pop(number)
        if heard.members != members:
            raise RuntimeError(f"it came for {heard.members} members, not for {members}")
        mailbox.count = 0
        return heard.seconds

    async def messages(self, name: str) -> int:
        """How many messages have been put into the layer, ever."""
        return (await self._layers[name].global_statistics())["messages_count"]


class Line(LineReceiver):
    """Orders on the standard input."""

    delimiter = b"\n"

    def __init__(self, orders: Orders, reactor: Any) -> None:
        self._orders = orders
        self._reactor = reactor

    def lineReceived(self, line: bytes) -> None:
        """Do as told."""
        order, *arguments = json.loads(line)
        done = ensureDeferred(getattr(self._orders, order)(*arguments))
        done.addCallbacks(self._say, self._complain)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whoever started this process is done with it."""
        if self._reactor.running:
            self._reactor.stop()

    def _say(self, answer: object) -> None:
        self._write([answer, None])

    def _complain(self, failure: Failure) -> None:
        sys.stderr.write(failure.getTraceback())
        self._write([None, failure.getErrorMessage()])

    def _write(self, line: list[object]) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(line).encode() + b"\n")


def main() -> None:
    """Run until the standard input ends."""
    from twisted.internet import reactor

    clock: Any = reactor
    StandardIO(Line(Orders(clock), clock))  # type: ignore[no-untyped-call]
    clock.run()


if __name__ == "__main__":
    main()
