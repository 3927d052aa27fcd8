"""
The session that a WebSocket has with its workers.

A session begins with the handshake, while the connection is still HTTP's, and
ends with its socket.  It decides; what speaks on the wire is a L{Socket}, and
what hands its events to the workers an L{EventStream}.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from twisted.logger import Logger

from chanserv.errors import ChannelLayerError, MessageTooLarge
from chanserv.messages import Delivery, Outcome
from chanserv.server.context import ServerContext
from chanserv.server.handshake import (
    DROPPED,
    GOING_AWAY,
    SERVER_ERROR,
    SERVICE_RESTART,
    TOO_BIG,
    TRY_AGAIN_LATER,
    BothPayloads,
    Offer,
    SocketReply,
    connect_message,
    disconnect_message,
    handshake_bytes,
    read_socket_reply,
    receive_message,
)
from chanserv.server.proxies import Origin
from chanserv.server.replies import Recipient, SharedReply
from chanserv.server.requests import Head
from chanserv.server.responses import BadReply
from chanserv.server.silence import Silence, Verdict
from chanserv.server.stream import EventStream
from chanserv.server.wire import Socket


class SocketState(Enum):
    """Where a session is."""

    HANDSHAKE = "handshake"
    """The consumer has not yet said whether it accepts."""
    OPEN = "open"
    CLOSING = "closing"
    """A close frame is out, or the transport is being closed."""
    CLOSED = "closed"
    """The socket is gone; its stream may still have events to hand out."""


class Upgrade(Protocol):
    """
    What a session asks of the request that its handshake is.

    @ivar path_text: the decoded path.
    @ivar origin: where it comes from.
    @ivar request_id: its id, or empty.
    """

    path_text: str
    origin: Origin
    request_id: bytes

    def hand_over(self, session: WebSocketSession) -> tuple[Socket, bytes]:
        """
        Give the connection to a socket of C{session}.

        @return: the socket, and what the client has sent already.
        """

    def refuse_upgrade(
        self, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with an error, and close."""


