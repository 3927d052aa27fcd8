"""What the parts of the contract suite stand on."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

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


class LayerCase(Base):
    """
    Makes layers, moves their time, and looks at what comes out of them.

    @cvar expiry: seconds that messages wait in tests of expiry.  A layer whose
        clock cannot be moved sets a second or two here.
    @cvar group_expiry: the same for memberships.
    @cvar quiet: seconds of real time after which a test takes it that nothing
        comes any more.  0 for a layer that answers at once.
    """

    expiry = 60.0
    group_expiry = 86_400.0
    quiet = 0.2

    def make_layer(self, **config: Any) -> IChannelLayer | Awaitable[IChannelLayer]:
        """
        Make a layer, empty, that no other test's layer shares a store with.

        Every subclass has one of these.

        @param config: some of C{expiry}, C{group_expiry}, C{capacity},
            C{channel_capacity}, C{mailbox_capacity} and C{max_message_size}, as
            L{MemoryChannelLayer<chanserv.layers.MemoryChannelLayer>} takes them.
        """
        raise NotImplementedError("a layer's tests must say how one is made: make_layer")

    def make_peer(self, layer: IChannelLayer) -> IChannelLayer | Awaitable[IChannelLayer]:
        """
        Make another layer on the store of C{layer}, as another process has it.

        Without a store outside the process there is none but C{layer} itself.
        """
        return layer

    def advance(self, seconds: float) -> Awaitable[None] | None:
        """Let that much of the layer's time pass.  Real time, unless overridden."""
        from twisted.internet import reactor

        return deferLater(reactor, seconds, lambda: None)

    # For the tests

    async def layer(self, **config: Any) -> IChannelLayer:
        """A layer that is closed when the test ends."""
        layer: IChannelLayer = await _finished(self.make_layer(**config))
        self.addCleanup(layer.close)
        return layer

    async def peer(self, layer: IChannelLayer) -> IChannelLayer:
        """Another on the same store."""
        other: IChannelLayer = await _finished(self.make_peer(layer))
        if other is not layer:
            self.addCleanup(other.close)
        return other

    async def pass_time(self, seconds: float) -> None:
        """Let that much of the layer's time pass."""
        await _finished(self.advance(seconds))

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
            receiving.addErrback(_none_if_cancelled)
            if not receiving.called:
                receiving.cancel()
            deliveries = await receiving
            if not deliveries:
                return found
            found += deliveries

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

    def numbers(self, messages: list[Delivery]) -> list[int]:
        """What C{{"number": n}} messages say, in their order."""
        return [delivery.message["number"] for delivery in messages]


def _none_if_cancelled(failure: Any) -> list[Delivery]:
    failure.trap(CancelledError)
    return []


async def _finished(value: Any) -> Any:
    """C{value}, or what it fires with."""
    return await value if isinstance(value, Awaitable) else value
