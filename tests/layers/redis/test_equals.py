"""The Redis layer and the memory layer, given the same to do, do the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from chanserv.errors import ChannelFull, ChannelLayerError
from chanserv.layers import MemoryChannelLayer
from chanserv.messages import Delivery, Forget, GroupSend, Operation, Outcome, Send
from chanserv.testing.contract.bookkeeping import NAMES
from chanserv.testing.contract.case import LayerCase
from tests.layers.redis.stores import StoresCase

CHANNELS = ("jobs", "mail", "again", "body?x", "one!a", "one!b", "two!a", "two!b")
MAILBOXES = ("jobs", "mail", "again", "body?x", "one!", "two!")
GROUPS = ("red", "green", "blue")
STEPS = 250


class EqualLayers(StoresCase, LayerCase):
    """
    Steps drawn at random, each done on both.

    A receive names one mailbox, since which of several comes first is for each
    layer to choose.
    """

    async def test_both_give_the_same_deliveries_receipts_and_counts(self) -> None:
        for seed in range(4):
            self.random = Random(seed)
            await self.compare()

    async def compare(self) -> None:
        config: dict[str, Any] = {
            "expiry": 60,
            # An owner looks at who is due when it takes a message, memory when one is sent.
            "group_expiry": 1_000_000,
            "capacity": 4,
            "mailbox_capacity": 6,
            "redeliver": ["again"],
        }
        self.redis: Any = await self.layer(**config)
        self.clock = Clock()
        self.memory = MemoryChannelLayer(clock=self.clock, **config)
        self.taken: list[tuple[Delivery, Delivery]] = []
        steps: list[Callable[[], Awaitable[None]]] = [
            *[self.send] * 8,
            *[self.batch] * 3,
            *[self.take] * 6,
            *[self.settle] * 4,
            *[self.change] * 4,
            self.cancel,
            self.pass_some_time,
        ]
        for number in range(STEPS):
            step = self.random.choice(steps)
            try:
                await step()
                if number % 10 == 0:
                    await self.same_counts()
            except Exception as error:
                error.add_note(f"step {number}: {step.__name__}")
                raise
        await self.same_counts()
        await self.redis.close()

    async def both(self, act: Callable[[Any], Any]) -> tuple[Any, Any]:
        """What an operation comes to on each, errors too."""
        results = []
        for layer in (self.redis, self.memory):
            try:
                results.append(await act(layer))
            except ChannelLayerError as error:
                results.append(error)
        return results[0], results[1]

    def same_error(self, one: Any, other: Any) -> None:
        self.assertIs(type(one), type(other))
        if isinstance(one, ChannelFull):
            self.assertEqual(
                (one.channel, one.depth, one.capacity), (other.channel, other.depth, other.capacity)
            )

    # Steps

    def drawn(self) -> Operation:
        kind = self.random.random()
        message = {"number": self.random.randrange(1000)}
        if kind < 0.6:
            receipt = self.random.choice((None, None, "two!r", "body?x"))
            return Send(self.random.choice(CHANNELS), message, receipt)
        if kind < 0.9:
            return GroupSend(self.random.choice(GROUPS), message)
        return Forget(self.random.choice(CHANNELS))

    async def send(self) -> None:
        sent = Send(self.random.choice(CHANNELS), {"number": self.random.randrange(1000)})
        self.same_error(*await self.both(lambda layer: layer.send(sent.channel, sent.message)))

    async def batch(self) -> None:
        operations = [self.drawn() for _ in range(self.random.randrange(1, 8))]
        settled = [self.taken.pop() for _ in range(min(len(self.taken), self.random.randrange(3)))]
        redis = await self.redis.send_batch(operations, [one for one, _ in settled])
        memory = await self.memory.send_batch(operations, [other for _, other in settled])
        for one, other in zip(redis, memory, strict=True):
            self.same_error(one, other)

    async def take(self) -> None:
        mailbox = self.random.choice(MAILBOXES)
        limit = self.random.randrange(1, 6)
        redis = await self.redis.receive_now([mailbox], limit)
        waiting = self.memory.receive([mailbox], limit)
        memory = await self.now(waiting)
        self.assertEqual(
            [(sorted(one.recipients), dict(one.message)) for one in redis],
            [(sorted(one.recipients), dict(one.message)) for one in memory],
        )
        pairs = list(zip(redis, memory, strict=True))
        self.taken += pairs
        self.random.shuffle(self.taken)

    async def now(self, waiting: Deferred[list[Delivery]]) -> list[Delivery]:
        if not waiting.called:
            waiting.cancel()
        try:
            return await waiting
        except CancelledError:
            return []

    async def settle(self) -> None:
        if self.taken:
            one, other = self.taken.pop()
            outcome = self.random.choice(list(Outcome))
            one.settle(outcome)
            other.settle(outcome)

    async def change(self) -> None:
        group, channel = self.random.choice(GROUPS), self.random.choice(CHANNELS)
        if self.random.random() < 0.7:
            await self.both(lambda layer: layer.group_add(group, channel))
        else:
            await self.both(lambda layer: layer.group_discard(group, channel))
        redis, memory = await self.both(lambda layer: layer.group_channels(group))
        self.assertEqual(sorted(redis), sorted(memory))

    async def cancel(self) -> None:
        """A receive that may have taken something when it is cancelled."""
        mailbox = self.random.choice(MAILBOXES)
        waiting = self.redis.receive([mailbox], 3)
        waiting.cancel()
        await self.now(waiting)
        await self.pause()

    async def pass_some_time(self) -> None:
        seconds = self.random.choice((10, 40, 70, 200))
        # What has been asked for is done before.
        await self.same_counts()
        self.clock.advance(seconds)
        await self.advance(seconds)

    async def same_counts(self) -> None:
        await self.pause()
        for mailbox in (None, *MAILBOXES):
            redis, memory = await self.both(
                lambda layer, mailbox=mailbox: (
                    layer.global_statistics()
                    if mailbox is None
                    else layer.channel_statistics(mailbox)
                )
            )
            # Ages are told in whole seconds, and one of the clocks runs.
            ages = [dict(one).pop("messages_max_age") for one in (redis, memory)]
            self.assertLessEqual(abs(ages[0] - ages[1]), 30, mailbox)
            # What follows in a batch on a channel that was full is counted by one only.
            self.assertGreaterEqual(redis["channel_full_count"], memory["channel_full_count"])
            for name in NAMES - {"messages_max_age", "channel_full_count"}:
                self.assertEqual(redis[name], memory[name], (mailbox, name))
