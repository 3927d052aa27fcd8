"""
What workers did that are gone.

A worker's process takes its counters with it.  Whoever shows sums over all workers
adds these to them, so that a sum never falls when workers are replaced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from chanserv.worker.status import (
    MAX_CONSUMERS,
    OTHER,
    ConsumerTimes,
    WorkerState,
    WorkerStatus,
)

MAX_RELEASES: Final = 10
"""Releases of which the past is kept; the one whose last worker ended first is forgotten
first.  A supervisor lives through any number of deployments."""


@dataclass(slots=True)
class _Release:
    counters: Counter[str] = field(default_factory=Counter)
    consumers: dict[str, ConsumerTimes] = field(default_factory=dict)

    def times(self, name: str) -> ConsumerTimes:
        """Where a consumer counts: each worker may have had others than those before it."""
        if name not in self.consumers and len(self.consumers) >= MAX_CONSUMERS:
            name = OTHER
        return self.consumers.setdefault(name, ConsumerTimes())


class Past:
    """
    The sums of workers that have ended, by release.
    """

    __slots__ = ("_releases",)

    def __init__(self) -> None:
        self._releases: dict[str, _Release] = {}

    def add(self, last: WorkerStatus) -> None:
        """
        Count what a worker did that has ended.

        @param last: what was last known of it.
        """
        release = self._releases.pop(last.release, None) or _Release()
        # The one that was added to last stands last.
        self._releases[last.release] = release
        while len(self._releases) > MAX_RELEASES:
            del self._releases[next(iter(self._releases))]
        release.counters.update(last.counters)
        for name, times in last.consumers.items():
            release.times(name).merge(times)

    def statuses(self) -> list[WorkerStatus]:
        """
        List one status for each release, of all its workers that are gone.

        Only the release, the counters and the consumers' times mean something.
        They do not change with what happens later.
        """
        return [
            WorkerStatus(
                slot=0,
                pid=0,
                state=WorkerState.WAITING,
                release=name,
                counters=dict(release.counters),
                consumers={
                    consumer: replace(times, buckets=times.buckets[:])
                    for consumer, times in release.consumers.items()
                },
            )
            for name, release in self._releases.items()
        ]
