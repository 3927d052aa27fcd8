"""Corners of the Redis layer, most of which somebody has bumped into."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from chanserv.errors import ChannelFull, LayerUnavailable
from chanserv.layers.redis.entry import Entry
from chanserv.layers.redis.leased import Leased, joined, settling
from chanserv.layers.redis.mirrors import Mirrors
from chanserv.messages import GroupSend, Outcome, Send
from chanserv.testing.contract.case import ENOUGH
from tests.layers.redis.cases import BehindProxy, RedisCase


class Takes(RedisCase):
    async def test_what_finds_no_room_in_an_answer_comes_in_the_next(self) -> None:
        layer, sender = await self.peers(2, capacity=100)
        for _ in range(12):
            await sender.send("big", {"body": b"x" * 500_000})
        await sender.send("small", {"number": 1})
        # Both are asked for together, as soon as there is a connection.
        big, small = layer.receive(["big"], ENOUGH), layer.receive(["small"])
        self.assertLess(len(await big), 12)
        self.assertEqual(await self.received(small), [{"number": 1}])

    async def test_a_receipt_that_a_take_itself_gives_is_not_waited_for(self) -> None:
        layer = await self.layer(expiry=self.expiry)
        await layer.send("channel", {}, "body?x")
        # Nobody has swept when it is taken.
        self.offset += round(self.expiry * 1100)
        got = await self.received(layer.receive(["body?x", "channel"]))
        self.assertEqual(got, [{"receipt": "expired"}])

    async def test_a_reader_that_comes_back_is_not_forgotten_with_the_old_one(self) -> None:
        layer, sender = await self.peers(2)
        for number in range(80):
            await layer.receive_now([f"body?{number}"])
        waiting = layer.receive(["body?0"])
        await self.pause()
        await layer._shards[0].beat()
        await sender.send("body?0", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])

    async def test_a_store_that_forgot_what_is_read_is_told_with_the_next_sign_of_life(
        self,
    ) -> None:
        layer, sender = await self.peers(2)
        waiting = layer.receive(["channel"])
        await self.pause()
        (watch,) = layer._receiving._watches
        prefix = self.config["prefix"]
        for key in (f"channels:{watch.signature}", "listeners:channel"):
            self.assertEqual(self.raw("DEL", prefix + key), b":1\r\n")
            known = layer._shards[0]._signatures._known
            known[watch.signature] = float("-inf")
            await layer._shards[0].beat()
            await self.pause()
        await sender.send("channel", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])

    async def test_signatures_of_nobody_are_dropped_from_the_listeners(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["channel"])
        self.leave(waiting)
        await self.pause()
        listeners = f"{self.config['prefix']}listeners:channel"
        self.raw("SADD", listeners, "of-a-former-version-of-the-site")
        known = layer._shards[0]._signatures._known
        known.update(dict.fromkeys(known, float("-inf")))
        await layer._shards[0].beat()
        self.assertEqual(self.raw("SCARD", listeners), b":1\r\n")
        waiting.cancel()

    async def test_who_does_not_wait_does_not_wait_for_a_shard_that_is_lost(self) -> None:
        layer = await self.layer()
        await layer.global_statistics()
        await self.pause()
        (shard,) = layer._shards
        shard.taking = True
        waiting = layer._receiving.receive(["channel"], 1, [shard])
        self.assertFalse(waiting.called)
        shard._house.lost(shard)
        self.assertEqual(self.successResultOf(waiting), [])
        shard.taking = False


class Leases(RedisCase):
    def entry(self, layer: Any, place: int = 0) -> Entry:
        """What the last take of C{layer} brought, as if it had not been handed out."""
        prefix = self.config["prefix"]
        lease = f"{layer._shards[0]._takes.answered}:{place}"
        line = self.raw("HGET", f"{prefix}leases:{layer.process}", lease)
        raw = line.split(b"\r\n", 1)[1][:-2] + b"\x01\x00\x80"
        return Entry(b"m", "channel", lease, b"\x01\x00\x80", raw)

    async def test_what_is_leased_no_more_is_not_put_back(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        entry = self.entry(layer)
        delivery.settle()
        layer._shards[0].leased.put_back([entry])
        self.assertEqual(await self.read(layer, "channel"), [])
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])

    async def test_what_is_leased_is_put_back_once_and_gives_one_receipt(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(layer, "channel")
        entry = self.entry(layer)
        for _ in range(2):
            layer._shards[0].leased.put_back([entry])
        again = await self.take_one(layer, "channel")
        delivery.settle()
        again.settle()
        self.assertEqual(await self.read(layer, "channel"), [])
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])

    async def test_what_could_not_be_put_back_is_put_back_later(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {}, "process!x")
        await self.take_one(layer, "channel")
        entry = self.entry(layer)
        self.raw("CONFIG", "SET", "maxmemory", 1)
        try:
            layer._shards[0].leased.put_back([entry])
            await self.eventually(lambda: bool(layer._shards[0].leased))
        finally:
            self.raw("CONFIG", "SET", "maxmemory", 0)
        await layer._shards[0].beat()
        (await self.take_one(layer, "channel")).settle()
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])

    async def test_a_late_reader_that_is_still_owner_keeps_what_others_have_changed(self) -> None:
        layer, stalled = await self.peers(2)
        waiting = stalled.receive(["process!"])
        for channel in ("process!stays", "process!goes"):
            await layer.group_add("group", channel)
        await self.pause()
        (shard,) = stalled._shards
        shard._ask_for_news = lambda: None  # type: ignore[method-assign]
        shard._beating.cancel()  # type: ignore[union-attr]
        await self.outlast(stalled, [layer], "alive")
        await layer.group_discard("group", "process!goes")
        shard._beat()
        await self.eventually(lambda: self.said("this process"))
        await self.eventually(lambda: shard.greeted)
        await self.pause()
        self.assertEqual(await layer.group_channels("group"), ["process!stays"])
        await layer.send_group("group", {})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!stays",))

    async def test_a_mailbox_whose_changes_were_dropped_ends_with_its_owner(self) -> None:
        layer, owner = await self.peers(2)
        self.leave(owner.receive(["process!"]))
        await self.pause()
        await layer.group_add("group", "process!x")
        await owner._shards[0].operate(("d", "process!"))
        await self.kill_peer(owner)
        self.assertEqual(await layer.group_channels("group"), [])

    async def test_the_memberships_of_a_large_server_end_part_by_part(self) -> None:
        layer = await self.layer()
        await layer.global_statistics()
        for end in (self.close_it, self.kill_peer):
            owner = await self.peer(layer)
            self.leave(owner.receive(["process!"]))
            await self.pause()
            names = [f"process!{number}" for number in range(2500)]
            await gatherResults([layer.group_add("all", name) for name in names])
            await gatherResults(
                [layer.group_add(f"group{name[8:]}", name) for name in names[:1200]]
            )
            self.assertEqual(len(await layer.group_channels("all")), len(names))
            await end(owner)
            for group in ("all", "group0", "group1199"):
                self.assertEqual(await layer.group_channels(group), [])
            left = self.raw("KEYS", f"{self.config['prefix']}*process!*").decode()
            kinds = {line.split(":")[1] for line in left.split() if "process!" in line}
            # The names of those who listened last a while.
            self.assertLessEqual(kinds, {"listeners"})

    async def close_it(self, peer: Any) -> None:
        await peer.close()

    async def test_counts_that_are_made_anew_have_a_time_to_live(self) -> None:
        layer = await self.layer()
        await layer.send("body?x", {}, "process!x")
        delivery = await self.take_one(layer, "body?x")
        key = f"{self.config['prefix']}stats:of:body?x"
        self.assertEqual(self.raw("DEL", key), b":1\r\n")
        delivery.settle(Outcome.LOST)
        await layer.global_statistics()
        self.assertGreater(int(self.raw("PTTL", key)[1:]), 0)

    async def test_a_server_without_memory_still_has_its_functions(self) -> None:
        layer = await self.layer()
        await layer.global_statistics()
        (shard,) = layer._shards
        self.raw("CONFIG", "SET", "maxmemory", 1)
        try:
            before = shard._losses
            shard._connection._link.abort("lost")  # type: ignore[union-attr]
            await self.eventually(lambda: shard._losses > before and shard.greeted)
            self.assertTrue(shard._calls.by_functions)
            self.assertEqual(await layer.receive_now(["channel"]), [])
        finally:
            self.raw("CONFIG", "SET", "maxmemory", 0)


class HeldCommands(BehindProxy):
    async def test_what_is_settled_with_an_answer_comes_behind_it(self) -> None:
        behind, beside = await self.behind_proxy()
        await beside.send("channel", {}, "process!x")
        delivery = await self.take_one(behind, "channel")
        (shard,) = behind._shards
        # As one that has been up for a while: then commands are held for a moment.
        shard._connection._up_at -= 10
        gone: Deferred[None] = Deferred()
        tell = shard._house.lost

        def lost(which: Any) -> None:
            tell(which)
            if not gone.called:
                gone.callback(None)

        shard._house.lost = lost  # type: ignore[method-assign]
        self.proxy.cut()
        # It may be back in a moment, so this goes on just then.
        await gone
        self.assertFalse(shard._connection.up)
        (error,) = await behind.send_batch([Send("process!x", {"number": 1})], [delivery])
        got: list[Any] = []
        while not got or "receipt" not in got[-1]:
            got += await self.received(beside.receive(["process!"], ENOUGH))
        if error is None:
            self.assertEqual(got, [{"number": 1}, {"receipt": "settled"}])
        else:
            # The way back took longer than commands are held.
            self.assertEqual(got, [{"receipt": "lost"}])


class Shards(RedisCase):
    shards = 3

    async def test_what_a_full_channel_is_not_asked_for_is_not_owed(self) -> None:
        layer = await self.layer(capacity=1)
        reading = layer.receive(["process!"])
        self.leave(reading)
        await self.pause()
        errors = await layer.send_batch(
            [
                Send("channel", {}, "process!x"),
                Send("channel", {}, "process!x"),
                GroupSend("group", {}),
                Send("channel", {}, "process!x"),
            ]
        )
        self.assertEqual([type(one) for one in errors], [type(None), ChannelFull] * 2)
        self.assertEqual(layer._outstanding.count, 1)
        reading.cancel()


def test_a_count_of_changes_that_begins_anew_holds_nothing_up() -> None:
    mirrors = Mirrors(lambda name: "here")
    mirrors.fed("here", [[b"process!", b"new", b"0", [b"50 9000000 old process!old"]]])
    mirrors.fed("here", [[b"process!", b"more", b"0", [b"1 9000000 group process!x"]]])
    mirror = mirrors.of("process!")
    assert mirror is not None
    assert mirror.recipients("group", 1, 0.0) == ("process!x",)


def test_changes_from_another_shard_than_the_mailboxs_own_do_not_count() -> None:
    mirrors = Mirrors(lambda name: "here")
    mirrors.fed("there", [[b"process!", b"new", b"0", [b"1 9000000 group process!x"]]])
    assert mirrors.mailboxes("there") == mirrors.mailboxes("here") == []


def test_operations_that_failed_are_done_again_once_and_the_last_word_counts() -> None:
    posted: list[tuple[list[Any], Deferred[Any]]] = []

    def post(words: Any, count: int) -> Deferred[Any]:
        posted.append((list(words), Deferred()))
        return posted[-1][1]

    complaints: list[Any] = []
    leased = Leased("there", post, complaints.append)
    leased.settle("1:0", "settled")
    leased.again()
    assert len(posted) == 1, "what is under way is not done again"
    posted[0][1].errback(LayerUnavailable("gone"))
    leased.not_settled("1:1", "lost")
    leased.again()
    assert posted[1][0] == ["t", "1:0", "settled", "t", "1:1", "lost"]
    leased.not_settled("1:0", "lost")
    posted[1][1].errback(LayerUnavailable("gone"))
    assert joined(leased.take().values()) == [*settling("1:0", "lost"), *settling("1:1", "lost")]
    assert not leased
    assert len(complaints) == 2
