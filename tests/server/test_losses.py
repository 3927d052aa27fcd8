from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from chanserv.messages import Outcome
from chanserv.server.counts import Counts
from chanserv.server.losses import GATHERED_FOR, Losses


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []

    def note(event) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


def test_what_one_death_brings_is_one_line(said: list[str]) -> None:
    clock, counts = Clock(), Counts()
    losses = Losses(counts, clock)
    for _ in range(300):
        losses.note(Outcome.LOST)
    losses.note(Outcome.SETTLED)
    assert said == []
    clock.advance(GATHERED_FOR)
    (line,) = said
    assert line.startswith("300 events of clients were lost")
    assert (counts.lost, counts.expired) == (300, 0)


def test_the_next_death_has_its_own_line(said: list[str]) -> None:
    clock = Clock()
    losses = Losses(Counts(), clock)
    for number in (2, 3):
        for _ in range(number):
            losses.note("lost")
        clock.advance(GATHERED_FOR)
    assert [line.split()[0] for line in said] == ["2", "3"]


def test_what_expired_is_said_apart(said: list[str]) -> None:
    clock, counts = Clock(), Counts()
    losses = Losses(counts, clock)
    losses.note(Outcome.EXPIRED)
    losses.note(Outcome.LOST)
    clock.advance(GATHERED_FOR)
    assert [line.split(":")[0] for line in said] == [
        "1 events of clients were lost",
        "1 events of clients expired",
    ]


def test_a_stop_says_what_is_left_to_say_and_leaves_no_timer(said: list[str]) -> None:
    clock = Clock()
    losses = Losses(Counts(), clock)
    losses.stop()
    losses.note(Outcome.LOST)
    losses.stop()
    losses.stop()
    assert len(said) == 1
    assert clock.getDelayedCalls() == []


def test_settled_events_are_no_news(said: list[str]) -> None:
    clock = Clock()
    Losses(Counts(), clock).note(Outcome.SETTLED)
    assert clock.getDelayedCalls() == []
