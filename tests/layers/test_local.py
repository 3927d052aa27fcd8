from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.layers import MemoryChannelLayer
from chanserv.layers.local import SplitChannelLayer
from chanserv.testing import ChannelLayerContract


class TwoMemoryLayersAsOneKeepTheContract(ChannelLayerContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> SplitChannelLayer:
        self.clock = Clock()
        self.ordinary = MemoryChannelLayer(clock=self.clock, **config)
        self.rest = MemoryChannelLayer(clock=self.clock, **config)
        return SplitChannelLayer(self.ordinary, self.rest)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def test_full_members_miss_a_group_message_and_others_do_not(self) -> None:
        """A group's message comes over the side with the groups, and finds its room there."""
        layer = await self.layer(capacity=1)
        for channel in ("full", "free"):
            await layer.group_add("group", channel)
        await layer.send("full", {"number": 1})
        for number in (2, 3):
            await layer.send_group("group", {"number": number})
        self.assertEqual(sorted(self.numbers(await self.read(layer, "full"))), [1, 2])
        self.assertEqual(self.numbers(await self.read(layer, "free")), [2])
        statistics = await layer.channel_statistics("full")
        self.assertEqual(statistics["channel_full_count"], 1)
