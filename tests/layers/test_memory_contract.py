from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.layers import MemoryChannelLayer
from chanserv.testing import ChannelLayerContract
from chanserv.testing.fakes import BareLayer


class MemoryLayerKeepsTheContract(ChannelLayerContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> MemoryChannelLayer:
        self.clock = Clock()
        return MemoryChannelLayer(clock=self.clock, **config)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class BareLayerKeepsTheContract(MemoryLayerKeepsTheContract):
    def make_layer(self, **config: Any) -> Any:
        return BareLayer(super().make_layer(**config))
