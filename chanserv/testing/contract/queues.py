"""First in, first out; one reader for each message; nobody starves."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, gatherResults

from chanserv.errors import InvalidChannelName
from chanserv.messages import Send
from chanserv.names import check_channel
from chanserv.testing.contract.case import ENOUGH, LayerCase


class Queues(LayerCase):
    """Sending, receiving, cancelling, names for new channels."""

    async def test_messages_of_a_channel_come_out_in_the_order_they_went_in(self) -> None:
        layer = await self.layer()
        for number in range(50):
            await layer.send("channel", {"number": number})
        got = [(await self.take_one(layer, "channel")).message["number"] for _ in range(50)]
        self.assertEqual(got, list(range(50)))

    async def test_the_order_holds_for_sends_that_are_not_waited_for(self) -> None:
        layer = await self.layer()
        await gatherResults([layer.send("channel", {"number": n}) for n in range(50)])
        self.assertEqual(self.numbers(await self.read(layer, "channel")), list(range(50)))

    async def test_a_batch_keeps_its_order(self) -> None:
        layer = await self.layer()
        await layer.send_batch([Send("channel", {"number": n}) for n in range(50)])
        self.assertEqual(self.numbers(await self.read(layer, "channel")), list(range(50)))

    async def test_an_empty_batch_does_nothing(self) -> None:
        layer = await self.layer()
        self.assertEqual(await layer.send_batch([]), [])

    async def test_what_one_process_sends_another_reads(self) -> None:
        layer = await self.layer()
        other = await self.peer(layer)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await self.take(other, "channel")), [1])

    async def test_each_message_goes_to_one_reader(self) -> None:
        layer = await self.layer()
        other = await self.peer(layer)
        waiting = [reader.receive(["channel"]) for reader in (layer, other) * 5]
        await layer.send_batch([Send("channel", {"number": n}) for n in range(10)])
        got = [number for found in await gatherResults(waiting) for number in self.numbers(found)]
        self.assertEqual(sorted(got), list(range(10)))
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_receive_waits_for_a_message(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"])
        await self.pause()
        self.assertFalse(waiting.called)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_a_receive_on_several_channels_waits_for_any_of_them(self) -> None:
        layer = await self.layer()
        for channel in ("one", "two?x", "three!"):
            waiting = layer.receive(["one", "two?x", "three!"])
            await layer.send(channel, {"number": 1})
            (delivery,) = await waiting
            self.assertEqual(delivery.channel, channel)
            await layer.send(channel, {"number": 2})
            self.assertEqual(self.numbers(await self.read(layer, channel)), [2])

    async def test_a_receive_leaves_other_channels_alone(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"])
        await layer.send("other", {"number": 1})
        await self.pause()
        self.assertFalse(waiting.called)
        await layer.send("channel", {"number": 2})
        self.assertEqual(self.numbers(await waiting), [2])
        self.assertEqual(self.numbers(await self.read(layer, "other")), [1])

    async def test_a_receive_gives_one_delivery_unless_told_otherwise(self) -> None:
        layer = await self.layer()
        await layer.send_batch([Send("channel", {"number": n}) for n in range(3)])
        self.assertEqual(self.numbers(await layer.receive(["channel"])), [0])
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1, 2])

    async def test_a_receive_gives_no_more_than_its_limit(self) -> None:
        layer = await self.layer()
        await layer.send_batch([Send(name, {"number": 1}) for name in ("one", "two") * 10])
        total = 0
        while total < 20:
            got = await layer.receive(["one", "two"], 7)
            self.assertTrue(1 <= len(got) <= 7, f"{len(got)} deliveries")
            total += len(got)
        self.assertEqual(await self.read(layer, "one", "two"), [])

    async def test_a_waiting_receive_does_not_wait_for_its_limit(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"], 10)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_a_delivery_names_the_channel_in_full(self) -> None:
        layer = await self.layer()
        for channel in ("ordinary", "single?Reader", "process!local.part"):
            await layer.send(channel, {})
            mailbox = "process!" if "!" in channel else channel
            delivery = await self.take_one(layer, mailbox)
            self.assertEqual(delivery.recipients, (channel,))
            self.assertEqual(delivery.channel, channel)

    async def test_a_mailbox_gives_the_messages_of_all_its_local_parts_in_order(self) -> None:
        layer = await self.layer()
        sent = [f"process!{number % 3}" for number in range(12)] + ["process!"]
        for channel in sent:
            await layer.send(channel, {})
        got = [delivery.channel for delivery in await self.read(layer, "process!")]
        self.assertEqual(got, sent)

    async def test_a_name_given_twice_is_read_once(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel", "channel"], 5)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])
        await layer.send("channel", {"number": 2})
        self.assertEqual(self.numbers(await self.take(layer, "channel", "channel", limit=5)), [2])
        self.assertEqual(await self.read(layer, "channel"), [])

    async def test_a_busy_channel_does_not_starve_a_quiet_one(self) -> None:
        layer = await self.layer()
        channels = ["busy", "quiet"]
        for number in range(60):
            await layer.send("busy", {"number": number})
        await layer.send("quiet", {"number": -1})
        got = []
        for number in range(20):
            got += self.numbers(await layer.receive(channels))
            await layer.send("busy", {"number": 60 + number})
        self.assertIn(-1, got)

    async def test_no_place_in_the_list_of_channels_starves(self) -> None:
        layer = await self.layer()
        channels = ["first", "middle", "last"]
        for _ in range(30):
            for channel in channels:
                await layer.send(channel, {})
        got = {(await self.take_one(layer, *channels)).channel for _ in range(30)}
        self.assertEqual(got, set(channels))

    async def test_cancelling_a_receive_fails_it_with_cancelled_error(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"])
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)

    async def test_a_cancelled_receive_takes_no_message_with_it(self) -> None:
        layer = await self.layer()
        cancelled = layer.receive(["channel"])
        cancelled.cancel()
        await self.assertFailure(cancelled, CancelledError)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1])

    async def test_cancelling_one_receive_leaves_the_next_waiting(self) -> None:
        layer = await self.layer()
        cancelled, waiting = layer.receive(["channel"]), layer.receive(["channel"])
        cancelled.cancel()
        await self.assertFailure(cancelled, CancelledError)
        await layer.send("channel", {"number": 1})
        self.assertEqual(self.numbers(await waiting), [1])

    async def test_a_receive_cancelled_as_messages_arrive_loses_none(self) -> None:
        layer = await self.layer()
        got: list[int] = []
        for number in range(20):
            waiting = layer.receive(["channel"], ENOUGH)
            sending = layer.send("channel", {"number": number})
            if not waiting.called:
                waiting.cancel()
            try:
                got += self.numbers(await waiting)
            except CancelledError:
                pass
            await sending
        got += self.numbers(await self.read(layer, "channel"))
        self.assertEqual(sorted(got), list(range(20)))

    async def test_a_new_channel_is_its_pattern_and_a_part_nobody_has(self) -> None:
        layer = await self.layer()
        other = await self.peer(layer)
        for pattern in ("process!", "single?"):
            made = [await one.new_channel(pattern) for one in (layer, other) * 50]
            self.assertEqual(len(set(made)), 100)
            for channel in made:
                self.assertEqual(check_channel(channel), channel)
                self.assertTrue(channel.startswith(pattern) and channel != pattern, channel)

    async def test_a_new_channel_can_be_sent_to_and_read(self) -> None:
        layer = await self.layer()
        single = await layer.new_channel("single?")
        await layer.send(single, {"number": 1})
        self.assertEqual((await self.take_one(layer, single)).recipients, (single,))
        specific = await layer.new_channel("process!")
        await layer.send(specific, {"number": 1})
        self.assertEqual((await self.take_one(layer, "process!")).recipients, (specific,))

    async def test_a_pattern_needs_its_mark_at_the_end(self) -> None:
        layer = await self.layer()
        for pattern in ("ordinary", "process!x", "single?x", "", "!", "a!?", None):
            attempt = layer.new_channel(pattern)  # type: ignore[arg-type]
            await self.refused(attempt, InvalidChannelName)
