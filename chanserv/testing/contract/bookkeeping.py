"""Statistics, flush, and the end of a layer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from chanserv.errors import ChannelFull, LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Send
from chanserv.testing.contract.case import LayerCase

NAMES = {
    "messages_count",
    "channel_full_count",
    "messages_expired_count",
    "messages_lost_count",
    "messages_pending",
    "messages_max_age",
}


class Bookkeeping(LayerCase):
    """What a layer counts, forgets and lets go of."""

    async def test_statistics_have_their_names_and_begin_at_zero(self) -> None:
        layer = await self.layer()
        for statistics in (
            await layer.global_statistics(),
            await layer.channel_statistics("channel"),
            await layer.channel_statistics("process!x"),
        ):
            self.assertLessEqual(NAMES, set(statistics))
            self.assertEqual({statistics[name] for name in NAMES}, {0})

    async def test_messages_are_counted_as_they_are_sent(self) -> None:
        layer = await self.layer()
        await layer.send_batch([Send("one", {}) for _ in range(3)] + [Send("two", {})])
        await self.take_one(layer, "one")
        await self.expect(layer, None, messages_count=4, messages_pending=3)
        await self.expect(layer, "one", messages_count=3, messages_pending=2)
        await self.expect(layer, "two", messages_count=1, messages_pending=1)

    async def test_a_process_specific_channel_is_counted_by_its_mailbox(self) -> None:
        layer = await self.layer()
        await layer.send("process!a", {})
        await layer.send("process!b", {})
        for name in ("process!", "process!a"):
            await self.expect(layer, name, messages_count=2, messages_pending=2)

    async def test_full_channels_are_counted(self) -> None:
        layer = await self.layer(capacity=1)
        await layer.send("channel", {})
        for _ in range(2):
            await self.refused(layer.send("channel", {}), ChannelFull)
        await self.expect(layer, None, messages_count=1, channel_full_count=2)
        await self.expect(layer, "channel", messages_count=1, channel_full_count=2)

    async def test_expired_messages_are_counted(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {})
        await layer.send("channel", {})
        await layer.send("other", {})
        await self.take_one(layer, "other")
        await self.pass_time(self.expiry * 1.1)
        await self.expect(layer, "channel", messages_expired_count=2, messages_pending=0)
        await self.expect(layer, None, messages_expired_count=2, messages_pending=0)

    async def test_the_age_of_the_oldest_message_is_told_in_seconds(self) -> None:
        layer = await self.layer(expiry=self.expiry * 4)
        await layer.send("old", {})
        await self.pass_time(self.expiry)
        await layer.send("new", {})
        age = int(self.expiry)
        for name in (None, "old"):
            statistics = await self.statistics(layer, name)
            self.assertIn(statistics["messages_max_age"], (age, age + 1))
        await self.take_one(layer, "old")
        await self.expect(layer, "new", messages_max_age=0)
        await self.expect(layer, None, messages_max_age=0)

    async def test_flush_forgets_messages_groups_and_counts(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {})
        await layer.send("process!x", {}, "process!y")
        await layer.group_add("group", "process!x")
        await layer.flush()
        self.assertEqual(await layer.group_channels("group"), [])
        await layer.send_group("group", {})
        await self.expect(layer, None, messages_count=0, messages_pending=0)
        self.assertEqual(await self.read(layer, "channel", "process!"), [])

    async def test_flush_leaves_a_reader_waiting(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"])
        await layer.flush()
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_a_flushed_layer_is_as_good_as_new(self) -> None:
        layer = await self.layer(capacity=1)
        await layer.send("channel", {})
        await layer.group_add("group", "channel")
        await layer.flush()
        await layer.send("channel", {"number": 1})
        await layer.group_add("group", "process!x")
        await layer.send_group("group", {"number": 2})
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1])
        self.assertEqual(self.numbers(await self.read(layer, "process!")), [2])

    async def test_close_fails_who_waits(self) -> None:
        layer = await self.layer()
        waiting = [layer.receive(["channel"]), layer.receive(["other", "process!"], 10)]
        await layer.close()
        for one in waiting:
            await self.refused(one, LayerUnavailable)

    async def test_a_closed_layer_fails_every_call(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {})
        await layer.close()
        attempts: list[Deferred[Any]] = [
            layer.send("channel", {}),
            layer.receive(["channel"]),
            layer.new_channel("process!"),
            layer.group_add("group", "channel"),
            layer.group_discard("group", "channel"),
            layer.group_channels("group"),
            layer.send_group("group", {}),
            layer.flush(),
            layer.global_statistics(),
            layer.channel_statistics("channel"),
        ]
        for attempt in attempts:
            await self.refused(attempt, LayerUnavailable)

    async def test_a_batch_on_a_closed_layer_fails_whole_or_in_each_part(self) -> None:
        layer = await self.layer()
        await layer.close()
        try:
            errors = await layer.send_batch([Send("channel", {}), Send("other", {})])
        except LayerUnavailable:
            return
        self.assertEqual([type(error) for error in errors], [LayerUnavailable] * 2)

    async def test_a_layer_may_be_closed_twice(self) -> None:
        layer = await self.layer()
        await layer.close()
        await layer.close()

    async def test_what_was_received_can_be_settled_after_close(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        await layer.close()
        delivery.settle()
        await self.refused(layer.receive(["process!"]), LayerUnavailable)

    # For these tests

    async def statistics(self, layer: IChannelLayer, name: str | None) -> Any:
        if name is None:
            return await layer.global_statistics()
        return await layer.channel_statistics(name)

    async def expect(self, layer: IChannelLayer, name: str | None, **expected: int) -> None:
        statistics = await self.statistics(layer, name)
        self.assertEqual({key: statistics[key] for key in expected}, expected)
