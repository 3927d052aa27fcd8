"""
The contract suite for third-party layers behind the adapter.

A layer of the old stack cannot keep all of it.  What is overridden here is what
none of them keeps, each with its reason; where only one layer falls short, that
layer's own tests say so.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults

from chanserv.errors import ChannelFull, LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.layers import asgi1_reception
from chanserv.messages import Delivery, GroupSend, Send
from chanserv.testing import BlockingLayerContract, ChannelLayerContract
from chanserv.testing.contract.case import ENOUGH, LayerCase

MARK = {"this is": "the end"}


class ReadToAMark(LayerCase):
    """How the tests find out what there is."""

    def setUp(self) -> None:
        super().setUp()
        # The suite asks for what cancelled receives have left behind, in its order.  On a
        # machine that stands still for half a second it would be put back, and be last.
        self.keep_for(600.0)

    def keep_for(self, seconds: float) -> None:
        self.patch(asgi1_reception, "KEPT_FOR", seconds)  # type: ignore[attr-defined]

    async def read(self, layer: IChannelLayer, *channels: str) -> list[Delivery]:
        """
        All deliveries that wait on C{channels}, up to a mark that is sent
        there now: however slow the machine, what was there comes before it.
        """
        found: list[Delivery] = []
        marks = 0
        for channel in channels:
            while True:
                try:
                    await layer.send(channel, MARK)
                except ChannelFull:
                    found += await layer.receive([channel])
                else:
                    break
        while marks < len(channels):
            deliveries = await layer.receive(channels, ENOUGH)
            marks += sum(one.message == MARK for one in deliveries)
            found += [one for one in deliveries if one.message != MARK]
        return found


class Asgi1Contract(ReadToAMark, ChannelLayerContract):
    """
    See L{ChannelLayerContract}.

    @cvar counted: the statistics that are kept for each channel.
    @cvar counted_in_all: those that are kept for the layer as a whole.
    """

    quiet = 0.05
    counted: frozenset[str] = frozenset({"messages_count", "channel_full_count"})
    counted_in_all: frozenset[str] = frozenset({"messages_count", "channel_full_count"})

    async def expect(self, layer: IChannelLayer, name: str | None, **expected: int) -> None:
        """What a layer does not count is not looked at."""
        counted = self.counted_in_all if name is None else self.counted
        known = {key: value for key, value in expected.items() if key in counted}
        await super().expect(layer, name, **known)

    def members_of(self, deliveries: list[Delivery], **message: Any) -> set[str]:
        """Who got C{message}; hold that nobody did twice."""
        got = [one.recipients for one in deliveries if one.message == message]
        self.assertEqual({len(recipients) for recipients in got}, {1})
        self.assertEqual(len(set(got)), len(got))
        return {recipients[0] for recipients in got}

    # A layer of the old stack sends a group's message to one member after the
    # other, so that it comes out as many deliveries, and takes as much room.

    async def test_a_group_message_reaches_a_process_once_for_all_its_members(self) -> None:
        layer = await self.layer()
        members = {f"process!{number}" for number in range(20)}
        for channel in members:
            await layer.group_add("group", channel)
        await layer.send_group("group", {"number": 1})
        got = await self.read(layer, "process!")
        self.assertEqual(self.members_of(got, number=1), members)

    async def test_a_group_message_reaches_each_process_for_its_own_members(self) -> None:
        layer = await self.layer()
        members = [[f"{process}!{number}" for number in range(3)] for process in ("one", "two")]
        for channel in members[0] + members[1]:
            await layer.group_add("group", channel)
        await layer.send_group("group", {})
        self.assertEqual(self.members_of(await self.read(layer, "one!")), set(members[0]))
        self.assertEqual(self.members_of(await self.read(layer, "two!")), set(members[1]))

    async def test_a_group_message_reaches_each_peer_once_for_its_own_members(self) -> None:
        peers = await self.peers(3)
        for index, peer in enumerate(peers):
            for number in range(4):
                await peer.group_add("group", f"process{index}!{number}")
        await peers[0].send_group("group", {})
        for index, peer in enumerate(peers):
            got = await self.read(peer, f"process{index}!")
            members = {f"process{index}!{number}" for number in range(4)}
            self.assertEqual(self.members_of(got), members)

    async def test_a_group_message_of_one_peer_reaches_members_that_another_added(self) -> None:
        owner, adder, sender = await self.peers(3)
        members = {f"process!{number}" for number in range(3)}
        for channel in members:
            await adder.group_add("group", channel)
        await sender.send_group("group", {"number": 1})
        self.assertEqual(self.members_of(await self.read(owner, "process!"), number=1), members)

    async def test_a_group_message_takes_the_room_of_one_in_a_mailbox(self) -> None:
        layer = await self.layer(capacity=2, mailbox_capacity=2)
        for number in range(10):
            await layer.group_add("group", f"process!{number}")
        await layer.send_group("group", {"number": 1})
        await self.refused(layer.send("process!x", {}), ChannelFull)
        got = [await self.take_one(layer, "process!") for _ in range(2)]
        self.assertEqual(len(self.members_of(got, number=1)), 2)

    async def test_a_group_message_sent_when_add_has_fired_reaches_the_new_member(self) -> None:
        layer = await self.layer()
        other = await self.peer(layer)
        for number in range(10):
            await layer.group_add("group", f"process!{number}")
            await (other if number % 2 else layer).send_group("group", {"number": number})
        got = await self.read(layer, "process!")
        for number in range(10):
            members = {f"process!{one}" for one in range(number + 1)}
            self.assertEqual(self.members_of(got, number=number), members)

    async def test_a_membership_is_known_where_its_adder_told_of_it(self) -> None:
        owner, adder, sender = await self.peers(3)
        for number in range(10):
            await adder.group_add("group", f"process!{number}")
            await sender.send_group("group", {"number": number})
        got = await self.read(owner, "process!")
        for number in range(10):
            self.assertIn(f"process!{number}", self.members_of(got, number=number))

    async def test_a_member_that_was_discarded_gets_nothing_more(self) -> None:
        layer = await self.layer()
        for channel in ("process!stays", "process!goes", "ordinary"):
            await layer.group_add("group", channel)
        await layer.send_group("group", {"number": 1})
        await layer.group_discard("group", "process!goes")
        await layer.group_discard("group", "ordinary")
        await layer.send_group("group", {"number": 2})
        got = await self.read(layer, "process!")
        self.assertEqual(self.members_of(got, number=1), {"process!stays", "process!goes"})
        self.assertEqual(self.members_of(got, number=2), {"process!stays"})
        self.assertEqual(self.numbers(await self.read(layer, "ordinary")), [1])

    # The old stack's names have at most 99 characters, and no '?' at their end.

    async def test_a_name_of_200_characters_is_good(self) -> None:
        layer = await self.layer()
        for name in ("a" * 99, "b" * 49 + "!" + "c" * 49):
            await layer.send(name, {"number": 1})
            mailbox = name.partition("!")[0] + "!" if "!" in name else name
            delivery = await self.take_one(layer, mailbox)
            self.assertEqual(delivery.recipients, (name,))
        for name in ("a" * 100, "a?"):
            error = await self.refused(layer.send(name, {}), LayerUnavailable)
            self.assertIn("TypeError", str(error))

    async def test_names_that_look_alike_are_different_channels(self) -> None:
        layer = await self.layer()
        names = ["x", "X", "x.", "x-", "x_", "x!", "x.y", "xx"]
        for number, name in enumerate(names):
            await layer.send(name, {"number": number})
        for number, name in enumerate(names):
            self.assertEqual(self.numbers(await self.read(layer, name)), [number])

    # No call of the specification ends all memberships of a channel, and only
    # the process that began them knows which there are.

    async def test_a_membership_ends_whichever_peer_ends_it(self) -> None:
        owner, adder, ender = await self.peers(3)
        for channel in ("process!stays", "process!discarded"):
            await adder.group_add("group", channel)
        await ender.group_discard("group", "process!discarded")
        await adder.send_group("group", {})
        self.assertEqual(self.members_of(await self.read(owner, "process!")), {"process!stays"})

    # A call that blocks in the layer cannot be interrupted.

    async def test_a_message_does_not_wait_for_a_peer_that_no_longer_does(self) -> None:
        """It waits until that peer has put it back."""
        self.keep_for(0.01)
        await super().test_a_message_does_not_wait_for_a_peer_that_no_longer_does()

    # The rest cannot be told from outside: there are no receipts, and nothing
    # tells how old a message is, or how many are in the layer as a whole.

    async def test_an_expired_message_says_so_on_an_idle_layer(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        waiting = layer.receive(["process!"])
        await layer.send("channel", {}, "process!x")
        await self.pass_time(self.expiry * 1.1)
        await layer.send("process!x", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_the_age_of_the_oldest_message_is_told_in_seconds(self) -> None:
        layer = await self.layer()
        self.assertEqual((await layer.global_statistics())["messages_max_age"], 0)

    async def test_channel_full_names_channel_depth_capacity_and_the_oldest_age(self) -> None:
        layer = await self.layer(capacity=2)
        await gatherResults([layer.send("channel", {}) for _ in range(2)])
        error = await self.refused(layer.send("channel", {}), ChannelFull)
        self.assertEqual((error.channel, error.depth, error.capacity), ("channel", 2, 2))
        self.assertGreaterEqual(error.oldest, 0.0)

    async def test_full_members_miss_a_group_message_and_others_do_not(self) -> None:
        """As the suite has it, but for the count of what was missed."""
        layer = await self.layer(capacity=1)
        for channel in ("full", "free"):
            await layer.group_add("group", channel)
        await layer.send("full", {"number": 1})
        await layer.send_group("group", {"number": 2})
        self.assertEqual(
            await layer.send_batch([GroupSend("group", {"number": 3}), Send("other", {})]),
            [None, None],
        )
        self.assertEqual(self.numbers(await self.read(layer, "full")), [1])
        self.assertEqual(self.numbers(await self.read(layer, "free")), [2])

    async def test_a_flush_is_seen_by_all_peers(self) -> None:
        """As the suite has it, but for the count of what waits."""
        owner, other, flusher = await self.peers(3)
        await other.group_add("group", "process!x")
        await other.send("channel", {})
        await flusher.flush()
        for peer in (owner, other, flusher):
            self.assertEqual(await peer.group_channels("group"), [])
        self.assertEqual(await self.read(other, "channel"), [])
        await other.send_group("group", {"number": 1})
        await other.group_add("group", "process!y")
        await other.send_group("group", {"number": 2})
        got = await self.read(owner, "process!")
        self.assertEqual(self.members_of(got, number=2), {"process!y"})


class Asgi1FaceContract(ReadToAMark, BlockingLayerContract):
    """See L{BlockingLayerContract}."""

    quiet = 0.05

    async def test_statistics_and_flush_work_from_threads(self) -> None:
        """As the suite has it, but for the count of what waits."""
        layer, face = await self.both()
        await layer.send("channel", {})
        for counts in (
            await self.in_thread(face.global_statistics),
            await self.in_thread(face.channel_statistics, "channel"),
        ):
            self.assertEqual(counts["messages_count"], 1)
        await self.in_thread(face.flush)
        self.assertEqual(await self.in_thread(face.receive, ["channel"]), (None, None))
