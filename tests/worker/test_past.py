"""Tests for C{chanserv.worker.past}: what workers did that are gone."""

from __future__ import annotations

from chanserv.worker.past import MAX_RELEASES, Past
from chanserv.worker.status import (
    MAX_CONSUMERS,
    OTHER,
    ConsumerTimes,
    WorkerState,
    WorkerStatus,
)


def ended(release: str, runs: int, **consumers: float) -> WorkerStatus:
    times = {}
    for name, seconds in consumers.items():
        times[name] = ConsumerTimes()
        times[name].add(seconds, failed=True)
    return WorkerStatus(
        1, 77, WorkerState.DRAINING, release, counters={"runs": runs}, consumers=times
    )


def test_workers_of_one_release_add_up() -> None:
    past = Past()
    past.add(ended("v1", 3, a=1.0))
    past.add(ended("v1", 4, a=2.0, b=0.5))
    past.add(ended("v2", 5))
    first, second = past.statuses()
    assert (first.release, first.counters, second.release) == ("v1", {"runs": 7}, "v2")
    assert (first.consumers["a"].runs, first.consumers["a"].seconds) == (2, 3.0)
    assert first.consumers["b"].failures == 1


def test_what_it_was_told_and_what_it_tells_stay_as_they_are() -> None:
    past, last = Past(), ended("v1", 1, a=1.0)
    past.add(last)
    before = past.statuses()[0]
    past.add(ended("v1", 1, a=1.0))
    assert before.counters == {"runs": 1}
    assert (before.consumers["a"].runs, sum(before.consumers["a"].buckets)) == (1, 1)
    assert last.consumers["a"].runs == 1


def test_only_so_many_releases_are_kept_and_the_one_in_use_longest_unseen_goes() -> None:
    past = Past()
    for number in range(MAX_RELEASES):
        past.add(ended(f"v{number}", 1))
    past.add(ended("v0", 1))
    past.add(ended("new", 1))
    kept = {status.release: status.counters["runs"] for status in past.statuses()}
    assert len(kept) == MAX_RELEASES
    assert kept["v0"] == 2
    assert "v1" not in kept


def test_consumers_that_each_worker_makes_anew_do_not_pile_up() -> None:
    past = Past()
    for worker in range(3):
        past.add(ended("v1", 1, **{f"made_{worker}_{one}": 0.1 for one in range(MAX_CONSUMERS)}))
    (status,) = past.statuses()
    assert len(status.consumers) == MAX_CONSUMERS + 1
    assert status.consumers[OTHER].runs == 2 * MAX_CONSUMERS
