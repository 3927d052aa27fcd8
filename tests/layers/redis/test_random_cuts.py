"""Connections that break at random, while many send, take, cancel and settle."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from chanserv.errors import LayerUnavailable
from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.layers.redis.limits import Limits
from chanserv.messages import Delivery, Outcome, Send
from tests.layers.redis.cases import RedisCase
from tests.layers.redis.proxies import Proxy
from tests.layers.redis.stores import the_reactor

SHARED = ("jobs", "mail", "body?x")
SOON = Limits(longest_back_off=0.02)
"""Connections that break this often would else be longer and longer away."""

BATCHES = 60
"""What each process sends, of one to four messages."""


class RandomCuts(RedisCase):
    """
    Three processes, two of them behind proxies that cut their connections or lose
    answers.  Nobody dies, and nothing expires: so of each message that was sent,
    its sender must hear what became of it.
    """

    timeout = 240

    async def test_every_message_is_handed_out_once_or_known_to_be_lost(self) -> None:
        for seed in range(3):
            await self.run_with(Random(seed))

    async def run_with(self, random: Random) -> None:
        self.random = random
        # What its sender has heard of each message, by its name; how often it has been
        # handed out; what its receipts said; and the numbers of those for one reader.
        self.fates: dict[str, str] = {}
        self.handed: Counter[str] = Counter()
        self.receipts: dict[str, list[str]] = defaultdict(list)
        self.in_order: dict[int, list[int]] = defaultdict(list)
        layers = await self.processes()
        readers = [
            self.goes_on(self.reads(index, layer, kind))
            for index, layer in enumerate(layers)
            for kind in (self.shared, self.alone, self.mailbox)
        ]
        await gatherResults(
            [self.goes_on(self.sends(index, layer)) for index, layer in enumerate(layers)]
        )
        for proxy in self.proxies:
            proxy.loses_next_answer = False
        # The others may all wait for something else.
        readers.append(self.goes_on(self.reads(0, layers[0], self.rest)))
        await self.eventually(self.all_is_known)
        await self.pause()
        self.check((await layers[0].global_statistics())["messages_pending"])
        await gatherResults([layer.close() for layer in layers])
        await gatherResults(readers)

    async def processes(self) -> list[RedisChannelLayer]:
        folder = tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        (server,) = self.servers
        assert server.path is not None
        beside = await self.layer(
            reader_lease=100_000, owner_lease=100_000, expiry=100_000, capacity=10_000
        )
        self.proxies: list[Proxy] = []
        behind = []
        for index in range(2):
            proxy = Proxy(server.path, Path(folder.name) / str(index))
            self.addCleanup(proxy.stop)
            self.proxies.append(proxy)
            self.config = {**self.config, "hosts": [proxy.url]}
            behind.append(await self.peer(beside))
            for connection in (behind[-1]._shards[0]._connection, behind[-1]._shards[0]._bell):
                connection._limits = SOON
        return [beside, *behind]

    def goes_on(self, work: Any) -> Deferred[Any]:
        done = Deferred.fromCoroutine(work)
        # A fault here would else show as a test that takes too long.
        done.addErrback(lambda failure: self.fates.update(fault=repr(failure)) or failure)
        return done

    # What each process does

    async def sends(self, index: int, layer: RedisChannelLayer) -> None:
        (shard,) = layer._shards
        number = 0
        for _ in range(BATCHES):
            await self.eventually(lambda: shard.greeted)
            batch: dict[str, Send] = {}
            for _ in range(self.random.randint(1, 4)):
                number += 1
                name = f"{index}-{number}"
                channel = self.random.choice([*SHARED, f"alone{index}"])
                message = {"name": name, "number": number}
                batch[name] = Send(channel, message, f"process{index}!{name}")
            for name, error in zip(
                batch, await layer.send_batch(list(batch.values())), strict=True
            ):
                self.fates[name] = "sent" if error is None else type(error).__name__
            if self.random.random() < 0.2:
                self.cut(self.random.choice(self.proxies))
            await deferLater(the_reactor(), self.random.choice([0, 0, 0.01]))

    def cut(self, proxy: Proxy) -> None:
        if self.random.random() < 0.5:
            proxy.loses_next_answer = True
        else:
            proxy.cut()

    async def reads(self, index: int, layer: RedisChannelLayer, kind: Any) -> None:
        while layer._closing is None:
            try:
                await kind(index, layer)
            except CancelledError:
                pass
            except LayerUnavailable:
                await deferLater(the_reactor(), 0.01)

    async def shared(self, index: int, layer: RedisChannelLayer) -> None:
        """Read some of what all processes read."""
        channels = self.random.sample(SHARED, self.random.randint(1, 3))
        for delivery in await self.now_and_then(layer.receive(channels, self.limit())):
            self.handed[delivery.message["name"]] += 1
            self.settle(delivery)

    async def rest(self, index: int, layer: RedisChannelLayer) -> None:
        """Read whatever of that nobody has read."""
        for delivery in await layer.receive(SHARED):
            self.handed[delivery.message["name"]] += 1
            delivery.settle()

    async def alone(self, index: int, layer: RedisChannelLayer) -> None:
        """Read what nobody else reads, for which there is an order."""
        for delivery in await self.now_and_then(layer.receive([f"alone{index}"], self.limit())):
            self.handed[delivery.message["name"]] += 1
            self.in_order[index].append(delivery.message["number"])
            self.settle(delivery)

    async def mailbox(self, index: int, layer: RedisChannelLayer) -> None:
        for delivery in await layer.receive([f"process{index}!"], self.limit()):
            self.receipts[delivery.channel.partition("!")[2]].append(delivery.message["receipt"])

    def limit(self) -> int:
        return self.random.choice([1, 2, 100])

    def now_and_then(self, waiting: Deferred[list[Delivery]]) -> Deferred[list[Delivery]]:
        """Cancel some after a while."""
        if self.random.random() < 0.4:
            after = self.random.choice([0, 0.001, 0.02])
            the_reactor().callLater(after, waiting.cancel)
        return waiting

    def settle(self, delivery: Delivery) -> None:
        lost = self.random.random() < 0.05
        delivery.settle(Outcome.LOST if lost else Outcome.SETTLED)

    # What must have come of it

    def all_is_known(self) -> bool:
        return "fault" in self.fates or all(
            self.receipts[name] for name, fate in self.fates.items() if fate == "sent"
        )

    def check(self, pending: int) -> None:
        self.assertNotIn("fault", self.fates)
        wrong = {}
        for name, fate in self.fates.items():
            handed, told = self.handed[name], self.receipts[name]
            if fate == "sent":
                right = told in (["settled"], ["lost"]) and (handed == 1 or told == ["lost"])
            else:
                # Nobody knows whether it has been sent; but what became of it, then.
                self.assertEqual(fate, "LayerUnavailable")
                right = handed <= 1 and len(told) <= 1 and (told != [] or not handed)
            if not right or handed > 1:
                wrong[name] = (fate, handed, told)
        self.assertEqual(wrong, {})
        for numbers in self.in_order.values():
            self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(pending, 0)
        self.assertGreater(list(self.fates.values()).count("sent"), BATCHES)
