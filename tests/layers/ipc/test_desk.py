"""The order in which operations go to a hub that had to be waited for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.desk import Desk


class Done:
    """A link that does all it is asked, at once."""

    options: dict[str, Any] = {}
    is_over = False

    def __init__(self) -> None:
        self.posted: list[wire.Operation] = []

    def post(self, operation: wire.Operation, weight: int, answer: Deferred[Any]) -> None:
        self.posted.append(operation)
        answer.callback(None)

    def tell(
        self, operation: wire.Operation, weight: int = 100, answer: Deferred[Any] | None = None
    ) -> None:
        raise AssertionError("nothing is told")


class WhatHasWaited(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.desk = Desk(self.clock, 5.0)
        self.link = Done()

    def found(self) -> None:
        self.desk.found(self.link)
        self.desk.release()

    def test_what_an_answer_sets_off_comes_behind_it(self) -> None:
        self.desk.post(("one",)).addCallback(lambda _: self.desk.post(("three",)))
        self.desk.post(("two",))
        self.found()
        self.assertEqual(self.link.posted, [("one",), ("two",), ("three",)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_the_end_of_a_hub_sets_off_comes_behind_what_that_has_not_done(self) -> None:
        answer: Deferred[Any] = Deferred()
        answer.addErrback(lambda failure: failure.trap(LayerUnavailable))
        self.desk.post(("two",))
        self.desk.lost("it is gone", [(("one",), 100, answer)])
        self.found()
        self.assertEqual(self.link.posted, [("one",), ("two",)])

    def test_the_next_hub_is_told_what_is_known_by_then(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.desk.lost("it is gone", [((wire.PUT_BACK, {}, [], 0), 100, answer)])
        self.failureResultOf(answer, LayerUnavailable)
        self.assertEqual(self.desk.held(), [])

    def test_each_waits_for_as_long_as_all_others(self) -> None:
        first = self.desk.post(("one",))
        self.clock.advance(3)
        second = self.desk.post(("two",))
        self.clock.advance(2)
        self.failureResultOf(first, LayerUnavailable)
        self.assertNoResult(second)
        self.found()
        self.successResultOf(second)
