"""What the memory layer promises beyond the contract."""

from __future__ import annotations

import gc
import secrets
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import ConfigurationError, InvalidChannelName, InvalidMessage
from chanserv.layers import MemoryChannelLayer, face_of
from chanserv.layers.served_store import LEAST_WAIT, SERVED_AT_ONCE
from chanserv.messages import Delivery, GroupSend, Send


class Scene(SynchronousTestCase):
    """A layer on a clock, and a reactor that other threads' calls queue up for."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.calls: list[Any] = []
        self.layer = MemoryChannelLayer(clock=self.clock, call_from_thread=self.calls.append)
        self.face = face_of(self.layer, self.clock)

    def run_calls(self) -> None:
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()

    def numbers(self, deferred: Deferred[list[Delivery]]) -> list[int]:
        return [one.message["number"] for one in self.successResultOf(deferred)]


class WaitingReaders(Scene):
    def test_a_message_fires_the_reader_that_waits_before_send_returns(self) -> None:
        got: list[object] = []
        self.layer.receive(["a"]).addCallback(got.extend)
        self.layer.send("a", {})
        self.assertEqual(len(got), 1)

    def test_the_reader_that_waits_longest_is_served_first(self) -> None:
        first, second = self.layer.receive(["a", "b"]), self.layer.receive(["b"])
        self.layer.send("b", {"number": 1})
        self.assertEqual(self.numbers(first), [1])
        self.assertNoResult(second)
        self.layer.send("b", {"number": 2})
        self.assertEqual(self.numbers(second), [2])

    def test_a_batch_is_in_before_its_readers_are_served(self) -> None:
        self.layer.group_add("g", "p!1")
        waiting = self.layer.receive(["p!"], 100)
        self.layer.send_batch(
            [Send(f"p!{number}", {"number": number}) for number in range(20)]
            + [GroupSend("g", {"number": 20})]
        )
        self.assertEqual(self.numbers(waiting), list(range(21)))

    def test_a_batch_settles_in_the_same_trip(self) -> None:
        self.layer.send("work", {}, "p!1")
        self.layer.send("work", {}, "p!2")
        deliveries = self.successResultOf(self.layer.receive(["work"], 2))
        waiting = self.layer.receive(["p!"], 100)
        self.layer.send_batch([Send("p!1", {"text": "reply"})], deliveries)
        got = [(one.channel, dict(one.message)) for one in self.successResultOf(waiting)]
        self.assertEqual(
            got,
            [
                ("p!1", {"text": "reply"}),
                ("p!1", {"receipt": "settled"}),
                ("p!2", {"receipt": "settled"}),
            ],
        )

    def test_a_batch_serves_many_readers(self) -> None:
        waiting = [self.layer.receive(["a"], 2) for _ in range(3)]
        self.layer.send_batch([Send("a", {"number": number}) for number in range(5)])
        self.assertEqual([self.numbers(one) for one in waiting], [[0, 1], [2, 3], [4]])

    def test_a_reader_cancelled_by_another_loses_no_message(self) -> None:
        first, second = self.layer.receive(["a"]), self.layer.receive(["a"])
        first.addCallback(lambda deliveries: second.cancel() or deliveries)  # type: ignore[func-returns-value]
        self.layer.send_batch([Send("a", {"number": 1}), Send("a", {"number": 2})])
        self.assertEqual(self.numbers(first), [1])
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.numbers(self.layer.receive(["a"])), [2])

    def test_cancelling_a_reader_that_was_served_changes_nothing(self) -> None:
        waiting = self.layer.receive(["a"])
        self.layer.send("a", {"number": 1})
        waiting.cancel()
        self.assertEqual(self.numbers(waiting), [1])

    def test_a_reader_that_fails_keeps_the_next_from_nothing(self) -> None:
        def fail(deliveries: object) -> None:
            raise ZeroDivisionError

        first, second = self.layer.receive(["a"]), self.layer.receive(["a"])
        first.addCallback(fail)
        self.layer.send_batch([Send("a", {"number": 1}), Send("a", {"number": 2})])
        self.failureResultOf(first, ZeroDivisionError)
        self.assertEqual(self.numbers(second), [2])

    def test_two_readers_that_answer_each_other_leave_the_reactor_its_turn(self) -> None:
        turns = 0

        def answer(_: object, here: str, there: str) -> None:
            nonlocal turns
            turns += 1
            if turns < 3 * SERVED_AT_ONCE:
                read(here, there)
                self.layer.send(there, {})

        def read(here: str, there: str) -> None:
            self.layer.receive([here]).addCallback(answer, here, there)

        read("a", "b")
        read("b", "a")
        self.layer.send("a", {})
        self.assertEqual(turns, SERVED_AT_ONCE)
        self.clock.advance(0)
        self.assertEqual(turns, 3 * SERVED_AT_ONCE)

    def test_close_during_a_readers_turn_ends_it(self) -> None:
        first, second = self.layer.receive(["a"]), self.layer.receive(["a"])
        first.addCallback(lambda deliveries: self.layer.close() and deliveries)
        self.layer.send_batch([Send("a", {"number": 1}), Send("a", {"number": 2})])
        self.assertEqual(self.numbers(first), [1])
        self.failureResultOf(second)

    def test_close_lets_one_reader_cancel_another(self) -> None:
        first, second = self.layer.receive(["a"]), self.layer.receive(["b"])
        first.addErrback(lambda failure: second.cancel())
        self.successResultOf(self.layer.close())
        self.failureResultOf(second, CancelledError)

    def test_readers_that_were_served_leave_no_garbage_for_the_collector(self) -> None:
        def turn() -> None:
            self.layer.receive(["a"])
            self.layer.send("a", {})

        turn()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                turn()
            self.assertLess(gc.collect(), 50)
        finally:
            gc.enable()


class OtherThreads(Scene):
    """What the blocking face does for Deferreds: C{calls} is the reactor's queue."""

    def test_the_reactor_is_asked_once_for_many_messages(self) -> None:
        waiting = self.layer.receive(["a"], 100)
        for number in range(10):
            self.face.send("a", {"number": number})
        self.assertEqual(len(self.calls), 1)
        self.assertNoResult(waiting)
        self.run_calls()
        self.assertEqual(self.numbers(waiting), list(range(10)))

    def test_the_reactor_is_not_asked_where_nobody_waits(self) -> None:
        self.layer.send("other", {})
        self.face.send("a", {})
        self.face.group_add("g", "a")
        self.face.send_group("g", {})
        self.assertEqual(self.calls, [])

    def test_the_reactor_is_asked_again_for_what_comes_later(self) -> None:
        for number in range(3):
            waiting = self.layer.receive(["a"])
            self.face.send("a", {"number": number})
            self.run_calls()
            self.assertEqual(self.numbers(waiting), [number])

    def test_a_reader_cancelled_before_the_reactor_looks_loses_no_message(self) -> None:
        waiting = self.layer.receive(["a"])
        self.face.send("a", {"number": 1})
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.run_calls()
        self.assertEqual(self.face.receive(["a"]), ("a", {"number": 1}))

    def test_a_layer_closed_before_the_reactor_looks_stays_closed(self) -> None:
        waiting = self.layer.receive(["a"])
        self.face.send("a", {})
        self.layer.close()
        self.failureResultOf(waiting)
        self.run_calls()

    def test_a_face_sets_the_timer_through_the_reactor(self) -> None:
        self.face.send("a", {}, "p!1")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.run_calls()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_without_another_thread_a_face_serves_deferreds_itself(self) -> None:
        layer = MemoryChannelLayer(clock=self.clock)
        waiting = layer.receive(["a"])
        face_of(layer, self.clock).send("a", {"number": 1})
        self.assertEqual(self.numbers(waiting), [1])