class WebSocketSession(Recipient):
    """
    One WebSocket, as the server sees it.

    @ivar state: see L{SocketState}.
    @ivar path: the decoded path of the handshake.
    @ivar request_id: the id of the handshake, or empty.
    @ivar silence: that of the client, once the socket is open.
    @ivar sent_bytes: payload bytes sent to the client.
    """

    __slots__ = (
        "_client",
        "_events",
        "_leaving",
        "_offer",
        "_upgrade",
        "context",
        "deadline",
        "path",
        "request_id",
        "sent_bytes",
        "silence",
        "slot",
        "socket",
        "state",
    )

    _log = Logger()

    lasting = True
    deadline: float
    silence: Silence
    slot: int

    def __init__(self, context: ServerContext, upgrade: Upgrade, offer: Offer) -> None:
        """@param upgrade: the request of the handshake, which holds the connection."""
        self.context = context
        self.state = SocketState.HANDSHAKE
        self.socket: Socket | None = None
        self.path = upgrade.path_text
        self.sent_bytes = 0
        self._upgrade: Upgrade | None = upgrade
        self._offer: Offer | None = offer
        self.request_id = upgrade.request_id.decode("ascii")
        client = upgrade.origin.client
        self._client: str = client[0] if client else "-"
        self._leaving = False
        self._events = EventStream(context, self)
        context.timeouts.begin(self)

    def start(self, head: Head, query: bytes) -> None:
        """Ask the consumer."""
        context, upgrade, offer, events = self.context, self._upgrade, self._offer, self._events
        assert upgrade is not None
        assert offer is not None
        origin = upgrade.origin
        message = connect_message(
            head,
            offer,
            reply_channel=events.reply_channel,
            path=self.path,
            query=query,
            scheme="wss" if origin.scheme == "https" else "ws",
            root_path=context.root_path,
            client=origin.client,
            server=origin.server,
        )
        context.recipients[events.reply_channel] = self
        context.counts.handshakes += 1
        context.timeouts.after(self, context.limits.handshake_timeout + context.outlet.wait)
        events.add("websocket.connect", message)

    # For the stream of its events.

    def holds_back(self) -> bool:
        """Whether the open socket's client does not read."""
        socket = self.socket
        return socket is not None and socket.write_paused and self.state is SocketState.OPEN

    def event_refused(self, error: ChannelLayerError) -> None:
        """The layer has not taken an event: the client may come back later."""
        if self.state is SocketState.HANDSHAKE:
            self._refuse_busy()
        else:
            self.close(TOO_BIG if isinstance(error, MessageTooLarge) else TRY_AGAIN_LATER)

    def event_unread(self, outcome: object) -> None:
        """No worker has finished with an event."""
        if outcome == Outcome.EXPIRED:
            if self.state is SocketState.HANDSHAKE:
                self._refuse_busy()
            else:
                self.close(TRY_AGAIN_LATER)
        elif outcome == Outcome.LOST and self.state is SocketState.HANDSHAKE:
            self._refuse(502, "the worker went away")

    def pause_reads(self) -> None:
        """Leave what the client sends with it."""
        if self.socket is not None:
            self.socket.pause_reads()

    def resume_reads(self) -> None:
        """Read on."""
        if self.socket is not None:
            self.silence.heard = self.context.clock.seconds()  # it counts from now on
            self.socket.resume_reads()

    # Replies from the layer.

    def deliver(self, delivery: Delivery) -> None:
        """A consumer's word, or the receipt of an event."""
        message = delivery.message
        if "receipt" in message:
            delivery.settle()
            self._events.receipt(message["receipt"])
            if self._leaving:
                self._close_if_quiet()
            return
        if self.state is SocketState.CLOSED:
            self.context.counts.late += 1
            delivery.settle(Outcome.LOST)
            return
        delivery.settle()
        try:
            reply = read_socket_reply(message)
        except BadReply as problem:
            self._log.warn(
                "A reply on the WebSocket {path} cannot be used: {problem}",
                path=self.path,
                problem=str(problem),
            )
            self._bad_reply(problem)
        else:
            self._act(reply)

    def deliver_shared(self, shared: SharedReply) -> None:
        """A group's message."""
        if shared.frame is not None and self.state is SocketState.OPEN:
            self.context.counts.frames_out += 1
            self.sent_bytes += len(shared.frame)
            self.socket.send_shared(shared)  # type: ignore[union-attr]
        elif shared.reply is not None:
            self._act(shared.reply)
        elif shared.error is not None:
            self._tell_unusable(shared)
            self._bad_reply(shared.error)

    def _tell_unusable(self, shared: SharedReply) -> None:
        """Log that a group's message is not for WebSockets, once for all of them."""
        if not shared.told:
            shared.told = True
            self._log.warn(
                "A message for a group cannot be used on the WebSocket {path}, nor on others: "
                "{problem}",
                path=self.path,
                problem=str(shared.error),
            )

    def _bad_reply(self, problem: BadReply) -> None:
        self.context.counts.bad_replies += 1
        if not isinstance(problem, BothPayloads):
            self.fail()

    def fail(self) -> None:
        """End the socket for a fault that is not its client's."""
        if self.state is SocketState.HANDSHAKE:
            self._refuse(500, "the site's answer cannot be used")
        else:
            self.close(SERVER_ERROR)

    def _act(self, reply: SocketReply) -> None:
        if self.state is SocketState.HANDSHAKE:
            if reply.accepts():
                self._accept(reply.subprotocol)
            elif reply.refuses():
                self._refuse(403, "the site refused the WebSocket")
                return
            else:
                return
        if self.state is not SocketState.OPEN:
            return
        socket, payload = self.socket, reply.payload
        if payload is not None and socket is not None:
            self.context.counts.frames_out += 1
            self.sent_bytes += len(payload)
            socket.send_message(payload, reply.binary)
        if reply.close is not None:
            self.close(reply.close)

    # The handshake.

    def _accept(self, subprotocol: str | None) -> None:
        upgrade, offer = self._upgrade, self._offer
        assert upgrade is not None
        assert offer is not None
        if subprotocol is not None and subprotocol not in offer.subprotocols:
            self._log.warn(
                "The consumer of the WebSocket {path} chose the subprotocol {subprotocol}, "
                "which its client does not offer; it was left out",
                path=self.path,
                subprotocol=subprotocol,
            )
            subprotocol = None
        context = self.context
        self._upgrade = self._offer = None
        socket, leftover = upgrade.hand_over(self)
        context.connections.add(self)
        context.counts.connections_open += 1
        context.counts.sockets_open += 1
        self.socket = socket
        self.state = SocketState.OPEN
        lifetime = context.limits.socket_lifetime or context.layer.group_expiry
        self.silence = Silence(context.limits, context.clock.seconds(), lifetime)
        context.timeouts.set(self, self.silence.deadline)
        socket.take_over(handshake_bytes(offer, subprotocol), leftover)
        if self._events.reads_paused:
            socket.pause_reads()
        if context.stopping:
            self.stop()

    def _refuse_busy(self) -> None:
        after = b"%d" % self.context.limits.retry_after
        self._refuse(503, "no worker can take this now", [(b"Retry-After", after)])

    def _refuse(self, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer the handshake with an error."""
        upgrade = self._upgrade
        if upgrade is None:
            return
        self.context.counts.handshakes_refused += 1
        self._gone(DROPPED)
        upgrade.refuse_upgrade(status, text, headers)

    def handshake_ended(self) -> None:
        """The client left before it was answered."""
        self._gone(DROPPED)

    # The open socket.

    def received(self, payload: bytes, binary: bool) -> None:
        """A message of the client; too late for an answer, it is dropped."""
        if self.state is not SocketState.OPEN or self._leaving:
            return
        self.context.counts.frames_in += 1
        events = self._events
        events.add(
            "websocket.receive",
            receive_message(
                events.reply_channel, self.path, payload, binary, events.order, self.request_id
            ),
        )

    def writable(self) -> None:
        """The client has read what was written."""
        self._events.advance()

    def close(self, code: int) -> None:
        """Begin to close the socket."""
        if self.state is not SocketState.OPEN or self.socket is None:
            return
        self.socket.begin_close(code)

    def closing(self) -> None:
        """The socket closes: by us, or since its client broke the protocol."""
        if self.state is SocketState.OPEN:
            self.state = SocketState.CLOSING
            self.context.timeouts.after(self, self.context.limits.close_timeout)
            if self._events.reads_paused:
                # The client's close frame stands behind what it sent before.
                self.resume_reads()

    def closed(self, code: int | None) -> None:
        """The socket is gone."""
        if self.state not in (SocketState.OPEN, SocketState.CLOSING):
            return
        context = self.context
        context.connections.discard(self)
        context.counts.connections_open -= 1
        context.counts.sockets_open -= 1
        if context.access_log is not None:
            line = f"WEBSOCKET {self.path} closed".encode()
            context.access_log.add(
                self._client,
                line,
                code or 1005,
                self.sent_bytes or None,
                request_id=self.request_id.encode("ascii"),
            )
        self._gone(code)

    def _gone(self, code: int | None) -> None:
        """The last event goes out, when those before it have."""
        if self.state is SocketState.CLOSED:
            return
        self.state = SocketState.CLOSED
        self.socket = None
        self._upgrade = self._offer = None
        self.context.timeouts.end(self)
        events = self._events
        events.end(
            disconnect_message(events.reply_channel, self.path, code, events.order, self.request_id)
        )

    # Time.

    def timed_out(self, now: float) -> None:
        """The deadline of the present state has passed."""
        match self.state:
            case SocketState.HANDSHAKE:
                self.context.counts.unanswered += 1
                self._refuse_busy()
            case SocketState.OPEN:
                self._look_after(now)
            case SocketState.CLOSING:
                self.abort()
            case SocketState.CLOSED:
                pass

    def _look_after(self, now: float) -> None:
        """Ping an open socket, or end it."""
        unread = self._events.reads_paused and not self.holds_back()
        match self.silence.judge(now, unread):
            case Verdict.EXPIRED:
                self.close(GOING_AWAY)
                return
            case Verdict.GONE:
                self.context.counts.connections_timed_out += 1
                self.abort()
                return
            case Verdict.PING if self.socket is not None:
                self.socket.ping()
            case _:
                pass
        self.context.timeouts.set(self, self.silence.deadline)

    # The server's stop.

    def stop(self) -> None:
        """
        Close, since the server is about to end: as soon as what the client has sent
        until now is answered.

        So a client knows, when it comes back, what it has to say again: all that
        has had no answer, of which nothing was handled.
        """
        self._leaving = True
        self._close_if_quiet()

    def _close_if_quiet(self) -> None:
        if not self._events.busy:
            self.close(SERVICE_RESTART)

    def close_idle(self) -> None:
        """Nothing: a socket is closed in its turn."""

    def give_up(self) -> None:
        """Tell the client, or where it has been told drop the connection."""
        match self.state:
            case SocketState.HANDSHAKE:
                self._refuse_busy()
            case SocketState.OPEN:
                self.close(SERVICE_RESTART)
            case _:
                self.abort()

    def leave(self) -> int:
        """Hand out the last event, whatever became of those before it."""
        return self._events.cut_short()

    def abort(self) -> None:
        """Drop the connection."""
        if self.socket is not None:
            self.socket.drop()
