"""Tests for C{chanserv.worker.dispatch}: no threads, a layer that refuses."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ChannelFull, InvalidChannelName, LayerUnavailable, MessageTooLarge
from chanserv.messages import Delivery, GroupSend, Outcome, Send, seal
from chanserv.worker import retries
from chanserv.worker.counters import TeamCounters
from chanserv.worker.dispatch import Dispatch
from chanserv.worker.retries import FIRST_RESEND
from chanserv.worker.runs import Run
from tests.worker.fakes import FakeLayer


def run_of(*operations, consumer="site.consumer") -> Run:
    run = Run(Delivery(("a",), seal({})))
    run.outbox.consumer = consumer
    run.outbox.operations.extend(operations)
    return run


def full(operation) -> ChannelFull:
    return ChannelFull(operation.channel, 100, 100, 1.0)


class Dispatching(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.layer = FakeLayer()
        self.counters = TeamCounters()
        self.progressed = 0
        self.dispatch = Dispatch(self.layer, self.clock, self.counters, self.progress)

    def progress(self):
        self.progressed += 1

    def said(self, act) -> list[str]:
        """What is logged while C{act()} runs: warnings all of it."""
        with capturedLogs() as events:
            act()
        self.assertEqual({event["log_level"] for event in events} - {LogLevel.warn}, set())
        return [formatEvent(event) for event in events]

    def send(self, *operations):
        self.dispatch.send([run_of(*operations)], [])

    def test_nothing_to_send_and_nothing_to_settle_is_no_trip(self):
        self.dispatch.send([run_of(), run_of()], [])
        self.assertEqual(self.layer.batches, [])
        self.assertTrue(self.dispatch.idle)

    def test_many_runs_are_one_batch_in_their_order(self):
        self.dispatch.send([run_of(Send("a", {}), Send("b", {})), run_of(Send("c", {}))], [])
        self.assertEqual(self.layer.batches, [[Send("a", {}), Send("b", {}), Send("c", {})]])
        self.assertEqual(self.progressed, 1)

    def test_it_is_idle_only_when_the_layer_has_answered(self):
        answer = Deferred()
        self.layer.send_batch = lambda operations, settled=(): answer
        self.send(Send("a", {}))
        self.assertFalse(self.dispatch.idle)
        answer.callback([None])
        self.assertTrue(self.dispatch.idle)

    def test_it_is_not_idle_while_a_send_waits_for_room(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        self.assertFalse(self.dispatch.idle)

    def test_other_errors_of_one_send_are_said_with_its_consumer_and_cost_no_other(self):
        errors = {"a": MessageTooLarge("a", 2, 1), "b": None}
        self.layer.errors = lambda one: errors[one.channel]
        (line,) = self.said(
            lambda: self.dispatch.send(
                [run_of(Send("b", {})), run_of(Send("a", {}), consumer="site.other")], []
            )
        )
        self.assertIn("channel 'a', sent by site.other, was dropped", line)
        self.assertEqual(self.counters.sends_dropped, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_group_send_that_fails_is_said(self):
        self.layer.errors = lambda one: InvalidChannelName("bad")
        (line,) = self.said(lambda: self.send(GroupSend("room", {})))
        self.assertIn("group 'room', sent by site.consumer", line)

    def test_a_send_that_finds_no_place_to_wait_is_dropped_and_said(self):
        self.patch(retries, "MAX_HELD_SENDS", 1)
        self.layer.errors = full
        (line,) = self.said(lambda: self.send(Send("a", {}), Send("b", {})))
        self.assertIn("channel 'b'", line)
        (line,) = self.said(lambda: self.send(Send("a", {})))
        self.assertIn("too many messages wait for room", line)
        self.assertEqual(self.counters.sends_dropped, 2)

    def test_group_sends_and_other_channels_do_not_wait_behind_a_full_one(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        self.layer.batches.clear()
        self.layer.errors = lambda one: None
        self.send(Send("a", {"n": 2}), GroupSend("room", {}), Send("b", {}))
        self.assertEqual(self.layer.sent, [GroupSend("room", {}), Send("b", {})])
        self.clock.advance(FIRST_RESEND)
        self.assertEqual(self.layer.sent[2:], [Send("a", {}), Send("a", {"n": 2})])
        self.assertTrue(self.dispatch.idle)

    def test_a_channel_that_has_just_become_full_does_not_wait_for_one_that_long_is(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        for _ in range(200):
            self.clock.advance(0.01)
        full_once = [full(Send("b", {}))]
        self.layer.errors = lambda one: (
            full(one) if one.channel == "a" else full_once.pop() if full_once else None
        )
        self.send(Send("b", {}))
        self.layer.batches.clear()
        self.clock.advance(FIRST_RESEND)
        self.assertIn(Send("b", {}), self.layer.sent)

    def test_a_try_that_fails_as_a_whole_drops_what_it_carried(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        self.layer.batch_error = LayerUnavailable("the store is away")
        (line,) = self.said(lambda: self.clock.advance(FIRST_RESEND))
        self.assertIn("the store is away", line)
        self.assertTrue(self.dispatch.idle)

    def test_a_batch_that_the_layer_failed_on_is_said_with_how_much_was_lost(self):
        self.layer.batch_error = LayerUnavailable("the store is away")
        (line,) = self.said(lambda: self.send(Send("a", {}), Send("b", {})))
        self.assertEqual(line, "2 messages sent by site.consumer were lost: the store is away")
        self.assertEqual(self.counters.sends_dropped, 2)
        self.assertEqual(self.progressed, 1)

    def test_what_a_failed_batch_was_to_settle_is_lost(self):
        outcomes = []
        delivery = Delivery(("a",), seal({}), outcomes.append)
        self.layer.batch_error = LayerUnavailable("the store is away")
        self.said(lambda: self.dispatch.send([run_of(Send("a", {}))], [delivery]))
        self.assertEqual(outcomes, [Outcome.LOST])

    def test_an_error_that_no_layer_should_give_is_logged_as_a_fault(self):
        self.layer.batch_error = ZeroDivisionError()
        self.send(Send("a", {}))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.dispatch.idle)

    def test_a_layer_that_answers_with_nonsense_is_logged_as_a_fault(self):
        answer = Deferred()
        self.layer.send_batch = lambda operations, settled=(): answer
        self.send(Send("a", {}))
        answer.callback([None, None])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_giving_up_drops_what_waits_and_says_so(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        (line,) = self.said(self.dispatch.give_up)
        self.assertIn("this worker has stopped", line)
        self.assertTrue(self.dispatch.idle)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_giving_up_a_full_channel_is_not_waited_for(self):
        self.layer.errors = full
        self.dispatch.give_up()
        self.assertEqual(len(self.said(lambda: self.send(Send("a", {})))), 1)
        self.assertTrue(self.dispatch.idle)

    def test_a_try_on_its_way_when_it_gives_up_ends_quietly(self):
        self.layer.errors = full
        self.send(Send("a", {}))
        answer = Deferred()
        self.layer.send_batch = lambda operations, settled=(): answer
        self.clock.advance(FIRST_RESEND)
        self.dispatch.give_up()
        self.assertEqual(self.said(lambda: answer.callback([full(Send("a", {}))])), [])
        self.assertTrue(self.dispatch.idle)