class Interruptions(SynchronousTestCase):
    def test_what_interrupts_an_operation_may_send_in_its_turn(self) -> None:
        # As a signal's handler may, or a log observer that the collector calls.
        class Interrupting(Clock):
            once = False

            def seconds(self) -> float:
                if self.once:
                    self.once = False
                    layer.send("log", {"number": 1})
                return super().seconds()

        clock = Interrupting()
        layer = MemoryChannelLayer(clock=clock)
        clock.once = True
        layer.send("a", {"number": 2})
        found = self.successResultOf(layer.receive(["a", "log"], 5))
        self.assertEqual(sorted(one.message["number"] for one in found), [1, 2])


class Expiry(Scene):
    def test_one_timer_serves_all_channels(self) -> None:
        for number in range(500):
            self.layer.send(f"a{number}", {}, "p!1")
            self.clock.advance(0.001)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_messages_read_in_time_cost_one_look_a_minute(self) -> None:
        looks = 0
        for _ in range(6000):
            self.layer.send("a", {})
            self.layer.receive(["a"])
            before = self.clock.getDelayedCalls()
            self.clock.advance(0.1)
            looks += self.clock.getDelayedCalls() != before
        self.assertLessEqual(looks, 12)

    def test_an_idle_layer_has_no_timer(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.layer.send("a", {})
        self.clock.advance(60)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_receipts_of_the_expired_come_within_the_least_wait(self) -> None:
        waiting = self.layer.receive(["p!"], 100)
        self.layer.send("a", {}, "p!1")
        self.clock.advance(0.01)
        self.layer.send("b", {}, "p!2")
        self.clock.advance(59.99)
        (first,) = self.successResultOf(waiting)
        self.assertEqual(first.channel, "p!1")
        waiting = self.layer.receive(["p!"], 100)
        self.clock.advance(LEAST_WAIT)
        self.assertEqual(self.successResultOf(waiting)[0].channel, "p!2")

    def test_a_membership_that_ends_first_moves_the_timer(self) -> None:
        layer = MemoryChannelLayer(clock=self.clock, group_expiry=5)
        layer.send("a", {})
        layer.group_add("g", "a")
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(layer.group_channels("g")), [])
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [60])

    def test_close_leaves_no_timer(self) -> None:
        self.layer.send("a", {})
        self.layer.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flush_leaves_a_layer_that_expires_what_comes_after(self) -> None:
        self.layer.send("a", {})
        self.clock.advance(30)
        self.layer.flush()
        waiting = self.layer.receive(["p!"])
        self.layer.send("a", {}, "p!1")
        self.clock.advance(30)
        self.clock.advance(30)
        self.assertEqual(self.successResultOf(waiting)[0].message, {"receipt": "expired"})


