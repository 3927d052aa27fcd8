"""Rows of figures: what a sample and the tallies with it say, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from chanserv.ops.snapshot import sum_of
from chanserv.ops.top import figures
from chanserv.ops.top.asker import Heard, Sample
from chanserv.ops.top.heading import heading_of
from chanserv.ops.top.tallies import LONGEST, Key, Tallies, quantile
from chanserv.ops.top.view import Column, Piece, Style, Table, View
from chanserv.worker.status import BUCKETS, ConsumerTimes, WorkerState, WorkerStatus

LATELY: Final = 5.0
"""Seconds over which what happens in a second is averaged: a figure that is read must
stand still for a moment."""

SILENT_AFTER: Final = 3.0
"""Seconds without an answer after which a process is shown as silent, where it is asked
each second; else three times as long as between two questions."""

LONG_RUN: Final = 10.0
"""Seconds after which a run is shown as one to look at: past this its client has lost
patience."""

SLOW: Final = 0.95
"""The part of all runs that the time is told of within which they end."""


def view_of(sample: Sample, tallies: Tallies, layer: str, every: float) -> View:
    """
    Make everything of a sample.

    @param tallies: with this sample in them.
    @param layer: the layer's name, without secrets.
    @param every: seconds between two samples.
    """
    lately = max(LATELY, 2.5 * every)
    return View(
        heading_of(sample, tallies, layer, lately),
        {
            "processes": _processes(sample, tallies, lately, max(SILENT_AFTER, 3 * every)),
            "workers": _workers(sample, tallies, lately),
            "releases": _releases(sample, tallies, lately),
            "channels": _channels(sample, tallies, lately),
            "consumers": _consumers(sample, tallies, lately),
        },
    )


def _processes(sample: Sample, tallies: Tallies, lately: float, silent_after: float) -> Table:
    def row(process: str, heard: Heard) -> list[Piece]:
        snapshot = heard.snapshot
        counts = snapshot.counts

        def now(field: str) -> Piece:
            return Piece(figures.UNKNOWN if counts is None else figures.count(counts.get(field)))

        def each_second(field: str) -> Piece:
            known = counts is not None
            return Piece(
                figures.rate(tallies.rate(("process", process, field), lately) if known else None)
            )

        silent = sample.at - heard.at
        up = Piece(figures.seconds(snapshot.uptime))
        if silent >= silent_after:
            up = Piece("silent", Style.BAD)
        return [
            Piece(snapshot.name),
            Piece(snapshot.release or figures.UNKNOWN),
            up,
            now("connections_open"),
            now("sockets_open"),
            each_second("requests"),
            each_second("frames_in"),
            each_second("frames_out"),
            Piece(figures.seconds(snapshot.round_trip)),
        ]

    return Table(
        [
            Column("PROCESS", keeps_end=True),
            Column("RELEASE", 10),
            Column("UP", 6),
            Column("CONNS", 6),
            Column("SOCKS", 6),
            Column("REQ/S", 6),
            Column("IN/S", 6),
            Column("OUT/S", 6),
            Column("TRIP", 6),
        ],
        [row(*one) for one in sorted(sample.processes.items(), key=lambda one: _order(one[1]))],
    )


_STATES: Final = {
    WorkerState.RUNNING: Style.GOOD,
    WorkerState.STUCK: Style.BAD,
    WorkerState.WAITING: Style.BAD,
}
"""How a state is shown; the others are on their way to somewhere."""


def _workers(sample: Sample, tallies: Tallies, lately: float) -> Table:
    def row(process: str, heard: Heard, worker: WorkerStatus) -> list[Piece]:
        key = ("worker", process, str(worker.slot), str(worker.pid))
        failures = tallies.rate(key, lately, 1)
        all_busy = worker.threads and worker.busy >= worker.threads
        return [
            Piece(heard.snapshot.name),
            Piece(str(worker.slot) if worker.slot else figures.UNKNOWN),
            Piece(str(worker.pid) if worker.pid else figures.UNKNOWN),
            Piece(worker.state.value, _STATES.get(worker.state, Style.WARN)),
            Piece(worker.release or figures.UNKNOWN),
            Piece(f"{worker.busy}/{worker.threads}", Style.WARN if all_busy else Style.PLAIN),
            Piece(
                figures.seconds(worker.oldest_run) if worker.busy else figures.UNKNOWN,
                Style.WARN if worker.oldest_run >= LONG_RUN else Style.PLAIN,
            ),
            Piece(figures.rate(tallies.rate(key, lately))),
            Piece(figures.rate(failures), Style.BAD if failures else Style.PLAIN),
            Piece(str(worker.restarts)),
        ]

    def order(one: tuple[str, Heard, WorkerStatus]) -> tuple[object, ...]:
        _, heard, worker = one
        # What is wrong comes first: a screen may be too small for all.
        healthy = worker.state is WorkerState.RUNNING
        return healthy, *_order(heard), worker.slot, worker.pid

    return Table(
        [
            Column("WORKERS", keeps_end=True),
            Column("SLOT", 4),
            Column("PID", 7),
            Column("STATE", 8),
            Column("RELEASE", 10),
            Column("BUSY", 6),
            Column("OLDEST", 6),
            Column("RUNS/S", 6),
            Column("FAIL/S", 6),
            Column("RST", 3),
        ],
        [row(*one) for one in sorted(_all_workers(sample), key=order)],
    )


def _releases(sample: Sample, tallies: Tallies, lately: float) -> Table:
    since: dict[str, ConsumerTimes] = {}
    workers: dict[str, int] = {}
    for *_, worker in _all_workers(sample):
        workers[worker.release] = workers.get(worker.release, 0) + 1
        since.setdefault(worker.release, ConsumerTimes()).merge(sum_of(worker))
    for heard in sample.processes.values():
        for gone in heard.snapshot.past:
            since.setdefault(gone.release, ConsumerTimes()).merge(sum_of(gone))

    def row(release: str) -> list[Piece]:
        return [
            Piece(release or "(no label)"),
            Piece(figures.count(workers.get(release, 0))),
            *_runs(tallies, ("release", release), since[release], lately),
        ]

    # Those that run come first, and then those that have been there.
    names = sorted(since, key=lambda release: (not workers.get(release), release))
    return Table(
        [Column("RELEASES"), Column("WORKERS", 7), *_RUNS],
        [row(release) for release in names],
    )


def _consumers(sample: Sample, tallies: Tallies, lately: float) -> Table:
    since: dict[str, ConsumerTimes] = {}
    for *_, worker in _all_workers(sample):
        for name, times in worker.consumers.items():
            since.setdefault(name, ConsumerTimes()).merge(times)

    def slowness(name: str) -> tuple[float, float, str]:
        now = tallies.times(("consumer", name), LONGEST)
        return -(quantile(now, SLOW) or 0.0), -(quantile(since[name], SLOW) or 0.0), name

    return Table(
        [Column("SLOWEST CONSUMERS", keeps_end=True), *_RUNS],
        [
            [
                Piece(name or "(not told apart)"),
                *_runs(tallies, ("consumer", name), since[name], lately),
            ]
            for name in sorted(since, key=slowness)
        ],
    )


_RUNS: Final = (
    Column("RUNS/S", 6),
    Column("1m MEAN", 7),
    Column("p95", 6),
    Column("FAIL", 5),
    Column("all RUNS", 8),
    Column("MEAN", 6),
    Column("p95", 6),
    Column("FAIL", 5),
)
"""How often, and for how long: in the last minute, and since the workers began."""


def _runs(tallies: Tallies, key: Key, since: ConsumerTimes, lately: float) -> Iterable[Piece]:
    minute = tallies.times(key, LONGEST)
    yield Piece(figures.rate(tallies.rate(key, lately)))
    yield from _times(minute)
    yield Piece(figures.count(since.runs))
    yield from _times(since)


def _times(times: ConsumerTimes) -> Iterable[Piece]:
    yield Piece(figures.seconds(times.seconds / times.runs if times.runs else None))
    slow = quantile(times, SLOW)
    # Within the first bucket nothing is known of how fast they were.
    quick = slow is not None and slow <= BUCKETS[0]
    yield Piece(f"<{figures.seconds(BUCKETS[0])}" if quick else figures.seconds(slow))
    failed = Style.BAD if times.failures else Style.PLAIN
    yield Piece(figures.percent(times.failures, times.runs), failed)


def _channels(sample: Sample, tallies: Tallies, lately: float) -> Table:
    def rates(name: str) -> float | None:
        return tallies.rate(("channel", name), lately)

    def row(name: str, one: Mapping[str, int]) -> list[Piece]:
        pending, age = one.get("messages_pending", 0), one.get("messages_max_age", 0)
        full, expired, lost = (
            one.get(f"{which}_count", 0)
            for which in ("channel_full", "messages_expired", "messages_lost")
        )
        return [
            Piece(name),
            Piece(figures.rate(rates(name))),
            Piece(figures.count(pending), Style.WARN if age else Style.PLAIN),
            Piece(figures.seconds(age) if pending else figures.UNKNOWN),
            Piece(figures.count(full), Style.WARN if full else Style.PLAIN),
            Piece(figures.count(expired), Style.WARN if expired else Style.PLAIN),
            Piece(figures.count(lost), Style.WARN if lost else Style.PLAIN),
        ]

    def order(one: tuple[str, Mapping[str, int]]) -> tuple[object, ...]:
        name, statistics = one
        return -statistics.get("messages_pending", 0), -(rates(name) or 0.0), name

    return Table(
        [
            Column("BUSIEST CHANNELS"),
            Column("MSG/S", 7),
            Column("WAITING", 7),
            Column("OLDEST", 6),
            Column("FULL", 7),
            Column("EXPIRED", 7),
            Column("LOST", 7),
        ],
        [row(name, one) for name, one in sorted(sample.glance.channels.items(), key=order)],
    )


def _all_workers(sample: Sample) -> list[tuple[str, Heard, WorkerStatus]]:
    return [
        (process, heard, worker)
        for process, heard in sample.processes.items()
        for worker in heard.snapshot.workers
    ]


def _order(heard: Heard) -> tuple[str, int, float]:
    return heard.snapshot.host, heard.snapshot.pid, heard.snapshot.started
