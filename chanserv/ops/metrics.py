"""
The page of metrics, in the formats that Prometheus reads.

Nothing is counted for it: its numbers are those that the parts of a process keep
anyhow, gathered when somebody asks.  So a process without C{--metrics} pays nothing
for it, and nothing of it is ever in the way of a message: the page is written in a
thread, of facts that nobody changes.

It needs C{prometheus_client}, of which it uses the formats, and no registry that all of
a process shares.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from chanserv.ops import pulse
from chanserv.ops.families import CHANNEL, COUNTS, FAMILIES, LAYER, MAILBOX, TEAM, Kind
from chanserv.ops.glance import Glance
from chanserv.ops.snapshot import Snapshot
from chanserv.worker import status
from chanserv.worker.status import ConsumerTimes, WorkerState, WorkerStatus


@dataclass(frozen=True, slots=True)
class Facts:
    """
    All that one page of metrics is made of.

    @ivar snapshot: the process.
    @ivar glance: its channel layer.
    @ivar ready: whether it can serve.
    @ivar layer_answers: whether the channel layer does.
    @ivar round_trips: the times of the layer's answers.
    @ivar log_events: lines in the log, by level.
    """

    snapshot: Snapshot
    glance: Glance = field(default_factory=Glance)
    ready: bool = True
    layer_answers: bool = True
    round_trips: pulse.RoundTrips = field(default_factory=pulse.RoundTrips)
    log_events: Mapping[str, int] = field(default_factory=dict)


def page(facts: Facts, accept: str = "") -> tuple[bytes, str]:
    """
    Write the page.

    @param accept: what the client says that it reads, of HTTP's C{Accept}.
    @return: it, and its content type.
    """
    registry = CollectorRegistry()
    registry.register(FactsCollector(facts))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class FactsCollector(Collector):
    """
    Tells the numbers of one moment in the metric families of C{prometheus_client}.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._made: dict[str, Any] = {}

    def collect(self) -> Iterable[Metric]:
        """List the families that this process has numbers for."""
        self._made = {}
        self._process()
        self._server()
        self._layer()
        self._workers()
        self._consumers()
        return list(self._made.values())

    def _process(self) -> None:
        facts, snapshot = self._facts, self._facts.snapshot
        self._add("chanserv_info", {"version": snapshot.version, "release": snapshot.release})
        self._add("chanserv_start_time_seconds", snapshot.started)
        self._add("chanserv_ready", int(facts.ready))
        for level, count in facts.log_events.items():
            self._add("chanserv_log_events_total", count, level)

    def _server(self) -> None:
        counts = self._facts.snapshot.counts
        if counts is not None:
            for name, (family, *labels) in COUNTS.items():
                if name in counts:
                    self._add(family, counts[name], *labels)

    def _layer(self) -> None:
        facts, trips = self._facts, self._facts.round_trips
        self._add("chanserv_layer_up", int(facts.layer_answers))
        self._add(
            "chanserv_layer_round_trip_seconds",
            (pulse.BUCKETS, trips.buckets, trips.seconds),
        )
        for name, value in facts.glance.totals.items():
            if name in LAYER:
                self._add(LAYER[name], value)
        for channel, numbers in facts.glance.channels.items():
            # A mailbox has another name in each process, and so is no label.
            labels = () if channel == facts.snapshot.mailbox else (channel,)
            names = CHANNEL if labels else MAILBOX
            for name, value in numbers.items():
                if name in names:
                    self._add(names[name], value, *labels)

    def _workers(self) -> None:
        workers, past = self._facts.snapshot.workers, self._facts.snapshot.past
        if not workers and not past:
            return
        # While a worker is replaced, two processes tell of one slot.
        restarts = {one.slot: one.restarts for one in workers}
        self._add("chanserv_worker_restarts_total", sum(restarts.values()))
        for release, those in _by_release(workers).items():
            # In each state, so that none is 0 and not nothing: who asks whether it is
            # 0 gets an answer.
            states = Counter(one.state for one in those)
            for state in WorkerState:
                self._add("chanserv_workers", states[state], state.value, release)
            self._add("chanserv_worker_threads", sum(one.threads for one in those), release)
            self._add("chanserv_worker_threads_busy", sum(one.busy for one in those), release)
            oldest = max(one.oldest_run for one in those)
            self._add("chanserv_worker_oldest_run_seconds", oldest, release)
        for release, those in _by_release([*workers, *past]).items():
            for name, family in TEAM.items():
                self._add(family, sum(one.counters.get(name, 0) for one in those), release)

    def _consumers(self) -> None:
        snapshot = self._facts.snapshot
        for release, those in _by_release([*snapshot.workers, *snapshot.past]).items():
            merged: dict[str, ConsumerTimes] = defaultdict(ConsumerTimes)
            for worker in those:
                for consumer, times in worker.consumers.items():
                    merged[consumer].merge(times)
            for consumer, times in merged.items():
                bounds = (status.BUCKETS, times.buckets, times.seconds)
                self._add("chanserv_consumer_seconds", bounds, consumer, release)
                failures = times.failures
                self._add("chanserv_consumer_failures_total", failures, consumer, release)

    def _add(self, name: str, value: Any, *labels: str) -> None:
        made: Any = self._made.get(name)
        if made is None:
            made = self._made[name] = _family(name)
        if FAMILIES[name].kind is Kind.HISTOGRAM:
            bounds, counts, seconds = value
            made.add_metric(labels, _cumulative(bounds, counts), seconds)
        else:
            made.add_metric(labels, value)


def _family(name: str) -> Any:
    """An empty family of C{prometheus_client}, by its name on the page."""
    known = FAMILIES[name]
    match known.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(name, known.doc, labels=known.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(name, known.doc, labels=known.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(name, known.doc, labels=known.labels)
        case Kind.INFO:
            return InfoMetricFamily(name.removesuffix("_info"), known.doc)


def _by_release(workers: Sequence[WorkerStatus]) -> dict[str, list[WorkerStatus]]:
    found: dict[str, list[WorkerStatus]] = {}
    for worker in workers:
        found.setdefault(worker.release, []).append(worker)
    return found


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Each upper bound with how many are not over it, as Prometheus counts."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, accumulate(map(float, counts)), strict=True))
