"""The contract suite for two layers as one, where it is not quite what one layer keeps."""

from __future__ import annotations

from typing import Any

from chanserv.errors import ChannelFull
from chanserv.messages import Send
from chanserv.testing import ChannelLayerContract
from chanserv.testing.contract.case import ENOUGH

SETTLED = {"receipt": "settled"}


class SplitContract(ChannelLayerContract):
    """See L{ChannelLayerContract}."""

    async def test_full_members_miss_a_group_message_and_others_do_not(self) -> None:
        """A group's message comes over the side with the groups, and finds its room there."""
        layer = await self.layer(capacity=1)
        for channel in ("full", "free"):
            await layer.group_add("group", channel)
        await layer.send("full", {"number": 1})
        for number in (2, 3):
            await layer.send_group("group", {"number": number})
        self.assertEqual(sorted(self.numbers(await self.read(layer, "full"))), [1, 2])
        self.assertEqual(self.numbers(await self.read(layer, "free")), [2])
        statistics = await layer.channel_statistics("full")
        self.assertEqual(statistics["channel_full_count"], 1)


class DistantSplitContract(SplitContract):
    """
    For sides that are as far away as any: a receipt and what was sent before it
    travel apart, and either may be the first to arrive.
    """

    async def read_sorted(self, layer: Any, channel: str) -> list[Any]:
        return sorted(await self.read_messages(layer, channel), key=str)

    async def test_the_receipt_of_a_batch_follows_what_the_batch_sent(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        await layer.send_batch([Send("process!x", {"number": 1})], [delivery])
        self.assertEqual(await self.read_sorted(layer, "process!"), [{"number": 1}, SETTLED])

    async def test_a_receipt_follows_the_replies_of_its_batch_to_another_peer(self) -> None:
        """The replies among themselves are in order."""
        one, other = await self.peers(2)
        for number in range(5):
            await one.send("channel", {}, "process!x")
            delivery = await self.take_one(other, "channel")
            replies = [Send("process!x", {"number": number, "part": part}) for part in range(3)]
            await other.send_batch(replies, [delivery])
            got: list[Any] = []
            while len(got) < 4:
                got += [dict(one.message) for one in await one.receive(["process!"], ENOUGH)]
            self.assertEqual(got.count(SETTLED), 1)
            got.remove(SETTLED)
            self.assertEqual(got, [reply.message for reply in replies])

    async def test_a_receipt_finds_room_on_a_full_channel(self) -> None:
        layer = await self.layer(mailbox_capacity=1, capacity=1)
        await layer.send("process!x", {"number": 1})
        await layer.send("channel", {}, "process!x")
        (await self.take_one(layer, "channel")).settle()
        await self.refused(layer.send("process!x", {}), ChannelFull)
        self.assertEqual(await self.read_sorted(layer, "process!"), [{"number": 1}, SETTLED])
