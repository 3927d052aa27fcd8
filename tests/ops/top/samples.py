"""Samples for tests, put together from little."""

from __future__ import annotations

from chanserv.ops.glance import Glance
from chanserv.ops.snapshot import Snapshot
from chanserv.ops.top.asker import Heard, Sample
from chanserv.worker.status import ConsumerTimes, WorkerState, WorkerStatus

BEGAN = 1_000_000.0
"""When all processes of these samples began, in seconds since 1970."""


def times(*seconds: float, failures: int = 0) -> ConsumerTimes:
    """The times of a consumer that ran so often."""
    found = ConsumerTimes()
    for number, one in enumerate(seconds):
        found.add(one, failed=number < failures)
    return found


def a_worker(pid: int = 100, slot: int = 1, **given: object) -> WorkerStatus:
    """A worker that runs."""
    fields = {"state": WorkerState.RUNNING, "threads": 4, "started": BEGAN, "release": "blue"}
    return WorkerStatus(slot=slot, pid=pid, **{**fields, **given})  # type: ignore[arg-type]


def a_process(
    *workers: WorkerStatus, pid: int = 10, uptime: float = 500.0, **given: object
) -> Snapshot:
    """A process with these workers."""
    fields = {"host": "web", "started": BEGAN, "release": "blue", "workers": workers}
    return Snapshot(pid=pid, uptime=uptime, **{**fields, **given})  # type: ignore[arg-type]


def a_sample(
    at: float, *processes: Snapshot, heard: float | None = None, **given: object
) -> Sample:
    """
    A sample of these processes.

    @param heard: when they answered; just now unless given.
    @param given: C{glance} or its fields, C{members}.
    """
    members = given.pop("members", len(processes))
    glance = given.pop("glance", None) or Glance(**given)  # type: ignore[arg-type]
    return Sample(
        at,
        BEGAN + at,
        {
            f"chanserv.process.{one.pid}!roll": Heard(one, at if heard is None else heard, 0.01)
            for one in processes
        },
        members,  # type: ignore[arg-type]
        glance,  # type: ignore[arg-type]
    )
