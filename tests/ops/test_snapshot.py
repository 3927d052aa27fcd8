"""Tests for C{chanserv.ops.snapshot}."""

from __future__ import annotations

import json
import os

import pytest

from chanserv import __version__
from chanserv.messages import seal
from chanserv.ops.snapshot import OF_INTERFACE_SERVERS, Process, Snapshot, sum_of
from chanserv.server.counts import Counts
from chanserv.worker.status import BUCKETS, ConsumerTimes, WorkerState, WorkerStatus


def worker(slot=1, **consumers):
    times = {}
    for name, seconds in consumers.items():
        times[name] = ConsumerTimes()
        for one in seconds:
            times[name].add(one, failed=one > 1)
    return WorkerStatus(
        slot=slot,
        pid=100 + slot,
        state=WorkerState.RUNNING,
        release="blue",
        threads=4,
        counters={"runs": 3},
        consumers=times,
        channels=("jobs.mail", "http.request"),
    )


def process(**given):
    made = Process(release="blue", layer="ipc:site")
    for name, value in given.items():
        setattr(made, name, value)
    return made


def test_a_process_says_who_it_is_and_how_it_does() -> None:
    made = process(
        counts=lambda: Counts(requests=7), mailbox="chanserv.response.x!", round_trip=0.25
    )
    found = made.now()
    assert found.pid == os.getpid()
    assert found.name == f"{found.host}:{os.getpid()}"
    assert (found.version, found.release, found.layer) == (__version__, "blue", "ipc:site")
    assert found.counts is not None
    assert found.counts["requests"] == 7
    assert (found.mailbox, found.round_trip) == ("chanserv.response.x!", 0.25)
    assert 0 <= found.uptime < 3600


def test_what_it_says_does_not_change_with_what_happens_later() -> None:
    counts = Counts()
    found = process(counts=lambda: counts).now()
    counts.requests += 1
    assert found.counts is not None
    assert found.counts["requests"] == 0


def test_its_channels_are_those_that_workers_read_and_an_interface_server_sends_to() -> None:
    assert process().now().channels == []
    assert process(workers=lambda: [worker()]).now().channels == ["http.request", "jobs.mail"]
    both = process(workers=lambda: [worker()], counts=Counts).now()
    assert both.channels == sorted({*OF_INTERFACE_SERVERS, "jobs.mail"})


def test_it_comes_back_from_plain_values_as_it_was() -> None:
    made = process(
        counts=Counts,
        workers=lambda: [worker(1, fast=[0.01, 0.02]), worker(2, slow=[2.0])],
        past=lambda: [worker(3, gone=[0.5])],
    )
    found = made.now()
    again = Snapshot.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.workers[0].consumers == found.workers[0].consumers
    assert [one.slot for one in again.workers] == [1, 2]
    assert again.counts == found.counts
    assert again.channels == tuple(found.channels)
    # Of what is past, only the sums are told.
    assert sum_of(again.past[0]) == sum_of(found.past[0])


def test_every_layer_carries_it() -> None:
    seal(
        {"status": process(counts=Counts, workers=lambda: [worker(1, fast=[0.01])]).now().as_dict()}
    )


def test_without_consumers_their_sum_is_told() -> None:
    found = process(workers=lambda: [worker(1, fast=[0.01, 0.02], slow=[2.0])]).now()
    short = Snapshot.from_dict(found.as_dict(consumers=False))
    assert list(short.workers[0].consumers) == [""]
    assert sum_of(short.workers[0]) == sum_of(found.workers[0])
    assert sum_of(short.workers[0]).runs == 3
    assert sum_of(short.workers[0]).failures == 1


def test_what_a_later_version_adds_is_left_out() -> None:
    plain = process().now().as_dict()
    assert Snapshot.from_dict({**plain, "mood": "good"}).layer == "ipc:site"


def test_a_worker_as_only_a_later_version_knows_it_is_left_out() -> None:
    plain = process(workers=lambda: [worker(1), worker(2)]).now().as_dict()
    plain["workers"][0]["state"] = "asleep"
    assert [one.slot for one in Snapshot.from_dict(plain).workers] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"busy": "all"},
        {"oldest_run": None},
        {"counters": {"runs": "many"}},
        {"consumers": {"a": ["many"] + [0] * (len(BUCKETS) + 3)}},
    ],
)
def test_a_worker_that_nobody_could_compute_with_is_left_out(wrong) -> None:
    plain = process(workers=lambda: [worker(1), worker(2)]).now().as_dict()
    plain["workers"][0].update(wrong)
    assert [one.slot for one in Snapshot.from_dict(plain).workers] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"host": "here"},
        {"host": "here", "pid": "many"},
        {"host": "here", "pid": 1, "workers": 3},
        {"host": "here", "pid": 1, "counts": {"requests": "many"}},
        {"host": "here", "pid": 1, "counts": 7},
        {"host": "here", "pid": 1, "channels": 7},
        {"host": "here", "pid": 1, "uptime": "long"},
        {"host": "here", "pid": 1, "round_trip": [1]},
    ],
)
def test_what_is_no_status_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="this is not the status of a process"):
        Snapshot.from_dict(wrong)
