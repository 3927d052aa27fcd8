"""asgi_ipc behind the adapter, over shared memory: in a process of its own, see folder.py."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import asgi_ipc
import asgi_ipc.core
import asgi_ipc.store
import posix_ipc
import pytest
from twisted.trial.unittest import TestCase

from chanserv.errors import ChannelFull
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from tests.layers.asgi1_case import Asgi1Contract, Asgi1FaceContract

MEMORY = 8 * 1024 * 1024
"""Bytes of shared memory: enough for the largest message of the suite."""


class Time:
    """What the layer takes for the C{time} module."""

    def __init__(self) -> None:
        self.now = 1_500_000_000.0

    def time(self) -> float:
        return self.now


class OverSharedMemory:
    """Makes the layer."""

    time: Time

    @pytest.fixture(autouse=True)
    def _their_memory(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.time = Time()
        self.prefix = f"test-{secrets.token_hex(6)}"
        monkeypatch.setattr(asgi_ipc.core, "time", self.time)
        monkeypatch.setattr(asgi_ipc.store, "time", self.time)
        yield
        for part in ("messages", "groups"):
            for unlink in (posix_ipc.unlink_shared_memory, posix_ipc.unlink_semaphore):
                try:
                    unlink(f"{self.prefix}-{part}")
                except posix_ipc.ExistentialError:
                    # This test has made no layer.
                    pass

    def make_layer(self, **config: Any) -> Asgi1ChannelLayer:
        config.pop("redeliver", None)
        mailbox_capacity = config.pop("mailbox_capacity", None)
        config["channel_capacity"] = dict(config.pop("channel_capacity", None) or {})
        if mailbox_capacity is not None:
            config["channel_capacity"]["*!"] = mailbox_capacity
        config.setdefault("capacity", 100)
        self.ours = {key: config.pop(key) for key in ("max_message_size",) if key in config}
        self.config = config
        return self.make_peer(None)

    def make_peer(self, layer: Any) -> Asgi1ChannelLayer:
        from twisted.internet import reactor

        original = asgi_ipc.IPCChannelLayer(
            prefix=self.prefix, message_memory=MEMORY, group_memory=MEMORY, **self.config
        )
        return Asgi1ChannelLayer(original, reactor, **self.ours)

    def advance(self, seconds: float) -> None:
        self.time.now += seconds


class IPCLayerKeepsTheContract(OverSharedMemory, Asgi1Contract, TestCase):
    async def test_all_peers_see_the_same_counts(self) -> None:
        """It has no statistics: each process counts what it sends, no more."""
        one, other = await self.peers(2, capacity=1)
        await one.send("channel", {})
        await self.refused(other.send("channel", {}), ChannelFull)
        await self.expect(one, "channel", messages_count=1, channel_full_count=0)
        await self.expect(other, "channel", messages_count=0, channel_full_count=1)


class IPCLayersFaceKeepsTheContract(OverSharedMemory, Asgi1FaceContract, TestCase):
    """What it can do is in L{Asgi1FaceContract}."""
