"""
HTTP/2 connections: the protocol between a transport and its streams.

A connection stands as L{Standing} says.  What each stream waits for is the
stream's own; the connection has one deadline, for what concerns it as a whole.

Sending goes by turns: each stream that has something to send, and a window to
send it, sends one frame, and goes to the end of the row.  It goes on while the
transport takes it; what it does not take stays with the streams, so that an
answer that is ready does not stand behind the megabytes of another.

What Twisted calls here is guarded: a fault costs one connection.
"""

# mypy: allow-untyped-calls
# (Twisted's transports have few types)

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
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
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.formats import Address
from chanserv.server.context import ServerContext
from chanserv.server.http2.budget import SENT_A_TOKEN, Budget, cost
from chanserv.server.http2.frames import PREFACE, ConnectionBroken, Frame, FrameReader, Kind
from chanserv.server.http2.heads import FIELD_OVERHEAD
from chanserv.server.http2.stream import Stream, Turn
from chanserv.server.limits import Limits
from chanserv.server.timeouts import NEVER
from chanserv.sockets import write_promptly

WINDOWS: Final = 4
"""How many streams' windows the window of a connection is: one upload does not
take all of it, and many do not bring four megabytes at once."""

FULL_BODIES: Final = 16
"""Bodies on one connection that come in at the same time with all the memory that
a body may take.  Those of further ones go to disk from one part on."""

HOLD_AT: Final = 4
"""The part of the bytes that may wait on a connection, one in so many, from which
on its further requests wait too."""

WRITE_AT: Final = 65_536
"""Bytes that are written together: as many as a transport takes before it is
full."""

LAST_POSSIBLE: Final = 2**31 - 1
"""The number of the last stream that a client could ever open."""

_ROUND_TRIP: Final = b"chanserv"
"""What is in a ping that is sent with the word that the server leaves."""


class Standing(Enum):
    """Where a connection is."""

    OPEN = "open"
    NOTIFIED = "notified"
    """The client is being told to open no more streams.  Those that it opens
    before it has heard that are served."""
    LEAVING = "leaving"
    """It has heard; the connection ends with the last stream."""
    LINGERING = "lingering"
    """All is written; what still comes is thrown away, so that closing does not
    reset the connection under the last answers."""
    CLOSING = "closing"
    """Closed, when the last bytes are out."""
    GONE = "gone"


_ENDING: Final = frozenset({Standing.LINGERING, Standing.CLOSING, Standing.GONE})


class _Machine(H2Connection):
    """The library's, which shall not remember the end of 65,536 streams."""

    MAX_CLOSED_STREAMS = 1024


def _machine(limits: Limits) -> H2Connection:
    """
    Set up the library.

    Headers are checked by L{chanserv.server.http2.heads}, since the library ends
    the connection where one request is malformed, with all streams of others that
    a proxy may have put on it.
    """
    machine = _Machine(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    told = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.http2_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.http2_window,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
    }
    machine.local_settings = Settings(client=False, initial_values=told)
    machine.initiate_connection()
    # A client may open streams before it has read how many: those too many are
    # refused here, one by one, and do not end the connection.
    del told[SettingCodes.MAX_CONCURRENT_STREAMS]
    machine.local_settings = Settings(client=False, initial_values=told)
    # Room for headers that are answered 431; what is above that ends the connection.
    machine.decoder.max_header_list_size = (
        2 * limits.header_bytes + FIELD_OVERHEAD * limits.header_count
    )
    machine.increment_flow_control_window(
        max(1, WINDOWS * limits.http2_window - machine.inbound_flow_control_window)
    )
    return machine


