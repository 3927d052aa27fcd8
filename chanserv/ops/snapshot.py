"""
What is known of one process at one moment, in one value: for those who ask over the
channel layer, and for metrics.

A L{Process} knows where to look.  It does so only when it is asked: nothing on the
way of a request or a frame is counted twice for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from chanserv import __version__
from chanserv.server.counts import Counts
from chanserv.worker.status import ConsumerTimes, WorkerStatus

OF_INTERFACE_SERVERS: Final = (
    "http.disconnect",
    "http.request",
    "websocket.connect",
    "websocket.disconnect",
    "websocket.receive",
)
"""The channels that every interface server sends to."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One process.

    @ivar host: the name of its machine.
    @ivar pid: its id there.
    @ivar version: of chanserv.
    @ivar release: the label that it was started with; may be empty.
    @ivar started: when it began, in seconds since 1970.
    @ivar uptime: for how many seconds it has been there.
    @ivar layer: its channel layer, without secrets.
    @ivar round_trip: seconds that the layer took for the last answer this process
        sent; L{None} before the first.
    @ivar counts: the fields of L{Counts}; L{None} where there is no interface server.
    @ivar mailbox: where replies for its connections wait; empty where there is none.
    @ivar workers: its threads, or the worker processes that it supervises.
    @ivar past: the sums of workers that have ended, one for each release; of these,
        only releases, counters and consumers count.
    @ivar channels: the names of the channels that it sends to or reads.
    """

    host: str
    pid: int
    version: str = ""
    release: str = ""
    started: float = 0.0
    uptime: float = 0.0
    layer: str = ""
    round_trip: float | None = None
    counts: Mapping[str, int] | None = None
    mailbox: str = ""
    workers: Sequence[WorkerStatus] = ()
    past: Sequence[WorkerStatus] = ()
    channels: Sequence[str] = ()

    @property
    def name(self) -> str:
        """What tells it from all other processes of the system."""
        return f"{self.host}:{self.pid}"

    def as_dict(self, *, consumers: bool = True) -> dict[str, Any]:
        """
        The same in values that JSON and every channel layer carry.

        @param consumers: whether to tell the consumers of each worker apart; if not,
            each has only their sum, under an empty name.
        """
        plain: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("workers", "past", "channels")
        }
        plain["channels"] = list(self.channels)
        plain["workers"] = [_plain(one, consumers) for one in self.workers]
        plain["past"] = [_plain(one, False) for one in self.past]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Snapshot:
        """
        Read what L{as_dict} has written; what a later version has added is left out, and
        so are workers in a state, or with times, that only that version knows.

        @raise ValueError: it is none.
        """
        try:
            known = {name: plain[name] for name in cls.__slots__ if name in plain}
            for name in ("workers", "past"):
                known[name] = _readable(known.get(name, ()))
            known["channels"] = tuple(map(str, known.get("channels", ())))
            known["host"], known["pid"] = str(known["host"]), int(known["pid"])
            for name, kind in _KINDS.items():
                if known.get(name) is not None:
                    known[name] = kind(known[name])
            if known.get("counts") is not None:
                known["counts"] = {name: int(count) for name, count in known["counts"].items()}
            return cls(**known)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"this is not the status of a process: {error}") from error


_KINDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "version": str,
    "release": str,
    "started": float,
    "uptime": float,
    "layer": str,
    "round_trip": float,
    "mailbox": str,
}
"""What the plain fields of a L{Snapshot} are: whoever shows one computes with them."""


def sum_of(status: WorkerStatus) -> ConsumerTimes:
    """The times of all consumers of a worker together."""
    total = ConsumerTimes()
    for times in status.consumers.values():
        total.merge(times)
    return total


def _readable(workers: Iterable[Any]) -> tuple[WorkerStatus, ...]:
    found = []
    for one in workers:
        with suppress(ValueError):
            found.append(WorkerStatus.from_dict(one))
    return tuple(found)


def _plain(status: WorkerStatus, consumers: bool) -> dict[str, Any]:
    plain = status.as_dict()
    # They are among those of the process.
    del plain["channels"]
    if not consumers:
        total = sum_of(status)
        plain["consumers"] = {"": [total.runs, total.failures, total.seconds, *total.buckets]}
    return plain


class Process:
    """
    This process, as others see it.

    @ivar release: its label.
    @ivar layer: its layer, without secrets.
    @ivar counts: gives what its interface server has done; L{None} where there is none.
    @ivar mailbox: the mailbox of its interface server, or nothing.
    @ivar workers: gives what is known of its workers.
    @ivar past: gives the sums of those that have ended.
    @ivar round_trip: see L{Snapshot}; set by whoever has measured it.
    """

    def __init__(self, *, release: str = "", layer: str = "") -> None:
        self.release = release
        self.layer = layer
        self.counts: Callable[[], Counts] | None = None
        self.mailbox = ""
        self.workers: Callable[[], Sequence[WorkerStatus]] = tuple
        self.past: Callable[[], Sequence[WorkerStatus]] = tuple
        self.round_trip: float | None = None
        self._host = socket.gethostname()
        self._began = time.time()

    def now(self) -> Snapshot:
        """Look.  Called on the reactor's thread."""
        workers = list(self.workers())
        channels = {channel for one in workers for channel in one.channels}
        if self.counts is not None:
            channels.update(OF_INTERFACE_SERVERS)
        return Snapshot(
            host=self._host,
            # Not before: a daemon is another process than the one that was started.
            pid=os.getpid(),
            version=__version__,
            release=self.release,
            started=self._began,
            uptime=max(time.time() - self._began, 0.0),
            layer=self.layer,
            round_trip=self.round_trip,
            counts=None if self.counts is None else asdict(self.counts()),
            mailbox=self.mailbox,
            workers=workers,
            past=list(self.past()),
            channels=sorted(channels),
        )
