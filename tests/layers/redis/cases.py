"""Test cases on the Redis layer, beside the contract's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.testing.contract.case import LayerCase
from tests.layers.redis.proxies import Proxy
from tests.layers.redis.stores import StoresCase, has_heard
from tests.redis_servers import RedisServer


class RedisCase(StoresCase, LayerCase):
    """What these tests share."""

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[Any] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def said(self, text: str) -> bool:
        """Whether the log holds an event whose format has C{text}."""
        return any(text in (event.get("log_format") or "") for event in self.logged)

    async def layer(self, **config: Any) -> RedisChannelLayer:
        layer: Any = await super().layer(**config)
        return layer

    async def peer(self, layer: Any) -> RedisChannelLayer:
        other: Any = await super().peer(layer)
        return other

    async def eventually(self, condition: Any) -> None:
        """Wait until C{condition}, a plain function, is true."""

        async def holds() -> bool:
            return bool(condition())

        await self.until(holds)

    async def all_heard(self) -> None:
        """
        Wait until each layer has heard what its stores have said until now, and
        has the answer to what it asked then; however slow the machine.
        """
        for _ in range(2):
            for layer in self.living:
                await has_heard(layer)

    async def received(self, waiting: Deferred[Any]) -> list[Any]:
        """The messages of a receive."""
        return [dict(delivery.message) for delivery in await waiting]

    async def restart(self, server: RedisServer) -> None:
        """Kill a server, start it empty, and wait until all layers have put back what they know."""
        shards = [
            shard for layer in self.living for shard in layer._shards if self.reaches(shard, server)
        ]
        before = [shard._run_id for shard in shards]
        server.restart()
        await self.eventually(
            lambda: all(
                shard.greeted and shard._run_id != run_id and shard._bell.up
                for shard, run_id in zip(shards, before, strict=True)
            )
        )
        await self.pause()

    def reaches(self, shard: Any, server: RedisServer) -> bool:
        """Whether C{shard} is on C{server}."""
        return str(server.path) in shard.name

    def raw(self, *words: Any, server: int = 0) -> bytes:
        """What a server answers, in its protocol."""
        return self.servers[server].command(*words)


class BehindProxy(RedisCase):
    """The layer behind a proxy, which cuts connections as it is told."""

    async def behind_proxy(self, **config: Any) -> tuple[RedisChannelLayer, RedisChannelLayer]:
        """A layer that has begun to wait behind the proxy, and one beside it."""
        folder = tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        (server,) = self.servers
        assert server.path is not None
        self.proxy = Proxy(server.path, Path(folder.name) / "p")
        self.addCleanup(self.proxy.stop)
        # No sign of life shall be what is lost.
        beside = await self.layer(**{"reader_lease": 10_000, "owner_lease": 10_000, **config})
        self.config = {**self.config, "hosts": [self.proxy.url]}
        behind = await self.peer(beside)
        await behind.global_statistics()
        await self.pause()
        return behind, beside

    def reaches(self, shard: Any, server: RedisServer) -> bool:
        return True
