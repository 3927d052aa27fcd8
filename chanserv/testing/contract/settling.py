"""
News of a message: settled, expired or lost.

On a layer that does not settle, each of these tests holds that it says so and
goes on without.
"""

from __future__ import annotations

import re

from chanserv.errors import ChannelFull, InvalidChannelName
from chanserv.messages import Outcome, Send
from chanserv.testing.contract.case import LayerCase


class Settling(LayerCase):
    """Receipts, and who gives them."""

    async def test_a_settled_message_gives_its_receipt(self) -> None:
        layer = await self.layer()
        for receipt, mailbox in (("process!x", "process!"), ("single?x", "single?x")):
            await layer.send("channel", {"number": 1}, receipt)
            delivery = await self.take_one(layer, "channel")
            self.assertEqual(delivery.message, {"number": 1})
            self.assertEqual(await self.read(layer, mailbox), [], "it came before it was due")
            delivery.settle()
            got = await self.read(layer, mailbox)
            if not layer.settles:
                self.assertEqual(got, [])
                continue
            self.assertEqual([one.recipients for one in got], [(receipt,)])
            self.assertEqual([one.message for one in got], [{"receipt": "settled"}])

    async def test_a_message_settled_twice_gives_one_receipt(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        delivery.settle()
        delivery.settle(Outcome.LOST)
        await layer.send_batch([], [delivery])
        expected = [{"receipt": "settled"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_a_message_given_up_as_lost_says_so_and_is_counted(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        (await self.take_one(layer, "channel")).settle(Outcome.LOST)
        expected = [{"receipt": "lost"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)
        statistics = await layer.channel_statistics("channel")
        self.assertEqual(statistics["messages_lost_count"], len(expected))

    async def test_a_message_without_receipt_settles_in_silence(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {})
        await layer.group_add("group", "channel")
        await layer.send_group("group", {})
        for delivery in await self.read(layer, "channel"):
            delivery.settle()
        self.assertEqual(await self.read(layer, "channel", "process!"), [])

    async def test_a_batch_settles_what_it_is_given(self) -> None:
        layer = await self.layer()
        await layer.send_batch([Send("channel", {"number": n}, f"process!{n}") for n in range(3)])
        first, second, third = await self.read(layer, "channel")
        await layer.send_batch([Send("reply!x", {"number": 9})], [first, third])
        self.assertEqual(self.numbers(await self.read(layer, "reply!")), [9])
        got = [delivery.channel for delivery in await self.read(layer, "process!")]
        self.assertEqual(got, ["process!0", "process!2"] if layer.settles else [])
        second.settle()

    async def test_the_receipt_of_a_batch_follows_what_the_batch_sent(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        await layer.send_batch([Send("process!x", {"number": 1})], [delivery])
        expected = [{"number": 1}] + ([{"receipt": "settled"}] if layer.settles else [])
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_a_receipt_reaches_a_reader_that_waits_for_it(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["process!"])
        await layer.send("channel", {}, "process!x")
        (await self.take_one(layer, "channel")).settle()
        if not layer.settles:
            await layer.send("process!x", {"receipt": "settled"})
        (receipt,) = await waiting
        self.assertEqual(receipt.message, {"receipt": "settled"})

    async def test_a_receipt_finds_room_on_a_full_channel(self) -> None:
        layer = await self.layer(mailbox_capacity=1, capacity=1)
        await layer.send("process!x", {"number": 1})
        await layer.send("channel", {}, "process!x")
        (await self.take_one(layer, "channel")).settle()
        await self.refused(layer.send("process!x", {}), ChannelFull)
        expected = [{"number": 1}] + ([{"receipt": "settled"}] if layer.settles else [])
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_an_expired_message_says_so(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {}, "process!x")
        await self.pass_time(self.expiry * 1.1)
        expected = [{"receipt": "expired"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_an_expired_message_says_so_on_an_idle_layer(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        waiting = layer.receive(["process!"])
        await layer.send("channel", {}, "process!x")
        await self.pass_time(self.expiry * 1.1)
        await self.pause()
        if not layer.settles:
            await layer.send("process!x", {"receipt": "expired"})
        self.assertTrue(waiting.called, "no receipt has come by itself")
        (receipt,) = await waiting
        self.assertEqual(receipt.message, {"receipt": "expired"})

    async def test_a_message_may_be_settled_after_it_would_have_expired(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        await self.pass_time(self.expiry * 1.1)
        delivery.settle()
        expected = [{"receipt": "settled"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_a_message_that_was_refused_gives_no_receipt(self) -> None:
        layer = await self.layer(capacity=1)
        await layer.send("channel", {}, "process!x")
        await self.refused(layer.send("channel", {}, "process!x"), ChannelFull)
        self.assertEqual(await self.read(layer, "process!"), [])

    async def test_receipts_go_only_where_one_reader_gets_them(self) -> None:
        layer = await self.layer()
        if not layer.settles:
            await layer.send("channel", {}, "process!x")
            return
        for receipt in ("ordinary", "a b", ""):
            await self.refused(layer.send("channel", {}, receipt), InvalidChannelName)
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_lost_message_of_a_channel_to_redeliver_is_handed_out_again_first(self) -> None:
        for pattern in ("jobs.*", re.compile(r"jobs\.")):
            layer = await self.layer(redeliver=[pattern])
            for number in range(3):
                await layer.send("jobs.mail", {"number": number})
            if not layer.settles:
                return
            first = await self.take_one(layer, "jobs.mail")
            first.settle(Outcome.LOST)
            self.assertEqual(self.numbers(await self.read(layer, "jobs.mail")), [0, 1, 2])
            statistics = await layer.channel_statistics("jobs.mail")
            self.assertEqual(statistics["messages_lost_count"], 0)
            self.assertEqual(statistics["messages_count"], 3)

    async def test_a_message_handed_out_again_gives_its_receipt_when_it_is_settled(self) -> None:
        layer = await self.layer(redeliver=["channel"])
        await layer.send("channel", {"number": 1}, "process!x")
        if not layer.settles:
            return
        (await self.take_one(layer, "channel")).settle(Outcome.LOST)
        self.assertEqual(await self.read(layer, "process!"), [])
        again = await self.take_one(layer, "channel")
        self.assertEqual((again.channel, again.message), ("channel", {"number": 1}))
        again.settle()
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_settled_message_of_a_channel_to_redeliver_is_gone(self) -> None:
        layer = await self.layer(redeliver=["*"])
        await layer.send("channel", {"number": 1})
        delivery = await self.take_one(layer, "channel")
        await layer.send_batch([], [delivery])
        delivery.settle(Outcome.LOST)
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_lost_message_of_a_process_is_not_handed_out_again(self) -> None:
        layer = await self.layer(redeliver=["*"])
        await layer.send("other!x", {"number": 1}, "process!x")
        if not layer.settles:
            return
        (await self.take_one(layer, "other!")).settle(Outcome.LOST)
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "lost"}])
        self.assertEqual(await self.read(layer, "other!"), [])

    async def test_a_reader_that_waits_gets_what_is_handed_out_again(self) -> None:
        layer = await self.layer(redeliver=["channel"])
        await layer.send("channel", {"number": 1})
        if not layer.settles:
            return
        delivery = await self.take_one(layer, "channel")
        waiting = layer.receive(["channel"])
        delivery.settle(Outcome.LOST)
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_a_message_is_not_handed_out_again_past_its_expiry(self) -> None:
        layer = await self.layer(redeliver=["channel"], expiry=self.expiry)
        await layer.send("channel", {"number": 1}, "process!x")
        delivery = await self.take_one(layer, "channel")
        await self.pass_time(self.expiry * 1.1)
        delivery.settle(Outcome.LOST)
        self.assertEqual(await self.read(layer, "channel"), [])
        expected = [{"receipt": "expired"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)

    async def test_other_channels_are_not_redelivered(self) -> None:
        layer = await self.layer(redeliver=["jobs.*"])
        await layer.send("channel", {"number": 1}, "process!x")
        (await self.take_one(layer, "channel")).settle(Outcome.LOST)
        self.assertEqual(await self.read(layer, "channel"), [])
        expected = [{"receipt": "lost"}] if layer.settles else []
        self.assertEqual(await self.read_messages(layer, "process!"), expected)
