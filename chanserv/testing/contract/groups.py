"""Sets of channels, and one message for all of them."""

from __future__ import annotations

from twisted.internet.defer import gatherResults

from chanserv.messages import Forget, GroupSend, Send
from chanserv.testing.contract.case import LayerCase


class Groups(LayerCase):
    """Membership, sends by process, what a member can count on."""

    async def test_a_member_gets_what_is_sent_to_its_group(self) -> None:
        layer = await self.layer()
        for channel in ("ordinary", "single?x", "process!x"):
            await layer.group_add("group", channel)
        await layer.send_group("group", {"number": 1})
        for channel in ("ordinary", "single?x", "process!"):
            self.assertEqual(self.numbers(await self.read(layer, channel)), [1])

    async def test_a_batch_carries_group_messages_in_order_with_others(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!x")
        errors = await layer.send_batch(
            [
                Send("process!x", {"number": 1}),
                GroupSend("group", {"number": 2}),
                Send("process!x", {"number": 3}),
            ]
        )
        self.assertEqual(errors, [None, None, None])
        self.assertEqual(self.numbers(await self.read(layer, "process!")), [1, 2, 3])

    async def test_who_is_no_member_gets_nothing(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!member")
        await layer.group_add("other", "process!other")
        await layer.group_add("other", "ordinary")
        await layer.send_group("group", {})
        (delivery,) = await self.read(layer, "process!", "ordinary")
        self.assertEqual(delivery.recipients, ("process!member",))

    async def test_a_group_without_members_takes_messages_for_nobody(self) -> None:
        layer = await self.layer()
        await layer.send_group("nobody", {})
        self.assertEqual(await layer.group_channels("nobody"), [])

    async def test_a_group_message_reaches_a_process_once_for_all_its_members(self) -> None:
        layer = await self.layer()
        members = {f"process!{number}" for number in range(20)}
        for channel in members:
            await layer.group_add("group", channel)
        await layer.send_group("group", {"number": 1})
        (delivery,) = await self.read(layer, "process!")
        self.assertEqual(len(delivery.recipients), 20)
        self.assertEqual(set(delivery.recipients), members)
        self.assertEqual(delivery.message, {"number": 1})

    async def test_a_group_message_reaches_each_process_for_its_own_members(self) -> None:
        layer = await self.layer()
        for process in ("one", "two"):
            for number in range(3):
                await layer.group_add("group", f"{process}!{number}")
        await layer.send_group("group", {})
        for process in ("one", "two"):
            (delivery,) = await self.read(layer, f"{process}!")
            self.assertEqual(
                set(delivery.recipients), {f"{process}!{number}" for number in range(3)}
            )

    async def test_a_group_message_reaches_each_ordinary_channel_by_itself(self) -> None:
        layer = await self.layer()
        channels = {"one", "two", "three?x"}
        for channel in channels:
            await layer.group_add("group", channel)
        await layer.send_group("group", {})
        got = await self.read(layer, *channels)
        self.assertEqual({delivery.recipients for delivery in got}, {(one,) for one in channels})

    async def test_a_group_message_sent_when_add_has_fired_reaches_the_new_member(self) -> None:
        layer = await self.layer()
        other = await self.peer(layer)
        for number in range(10):
            channel = f"process!{number}"
            await layer.group_add("group", channel)
            await (other if number % 2 else layer).send_group("group", {"number": number})
        for number, delivery in enumerate(await self.read(layer, "process!")):
            self.assertIn(f"process!{number}", delivery.recipients)
            self.assertEqual(delivery.message, {"number": number})

    async def test_a_message_of_one_sender_follows_the_add_it_did_not_wait_for(self) -> None:
        layer = await self.layer()
        await gatherResults(
            [layer.group_add("group", "process!x"), layer.send_group("group", {"number": 1})]
        )
        (delivery,) = await self.read(layer, "process!")
        self.assertEqual(delivery.recipients, ("process!x",))

    async def test_a_member_that_was_discarded_gets_nothing_more(self) -> None:
        layer = await self.layer()
        for channel in ("process!stays", "process!goes", "ordinary"):
            await layer.group_add("group", channel)
        await layer.send_group("group", {"number": 1})
        await layer.group_discard("group", "process!goes")
        await layer.group_discard("group", "ordinary")
        await layer.send_group("group", {"number": 2})
        first, second = await self.read(layer, "process!")
        self.assertEqual(set(first.recipients), {"process!stays", "process!goes"})
        self.assertEqual(second.recipients, ("process!stays",))
        self.assertEqual(self.numbers(await self.read(layer, "ordinary")), [1])

    async def test_a_discard_of_no_member_does_nothing(self) -> None:
        layer = await self.layer()
        await layer.group_discard("group", "process!x")
        await layer.group_add("group", "process!x")
        await layer.group_discard("group", "process!y")
        await layer.group_discard("other", "process!x")
        self.assertEqual(await layer.group_channels("group"), ["process!x"])

    async def test_a_forgotten_channel_is_a_member_of_nothing(self) -> None:
        layer = await self.layer()
        for group in ("one", "two"):
            for channel in ("process!goes", "process!stays"):
                await layer.group_add(group, channel)
        self.assertEqual(await layer.send_batch([Forget("process!goes")]), [None])
        for group in ("one", "two"):
            self.assertEqual(await layer.group_channels(group), ["process!stays"])
            await layer.send_group(group, {})
        for delivery in await self.read(layer, "process!"):
            self.assertEqual(delivery.recipients, ("process!stays",))

    async def test_a_batch_forgets_after_the_sends_before_it(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!x")
        await layer.send_batch(
            [
                GroupSend("group", {"number": 1}),
                Forget("process!x"),
                GroupSend("group", {"number": 2}),
            ]
        )
        self.assertEqual(self.numbers(await self.read(layer, "process!")), [1])

    async def test_a_forgotten_channel_can_be_added_again(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!x")
        await layer.send_batch([Forget("process!x"), Forget("process!never")])
        await layer.group_add("group", "process!x")
        self.assertEqual(await layer.group_channels("group"), ["process!x"])

    async def test_a_member_added_twice_gets_each_message_once(self) -> None:
        layer = await self.layer()
        for channel in ("process!x", "process!x", "ordinary", "ordinary"):
            await layer.group_add("group", channel)
        await layer.send_group("group", {})
        (delivery,) = await self.read(layer, "process!")
        self.assertEqual(delivery.recipients, ("process!x",))
        self.assertEqual(len(await self.read(layer, "ordinary")), 1)

    async def test_a_member_added_twice_leaves_at_one_discard(self) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!x")
        await layer.group_add("group", "process!x")
        await layer.group_discard("group", "process!x")
        self.assertEqual(await layer.group_channels("group"), [])

    async def test_a_channel_may_be_in_many_groups(self) -> None:
        layer = await self.layer()
        for group in ("one", "two"):
            await layer.group_add(group, "process!x")
        await layer.group_discard("one", "process!x")
        await layer.send_group("one", {"number": 1})
        await layer.send_group("two", {"number": 2})
        self.assertEqual(self.numbers(await self.read(layer, "process!")), [2])

    async def test_a_group_lists_its_members_by_their_full_names(self) -> None:
        layer = await self.layer()
        members = ["ordinary", "process!a", "process!b", "other!a", "single?x"]
        for channel in members:
            await layer.group_add("group", channel)
        self.assertEqual(sorted(await layer.group_channels("group")), sorted(members))

    async def test_groups_and_channels_of_one_name_have_nothing_to_do_with_each_other(self) -> None:
        layer = await self.layer()
        await layer.group_add("name", "member")
        await layer.send("name", {"number": 1})
        await layer.send_group("name", {"number": 2})
        self.assertEqual(self.numbers(await self.read(layer, "name")), [1])
        self.assertEqual(self.numbers(await self.read(layer, "member")), [2])

    async def test_a_member_need_not_read_to_stay_one(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.group_add("group", "process!x")
        await layer.send_group("group", {})
        await self.pass_time(self.expiry * 1.2)
        self.assertEqual(await self.read(layer, "process!"), [])
        await layer.send_group("group", {"number": 1})
        self.assertEqual(self.numbers(await self.read(layer, "process!")), [1])

    async def test_a_membership_ends_with_the_group_expiry(self) -> None:
        layer = await self.layer(group_expiry=self.group_expiry)
        await layer.group_add("group", "process!early")
        await layer.group_add("group", "ordinary")
        await self.pass_time(self.group_expiry * 0.75)
        await layer.group_add("group", "process!late")
        await self.pass_time(self.group_expiry * 0.5)
        self.assertEqual(await layer.group_channels("group"), ["process!late"])
        await layer.send_group("group", {})
        (delivery,) = await self.read(layer, "process!", "ordinary")
        self.assertEqual(delivery.recipients, ("process!late",))

    async def test_adding_again_renews_a_membership(self) -> None:
        layer = await self.layer(group_expiry=self.group_expiry)
        await layer.group_add("group", "process!x")
        await self.pass_time(self.group_expiry * 0.75)
        await layer.group_add("group", "process!x")
        await self.pass_time(self.group_expiry * 0.5)
        self.assertEqual(await layer.group_channels("group"), ["process!x"])
