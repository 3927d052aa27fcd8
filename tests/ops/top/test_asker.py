"""Tests for C{chanserv.ops.top.asker}."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.core.defaults import PROCESSES_GROUP
from chanserv.errors import LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.ops.ask import REST, VERSION, Answers
from chanserv.ops.glance import GLANCE_PATIENCE
from chanserv.ops.snapshot import Process
from chanserv.ops.top.asker import FORGET_AFTER, ONLOOKERS_GROUP, Asker
from chanserv.server.counts import Counts
from chanserv.testing.fakes import FailingLayer

PATIENCE = 2.0


class AskerTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = MemoryChannelLayer()
        self.layer = FailingLayer(self.memory)
        self.asker = Asker(self.layer, self.clock)
        self.asker.start()
        self.clock.advance(0)

    def serve(self, release):
        process = Process(release=release)
        process.counts = Counts
        process.mailbox = f"chanserv.response.{release}!"
        answers = Answers(self.memory, self.clock, process)
        answers.start()
        return answers

    def sample(self, patience=PATIENCE):
        """Ask, with no more time passing than it takes."""
        asking = self.asker.sample(patience)
        for _ in range(200):
            if asking.called:
                break
            self.clock.advance(REST / 2)
        return self.successResultOf(asking)

    def releases(self, sample):
        return {heard.snapshot.release for heard in sample.processes.values()}

    def test_all_who_stand_on_the_roll_are_heard(self):
        self.serve("blue")
        self.serve("green")
        sample = self.sample()
        self.assertEqual(self.releases(sample), {"blue", "green"})
        self.assertEqual(sample.members, 2)
        self.assertEqual(sample.glance.problem, "")

    def test_two_of_one_name_are_two(self):
        self.serve("blue")
        self.serve("blue")
        self.assertEqual(len(self.sample().processes), 2)

    def test_nobody_is_waited_for_who_has_answered(self):
        self.serve("blue")
        begun = self.clock.seconds()
        self.sample()
        self.assertLess(self.clock.seconds() - begun, PATIENCE / 2)

    def test_one_who_does_not_answer_is_waited_for_so_long(self):
        self.serve("blue")
        self.memory.group_add(PROCESSES_GROUP, "chanserv.process.dead!roll")
        begun = self.clock.seconds()
        sample = self.sample()
        self.assertGreaterEqual(self.clock.seconds() - begun, PATIENCE)
        self.assertEqual((self.releases(sample), sample.members), ({"blue"}, 2))

    def test_where_nobody_is_nobody_is_waited_for(self):
        sample = self.successResultOf(self.asker.sample(PATIENCE))
        self.assertEqual((sample.processes, sample.members), ({}, 0))

    def test_channels_that_processes_name_are_looked_at(self):
        self.serve("blue")
        self.memory.send("http.request", {})
        channels = self.sample().glance.channels
        self.assertEqual(channels["http.request"]["messages_pending"], 1)
        self.assertIn("chanserv.response.blue!", channels)

    def test_who_has_left_is_forgotten_at_once(self):
        answers = self.serve("blue")
        self.serve("green")
        self.sample()
        self.successResultOf(answers.stop())
        self.clock.advance(1.0)
        self.assertEqual(self.releases(self.sample()), {"green"})

    def test_who_falls_silent_is_remembered_for_a_while(self):
        answers = self.serve("blue")
        self.sample()
        answers._heard = lambda message: None
        answers.roll._on_message = None
        self.clock.advance(1.0)
        sample = self.sample(0.5)
        self.assertEqual(self.releases(sample), {"blue"})
        (heard,) = sample.processes.values()
        self.assertGreaterEqual(sample.at - heard.at, 1.0)
        self.clock.advance(FORGET_AFTER)
        self.assertEqual(self.releases(self.sample(0.5)), set())

    def test_a_layer_that_is_away_is_told_of_in_time(self):
        self.serve("blue")
        self.sample()
        self.layer.failure = LayerUnavailable("the store is away")
        sample = self.sample()
        self.assertEqual(sample.glance.problem, "the store is away")
        self.layer.failure = None
        self.clock.advance(10.0)
        self.assertEqual(self.sample().glance.problem, "")

    def test_what_is_no_answer_is_left_out(self):
        reply = self.asker._roll.channel
        good = Process(release="blue").now().as_dict()
        answer = {"answer": "status", "version": VERSION, "id": 0, "from": "a!b", "status": good}
        for changes in (
            {"answer": "lunch"},
            {"version": VERSION + 1},
            {"from": None},
            {"status": None},
            {"status": {"host": "web"}},
        ):
            self.successResultOf(self.memory.send(reply, {**answer, **changes}))
            self.clock.advance(0)
        self.assertEqual(self.sample().processes, {})
        self.successResultOf(self.memory.send(reply, answer))
        self.clock.advance(0)
        self.memory.group_add(PROCESSES_GROUP, "somebody!else")
        self.assertEqual(self.releases(self.sample()), {"blue"})

    def test_a_sample_can_be_written_as_json(self):
        self.serve("blue")
        plain = json.loads(json.dumps(self.sample().as_dict()))
        self.assertEqual(plain["processes"][0]["status"]["release"], "blue")
        self.assertIn("http.request", plain["channels"])

    def test_who_has_stopped_leaves_nothing_behind(self):
        self.successResultOf(self.asker.stop())
        members = self.successResultOf(self.memory.group_channels(ONLOOKERS_GROUP))
        self.assertEqual((members, self.clock.getDelayedCalls()), ([], []))

    def test_stopping_ends_a_look_that_waits(self):
        self.memory.group_add(PROCESSES_GROUP, "chanserv.process.dead!roll")
        asking = self.asker.sample(60.0)
        self.assertNoResult(asking)
        self.successResultOf(self.asker.stop())
        self.clock.advance(GLANCE_PATIENCE)
        self.successResultOf(asking)
