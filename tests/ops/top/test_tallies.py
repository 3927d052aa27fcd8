"""Tests for C{chanserv.ops.top.tallies}."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.ops.top.tallies import LONGEST, MAX_STEPS, Tallies, quantile
from chanserv.worker.status import BUCKETS, ConsumerTimes
from tests.ops.top.samples import BEGAN, a_process, a_sample, a_worker, times

CHAT = ("consumer", "chat")
BLUE = ("release", "blue")
REQUESTS = ("all", "requests")


def tallied(*samples):
    tallies = Tallies()
    for sample in samples:
        tallies.add(sample)
    return tallies


def working(at, *seconds, pid=100, failures=0, uptime=None, started=BEGAN, release="blue"):
    """A sample of one worker whose one consumer ran so often."""
    worker = a_worker(
        pid,
        consumers={"chat": times(*seconds, failures=failures)},
        started=started,
        release=release,
    )
    return a_sample(at, a_process(worker, uptime=at if uptime is None else uptime))


def serving(at, requests, **given):
    return a_sample(at, a_process(counts={"requests": requests}, uptime=at, **given))


def test_one_sample_tells_no_rate() -> None:
    assert tallied(serving(100, 7)).rate(REQUESTS, 5) is None
    assert Tallies().rate(REQUESTS, 5) is None


def test_a_rate_is_what_was_added_by_the_time_it_took() -> None:
    tallies = tallied(serving(100, 1000), serving(102, 1030))
    assert tallies.rate(REQUESTS, 5) == 15.0


def test_what_was_counted_before_the_view_began_is_no_rate() -> None:
    assert tallied(serving(100, 1000), serving(101, 1000)).rate(REQUESTS, 5) == 0


def test_a_rate_is_that_of_the_last_seconds() -> None:
    tallies = tallied(*(serving(100 + at, 10 * max(at - 10, 0)) for at in range(21)))
    assert tallies.rate(REQUESTS, 5) == 10.0
    assert tallies.rate(REQUESTS, 20) == 5.0


def test_samples_far_apart_tell_a_rate_all_the_same() -> None:
    assert tallied(serving(0, 0), serving(100, 0), serving(200, 300)).rate(REQUESTS, 5) == 3.0


def test_the_sum_over_processes_and_each_of_them_are_told() -> None:
    def both(at, one, other):
        return a_sample(
            at,
            a_process(pid=1, counts={"requests": one}, uptime=at),
            a_process(pid=2, counts={"requests": other}, uptime=at),
        )

    tallies = tallied(both(100, 5, 50), both(101, 8, 51))
    assert tallies.rate(REQUESTS, 5) == 4.0
    assert tallies.rate(("process", "chanserv.process.1!roll", "requests"), 5) == 3.0


def test_a_worker_that_was_replaced_takes_nothing_away() -> None:
    tallies = tallied(
        working(100, 0.1, 0.1, 0.1),
        working(101, 0.1, 0.1, 0.1, 0.1),
        # Another process in its place, which has run twice since it began.
        working(102, 0.1, 0.1, pid=101, started=BEGAN + 101.5),
        working(103, 0.1, 0.1, 0.1, pid=101, started=BEGAN + 101.5),
    )
    assert tallies.times(CHAT, 60).runs == 1 + 2 + 1
    assert tallies.times(BLUE, 60).runs == 4


def test_what_an_unknown_worker_did_before_one_looked_does_not_count() -> None:
    tallies = tallied(a_sample(100), working(101, *[0.1] * 50), working(102, *[0.1] * 51))
    assert tallies.times(CHAT, 60).runs == 1


def test_a_process_that_was_silent_for_a_while_is_not_new() -> None:
    silent = a_sample(102)
    tallies = tallied(
        serving(100, 10), serving(101, 20), silent, serving(103, 40), serving(104, 50)
    )
    assert tallies.change(REQUESTS, 60)[0] == (20,)


def test_an_answer_that_is_shown_twice_counts_once() -> None:
    again = a_sample(102, a_process(counts={"requests": 20}, uptime=101), heard=101)
    assert tallied(serving(100, 10), serving(101, 20), again).change(REQUESTS, 60)[0] == (10,)


def test_a_layer_that_was_flushed_counts_anew() -> None:
    tallies = tallied(
        a_sample(100, totals={"messages_count": 1000}, channels={"jobs": {"messages_count": 500}}),
        a_sample(101, totals={"messages_count": 3}, channels={"jobs": {"messages_count": 0}}),
        a_sample(102, totals={"messages_count": 5}, channels={"jobs": {"messages_count": 4}}),
    )
    assert tallies.change(("total", "messages_count"), 60)[0] == (5,)
    assert tallies.change(("channel", "jobs"), 60)[0] == (4,)


def test_failures_and_times_are_those_of_the_last_seconds() -> None:
    tallies = tallied(
        working(100, *[3.0] * 9, failures=9),
        working(110, *[3.0] * 9, 0.01, 0.02, failures=9),
    )
    found = tallies.times(CHAT, 60)
    assert (found.runs, found.failures) == (2, 0)
    assert found.seconds == pytest.approx(0.03)
    assert quantile(found, 0.95) < 0.03


def test_releases_are_kept_apart() -> None:
    def both(at, blue, green):
        return a_sample(
            at,
            a_process(
                a_worker(1, consumers={"chat": times(*blue)}),
                a_worker(2, slot=2, release="green", consumers={"chat": times(*green)}),
                uptime=at,
            ),
        )

    tallies = tallied(both(100, [], []), both(101, [0.1], [2.0, 2.0]))
    assert tallies.times(BLUE, 60).runs == 1
    assert tallies.times(("release", "green"), 60).runs == 2
    assert tallies.times(CHAT, 60).runs == 3


def test_no_more_is_remembered_than_can_be_told() -> None:
    tallies = tallied(*(serving(at, at) for at in range(1000)))
    assert tallies._steps[0][0] >= 999 - LONGEST
    tallies = tallied(*(serving(at / 1000, at) for at in range(1000)))
    assert len(tallies._steps) == MAX_STEPS


def test_of_processes_that_are_gone_nothing_is_kept_to_compare_with() -> None:
    tallies = tallied(serving(100, 1), a_sample(101))
    assert tallies._seen == {}


def test_workers_that_have_been_replaced_are_forgotten() -> None:
    tallies = tallied(
        *(working(at, 0.1, pid=at // 10, started=BEGAN + at // 10 * 10) for at in range(1000))
    )
    assert len([key for key in tallies._sums if key[0] == "worker"]) <= LONGEST / 10 + 1
    assert tallies.times(BLUE, 60).runs == 6


def test_one_that_comes_back_after_it_was_forgotten_is_new() -> None:
    gone = [a_sample(at) for at in range(101, 170)]
    tallies = tallied(serving(100, 5000), *gone, serving(170, 5100), serving(171, 5101))
    assert tallies.change(REQUESTS, 60)[0] == (1,)


# Quantiles


def test_no_runs_have_no_quantile() -> None:
    assert quantile(ConsumerTimes(), 0.95) is None


def test_a_quantile_past_the_last_bound_is_infinite() -> None:
    assert quantile(times(100.0), 0.95) == float("inf")


def test_a_few_slow_runs_do_not_move_it_and_more_do() -> None:
    assert quantile(times(*[0.001] * 97, *[9.0] * 3), 0.95) <= 0.005
    assert quantile(times(*[0.001] * 90, *[9.0] * 10), 0.95) > 5.0


@given(
    st.lists(st.floats(min_value=0.0, max_value=59.0), min_size=1),
    st.floats(min_value=0.01, max_value=1.0),
)
def test_a_quantile_is_in_the_bucket_of_the_run_that_it_falls_on(seconds, part) -> None:
    found = quantile(times(*seconds), part)
    # The first run that at least this part of all is not slower than.
    exact = next(
        one for number, one in enumerate(sorted(seconds), 1) if number >= part * len(seconds) - 1e-9
    )
    above = next(bound for bound in BUCKETS if exact <= bound)
    below = max((bound for bound in BUCKETS if bound < exact), default=0.0)
    assert below <= found <= above + 1e-9