class Arguments(Scene):
    def test_a_limit_below_one_fails_without_raising(self) -> None:
        self.failureResultOf(self.layer.receive(["a"], 0), ValueError)

    def test_one_name_is_no_list_of_channels(self) -> None:
        self.failureResultOf(self.layer.receive("a"), InvalidChannelName)
        self.layer.receive(["a"])
        self.failureResultOf(self.layer.receive("a"), InvalidChannelName)
        with self.assertRaises(InvalidChannelName):
            self.face.receive("a")

    def test_channels_that_cannot_even_be_hashed_are_bad_names(self) -> None:
        self.failureResultOf(self.layer.receive([["a"]]), InvalidChannelName)  # type: ignore[list-item]

    def test_channels_may_be_any_collection(self) -> None:
        for channels in (frozenset("ab"), {"a": 1, "b": 2}, ("a", "b")):
            self.layer.send("b", {"number": 1})
            self.assertEqual(self.numbers(self.layer.receive(channels)), [1])  # type: ignore[arg-type]

    def test_channels_may_come_one_by_one(self) -> None:
        self.layer.send("b", {"number": 1})
        self.assertEqual(self.numbers(self.layer.receive(iter("ab"))), [1])  # type: ignore[arg-type]

    def test_what_is_no_operation_fails_its_place_in_the_batch(self) -> None:
        batch: Any = [Send("a", {}), ("b", {}), Send("c", {})]
        first, second, third = self.successResultOf(self.layer.send_batch(batch))
        self.assertIsInstance(second, InvalidMessage)
        self.assertEqual((first, third), (None, None))

    def test_a_pattern_too_long_for_a_random_part_is_refused(self) -> None:
        self.failureResultOf(self.layer.new_channel("a" * 199 + "!"), InvalidChannelName)


def test_a_new_channel_is_none_that_holds_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = iter(["taken", "taken", "free"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(parts))
    layer = MemoryChannelLayer()
    layer.send("single?taken", {})
    assert layer.new_channel("single?").result == "single?free"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("expiry", 0),
        ("expiry", "60"),
        ("group_expiry", -1),
        ("capacity", 0),
        ("mailbox_capacity", None),
        ("max_message_size", 1.5),
        ("channel_capacity", {"a": 0}),
    ],
)
def test_a_value_out_of_range_is_a_configuration_error_that_names_it(
    option: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match=option):
        MemoryChannelLayer(**{option: value})


def test_a_layer_without_a_clock_keeps_real_time() -> None:
    layer = MemoryChannelLayer(expiry=0.001)
    layer.send("a", {})
    deferred: Deferred[Any] = Deferred()
    while not deferred.called:
        # Each look drops what is due, and says how much is left.
        if layer.global_statistics().result["messages_pending"] == 0:  # type: ignore[union-attr, attr-defined]
            deferred.callback(None)
    assert layer.channel_statistics("a").result["messages_expired_count"] == 1  # type: ignore[union-attr, attr-defined]
