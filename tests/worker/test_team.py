"""Tests for C{chanserv.worker.team}: real threads, and a reactor turned by hand."""

from __future__ import annotations

import sys
import threading

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import (
    ChannelFull,
    ConfigurationError,
    ConsumeLater,
    DenyConnection,
    LayerUnavailable,
)
from chanserv.messages import Delivery, Outcome, Send
from chanserv.worker import team as team_module
from chanserv.worker.intake import FIRST_BACK_OFF
from chanserv.worker.team import MAX_TRIPS, SHORTEST_STOP, ThreadTeam
from tests.worker.fakes import PATIENCE, FakeApplication, FakeLayer, TurningReactor


class TeamTestCase(SynchronousTestCase):
    """A team on fakes, stopped when its test ends."""

    def setUp(self):
        self.reactor = TurningReactor()
        self.layer = FakeLayer()

    def team(self, consumer, threads=1, **options) -> ThreadTeam:
        channels = options.pop("channels", ("http.request", "websocket.connect"))
        self.application = FakeApplication(consumer, channels, options.pop("ignored", ()))
        team = ThreadTeam(self.layer, self.application, self.reactor, threads, **options)
        team.startService()
        self.addCleanup(self.stop, team)
        self.started = team
        return team

    def stop(self, team) -> None:
        fired = []
        team.stopService().addCallback(fired.append)
        self.reactor.turn_until(lambda: fired)

    def turn_until(self, condition) -> None:
        self.reactor.turn_until(condition)


def reply(text: str = "pong"):
    """A consumer that answers every message on its reply channel."""

    def consumer(channel, message, outbox):
        outbox.send(message["reply_channel"], {"text": text})

    return consumer


