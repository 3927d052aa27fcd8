"""
A connection between a process and the hub: frames both ways, many things to a
frame, and a bound on what is not yet sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import ChannelLayerError
from chanserv.layers.ipc.frames import FrameReader, framed
from chanserv.layers.ipc.wire import packed
from chanserv.sockets import write_promptly

Data = TypeVar("Data")

FRAME_BYTES: Final = 256 * 1024
"""Bytes that are put together into one frame, though the last thing in it may take
more: enough that a frame's own cost is nothing, and so little that the other side
can begin with the first while the next is made."""

CONGESTED_BYTES: Final = 1024 * 1024
"""Bytes that wait to be sent, from which on a connection is congested: as much as
one receive gets at once, see L{chanserv.layers.ipc.hub.DELIVERY_BYTES}."""


class Outgoing:
    """
    Things that wait to be sent, in their order.

    @ivar weight: roughly their bytes.
    """

    __slots__ = ("_things", "_weights", "weight")

    def __init__(self) -> None:
        self._things: list[Any] = []
        self._weights: list[int] = []
        self.weight = 0

    def __len__(self) -> int:
        return len(self._things)

    def add(self, thing: Any, weight: int) -> None:
        """Append C{thing}."""
        self._things.append(thing)
        self._weights.append(weight)
        self.weight += weight

    def take(self) -> list[Any]:
        """The first of them, for one frame."""
        things = self._things
        if self.weight <= FRAME_BYTES:
            self._things, self._weights, self.weight = [], [], 0
            return things
        count = weight = 0
        while weight < FRAME_BYTES and count < len(things):
            weight += self._weights[count]
            count += 1
        self.weight -= weight
        del self._weights[:count]
        self._things = things[count:]
        return things[:count]


@implementer(IPushProducer)
class Stream(Protocol):
    """
    One end of a connection.

    What is put here in one turn of the reactor goes out together at its end.
    A subclass says what frames mean, in L{payload_received}, and what follows
    from L{congested} and L{relieved}.

    @ivar is_over: whether the connection has ended.
    @ivar is_congested: whether so much waits to be sent that nothing should be
        added that can wait.
    """

    _log = Logger()
    # A real one, with more methods than ITransport has.
    transport: Any

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: for the end of a turn.
        """
        self._reactor = reactor
        self._frames = FrameReader()
        self._outgoing = Outgoing()
        self._flush_is_due = False
        self._transport_is_full = False
        self.is_over = False
        self.is_congested = False

    def put(self, thing: Any, weight: int) -> None:
        """
        Send C{thing} at the end of this turn, with all else.

        @param weight: roughly its bytes.
        """
        if self.is_over:
            return
        self._outgoing.add(thing, weight)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._reactor.callLater(0, self._end_turn)
        if self._outgoing.weight > CONGESTED_BYTES:
            self._consider()

    def put_payload(self, payload: bytes) -> None:
        """Send a frame of its own, now."""
        self.transport.write(framed(payload))

    def flush(self) -> None:
        """Send what has been put here, as far as the transport takes it."""
        while self._outgoing and not self._transport_is_full and not self.is_over:
            try:
                frame = framed(packed(self._outgoing.take()))
            except ValueError:
                # What never comes through must not leave others without an answer.
                self._log.failure("A connection of an IPC layer is cut")
                self.abort()
                return
            write_promptly(self.transport, frame)
        self._consider()

    def unsent(self) -> int:
        """Bytes that wait here, beside those that the transport has taken."""
        return self._outgoing.weight

    def abort(self) -> None:
        """Cut the connection, now."""
        if not self.is_over:
            self.transport.abortConnection()

    def forked(self) -> None:
        """Close the socket, in a child that has it from its parent."""
        close_silently(self.transport)

    # For the subclass

    def payload_received(self, payload: bytes) -> None:
        """
        Take one frame.

        @raise ChannelLayerError: it ends the connection, with a line in the log.
        """
        raise NotImplementedError

    def congested(self) -> None:
        """So much waits to be sent that this should produce no more."""

    def relieved(self) -> None:
        """It has been sent."""

    def over(self, unsent: int) -> None:
        """
        The connection has ended.

        @param unsent: how many of the last things put here were never sent.
        """

    # Of the transport

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        self._guarded(self._take, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if not self.is_over:
            self.is_over = True
            unsent, self._outgoing = len(self._outgoing), Outgoing()
            self.over(unsent)

    def pauseProducing(self) -> None:
        """See L{IPushProducer}: the transport's buffer is full."""
        self._transport_is_full = True
        self._consider()

    def resumeProducing(self) -> None:
        """See L{IPushProducer}: it is empty."""
        self._transport_is_full = False
        self.flush()

    def stopProducing(self) -> None:
        """See L{IPushProducer}: the connection is ending."""

    def _take(self, data: bytes) -> None:
        for payload in self._frames.feed(data):
            self.payload_received(payload)
            if self.is_over:
                return

    def _guarded(self, call: Callable[[Data], None], data: Data) -> None:
        """What comes from the other side costs this connection at most."""
        try:
            call(data)
        except ChannelLayerError as error:
            self._log.warn("A connection of an IPC layer is cut: {error}", error=error)
            self.abort()
        except Exception:
            self._log.failure("A connection of an IPC layer is cut")
            self.abort()

    def _end_turn(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _consider(self) -> None:
        """See whether the congestion has come or gone."""
        if self.is_over:
            return
        is_congested = self._transport_is_full or self._outgoing.weight > CONGESTED_BYTES
        if is_congested != self.is_congested:
            self.is_congested = is_congested
            if is_congested:
                self.congested()
            else:
                self.relieved()


def close_silently(selectable: Any) -> None:
    """
    Close the socket of a transport or a port in a child, to which it is nothing;
    the parent's stays open.
    """
    try:
        selectable.socket.close()
    except OSError:
        # Closed already by whoever takes care of the parent's reactor.
        pass
