"""
What a team's threads run, and for how long: see L{WorkerStatus}.

A thread notes on its run when it began and how long it took, with two looks at the
clock; all else happens on the reactor's thread, where finished runs come together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Final

from chanserv.worker.counters import TeamCounters
from chanserv.worker.runs import Ending, Run
from chanserv.worker.status import (
    MAX_CONSUMERS,
    OTHER,
    ConsumerTimes,
    WorkerState,
    WorkerStatus,
)

# As plain names: to find one in its Enum takes a tenth of the time for all this.
_EXPIRED: Final = Ending.EXPIRED
_FAULT: Final = Ending.FAULT

_PROCESS_BEGAN: Final = time.time()
"""As near as this process can tell without asking its system."""


class Record:
    """
    The times of a team's consumers, by name.

    Methods are called on the reactor's thread.
    """

    __slots__ = ("_consumers",)

    def __init__(self) -> None:
        self._consumers: dict[str, ConsumerTimes] = {}

    def add(self, run: Run) -> None:
        """Count a run that has ended."""
        ending, took = run.ending, run.took
        if ending is _EXPIRED:
            return
        name = run.outbox.consumer or run.consumer
        times = self._consumers.get(name)
        if times is None:
            times = self._newcomer(name)
        # The clock may have been set back meanwhile.
        times.add(took if took > 0.0 else 0.0, ending is _FAULT or run.outbox.failed)

    def _newcomer(self, name: str) -> ConsumerTimes:
        if len(self._consumers) >= MAX_CONSUMERS:
            name = OTHER
        return self._consumers.setdefault(name, ConsumerTimes())

    def status(
        self,
        state: WorkerState,
        threads: int,
        taken: Collection[Run],
        counters: TeamCounters,
        now: float,
    ) -> WorkerStatus:
        """
        Say how things are.

        @param taken: the runs that have not been given back to the reactor's
            thread, begun or not.
        @param now: the time by the clock that the runs' beginnings are noted by.
        @return: the status, which does not change with what happens later; without
            a slot, a release and restarts, which are not the team's to know.
        """
        ages = [
            max(now - run.began, 0.0)
            for run in taken
            if run.began is not None and run.ending is None
        ]
        return WorkerStatus(
            slot=0,
            pid=os.getpid(),
            state=state,
            threads=threads,
            busy=len(ages),
            oldest_run=max(ages, default=0.0),
            blocked=min(ages) if len(ages) >= threads else 0.0,
            started=_PROCESS_BEGAN,
            counters=asdict(counters),
            consumers={
                name: replace(times, buckets=times.buckets[:])
                for name, times in self._consumers.items()
            },
        )
