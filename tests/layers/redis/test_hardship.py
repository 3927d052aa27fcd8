"""What becomes of processes that stood still while others went on."""

from __future__ import annotations

from typing import Any

from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.layers.redis.leases import OWNER_LEASE, READER_LEASE
from chanserv.messages import Forget, Send
from chanserv.testing.contract.case import ENOUGH
from tests.layers.redis.cases import BehindProxy, RedisCase


def stop_the_heart_of(layer: RedisChannelLayer) -> None:
    """Let C{layer} give no sign of life by itself."""
    for shard in layer._shards:
        assert shard._beating is not None
        shard._beating.cancel()
        shard._beating = None


class StalledOwners(RedisCase):
    async def stalled_owner(self, *members: str) -> tuple[RedisChannelLayer, RedisChannelLayer]:
        """One that waits for what comes to C{members} of a group, and stands still; and another."""
        stalled, other = await self.peers(2)
        self.waiting = stalled.receive(["process!"])
        for member in members:
            await other.group_add("group", member)
        await self.pause()
        stop_the_heart_of(stalled)
        return stalled, other

    async def goes_on(self, stalled: RedisChannelLayer) -> None:
        """Give a sign of life, and see what comes of it."""
        (shard,) = stalled._shards
        await shard.beat()
        await self.eventually(lambda: shard.greeted)
        await self.pause()

    async def test_an_old_bell_does_not_let_one_forget_its_members(self) -> None:
        stalled, other = await self.stalled_owner("process!x")
        (shard,) = stalled._shards
        ask, shard._ask_for_news = shard._ask_for_news, lambda: None  # type: ignore[method-assign]
        await other.group_add("group", "process!y")
        await self.outlast(stalled, [other])
        self.assertEqual(await other.group_channels("group"), [])
        # The first that it hears is the bell that told of the change.
        shard._ask_for_news = ask  # type: ignore[method-assign]
        ask()
        await self.goes_on(stalled)
        self.assertEqual(await other.group_channels("group"), ["process!x"])
        self.leave(self.waiting)

    async def test_one_whose_end_has_begun_brings_all_its_members_back(self) -> None:
        members = ["process!x", "process!y", "process!z"]
        stalled, other = await self.stalled_owner(*members)
        prefix = self.config["prefix"]
        # Of a large server, the end takes several steps: after the first of them.
        self.raw("ZREM", f"{prefix}alive", stalled.process)
        self.raw("ZADD", f"{prefix}owners", 0, stalled.process)
        self.raw("ZPOPMIN", f"{prefix}table:process!", 1)
        await self.goes_on(stalled)
        await other.send_group("group", {})
        (delivery,) = await self.waiting
        self.assertEqual(sorted(delivery.recipients), members)

    async def test_one_registers_once_however_many_answers_say_that_it_is_unknown(self) -> None:
        stalled, other = await self.stalled_owner("process!x")
        (shard,) = stalled._shards
        greetings: list[Any] = []
        greet = shard._greet

        def counted(link: Any) -> Any:
            greetings.append(link)
            return greet(link)

        shard._greet = counted  # type: ignore[method-assign]
        await self.outlast(stalled, [other])
        # It takes, asks for news and gives a sign of life, all at once.
        stalled._receiving.ready(shard)
        shard._ask_for_news()
        await self.goes_on(stalled)
        self.assertEqual(len(greetings), 1)
        self.assertEqual(await other.group_channels("group"), ["process!x"])
        self.leave(self.waiting)


class LongAbsences(BehindProxy):
    async def test_answers_on_their_way_are_handed_out_after_all(self) -> None:
        behind, beside = await self.behind_proxy(
            redeliver=["channel"], reader_lease=READER_LEASE, owner_lease=OWNER_LEASE
        )
        stop_the_heart_of(behind)
        waiting = behind.receive(["process!", "channel"], ENOUGH)
        await self.pause()
        self.proxy.refuses = True
        self.proxy.loses_next_answer = True
        await beside.send_batch(
            [
                Send("process!x", {"number": 1}),
                Send("channel", {"number": 2}),
                Send("process!x", {"number": 3}, "other!x"),
                Send("process!x", {"number": 4}),
            ]
        )
        await self.eventually(lambda: not behind._shards[0].greeted)
        await self.outlast(behind, [beside], "alive")
        # Of these others know: one is somebody else's now, of the other its sender has heard.
        self.assertEqual(self.numbers(await self.read(beside, "channel")), [2])
        self.assertEqual(await self.read_messages(beside, "other!"), [{"receipt": "lost"}])
        self.proxy.refuses = False
        self.assertEqual(self.numbers(await waiting), [1, 4])
        await behind._shards[0].beat()
        kept = self.raw("EXISTS", f"{self.config['prefix']}taken:{behind.process}")
        self.assertEqual(kept, b":0\r\n")


class ManyShards(RedisCase):
    shards = 3

    async def test_a_channel_leaves_however_many_groups_it_is_in(self) -> None:
        layer = await self.layer()
        await layer.global_statistics()
        # More than Lua takes apart at once.
        groups = [f"group{number}" for number in range(9_000)]
        shard = layer._sending._places.owner_of("process!")
        lasts = 3_600_000
        joins = [("j", group, "process!x", lasts) for group in groups]
        await shard.operate([word for words in joins for word in words])
        await layer.group_add(groups[0], "process!x")
        self.assertEqual(await layer.send_batch([Forget("process!x")]), [None])
        self.assertEqual(await layer.group_channels(groups[0]), [])
