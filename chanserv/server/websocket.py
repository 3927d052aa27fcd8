"""
WebSockets on the wire: Autobahn's protocol, fitted to a session.

It takes over the transport when the consumer has accepted, and is given a
handshake that has been checked and agreed already, so it never waits in
between.

A site may have a hundred thousand idle sockets, so what one keeps is kept
small: settings stand on the class, statistics are not counted one by one, and
the handshake is forgotten once it is over.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from chanserv.server.handshake import DROPPED
from chanserv.server.limits import Limits
from chanserv.server.replies import SharedReply, encode_frame
from chanserv.server.session import WebSocketSession
from chanserv.server.writing import unsent_with
from chanserv.sockets import write_promptly

_log = Logger()


class _QuietLog:
    """
    Autobahn's log calls, at the levels of this package.

    What Autobahn warns of is what clients do.
    """

    def debug(self, *args: object, **fields: object) -> None:
        """Of no use in operation, and called for every frame."""

    trace = info = debug

    def warn(self, format: str = "", **fields: Any) -> None:
        """Something that a client did."""
        _log.info(format, **fields)

    def error(self, format: str = "", **fields: Any) -> None:
        """Something that may be ours."""
        _log.warn(format, **fields)

    failure = critical = error


class ServedWebSocket(WebSocketServerProtocol):
    """
    Autobahn's protocol for one open socket.

    Everything that Twisted or Autobahn calls here is guarded.

    @ivar write_paused: whether the transport wants no more bytes for now.
    @ivar compressed: whether the client and we agreed on compression.
    """

    log: Any = _QuietLog()
    transport: Any
    message_data: Any
    frame_data: Any
    send_queue: Any
    _transport_details: Any
    write_paused = False
    compressed = False
    _unsent = 0
    _batch = -1
    _subprotocol: str | None = None

    def __init__(self, session: WebSocketSession) -> None:
        super().__init__()
        self.session = session

    def take_over(self, handshake: bytes, leftover: bytes) -> None:
        """
        Begin on a transport that has been HTTP's.

        @param handshake: a request that opens the socket.
        @param leftover: what the client sent after its own.
        """
        transport = self.transport
        transport.registerProducer(self, True)
        self.dataReceived(handshake)
        self._forget_handshake()
        transport.resumeProducing()
        if leftover:
            self.dataReceived(leftover)

    def _forget_handshake(self) -> None:
        self.compressed = self._perMessageCompress is not None
        self.is_open = self._transport_details = None
        for name in _HANDSHAKE_ATTRIBUTES:
            self.__dict__.pop(name, None)

    # What the transport calls.

    def connectionMade(self) -> None:
        """Set up, without what Autobahn gathers about the peer."""
        self.peer = ""
        self._connectionMade()
        self.trafficStats = _shared_statistics
        self.send_queue = ()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            self.session.silence.heard = self.session.context.clock.seconds()
            self._dataReceived(data)
        except Exception:
            _log.failure("A WebSocket frame could not be read")
            self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        try:
            self._connectionLost(reason)  # type: ignore[arg-type]
        except Exception:
            _log.failure("The end of a WebSocket could not be told")
            self.session.closed(DROPPED)

    def pauseProducing(self) -> None:
        """The client does not read as fast as it is written to."""
        if not self.write_paused:  # a full transport says so again with each write
            self.write_paused = True
            self._unsent = 0

    def resumeProducing(self) -> None:
        """All that was written is on its way."""
        self.write_paused = False
        self._unsent = 0
        self.session.writable()

    def stopProducing(self) -> None:
        """The connection is about to be lost; C{connectionLost} follows."""

    # What Autobahn calls.

    def onConnect(self, request: ConnectionRequest) -> Any:
        """
        Confirm what has been agreed: at most one subprotocol is asked for.

        @return: that, with headers of the response where there are any.
        """
        protocols: list[str] = request.protocols
        subprotocol = protocols[0] if protocols else None
        if self.session.request_id:
            return subprotocol, {"X-Request-ID": self.session.request_id}
        return subprotocol

    def _onOpen(self) -> None:
        """The session knows."""

    # A message is gathered as bytes, not as a list of its pieces: a client may
    # send them byte by byte, or empty, and each would cost fifty bytes.

    def onMessageBegin(self, isBinary: bool) -> None:
        """A message begins."""
        super().onMessageBegin(isBinary)
        self.message_data = b""

    def onMessageFrameData(self, payload: bytes) -> None:
        """A piece of a message."""
        data = self.message_data
        if self.failedByMe or not payload:
            return
        if not data:
            self.message_data = payload
        elif type(data) is bytearray:
            data += payload
        else:
            self.message_data = bytearray(data)
            self.message_data += payload

    def onMessageFrameEnd(self) -> None:
        """A frame of a message is complete."""
        self.frame_data = None

    def onMessageEnd(self) -> None:
        """A message is complete."""
        data, self.message_data = self.message_data, None
        if not self.failedByMe:
            self.session.received(bytes(data), self.message_is_binary)

    def _onClose(self, was_clean: bool, code: int | None, reason: object) -> None:
        self.session.closed(code)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """A close frame goes out, whoever began."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.session.closing()

    def _closeConnection(self, abort: bool = False) -> None:
        # After a clean close there is nothing to reset; what was written last
        # shall still arrive.
        if abort and not self.wasClean:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write C{data}, unless too much has been written unread."""
        if self.write_paused:
            limit = self.session.context.limits.unsent_bytes
            self._unsent = unsent_with(self.transport, self._unsent, len(data), limit)
            if self._unsent > limit:
                self._overflow()
                return
        # The first of the frames that one batch brings goes at once; the others
        # go together, in one write.
        batch = self.session.context.batch
        if self._batch == batch:
            self.transport.write(data)
        else:
            self._batch = batch
            write_promptly(self.transport, data)

    def _overflow(self) -> None:
        session = self.session
        session.context.counts.overflows += 1
        _log.info(
            "Aborted the WebSocket {path}, whose client left {unsent} bytes unread",
            path=session.path,
            unsent=self._unsent,
        )
        self.drop()

    # For the session.

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Send a message."""
        if self.compressed:
            self.sendMessage(payload, binary)
        else:
            self.sendData(encode_frame(payload, binary))

    def send_shared(self, shared: SharedReply) -> None:
        """Send what many get."""
        if not self.compressed and shared.frame is not None:
            self.sendData(shared.frame)
        elif shared.reply is not None and shared.reply.payload is not None:
            self.sendMessage(shared.reply.payload, shared.reply.binary)

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self.sendPing()

    def begin_close(self, code: int) -> None:
        """Send a close frame."""
        self.sendCloseFrame(code=code, isReply=False)

    def drop(self) -> None:
        """End the connection now."""
        self.session.closing()
        self.transport.abortConnection()

    def pause_reads(self) -> None:
        """Leave what the client sends with it."""
        self.transport.pauseProducing()

    def resume_reads(self) -> None:
        """Read on."""
        self.transport.resumeProducing()


