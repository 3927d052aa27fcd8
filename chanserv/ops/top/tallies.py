"""
What has happened since the view began, and in the last seconds.

Processes, workers and layers count since they began, and begin anew when they are
started anew.  Here only what each has counted from one sample to the next is added up;
so a worker that is replaced takes nothing away from its consumers and its release, and
what its successor does comes on top.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from chanserv.ops.snapshot import Snapshot, sum_of
from chanserv.ops.top.asker import Sample
from chanserv.worker.status import BUCKETS, ConsumerTimes, WorkerStatus

Key: TypeAlias = tuple[str, ...]
"""What is counted: its kind, and the names that tell it from others of that kind."""

Numbers: TypeAlias = tuple[float, ...]
"""Counters that grow together."""

LONGEST: Final = 60.0
"""Seconds of which changes can be told."""

MAX_STEPS: Final = 130
"""Samples that are remembered for that: one each half second, which is as often as one
can look."""


class Tallies:
    """
    Sums of what has been counted from sample to sample.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, Numbers] = {}
        self._sums: dict[Key, Numbers] = {}
        self._counted: dict[Key, float] = {}
        self._steps: deque[tuple[float, dict[Key, Numbers]]] = deque(maxlen=MAX_STEPS)

    def add(self, sample: Sample) -> None:
        """Take in the next sample."""
        before = self._steps[-1][0] if self._steps else None
        seen: dict[Key, Numbers] = {}
        for source, keys, numbers, age in counted(sample):
            if source in self._seen:
                change = _change(self._seen[source], numbers)
            elif before is not None and age is not None and age <= sample.at - before:
                # It has begun since, and all that it has counted is new.
                change = numbers
            else:
                change = tuple(0 for _ in numbers)
            seen[source] = numbers
            for key in keys:
                self._sums[key] = _sum(self._sums.get(key), change)
                self._counted[key] = sample.at
        # Of those who did not answer this time, what they have said is still known.
        for source, numbers in self._seen.items():
            if source not in seen and source[1] in sample.processes:
                seen[source] = numbers
        self._seen = seen
        self._forget(sample.at - LONGEST)
        self._steps.append((sample.at, dict(self._sums)))
        while len(self._steps) > 2 and self._steps[0][0] < sample.at - LONGEST:
            self._steps.popleft()

    def _forget(self, oldest: float) -> None:
        """Leave out whom nobody has told of since C{oldest}: each deployment brings others."""
        for key in [key for key, at in self._counted.items() if at < oldest]:
            del self._counted[key], self._sums[key]

    def change(self, key: Key, seconds: float) -> tuple[Numbers, float]:
        """
        How far C{key} has come in the last C{seconds}, or since the view began.

        @return: by how much, and in what time; no numbers where it is unknown, and no
            time after a first sample.
        """
        if not self._steps:
            return (), 0.0
        now, sums = self._steps[-1]
        then, earlier = next(step for step in self._steps if step[0] >= now - seconds)
        if len(self._steps) > 1 and then == now:
            # Samples are further apart than that.
            then, earlier = self._steps[-2]
        known = sums.get(key, ())
        old = earlier.get(key) or tuple(0 for _ in known)
        return tuple(a - b for a, b in zip(known, old, strict=True)), now - then

    def rate(self, key: Key, seconds: float, index: int = 0) -> float | None:
        """
        How much C{key} has grown in each of the last C{seconds}.

        @param index: which of its numbers.
        @return: L{None} where that is not known yet.
        """
        numbers, passed = self.change(key, seconds)
        return numbers[index] / passed if numbers and passed > 0 else None

    def times(self, key: Key, seconds: float) -> ConsumerTimes:
        """The runs of the last C{seconds} under a key that counts runs."""
        numbers, _ = self.change(key, seconds)
        return _as_times(numbers)


Counted: TypeAlias = tuple[Key, Sequence[Key], Numbers, float | None]
"""Who counts; what it counts towards; what it has counted; and for how many seconds it
has been there, where that is known."""


def counted(sample: Sample) -> Iterator[Counted]:
    """All counters of a sample."""
    for channel, statistics in sample.glance.channels.items():
        key = ("channel", channel)
        yield ("layer", "", *key), [key], (statistics.get("messages_count", 0),), None
    for name, count in sample.glance.totals.items():
        yield ("layer", "", "total", name), [("total", name)], (count,), None
    for name, heard in sample.processes.items():
        yield from _of_process(name, heard.snapshot)


def _of_process(name: str, snapshot: Snapshot) -> Iterator[Counted]:
    began = repr(snapshot.started)
    for count, number in (snapshot.counts or {}).items():
        yield (
            ("process", name, began, count),
            [("process", name, count), ("all", count)],
            (number,),
            snapshot.uptime,
        )
    for worker in snapshot.workers:
        age = max(snapshot.started + snapshot.uptime - worker.started, 0.0)
        yield from _of_worker(name, worker, age if worker.started else None)


def _of_worker(process: str, worker: WorkerStatus, age: float | None) -> Iterator[Counted]:
    source = ("worker", process, str(worker.slot), str(worker.pid), worker.release)
    together = _numbers(sum_of(worker))
    yield (
        source,
        [
            ("worker", process, str(worker.slot), str(worker.pid)),
            ("release", worker.release),
            ("all", "runs"),
        ],
        together,
        age,
    )
    for name, times in worker.consumers.items():
        yield (*source, name), [("consumer", name)], _numbers(times), age


def _numbers(times: ConsumerTimes) -> Numbers:
    return (times.runs, times.failures, times.seconds, *times.buckets)


def _as_times(numbers: Numbers) -> ConsumerTimes:
    if not numbers:
        return ConsumerTimes()
    runs, failures, seconds, *buckets = numbers
    return ConsumerTimes(int(runs), int(failures), seconds, [int(one) for one in buckets])


def _change(before: Numbers, now: Numbers) -> Numbers:
    """What has been counted since; where it fell, whoever counts has begun anew."""
    if now and before and now[0] < before[0]:
        return now
    return tuple(max(new - old, 0) for new, old in zip(now, before, strict=True))


def _sum(known: Numbers | None, change: Numbers) -> Numbers:
    return change if known is None else tuple(a + b for a, b in zip(known, change, strict=True))


def quantile(times: ConsumerTimes, part: float) -> float | None:
    """
    Within how many seconds that C{part} of all runs ended, as well as the buckets tell.

    Within a bucket the runs are taken to be spread evenly.

    @return: L{None} where there were none; infinity where it is past the last bound.
    """
    total = sum(times.buckets)
    if not total:
        return None
    wanted = part * total
    below = 0
    for number, count in enumerate(times.buckets):
        if count and below + count >= wanted:
            if number == len(BUCKETS):
                return float("inf")
            least = BUCKETS[number - 1] if number else 0.0
            return least + (BUCKETS[number] - least) * (wanted - below) / count
        below += count
    return float("inf")
