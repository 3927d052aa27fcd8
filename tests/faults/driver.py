"""
A process that speaks a channel layer, and does what it is told on its standard input.

Run as C{python -m tests.faults.driver JSON}; the JSON object has C{spec} and C{config}
of the layer, and of what the process does: C{reads}, a list of channels whose
messages it settles; C{box}, a mailbox that it owns; C{members}, how many
channels of that are members of C{group}.  A message is settled C{settle_after}
seconds after it came, so that at any moment some are on lease.

Each line of its standard input is a JSON object, an order: C{send} (a first
number and a count of messages for C{channel}, at C{rate} a second), C{group} (the
number of a message for the group), C{members}, C{statistics}, C{stop}.  Each line of its
standard output is one too: news.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from typing import Any

from twisted.internet import defer, stdio, task
from twisted.protocols.basic import LineOnlyReceiver

from chanserv.errors import ChannelLayerError
from chanserv.layers.from_spec import make_layer
from chanserv.messages import Delivery, Send

AGAIN = 0.05
"""Seconds before what the layer refused is tried again."""

TICK = 0.02
"""Seconds between two lots of messages."""


def tell(**news: object) -> None:
    """Say something to whoever started this process."""
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


class Driver:
    """What one process does with its layer."""

    def __init__(self, reactor: Any, orders: dict[str, Any]) -> None:
        self.reactor = reactor
        self.layer = make_layer(orders["spec"], reactor, orders.get("config"))
        self.reads: list[str] = orders.get("reads", [])
        self.box: str = orders.get("box", "")
        self.members: int = orders.get("members", 0)
        self.settle_after: float = orders.get("settle_after", 0.0)
        self.group: str = orders.get("group", "everyone")
        self.stopping = False

    @defer.inlineCallbacks
    def start(self) -> Generator[defer.Deferred[Any], Any, None]:
        if self.box:
            self.take([self.box], self.from_box)
        if self.reads:
            self.take(self.reads, self.from_channel)
        for number in range(self.members):
            yield self.insist(self.layer.group_add, self.group, f"{self.box}member{number}")
        if not self.members:
            yield self.insist(self.layer.group_channels, self.group)
        tell(ready=True)

    @defer.inlineCallbacks
    def insist(self, call: Any, *args: object) -> Generator[defer.Deferred[Any], Any, Any]:
        """Try until the layer does it."""
        while True:
            try:
                return (yield call(*args))
            except ChannelLayerError as error:
                tell(failed=call.__name__, error=str(error))
                yield task.deferLater(self.reactor, AGAIN, lambda: None)

    @defer.inlineCallbacks
    def take(self, channels: list[str], use: Any) -> Generator[defer.Deferred[Any], Any, None]:
        """Receive, for ever."""
        while not self.stopping:
            try:
                deliveries = yield self.layer.receive(channels, 100)
            except ChannelLayerError as error:
                if self.stopping:
                    return
                tell(failed="receive", error=str(error))
                yield task.deferLater(self.reactor, AGAIN, lambda: None)
                continue
            except defer.CancelledError:
                return
            use(deliveries)

    def from_channel(self, deliveries: list[Delivery]) -> None:
        """Work: note each, and settle it."""
        tell(got=[one.message["number"] for one in deliveries])
        self.reactor.callLater(self.settle_after, self.settle, deliveries)

    def settle(self, deliveries: list[Delivery]) -> None:
        self.layer.send_batch([], deliveries).addErrback(
            lambda failure: tell(failed="settle", error=failure.getErrorMessage())
        )

    def from_box(self, deliveries: list[Delivery]) -> None:
        """Receipts, and messages of the group."""
        for one in deliveries:
            if "receipt" in one.message:
                number = int(one.channel.partition("!receipt")[2])
                tell(receipt=number, outcome=one.message["receipt"])
            else:
                tell(group=one.message["number"], recipients=len(set(one.recipients)))
            one.settle()

    # Orders

    def send(self, channel: str, first: int, count: int, rate: float) -> None:
        """Send messages, each with a receipt, at an even pace."""
        step = max(1, round(rate * TICK))

        def lot() -> None:
            nonlocal first, count
            now = min(step, count)
            numbers = range(first, first + now)
            first, count = first + now, count - now
            self.send_lot(channel, numbers)
            if count and not self.stopping:
                self.reactor.callLater(TICK, lot)
            elif not count:
                tell(sending="over")

        lot()

    def send_lot(self, channel: str, numbers: range) -> None:
        operations = [
            Send(channel, {"number": number}, f"{self.box}receipt{number}") for number in numbers
        ]

        def sent(errors: list[ChannelLayerError | None]) -> None:
            for number, error in zip(numbers, errors, strict=True):
                if error is None:
                    tell(sent=number)
                else:
                    tell(refused=number, error=f"{type(error).__name__}: {error}")

        def failed(failure: Any) -> None:
            for number in numbers:
                tell(refused=number, error=f"{failure.type.__name__}: {failure.value}")

        self.layer.send_batch(operations).addCallbacks(sent, failed)

    def send_group(self, number: int) -> None:
        self.layer.send_group(self.group, {"number": number}).addCallbacks(
            lambda _: tell(group_sent=number),
            lambda failure: tell(group_refused=number, error=failure.getErrorMessage()),
        )

    def statistics(self) -> None:
        self.layer.global_statistics().addCallbacks(
            lambda counts: tell(statistics=dict(counts)),
            lambda failure: tell(failed="statistics", error=failure.getErrorMessage()),
        )

    def list_members(self) -> None:
        self.layer.group_channels(self.group).addCallbacks(
            lambda channels: tell(members=len(channels)),
            lambda failure: tell(failed="group_channels", error=failure.getErrorMessage()),
        )

    @defer.inlineCallbacks
    def stop(self) -> Generator[defer.Deferred[Any], Any, None]:
        self.stopping = True
        yield self.layer.close()
        tell(stopped=True)
        self.reactor.stop()


class Orders(LineOnlyReceiver):
    """The standard input."""

    delimiter = b"\n"

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def lineReceived(self, line: bytes) -> None:
        order = json.loads(line)
        if "send" in order:
            first, count = order["send"]
            self.driver.send(order["channel"], first, count, order["rate"])
        elif "group" in order:
            self.driver.send_group(order["group"])
        elif "statistics" in order:
            self.driver.statistics()
        elif "members" in order:
            self.driver.list_members()
        elif "stop" in order:
            self.driver.stop()

    def connectionLost(self, reason: Any) -> None:
        # Whoever started this process is gone.
        if self.driver.reactor.running:
            self.driver.reactor.stop()


def main() -> None:
    from twisted.internet import reactor
    from twisted.python import log

    running: Any = reactor
    log.startLogging(sys.stderr, setStdout=False)  # type: ignore[no-untyped-call]
    driver = Driver(running, json.loads(sys.argv[1]))
    stdio.StandardIO(Orders(driver), reactor=running)
    running.callWhenRunning(driver.start)
    running.run()


if __name__ == "__main__":
    main()
