"""asgiref 1's memory layer behind the adapter, in a process of its own: see folder.py."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import asgiref.inmemory
import pytest
from twisted.trial.unittest import TestCase

from chanserv.errors import ChannelFull
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from tests.layers.asgi1_case import Asgi1Contract, Asgi1FaceContract


class Time:
    """What the layer takes for the C{time} module."""

    def __init__(self) -> None:
        self.now = 1_500_000_000.0

    def time(self) -> float:
        return self.now


class InMemory:
    """Makes the layer."""

    time: Time

    @pytest.fixture(autouse=True)
    def _their_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = Time()
        monkeypatch.setattr(asgiref.inmemory, "time", self.time)

    def make_layer(self, **config: Any) -> Asgi1ChannelLayer:
        from twisted.internet import reactor

        # It has one capacity, which is everything's.
        if "channel_capacity" in config:
            raise SkipTest("this layer has one capacity for all channels")
        config.pop("redeliver", None)
        config["capacity"] = config.pop("mailbox_capacity", config.get("capacity", 100))
        ours = {key: config.pop(key) for key in ("max_message_size",) if key in config}
        self.original = asgiref.inmemory.ChannelLayer(**config)
        return Asgi1ChannelLayer(self.original, reactor, **ours)

    def advance(self, seconds: float) -> None:
        self.time.now += seconds


class InMemoryLayerKeepsTheContract(InMemory, Asgi1Contract, TestCase):
    def make_peer(self, layer: Any) -> Asgi1ChannelLayer:
        from twisted.internet import reactor

        return Asgi1ChannelLayer(self.original, reactor)

    # It looks for what has expired when it is read or a group is sent to.

    async def test_a_membership_ends_with_the_group_expiry(self) -> None:
        layer = await self.layer(group_expiry=self.group_expiry)
        await layer.group_add("group", "process!early")
        await self.pass_time(self.group_expiry * 0.75)
        await layer.group_add("group", "process!late")
        await self.pass_time(self.group_expiry * 0.5)
        await layer.send_group("group", {})
        self.assertEqual(await layer.group_channels("group"), ["process!late"])
        self.assertEqual(self.members_of(await self.read(layer, "process!")), {"process!late"})

    async def test_an_expired_message_gives_its_room_back(self) -> None:
        layer = await self.layer(expiry=self.expiry, capacity=2)
        await self.fill(layer, "channel", 2)
        await self.pass_time(self.expiry * 1.1)
        self.assertEqual(await self.read(layer, "other"), [])
        await self.fill(layer, "channel", 2)
        await self.refused(layer.send("channel", {}), ChannelFull)

    # It has no statistics: each process counts what it sends, no more.

    async def test_all_peers_see_the_same_counts(self) -> None:
        one, other = await self.peers(2, capacity=1)
        await one.send("channel", {})
        await self.refused(other.send("channel", {}), ChannelFull)
        await self.expect(one, "channel", messages_count=1, channel_full_count=0)
        await self.expect(other, "channel", messages_count=0, channel_full_count=1)


class InMemoryLayersFaceKeepsTheContract(InMemory, Asgi1FaceContract, TestCase):
    """What it can do is in L{Asgi1FaceContract}."""
