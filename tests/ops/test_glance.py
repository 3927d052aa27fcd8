"""Tests for C{chanserv.ops.glance}."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.ops.glance import GLANCE_PATIENCE, MAX_CHANNELS, glance_at
from chanserv.testing.fakes import FailingLayer, PlainLayer


class Silent(PlainLayer):
    """A layer that does not answer for some channels, or at all."""

    def __init__(self, original, silent=()):
        super().__init__(original)
        self.silent = set(silent)
        self.asked = []

    def global_statistics(self):
        return Deferred() if "" in self.silent else self.original.global_statistics()

    def channel_statistics(self, channel):
        self.asked.append(channel)
        if channel in self.silent:
            return Deferred()
        if channel == "odd":
            return fail(KeyError("odd"))
        return self.original.channel_statistics(channel)


class GlanceTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = MemoryChannelLayer()
        for channel in ("one", "other", "other"):
            self.successResultOf(self.memory.send(channel, {}))

    def test_it_tells_totals_and_channels(self):
        found = self.successResultOf(glance_at(self.memory, ["one", "other"], self.clock))
        self.assertEqual(found.totals["messages_pending"], 3)
        self.assertEqual(found.channels["one"]["messages_pending"], 1)
        self.assertEqual(found.channels["other"]["messages_pending"], 2)
        self.assertEqual((found.problem, found.round_trip), ("", 0.0))

    def test_a_channel_that_is_named_twice_is_asked_for_once(self):
        layer = Silent(self.memory)
        self.successResultOf(glance_at(layer, ["one", "one"], self.clock))
        self.assertEqual(layer.asked, ["one"])

    def test_it_asks_for_no_more_channels_than_it_says(self):
        layer = Silent(self.memory)
        names = [f"channel.{number}" for number in range(2 * MAX_CHANNELS)]
        self.successResultOf(glance_at(layer, names, self.clock))
        self.assertEqual(layer.asked, sorted(names)[:MAX_CHANNELS])

    def test_a_layer_that_is_away_is_a_problem(self):
        layer = FailingLayer(self.memory)
        layer.failure = LayerUnavailable("the store is away")
        found = self.successResultOf(glance_at(layer, ["one"], self.clock))
        self.assertEqual((found.problem, found.round_trip), ("the store is away", None))
        self.assertEqual((found.totals, found.channels), ({}, {}))

    def test_a_layer_that_does_not_answer_is_waited_for_so_long_and_no_longer(self):
        looking = glance_at(Silent(self.memory, [""]), [], self.clock)
        self.clock.advance(GLANCE_PATIENCE - 0.1)
        self.assertNoResult(looking)
        self.clock.advance(0.2)
        self.assertIn("has not answered within 2 s", self.successResultOf(looking).problem)

    def test_a_channel_without_an_answer_is_left_out(self):
        looking = glance_at(Silent(self.memory, ["one"]), ["one", "other", "odd"], self.clock)
        self.clock.advance(GLANCE_PATIENCE)
        found = self.successResultOf(looking)
        self.assertEqual(list(found.channels), ["other"])
        self.assertEqual(found.problem, "")
