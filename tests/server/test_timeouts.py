"""The one timer of all connections."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from chanserv.server.timeouts import NEVER, RESOLUTION, Timeouts


class Thing:
    deadline: float
    slot: int

    def __init__(self, timeouts: Timeouts) -> None:
        self.due: float | None = None
        timeouts.begin(self)

    def timed_out(self, now: float) -> None:
        assert self.due is not None, "it has no deadline"
        assert now >= self.due, "it is too early"
        self.due = None


class Deadlines(RuleBasedStateMachine):
    """Five things whose deadlines are moved about."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.timeouts = Timeouts(self.clock)
        self.things = [Thing(self.timeouts) for _ in range(5)]

    @rule(which=st.integers(0, 4), delay=st.floats(0, 20))
    def move(self, which: int, delay: float) -> None:
        thing = self.things[which]
        thing.due = self.clock.seconds() + delay
        self.timeouts.set(thing, thing.due)

    @rule(which=st.integers(0, 4), lift=st.booleans())
    def forget(self, which: int, lift: bool) -> None:
        thing = self.things[which]
        thing.due = None
        if lift:
            self.timeouts.set(thing, NEVER)
        else:
            self.timeouts.end(thing)

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def nothing_is_much_too_late(self) -> None:
        now = self.clock.seconds()
        for thing in self.things:
            # A long step of the clock is one late tick.
            assert thing.due is None or thing.due > now - 5 - 2 * RESOLUTION


TestDeadlines = Deadlines.TestCase


def test_a_deadline_comes_true_within_a_second() -> None:
    clock = Clock()
    timeouts = Timeouts(clock)
    thing = Thing(timeouts)
    thing.due = 10
    timeouts.set(thing, 10)
    for _ in range(95):
        clock.advance(0.1)
    assert thing.due == 10
    for _ in range(15):
        clock.advance(0.1)
    assert thing.due is None


def test_no_timer_runs_while_there_is_nothing_to_wait_for() -> None:
    clock = Clock()
    timeouts = Timeouts(clock)
    things = [Thing(timeouts) for _ in range(100)]
    assert clock.getDelayedCalls() == []
    for thing in things:
        timeouts.after(thing, 5)
    assert len(clock.getDelayedCalls()) == 1
    assert len(timeouts) == 100
    for thing in things:
        timeouts.end(thing)
    assert len(timeouts) == 0
    clock.advance(1)
    assert clock.getDelayedCalls() == []


def test_one_that_fails_does_not_keep_the_others_from_their_time() -> None:
    clock = Clock()
    timeouts = Timeouts(clock)
    things = [Thing(timeouts) for _ in range(3)]
    for thing in things:
        timeouts.after(thing, 1)
    things[0].due = things[2].due = 0
    failures: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        for _ in range(6):
            clock.advance(0.5)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert [thing.due for thing in things] == [None, None, None]
    assert len(failures) == 1


def test_after_a_stop_nothing_comes_true() -> None:
    clock = Clock()
    timeouts = Timeouts(clock)
    thing = Thing(timeouts)
    timeouts.after(thing, 1)
    timeouts.stop()
    clock.advance(5)
    assert clock.getDelayedCalls() == []
