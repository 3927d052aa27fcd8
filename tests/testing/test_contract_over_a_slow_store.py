"""
The contract suite on a layer that answers late, as one does whose store is
outside the process, and through which several processes reach one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from chanserv.interfaces import IChannelLayer
from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Delivery, Message, Operation, seal
from chanserv.testing import ChannelLayerContract
from chanserv.testing.fakes import PlainLayer
from tests.testing.peer_layers import PeerLayer


class SlowLayer(PlainLayer):
    """Each call takes a turn of the reactor to arrive, and its answer another."""

    def __init__(self, original: IChannelLayer) -> None:
        from twisted.internet import reactor

        super().__init__(original)
        self.reactor: Any = reactor

    def later(self, method: str, *args: object) -> Deferred[Any]:
        call = getattr(self.original, method)
        arrived = deferLater(self.reactor, 0, call, *args)
        return arrived.addBoth(lambda answer: deferLater(self.reactor, 0, lambda: answer))

    def send(self, channel: str, message: Message, receipt: str | None = None) -> Deferred[None]:
        try:
            sealed = seal(message)
        except Exception:
            return self.original.send(channel, message, receipt)
        return self.later("send", channel, sealed, receipt)

    def send_group(self, group: str, message: Message) -> Deferred[None]:
        try:
            sealed = seal(message)
        except Exception:
            return self.original.send_group(group, message)
        return self.later("send_group", group, sealed)

    def send_batch(
        self, operations: Sequence[Operation], settled: Sequence[Delivery] = ()
    ) -> Deferred[Any]:
        return self.later("send_batch", operations, settled)

    def group_add(self, group: str, channel: str) -> Deferred[None]:
        return self.later("group_add", group, channel)

    def group_discard(self, group: str, channel: str) -> Deferred[None]:
        return self.later("group_discard", group, channel)

    def group_channels(self, group: str) -> Deferred[list[str]]:
        return self.later("group_channels", group)

    def flush(self) -> Deferred[None]:
        return self.later("flush")

    def receive(self, channels: Sequence[str], limit: int = 1) -> Deferred[list[Delivery]]:
        """Late to begin; from then on the original's own, so that cancelling stays safe."""
        begun: list[Deferred[list[Delivery]]] = []
        ours: Deferred[list[Delivery]] = Deferred(lambda _: stop())

        def begin() -> None:
            begun.append(self.original.receive(channels, limit))
            begun[0].addCallbacks(ours.callback, ours.errback)

        beginning = self.reactor.callLater(0, begin)

        def stop() -> None:
            if begun:
                begun[0].cancel()
            else:
                beginning.cancel()

        return ours


class SlowLayerKeepsTheContract(ChannelLayerContract, TestCase):
    quiet = 0.02

    def make_layer(self, **config: Any) -> Deferred[IChannelLayer]:
        from twisted.internet import reactor

        self.clock = Clock()
        layer: Any = SlowLayer(PeerLayer(MemoryChannelLayer(clock=self.clock, **config)))
        return deferLater(reactor, 0, lambda: layer)

    def make_peer(self, layer: Any) -> Any:
        return SlowLayer(layer.original.peer())

    def kill_peer(self, peer: Any) -> None:
        peer.original.close()

    def advance(self, seconds: float) -> Deferred[None]:
        from twisted.internet import reactor

        return deferLater(reactor, 0, self.clock.advance, seconds)
