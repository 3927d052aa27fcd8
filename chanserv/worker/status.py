"""
What is known of one worker at one moment: for metrics, for the live view, and for
the process that looks after it.

It travels: from a worker process to its supervisor as a line of JSON, and over a
channel layer as part of a message.  So L{WorkerStatus.as_dict} has plain values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds, in seconds, by which the times of consumers are sorted: those that
Prometheus' clients use, with two more, since a consumer may well take a minute."""

MAX_CONSUMERS: Final = 500
"""Consumers that are told apart; what more there are count together, as C{other}.  A
site has some dozens; this bounds one that makes functions as it goes."""

OTHER: Final = "other"
"""Under which consumers count that came after L{MAX_CONSUMERS} others."""


class WorkerState(Enum):
    """What a worker does."""

    STARTING = "starting"
    """Loads the site."""

    LOADED = "loaded"
    """Has loaded it, and takes nothing before it is told to."""

    RUNNING = "running"
    """Takes messages."""

    STUCK = "stuck"
    """Every thread has run one consumer for longer than is allowed, or the process
    gives no sign of life."""

    DRAINING = "draining"
    """Takes nothing more, and finishes what runs."""

    WAITING = "waiting"
    """Is gone, and will be started again in a while."""


@dataclass(slots=True)
class ConsumerTimes:
    """
    How often one consumer has run, and for how long.

    @ivar runs: how often, to whatever end.
    @ivar failures: how often it raised.
    @ivar seconds: how long in all.
    @ivar buckets: how many runs took at most each of L{BUCKETS}, and more than that
        bound before it; the last is for all longer ones.
    """

    runs: int = 0
    failures: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, seconds: float, failed: bool) -> None:
        """Count one run."""
        self.runs += 1
        self.failures += failed
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def merge(self, other: ConsumerTimes) -> None:
        """Count all runs of C{other} too."""
        self.runs += other.runs
        self.failures += other.failures
        self.seconds += other.seconds
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """
    One worker: a team of threads, in a process of its own or not.

    @ivar slot: its place among those of its supervisor, from 1; 0 for threads
        in the process that serves connections too.
    @ivar pid: of its process; 0 while there is none.
    @ivar release: the label that it was started with; may be empty.
    @ivar threads: how many consumers it can run at once.
    @ivar busy: how many run.
    @ivar oldest_run: seconds that the one has run which has run longest; 0 for none.
    @ivar blocked: seconds for which each of its threads has run one and the same
        consumer; 0 while a thread is free.
    @ivar started: when its process began, in seconds since 1970.
    @ivar restarts: how often its slot was filled anew since its supervisor began.
    @ivar counters: the fields of L{TeamCounters<chanserv.worker.counters.TeamCounters>}.
    @ivar consumers: by name.
    @ivar channels: what it takes messages from, while it does.
    """

    slot: int
    pid: int
    state: WorkerState
    release: str = ""
    threads: int = 0
    busy: int = 0
    oldest_run: float = 0.0
    blocked: float = 0.0
    started: float = 0.0
    restarts: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    consumers: Mapping[str, ConsumerTimes] = field(default_factory=dict)
    channels: Sequence[str] = ()

    def judged(self, stuck_after: float) -> WorkerStatus:
        """The same, as stuck where no thread has been free for C{stuck_after} seconds."""
        if self.state is WorkerState.RUNNING and self.blocked >= stuck_after:
            return replace(self, state=WorkerState.STUCK)
        return self

    def as_dict(self) -> dict[str, Any]:
        """The same in values that JSON and every channel layer carry."""
        # By hand, and not by asdict(): that copies each of some hundred consumers first.
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        plain["state"] = self.state.value
        plain["counters"] = dict(self.counters)
        plain["channels"] = list(self.channels)
        plain["consumers"] = {
            name: [one.runs, one.failures, one.seconds, *one.buckets]
            for name, one in self.consumers.items()
        }
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> WorkerStatus:
        """
        Read what L{as_dict} has written; what a later version may have added is
        left out.

        @raise ValueError: it is none.
        """
        try:
            known = {name: plain[name] for name in cls.__slots__ if name in plain}
            known["state"] = WorkerState(known["state"])
            known["consumers"] = {
                name: _times(row) for name, row in dict(known.get("consumers", {})).items()
            }
            known["channels"] = tuple(map(str, known.get("channels", ())))
            known["counters"] = {
                name: int(count) for name, count in dict(known.get("counters", {})).items()
            }
            for name, kind in _KINDS.items():
                if name in known:
                    known[name] = kind(known[name])
            return cls(**known)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"this is not the status of a worker: {error}") from error


_KINDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "slot": int,
    "pid": int,
    "release": str,
    "threads": int,
    "busy": int,
    "oldest_run": float,
    "blocked": float,
    "started": float,
    "restarts": int,
}
"""What the plain fields of a L{WorkerStatus} are: whoever shows one computes with them."""


def _times(row: Sequence[Any]) -> ConsumerTimes:
    runs, failures, seconds, *buckets = row
    if len(buckets) != len(BUCKETS) + 1:
        raise ValueError(f"a consumer has {len(buckets)} counts of times, not {len(BUCKETS) + 1}")
    return ConsumerTimes(int(runs), int(failures), float(seconds), [int(one) for one in buckets])
