"""What the Redis layer promises beyond the contract."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater

from chanserv.errors import ChannelFull, LayerUnavailable
from chanserv.layers.redis.layer import RedisChannelLayer
from chanserv.layers.redis.programs import ALL, LIBRARY
from chanserv.messages import Forget, GroupSend, Outcome, Send
from chanserv.names import mailbox_of
from chanserv.testing.contract.case import ENOUGH
from tests.layers.redis.cases import BehindProxy, RedisCase
from tests.layers.redis.stores import has_heard, the_reactor, without_functions
from tests.redis_servers import RedisServer, redis_server, redis_servers


class GroupsCostByProcess(RedisCase):
    async def test_a_group_message_is_pushed_once_for_each_process(self) -> None:
        owners = await self.peers(3)
        for index, owner in enumerate(owners):
            self.leave(owner.receive([f"process{index}!"]))
            for number in range(50):
                await owner.group_add("group", f"process{index}!{number}")
        await owners[0].group_add("group", "ordinary")
        await self.pause()
        before = (await owners[0].global_statistics())["messages_count"]
        await owners[0].send_group("group", {})
        after = (await owners[0].global_statistics())["messages_count"]
        self.assertEqual(after - before, 4)

    async def test_a_group_whose_mailboxes_have_no_member_left_costs_nothing(self) -> None:
        layer = await self.layer()
        for number in range(3):
            await layer.group_add("group", f"process!{number}")
        for number in range(3):
            await layer.send_batch([Forget(f"process!{number}")])
        await layer.send_group("group", {})
        self.assertEqual((await layer.global_statistics())["messages_count"], 0)

    async def test_a_new_owner_of_a_mailbox_learns_of_all_its_members(self) -> None:
        first, second, adder = await self.peers(3)
        for reader in (first, second, first):
            await adder.group_add("group", "process!x")
            await adder.group_add("group", "process!y")
            await adder.group_discard("group", "process!y")
            waiting = reader.receive(["process!"])
            await adder.send_group("group", {"number": 1})
            (delivery,) = await waiting
            self.assertEqual(delivery.recipients, ("process!x",))

    async def test_more_changes_than_are_kept_come_as_a_whole(self) -> None:
        layer = await self.layer()
        waiting = layer.receive(["process!"])
        await self.pause()
        # Not told of them: its bell rings, but it does not ask.
        layer._shards[0]._ask_for_news = lambda: None  # type: ignore[method-assign]
        names = [f"process!{number}" for number in range(101)]
        for _ in range(100):
            await gatherResults([layer.group_add("group", name) for name in names])
        kept = self.raw("LLEN", f"{self.config['prefix']}changes:process!")
        self.assertLess(int(kept[1:]), 10_000)
        await layer.send_group("group", {})
        (delivery,) = await waiting
        self.assertEqual(set(delivery.recipients), set(names))


class AnswersThatAreLost(BehindProxy):
    """The layer behind a proxy, which cuts connections as it is told."""

    async def test_what_a_take_brought_whose_answer_was_lost_is_handed_out_once(self) -> None:
        behind, beside = await self.behind_proxy()
        waiting = behind.receive(["channel", "process!"], ENOUGH)
        await self.pause()
        self.proxy.loses_next_answer = True
        await beside.send_batch([Send("channel", {"number": n}, "other!x") for n in range(3)])
        got = await waiting
        self.assertFalse(self.proxy.loses_next_answer)
        self.assertEqual(self.numbers(got), [0, 1, 2])
        self.assertEqual(await self.read(beside, "channel"), [])
        for delivery in got:
            delivery.settle()
        receipts = await self.read_messages(beside, "other!")
        self.assertEqual(receipts, [{"receipt": "settled"}] * 3)

    async def test_a_group_message_whose_answer_was_lost_reaches_its_members(self) -> None:
        behind, beside = await self.behind_proxy()
        waiting = behind.receive(["process!"])
        await self.pause()
        behind._shards[0]._ask_for_news = lambda: None  # type: ignore[method-assign]
        await beside.group_add("group", "process!x")
        await self.pause()
        await self.all_heard()
        self.proxy.loses_next_answer = True
        await beside.send_group("group", {"number": 1})
        (delivery,) = await waiting
        self.assertFalse(self.proxy.loses_next_answer)
        self.assertEqual(delivery.recipients, ("process!x",))
        self.assertEqual(delivery.message, {"number": 1})

    async def test_what_nobody_wants_any_more_goes_back_in_its_order(self) -> None:
        behind, beside = await self.behind_proxy()
        waiting = behind.receive(["channel"], ENOUGH)
        await self.pause()
        self.proxy.loses_next_answer = True
        await beside.send_batch([Send("channel", {"number": n}) for n in range(3)])
        await self.eventually(lambda: not self.proxy.loses_next_answer)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        await self.eventually(lambda: behind._shards[0].greeted)
        await self.pause()
        await beside.send("channel", {"number": 3})
        got: list[int] = []
        while len(got) < 4:
            got += self.numbers(await beside.receive(["channel"], ENOUGH))
        self.assertEqual(got, [0, 1, 2, 3])

    async def test_what_could_not_be_settled_is_settled_on_the_next_connection(self) -> None:
        behind, beside = await self.behind_proxy()
        await beside.send("channel", {}, "process!x")
        delivery = await self.take_one(behind, "channel")
        waiting = beside.receive(["process!"])
        self.proxy.refuses = True
        self.proxy.cut()
        await self.eventually(lambda: not behind._shards[0].greeted)
        delivery.settle()
        await self.pause()
        self.assertFalse(waiting.called)
        self.proxy.refuses = False
        self.assertEqual(await self.received(waiting), [{"receipt": "settled"}])

    async def test_an_answer_that_may_be_lost_is_not_called_settled(self) -> None:
        behind, beside = await self.behind_proxy()
        await beside.send("channel", {}, "process!x")
        delivery = await self.take_one(behind, "channel")
        waiting = beside.receive(["process!"])
        self.proxy.refuses = True
        self.proxy.cut()
        await self.eventually(lambda: not behind._shards[0].greeted)
        (error,) = await behind.send_batch([Send("process!y", {"number": 1})], [delivery])
        self.assertIsInstance(error, LayerUnavailable)
        self.proxy.refuses = False
        self.assertEqual(await self.received(waiting), [{"receipt": "lost"}])

    async def test_a_reader_whose_bell_was_cut_is_rung_again(self) -> None:
        behind, beside = await self.behind_proxy()
        waiting = behind.receive(["channel"])
        await self.pause()
        for front in list(self.proxy.open):
            if front.is_bell:
                front.transport.abortConnection()
        await beside.send("channel", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])

    async def test_a_bell_that_nobody_hears_goes_to_the_next(self) -> None:
        behind, beside = await self.behind_proxy()
        deaf = behind.receive(["channel"])
        await self.pause()
        waiting = beside.receive(["channel"])
        await self.pause()
        self.proxy.refuses = True
        for front in list(self.proxy.open):
            if front.is_bell:
                front.transport.abortConnection()
        await self.until(self.bells_are(1))
        await beside.send("channel", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])
        self.leave(deaf)
        deaf.cancel()

    def bells_are(self, count: int) -> Any:
        """A condition: so many processes of this test can be rung."""

        async def holds() -> bool:
            pattern = f"{self.config['prefix']}bell:*"
            answer = self.raw("PUBSUB", "CHANNELS", pattern)
            return answer.startswith(b"*%d\r\n" % count)

        return holds


class ServersThatForget(RedisCase):
    async def test_a_server_that_has_forgotten_its_functions_is_told_them(self) -> None:
        await self.forgets(("FUNCTION", "FLUSH"))
        self.assertTrue(self.layers[0]._shards[0]._calls.by_functions)

    async def test_a_server_that_has_forgotten_its_scripts_is_told_them(self) -> None:
        with without_functions():
            await self.forgets(("SCRIPT", "FLUSH"))
        self.assertFalse(self.layers[0]._shards[0]._calls.by_functions)

    async def forgets(self, command: tuple[str, str]) -> None:
        layer = await self.layer()
        await layer.group_add("group", "process!x")
        self.raw(*command)
        waiting = layer.receive(["process!"])
        await layer.send_group("group", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])
        self.raw(*command)
        await gatherResults([layer.send("channel", {"number": n}) for n in range(10)])
        self.assertEqual(self.numbers(await self.read(layer, "channel")), list(range(10)))

    async def test_two_versions_of_the_programs_get_on_with_one_server(self) -> None:
        layer = await self.layer()
        await layer.send("channel", {"number": 1})
        # Another version has another hash in its names.
        other = LIBRARY.replace(b"chanserv_", b"chanserv_other_")
        self.assertNotIn(b"ERR", self.raw("FUNCTION", "LOAD", other))
        self.assertEqual(self.numbers(await self.read(layer, "channel")), [1])

    async def test_each_script_is_learnt_with_the_connection(self) -> None:
        self.raw("SCRIPT", "FLUSH")
        layer = await self.layer()
        await layer.global_statistics()
        known = self.raw("SCRIPT", "EXISTS", *(program.script.sha for program in ALL))
        self.assertEqual(known, b"*%d\r\n" % len(ALL) + b":1\r\n" * len(ALL))


class AStoreThatLosesItsData(RedisCase):
    """Each test has a server of its own, and ends it."""

    def setUp(self) -> None:
        super().setUp()
        running = redis_server()
        self.server = running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)

    def options(self) -> dict[str, Any]:
        return {"hosts": [self.server.url]}

    async def test_memberships_are_put_back_and_readers_wait_on(self) -> None:
        owner, other = await self.peers(2)
        waiting = owner.receive(["process!"])
        at_other = other.receive(["channel"])
        await self.pause()
        members = [f"process!{number}" for number in range(20)]
        for channel in members:
            await other.group_add("group", channel)
            await other.group_add("another", channel)
        await other.group_discard("another", members[0])
        await other.send_batch([Forget(members[1])])
        await self.pause()
        await self.all_heard()
        await self.restart(self.server)
        self.assertEqual(set(await other.group_channels("group")), set(members) - {members[1]})
        await other.send_group("group", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(set(delivery.recipients), set(members) - {members[1]})
        waiting = owner.receive(["process!"])
        await other.send_group("another", {"number": 2})
        (delivery,) = await waiting
        self.assertEqual(set(delivery.recipients), set(members[2:]))
        await owner.send("channel", {"number": 3})
        self.assertEqual(await self.received(at_other), [{"number": 3}])

    async def test_changes_after_that_reach_the_owner_too(self) -> None:
        owner, other = await self.peers(2)
        waiting = owner.receive(["process!"])
        await other.group_add("group", "process!x")
        await self.pause()
        await self.all_heard()
        for _ in range(2):
            await self.restart(self.server)
        await other.group_discard("group", "process!x")
        await other.group_add("group", "process!y")
        await other.send_group("group", {})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!y",))

    async def test_receipts_that_were_owed_come_as_lost(self) -> None:
        layer, reader = await self.peers(2)
        waiting = layer.receive(["process!"], ENOUGH)
        await self.pause()
        for number in range(3):
            await layer.send("channel", {"number": number}, f"process!{number}")
        delivery = await self.take_one(reader, "channel")
        delivery.settle()
        self.assertEqual(await self.received(waiting), [{"receipt": "settled"}])
        waiting = layer.receive(["process!"], ENOUGH)
        await self.pause()
        await self.restart(self.server)
        lost = list(await waiting)
        while len(lost) < 2:
            lost += await layer.receive(["process!"], ENOUGH)
        self.assertEqual([one.channel for one in lost], ["process!1", "process!2"])
        self.assertEqual([one.message["receipt"] for one in lost], ["lost"] * 2)
        self.assertEqual((await layer.global_statistics())["messages_lost_count"], 2)

    async def test_receipts_that_a_replica_knows_nothing_of_come_as_lost(self) -> None:
        layer, reader = await self.peers(2)
        reading = layer.receive(["process!"])
        self.leave(reading)
        await self.pause()
        reading.cancel()
        for number in range(4):
            await layer.send(f"channel{number}", {}, f"process!{number}")
        settled = await self.take_one(reader, "channel0")
        leased = await self.take_one(reader, "channel1")
        settled.settle()
        await self.pause()
        await self.all_heard()
        # As a replica has it that takes over before it has heard of the last send.
        prefix = self.config["prefix"]
        self.server.command("DEL", f"{prefix}queue:channel3")
        (shard,) = layer._shards
        shard._run_id = b"that of the former master"
        losses = shard._losses
        shard._connection._link.abort("lost")  # type: ignore[union-attr]
        await self.eventually(lambda: shard._losses > losses and shard.greeted)
        got = await self.read(layer, "process!")
        self.assertEqual(
            [(one.channel, one.message["receipt"]) for one in got],
            [("process!0", "settled"), ("process!3", "lost")],
        )
        leased.settle()
        (await self.take_one(reader, "channel2")).settle()
        got = await self.read(layer, "process!")
        self.assertEqual([one.channel for one in got], ["process!1", "process!2"])
        self.assertEqual([one.message["receipt"] for one in got], ["settled"] * 2)
        self.assertEqual(layer._outstanding.count, 0)

    async def test_what_a_flush_has_forgotten_is_not_put_back(self) -> None:
        owner, other = await self.peers(2)
        self.leave(owner.receive(["process!"]))
        await other.group_add("group", "process!x")
        await self.pause()
        await self.all_heard()
        await other.flush()
        await self.pause()
        await self.all_heard()
        await self.restart(self.server)
        self.assertEqual(await other.group_channels("group"), [])


class AServerWithoutMemory(RedisCase):
    @classmethod
    def start_servers(cls) -> AbstractContextManager[Sequence[RedisServer]]:
        return redis_servers(1, "--maxmemory-policy", "noeviction")

    async def test_what_waits_can_be_read_when_nothing_more_can_be_sent(self) -> None:
        await self.runs_full()

    async def test_the_same_holds_for_a_server_without_functions(self) -> None:
        with without_functions():
            await self.runs_full()

    async def runs_full(self) -> None:
        layer, reader = await self.peers(2)
        for number in range(10):
            await layer.send("channel", {"number": number}, "process!x")
        await reader.global_statistics()
        await self.pause()
        by_functions = reader._shards[0]._calls.by_functions
        self.raw("CONFIG", "SET", "maxmemory", 1)
        try:
            refused = await self.refused(layer.send("channel", {}), LayerUnavailable)
            self.assertIn("memory", str(refused))
            waiting = reader.receive(["channel"], ENOUGH)
            if by_functions:
                got = await waiting
                # That is put off, and done when the server can.
                for delivery in got:
                    delivery.settle()
                await has_heard(reader)
            else:
                # Refused before anything was taken.
                await self.eventually(lambda: self.said("refused to be read from"))
                # To be registered again is refused too, and tried again.
                (shard,) = reader._shards
                shard._resting.cancel()  # type: ignore[union-attr]
                shard._rested()
                await self.eventually(lambda: shard._resting is not None)
        finally:
            self.raw("CONFIG", "SET", "maxmemory", 0)
        if not by_functions:
            got = await waiting
            for delivery in got:
                delivery.settle()
        self.assertEqual(self.numbers(got), list(range(10)))
        receipts: list[Any] = []
        while len(receipts) < 10:
            receipts += await self.received(layer.receive(["process!"], ENOUGH))
        self.assertEqual(receipts, [{"receipt": "settled"}] * 10)
        statistics = await layer.global_statistics()
        self.assertEqual(statistics["messages_pending"], 0)
        self.assertEqual(statistics["messages_lost_count"], 0)


class LeasesAndTime(RedisCase):
    async def test_nobody_is_dead_because_everybody_was_away(self) -> None:
        layer, reader = await self.peers(2)
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(reader, "channel")
        self.leave(reader.receive(["owned!"]))
        await layer.group_add("group", "owned!x")
        await self.pause()
        await self.all_heard()
        # As when the server was stopped for so long: the first that comes sweeps.
        self.offset += 60_000
        await layer._shards[0].beat()
        await reader._shards[0].beat()
        self.assertEqual(await layer.group_channels("group"), ["owned!x"])
        self.assertEqual(await self.read(layer, "process!"), [])
        delivery.settle()
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])

    async def test_a_process_that_stood_still_comes_back_with_its_memberships(self) -> None:
        layer, stalled = await self.peers(2)
        waiting = stalled.receive(["process!"])
        await layer.group_add("group", "process!x")
        await self.pause()
        await self.all_heard()
        (shard,) = stalled._shards
        # No sign of life for as long as mailboxes last.
        shard._beating.cancel()  # type: ignore[union-attr]
        await self.outlast(stalled, [layer])
        self.assertEqual(await layer.group_channels("group"), [])
        shard._beat()
        await self.eventually(lambda: self.said("memberships have been put back"))
        await self.pause()
        await self.all_heard()
        self.assertEqual(await layer.group_channels("group"), ["process!x"])
        await layer.send_group("group", {"number": 1})
        (delivery,) = await waiting
        self.assertEqual(delivery.recipients, ("process!x",))

    async def test_a_take_of_a_process_taken_for_dead_registers_it_first(self) -> None:
        layer, stalled = await self.peers(2)
        await stalled.global_statistics()
        await self.pause()
        await self.all_heard()
        (shard,) = stalled._shards
        shard._beating.cancel()  # type: ignore[union-attr]
        await self.outlast(stalled, [layer], "alive")
        shard._schedule_beat()
        await layer.send("channel", {"number": 1}, "process!x")
        delivery = await self.take_one(stalled, "channel")
        delivery.settle()
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "settled"}])

    async def test_what_a_stalled_reader_settles_too_late_changes_nothing(self) -> None:
        layer, stalled = await self.peers(2)
        await layer.send("channel", {}, "process!x")
        delivery = await self.take_one(stalled, "channel")
        (shard,) = stalled._shards
        shard._beating.cancel()  # type: ignore[union-attr]
        await self.outlast(stalled, [layer], "alive")
        shard._schedule_beat()
        delivery.settle()
        self.assertEqual(await self.read_messages(layer, "process!"), [{"receipt": "lost"}])

    async def test_what_a_stalled_reader_was_rung_for_goes_to_another(self) -> None:
        layer, stalled, other = await self.peers(3)
        self.leave(stalled.receive(["channel"]))
        await self.pause()
        waiting = other.receive(["channel"])
        await self.pause()
        (shard,) = stalled._shards
        shard._beating.cancel()  # type: ignore[union-attr]
        rung: list[str] = []
        shard._house.rung = lambda _, signature: rung.append(signature)  # type: ignore[method-assign]
        await layer.send("channel", {"number": 1})
        await self.eventually(lambda: rung)
        await self.outlast(stalled, [layer, other], "alive")
        self.assertEqual(await self.received(waiting), [{"number": 1}])
        shard._schedule_beat()

    async def test_counts_of_what_waits_are_exact_whatever_happens_to_it(self) -> None:
        layer = await self.layer(expiry=self.expiry, capacity=5, redeliver=["again"])
        for number in range(7):
            await layer.send_batch([Send("channel", {"number": number}), Send("again", {})])
        await self.take(layer, "channel", limit=2)
        await self.take(layer, "again", limit=2)
        for delivery in await self.take(layer, "again", limit=2):
            delivery.settle(Outcome.LOST)
        statistics = await layer.global_statistics()
        self.assertEqual(statistics["messages_pending"], 3 + 3)
        await self.advance(self.expiry * 1.1)
        statistics = await layer.global_statistics()
        self.assertEqual(statistics["messages_pending"], 0)
        self.assertEqual(statistics["messages_expired_count"], 6)
        self.assertEqual(statistics["channel_full_count"], 4)

    async def test_nothing_is_left_in_the_store_when_all_has_ended(self) -> None:
        layer = await self.layer(expiry=self.expiry, group_expiry=self.group_expiry)
        prefix = self.config["prefix"]
        self.leave(layer.receive(["process!", "channel"]))
        await layer.group_add("group", "process!x")
        await layer.group_add("group", "ordinary")
        await layer.send_group("group", {})
        await layer.send("channel", {}, "process!x")
        await self.pause()
        await self.all_heard()
        await layer.close()
        other = self.make_peer()
        self.addCleanup(other.close)
        await other.global_statistics()
        await self.eventually(lambda: other._shards[0].greeted)
        await self.advance(self.group_expiry * 1.1)
        # Receipts of what has expired, for who is gone, last as long again.
        await self.advance(self.expiry * 1.1)
        await other.close()
        kinds = {
            line.removeprefix(prefix).split(":")[0]
            for line in self.raw("KEYS", f"{prefix}*").decode().split("\r\n")
            if line.startswith(prefix)
        }
        # What is left has a time to live, or is one small value.
        self.assertLessEqual(
            kinds, {"born", "swept", "stats", "channels", "listeners", "in", "table"}
        )
        for kind in ("channels", "listeners", "in", "table", "stats:of"):
            for line in self.raw("KEYS", f"{prefix}{kind}:*").decode().split("\r\n"):
                if line.startswith(prefix):
                    self.assertNotEqual(self.raw("PTTL", line), b":-1\r\n", line)


class WhatStandsInTheStore(RedisCase):
    async def test_names_of_groups_and_bodies_cannot_be_read_where_there_are_keys(self) -> None:
        layer = await self.layer(symmetric_encryption_keys=["a key", "an older key"])
        self.leave(layer.receive(["other!"]))
        await layer.group_add("secretgroup", "process!x")
        await layer.send_batch(
            [
                Send("channel", {"secretkey": "secretvalue"}, "process!x"),
                GroupSend("secretgroup", {"secretkey": "secretvalue"}),
            ]
        )
        await layer.send("jobs", {"secretkey": b"secretvalue"})
        (delivery,) = await self.read(layer, "channel")
        self.assertEqual(delivery.message, {"secretkey": "secretvalue"})
        self.assertEqual(await layer.group_channels("secretgroup"), ["process!x"])
        prefix = self.config["prefix"]
        keys = [
            line
            for line in self.raw("KEYS", f"{prefix}*").decode().split("\r\n")
            if line.startswith(prefix)
        ]
        self.assertGreater(len(keys), 10)
        for key in keys:
            self.assertNotIn("secret", key)
            self.assertNotIn(b"secret", self.raw("DUMP", key))
        # The same look finds what is not encrypted.
        plain = await self.layer()
        await plain.send("jobs", {"secretkey": b"secretvalue"})
        self.assertIn(b"secretvalue", self.raw("DUMP", f"{self.config['prefix']}queue:jobs"))

    async def test_keys_can_be_changed(self) -> None:
        old = await self.layer(symmetric_encryption_keys=["old"])
        self.config = {**self.config, "symmetric_encryption_keys": ["new", "old"]}
        new = await self.peer(old)
        await old.send("channel", {"number": 1})
        await old.group_add("group", "process!x")
        await new.send_group("group", {"number": 2})
        self.assertEqual(self.numbers(await self.read(new, "channel", "process!")), [1, 2])

    async def test_what_cannot_be_read_is_counted_and_said_and_in_nobodys_way(self) -> None:
        layer = await self.layer(redeliver=["again"])
        self.config = {**self.config, "symmetric_encryption_keys": ["a key"]}
        other = await self.peer(layer)
        for channel in ("channel", "again"):
            await other.send(channel, {"number": 0}, "process!x")
            await other.send(channel, {"number": 0})
            await layer.send(channel, {"number": 1})
            self.assertEqual(self.numbers(await self.read(layer, channel)), [1])
        self.assertTrue(self.said("is lost"))
        self.assertEqual((await layer.global_statistics())["messages_lost_count"], 4)
        receipts = await self.read_messages(layer, "process!")
        self.assertEqual(receipts, [{"receipt": "lost"}] * 2)

    async def test_layers_with_different_prefixes_know_nothing_of_each_other(self) -> None:
        one = await self.layer()
        first = self.config["prefix"]
        # As if its keys were a pattern for the other's.
        other = await self.layer(prefix=f"{first[:3]}*")
        for layer in (one, other):
            await layer.send("channel", {"number": 1})
            await layer.group_add("group", "process!x")
        await other.flush()
        self.assertEqual(await one.group_channels("group"), ["process!x"])
        self.assertEqual((await one.channel_statistics("channel"))["messages_count"], 1)
        self.assertEqual((await other.channel_statistics("channel"))["messages_count"], 0)
        self.assertEqual(self.numbers(await self.read(one, "channel")), [1])
        self.assertEqual(await self.read(other, "channel"), [])

    async def test_statistics_stand_under_their_own_prefix(self) -> None:
        layer = await self.layer(stats_prefix="numbers-of-this-test:")
        await layer.send("channel", {})
        found = self.raw("HGET", "numbers-of-this-test:all", "messages_count")
        self.assertEqual(found, b"$1\r\n1\r\n")
        await layer.flush()
        self.assertEqual(self.raw("EXISTS", "numbers-of-this-test:of:channel"), b":0\r\n")


class Receiving(RedisCase):
    async def test_what_is_asked_for_comes_behind_what_was_sent(self) -> None:
        layer = await self.layer()
        for number in range(1, 5):
            sent = layer.send("channel", {"number": number})
            self.assertEqual((await layer.global_statistics())["messages_count"], number)
            await sent
        sent = layer.send("channel", {"number": 5})
        got = await self.received(layer.receive(["channel"], ENOUGH))
        self.assertEqual(len(got), 5)
        await sent

    async def test_receive_now_answers_whether_something_is_there_or_not(self) -> None:
        layer, other = await self.peers(2)
        self.assertEqual(await layer.receive_now(["channel", "process!"]), [])
        for number in range(3):
            await other.send("channel", {"number": number})
        got = await layer.receive_now(["channel", "process!"], 2)
        self.assertEqual(self.numbers(got), [0, 1])
        self.assertEqual(self.numbers(await layer.receive_now(["channel", "process!"])), [2])
        self.assertEqual(await layer.receive_now(["channel", "process!"]), [])

    async def test_a_receive_that_waits_is_not_disturbed_by_one_that_does_not(self) -> None:
        layer, other = await self.peers(2)
        waiting = layer.receive(["channel"])
        self.assertEqual(await layer.receive_now(["channel"]), [])
        await other.send("channel", {"number": 1})
        self.assertEqual(await self.received(waiting), [{"number": 1}])

    async def test_what_a_reader_leaves_behind_is_for_another_that_waits(self) -> None:
        sender, both, one = await self.peers(3)
        # Which of the two is rung for the first message is a matter of chance.
        for _ in range(8):
            first = both.receive(["one", "two"])
            await self.pause()
            waiting = one.receive(["one"])
            await self.pause()
            (watch,) = both._receiving._watches
            watch.channels[:] = ["two", "one"]
            # Nobody is left to be rung for the second, which that one takes first.
            await sender.send_batch([Send("one", {"number": 1}), Send("two", {"number": 2})])
            got = await self.received(first) + await self.received(waiting)
            self.assertEqual([message["number"] for message in got], [2, 1])

    async def test_many_different_readers_of_a_process_are_all_served(self) -> None:
        layer, other = await self.peers(2)
        waiting = [layer.receive([f"body?{number}"]) for number in range(150)]
        await self.pause()
        await other.send_batch(
            [Send(f"body?{number}", {"number": number}) for number in range(150)]
        )
        got = [self.numbers(found) for found in await gatherResults(waiting)]
        self.assertEqual(got, [[number] for number in range(150)])

    async def test_readers_that_are_no_more_are_forgotten(self) -> None:
        layer, other = await self.peers(2)
        for number in range(100):
            waiting = layer.receive([f"body?{number}"])
            await other.send(f"body?{number}", {})
            await waiting
        self.assertLess(len(layer._receiving._watches), 70)
        await layer._shards[0].beat()
        known = self.raw("SCARD", f"{self.config['prefix']}listens:{layer.process}")
        self.assertLess(int(known[1:]), 70)

    async def test_a_large_backlog_comes_in_parts(self) -> None:
        layer = await self.layer(capacity=1000)
        body = b"x" * 500_000
        for _ in range(12):
            await layer.send("channel", {"body": body})
        first = await self.take(layer, "channel", limit=ENOUGH)
        # The answer to one take is bounded, whatever its limit.
        self.assertLess(len(first), 12)
        rest = await self.read(layer, "channel")
        self.assertEqual(len(first) + len(rest), 12)

    async def test_a_closed_layer_gives_back_what_it_was_about_to_hand_out(self) -> None:
        layer, other = await self.peers(2)
        for _ in range(20):
            waiting = layer.receive(["channel"])
            await self.pause()
            sending = other.send("channel", {"number": 1})
            # Somewhere between the bell and the take.
            await deferLater(the_reactor(), 0, lambda: None)
            await layer.close()
            await sending
            got = await self.received(waiting.addErrback(lambda _: []))
            if not got:
                (delivery,) = await other.receive(["channel"])
                self.assertEqual(delivery.message, {"number": 1})
            layer = await self.peer(other)


class ThreeShards(RedisCase):
    """Each test has servers of its own."""

    shards = 3

    @classmethod
    def setUpClass(cls) -> None:
        pass

    @classmethod
    def tearDownClass(cls) -> None:
        pass

    def setUp(self) -> None:
        super().setUp()
        running = redis_servers(3)
        self.all = self.servers = running.__enter__()  # type: ignore[misc]
        self.addCleanup(running.__exit__, None, None, None)

    def mailbox_on(self, layer: RedisChannelLayer, shard: int) -> str:
        """A mailbox that belongs on that shard."""
        number = 0
        while True:
            name = f"process{number}!"
            if layer._sending._places.owner_of(name) is self.shard_of(layer, shard):
                return name
            number += 1

    def shard_of(self, layer: RedisChannelLayer, index: int) -> Any:
        """The shard of a server."""
        name = str(self.all[index].path)
        return next(one for one in layer._shards if name in one.name)

    def pending_on(self, index: int) -> int:
        """How many messages wait on a server."""
        prefix = self.config["prefix"]
        counts = []
        for field in ("messages_count", "gone"):
            answer = self.raw("HGET", f"{prefix}stats:all", field, server=index)
            counts.append(int(answer.split(b"\r\n")[1] or 0) if answer != b"$-1\r\n" else 0)
        return counts[0] - counts[1]

    async def test_messages_go_where_their_answers_go(self) -> None:
        layer = await self.layer()
        for index in range(3):
            mailbox = self.mailbox_on(layer, index)
            before = self.pending_on(index)
            await layer.send(mailbox + "x", {})
            await layer.send("channel", {}, mailbox + "x")
            await layer.send("channel", {"reply_channel": mailbox + "x"})
            self.assertEqual(self.pending_on(index) - before, 3)

    async def test_one_channel_without_answers_is_in_order_and_exactly_full(self) -> None:
        layer = await self.layer(capacity=5)
        for number in range(5):
            await layer.send("channel", {"number": number})
        await self.refused(layer.send("channel", {}), ChannelFull)
        self.assertEqual(self.numbers(await self.read(layer, "channel")), list(range(5)))

    async def test_the_events_of_many_servers_spread_over_all_shards(self) -> None:
        layer = await self.layer(capacity=1000)
        for number in range(300):
            await layer.send("channel", {}, f"process{number}!x")
        for index in range(3):
            self.assertGreater(self.pending_on(index), 30)

    async def test_a_shard_that_is_gone_takes_only_its_own_share(self) -> None:
        layer, reader = await self.peers(2)
        mailboxes = [self.mailbox_on(layer, index) for index in range(3)]
        waiting = reader.receive(["channel", *mailboxes])
        await layer.global_statistics()
        await self.pause()
        self.all[0].kill()
        await self.eventually(lambda: all(self.shard_of(one, 0).down for one in (layer, reader)))
        # Ordinary messages go on, wherever they would have gone; and are heard.
        for number in range(20):
            await layer.send(f"channel{number}", {})
        await layer.send("channel", {"number": 1, "reply_channel": mailboxes[0] + "x"})
        self.assertEqual([one.message["number"] for one in await waiting], [1])
        # What belongs there fails at once, and the rest does not.
        await self.refused(layer.send(mailboxes[0] + "x", {}), LayerUnavailable)
        await self.refused(layer.send("channel", {}, mailboxes[0] + "x"), LayerUnavailable)
        for mailbox in mailboxes[1:]:
            waiting = reader.receive(["channel", *mailboxes])
            await layer.send(mailbox + "x", {"number": 2})
            self.assertEqual(self.numbers(await waiting), [2])
        errors = await layer.send_batch([Send(mailbox + "x", {}) for mailbox in mailboxes])
        self.assertEqual([type(one) for one in errors], [LayerUnavailable, type(None), type(None)])
        for mailbox in mailboxes[1:]:
            await self.take_one(reader, mailbox)
        # And when it is back, it is used as before.
        waiting = reader.receive(["channel", *mailboxes])
        self.all[0].start()
        await self.eventually(lambda: all(self.shard_of(one, 0).greeted for one in (layer, reader)))
        await layer.send(mailboxes[0] + "x", {"number": 3})
        self.assertEqual(self.numbers(await waiting), [3])

    async def test_memberships_are_put_back_on_the_one_that_lost_them(self) -> None:
        layer, owner = await self.peers(2)
        mailboxes = [self.mailbox_on(layer, index) for index in range(3)]
        waiting = owner.receive(mailboxes, ENOUGH)
        groups = [f"group{number}" for number in range(12)]
        for group in groups:
            for mailbox in mailboxes:
                await layer.group_add(group, mailbox + "x")
        await self.pause()
        await self.all_heard()
        for index in range(3):
            await self.restart(self.all[index])
            for group in groups:
                expected = [mailbox + "x" for mailbox in mailboxes]
                self.assertEqual(sorted(await layer.group_channels(group)), sorted(expected))
                await layer.send_group(group, {})
            got: list[str] = []
            while len(got) < len(groups) * 3:
                for delivery in await waiting:
                    self.assertEqual(len(delivery.recipients), 1)
                    got.append(mailbox_of(delivery.channel))
                waiting = owner.receive(mailboxes, ENOUGH)
            self.assertEqual(sorted(got), sorted(mailboxes * len(groups)))
        self.leave(waiting)
        waiting.cancel()

    async def test_a_batch_over_shards_does_its_parts_in_order(self) -> None:
        layer, owner = await self.peers(2)
        mailboxes = [self.mailbox_on(layer, index) for index in range(3)]
        for mailbox in mailboxes:
            for group in ("one", "two", "three"):
                await layer.group_add(group, mailbox + "x")
        sends = [Send(mailbox + "x", {"number": 1}) for mailbox in mailboxes]
        groups = [GroupSend(group, {"number": 2 + n}) for n, group in enumerate(("one", "two"))]
        last = [Send(mailbox + "x", {"number": 5}) for mailbox in mailboxes]
        forget = [Forget(mailboxes[0] + "x")]
        after = [GroupSend("three", {"number": 6})]
        errors = await layer.send_batch([*sends, *groups, *last, *forget, *after])
        self.assertEqual(set(errors), {None})
        for index, mailbox in enumerate(mailboxes):
            expected = [1, 2, 3, 5] + ([6] if index else [])
            self.assertEqual(self.numbers(await self.read(owner, mailbox)), expected)

    async def test_what_one_process_asks_for_at_once_is_done_in_order(self) -> None:
        layer = await self.layer()
        for number in range(30):
            # Whatever shards these belong on.
            group, channel = f"group{number}", f"process{number}!x"
            done = [
                layer.group_add(group, channel),
                layer.group_discard(group, channel),
                layer.send_group(group, {"number": 1}),
                layer.group_add(group, channel),
                layer.send_group(group, {"number": 2}),
                layer.group_discard(group, channel),
                layer.send_batch([GroupSend(group, {"number": 3})]),
                layer.group_add(group, channel),
                layer.send_batch([GroupSend(group, {"number": 4}), Forget(channel)]),
                layer.send_group(group, {"number": 5}),
                layer.group_add(group, channel),
            ]
            members = layer.group_channels(group)
            await gatherResults(done)
            self.assertEqual(await members, [channel])
            self.assertEqual(self.numbers(await self.read(layer, f"process{number}!")), [2, 4])

    async def test_a_receive_never_gets_more_than_it_asked_for(self) -> None:
        layer, reader = await self.peers(2)
        mailboxes = [self.mailbox_on(layer, index) for index in range(3)]
        await layer.send_batch([Send("channel", {}, mailbox + "x") for mailbox in mailboxes * 10])
        total = 0
        while total < 30:
            got = await reader.receive(["channel"], 4)
            self.assertTrue(1 <= len(got) <= 4, len(got))
            total += len(got)
        self.assertEqual(await self.read(reader, "channel"), [])
