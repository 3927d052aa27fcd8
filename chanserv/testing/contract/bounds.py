"""How many messages a channel holds, and for how long."""

from __future__ import annotations

import re

from twisted.internet.defer import CancelledError, Deferred

from chanserv.errors import ChannelFull
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, GroupSend, Operation, Send
from chanserv.testing.contract.case import LayerCase


class Bounds(LayerCase):
    """Capacity and expiry."""

    async def fill(self, layer: IChannelLayer, channel: str, times: int) -> None:
        for number in range(times):
            await layer.send(channel, {"number": number})

    async def test_a_channel_holds_its_capacity_and_no_more(self) -> None:
        layer = await self.layer(capacity=3)
        for channel in ("ordinary", "single?x"):
            await self.fill(layer, channel, 3)
            await self.refused(layer.send(channel, {"number": 3}), ChannelFull)
            self.assertEqual(self.numbers(await self.read(layer, channel)), [0, 1, 2])

    async def test_a_channel_holds_100_messages_by_default(self) -> None:
        layer = await self.layer()
        await self.fill(layer, "channel", 100)
        error = await self.refused(layer.send("channel", {}), ChannelFull)
        self.assertEqual((error.depth, error.capacity), (100, 100))

    async def test_channel_full_names_channel_depth_capacity_and_the_oldest_age(self) -> None:
        layer = await self.layer(capacity=2, expiry=self.expiry)
        await layer.send("channel", {})
        await self.pass_time(self.expiry / 2)
        await layer.send("channel", {})
        error = await self.refused(layer.send("channel", {}), ChannelFull)
        self.assertEqual((error.channel, error.depth, error.capacity), ("channel", 2, 2))
        self.assertGreaterEqual(error.oldest, self.expiry / 2 - 0.01)
        self.assertLess(error.oldest, self.expiry)

    async def test_a_full_channel_leaves_others_their_room(self) -> None:
        layer = await self.layer(capacity=1)
        await layer.send("one", {})
        await layer.send("two", {})
        await self.refused(layer.send("one", {}), ChannelFull)
        self.assertEqual(len(await self.read(layer, "two")), 1)

    async def test_a_read_message_gives_its_room_back(self) -> None:
        layer = await self.layer(capacity=2)
        await self.fill(layer, "channel", 2)
        await self.take_one(layer, "channel")
        await layer.send("channel", {"number": 2})
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1, 2])

    async def test_a_full_channel_fails_its_part_of_a_batch_only(self) -> None:
        layer = await self.layer(capacity=2)
        errors = await layer.send_batch(
            [Send("one", {"number": n}) for n in range(3)] + [Send("two", {"number": 9})]
        )
        self.assertEqual([type(error) for error in errors[2:]], [ChannelFull, type(None)])
        self.assertEqual(errors[:2], [None, None])
        self.assertEqual(self.numbers(await self.read(layer, "two")), [9])

    async def test_a_batch_that_found_a_channel_full_sends_no_more_there(self) -> None:
        layer = await self.layer(capacity=1)
        await layer.group_add("group", "process!x")
        got: list[Delivery] = []

        async def make_room() -> None:
            while True:
                got.extend(await layer.receive(["channel"]))

        # All the while, so that a channel that was full has room again.
        reading = Deferred.fromCoroutine(make_room())
        operations: list[Operation] = []
        for number in range(20):
            operations.append(Send("channel", {"number": number}))
            if number % 2:
                operations.append(GroupSend("group", {}))
        answers = zip(operations, await layer.send_batch(operations), strict=True)
        errors = [error for operation, error in answers if isinstance(operation, Send)]
        sent = next((n for n, error in enumerate(errors) if error is not None), len(errors))
        self.assertEqual({type(error) for error in errors[sent:]} - {ChannelFull}, set())
        reading.cancel()
        await self.assertFailure(reading, CancelledError)
        got += await self.read(layer, "channel")
        self.assertEqual(sorted(self.numbers(got)), list(range(sent)))

    async def test_capacity_by_pattern_is_by_glob_or_regular_expression(self) -> None:
        rules = {"small.*": 1, re.compile(r"large\.\d+$"): 5}
        layer = await self.layer(capacity=3, channel_capacity=rules)
        for channel, capacity in (
            ("small.x", 1),
            ("small", 3),
            ("large.12", 5),
            ("large.x", 3),
            ("not.large.12", 3),
        ):
            await self.fill(layer, channel, capacity)
            error = await self.refused(layer.send(channel, {}), ChannelFull)
            self.assertEqual(error.capacity, capacity)

    async def test_the_first_pattern_that_matches_counts(self) -> None:
        layer = await self.layer(channel_capacity=[("a.b", 2), ("a.*", 1), ("a.c", 5)])
        for channel, capacity in (("a.b", 2), ("a.c", 1)):
            await self.fill(layer, channel, capacity)
            await self.refused(layer.send(channel, {}), ChannelFull)

    async def test_a_mailbox_is_full_as_a_whole_at_its_own_capacity(self) -> None:
        layer = await self.layer(capacity=2, mailbox_capacity=5)
        for number in range(5):
            await layer.send(f"process!{number}", {})
        error = await self.refused(layer.send("process!new", {}), ChannelFull)
        self.assertEqual((error.channel, error.capacity), ("process!", 5))

    async def test_patterns_match_mailboxes_too(self) -> None:
        layer = await self.layer(channel_capacity={"process!*": 1})
        await layer.send("process!a", {})
        await self.refused(layer.send("process!b", {}), ChannelFull)

    async def test_full_members_miss_a_group_message_and_others_do_not(self) -> None:
        layer = await self.layer(capacity=1)
        for channel in ("full", "free"):
            await layer.group_add("group", channel)
        await layer.send("full", {"number": 1})
        await layer.send_group("group", {"number": 2})
        (error,) = await layer.send_batch([GroupSend("group", {"number": 3})])
        self.assertIsNone(error)
        self.assertEqual(self.numbers(await self.read(layer, "full")), [1])
        self.assertEqual(self.numbers(await self.read(layer, "free")), [2])
        statistics = await layer.channel_statistics("full")
        self.assertEqual(statistics["channel_full_count"], 2)

    async def test_a_group_message_takes_the_room_of_one_in_a_mailbox(self) -> None:
        layer = await self.layer(mailbox_capacity=2)
        for number in range(10):
            await layer.group_add("group", f"process!{number}")
        await layer.send_group("group", {})
        await layer.send("process!x", {})
        await self.refused(layer.send("process!x", {}), ChannelFull)
        self.assertEqual(len(await self.read(layer, "process!")), 2)

    async def test_a_message_is_read_until_it_expires(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {"number": 1})
        await self.pass_time(self.expiry * 0.8)
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1])

    async def test_an_expired_message_is_read_by_nobody(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {"number": 1})
        await layer.send("process!x", {"number": 2})
        await self.pass_time(self.expiry * 0.75)
        await layer.send("channel", {"number": 3})
        await self.pass_time(self.expiry * 0.5)
        self.assertEqual(self.numbers(await self.read(layer, "channel", "process!")), [3])

    async def test_an_expired_message_gives_its_room_back(self) -> None:
        layer = await self.layer(expiry=self.expiry, capacity=2)
        await self.fill(layer, "channel", 2)
        await self.pass_time(self.expiry * 1.1)
        await self.fill(layer, "channel", 2)
        await self.refused(layer.send("channel", {}), ChannelFull)

    async def test_a_reader_may_wait_longer_than_messages_do(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        waiting = layer.receive(["channel"])
        await self.pass_time(self.expiry * 1.5)
        self.assertFalse(waiting.called)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])
