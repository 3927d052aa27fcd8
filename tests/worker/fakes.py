"""Fakes for the team's tests: a reactor that a test turns, a layer, an application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IApplication
from chanserv.messages import Delivery, Operation, Outcome, seal
from chanserv.worker.outbox import Outbox

PATIENCE = 30.0
"""Seconds after which a test gives up on a thread; never reached when all is well."""


class TurningReactor(Clock):
    """
    A clock whose C{callFromThread} really comes from threads, and is run when
    the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.turns = 0

    def callFromThread(self, call, *args, **kwargs):
        self.asked.put(lambda: call(*args, **kwargs))

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Run what threads ask for, waiting for it, until C{condition()} holds."""
        while not condition():
            self.asked.get(timeout=PATIENCE)()
            self.turns += 1


class FakeLayer:
    """What a team uses of a layer, with everything noted and all errors to be had."""

    expiry = 60.0

    def __init__(self) -> None:
        self.waiting: list[Delivery] = []
        self.receives: list[tuple[list[str], int]] = []
        self.batches: list[list[Operation]] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.receive_error: Exception | None = None
        self.errors: Callable[[Operation], ChannelLayerError | None] = lambda operation: None
        self.batch_error: Exception | None = None
        self.receiver: Deferred[list[Delivery]] | None = None
        self.limit = 0
        self.cancelled = 0

    # What the team calls

    def receive(self, channels: Sequence[str], limit: int = 1):
        self.receives.append((list(channels), limit))
        if self.receive_error is not None:
            return fail(self.receive_error)
        if self.waiting:
            taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
            return succeed(taken)
        self.limit = limit
        self.receiver = Deferred(self._cancel)
        return self.receiver

    def send_batch(self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()):
        if self.batch_error is not None:
            return fail(self.batch_error)
        self.batches.append(list(operations))
        for delivery in settled:
            delivery.settle()
        return succeed([self.errors(operation) for operation in operations])

    # What the tests call

    def give(self, channel: str, name: str = "", **message: object) -> Delivery:
        """Put a message on the layer; its outcome is noted under C{name}."""
        noted = name or channel
        delivery = Delivery(
            (channel,), seal(message), lambda outcome: self.outcomes.append((noted, outcome))
        )
        self.waiting.append(delivery)
        if self.receiver is not None:
            receiver, self.receiver = self.receiver, None
            taken, self.waiting = self.waiting[: self.limit], self.waiting[self.limit :]
            receiver.callback(taken)
        return delivery

    @property
    def sent(self) -> list[Operation]:
        return [operation for batch in self.batches for operation in batch]

    def _cancel(self, receiver: Deferred[list[Delivery]]) -> None:
        self.cancelled += 1
        self.receiver = None
        receiver.errback(CancelledError())


@implementer(IApplication)
class FakeApplication:
    """An application whose only consumer is the function it is made of."""

    def __init__(
        self, consumer, channels=("http.request", "websocket.connect"), ignored=()
    ) -> None:
        self.consumer = consumer
        self.channels = frozenset(channels)
        self.ignored = frozenset(ignored)

    def channel_names(self) -> frozenset[str]:
        return self.channels

    def ignored_channels(self) -> frozenset[str]:
        return self.ignored

    def run(self, channel: str, message: dict[str, object], outbox: Outbox) -> None:
        outbox.consumer = "site.consumers.only"
        self.consumer(channel, message, outbox)
