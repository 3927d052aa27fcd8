"""What the tests of the Redis layer share: layers on real servers, whose clock can be moved."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.layers.redis.shard import Shard
from tests.redis_servers import RedisServer, redis_servers


def the_reactor() -> Any:
    """The one that runs the tests."""
    from twisted.internet import reactor

    return reactor


STEP = 0.5
"""Seconds by which the clock is moved while the dead are to be found: far less than
what a store takes for an absence of everybody, since real time passes too."""


@contextmanager
def without_functions() -> Iterator[None]:
    """Have layers meet servers as if these were older than Redis 7."""
    with (
        patch("chanserv.layers.redis.calls.LIBRARY", b"no library"),
        patch("chanserv.layers.redis.calls.LIBRARY_NAME", "none"),
    ):
        yield


def cut(layer: RedisChannelLayer) -> None:
    """Let C{layer} vanish: no word to anyone, and nothing it could still do."""
    layer._closing = _never()
    for shard in layer._shards:
        shard._stopping = True
        shard.greeted = False
        for call in (shard._beating, shard._resting, shard._posts._turn):
            if call is not None:
                call.cancel()
        shard._beating = shard._resting = shard._posts._turn = None
        for connection in (shard._connection, shard._bell):
            connection.stop()
            if connection._link is not None:
                connection._link.abort("killed")


def _never() -> Any:
    from twisted.internet.defer import succeed

    return succeed(None)


async def has_heard(layer: RedisChannelLayer) -> None:
    """Wait until C{layer} has heard all that its stores have said until now."""
    for shard in layer._shards:
        try:
            await shard.reached()
            await shard._bell.call("PING")
        except LayerUnavailable:
            # Its server is gone: it says nothing.
            pass


class StoresCase(TestCase):
    """
    Tests on servers that all tests of a class share.

    @cvar shards: how many.
    """

    shards: ClassVar[int] = 1
    servers: ClassVar[Sequence[RedisServer]]
    _running: ClassVar[ExitStack]

    quiet = 0.2

    @classmethod
    def start_servers(cls) -> AbstractContextManager[Sequence[RedisServer]]:
        """What begins with the class and ends with it."""
        return redis_servers(cls.shards)

    @classmethod
    def setUpClass(cls) -> None:
        cls._running = ExitStack()
        cls.servers = cls._running.enter_context(cls.start_servers())

    @classmethod
    def tearDownClass(cls) -> None:
        cls._running.close()

    def setUp(self) -> None:
        self.offset = 0
        self.layers: list[RedisChannelLayer] = []
        self.config: dict[str, Any] = {}

    def options(self) -> dict[str, Any]:
        """How the servers are reached."""
        return {"hosts": [server.url for server in self.servers]}

    def make_layer(self, **config: Any) -> RedisChannelLayer:
        self.config = {**self.options(), "prefix": f"{secrets.token_hex(4)}:", **config}
        return self.make_peer()

    def make_peer(self, layer: Any = None) -> RedisChannelLayer:
        case = self

        class MovableLayer(RedisChannelLayer):
            def clock_offset(self) -> int:
                return case.offset

        made = MovableLayer.for_reactor(the_reactor(), **self.config)
        self.layers.append(made)
        return made

    @property
    def living(self) -> list[RedisChannelLayer]:
        """The layers that have begun, and have not been closed."""
        return [one for one in self.layers if one._started and one._closing is None]

    def shard_list(self) -> list[Shard]:
        return [shard for layer in self.living for shard in layer._shards if shard.greeted]

    async def advance(self, seconds: float) -> None:
        """Let time pass by the servers' clocks; and the next signs of life come now."""
        self.offset += round(seconds * 1000)
        for shard in self.shard_list():
            await shard.beat()

    async def outlast(
        self, silent: Any, by: Sequence[RedisChannelLayer], kind: str = "owners"
    ) -> None:
        """
        Let time pass, in steps, until the stores have ended a layer that gives
        no sign of life.

        @param by: those that give theirs with each step.
        @param kind: as what it ends: of the C{owners}, or of those C{alive}.
        """
        for layer in by:
            # Each has begun.
            layer.new_channel("process!")
        shards = [shard for layer in by for shard in layer._shards]
        key = f"{silent._space.prefix}{kind}"
        while True:
            self.offset += round(STEP * 1000)
            known = []
            for shard in shards:
                if shard.greeted:
                    await shard.beat()
                    known.append(await shard.call("ZSCORE", key, silent.process))
            if known and not any(known):
                return
            # A turn of the reactor, for those that are not there yet.
            await deferLater(the_reactor(), 0, lambda: None)

    async def kill_peer(self, peer: Any) -> None:
        await has_heard(peer)
        cut(peer)
        prefix = peer._space.prefix
        others = [layer for layer in self.living if layer._space.prefix == prefix]
        # Where there are none, whoever comes will find it dead.
        if others:
            await self.outlast(peer, others)

    async def pause(self) -> None:
        """Wait until nothing is under way, however long that takes."""
        quiet = 0
        while quiet < 2:
            await gatherResults([_deferred(has_heard(layer)) for layer in self.living])
            # Where a server is away, there is nothing to wait for but a turn.
            await deferLater(the_reactor(), 0, lambda: None)
            idle = all(layer._receiving.idle() for layer in self.living)
            quiet = quiet + 1 if idle else 0


def _deferred(coroutine: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)
