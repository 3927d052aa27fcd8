"""What the parts of the contract suite stand on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import SkipTest

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Message

if TYPE_CHECKING:
    import unittest

    class Base(unittest.TestCase):
        """Trial's, which carries no types, as far as it is used here."""

        def assertFailure(self, deferred: Deferred[Any], *errors: type) -> Deferred[Any]:
            """Fire with the error that C{deferred} fails with, one of C{errors}."""

else:
    # Mixed into a TestCase, and none itself: a runner would collect it
    # wherever it is imported.
    Base = object

Error = TypeVar("Error", bound=ChannelLayerError)

ENOUGH = 1_000
"""A limit on deliveries that no test comes near."""

LOOK_AGAIN = 0.02
"""Seconds between two looks at whether what a test waits for has come true."""


class LayerCase(Base):
    """
    Makes layers, moves their time, and looks at what comes out of them.

    @cvar expiry: seconds that messages wait in tests of expiry.  A layer whose
        clock cannot be moved sets a second or two here.
    @cvar group_expiry: the same for memberships.
    @cvar quiet: seconds of real time after which a test takes it that nothing
        comes any more.  0 for a layer that answers at once.
    @cvar patience: seconds of real time that a test waits for what must come;
        only a layer that breaks its word makes it wait so long.
    """

    expiry = 60.0
    group_expiry = 86_400.0
    quiet = 0.2
    patience = 60.0

    def make_layer(self, **config: Any) -> IChannelLayer | Awaitable[IChannelLayer]:
        """
        Make a layer, empty, that no other test's layer shares a store with.

        Every subclass has one of these.

        @param config: some of C{expiry}, C{group_expiry}, C{capacity},
            C{channel_capacity}, C{mailbox_capacity}, C{max_message_size} and
            C{redeliver}, as
            L{MemoryChannelLayer<chanserv.layers.MemoryChannelLayer>} takes them.
        """
        raise NotImplementedError("a layer's tests must say how one is made: make_layer")

    def make_peer(self, layer: IChannelLayer) -> IChannelLayer | Awaitable[IChannelLayer]:
        """
        Make another layer on the store of C{layer}, as another process has it.

        Without a store outside the process there is none but C{layer} itself,
        and the tests that need two of them are skipped.
        """
        return layer

    def kill_peer(self, peer: IChannelLayer) -> Awaitable[None] | None:
        """
        Let a layer vanish as with C{kill -9}: its connections are cut and its
        timers stopped, and it says goodbye to nobody.

        Where others learn of that by the clock of the layer, let the time that
        this takes pass here too.  C{peer.close()} is called later all the same.

        Unless overridden, the tests that need it are skipped.

        @param peer: what L{make_layer} or L{make_peer} has made.
        """
        raise SkipTest("kill_peer does not say how a layer of this kind dies")

    def advance(self, seconds: float) -> Awaitable[None] | None:
        """Let that much of the layer's time pass.  Real time, unless overridden."""
        from twisted.internet import reactor

        return deferLater(reactor, seconds, lambda: None)

    # For the tests

    async def layer(self, **config: Any) -> IChannelLayer:
        """A layer that is closed when the test ends."""
        layer: IChannelLayer = await finished(self.make_layer(**config))
        self.addCleanup(layer.close)
        return layer

    async def peer(self, layer: IChannelLayer) -> IChannelLayer:
        """Another on the same store."""
        other: IChannelLayer = await finished(self.make_peer(layer))
        if other is not layer:
            self.addCleanup(other.close)
        return other

    async def peers(self, count: int, **config: Any) -> list[IChannelLayer]:
        """So many layers on one store; the test is skipped where there is but one."""
        first = await self.layer(**config)
        made = [first, *[await self.peer(first) for _ in range(count - 1)]]
        if made[1] is first:
            raise SkipTest("no second layer reaches the store of this one")
        return made

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Ask until the answer is true, for as long as L{patience} lasts."""
        from twisted.internet import reactor

        deadline = reactor.seconds() + self.patience
        while not await condition():
            left = deadline - reactor.seconds()
            self.assertGreater(left, 0, "it has not come true")
            await deferLater(reactor, LOOK_AGAIN, lambda: None)

    async def pass_time(self, seconds: float) -> None:
        """Let that much of the layer's time pass."""
        await finished(self.advance(seconds))

    async def pause(self) -> None:
        """Let whatever is under way arrive."""
        if self.quiet:
            from twisted.internet import reactor

            await deferLater(reactor, self.quiet, lambda: None)

    async def read(self, layer: IChannelLayer, *channels: str) -> list[Delivery]:
        """All deliveries that wait on C{channels}, perhaps none."""
        found: list[Delivery] = []
        while True:
            receiving = layer.receive(channels, ENOUGH)
            if not receiving.called:
                await self.pause()
                await self._wait_for_pending(layer, channels, receiving)
            receiving.addErrback(_none_if_cancelled)
            if not receiving.called:
                receiving.cancel()
            deliveries = await receiving
            if not deliveries:
                return found
            found += deliveries

    async def _wait_for_pending(
        self, layer: IChannelLayer, channels: Sequence[str], receiving: Deferred[list[Delivery]]
    ) -> None:
        """
        Wait on where the store itself says that it has something: a machine
        may be so busy that this takes longer than any time to be quiet.
        """

        async def nothing_pending() -> bool:
            counts = [await layer.channel_statistics(channel) for channel in channels]
            return receiving.called or not sum(one["messages_pending"] for one in counts)

        if self.quiet and not receiving.called:
            await self.until(nothing_pending)

    async def read_messages(self, layer: IChannelLayer, *channels: str) -> list[Message]:
        """The messages of L{read}, as plain dicts."""
        return [dict(delivery.message) for delivery in await self.read(layer, *channels)]

    async def take(self, layer: IChannelLayer, *channels: str, limit: int = 1) -> list[Delivery]:
        """Wait for deliveries."""
        return await layer.receive(channels, limit)

    async def take_one(self, layer: IChannelLayer, *channels: str) -> Delivery:
        """Wait for one delivery."""
        (delivery,) = await layer.receive(channels)
        return delivery

    async def refused(self, attempt: Deferred[Any], error: type[Error]) -> Error:
        """Hold that C{attempt} fails with C{error}, and return that."""
        caught: Error = await self.assertFailure(attempt, error)
        return caught

    def leave(self, waiting: Deferred[list[Delivery]]) -> None:
        """Let C{waiting} fail unheard, whatever becomes of it."""
        waiting.addErrback(lambda failure: [])

    def numbers(self, messages: list[Delivery]) -> list[int]:
        """What C{{"number": n}} messages say, in their order."""
        return [delivery.message["number"] for delivery in messages]


def _none_if_cancelled(failure: Any) -> list[Delivery]:
    failure.trap(CancelledError)
    return []


async def finished(value: Any) -> Any:
    """What a hook of L{LayerCase} gives: C{value}, or what it fires with."""
    return await value if isinstance(value, Awaitable) else value
