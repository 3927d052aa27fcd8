"""
What a process leaves undone when it ends: closed in order, or dead.

Whoever takes a message that has a receipt, or that comes from a channel of
C{redeliver}, has it on lease until it is settled.  These tests need a second
layer on the store, C{make_peer}, those on death C{kill_peer} too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from unittest import SkipTest

from twisted.internet.defer import CancelledError

from chanserv.errors import LayerUnavailable
from chanserv.interfaces import IChannelLayer
from chanserv.messages import Delivery, Send
from chanserv.testing.contract.case import ENOUGH, LayerCase, finished

End: TypeAlias = Callable[[IChannelLayer], Awaitable[None]]
"""Ends a layer: L{Leases.close} or L{Leases.kill}."""


class Leases(LayerCase):
    """The end of a reader, an owner, a sender."""

    # The end of a reader

    async def test_what_a_closed_reader_had_not_settled_is_lost(self) -> None:
        await self.lost_with(self.close)

    async def test_what_a_dead_reader_had_not_settled_is_lost(self) -> None:
        await self.lost_with(self.kill)

    async def lost_with(self, end: End) -> None:
        layer, reader = await self.settling_peers(2)
        await layer.send_batch([Send("channel", {"number": n}, f"process!{n}") for n in range(3)])
        settled, *unsettled = await self.take_all(reader, 3, "channel")
        settled.settle()
        self.assertEqual(await self.receipts(layer, 1), [("process!0", "settled")])
        await end(reader)
        got = await self.receipts(layer, 2)
        self.assertEqual(sorted(got), [("process!1", "lost"), ("process!2", "lost")])
        for statistics in (
            await layer.global_statistics(),
            await layer.channel_statistics("channel"),
        ):
            self.assertEqual(statistics["messages_lost_count"], 2)
            self.assertEqual(statistics["messages_pending"], 0)
        for delivery in unsettled:
            delivery.settle()
        self.assertEqual(await self.read(layer, "process!", "channel"), [])

    async def test_what_a_closed_reader_had_not_settled_is_redelivered_first(self) -> None:
        await self.redelivered_after(self.close)

    async def test_what_a_dead_reader_had_not_settled_is_redelivered_first(self) -> None:
        await self.redelivered_after(self.kill)

    async def redelivered_after(self, end: End) -> None:
        layer, reader, other = await self.settling_peers(3, redeliver=["channel*"])
        for number in range(6):
            # Some ask for a receipt, some do not: all are redelivered.
            receipt = f"process!{number}" if number % 2 else None
            await layer.send("channel.x", {"number": number}, receipt)
        taken = await self.take_all(reader, 4, "channel.x")
        taken[1].settle()
        self.assertEqual(await self.receipts(layer, 1), [("process!1", "settled")])
        await end(reader)
        got = await self.take_all(other, 5, "channel.x")
        self.assertEqual(self.numbers(got), [0, 2, 3, 4, 5])
        for delivery in (*taken, *got):
            delivery.settle()
        self.assertEqual(
            await self.receipts(layer, 2), [("process!3", "settled"), ("process!5", "settled")]
        )
        self.assertEqual(await self.read(layer, "process!", "channel.x"), [])
        statistics = await layer.global_statistics()
        self.assertEqual(statistics["messages_lost_count"], 0)

    async def test_a_waiting_peer_gets_what_a_closed_reader_had_not_settled(self) -> None:
        await self.handed_on_after(self.close)

    async def test_a_waiting_peer_gets_what_a_dead_reader_had_not_settled(self) -> None:
        await self.handed_on_after(self.kill)

    async def handed_on_after(self, end: End) -> None:
        layer, reader, other = await self.settling_peers(3, redeliver=["channel"])
        await layer.send("channel", {"number": 1})
        await self.take_one(reader, "channel")
        waiting = other.receive(["channel"])
        await self.pause()
        await end(reader)
        (delivery,) = await waiting
        self.assertEqual(delivery.message, {"number": 1})
        delivery.settle()

    async def test_a_closed_reader_that_waited_takes_nothing_with_it(self) -> None:
        await self.nothing_taken_by(self.close)

    async def test_a_dead_reader_that_waited_takes_nothing_with_it(self) -> None:
        await self.nothing_taken_by(self.kill)

    async def nothing_taken_by(self, end: End) -> None:
        layer, reader, other = await self.settling_peers(3)
        self.leave(reader.receive(["channel"]))
        await self.pause()
        waiting = other.receive(["channel"])
        await self.pause()
        await end(reader)
        for number in range(3):
            await layer.send("channel", {"number": number})
            self.assertEqual(self.numbers(await waiting), [number])
            waiting = other.receive(["channel"])
        self.leave(waiting)
        waiting.cancel()

    async def test_a_reader_that_cancels_and_closes_takes_nothing_with_it(self) -> None:
        """What is on its way to it has reached nobody: it is neither lost nor theirs."""
        layer, *readers = await self.settling_peers(6)
        got: list[int] = []
        for number, reader in enumerate(readers):
            waiting = reader.receive(["channel"])
            await self.pause()
            sending = layer.send("channel", {"number": number}, f"process!{number}")
            if not waiting.called:
                waiting.cancel()
            try:
                got += self.numbers(await waiting)
            except CancelledError:
                pass
            await reader.close()
            await sending
        got += self.numbers(await self.read(layer, "channel"))
        self.assertEqual(sorted(got), list(range(len(readers))))

    # The end of an owner

    async def test_memberships_end_when_the_owner_of_their_mailbox_closes(self) -> None:
        await self.memberships_end_with(self.close)

    async def test_memberships_end_when_the_owner_of_their_mailbox_dies(self) -> None:
        await self.memberships_end_with(self.kill)

    async def memberships_end_with(self, end: End) -> None:
        layer, owner, other = await self.settling_peers(3)
        self.leave(owner.receive(["process!"]))
        waiting = other.receive(["other!"])
        await self.pause()
        for group in ("one", "two"):
            for channel in ("process!x", "process!y", "other!x", "ordinary"):
                await layer.group_add(group, channel)
        await end(owner)
        for group in ("one", "two"):

            async def only_the_living(group: str = group) -> bool:
                return set(await layer.group_channels(group)) == {"other!x", "ordinary"}

            await self.until(only_the_living)
        await layer.send_group("one", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])
        counts = await layer.channel_statistics("process!")
        self.assertEqual(counts["messages_pending"], 0)

    # The end of others

    async def test_memberships_outlive_the_peer_that_added_them(self) -> None:
        for end in (self.close, self.kill):
            layer, adder, owner = await self.settling_peers(3)
            waiting = owner.receive(["process!"])
            await adder.group_add("group", "process!x")
            await adder.group_add("group", "ordinary")
            await end(adder)
            self.assertEqual(set(await layer.group_channels("group")), {"process!x", "ordinary"})
            await layer.send_group("group", {"number": 1})
            (delivery,) = await waiting
            self.assertEqual(delivery.recipients, ("process!x",))

    async def test_messages_outlive_the_peer_that_sent_them(self) -> None:
        for end in (self.close, self.kill):
            layer, sender = await self.settling_peers(2)
            await sender.send("channel", {"number": 1})
            await end(sender)
            self.assertEqual(self.numbers(await self.take(layer, "channel")), [1])

    async def test_the_others_go_on_when_the_first_one_closes(self) -> None:
        await self.going_on_after(self.close)

    async def test_the_others_go_on_when_the_first_one_dies(self) -> None:
        await self.going_on_after(self.kill)

    async def going_on_after(self, end: End) -> None:
        """Whichever peer it is: with some layers the first has a part of its own."""
        first, owner, sender = await self.settling_peers(3)
        waiting = owner.receive(["process!", "channel"])
        await sender.group_add("group", "process!x")
        await end(first)

        async def sent() -> bool:
            try:
                await sender.send_group("group", {"number": 1})
            except LayerUnavailable:
                return False
            return True

        async def reached() -> bool:
            # What is lost with the first one is sent again by whoever minds.
            await self.until(sent)
            await self.pause()
            return waiting.called

        await self.until(reached)
        delivery = (await waiting)[0]
        self.assertEqual(delivery.recipients, ("process!x",))
        self.assertEqual(delivery.message, {"number": 1})

    # For the tests

    async def settling_peers(self, count: int, **config: object) -> list[IChannelLayer]:
        """So many layers on one store; skipped where nothing is ever on lease."""
        peers = await self.peers(count, **config)
        if not peers[0].settles:
            raise SkipTest("this layer does not settle")
        return peers

    async def close(self, peer: IChannelLayer) -> None:
        """End it in order."""
        await peer.close()

    async def kill(self, peer: IChannelLayer) -> None:
        """End it as C{kill -9} does."""
        await finished(self.kill_peer(peer))

    async def take_all(self, layer: IChannelLayer, count: int, *channels: str) -> list[Delivery]:
        """Wait for so many deliveries, and take no more."""
        taken: list[Delivery] = []
        while len(taken) < count:
            taken += await layer.receive(channels, count - len(taken))
        return taken

    async def receipts(self, layer: IChannelLayer, count: int) -> list[tuple[str, str]]:
        """Wait for so many receipts in C{process!}: where each came to, and its word."""
        got: list[tuple[str, str]] = []
        while len(got) < count:
            for one in await layer.receive(["process!"], ENOUGH):
                got.append((one.channel, one.message["receipt"]))
        return got
