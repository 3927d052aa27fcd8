"""asgi_redis behind the adapter, over a real server: in a process of its own, see folder.py."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import asgi_redis
import asgi_redis.core
import pytest
import redis
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chanserv.errors import ChannelFull
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from tests.layers.asgi1_case import Asgi1Contract, Asgi1FaceContract

HOST = os.environ["CHANSERV_TEST_REDIS"]
"""The URL of the server."""


class Time:
    """What the layer takes for the C{time} module."""

    def __init__(self) -> None:
        self.now = 1_500_000_000.0

    def time(self) -> float:
        return self.now


class OverRedis:
    """Makes the layer."""

    time: Time

    @pytest.fixture(autouse=True)
    def _their_time(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.time = Time()
        self.prefix = f"test-{secrets.token_hex(6)}:"
        self.connection = redis.StrictRedis.from_url(HOST)
        monkeypatch.setattr(asgi_redis.core, "time", self.time)
        # Else each layer that is closed while it waits takes five seconds.
        monkeypatch.setattr(asgi_redis.RedisChannelLayer, "blpop_timeout", 1)
        yield
        self.connection.connection_pool.disconnect()

    def make_layer(self, **config: Any) -> Asgi1ChannelLayer:
        config.pop("redeliver", None)
        mailbox_capacity = config.pop("mailbox_capacity", None)
        config["channel_capacity"] = dict(config.pop("channel_capacity", None) or {})
        if mailbox_capacity is not None:
            config["channel_capacity"]["*!"] = mailbox_capacity
        self.ours = {key: config.pop(key) for key in ("max_message_size",) if key in config}
        # Redis takes whole seconds.
        self.config = {
            key: int(value) if key.endswith("expiry") else value for key, value in config.items()
        }
        return self.make_peer(None)

    def make_peer(self, layer: Any) -> Asgi1ChannelLayer:
        from twisted.internet import reactor

        original = asgi_redis.RedisChannelLayer(
            hosts=[HOST], prefix=self.prefix, stats_prefix=self.prefix + "stats:", **self.config
        )
        return Asgi1ChannelLayer(original, reactor, **self.ours)

    def advance(self, seconds: float) -> Any:
        """Have the layer's keys expire that much sooner."""
        self.time.now += seconds
        return deferToThread(self._age, round(seconds * 1000))

    def _age(self, milliseconds: int) -> None:
        for key in self.connection.scan_iter(self.prefix + "*"):
            left = self.connection.pttl(key)
            if left is not None and left > 0:
                self.connection.pexpire(key, left - milliseconds)


class RedisLayerKeepsTheContract(OverRedis, Asgi1Contract, TestCase):
    counted = Asgi1Contract.counted | {"messages_pending"}

    async def test_channel_full_names_channel_depth_capacity_and_the_oldest_age(self) -> None:
        """It tells all of it, in whole seconds."""
        layer = await self.layer(capacity=2, expiry=60)
        await layer.send("channel", {})
        await self.pass_time(30)
        await layer.send("channel", {})
        error = await self.refused(layer.send("channel", {}), ChannelFull)
        self.assertEqual((error.channel, error.depth, error.capacity), ("channel", 2, 2))
        self.assertIn(error.oldest, range(29, 60))

    async def test_all_peers_see_the_same_counts(self) -> None:
        """But for what waits in all channels together, which it does not count."""
        one, other = await self.peers(2, capacity=1)
        await one.send("channel", {})
        await self.refused(other.send("channel", {}), ChannelFull)
        for peer in (one, other):
            await self.expect(peer, None, messages_count=1, channel_full_count=1)
            await self.expect(
                peer, "channel", messages_count=1, channel_full_count=1, messages_pending=1
            )


class RedisLayersFaceKeepsTheContract(OverRedis, Asgi1FaceContract, TestCase):
    """What it can do is in L{Asgi1FaceContract}."""