class Working(TeamTestCase):
    def test_a_message_is_run_and_its_reply_and_settlement_travel_in_one_batch(self):
        self.team(reply())
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(self.layer.batches, [[Send("server!1", {"text": "pong"})]])
        self.assertEqual(self.layer.outcomes, [("http.request", Outcome.SETTLED)])

    def test_it_receives_from_all_channels_of_the_application_in_a_steady_order(self):
        self.team(reply(), channels=("b", "a", "c"))
        self.assertEqual(self.layer.receives, [(["a", "b", "c"], 1)])

    def test_it_asks_for_no_more_than_it_has_idle_threads(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        team = self.team(lambda *_: gate.wait(PATIENCE), threads=3)
        self.assertEqual(self.layer.receives[-1][1], 3)
        self.layer.give("http.request")
        self.assertEqual(self.layer.receives[-1][1], 2)
        self.layer.give("http.request")
        self.layer.give("http.request")
        self.layer.give("http.request")
        self.assertEqual(team.busy, 3)
        self.assertEqual(len(self.layer.waiting), 1)
        gate.set()
        self.turn_until(lambda: len(self.layer.outcomes) == 4)

    def test_what_the_application_ignores_is_settled_without_a_run_and_takes_no_room(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        team = self.team(lambda *_: gate.wait(PATIENCE), channels=("a", "b"), ignored=("b",))
        for number in range(3):
            self.layer.give("b", f"ignored {number}")
        self.assertEqual(
            self.layer.outcomes, [(f"ignored {number}", Outcome.SETTLED) for number in range(3)]
        )
        self.assertEqual((team.counters.ignored, team.counters.runs, team.busy), (3, 0, 0))
        self.layer.give("a", "run")
        self.assertEqual(team.busy, 1)
        gate.set()
        self.turn_until(lambda: self.layer.outcomes[-1] == ("run", Outcome.SETTLED))

    def test_a_long_queue_of_what_is_ignored_is_no_deep_stack(self):
        for number in range(sys.getrecursionlimit()):
            self.layer.give("b", str(number))
        team = self.team(reply(), channels=("b",), ignored=("b",))
        self.assertEqual(team.counters.ignored, sys.getrecursionlimit())
        self.assertEqual(self.layer.waiting, [])

    def test_consumers_run_in_named_threads_and_not_in_the_reactors(self):
        seen = []
        self.team(lambda *_: seen.append(threading.current_thread().name))
        self.layer.give("http.request")
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(seen, ["chanserv-1"])

    def test_what_finishes_together_wakes_the_reactor_once_and_is_sent_in_one_trip(self):
        together = threading.Barrier(3)
        done = threading.Semaphore(0)

        def consumer(channel, message, outbox):
            together.wait(PATIENCE)
            outbox.send("x", {"number": message["number"]})
            done.release()

        team = self.team(consumer, threads=3)
        for number in range(3):
            self.layer.give("http.request", number=number)
        for _ in range(3):
            self.assertTrue(done.acquire(timeout=PATIENCE))
        # All three have run; the reactor looks only now.
        self.turn_until(lambda: team.counters.runs == 3)
        self.assertLessEqual(self.reactor.turns, 3)
        self.assertEqual(len(self.layer.sent), 3)

    def test_a_consumer_may_change_its_message_without_changing_what_was_sent(self):
        seen = []

        def consumer(channel, message, outbox):
            seen.append(dict(message))
            message.clear()
            if len(seen) == 1:
                raise ConsumeLater

        self.team(consumer)
        delivery = self.layer.give("http.request", number=1)
        self.turn_until(lambda: self.reactor.getDelayedCalls())
        self.reactor.advance(1)
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(delivery.message, {"number": 1})
        self.assertEqual(seen[1]["number"], 1)

    def test_a_site_without_consumers_is_told_so_and_nothing_is_received(self):
        self.team(reply(), channels=())
        self.assertEqual(self.layer.receives, [])

    def test_a_team_without_threads_is_refused(self):
        with self.assertRaises(ConfigurationError):
            ThreadTeam(self.layer, FakeApplication(reply()), self.reactor, 0)


class Alone(TeamTestCase):
    """With a layer that nobody else reads, and that ends with this process."""

    def setUp(self):
        super().setUp()
        self.patch(team_module, "AHEAD", 2)
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.begun = threading.Semaphore(0)

    def waiting(self, channel, message, outbox):
        self.begun.release()
        self.gate.wait(PATIENCE)
        outbox.send("x", {"number": message["number"]})

    def test_it_takes_more_than_its_threads_can_run_and_runs_them_in_order(self):
        team = self.team(self.waiting, alone=True)
        for number in range(5):
            self.layer.give("a", number=number)
        self.assertEqual(len(self.layer.waiting), 2)
        self.assertEqual(team.busy, 1)
        self.gate.set()
        self.turn_until(lambda: len(self.layer.sent) == 5)
        self.assertEqual([one.message["number"] for one in self.layer.sent], [0, 1, 2, 3, 4])

    def test_what_waits_longer_than_the_layer_keeps_messages_is_not_run(self):
        team = self.team(self.waiting, alone=True)
        self.layer.give("a", "first", number=1)
        self.layer.give("a", "second", number=2)
        self.assertTrue(self.begun.acquire(timeout=PATIENCE))
        self.reactor.advance(self.layer.expiry)
        self.gate.set()
        self.turn_until(lambda: len(self.layer.outcomes) == 2)
        self.assertEqual(
            self.layer.outcomes, [("first", Outcome.SETTLED), ("second", Outcome.EXPIRED)]
        )
        self.assertEqual((team.counters.runs, team.counters.expired), (1, 1))
        self.assertEqual(self.layer.sent, [Send("x", {"number": 1})])

    def test_a_stop_runs_what_has_been_taken(self):
        team = self.team(self.waiting, alone=True)
        for number in range(3):
            self.layer.give("a", number=number)
        fired = []
        team.stopService().addCallback(fired.append)
        self.gate.set()
        self.turn_until(lambda: fired)
        self.assertEqual(len(self.layer.sent), 3)

    def test_a_stop_runs_what_waits_on_the_layer_too(self):
        team = self.team(self.waiting, alone=True)
        for number in range(6):
            self.layer.give("a", number=number)
        self.assertEqual(len(self.layer.waiting), 3)
        fired = []
        team.stopService().addCallback(fired.append)
        self.gate.set()
        self.turn_until(lambda: fired)
        self.assertEqual([one.message["number"] for one in self.layer.sent], [0, 1, 2, 3, 4, 5])
        self.assertEqual(self.layer.cancelled, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_a_stop_finds_no_time_for_is_lost_and_never_begun(self):
        team = self.team(self.waiting, alone=True, stop_timeout=5)
        for number in range(3):
            self.layer.give("a", f"message {number}", number=number)
        self.assertTrue(self.begun.acquire(timeout=PATIENCE))
        fired = []
        team.stopService().addCallback(fired.append)
        self.reactor.advance(5)
        self.assertEqual(fired, [None])
        self.assertEqual({outcome for _, outcome in self.layer.outcomes}, {Outcome.LOST})
        self.assertEqual(len(self.layer.outcomes), 3)
        self.gate.set()
        self.assertFalse(self.begun.acquire(timeout=0.05))


class Failing(TeamTestCase):
    def fail(self, error, channel="http.request", **message):  # type: ignore[override]
        def consumer(channel, message, outbox):
            raise error

        team = self.team(consumer)
        self.layer.give(channel, reply_channel="server!1", **message)
        self.turn_until(lambda: self.layer.outcomes)
        return team

    def test_an_exception_is_logged_counted_and_answered_500(self):
        team = self.fail(ZeroDivisionError("by nothing"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(team.counters.failures, 1)
        (answer,) = self.layer.sent
        self.assertEqual(answer.channel, "server!1")
        self.assertEqual(answer.message["status"], 500)

    def test_system_exit_and_keyboard_interrupt_cost_their_message_only(self):
        raising = [SystemExit(3), KeyboardInterrupt(), GeneratorExit()]

        def consumer(channel, message, outbox):
            if raising:
                raise raising.pop(0)
            outbox.send("x", {})

        team = self.team(consumer)
        for _ in range(4):
            self.layer.give("websocket.receive")
        self.turn_until(lambda: len(self.layer.outcomes) == 4)
        self.assertEqual(
            len(self.flushLoggedErrors(SystemExit, KeyboardInterrupt, GeneratorExit)), 3
        )
        self.assertEqual(team.counters.failures, 3)
        self.assertEqual(self.layer.sent, [Send("x", {})])

    def test_not_even_our_own_mistake_costs_a_thread(self):
        class Unreadable:
            """No message: a run of it fails before its consumer is called."""

            def get(self, key, default=None):
                return default

        team = self.team(reply())
        self.layer.waiting.append(Delivery(("a",), Unreadable()))
        self.layer.give("a", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(team.counters.failures, 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_refused_handshake_is_answered_and_is_no_failure(self):
        team = self.fail(DenyConnection(), channel="websocket.connect")
        self.assertEqual(self.layer.sent, [Send("server!1", {"close": True})])
        self.assertEqual(team.counters.failures, 0)

    def test_what_a_consumer_sent_before_it_failed_is_sent(self):
        def consumer(channel, message, outbox):
            outbox.send("log", {"text": "begun"})
            raise ZeroDivisionError

        self.team(consumer)
        self.layer.give("email.send")
        self.turn_until(lambda: self.layer.outcomes)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.layer.sent, [Send("log", {"text": "begun"})])


class PuttingOff(TeamTestCase):
    def putting_off(self, times):
        self.seen = []

        def consumer(channel, message, outbox):
            self.seen.append(message.get("__retries__", 0))
            if len(self.seen) <= times:
                raise ConsumeLater
            outbox.send("x", {})

        return self.team(consumer)

    def play(self, until):
        """Let time pass whenever no thread is at work, until C{until()}."""
        while not until():
            if self.started.busy:
                self.reactor.asked.get(timeout=PATIENCE)()
            else:
                self.reactor.advance(0.05)

    def test_a_message_put_off_is_run_again_and_settled_only_when_it_is_done(self):
        team = self.putting_off(2)
        self.layer.give("websocket.receive", reply_channel="server!1")
        self.turn_until(lambda: team.counters.postponed == 1)
        self.assertEqual(self.layer.outcomes, [])
        self.play(lambda: self.layer.outcomes)
        self.assertEqual(self.seen, [0, 1, 2])
        self.assertEqual(self.layer.outcomes, [("websocket.receive", Outcome.SETTLED)])
        self.assertEqual(self.layer.sent, [Send("x", {})])

    def test_other_messages_are_run_while_one_waits(self):
        team = self.putting_off(1)
        self.layer.give("a", "first")
        self.turn_until(lambda: team.counters.postponed == 1)
        self.layer.give("a", "second")
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(self.layer.outcomes, [("second", Outcome.SETTLED)])
        self.play(lambda: len(self.layer.outcomes) == 2)

    def test_a_message_put_off_too_often_is_dropped_counted_and_answered(self):
        team = self.putting_off(1000)
        self.layer.give("http.request", reply_channel="server!1")
        self.play(lambda: self.layer.outcomes)
        self.assertEqual(self.seen, list(range(11)))
        self.assertEqual(team.counters.dropped, 1)
        self.assertEqual(self.layer.outcomes, [("http.request", Outcome.EXPIRED)])
        (answer,) = self.layer.sent
        self.assertEqual(answer.message["status"], 503)

    def test_what_waits_when_the_team_stops_goes_back_on_its_channel(self):
        team = self.putting_off(1000)
        self.layer.give("websocket.receive", text="hello")
        self.turn_until(lambda: team.counters.postponed == 1)
        self.stop(team)
        self.assertEqual(
            self.layer.sent, [Send("websocket.receive", {"text": "hello", "__retries__": 1})]
        )
        self.assertEqual(self.layer.outcomes, [("websocket.receive", Outcome.SETTLED)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_when_nobody_else_could_take_it_that_is_said(self):
        def consumer(channel, message, outbox):
            raise ConsumeLater

        team = self.team(consumer, alone=True)
        self.layer.give("websocket.receive")
        self.turn_until(lambda: team.counters.postponed == 1)
        with capturedLogs() as events:
            self.stop(team)
        self.assertEqual([event["count"] for event in events], [1])


class Sending(TeamTestCase):
    def full(self, times):
        """Let the first C{times} sends find their channel full."""
        self.refusals = times

        def errors(operation):
            if self.refusals:
                self.refusals -= 1
                return ChannelFull(operation.channel, 100, 100, 1.0)
            return None

        self.layer.errors = errors

    def test_a_reply_that_finds_its_channel_full_is_tried_again_until_there_is_room(self):
        self.full(3)
        team = self.team(reply())
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
        for _ in range(100):
            self.reactor.advance(0.1)
        self.assertEqual(len(self.layer.sent), 4)
        self.assertEqual(team.counters.resends, 3)
        self.assertEqual(team.counters.sends_dropped, 0)

    def test_a_reply_to_a_channel_that_stays_full_is_dropped_counted_and_said(self):
        self.full(10_000)
        team = self.team(reply())
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
        for _ in range(100):
            self.reactor.advance(0.1)
        self.assertEqual(team.counters.sends_dropped, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_later_replies_to_a_full_channel_do_not_overtake(self):
        self.full(1)
        numbers = iter(range(10))

        def consumer(channel, message, outbox):
            outbox.send(message["to"], {"number": next(numbers)})

        self.team(consumer)
        self.layer.give("a", to="server!1")
        self.turn_until(lambda: len(self.layer.outcomes) == 1)
        self.layer.give("a", to="server!2")
        self.turn_until(lambda: len(self.layer.outcomes) == 2)
        self.layer.give("a", to="elsewhere!1")
        self.turn_until(lambda: len(self.layer.outcomes) == 3)
        self.reactor.advance(1)
        self.assertEqual([one.message["number"] for one in self.layer.sent], [0, 2, 0, 1])

    def test_a_batch_that_fails_as_a_whole_is_counted_and_said_and_work_goes_on(self):
        team = self.team(reply())
        self.layer.batch_error = LayerUnavailable("the store is away")
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: team.counters.sends_dropped == 1)
        self.layer.batch_error = None
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)

    def test_nothing_new_is_taken_while_too_many_batches_are_on_their_way(self):
        team = self.team(reply(), threads=2)
        team._dispatch.trips = MAX_TRIPS
        self.layer.give("http.request", reply_channel="server!1")
        taken = len(self.layer.receives)
        self.turn_until(lambda: self.layer.outcomes)
        self.assertEqual(len(self.layer.receives), taken)
        team._dispatch.trips = 0
        team._progress()
        self.assertEqual(len(self.layer.receives), taken + 1)


class LosingTheLayer(TeamTestCase):
    def test_receives_that_fail_are_tried_again_with_growing_waits_and_then_go_on(self):
        self.layer.receive_error = LayerUnavailable("the store is away")
        self.team(reply())
        self.assertEqual(len(self.layer.receives), 1)
        self.reactor.advance(FIRST_BACK_OFF)
        self.assertEqual(len(self.layer.receives), 2)
        self.reactor.advance(FIRST_BACK_OFF)
        self.assertEqual(len(self.layer.receives), 2)
        self.reactor.advance(FIRST_BACK_OFF)
        self.assertEqual(len(self.layer.receives), 3)
        self.layer.receive_error = None
        self.reactor.advance(60)
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)

    def test_it_is_said_once_that_the_layer_is_away_and_once_that_it_is_back(self):
        self.layer.receive_error = LayerUnavailable("the store is away")
        with capturedLogs() as events:
            self.team(reply())
            for _ in range(20):
                self.reactor.advance(1)
            self.layer.receive_error = None
            self.reactor.advance(60)
            self.layer.give("a", reply_channel="server!1")
        said = [(event["log_level"].name, formatEvent(event)) for event in events]
        self.assertEqual(
            said,
            [
                (
                    "warn",
                    (
                        "No messages can be taken from the channel layer: the store is away. "
                        "Trying again until it answers"
                    ),
                ),
                ("info", "The channel layer answers again; taking messages"),
            ],
        )
        self.turn_until(lambda: self.layer.outcomes)

    def test_an_error_that_no_layer_should_give_is_logged_as_a_fault(self):
        self.layer.receive_error = ZeroDivisionError()
        self.team(reply())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.layer.receive_error = None
        self.reactor.advance(60)
        self.layer.give("a", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)

    def test_a_team_can_be_stopped_while_its_layer_is_away(self):
        self.layer.receive_error = LayerUnavailable("the store is away")
        team = self.team(reply())
        self.stop(team)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Stopping(TeamTestCase):
    def test_it_takes_nothing_more_and_waits_for_what_runs_and_sends_it(self):
        gate = threading.Event()

        def consumer(channel, message, outbox):
            gate.wait(PATIENCE)
            outbox.send("x", {})

        team = self.team(consumer, threads=2)
        self.layer.give("http.request")
        fired = []
        team.stopService().addCallback(fired.append)
        self.assertEqual(self.layer.cancelled, 1)
        self.layer.give("http.request")
        self.assertEqual(fired, [])
        gate.set()
        self.turn_until(lambda: fired)
        self.assertEqual(self.layer.sent, [Send("x", {})])
        self.assertEqual(len(self.layer.waiting), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_threads_have_ended_when_it_has_stopped(self):
        team = self.team(reply(), threads=3)
        mine = [one for one in threading.enumerate() if one.name.startswith("chanserv-")]
        self.assertEqual(len(mine), 3)
        self.stop(team)
        for thread in mine:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive())

    def test_a_consumer_that_hangs_is_named_left_behind_and_its_message_lost(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        began = threading.Event()

        def consumer(*_):
            began.set()
            gate.wait(PATIENCE)

        team = self.team(consumer, stop_timeout=7)
        self.layer.give("http.request")
        self.assertTrue(began.wait(PATIENCE))
        fired = []
        team.stopService().addCallback(fired.append)
        self.reactor.advance(6.9)
        self.assertEqual(fired, [])
        self.reactor.advance(0.2)
        self.assertEqual(fired, [None])
        self.assertEqual(self.layer.outcomes, [("http.request", Outcome.LOST)])

    def test_the_time_for_a_stop_begins_with_the_stop_of_the_whole(self):
        for elsewhere, left in ((4, 3), (6.9, SHORTEST_STOP), (30, SHORTEST_STOP)):
            gate = threading.Event()
            self.addCleanup(gate.set)
            team = self.team(lambda *_, gate=gate: gate.wait(PATIENCE), stop_timeout=7)
            self.layer.give("http.request")
            team.stop_begins()
            self.reactor.advance(elsewhere)
            fired = []
            team.stopService().addCallback(fired.append)
            self.reactor.advance(left - 0.01)
            self.assertEqual(fired, [])
            self.reactor.advance(0.02)
            self.assertEqual(fired, [None])

    def test_a_stop_can_be_given_more_time_and_one_under_way_less(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        team = self.team(lambda *_: gate.wait(PATIENCE), stop_timeout=7)
        self.layer.give("http.request")
        team.stop_within(100)
        fired = []
        team.stopService().addCallback(fired.append)
        self.reactor.advance(50)
        team.stop_within(10)
        self.reactor.advance(9)
        self.assertEqual(fired, [])
        # It is for less, never for more.
        team.stop_within(100)
        self.reactor.advance(1)
        self.assertEqual(fired, [None])

    def test_a_reply_that_waits_for_room_is_waited_for(self):
        self.layer.errors = lambda one: ChannelFull(one.channel, 1, 1, 1.0)
        team = self.team(reply())
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
        fired = []
        team.stopService().addCallback(fired.append)
        self.layer.errors = lambda one: None
        self.reactor.advance(1)
        self.turn_until(lambda: fired)
        self.assertEqual(len(self.layer.sent), 2)

    def test_a_second_stop_waits_for_the_first(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        team = self.team(lambda *_: gate.wait(PATIENCE))
        self.layer.give("http.request")
        fired = []
        for _ in range(2):
            team.stopService().addCallback(fired.append)
        self.assertEqual(fired, [])
        gate.set()
        self.turn_until(lambda: fired)
        self.assertEqual(fired, [None, None])

    def test_what_an_earlier_stop_left_behind_does_not_end_a_later_one(self):
        gates = [threading.Event(), threading.Event()]
        begun = [threading.Event(), threading.Event()]
        numbers = iter(range(2))

        def consumer(*_):
            number = next(numbers)
            begun[number].set()
            gates[number].wait(PATIENCE)

        team = self.team(consumer, threads=1, stop_timeout=7)
        self.layer.give("http.request", "first")
        self.assertTrue(begun[0].wait(PATIENCE))
        stopped = team.stopService()
        self.reactor.advance(8)
        self.successResultOf(stopped)
        team.startService()
        self.layer.give("http.request", "second")
        self.assertTrue(begun[1].wait(PATIENCE))
        fired = []
        team.stopService().addCallback(fired.append)
        runs = team.counters.runs
        gates[0].set()
        self.turn_until(lambda: team.counters.runs > runs)
        self.reactor.asked.get(timeout=PATIENCE)()
        self.assertEqual(fired, [])
        gates[1].set()
        self.turn_until(lambda: fired)
        self.assertEqual(self.layer.outcomes[1:], [("second", Outcome.SETTLED)])

    def test_it_can_be_stopped_twice_and_started_again(self):
        team = self.team(reply())
        self.stop(team)
        self.successResultOf(team.stopService())
        team.startService()
        self.layer.give("http.request", reply_channel="server!1")
        self.turn_until(lambda: self.layer.outcomes)
