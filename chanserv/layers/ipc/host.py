"""
The host: the process that holds the lock, keeps the hub and listens for guests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.core.mirror import Change
from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub import Hub
from chanserv.layers.ipc.local_link import LocalLink
from chanserv.layers.ipc.options import HubOptions
from chanserv.layers.ipc.place import Lock, Place
from chanserv.layers.ipc.sessions import Session, Sink
from chanserv.layers.ipc.stream import Stream, close_silently

BACKLOG: Final = 512
"""Guests that may knock at once, as when all of a machine's processes look for a
new host; the kernel may allow fewer, and then they knock again."""

OPENING_TIMEOUT: Final = 1.0
"""Seconds that a hub which follows another waits for the guests of that one to put
their memberships back: they come within hundredths, unless they died as well."""

FAREWELL_TIMEOUT: Final = 1.0
"""Seconds that guests have to read the end of what they were sent, when the host
stops."""

KEEP_INTERVAL: Final = 3_600.0
"""Seconds between two touches of the lock's file: what cleans up C{/tmp} looks for
files that nobody has touched for days."""

_CHANGES_AT_ONCE: Final = 10_000
"""Changes in one piece of news, so that no frame grows with the size of a group."""


class GuestConnection(Stream):
    """A guest, as the host sees it."""

    def __init__(self, reactor: Any, host: Host) -> None:
        super().__init__(reactor)
        self._host = host
        self._hub = host.hub
        self._session: Session | None = None
        self._held: list[wire.Operation] = []

    # Sink

    def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
        """See L{Sink}."""
        weight = sum(len(item.body) + 100 for item in items)
        self.put((wire.DELIVER, number, now, items), weight)

    def roster(self, count: int) -> None:
        """See L{Sink}."""
        self.put((wire.ROSTER, count), 20)

    def load(self, count: int) -> None:
        """See L{Sink}."""
        self.put((wire.LOAD, count), 20)

    def flushed(self) -> None:
        """See L{Sink}."""
        self.put((wire.FLUSHED,), 20)

    def change(self, mailbox: str, flags: int, changes: list[Change]) -> None:
        """See L{Sink}."""
        while len(changes) > _CHANGES_AT_ONCE:
            first, changes = changes[:_CHANGES_AT_ONCE], changes[_CHANGES_AT_ONCE:]
            self._put_changes(mailbox, flags & ~wire.DRAINED, first)
            flags &= ~wire.RESET
        self._put_changes(mailbox, flags, changes)

    def _put_changes(self, mailbox: str, flags: int, changes: list[Change]) -> None:
        self.put((wire.CHANGES, mailbox, flags, changes), 50 + 60 * len(changes))

    # Stream

    def dataReceived(self, data: bytes) -> None:
        """See L{Stream}: what is answered at once goes at once."""
        super().dataReceived(data)
        self.flush()

    def payload_received(self, payload: bytes) -> None:
        """See L{Stream.payload_received}."""
        if self._session is None:
            self._greeted(payload)
            return
        if self._hub.is_closed:
            # It is not done, and the farewell tells the guest so.
            return
        operations = wire.unpacked(payload)
        if not self._hub.is_open:
            if not self._held:
                self._hub.when_open(self._opened)
            self._held += operations
            if self._held[0][0] == wire.PUT_BACK:
                # It may be what the hub waits for.
                self._perform([self._held.pop(0)])
            return
        self._perform(operations)

    def _opened(self) -> None:
        held, self._held = self._held, []
        if held and self._session is not None:
            self._guarded(self._perform, held)

    def _perform(self, operations: Sequence[wire.Operation]) -> None:
        if self._session is None or self._hub.is_closed:
            return
        results = self._hub.perform(self._session, operations)
        self.put((wire.RESULTS, len(operations), results), 50 + 50 * len(results))
        self._hub.attend()

    def say_farewell(self, lost: int) -> None:
        """Tell the guest that the hub ends in order, and let go of it."""
        if self._session is None:
            self.abort()
            return
        self.put((wire.FAREWELL, lost), 20)
        self.transport.unregisterProducer()
        # All of it, though the transport be full: nobody resumes this any more.
        self.resumeProducing()
        self.transport.loseConnection()

    def _greeted(self, payload: bytes) -> None:
        try:
            guest = wire.read_greeting(payload)
        except LayerUnavailable as error:
            self._log.warn("A guest of an IPC layer is refused: {error}", error=error)
            self.put_payload(wire.refusal(str(error)))
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self.put_payload(wire.greeting(self._host.greeting()))
        self._session = self._hub.join(self, f"process {guest.pid}")

    def congested(self) -> None:
        """See L{Stream.congested}: neither deliver nor do anything for it."""
        if self._session is not None:
            self._hub.pause(self._session)
        self.transport.pauseProducing()

    def relieved(self) -> None:
        """See L{Stream.relieved}."""
        self.transport.resumeProducing()
        if self._session is not None:
            self._hub.resume(self._session)
            self._hub.attend()

    def over(self, unsent: int) -> None:
        """See L{Stream.over}: the process is gone."""
        self._host.connection_ended(self)
        session, self._session = self._session, None
        if session is None:
            return
        lost = self._hub.leave(session)
        if lost:
            self._log.warn(
                "{guest} is gone from an IPC layer, and {lost} messages are lost with it",
                guest=session.name,
                lost=lost,
            )
        self._hub.attend()


class _Guests(Factory):
    noisy = False

    def __init__(self, host: Host, reactor: Any) -> None:
        self._host = host
        self._reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> GuestConnection:
        connection = GuestConnection(self._reactor, self._host)
        self._host.connections.add(connection)
        return connection


class Host:
    """
    The hub, the socket and the lock.

    @ivar hub: the hub.
    @ivar connections: those of all guests.
    """

    _log = Logger()

    def __init__(
        self,
        place: Place,
        lock: Lock,
        options: HubOptions,
        reactor: Any,
        clock: Any,
        expected: int = 0,
        waited: int = 0,
    ) -> None:
        """
        @param lock: held; it is released when the host stops.
        @param clock: the hub's.
        @param expected: how many guests of the hub before have something to put
            back.
        @param waited: how many messages were lost with that hub, as far as is
            known.
        """
        self.hub = Hub(options, clock, expected, waited)
        self.connections: set[GuestConnection] = set()
        self._place = place
        self._lock = lock
        self._options = options.written()
        self._reactor = reactor
        self._port: Any = None
        self._timer: IDelayedCall | None = None
        self._keeping: IDelayedCall | None = None
        self._all_gone: Deferred[None] | None = None

    def greeting(self) -> wire.Greeting:
        """What the host tells of itself."""
        return wire.Greeting(os.getpid(), self._options, self.hub.now())

    def start(self) -> None:
        """
        Listen.

        @raise LayerUnavailable: that is not possible; the lock is released.
        """
        try:
            self._place.clear_socket()
            self._port = self._reactor.listenUNIX(
                self._place.socket_path, _Guests(self, self._reactor), backlog=BACKLOG, mode=0o600
            )
        except (CannotListenError, LayerUnavailable, OSError) as error:
            self._lock.release()
            raise LayerUnavailable(f"cannot host the hub of an IPC layer: {error}") from None
        if not self.hub.is_open:
            self._timer = self._reactor.callLater(OPENING_TIMEOUT, self.hub.open)
        self._keeping = self._reactor.callLater(KEEP_INTERVAL, self._keep)

    def _keep(self) -> None:
        """The timer: see that no other process can become the host."""
        self._keeping = self._reactor.callLater(KEEP_INTERVAL, self._keep)
        self._lock.touch()
        if not self._lock.holds():
            self._log.error(
                "The lock of the IPC layer at {path} has been removed: processes that start "
                "from now on will not find this one.  Restart all that share the layer, and "
                "keep its directory from being cleaned up",
                path=self._place.socket_path,
            )

    def link(self, sink: Sink) -> LocalLink:
        """The link of this very process."""
        return LocalLink(self.hub, sink, self._options)

    def stop(self, lost: int) -> Deferred[None]:
        """
        Say farewell, and let go of everything.

        @param lost: how many messages were lost with this process's own part.
        @return: fires when the next process can be the host.
        """
        self._stop_timer()
        lost += self.hub.pending()
        if lost:
            self._log.warn(
                "This process hosted the hub of an IPC layer, and ends: {lost} messages that "
                "wait or are not settled are lost",
                lost=lost,
            )
        self.hub.close()
        port, self._port = self._port, None
        stopped = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        done: Deferred[None] = stopped.addBoth(self._stopped).addCallback(
            lambda _: self._let_go_of_guests(lost)
        )
        return done.addBoth(self._release)

    def _stopped(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._log.failure("The socket of an IPC layer was not closed in order", result)

    def _let_go_of_guests(self, lost: int) -> Deferred[None]:
        """
        Say farewell to the guests.

        @return: fires when they are gone, and no later than L{FAREWELL_TIMEOUT}.
        """
        if not self.connections:
            return succeed(None)
        self._all_gone = Deferred()
        self._timer = self._reactor.callLater(FAREWELL_TIMEOUT, self._cut_off)
        for connection in list(self.connections):
            connection.say_farewell(lost)
        return self._all_gone

    def _cut_off(self) -> None:
        """The timer: those who do not even read their farewell do without."""
        for connection in list(self.connections):
            connection.abort()

    def connection_ended(self, connection: GuestConnection) -> None:
        """A guest is gone."""
        self.connections.discard(connection)
        if not self.connections and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)

    def _release(self, _: object) -> None:
        self._stop_timer()
        self._lock.release()

    def _stop_timer(self) -> None:
        for timer in (self._timer, self._keeping):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._keeping = None

    def forked(self) -> None:
        """Close the lock and all sockets, in a child that has them from its parent."""
        self._lock.release()
        if self._port is not None:
            close_silently(self._port)
        for connection in self.connections:
            connection.forked()
