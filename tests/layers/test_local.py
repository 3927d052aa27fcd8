from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chanserv.errors import InvalidChannelName, InvalidMessage, LayerUnavailable
from chanserv.layers import MemoryChannelLayer
from chanserv.layers.local import SplitChannelLayer
from chanserv.messages import GroupSend, Send
from chanserv.testing.fakes import BareLayer, FailingLayer
from tests.layers.split_case import SplitContract


class TwoMemoryLayersAsOneKeepTheContract(SplitContract, TestCase):
    quiet = 0.0

    def make_layer(self, **config: Any) -> SplitChannelLayer:
        self.clock = Clock()
        self.ordinary = MemoryChannelLayer(clock=self.clock, **config)
        self.rest = MemoryChannelLayer(clock=self.clock, **config)
        return SplitChannelLayer(self.ordinary, self.rest)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Sides(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ordinary = MemoryChannelLayer(clock=self.clock)
        self.rest = MemoryChannelLayer(clock=self.clock)
        self.layer = SplitChannelLayer(self.ordinary, self.rest)

    def here(self, waiting: Deferred[Any]) -> Any:
        return self.successResultOf(waiting)

    def test_a_receive_gives_no_more_than_its_limit_of_both_together(self) -> None:
        for side in (self.ordinary, self.rest):
            for number in range(3):
                self.here(side.send("a", {"number": number}))
        sizes = [len(self.here(self.layer.receive(["a"], 4))) for _ in range(2)]
        self.assertEqual(sizes, [4, 2])

    def test_a_side_without_end_does_not_starve_the_other(self) -> None:
        self.here(self.ordinary.send("a", {"from": "ordinary"}))
        found = []
        for _ in range(3):
            for _ in range(2):
                self.here(self.rest.send("a", {"from": "rest"}))
            found += self.here(self.layer.receive(["a"], 2))
        self.assertIn({"from": "ordinary"}, [one.message for one in found])

    def test_who_has_been_served_by_one_side_takes_nothing_from_the_other(self) -> None:
        for side, other in ((self.ordinary, self.rest), (self.rest, self.ordinary)):
            waiting = self.layer.receive(["a"], 5)
            self.here(side.send("a", {}))
            self.assertEqual(len(self.here(waiting)), 1)
            self.here(other.send("a", {}))
            self.assertEqual(len(self.here(other.receive(["a"]))), 1)

    def test_a_cancelled_receive_waits_on_neither(self) -> None:
        waiting = self.layer.receive(["a"])
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        for side in (self.ordinary, self.rest):
            self.here(side.send("a", {}))
            self.assertEqual(len(self.here(side.receive(["a"]))), 1)

    def test_a_side_that_fails_ends_the_receive_and_the_others_wait(self) -> None:
        waiting = self.layer.receive(["a"])
        self.here(self.ordinary.close())
        self.failureResultOf(waiting, LayerUnavailable)
        self.here(self.rest.send("a", {}))
        self.assertEqual(len(self.here(self.rest.receive(["a"]))), 1)

    def test_what_one_side_has_comes_though_the_other_fails(self) -> None:
        self.here(self.rest.send("a", {}))
        self.here(self.ordinary.close())
        self.assertEqual(len(self.here(self.layer.receive(["a"], 5))), 1)
        self.failureResultOf(self.layer.receive(["a"], 5), LayerUnavailable)

    def test_a_batch_settles_on_each_side_when_all_has_been_sent(self) -> None:
        self.here(self.layer.send("a", {}, "p!a"))
        self.here(self.layer.send("b?", {}, "p!b"))
        taken = self.here(self.layer.receive(["a", "b?"], 5))
        self.assertEqual(
            self.here(self.layer.send_batch([Send("c", {}), Send("p!x", {})], taken)),
            [None, None],
        )
        receipts = [self.here(side.receive(["p!"], 5)) for side in (self.ordinary, self.rest)]
        self.assertEqual(
            [[one.channel for one in found] for found in receipts], [["p!a"], ["p!x", "p!b"]]
        )

    def test_a_trip_that_fails_as_a_whole_gives_up_what_it_should_have_settled(self) -> None:
        failing = FailingLayer(self.rest)
        layer = SplitChannelLayer(self.ordinary, failing)
        self.here(layer.send("a", {}, "p!a"))
        taken = self.here(layer.receive(["a"]))
        failing.failure = LayerUnavailable("away")
        self.failureResultOf(layer.send_batch([Send("p!x", {})], taken), LayerUnavailable)
        (receipt,) = self.here(self.ordinary.receive(["p!"]))
        self.assertEqual(receipt.message, {"receipt": "lost"})

    def test_errors_stand_where_their_operations_stood(self) -> None:
        operations: Any = [
            Send("a", {}),
            Send("p!x", {"bad": object()}),
            "nothing",
            Send("a b", {}),
            Send("b", {"bad": object()}),
            GroupSend("g", {}),
        ]
        errors = self.here(self.layer.send_batch(operations))
        fine = type(None)
        self.assertEqual(
            [type(error) for error in errors],
            [fine, InvalidMessage, InvalidMessage, InvalidChannelName, InvalidMessage, fine],
        )

    def test_statistics_add_up_but_for_the_age(self) -> None:
        self.here(self.layer.send("a", {}))
        self.here(self.layer.group_add("g", "a"))
        self.here(self.layer.send_group("g", {}))
        for counts in (
            self.here(self.layer.channel_statistics("a")),
            self.here(self.layer.global_statistics()),
        ):
            self.assertEqual((counts["messages_count"], counts["messages_pending"]), (2, 2))
        self.clock.advance(5)
        counts = self.here(self.layer.global_statistics())
        self.assertEqual(counts["messages_max_age"], 5)

    def test_it_says_of_itself_what_both_can(self) -> None:
        self.assertEqual(self.layer.extensions, {"groups", "flush", "statistics"})
        self.assertTrue(self.layer.settles)
        self.assertTrue(self.layer.within_process)
        bare = SplitChannelLayer(BareLayer(self.ordinary), self.rest)
        self.assertFalse(bare.settles)
        self.assertFalse(bare.within_process)
