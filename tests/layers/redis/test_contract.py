"""The Redis layer keeps the contract, on servers of each kind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from chanserv.messages import Send
from chanserv.testing import ChannelLayerContract
from chanserv.testing.contract.leases import End
from tests.certificates import make_certificates
from tests.layers.redis.stores import StoresCase, without_functions
from tests.redis_servers import RedisServer, redis_server


class OneShardKeepsTheContract(StoresCase, ChannelLayerContract):
    shards = 1


class ThreeShardsKeepTheContract(StoresCase, ChannelLayerContract):
    shards = 3

    async def redelivered_after(self, end: End) -> None:
        """
        As in the contract, but that all ask for a receipt: those who do not may
        lie on another shard, in an order of their own.
        """
        layer, reader, other = await self.settling_peers(3, redeliver=["channel*"])
        sent = [Send("channel.x", {"number": n}, f"process!{n}") for n in range(6)]
        await layer.send_batch(sent)
        taken = await self.take_all(reader, 4, "channel.x")
        taken[1].settle()
        self.assertEqual(await self.receipts(layer, 1), [("process!1", "settled")])
        await end(reader)
        got = await self.take_all(other, 5, "channel.x")
        self.assertEqual(self.numbers(got), [0, 2, 3, 4, 5])
        for delivery in (*taken, *got):
            delivery.settle()
        self.assertEqual(
            await self.receipts(layer, 5), [(f"process!{n}", "settled") for n in (0, 2, 3, 4, 5)]
        )
        self.assertEqual(await self.read(layer, "process!", "channel.x"), [])
        statistics = await layer.global_statistics()
        self.assertEqual(statistics["messages_lost_count"], 0)


RIGHTS = "-@all +@read +@write +@pubsub +@scripting +@connection -@dangerous +time"
"""What a user must be allowed; "+info" besides lets it tell the runs of a server apart."""


class AnEncryptedLayerOverTlsForALimitedUserKeepsTheContract(StoresCase, ChannelLayerContract):
    """A verified connection, a user with few rights, secret names and bodies."""

    @classmethod
    @contextmanager
    def start_servers(cls) -> Iterator[Sequence[RedisServer]]:
        user = f"worker on >secret ~keys:* &keys:* {RIGHTS}"
        with tempfile.TemporaryDirectory() as folder:
            certificates = make_certificates(Path(folder))
            with redis_server(tls=certificates, users=[user, "default off"]) as server:
                cls.certificates = certificates
                yield [server]

    certificates: ClassVar[Any]

    def options(self) -> dict[str, Any]:
        (server,) = self.servers
        url = f"rediss://worker:secret@127.0.0.1:{server.port}/0?ca_certs={self.certificates.ca}"
        return {"hosts": [url], "symmetric_encryption_keys": ["new secret", "old secret"]}

    def make_layer(self, **config: Any) -> Any:
        return super().make_layer(**{"prefix": f"keys:{id(self)}:{len(self.layers)}:", **config})


class WithoutHiredisAndFunctionsTheLayerKeepsTheContract(StoresCase, ChannelLayerContract):
    """As with a server before Redis 7, and without the parser in C."""

    def setUp(self) -> None:
        super().setUp()
        stack = ExitStack()
        stack.enter_context(patch("chanserv.layers.redis.links.hiredis", None))
        stack.enter_context(without_functions())
        self.addCleanup(stack.close)

    async def test_it_calls_scripts(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {})
        self.assertFalse(self.layers[0]._shards[0]._calls.by_functions)
