"""
Several processes on one store: what one does, the others see.

These tests need two layers on one store, C{make_peer}; a layer that lives
within one process skips them.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, gatherResults

from chanserv.errors import ChannelFull
from chanserv.messages import Forget, Send
from chanserv.testing.contract.case import ENOUGH, LayerCase


class Peers(LayerCase):
    """Queues, groups, receipts and counts that belong to no single process."""

    async def test_what_one_peer_sends_another_reads_in_order(self) -> None:
        one, other = await self.peers(2)
        for number in range(10):
            await one.send("channel", {"number": number})
        self.assertEqual(self.numbers(await self.read(other, "channel")), list(range(10)))

    async def test_a_peer_that_waits_gets_what_another_sends(self) -> None:
        peers = await self.peers(3)
        for reader in peers:
            for sender in peers:
                waiting = reader.receive(["channel", "process!"])
                await sender.send("process!x", {"number": 1})
                self.assertEqual(self.numbers(await waiting), [1])

    async def test_each_message_reaches_one_of_the_peers_that_wait(self) -> None:
        one, other, sender = await self.peers(3)
        got: list[int] = []
        for start in range(0, 20, 2):
            waiting = [one.receive(["channel"]), other.receive(["channel"])]
            await self.pause()
            await gatherResults(
                [sender.send("channel", {"number": start + step}) for step in range(2)]
            )
            for deliveries in await gatherResults(waiting):
                got += self.numbers(deliveries)
        self.assertEqual(sorted(got), list(range(20)))
        self.assertEqual(await self.read(one, "channel"), [])

    async def test_a_message_does_not_wait_for_a_peer_that_no_longer_does(self) -> None:
        one, other = await self.peers(2)
        cancelled = one.receive(["channel"])
        await self.pause()
        waiting = other.receive(["channel"])
        await self.pause()
        cancelled.cancel()
        await self.assertFailure(cancelled, CancelledError)
        for number in range(3):
            await one.send("channel", {"number": number})
            self.assertEqual(self.numbers(await waiting), [number])
            waiting = other.receive(["channel"])
        self.leave(waiting)
        waiting.cancel()

    async def test_peers_with_different_channels_share_those_they_both_read(self) -> None:
        one, other, sender = await self.peers(3)
        both = [one.receive(["shared", "first"]), other.receive(["second", "shared"])]
        await self.pause()
        await sender.send("shared", {"number": 1})
        await sender.send("shared", {"number": 2})
        got = [number for found in await gatherResults(both) for number in self.numbers(found)]
        self.assertEqual(sorted(got), [1, 2])

    async def test_a_channel_is_full_for_all_peers(self) -> None:
        one, other = await self.peers(2, capacity=2)
        await one.send("channel", {"number": 1})
        await other.send("channel", {"number": 2})
        for sender in (one, other):
            full = await self.refused(sender.send("channel", {}), ChannelFull)
            self.assertEqual((full.depth, full.capacity), (2, 2))
        self.assertEqual(self.numbers(await self.read(other, "channel")), [1, 2])

    async def test_no_two_peers_make_up_the_same_channel(self) -> None:
        peers = await self.peers(3)
        made = [await peer.new_channel("process!") for peer in peers * 10]
        self.assertEqual(len(set(made)), 30)

    # Groups

    async def test_a_group_message_of_one_peer_reaches_members_that_another_added(self) -> None:
        owner, adder, sender = await self.peers(3)
        waiting = owner.receive(["process!"], ENOUGH)
        for number in range(3):
            await adder.group_add("group", f"process!{number}")
        await sender.send_group("group", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(set(delivery.recipients), {f"process!{number}" for number in range(3)})
        self.assertEqual(delivery.message, {"number": 1})

    async def test_a_group_message_reaches_each_peer_once_for_its_own_members(self) -> None:
        peers = await self.peers(3)
        waiting = [peer.receive([f"process{index}!"], ENOUGH) for index, peer in enumerate(peers)]
        for index, peer in enumerate(peers):
            for number in range(4):
                await peer.group_add("group", f"process{index}!{number}")
        await peers[0].send_group("group", {})
        for index, deliveries in enumerate(await gatherResults(waiting)):
            (delivery,) = deliveries
            self.assertEqual(
                set(delivery.recipients), {f"process{index}!{number}" for number in range(4)}
            )
            self.assertEqual(await self.read(peers[index], f"process{index}!"), [])

    async def test_all_peers_list_the_same_members(self) -> None:
        peers = await self.peers(3)
        members = {"ordinary", "process!x", "other!y"}
        for peer, channel in zip(peers, members, strict=True):
            await peer.group_add("group", channel)
        for peer in peers:
            self.assertEqual(set(await peer.group_channels("group")), members)

    async def test_a_membership_ends_whichever_peer_ends_it(self) -> None:
        owner, adder, ender = await self.peers(3)
        waiting = owner.receive(["process!"], ENOUGH)
        for channel in ("process!stays", "process!discarded", "process!forgotten"):
            await adder.group_add("group", channel)
        await ender.group_discard("group", "process!discarded")
        await ender.send_batch([Forget("process!forgotten")])
        await adder.send_group("group", {})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!stays",))

    async def test_a_membership_is_known_where_its_adder_told_of_it(self) -> None:
        owner, adder, sender = await self.peers(3)
        for number in range(10):
            channel = f"process!{number}"
            waiting = owner.receive(["process!"])
            await adder.group_add("group", channel)
            await sender.send_group("group", {"number": number})
            (delivery,) = await waiting
            self.assertIn(channel, delivery.recipients)
            self.assertEqual(delivery.message, {"number": number})

    # Receipts

    async def test_a_peer_that_settles_gives_the_receipt_to_the_sender(self) -> None:
        one, other = await self.peers(2)
        await one.send("channel", {}, "process!x")
        delivery = await self.take_one(other, "channel")
        if not one.settles:
            return
        waiting = one.receive(["process!"])
        delivery.settle()
        (receipt,) = await waiting
        self.assertEqual(receipt.recipients, ("process!x",))
        self.assertEqual(receipt.message, {"receipt": "settled"})

    async def test_a_receipt_follows_the_replies_of_its_batch_to_another_peer(self) -> None:
        one, other = await self.peers(2)
        for number in range(5):
            await one.send("channel", {}, "process!x")
            delivery = await self.take_one(other, "channel")
            replies = [Send("process!x", {"number": number, "part": part}) for part in range(3)]
            await other.send_batch(replies, [delivery])
            expected: list[object] = [reply.message for reply in replies]
            if one.settles:
                expected.append({"receipt": "settled"})
            got: list[object] = []
            while len(got) < len(expected):
                got += [dict(one.message) for one in await one.receive(["process!"], ENOUGH)]
            self.assertEqual(got, expected)

    # All of it

    async def test_a_flush_is_seen_by_all_peers(self) -> None:
        owner, other, flusher = await self.peers(3)
        waiting = owner.receive(["process!"])
        await other.group_add("group", "process!x")
        await other.send("channel", {})
        await flusher.flush()
        for peer in (owner, other, flusher):
            self.assertEqual(await peer.group_channels("group"), [])
            statistics = await peer.global_statistics()
            self.assertEqual(statistics["messages_pending"], 0)
        self.assertEqual(await self.read(other, "channel"), [])
        await other.send_group("group", {"number": 1})
        await other.group_add("group", "process!y")
        await other.send_group("group", {"number": 2})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!y",))
        self.assertEqual(delivery.message, {"number": 2})

    async def test_all_peers_see_the_same_counts(self) -> None:
        one, other = await self.peers(2, capacity=3)
        for number in range(3):
            await (one if number % 2 else other).send("channel", {})
        await self.refused(one.send("channel", {}), ChannelFull)
        await self.take_one(other, "channel")
        for peer in (one, other):
            for statistics in (
                await peer.global_statistics(),
                await peer.channel_statistics("channel"),
            ):
                self.assertEqual(statistics["messages_count"], 3)
                self.assertEqual(statistics["channel_full_count"], 1)
                self.assertEqual(statistics["messages_pending"], 2)
