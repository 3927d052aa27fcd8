"""
HTTP/2 connections: the protocol between a transport and its streams.

A connection stands as L{Standing} says.  What each stream waits for is the
stream's own; the connection has one deadline, for what concerns it as a whole.

How it ends stands in its base, L{EndingConnection}, and how it sends in that
one's, L{StreamSender}.

What Twisted calls here is guarded: a fault costs one connection.
"""

# mypy: allow-untyped-calls
# (Twisted's transports have few types)

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.formats import Address
from chanserv.server.context import ServerContext
from chanserv.server.http2.budget import Budget, cost
from chanserv.server.http2.ending import ROUND_TRIP, EndingConnection
from chanserv.server.http2.frames import PREFACE, ConnectionBroken, Frame, FrameReader, Kind
from chanserv.server.http2.standing import ENDING, Standing
from chanserv.server.http2.stream import Stream, Turn
from chanserv.server.timeouts import NEVER


class HTTP2Connection(EndingConnection):
    """
    One connection that speaks HTTP/2.
    """

    _log = Logger()

    def __init__(
        self,
        context: ServerContext,
        *,
        scheme: str,
        client: Address | None,
        server: Address | None,
    ) -> None:
        super().__init__(context, scheme=scheme, client=client, server=server)
        limits = context.limits
        self._frames = FrameReader(2 * limits.header_bytes, limits.http2_continuations)
        self._resets = Budget(limits.http2_resets, context.clock.seconds())
        self._early = PREFACE
        self._in_block = False
        context.timeouts.begin(self)

    # What the transport calls.

    def connectionMade(self) -> None:
        """The connection has been taken over from HTTP/1."""
        context = self.context
        context.counts.connections_open += 1
        context.counts.http2_connections += 1
        context.connections.add(self)
        self.transport.registerProducer(self, True)
        self._watch()
        self.flush()
        if context.stopping:
            self.stop()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self.standing in ENDING:
            return
        try:
            self._receive(data)
        except ConnectionBroken as problem:
            self._break(problem.code, problem.reason)
        except ProtocolError as problem:
            # Its text may be the number of a stream alone, or a header of 60 KB.
            self._break(problem.error_code, f"{type(problem).__name__}: {problem!s:.200}")
        except Exception:
            self._log.failure("A frame could not be read")
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        try:
            self._leave()
            self._drop_streams()
        except Exception:
            self._log.failure("The end of a connection could not be told")

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is written to."""
        if not self._write_paused:  # a full transport says so again with each write
            self._write_paused = True
            self._watch()

    def resumeProducing(self) -> None:
        """All that was written is on its way."""
        self._write_paused = False
        self._watch()
        self.pump()

    def stopProducing(self) -> None:
        """The connection is about to be lost; C{connectionLost} follows."""

    # Frames.

    def _receive(self, data: bytes) -> None:
        if self._early:
            data = self._receive_preface(data)
        self._pumping = True  # what these frames bring goes out together
        try:
            for frame in self._frames.read(data):
                self._take(frame)
                if self.standing in ENDING:
                    return
        finally:
            self._pumping = False
        if self._frames.in_block is not self._in_block:
            self._in_block = self._frames.in_block
            self._watch()
        self.pump()

    def _receive_preface(self, data: bytes) -> bytes:
        """
        Read as much of the preface as is there.

        @return: what follows it.
        """
        size = min(len(self._early), len(data))
        if data[:size] != self._early[:size]:
            raise ConnectionBroken(ErrorCodes.PROTOCOL_ERROR, "it does not begin as HTTP/2 does")
        self._early = self._early[size:]
        if not self._early:
            self.h2.receive_data(PREFACE)
        return data[size:]

    def _take(self, frame: Frame) -> None:
        """Act on one frame."""
        now = self.context.clock.seconds()
        spent = cost(frame)
        if frame.stream not in self.streams and (
            frame.kind in (Kind.DATA, Kind.RST_STREAM)
            or (frame.kind == Kind.HEADERS and frame.stream <= self._last_stream)
        ):
            spent += 1  # it is for a stream that is over, and moves nothing
        if spent and not self.control.spend(spent, now):
            self._flooded("control frames")
        if frame.kind == Kind.PUSH_PROMISE:
            raise ConnectionBroken(ErrorCodes.PROTOCOL_ERROR, "clients push nothing")
        if frame.kind == Kind.GOAWAY and not frame.stream and frame.length >= 8:
            self._client_leaves(int.from_bytes(frame.data[13:17], "big"))
            return
        for event in self.h2.receive_data(frame.data):
            self._act(event)

    def _flooded(self, what: str) -> None:
        self.context.counts.floods += 1
        raise ConnectionBroken(ErrorCodes.ENHANCE_YOUR_CALM, f"too many {what}")

    def _act(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._open(event)
            case DataReceived():
                self._receive_body(event)
            case StreamEnded():
                if stream := self.streams.get(event.stream_id):
                    stream.end()
                    self._spend_if_over(stream)
            case TrailersReceived():
                if stream := self.streams.get(event.stream_id):
                    stream.receive_trailers(event.headers)
                    self._spend_if_over(stream)
            case WindowUpdated():
                self.widened(event.stream_id)
            case RemoteSettingsChanged():
                self.widened(0)
            case StreamReset():
                self._reset(event.stream_id)
            case PingAckReceived() if event.ping_data == ROUND_TRIP:
                self._heard()
            case _:
                pass

    def _open(self, event: RequestReceived) -> None:
        number = event.stream_id
        if self.standing is Standing.LEAVING or (
            len(self.streams) >= self.context.limits.http2_streams
        ):
            self.h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            self._spend_reset()
            return
        self._last_stream = number
        stream = self.streams[number] = Stream(self, number)
        if len(self.streams) == 1:
            self._watch()
        stream.open(event.headers, event.stream_ended is not None)
        self._spend_if_over(stream)

    def _spend_if_over(self, stream: Stream) -> None:
        """A client may make a server reset streams, too (CVE-2025-8671)."""
        if stream.turn is Turn.OVER:
            self._spend_reset()

    def _receive_body(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.receive(event.data)
        # It is in the spool now, or thrown away: the client may send as much again.
        if event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _reset(self, number: int) -> None:
        """A client has reset a stream, or done what resets it."""
        self.context.counts.streams_reset += 1
        if stream := self.streams.get(number):
            stream.drop()
        self._spend_reset()

    def _spend_reset(self) -> None:
        if not self._resets.spend(1, self.context.clock.seconds()):
            self._flooded("resets of streams")

    def _client_leaves(self, code: int) -> None:
        """
        The client will open no more streams.

        The library would send nothing from there on, but the client still reads
        the answers to those that there are.
        """
        if code != ErrorCodes.NO_ERROR:
            self._log.info("{client} ends its connection: {code}", client=self.client, code=code)
            self._close()
        elif self.standing is Standing.OPEN or self.standing is Standing.NOTIFIED:
            self._leave_soon()

    def left(self, stream: Stream) -> None:
        """C{stream} is over."""
        super().left(stream)
        if not self.streams:
            self._watch()

    # Its deadline.

    def _watch(self) -> None:
        """Set the deadline of what the connection waits for."""
        context = self.context
        limits = context.limits
        if self.standing is not Standing.OPEN and self.standing is not Standing.LEAVING:
            return
        if self._write_paused:
            context.timeouts.after(self, limits.send_timeout)
        elif self._in_block:
            context.timeouts.after(self, limits.header_timeout)
        elif not self.streams:
            context.timeouts.after(self, limits.keep_alive_timeout)
        else:
            context.timeouts.set(self, NEVER)

    def timed_out(self, now: float) -> None:
        """The deadline of what the connection waits for has passed."""
        match self.standing:
            case Standing.NOTIFIED:
                self._heard()
            case Standing.LINGERING:
                self._lose()
            case Standing.CLOSING:
                self.abort()
            case Standing.GONE:
                pass
            case _ if self._write_paused:
                self.context.counts.connections_timed_out += 1
                self.abort()
            case _ if self._in_block:
                self.context.counts.connections_timed_out += 1
                self._break(ErrorCodes.PROTOCOL_ERROR, "the headers of a request took too long")
            case _:
                self._close()
