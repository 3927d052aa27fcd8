"""The worked example of a channel layer keeps the whole contract."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers import make_layer
from chanserv.testing import BlockingLayerContract, ChannelLayerContract
from tests.docs.examples import example

layers = example("small_layer")


class SmallLayerKeepsTheContract(ChannelLayerContract, TestCase):
    quiet = 0.0
    kind = layers.SmallLayer

    def make_layer(self, **config: Any) -> IChannelLayer:
        self.clock = Clock()
        layer: IChannelLayer = self.kind(self.clock, **config)
        return layer

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class SettlingLayerKeepsTheContract(SmallLayerKeepsTheContract):
    kind = layers.SettlingLayer


class SettlingLayerKeepsTheContractOfItsBlockingFace(BlockingLayerContract, TestCase):
    def make_layer(self, **config: Any) -> IChannelLayer:
        from twisted.internet import reactor

        layer: IChannelLayer = layers.SettlingLayer(reactor, **config)
        return layer


def test_the_small_layer_can_be_named_in_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "small_layer", layers)
    settings = {"BACKEND": "small_layer.SettlingLayer", "CONFIG": {"capacity": 1}}
    layer = make_layer(settings, Clock())
    assert isinstance(layer, layers.SettlingLayer)
    with pytest.raises(ConfigurationError, match=r"redelivr.*known are.*redeliver"):
        make_layer({**settings, "CONFIG": {"redelivr": []}}, Clock())
