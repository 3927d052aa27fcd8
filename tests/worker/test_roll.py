"""Tests for C{chanserv.worker.roll}."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.errors import LayerUnavailable
from chanserv.layers import MemoryChannelLayer, make_layer
from chanserv.layers.asgi1 import Asgi1ChannelLayer
from chanserv.layers.reach import keeps_a_roll
from chanserv.testing.fakes import FailingLayer, PlainLayer
from chanserv.worker.roll import (
    LEAVE_PATIENCE,
    LONGEST_BACK_OFF,
    RENEW_AFTER,
    Roll,
    Standing,
)
from tests.layers.ipc.rig import make_directory
from tests.redis_servers import redis_server

PATIENCE = 60.0

ROOT = Path(__file__).resolve().parents[2]


class Watched(FailingLayer):
    """
    A layer that can fail, and notes what is asked of it.

    @ivar asked: the names of the methods called, in their order.
    @ivar keep: calls of the methods named here are not answered.
    """

    def __init__(self, original):
        super().__init__(original)
        self.asked: list[str] = []
        self.keep: set[str] = set()

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in ("receive", "group_add", "group_discard"):
            return found

        def call(*args):
            self.asked.append(name)
            return Deferred() if name in self.keep else found(*args)

        return call


class RollTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = MemoryChannelLayer()
        self.layer = Watched(self.memory)
        self.heard = []
        self.roll = Roll(self.layer, self.clock, on_message=self.heard.append)

    def members(self):
        return self.successResultOf(self.memory.group_channels(WORKERS_GROUP))

    def test_who_joins_is_a_member_under_a_channel_known_before(self):
        channel = self.roll.channel
        self.assertEqual(self.members(), [])
        self.roll.join()
        self.assertEqual(self.members(), [channel])

    def test_its_mailbox_has_an_owner_before_it_is_a_member_and_until_it_is_none(self):
        self.roll.join()
        self.layer.keep.add("group_discard")
        self.roll.leave()
        self.assertEqual(self.layer.asked, ["receive", "group_add", "group_discard"])
        self.assertIsNotNone(self.roll._receiving)

    def test_two_have_names_of_their_own(self):
        other = Roll(self.layer, self.clock)
        self.roll.join()
        other.join()
        self.assertEqual(set(self.members()), {self.roll.channel, other.channel})

    def test_who_leaves_is_no_member_and_receives_nothing_and_waits_for_nothing(self):
        self.roll.join()
        self.successResultOf(self.roll.leave())
        self.assertEqual(self.members(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.roll._receiving)
        self.assertIs(self.roll.standing, Standing.OFF)

    def test_who_never_joined_leaves_at_once(self):
        self.successResultOf(self.roll.leave())
        self.assertEqual(self.layer.asked, [])

    def test_joining_twice_is_joining_once(self):
        self.roll.join()
        self.roll.join()
        self.assertEqual(self.layer.asked, ["receive", "group_add"])

    def test_who_comes_back_is_a_member_again(self):
        self.roll.join()
        self.successResultOf(self.roll.leave())
        self.roll.join()
        self.assertEqual(self.members(), [self.roll.channel])

    def test_renewals_that_end_late_do_not_add_up(self):
        self.layer.keep.add("group_add")
        self.roll.join()
        self.successResultOf(self.roll.leave())
        self.layer.keep.clear()
        self.roll.join()
        self.roll._renewed(None)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_membership_that_was_forgotten_comes_back(self):
        self.roll.join()
        self.successResultOf(self.memory.flush())
        self.assertEqual(self.members(), [])
        self.clock.advance(RENEW_AFTER)
        self.assertEqual(self.members(), [self.roll.channel])

    def test_a_membership_outlasts_a_short_group_expiry(self):
        memory = MemoryChannelLayer(clock=self.clock, group_expiry=3.0)
        roll = Roll(memory, self.clock)
        roll.join()
        for _ in range(40):
            self.clock.advance(0.5)
            members = self.successResultOf(memory.group_channels(WORKERS_GROUP))
            self.assertEqual(members, [roll.channel])

    def test_a_layer_that_is_away_is_asked_again_until_it_is_back(self):
        self.layer.failure = LayerUnavailable("it is away")
        self.roll.join()
        for _ in range(1000):
            self.clock.advance(0.1)
        self.assertLess(len(self.layer.asked), 2 * (100.0 / LONGEST_BACK_OFF + 10))
        self.layer.failure = None
        self.clock.advance(LONGEST_BACK_OFF)
        self.assertEqual(self.members(), [self.roll.channel])
        self.assertIsNotNone(self.roll._receiving)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_leaving_does_not_wait_for_a_layer_that_does_not_answer(self):
        self.roll.join()
        self.layer.keep.add("group_discard")
        left = self.roll.leave()
        self.assertNoResult(left)
        self.clock.advance(LEAVE_PATIENCE)
        self.successResultOf(left)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leaving_while_the_layer_is_away_ends_all_tries(self):
        self.layer.failure = LayerUnavailable("it is away")
        self.roll.join()
        self.successResultOf(self.roll.leave())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_sent_to_the_roll_is_heard_and_settled(self):
        self.roll.join()
        for number in range(3):
            self.memory.send_group(WORKERS_GROUP, {"number": number})
            self.clock.advance(0)
        self.assertEqual([message["number"] for message in self.heard], [0, 1, 2])

    def test_a_message_that_cannot_be_used_costs_nothing_but_itself(self):
        def choke(message):
            raise ValueError("it is wrong")

        self.roll._on_message = choke
        self.roll.join()
        for _ in range(2):
            self.memory.send_group(WORKERS_GROUP, {})
            self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertIsNotNone(self.roll._receiving)

    def test_a_flood_is_taken_with_rests(self):
        roll = Roll(self.layer, self.clock, on_message=self.heard.append, rest=0.5)
        roll.join()
        self.memory.send(roll.channel, {"number": 0})
        self.layer.asked.clear()
        for number in range(1, 100):
            self.memory.send(roll.channel, {"number": number})
        self.clock.advance(0.25)
        self.assertEqual((len(self.heard), self.layer.asked), (1, []))
        self.clock.advance(0.25)
        self.assertEqual((len(self.heard), self.layer.asked), (100, ["receive"]))

    def test_after_it_has_left_nothing_is_heard(self):
        self.roll.join()
        self.layer.keep.add("group_discard")
        self.roll.leave()
        self.memory.send(self.roll.channel, {})
        self.assertEqual(self.heard, [])


class OldLayer:
    """As little as the old specification asks for, and groups."""

    extensions = ("groups",)

    def send(self, channel, message):
        """Not called."""

    def receive(self, channels, block=False):
        """Not called."""
        return None, None


class WithoutGroups(PlainLayer):
    within_process = False
    extensions = frozenset({"statistics"})


class WhereThereIsARoll(SynchronousTestCase):
    def test_not_within_one_process(self):
        self.assertFalse(keeps_a_roll(MemoryChannelLayer()))

    def test_where_others_read_too(self):
        self.assertTrue(keeps_a_roll(PlainLayer(MemoryChannelLayer())))

    def test_not_without_groups(self):
        self.assertFalse(keeps_a_roll(WithoutGroups(MemoryChannelLayer())))

    def test_not_on_layers_of_the_old_kind(self):
        self.assertFalse(keeps_a_roll(Asgi1ChannelLayer(OldLayer(), Clock())))


class OnRealLayers(TestCase):
    """What the roll leaves to its layer: members that die, and stores that come up empty."""

    timeout = 4 * PATIENCE

    def make(self, url):
        from twisted.internet import reactor

        layer = make_layer(url, reactor)
        self.addCleanup(layer.close)
        return layer

    def on_redis(self, **options):
        context = redis_server()
        server = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        given = "".join(f"&{name}={value}" for name, value in options.items())
        return server, f"{server.url}?{given.lstrip('&')}"

    def on_ipc(self):
        return f"ipc:roll?directory={make_directory(self)}&patience={PATIENCE}"

    def join(self, layer):
        from twisted.internet import reactor

        roll = Roll(layer, reactor)
        roll.join()
        self.addCleanup(roll.leave)
        return roll

    async def until_members_are(self, layer, channels):
        from twisted.internet import reactor

        deadline = reactor.seconds() + PATIENCE
        while True:
            try:
                found = await layer.group_channels(WORKERS_GROUP)
            except LayerUnavailable:
                found = None
            if found is not None and set(found) == set(channels):
                return
            self.assertLess(reactor.seconds(), deadline, f"{found} are not {channels}")
            await deferLater(reactor, 0.05, lambda: None)

    async def check_that_the_dead_are_struck_off(self, url):
        # First, so that over IPC the hub is here.
        watching = self.make(url)
        await self.until_members_are(watching, [])
        member = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.roll_member", url],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.addCleanup(member.wait)
        self.addCleanup(member.stdout.close)
        self.addCleanup(member.kill)
        channel = (await deferToThread(member.stdout.readline)).decode().strip()
        here = self.join(watching)
        await self.until_members_are(watching, [here.channel, channel])
        member.kill()
        await self.until_members_are(watching, [here.channel])

    async def test_over_ipc_the_dead_are_struck_off(self):
        await self.check_that_the_dead_are_struck_off(self.on_ipc())

    async def test_over_redis_the_dead_are_struck_off(self):
        _, url = self.on_redis(reader_lease=1, owner_lease=2)
        await self.check_that_the_dead_are_struck_off(url)

    async def test_over_ipc_a_new_host_knows_those_who_stand_on_the_roll(self):
        url = self.on_ipc()
        host = self.make(url)
        await self.until_members_are(host, [])
        guest = self.make(url)
        roll = self.join(guest)
        await self.until_members_are(host, [roll.channel])
        # No renewal is waited for: it is the layer that puts the membership back.
        roll._calls.pop(roll._renew, None).cancel()
        await host.close()
        await self.until_members_are(guest, [roll.channel])

    async def test_over_redis_a_store_that_came_up_empty_knows_them_again(self):
        server, url = self.on_redis()
        layer = self.make(url)
        roll = self.join(layer)
        await self.until_members_are(layer, [roll.channel])
        roll._calls.pop(roll._renew, None).cancel()
        server.restart()
        await self.until_members_are(layer, [roll.channel])

    async def test_who_leaves_over_redis_is_gone_when_that_is_said(self):
        _, url = self.on_redis()
        layer = self.make(url)
        roll = self.join(layer)
        await self.until_members_are(layer, [roll.channel])
        await roll.leave()
        self.assertEqual(await layer.group_channels(WORKERS_GROUP), [])
        self.assertEqual(await succeed(roll.standing), Standing.OFF)
