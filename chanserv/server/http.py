"""
HTTP/1.0 and 1.1 connections: the protocol between a transport and its requests.

Every connection begins here; one whose first bytes are those of HTTP/2 is handed
over to L{HTTP2Connection}, whatever was agreed on by ALPN or not.

Requests are read by its base, L{RequestReader}.  A connection goes through the
phases of L{phases.Phase}; whichever it is in, it has one deadline, and when that
passes L{HTTPConnection.timed_out} decides by the phase.  One request at a time
is answered; what the client sends ahead waits, in bounded measure, and from
there on in the client's own buffers.

What Twisted calls here is guarded: a fault costs one connection.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from chanserv.formats import Address
from chanserv.server import phases, stages
from chanserv.server.arrivals import has_unread
from chanserv.server.context import Course, ServerContext
from chanserv.server.exchange import HTTPRequest
from chanserv.server.http2.connection import HTTP2Connection
from chanserv.server.http2.frames import PREFACE
from chanserv.server.reading import RequestReader
from chanserv.server.requests import address_pair
from chanserv.server.responses import (
    BodyFraming,
    Response,
    head_bytes,
    plain_response,
    settle_length,
)
from chanserv.server.session import WebSocketSession
from chanserv.server.timeouts import NEVER
from chanserv.server.websocket import SocketMaker
from chanserv.server.wire import Socket
from chanserv.server.writing import unsent_with
from chanserv.sockets import write_promptly


class HTTPConnection(RequestReader):
    """
    One connection that speaks HTTP/1.

    @ivar scheme: C{"http"} or C{"https"}.
    @ivar client: the client's C{[host, port]}, or L{None}.
    @ivar server: likewise for this end.
    @ivar write_paused: whether the transport wants no more bytes for now.
    """

    _log = Logger()

    lasting = False
    requestFactory: Any = HTTPRequest
    timeOut = None  # its own deadlines take the place of Twisted's
    _networkProducer: Any

    scheme = "http"
    client: Address | None = None
    server: Address | None = None
    write_paused = False
    _unsent = 0
    _early = b""

    def __init__(self, context: ServerContext, sockets: SocketMaker) -> None:
        """@param sockets: makes what takes the connection over for WebSocket."""
        super().__init__(context)
        self._sockets = sockets

    # What the transport calls.

    def connectionMade(self) -> None:
        """A client has connected."""
        try:
            super().connectionMade()
            self._introduce()
        except Exception:
            self._log.failure("A new connection could not be set up")
            self.abort()

    def _introduce(self) -> None:
        context, transport = self.context, self.transport
        counts = context.counts
        counts.connections += 1
        counts.connections_open += 1
        context.connections.add(self)
        if ISSLTransport.providedBy(transport):
            self.scheme = "https"
        self.client = address_pair(transport.getPeer())
        self.server = address_pair(transport.getHost())
        # One that has been accepted may only now be known, as by the line of its proxy.
        late = context.course >= Course.DRAINED
        if late or counts.connections_open > context.limits.connections:
            self._refuse_connection()
        else:
            context.timeouts.after(self, context.limits.header_timeout)

    def _refuse_connection(self) -> None:
        """
        Answer 503 without reading anything.

        Such a connection lingers for a moment; where very many do, they are
        reset instead.
        """
        context = self.context
        context.counts.connections_refused += 1
        if context.counts.connections_open > context.limits.connections * 1.1 + 16:
            self.abort()
            return
        after = b"%d" % context.limits.retry_after
        reason = "the server is about to end" if context.stopping else "too many connections"
        self._write_last(plain_response(503, reason, [(b"Retry-After", after)]))

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        match self.phase:
            case phases.IDLE:
                self.enter_head()
            case phases.NEW:
                if self._early:
                    data, self._early = self._early + data, b""
                if PREFACE.startswith(data[: len(PREFACE)]) and self.context.limits.http2_streams:
                    self._turn_to_http2(data)
                    return
                self.enter_head()
            case phases.LINGERING | phases.CLOSING | phases.GONE:
                return
            case _:
                pass
        try:
            LineReceiver.dataReceived(self, data)
        except Exception:
            self._log.failure("A request could not be read")
            self.abort()

    def _turn_to_http2(self, data: bytes) -> None:
        """Give the connection to HTTP/2, when it is certain that its client speaks that."""
        if len(data) < len(PREFACE):
            self._early = data
            return
        connection = HTTP2Connection(
            self.context, scheme=self.scheme, client=self.client, server=self.server
        )
        self._give_transport(connection)
        connection.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        try:
            self._leave()
            for request in self.requests:
                request.connectionLost(reason)
        except Exception:
            self._log.failure("The end of a connection could not be told")
        self.requests.clear()

    def _leave(self) -> None:
        if self.phase is phases.GONE:
            return
        self.phase = phases.GONE
        context = self.context
        context.timeouts.end(self)
        if self in context.connections:
            context.connections.remove(self)
            context.counts.connections_open -= 1

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pauseProducing()
        if self.write_paused:
            return  # a full transport says so again with each write
        self.write_paused = True
        self._unsent = 0
        if self.phase is phases.IDLE or self._is_streaming():
            self.context.timeouts.after(self, self.context.limits.send_timeout)

    def resumeProducing(self) -> None:
        """All that was written is on its way."""
        super().resumeProducing()
        self.write_paused = False
        self._unsent = 0
        if self.phase is phases.IDLE:
            self.context.timeouts.after(self, self.context.limits.keep_alive_timeout)
        elif self._is_streaming():
            self.context.timeouts.set(self, NEVER)
        if self.requests:
            self.requests[0].transport_ready()

    def _is_streaming(self) -> bool:
        return bool(self.requests) and self.requests[0].stage is stages.STREAMING

    # Refusing.

    def refuse(self, status: int, reason: str) -> None:
        """
        Answer a request that goes no further, and close.

        It may not even have arrived in whole.
        """
        if self.phase in (phases.LINGERING, phases.CLOSING, phases.GONE):
            return
        self.context.counts.bad_requests += 1
        client, request_id = self.client, b""
        if self.requests:
            # As far as it has got it knows more than its connection.
            client, request_id = self.requests[0].origin.client, self.requests[0].request_id
        self._log.info(
            "Refused a request of {client}: {status}, {reason}",
            client=client,
            status=status,
            reason=reason,
        )
        headers: list[tuple[bytes, bytes]] = []
        if status == 426:
            headers.append((b"Sec-WebSocket-Version", b"13"))
            headers.append((b"Upgrade", b"websocket"))
        self._write_last(plain_response(status, reason, headers), request_id)
        self._log_refusal(status, client, request_id)
        for request in self.requests:
            request.connectionLost(connectionDone)
        self.requests.clear()

    def _log_refusal(self, status: int, client: Address | None, request_id: bytes) -> None:
        log = self.context.access_log
        if log is None:
            return
        line = b"-"
        if hasattr(self, "_command"):
            line = b"%b %b %b" % (self._command, self._path, self._version)
        elif self.requests:
            request = self.requests[0]
            line = b"%b %b %b" % (request.method, request.uri, request.clientproto)
        log.add(client[0] if client else "-", line, status, None, request_id=request_id)

    # For its request.

    def send_head(self, response: Response, framing: BodyFraming, version: bytes) -> None:
        """Write the head of a response, with as much of its body as is there."""
        if self.context.stopping and not self._more_waits():
            self.persistent = False
        connection = b"keep-alive" if version == b"HTTP/1.0" else None
        head = head_bytes(
            response,
            date=self.context.date_line(),
            chunked=framing.chunked,
            connection=connection if self.persistent else b"close",
        )
        self.send(head + framing.part(response.content))

    def _more_waits(self) -> bool:
        """Whether the client has sent more than is being answered, and is to be heard."""
        return self.context.course is not Course.ENDING and (
            bool(self._dataBuffer) or has_unread(self.transport)
        )

    def answering(self, timeout: float) -> None:
        """The request is with a worker, for at most C{timeout} seconds."""
        self.phase = phases.ANSWERING
        self.context.timeouts.set(self, self.context.clock.seconds() + timeout)

    def streaming(self) -> None:
        """A response has begun; its worker may take any time for the rest."""
        if self.write_paused:
            self.context.timeouts.after(self, self.context.limits.send_timeout)
        else:
            self.context.timeouts.set(self, NEVER)

    def send(self, data: bytes) -> None:
        """Write C{data}, unless too much has been written unread."""
        if self.write_paused:
            limit = self.context.limits.unsent_bytes
            self._unsent = unsent_with(self.transport, self._unsent, len(data), limit)
            if self._unsent > limit:
                self._overflow()
                return
        write_promptly(self.transport, data)

    def _overflow(self) -> None:
        self.context.counts.overflows += 1
        self._log.info(
            "Aborted the connection of {client}, which left {unsent} bytes unread",
            client=self.client,
            unsent=self._unsent,
        )
        self.abort()

    def requestDone(self, request: Any) -> None:
        """The response is written: on to the next request, or the end."""
        if self.phase is not phases.ANSWERING:
            return
        if not self.persistent:
            self.requests.clear()
            self._linger()
            return
        limits = self.context.limits
        self.phase = phases.IDLE
        self.context.timeouts.after(
            self, limits.send_timeout if self.write_paused else limits.keep_alive_timeout
        )
        super().requestDone(request)
        if self._buffer and self.phase is phases.IDLE:
            self.enter_head()
        elif self.context.course >= Course.DRAINED:
            self.close_idle()

    def hand_over(self, session: WebSocketSession) -> tuple[Socket, bytes]:
        """
        Make a socket of C{session} what the transport calls, and forget all.

        @return: the socket, and the bytes that have been read and not used.
        """
        rest: bytes = self.clearLineBuffer()
        leftover = b"".join(self._dataBuffer) + rest
        self._dataBuffer = []
        self.requests.clear()
        socket = self._sockets.make(session)
        self._give_transport(socket)
        return socket, leftover

    def _give_transport(self, protocol: IProtocol) -> None:
        """Make C{protocol} what the transport calls, and leave."""
        transport = self.transport
        self._leave()
        self._networkProducer.unregisterProducer()
        self.transport = None
        if isinstance(transport, ProtocolWrapper):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)

    # Its end.

    def timed_out(self, now: float) -> None:
        """The deadline of the present phase has passed."""
        match self.phase:
            case phases.IDLE if self.write_paused:
                self.context.counts.connections_timed_out += 1
                self.abort()
            case phases.IDLE | phases.NEW:
                self._close()
            case phases.HEAD | phases.BODY:
                self.context.counts.connections_timed_out += 1
                self.refuse(408, "the request took too long")
            case phases.ANSWERING:
                self.requests[0].timed_out()
            case phases.LINGERING:
                self._close()
            case phases.CLOSING:
                self.abort()
            case phases.GONE:
                pass

    def _close(self) -> None:
        """Close when everything is written; drop what does not get there."""
        self.phase = phases.CLOSING
        self.context.timeouts.after(self, self.context.limits.send_timeout)
        self.loseConnection()

    def _write_last(self, response: Response, request_id: bytes = b"") -> None:
        """Write an answer after which nothing is read."""
        self.context.sign(response, request_id)
        settle_length(response, b"GET")
        head = head_bytes(
            response, date=self.context.date_line(), chunked=False, connection=b"close"
        )
        self.context.counts.responses += 1
        self.transport.write(head + response.content)
        self._linger()

    def _linger(self) -> None:
        """Close this side; throw away what comes, until the other closes too."""
        self.setRawMode()
        self._dataBuffer = []
        transport = self.transport
        if self.scheme == "https" or not hasattr(transport, "loseWriteConnection"):
            self._close()
            return
        limits = self.context.limits
        self.phase = phases.LINGERING
        self.context.timeouts.after(
            self, limits.send_timeout if self.write_paused else limits.linger_timeout
        )
        self._networkProducer.unregisterProducer()
        transport.resumeProducing()
        transport.loseWriteConnection()

    def stop(self) -> None:
        """
        The server stops.  The answer to the request that is under way, or to the next
        one, says that the connection closes.
        """

    def close_idle(self) -> None:
        """Close, unless a request is under way, or has arrived unread."""
        if self.phase in (phases.IDLE, phases.NEW) and not has_unread(self.transport):
            self._close()

    def give_up(self) -> None:
        """The server ends: answer 503 where nothing has been answered yet."""
        if self.phase is phases.LINGERING:
            self._close()
        elif self.phase is phases.ANSWERING and self.requests[0].stage in (
            stages.WAITING,
            stages.UPGRADING,
        ):
            self.requests[0].timed_out()
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection, with what has not been sent."""
        if self.phase is phases.GONE:
            return
        self.phase = phases.CLOSING
        self.context.timeouts.end(self)
        requests, self.requests = self.requests, []
        for request in requests:
            request.connectionLost(connectionDone)
        self.transport.abortConnection()
