"""
The host: the process that holds the lock, keeps the hub and listens for guests.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.core.mirror import Change
from chanserv.errors import LayerUnavailable
from chanserv.layers.ipc import wire
from chanserv.layers.ipc.hub import Hub, Session, Sink
from chanserv.layers.ipc.links import LocalLink
from chanserv.layers.ipc.options import HubOptions
from chanserv.layers.ipc.place import Lock, Place
from chanserv.layers.ipc.stream import Stream, close_silently

BACKLOG: Final = 512
"""Guests that may knock at once, as when all of a machine's processes look for a
new host; the kernel may allow fewer, and then they knock again."""

_CHANGES_AT_ONCE: Final = 10_000
"""Changes in one piece of news, so that no frame grows with the size of a group."""


class GuestConnection(Stream):
    """A guest, as the host sees it."""

    def __init__(self, reactor: Any, host: Host) -> None:
        super().__init__(reactor)
        self._host = host
        self._hub = host.hub
        self._session: Session | None = None

    # Sink

    def deliver(self, number: int, now: float, items: list[wire.Item]) -> None:
        """See L{Sink}."""
        weight = sum(len(item.body) + 100 for item in items)
        self.put((wire.DELIVER, number, now, items), weight)

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
        operations = wire.unpacked(payload)
        results = self._hub.perform(self._session, operations)
        self.put((wire.RESULTS, len(operations), results), 50 + 50 * len(results))
        self._hub.attend()

    def _greeted(self, payload: bytes) -> None:
        try:
            guest = wire.read_greeting(payload)
        except LayerUnavailable as error:
            self._log.warn("A guest of an IPC layer is refused: {error}", error=error)
            self.put_payload(wire.refusal(str(error)))
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self._session = self._hub.join(self, f"process {guest.pid}")
        self.put_payload(wire.greeting(self._host.greeting()))

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

    def over(self, reason: Failure) -> None:
        """See L{Stream.over}: the process is gone."""
        self._host.connections.discard(self)
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
        self, place: Place, lock: Lock, options: HubOptions, reactor: Any, clock: Any, pid: int
    ) -> None:
        """
        @param lock: held; it is released when the host stops.
        @param clock: the hub's.
        """
        self.hub = Hub(options, clock)
        self.connections: set[GuestConnection] = set()
        self._place = place
        self._lock = lock
        self._options = options.written()
        self._reactor = reactor
        self._pid = pid
        self._port: Any = None

    def greeting(self) -> wire.Greeting:
        """What the host tells of itself."""
        return wire.Greeting(self._pid, self._options, self.hub.now())

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
        except (CannotListenError, LayerUnavailable) as error:
            self._lock.release()
            raise LayerUnavailable(f"cannot host the hub of an IPC layer: {error}") from None

    def link(self, sink: Sink) -> LocalLink:
        """The link of this very process."""
        return LocalLink(self.hub, sink, self._options)

    def stop(self) -> Deferred[None]:
        """
        Let go of everything.

        @return: fires when the next process can be the host.
        """
        lost = self.hub.pending()
        if lost:
            self._log.warn(
                "This process hosted the hub of an IPC layer, and ends: {lost} messages that "
                "wait or are not settled are lost",
                lost=lost,
            )
        self.hub.close()
        for connection in list(self.connections):
            connection.abort()
        port, self._port = self._port, None
        stopped = succeed(None) if port is None else port.stopListening()

        def released(result: Any) -> None:
            self._lock.release()
            if isinstance(result, Failure):
                self._log.failure("The socket of an IPC layer was not closed in order", result)

        done: Deferred[None] = (stopped or succeed(None)).addBoth(released)
        return done

    def forked(self) -> None:
        """Close the lock and all sockets, in a child that has them from its parent."""
        self._lock.release()
        if self._port is not None:
            close_silently(self._port)
        for connection in self.connections:
            connection.forked()