_shared_statistics: Final = TrafficStats()
"""Autobahn counts into this for all sockets; nobody reads it."""

_HANDSHAKE_ATTRIBUTES: Final = (
    "http_headers",
    "http_request_data",
    "http_request_host",
    "http_request_params",
    "http_request_path",
    "http_request_uri",
    "http_response_data",
    "http_status_line",
    "websocket_extensions",
    "websocket_extensions_in_use",
    "websocket_origin",
    "websocket_protocols",
    "_wskey",
)


class SocketMaker:
    """
    Makes the protocols of accepted sockets, all with the same settings.
    """

    def __init__(self, limits: Limits, reactor: IReactorTime, *, compression: bool) -> None:
        """
        @param compression: whether to agree to C{permessage-deflate}: without
            context take-over and with little memory, some 10 KB a socket
            more.  A group's message is then compressed for each such socket.
        """
        factory = WebSocketServerFactory(server=None, reactor=reactor)
        factory.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=limits.frame_bytes,
            maxMessagePayloadSize=limits.message_bytes,
            failByDrop=False,
            echoCloseCodeReason=True,
            # Its own timers stay off; the server's deadlines do their work.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            allowNullOrigin=True,
        )
        if compression:
            factory.setProtocolOptions(
                perMessageCompressionAccept=_accept_deflate, allowNullOrigin=True
            )
        self.compression = compression
        self._factory = factory
        # Autobahn copies each setting onto each protocol, where the class does
        # not have it: two kilobytes a socket.
        settings = {
            name: staticmethod(value) if callable(value) else value
            for name in WebSocketServerProtocol.CONFIG_ATTRS
            for value in (getattr(factory, name),)
        }
        self._protocol = type("ServedWebSocket", (ServedWebSocket,), settings)

    def make(self, session: WebSocketSession) -> ServedWebSocket:
        """Make the protocol of one socket."""
        socket: ServedWebSocket = self._protocol(session)
        socket.factory = self._factory
        return socket


def _accept_deflate(offers: list[object]) -> PerMessageDeflateOfferAccept | None:
    """Take the first offer of deflate that needs little memory of us."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=offer.accept_no_context_takeover,
                request_max_window_bits=9 if offer.accept_max_window_bits else 0,
                no_context_takeover=True,
                window_bits=9,
                mem_level=1,
            )
    return None
