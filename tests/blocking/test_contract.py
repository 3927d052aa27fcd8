"""The private reactor's face keeps the contract, over stores outside of the process."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar, cast

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chanserv.interfaces import IBlockingChannelLayer, IChannelLayer
from chanserv.layers import make_layer
from chanserv.layers.blocking import LayerOfEachProcess
from chanserv.testing import BlockingLayerContract
from tests.redis_servers import RedisServer, redis_servers


class Shared(BlockingLayerContract):
    """
    One layer on the reactor that runs the tests, one on the private reactor; they share
    a store, as two processes do.
    """

    spec: Mapping[str, object]
    config: Mapping[str, Any]

    def entry(self) -> Mapping[str, object]:
        """An entry of C{CHANNEL_LAYERS} for a store that no other test has."""
        raise NotImplementedError

    async def make_layer(self, **config: Any) -> IChannelLayer:
        from twisted.internet import reactor

        self.spec, self.config = self.entry(), config
        layer = make_layer(self.spec, reactor, config)
        await layer.global_statistics()
        return layer

    def make_face(self, layer: IChannelLayer) -> IBlockingChannelLayer:
        face = LayerOfEachProcess(self.spec, self.config)
        self.addCleanup(deferToThread, face.close)
        return cast(IBlockingChannelLayer, face)

    async def test_it_is_that_of_the_private_reactor(self) -> None:
        _, face = await self.both()
        self.assertIsInstance(face, LayerOfEachProcess)
        await deferToThread(lambda: face.expiry)

    async def test_a_closed_layer_raises_for_who_calls_and_for_who_waits(self) -> None:
        """This face has a layer of its own: the end of another does not concern it."""
        layer, face = await self.both()
        await deferToThread(face.send, "channel", {"number": 1})
        await layer.close()
        channel, _ = await deferToThread(face.receive, ["channel", "other"])
        self.assertIn(channel, ("channel", None))
        await deferToThread(face.send, "channel", {"number": 1})


class OverIpc(Shared, TestCase):
    def entry(self) -> Mapping[str, object]:
        directory = tempfile.mkdtemp(prefix="ipc")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return {
            "BACKEND": "chanserv.layers.IPCChannelLayer",
            "CONFIG": {"prefix": "shared", "directory": directory},
        }


class OverRedis(Shared, TestCase):
    shards: ClassVar[int] = 1
    servers: ClassVar[Sequence[RedisServer]]
    _running: ClassVar[ExitStack]

    @classmethod
    def start_servers(cls) -> AbstractContextManager[Sequence[RedisServer]]:
        return redis_servers(cls.shards)

    @classmethod
    def setUpClass(cls) -> None:
        cls._running = ExitStack()
        cls.servers = cls._running.enter_context(cls.start_servers())

    @classmethod
    def tearDownClass(cls) -> None:
        cls._running.close()

    def entry(self) -> Mapping[str, object]:
        return {
            "BACKEND": "chanserv.layers.RedisChannelLayer",
            "CONFIG": {
                "hosts": [server.url for server in self.servers],
                "prefix": f"{secrets.token_hex(4)}:",
            },
        }


class OverThreeShards(OverRedis):
    shards = 3
