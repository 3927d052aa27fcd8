"""
A store with readers who wait: on the reactor's thread, and on others.

Every operation holds one lock for as long as L{chanserv.core.store} takes: a
few microseconds, so threads work on it directly and do not go through the
reactor.  What differs is how readers learn of what has arrived:

- A waiting B{thread} is handed its message by whichever thread put it there.
- A waiting B{Deferred} fires on the reactor's thread only, and takes its
  messages at that moment and not before; so nothing is lost when it has been
  cancelled meanwhile.  Other threads ask the reactor to look, once for
  however much they put there until it does.

After each operation the reactor's thread calls L{ServedStore.attend}, and any
other L{ServedStore.attend_from_thread}.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from chanserv.core.capacity import Capacities
from chanserv.core.deadlines import NEVER
from chanserv.core.mailbox import Parcel
from chanserv.core.patterns import NamePatterns
from chanserv.core.readers import Readers
from chanserv.core.store import Store
from chanserv.errors import LayerUnavailable
from chanserv.messages import Delivery, Outcome, SealedMessage

SERVED_AT_ONCE: Final = 1_000
"""Waiting Deferreds fired before the reactor gets a turn: two readers that
answer each other on its thread would otherwise never let it go on."""

LEAST_WAIT: Final = 0.1
"""Seconds between two looks for what has expired on an idle layer: a receipt
may come this much late, and a thousand channels do not set a thousand timers."""


class DeferredReader:
    """A reader on the reactor's thread."""

    __slots__ = ("channels", "deferred", "limit")

    def __init__(self, channels: tuple[str, ...], limit: int) -> None:
        self.channels = channels
        self.limit = limit
        self.deferred: Deferred[list[Delivery]] | None = None

    def fire(self, result: list[Delivery] | Failure) -> None:
        """Hand over; the two let go of each other, for the collector's sake."""
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(result)


class ThreadReader:
    """A reader that blocks its thread, for one message to one recipient."""

    __slots__ = ("channels", "closed", "found", "ready")

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels
        self.ready = threading.Event()
        self.found: tuple[str, Parcel] | None = None
        self.closed = False


