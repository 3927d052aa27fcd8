"""
An interface server on a clock, with transports that only remember, and a
worker that says what its script tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Delivery, Send
from chanserv.server import InterfaceServer, Limits

EVENTS = (
    "http.request",
    "http.disconnect",
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
)

OK = {"status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"fine"}

HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
"""A client's, but for the empty line at its end; the key is RFC 6455's."""


@implementer(ITransport, IPushProducer)
class FakeTransport:
    """A TCP transport whose other end is the test."""

    def __init__(self, clock: Clock, peer: object = None) -> None:
        self.clock = clock
        self.peer = peer or IPv4Address("TCP", "192.0.2.7", 54321)
        self.protocol: Any = None
        self.written = bytearray()
        self.producer: Any = None
        self.reading = True
        self.full = False
        self.lost: str | None = None
        self.half_closed = False
        self.disconnecting = False

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.lost is None and not self.half_closed and not self.disconnecting:
            self.written += data
            if self.full and self.producer is not None:
                self.producer.pauseProducing()  # as Twisted's, with each write

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getPeer(self) -> Any:
        return self.peer

    def getHost(self) -> Any:
        return IPv4Address("TCP", "192.0.2.1", 80)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None: ...

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.clock.callLater(0, self.lose, "closed")

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.clock.callLater(0, self.lose, "aborted")

    # For the test, which is the client and the network.

    def lose(self, how: str = "left") -> None:
        """The connection is gone."""
        if self.lost is None:
            self.lost = how
            error = ConnectionAborted() if how == "aborted" else ConnectionDone()
            self.protocol.connectionLost(Failure(error))

    def fill(self) -> None:
        """The client reads no more, and the buffers are full."""
        self.full = True
        self.producer.pauseProducing()

    def drain(self) -> None:
        """The client has read everything."""
        self.full = False
        self.producer.resumeProducing()


@dataclass
class Worker:
    """
    Reads the layer and answers by its script.

    @ivar script: gives the replies to an event; by default none.
    @ivar settling: whether events are settled once answered; else they stay in
        C{open}.
    """

    layer: Any
    script: Callable[[str, dict[str, Any]], Iterable[dict[str, Any]] | None]
    channels: tuple[str, ...] = EVENTS
    settling: bool = True
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    open: list[Delivery] = field(default_factory=list)

    def read(self) -> None:
        """Take all that waits, and answer it."""
        while self.channels:
            receive = self.layer.receive(list(self.channels), limit=100)
            answered: list[None] = []
            receive.addCallback(self._answer).addCallbacks(answered.append, self._failed)
            if not answered:
                receive.cancel()
                return

    def _failed(self, failure: Failure) -> None:
        failure.trap(CancelledError, LayerUnavailable)

    def _answer(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            message = dict(delivery.message)
            self.events.append((delivery.channel, message))
            replies = self.script(delivery.channel, message) or ()
            self.layer.send_batch([Send(message["reply_channel"], reply) for reply in replies])
            if self.settling:
                delivery.settle()
            else:
                self.open.append(delivery)

    def named(self, channel: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        return [message for name, message in self.events if name == channel]


def web(channel: str, message: dict[str, Any]) -> Iterable[dict[str, Any]] | None:
    """The script of a site that answers all requests and echoes on all sockets."""
    match channel:
        case "http.request":
            return [OK]
        case "websocket.connect":
            return [{"accept": True}]
        case "websocket.receive":
            return [{key: message[key] for key in ("text", "bytes") if key in message}]
    return None


class Client:
    """One connection to the server."""

    def __init__(self, rig: Rig, transport: FakeTransport) -> None:
        self.rig = rig
        self.transport = transport

    def send(self, data: bytes, *, turn: bool = True) -> Client:
        """Send bytes, and let the server and the worker act."""
        if self.transport.lost is None:
            self.transport.protocol.dataReceived(data)
        if turn:
            self.rig.turn()
        return self

    def get(self, path: bytes = b"/", headers: bytes = b"") -> Client:
        return self.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")

    def take(self) -> bytes:
        """What the server has sent since the last look."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    def response(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """The one response that the server has sent: status, headers, rest."""
        head, _, rest = self.take().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), lines
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        return int(lines[0].split(b" ")[1]), headers, rest

    def status(self) -> int:
        return self.response()[0]

    def leave(self) -> Client:
        self.transport.lose()
        self.rig.turn()
        return self

    @property
    def gone(self) -> bool:
        """Whether the server has closed its side, one way or another."""
        transport = self.transport
        return transport.lost is not None or transport.half_closed or transport.disconnecting


class Rig:
    """A server, its layer, its worker and its clock."""

    def __init__(
        self,
        script: Callable[..., Any] = web,
        *,
        limits: Limits | None = None,
        layer: Any = None,
        layer_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.layer = layer or MemoryChannelLayer(clock=self.clock, **(layer_options or {}))
        # Ids would stand in every message and response that a test looks at.
        options = {"request_ids": False, **options}
        self.server = InterfaceServer(self.layer, self.clock, limits=limits, **options)
        self.server.startService()
        self.worker = Worker(self.layer, script)
        self.counts = self.server.counts

    def connect(self, peer: object = None) -> Client:
        transport = FakeTransport(self.clock, peer)
        protocol = self.server.factory.buildProtocol(transport.getPeer())
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return Client(self, transport)

    def turn(self) -> None:
        """Let everything happen that needs no time to pass."""
        quiet = 0
        while quiet < 4:
            before = len(self.worker.events)
            self.clock.advance(0)
            self.worker.read()
            quiet = quiet + 1 if len(self.worker.events) == before else 0

    def advance(self, seconds: float) -> None:
        """Let time pass, in the small steps of a real clock."""
        while seconds > 0:
            step = min(seconds, 0.5)
            self.clock.advance(step)
            self.turn()
            seconds -= step

    def reply(self, channel: str, *messages: dict[str, Any], receipt: str | None = None) -> None:
        """Send replies outside of any run, as a consumer elsewhere would."""
        for message in messages:
            self.layer.send(channel, message, receipt)
        self.turn()

    def disconnects(self) -> list[dict[str, Any]]:
        return self.worker.named("http.disconnect")


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """A client's frame; masked with zeros, which leave the payload as it is."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        head += bytes([0x80 | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + len(payload).to_bytes(8, "big")
    return head + bytes(4) + payload


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The server's frames in C{data}: opcode and payload."""
    found = []
    while data:
        opcode, length, start = data[0] & 15, data[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
        found.append((opcode, data[start : start + length]))
        data = data[start + length :]
    return found


def outcome_of(error: type[Exception], call: Callable[..., Any], *arguments: Any) -> Any:
    """What C{call} returns, or the C{error} that it raises."""
    try:
        return call(*arguments)
    except error as raised:
        return raised
