from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from chanserv.interfaces import IChannelLayer
from chanserv.layers import MemoryChannelLayer
from chanserv.layers.memory_face import MemoryFace
from chanserv.layers.reactor_face import ReactorFace
from chanserv.testing import BlockingLayerContract
from chanserv.testing.fakes import BareLayer, PlainLayer


def lively(**config: Any) -> MemoryChannelLayer:
    from twisted.internet import reactor

    return MemoryChannelLayer.for_reactor(reactor, **config)


class MemoryFaceKeepsTheContract(BlockingLayerContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> IChannelLayer:
        return lively(**config)

    def test_it_is_the_layers_own(self) -> None:
        layer = MemoryChannelLayer()
        self.assertIsInstance(self.make_face(layer), MemoryFace)


class ReactorFaceKeepsTheContract(BlockingLayerContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> IChannelLayer:
        return PlainLayer(lively(**config))

    def test_it_is_the_general_one(self) -> None:
        layer = PlainLayer(MemoryChannelLayer())
        self.assertIsInstance(self.make_face(layer), ReactorFace)


class ReactorFaceKeepsTheContractOverABareLayer(BlockingLayerContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> IChannelLayer:
        return BareLayer(lively(**config))
