"""Layers with something missing, for tests of those who must do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.components import proxyForInterface

from chanserv.errors import ChannelLayerError
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Message, Operation, Send

_AnyLayer: Any = proxyForInterface(IChannelLayer)  # type: ignore[no-untyped-call]


class PlainLayer(_AnyLayer):  # type: ignore[misc]
    """
    Another layer with the methods of L{IChannelLayer} and nothing besides; so
    it has no blocking face of its own.

    @ivar original: the layer it stands before.
    """

    original: IChannelLayer

    def __init__(self, original: IChannelLayer) -> None:
        super().__init__(original)


class BareLayer(PlainLayer):
    """
    Another layer without receipts, as over a store shared with peers of the
    old stack: what reads there tells nobody when it has finished.
    """

    settles = False

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        """See L{IChannelLayer}: C{receipt} is ignored."""
        return self.original.send(channel, message)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[list[ChannelLayerError | None]]:
        """See L{IChannelLayer}: receipts and C{settled} are ignored."""
        return self.original.send_batch(
            [Send(one.channel, one.message) if isinstance(one, Send) else one for one in operations]
        )

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """See L{IChannelLayer}: what becomes of the deliveries is told to nobody."""
        return self.original.receive(channels, limit).addCallback(
            lambda deliveries: [Delivery(one.recipients, one.message) for one in deliveries]
        )


class FailingLayer(PlainLayer):
    """
    Another layer whose store can be taken away, and given back.

    @ivar failure: what every call fails with; L{None} while all is well.
    """

    def __init__(self, original: IChannelLayer) -> None:
        super().__init__(original)
        self.failure: ChannelLayerError | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in _METHODS and self.failure is not None:
            failure = self.failure
            return lambda *args, **kwargs: fail(failure)
        return found


_METHODS = frozenset(
    name
    for name, described in IChannelLayer.namesAndDescriptions()
    if hasattr(described, "getSignatureInfo") and name != "close"
)
