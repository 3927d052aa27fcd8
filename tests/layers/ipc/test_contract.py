"""The contract suite, on the process that hosts the hub and on one that does not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import DeferredList
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from chanserv.layers.ipc import IPCChannelLayer
from chanserv.testing import BlockingLayerContract, ChannelLayerContract
from tests.layers.ipc.rig import make_directory, make_ipc_layer, vanish


class Rig:
    """Real sockets, and a hub whose time the test moves."""

    def make_peer(self, layer: IPCChannelLayer) -> IPCChannelLayer:
        peer = make_ipc_layer(self.directory, self.clock, **self.config)
        self.layers.append(peer)
        return peer

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def kill_peer(self, peer: IPCChannelLayer) -> None:
        self.layers.remove(peer)
        await vanish(peer)
        # The kernel tells of it at once, but the reactor has to look.
        from twisted.internet import reactor

        for _ in range(10):
            await deferLater(reactor, 0, lambda: None)

    async def pause(self) -> None:
        # The hub answers in order: what was on its way has come with the answer.
        for _ in range(2):
            await DeferredList(
                [layer.global_statistics() for layer in self.layers], consumeErrors=True
            )


class TheHostKeepsTheContract(Rig, ChannelLayerContract, TestCase):
    async def make_layer(self, **config: Any) -> IPCChannelLayer:
        self.clock = Clock()
        self.config = config
        self.directory = make_directory(self)
        layer = make_ipc_layer(self.directory, self.clock, **config)
        # The first that is asked anything is the host.
        await layer.global_statistics()
        self.layers = [layer]
        return layer


class AGuestKeepsTheContract(Rig, ChannelLayerContract, TestCase):
    async def make_layer(self, **config: Any) -> IPCChannelLayer:
        self.clock = Clock()
        self.config = config
        self.directory = make_directory(self)
        host = make_ipc_layer(self.directory, self.clock, **config)
        self.addCleanup(host.close)
        await host.global_statistics()
        layer = make_ipc_layer(self.directory, self.clock, **config)
        self.layers = [layer]
        return layer


class TheFaceOfAGuestKeepsTheContract(BlockingLayerContract, TestCase):
    async def make_layer(self, **config: Any) -> IPCChannelLayer:
        directory = make_directory(self)
        host = make_ipc_layer(directory, **config)
        self.addCleanup(host.close)
        await host.global_statistics()
        return make_ipc_layer(directory, **config)