class HTTP2Connection(Protocol):
    """
    One connection that speaks HTTP/2.

    @ivar h2: the state of the protocol.
    @ivar scheme: C{"http"} or C{"https"}.
    @ivar client: the client's C{[host, port]}, or L{None}.
    @ivar server: likewise for this end.
    @ivar streams: those that are not over, by their numbers.
    @ivar queued: bytes of all streams that wait to be sent.
    @ivar standing: see L{Standing}.
    """

    _log = Logger()

    lasting = False
    transport: Any
    deadline: float
    slot: int

    def __init__(
        self,
        context: ServerContext,
        *,
        scheme: str,
        client: Address | None,
        server: Address | None,
    ) -> None:
        limits, now = context.limits, context.clock.seconds()
        self.context = context
        self.scheme = scheme
        self.client = client
        self.server = server
        self.h2 = _machine(limits)
        self.streams: dict[int, Stream] = {}
        self.queued = 0
        self.standing = Standing.OPEN
        self._frames = FrameReader(2 * limits.header_bytes, limits.http2_continuations)
        self._control = Budget(limits.http2_control_frames, now)
        self._resets = Budget(limits.http2_resets, now)
        self._row: deque[Stream] = deque()
        self._held: deque[Stream] = deque()
        self._early = PREFACE
        self._in_block = False
        self._write_paused = False
        self._pumping = False
        self._batch = -1
        self._last_stream = 0
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
        self._flush()
        if context.stopping:
            self.stop()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self.standing in _ENDING:
            return
        try:
            self._receive(data)
        except ConnectionBroken as problem:
            self._break(problem.code, problem.reason)
        except ProtocolError as problem:
            self._break(problem.error_code, str(problem))
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
                if self.standing in _ENDING:
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
            frame.kind == Kind.DATA
            or (frame.kind == Kind.HEADERS and frame.stream <= self._last_stream)
        ):
            spent += 1  # it is for a stream that is over, and answered with a reset
        if spent and not self._control.spend(spent, now):
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
            case TrailersReceived():
                if stream := self.streams.get(event.stream_id):
                    stream.receive_trailers(event.headers)
                    self._spend_if_over(stream)
            case WindowUpdated():
                self._widened(event.stream_id)
            case RemoteSettingsChanged():
                self._widened(0)
            case StreamReset():
                self._reset(event.stream_id)
            case PingAckReceived() if event.ping_data == _ROUND_TRIP:
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

    # Sending.

    def schedule(self, stream: Stream) -> None:
        """C{stream} has something to send."""
        if not stream.scheduled:
            stream.scheduled = True
            self._row.append(stream)

    def _widened(self, number: int) -> None:
        """There is more room for a stream, or with 0 for all."""
        if not number:
            for stream in self.streams.values():
                if stream.may_go_on():
                    self.schedule(stream)
        elif (one := self.streams.get(number)) and one.may_go_on():
            self.schedule(one)

    def pump(self) -> None:
        """Send what can be sent, and write what is to be written."""
        if self._pumping or self.standing in _ENDING:
            return
        self._pumping = True
        try:
            self._take_turns()
            if self._held and self._release():
                self._take_turns()
            self._flush()
        except Exception:
            self._log.failure("A stream could not be written")
            self.abort()
        finally:
            self._pumping = False
        if self.standing is Standing.LEAVING and not self.streams:
            self._close()

    def _take_turns(self) -> None:
        row, unwritten = self._row, 0
        while row and not self._write_paused:
            stream = row.popleft()
            stream.scheduled = False
            if not stream.write_paused:
                continue
            written = stream.write_next()
            if written and stream.write_paused:
                self.schedule(stream)
            unwritten += written
            if unwritten >= WRITE_AT:
                self._control.earn(unwritten / SENT_A_TOKEN)
                unwritten = 0
                self._flush()
        self._control.earn(unwritten / SENT_A_TOKEN)

    def _flush(self) -> None:
        """Write all that the library has made."""
        data = self.h2.data_to_send()
        if not data or self.standing in _ENDING:
            return
        # As with sockets: of what one batch brings, the first goes at once.
        batch = self.context.batch
        if self._batch == batch:
            self.transport.write(data)
        else:
            self._batch = batch
            write_promptly(self.transport, data)

    # For its streams.

    def is_crowded(self) -> bool:
        """Whether so many bodies are coming in that each gets less memory."""
        return len(self.streams) > FULL_BODIES

    def hold(self, stream: Stream) -> bool:
        """Whether the request of C{stream} must wait."""
        if not self._held and not self._is_heavy():
            return False
        self._held.append(stream)
        return True

    def _is_heavy(self) -> bool:
        return self.queued * HOLD_AT > self.context.limits.http2_unsent_bytes

    def _release(self) -> bool:
        """
        Let requests go that waited.

        @return: whether some did.
        """
        held, self._held = self._held, deque()
        before = len(held)
        while held and not self._is_heavy():
            held.popleft().submit()
        self._held = held
        return len(held) < before

    def left(self, stream: Stream) -> None:
        """C{stream} is over."""
        self.streams.pop(stream.number, None)
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

    # Its end.

    def _break(self, code: ErrorCodes | int, reason: str) -> None:
        """Tell the client what is wrong, and end the connection."""
        if self.standing in _ENDING:
            return
        self.context.counts.bad_requests += 1
        self._log.info(
            "Ended the HTTP/2 connection of {client}: {reason}", client=self.client, reason=reason
        )
        self.h2.clear_outbound_data_buffer()
        self._close(code)

    def _drop_streams(self) -> None:
        self._row.clear()
        self._held.clear()
        for stream in list(self.streams.values()):
            stream.drop()

    def _say_goaway(self, last: int, code: ErrorCodes | int) -> None:
        """
        Tell the client which streams will be answered (section 6.8).

        The library sends nothing after this word, so it is not asked to say it.
        """
        self._flush()
        self.transport.write(
            GoAwayFrame(stream_id=0, last_stream_id=last, error_code=int(code)).serialize()
        )

    def stop(self) -> None:
        """
        The server stops: end when all streams have.

        The client is told first that it should open no more of them, and when it
        has heard that, from which on they are not answered: so none is lost that
        is under way.
        """
        if self.standing is not Standing.OPEN:
            return
        self._say_goaway(LAST_POSSIBLE, ErrorCodes.NO_ERROR)
        self.h2.ping(_ROUND_TRIP)
        self._flush()
        self.standing = Standing.NOTIFIED
        self.context.timeouts.after(self, self.context.limits.linger_timeout)

    def _heard(self) -> None:
        """The client knows that the server leaves."""
        if self.standing is Standing.NOTIFIED:
            self._leave_soon()

    def _leave_soon(self) -> None:
        self._say_goaway(self._last_stream, ErrorCodes.NO_ERROR)
        self.standing = Standing.LEAVING
        self._watch()
        if not self.streams:
            self._close()

    def close_idle(self) -> None:
        """The server ends: close, if nothing is under way."""
        self._heard()

    def give_up(self) -> None:
        """The server ends: answer 503 where nothing has been answered yet."""
        if self.standing is Standing.LINGERING:
            self._lose()
            return
        if self.standing in _ENDING or not self.streams:
            self.abort()
            return
        for stream in list(self.streams.values()):
            stream.give_up()
        self.pump()
        self._drop_streams()
        self._close()

    def _close(self, code: ErrorCodes | int = ErrorCodes.NO_ERROR) -> None:
        """Close this side; throw away what comes, until the other closes too."""
        if self.standing in _ENDING:
            return
        if code or self.standing is not Standing.LEAVING:
            self._say_goaway(self._last_stream, code)
        self._flush()
        self.standing = Standing.LINGERING
        self._drop_streams()
        transport = self.transport
        if self.scheme == "https" or not hasattr(transport, "loseWriteConnection"):
            self._lose()
            return
        limits = self.context.limits
        self.context.timeouts.after(
            self, limits.send_timeout if self._write_paused else limits.linger_timeout
        )
        transport.unregisterProducer()
        transport.loseWriteConnection()

    def _lose(self) -> None:
        """Close when everything is written; drop what does not get there."""
        self.standing = Standing.CLOSING
        self.context.timeouts.after(self, self.context.limits.send_timeout)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection, with what has not been sent."""
        if self.standing is Standing.GONE:
            return
        self.standing = Standing.CLOSING
        self.context.timeouts.end(self)
        self._drop_streams()
        self.transport.abortConnection()

    def _leave(self) -> None:
        if self.standing is Standing.GONE:
            return
        self.standing = Standing.GONE
        context = self.context
        context.timeouts.end(self)
        context.connections.discard(self)
        context.counts.connections_open -= 1
