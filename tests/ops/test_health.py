"""Tests for C{chanserv.ops.health}: whether a process can serve."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed

from chanserv.ops.health import Readiness
from chanserv.worker.status import WorkerState, WorkerStatus


class FakePulse:
    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.asked = 0

    def check(self):
        self.asked += 1
        return succeed(self.problem)


def reasons(states=(), present=None, problem="", serving=True) -> list[str]:
    workers = [WorkerStatus(number, 7, state) for number, state in enumerate(states)]
    readiness = Readiness(FakePulse(problem), lambda: serving, lambda: workers, lambda: present)
    found: list[list[str]] = []
    readiness.reasons().addCallback(found.append)
    return found[0]


@pytest.mark.parametrize(
    ("states", "present"),
    [
        ([WorkerState.RUNNING], None),
        ([WorkerState.WAITING, WorkerState.RUNNING], None),
        # Those of other machines do, while its own are being started.
        ([WorkerState.STARTING], True),
        ([], True),
        # An interface server alone that cannot tell believes that there are some.
        ([], None),
    ],
)
def test_it_is_ready_where_a_worker_runs_or_may_run(states, present) -> None:
    assert reasons(states, present) == []


@pytest.mark.parametrize(
    ("states", "present", "words"),
    [
        ([WorkerState.STUCK, WorkerState.WAITING], None, "stuck, waiting"),
        ([WorkerState.DRAINING], False, "draining"),
        ([], False, "anywhere"),
    ],
)
def test_it_is_not_where_no_worker_runs_and_says_what_they_do(states, present, words) -> None:
    (reason,) = reasons(states, present)
    assert "no worker runs" in reason
    assert words in reason


def test_each_reason_has_its_line() -> None:
    found = reasons([], False, problem="the channel layer cannot be reached: it is away")
    assert len(found) == 2
    assert "away" in found[0]


def test_a_process_that_stops_is_not_ready_and_asks_nobody() -> None:
    pulse = FakePulse()
    found: list[list[str]] = []
    Readiness(pulse, lambda: False, list, lambda: True).reasons().addCallback(found.append)
    assert "stopping" in found[0][0]
    assert pulse.asked == 0
