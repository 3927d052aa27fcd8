"""Tests for C{chanserv.ops.pulse}: whether the layer answers, and how soon."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import LayerUnavailable
from chanserv.ops.pulse import ANSWER_LASTS, BUCKETS, PATIENCE, PULSE_EVERY, Pulse


class StatisticsLayer:
    """A layer whose statistics come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[dict[str, int]]] = []
        self.at_once: Deferred[dict[str, int]] | None = None

    def global_statistics(self):
        self.asked.append(self.at_once or Deferred())
        return self.asked[-1]


class PulseTestCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.layer = StatisticsLayer()
        self.pulse = Pulse(self.layer, self.clock)

    def check(self) -> list[str]:
        told: list[str] = []
        self.pulse.check().addCallback(told.append)
        return told

    def test_an_answer_counts_with_the_time_that_it_took(self):
        told = self.check()
        self.clock.advance(0.003)
        self.assertEqual(told, [])
        self.layer.asked[0].callback({})
        self.assertEqual(told, [""])
        trips = self.pulse.round_trips
        self.assertEqual(trips.count, 1)
        self.assertAlmostEqual(trips.seconds, 0.003)
        self.assertEqual(trips.buckets[BUCKETS.index(0.005)], 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_asks_while_an_answer_is_awaited_gets_the_same_one(self):
        first, second = self.check(), self.check()
        self.assertEqual(len(self.layer.asked), 1)
        self.layer.asked[0].callback({})
        self.assertEqual((first, second), ([""], [""]))

    def test_an_answer_is_believed_for_a_while_and_no_longer(self):
        self.layer.at_once = succeed({})
        self.assertEqual(self.check(), [""])
        self.clock.advance(ANSWER_LASTS * 0.9)
        self.assertEqual(self.check(), [""])
        self.assertEqual(len(self.layer.asked), 1)
        self.clock.advance(ANSWER_LASTS * 0.2)
        self.check()
        self.assertEqual(len(self.layer.asked), 2)

    def test_a_layer_that_is_away_is_a_problem_that_names_why(self):
        self.layer.at_once = fail(LayerUnavailable("nobody listens at the socket"))
        (problem,) = self.check()
        self.assertIn("nobody listens at the socket", problem)
        self.assertEqual(self.pulse.round_trips.count, 0)
        self.clock.advance(ANSWER_LASTS)
        self.layer.at_once = succeed({})
        self.assertEqual(self.check(), [""])
        self.assertEqual(self.pulse.problem, "")

    def test_a_layer_without_statistics_is_no_problem(self):
        self.layer.at_once = fail(NotImplementedError())
        self.assertEqual(self.check(), [""])

    def test_a_silent_layer_is_a_problem_once_patience_has_ended(self):
        told = self.check()
        self.clock.advance(PATIENCE)
        self.assertEqual(told, ["the channel layer has not answered for 2 s"])
        self.clock.advance(60)
        self.assertEqual(self.check(), ["the channel layer has not answered for 62 s"])
        # And it is not asked again on top of that.
        self.assertEqual(len(self.layer.asked), 1)
        self.layer.asked[0].callback({})
        self.assertEqual(self.check(), [""])
        self.assertEqual(self.pulse.round_trips.buckets[-1], 1)

    def test_while_it_runs_it_asks_by_itself(self):
        self.layer.at_once = succeed({})
        self.pulse.startService()
        for _ in range(3):
            self.clock.advance(PULSE_EVERY)
        self.assertEqual(self.pulse.round_trips.count, 4)
        self.pulse.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_waits_when_it_stops_is_not_left_waiting(self):
        self.pulse.startService()
        told = self.check()
        self.pulse.stopService()
        self.assertEqual(told, [""])
        self.layer.asked[0].callback({})
        self.assertEqual(self.clock.getDelayedCalls(), [])