class ServedStore:
    """
    A L{Store} with a clock, a lock and waiting readers.

    Any thread may call its methods but where they say otherwise.
    """

    def __init__(
        self,
        *,
        expiry: float,
        group_expiry: float,
        capacities: Capacities,
        max_message_size: int,
        redelivers: NamePatterns,
        clock: IReactorTime | None,
        call_from_thread: Callable[..., object] | None,
    ) -> None:
        """
        @param clock: tells the time, and sets the timer for what expires; or
            L{None} where no reactor runs, and what expires is only noticed by
            the next operation.
        @param call_from_thread: has a callable called on the reactor's thread
            soon; L{None} where there is no such thread, or no other.
        """
        self._clock = clock
        self._now: Callable[[], float] = time.monotonic if clock is None else clock.seconds
        self._call_from_thread = call_from_thread
        # Reentrant, since a signal or the collector may run code of the site's
        # at any moment, a log observer say, that sends something in its turn.
        self._lock = threading.RLock()
        self._readers: Readers[DeferredReader | ThreadReader] = Readers()
        self._store = Store(
            expiry,
            group_expiry,
            capacities,
            max_message_size,
            self._readers.by_mailbox,
            redelivers,
        )
        self._closed = False
        # The reactor's own:
        self._serving = False
        self._timer: IDelayedCall | None = None
        # Written by the reactor's thread, read by all: stale is harmless.
        self._timer_at = NEVER
        # Under the lock:
        self._for_reactor: dict[str, None] = {}
        self._reactor_asked = False

    # Reading

    def take(self, names: tuple[str, ...], limit: int) -> list[Delivery] | DeferredReader:
        """
        Take what is there, or else start to wait.

        On the reactor's thread.

        @return: deliveries, or a reader whose C{deferred} is to be set.
        """
        with self._lock:
            if self._closed:
                raise closed()
            parcels = self._store.take(names, limit, self._now())
            if not parcels:
                reader = DeferredReader(tuple(dict.fromkeys(names)), limit)
                self._readers.add(reader)
                return reader
        return self._deliveries(parcels)

    def withdraw(self, reader: DeferredReader) -> None:
        """Let C{reader} wait no more, and never be fired."""
        reader.deferred = None
        with self._lock:
            self._readers.remove(reader)

    def take_one(
        self, names: tuple[str, ...], timeout: float | None
    ) -> tuple[str, SealedMessage] | None:
        """
        Take one message for one recipient, and settle it.

        @param timeout: seconds that the calling thread may wait for one;
            L{None} not to wait.
        @return: the recipient's full name and the message, if there is one.
        """
        reader = None
        with self._lock:
            if self._closed:
                raise closed()
            found = self._store.take_one(names, self._now())
            if found is None and timeout is not None:
                reader = ThreadReader(tuple(dict.fromkeys(names)))
                self._readers.add(reader)
        if reader is not None:
            # What this look made expire may have a receipt for others.
            self.attend_from_thread()
            found = self._await(reader, timeout)
        if found is None:
            return None
        channel, parcel = found
        if parcel[3] is not None:
            self.settle(parcel, Outcome.SETTLED)
        return channel, parcel[2]

    # Settling

    def settle(self, parcel: Parcel, outcome: Outcome) -> None:
        """Say what became of a parcel; see L{Store.settle}."""
        with self._lock:
            if not self._closed:
                self._store.settle(parcel, outcome, self._now())

    def settle_all(self, deliveries: Iterable[Delivery]) -> None:
        """
        Settle each delivery; who gets the receipts learns of it together.

        On the reactor's thread.
        """
        before, self._serving = self._serving, True
        try:
            for delivery in deliveries:
                delivery.settle()
        finally:
            self._serving = before

    # The end

    def close(self) -> None:
        """
        Forget everything and fail those who wait, now and for ever.

        On the reactor's thread, where there is one.
        """
        with self._lock:
            self._closed = True
            self._store.clear()
            readers = self._readers.remove_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = NEVER
        for reader in readers:
            if isinstance(reader, ThreadReader):
                reader.closed = True
                reader.ready.set()
            else:
                reader.fire(Failure(closed()))  # type: ignore[no-untyped-call]

    # News

    def attend(self) -> None:
        """
        Serve the readers of what has arrived, and mind what will expire.

        On the reactor's thread, after each operation there.
        """
        store = self._store
        if store.arrived and not self._serving:
            self._serve()
        if store.due < self._timer_at and self._clock is not None:
            self._set_timer(self._clock)

    def attend_from_thread(self) -> None:
        """
        The same from any thread: serve threads that wait, and have the
        reactor do the rest.
        """
        if not self._store.arrived and (
            self._store.due >= self._timer_at or self._call_from_thread is None
        ):
            return
        with self._lock:
            self._next_reader(on_reactor=False)
            if not self._for_reactor and self._store.due >= self._timer_at:
                return
            if self._reactor_asked:
                return
            self._reactor_asked = self._call_from_thread is not None
        if self._call_from_thread is not None:
            self._call_from_thread(self._look_again)
        elif self._for_reactor:
            # No other thread has a reactor: then this one does, or none.
            self._look_again()

    def _look_again(self) -> None:
        """What other threads have asked the reactor for."""
        with self._lock:
            self._reactor_asked = False
            self._store.arrived.update(self._for_reactor)
            self._for_reactor.clear()
        if not self._closed:
            self.attend()

    def _serve(self) -> None:
        """Fire the Deferreds that have something, one after the other."""
        self._serving = True
        try:
            for _ in range(SERVED_AT_ONCE):
                # Taken one at a time: what a callback does may concern the
                # next reader, who may even be cancelled by it.
                with self._lock:
                    served = self._next_reader(on_reactor=True)
                if served is None:
                    return
                reader, parcels = served
                reader.fire(self._deliveries(parcels))
                if not self._store.arrived:
                    return
        finally:
            self._serving = False
        if self._clock is not None:
            self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        if not self._closed:
            self.attend()

    def _next_reader(self, on_reactor: bool) -> tuple[DeferredReader, list[Parcel]] | None:
        """
        Serve the threads that wait for what has arrived.  Under the lock.

        @return: the next Deferred to fire, and with what; L{None} when nobody
            is left.  On other threads, always L{None}: it is left for the
            reactor.
        """
        store, readers = self._store, self._readers
        arrived = store.arrived
        while arrived:
            name, _ = arrived.popitem()
            reader = readers.first(name)
            if reader is None:
                continue
            if isinstance(reader, ThreadReader):
                found = store.take_one(reader.channels, self._now())
                if found is not None:
                    readers.remove(reader)
                    reader.found = found
                    reader.ready.set()
                    # There may be more, for the next.
                    arrived[name] = None
            elif not on_reactor:
                self._for_reactor[name] = None
            else:
                parcels = store.take(reader.channels, reader.limit, self._now())
                if parcels:
                    readers.remove(reader)
                    if len(parcels) == reader.limit:
                        arrived[name] = None
                    return reader, parcels
        return None

    def _set_timer(self, clock: IReactorTime) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._store.due
        wait = max(self._timer_at - self._now(), LEAST_WAIT)
        self._timer = clock.callLater(wait, self._expire)

    def _expire(self) -> None:
        """The timer: something may have expired while nobody came by."""
        self._timer = None
        self._timer_at = NEVER
        with self._lock:
            self._store.expire(self._now())
        self.attend()

    # Inside

    def _await(self, reader: ThreadReader, timeout: float | None) -> tuple[str, Parcel] | None:
        try:
            reader.ready.wait(timeout)
        except BaseException:
            # An interrupt in the main thread of a process without a reactor:
            # what it was handed meanwhile is for someone else.
            with self._lock:
                self._readers.remove(reader)
                if reader.found is not None:
                    channel, (deadline, _, message, receipt) = reader.found
                    self._store.put_back((deadline, (channel,), message, receipt))
            self.attend_from_thread()
            raise
        with self._lock:
            self._readers.remove(reader)
        if reader.closed:
            raise closed()
        return reader.found

    def _deliveries(self, parcels: list[Parcel]) -> list[Delivery]:
        is_leased = self._store.is_leased
        return [
            Delivery(
                parcel[1],
                parcel[2],
                partial(self._settle_here, parcel) if is_leased(parcel) else None,
            )
            for parcel in parcels
        ]

    def _settle_here(self, parcel: Parcel, outcome: Outcome) -> None:
        self.settle(parcel, outcome)
        self.attend()


def closed() -> LayerUnavailable:
    """What every call on a closed layer raises."""
    return LayerUnavailable("this channel layer has been closed: make another")
