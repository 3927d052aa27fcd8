"""
One HTTP request and its response: from the layer's side.

Each request has a reply channel of its own, so that a late reply to one never
answers the next on the same connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from chanserv.errors import ChannelLayerError, MessageTooLarge
from chanserv.formats import Address
from chanserv.messages import Delivery, Outcome, SealedMessage
from chanserv.server import stages
from chanserv.server.answer import Answer, Sink
from chanserv.server.body import BodyFeed, Spool, split_body
from chanserv.server.context import ServerContext
from chanserv.server.handshake import read_offer, wants_websocket
from chanserv.server.proxies import Origin
from chanserv.server.replies import Recipient
from chanserv.server.requests import (
    Head,
    RequestRefused,
    request_message,
    split_target,
    take_host_of_target,
)
from chanserv.server.responses import (
    BadReply,
    Response,
    plain_response,
    read_chunk,
    read_response,
)
from chanserv.server.session import WebSocketSession
from chanserv.server.timeouts import NEVER
from chanserv.server.wire import Socket

CLIENT_LEFT = 499
"""What the access log says of a request whose client left before its answer.
nginx introduced it; no client ever sees it."""


class Connection(Sink, Protocol):
    """
    What a request asks of its connection.

    @ivar scheme: C{"http"} or C{"https"}.
    @ivar client: the client's C{[host, port]}, or L{None}.
    @ivar server: likewise for this end.
    @ivar body_chunked: whether the body of the request came with no length.
    @ivar body_memory: bytes of a body to keep in memory.
    """

    context: ServerContext
    scheme: str
    client: Address | None
    server: Address | None
    body_chunked: bool

    @property
    def body_memory(self) -> int:
        """Bytes of the body of the request to keep in memory."""

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that goes no further, and close."""

    def answering(self, timeout: float) -> None:
        """The request is with a worker, for at most C{timeout} seconds."""

    def streaming(self) -> None:
        """A response has begun; its worker may take any time for the rest."""

    def requestDone(self, request: HTTPRequest) -> None:
        """The response is written."""

    def hand_over(self, session: WebSocketSession) -> tuple[Socket, bytes]:
        """Become a socket of C{session}; as L{Upgrade.hand_over}."""


class HTTPRequest(http.Request, Recipient):
    """
    One request and its response.

    Of its base class little is used beyond what C{HTTPChannel} calls, which
    keeps a request cheap: no parsed arguments, no cookies, no second set of
    headers.

    @ivar stage: see L{stages.Stage}.
    @ivar fields: the headers as they came, in order, with lower-case names.
    @ivar head: what they say, when they are complete.
    @ivar path_text: the decoded path.
    @ivar origin: where it comes from: its connection, or what proxies say.
    @ivar request_id: its id, or empty where requests have none.
    """

    _log = Logger()

    head: Head | None = None
    path_text = ""
    request_id = b""
    _reply_channel = ""
    _spool: Spool | None = None
    _feed: BodyFeed | None = None
    _session: WebSocketSession | None = None
    _answer: Answer | None = None
    _known = False  # whether the layer has taken it

    def __init__(self, channel: Connection, queued: object = False) -> None:
        self.channel: Any = channel
        self.context: ServerContext = channel.context
        self.origin: Origin = channel
        self.fields: list[tuple[bytes, bytes]] = []
        self.stage = stages.RECEIVING

    # What the channel calls.

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.stage is not stages.RECEIVING:
            return
        limits = self.context.limits
        if self._spool is None:
            self._spool = Spool(self.channel.body_memory)
        if self._spool.length + len(data) > limits.body_bytes:
            self.channel.refuse(413, "the body is too large")
            return
        try:
            self._spool.write(data)
        except OSError as error:
            self._log.warn(
                "The body of a request cannot be kept: {error}. Bodies over {memory} bytes "
                "go to the directory for temporary files (TMPDIR): is there room?",
                error=error,
                memory=self.channel.body_memory,
            )
            self.channel.refuse(500, "the body cannot be kept")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request is here."""
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def process(self) -> None:
        """Send the request to the layer, or begin a WebSocket."""
        head = self.head
        assert head is not None
        try:
            self.path_text, query = split_target(self.method, self.uri)
            if not self.uri.startswith(b"/"):
                take_host_of_target(head, self.uri)
            self._identify(head)
            if wants_websocket(head):
                self._upgrade(head, query)
            else:
                self._send(head, query)
        except RequestRefused as refusal:
            self.channel.refuse(refusal.status, refusal.reason)

    def _identify(self, head: Head) -> None:
        """See where the request comes from, and what it is called in logs."""
        context = self.context
        if context.proxies is not None:
            self.origin = context.proxies.origin(self.channel, head.headers)
        if context.request_ids is not None:
            self.request_id = context.request_ids.identify(head.headers)

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone, or need not be answered any more."""
        if self.stage is stages.DONE:
            return
        if self.stage is not stages.RECEIVING:
            self._log_access()
        self._end(Outcome.LOST)
        self.channel = None

    # To the layer.

    def _send(self, head: Head, query: bytes) -> None:
        context, channel, spool = self.context, self.channel, self._spool
        origin = self.origin
        reply_channel = self._reply_channel = context.new_reply_channel()
        body = b"" if spool is None else spool.whole()
        length = None
        if channel.body_chunked:
            length = 0 if spool is None else spool.length
        message = request_message(
            head,
            reply_channel=reply_channel,
            method=self.method,
            path=self.path_text,
            query=query,
            scheme=origin.scheme,
            root_path=context.root_path,
            body=b"" if body is None else body,
            chunked_length=length,
            client=origin.client,
            server=origin.server,
        )
        if body is None and spool is not None:
            self._feed = split_body(context, message, spool, reply_channel)
        self._spool = None
        context.recipients[reply_channel] = self
        receipt = reply_channel if context.settles else None
        context.outlet.send(
            "http.request", message, receipt, self._sent, patient=True, name=reply_channel
        )
        context.counts.requests += 1
        self.stage = stages.WAITING
        channel.answering(context.limits.http_timeout + context.outlet.wait)

    def _sent(self, error: ChannelLayerError | None) -> None:
        """The layer has taken the request, or not."""
        if error is None:
            self._known = True
            if self._feed is not None:
                self._feed.start()
            if self.stage is stages.DONE:
                self._tell_disconnect()  # its client left before this word
            return
        self.context.counts.refused(error)
        if self.stage is stages.WAITING:
            if isinstance(error, MessageTooLarge):
                self.answer_plainly(413, "the request is too large")
            else:
                self._answer_busy()

    # From the layer.

    def deliver(self, delivery: Delivery) -> None:
        """A worker's reply, or the receipt of the request."""
        message = delivery.message
        if "receipt" in message:
            delivery.settle()
            self._outcome(message["receipt"])
            return
        try:
            match self.stage:
                case stages.WAITING:
                    self._begin(read_response(message), delivery)
                case stages.STREAMING:
                    self._continue(*read_chunk(message), delivery)
                case _:
                    delivery.settle(Outcome.LOST)
        except BadReply as problem:
            delivery.settle(Outcome.LOST)
            self.context.counts.bad_replies += 1
            self._log.warn(
                "A reply to {method} {uri} cannot be used: {problem}",
                method=self.method.decode("latin-1"),
                uri=self.uri.decode("latin-1"),
                problem=str(problem),
            )
            self.fail()

    def _outcome(self, outcome: object) -> None:
        self.context.losses.note(outcome)
        if outcome == Outcome.EXPIRED:
            if self.stage is stages.WAITING:
                self._answer_busy()
        elif outcome == Outcome.LOST:
            if self.stage is stages.WAITING:
                self.answer_plainly(502, "the worker went away")
            elif self.stage is stages.STREAMING:
                self.channel.abort()

    def fail(self) -> None:
        """Answer 500, or where that is too late end the connection."""
        if self.stage is stages.WAITING:
            self.answer_plainly(500, "the site's answer cannot be used")
        elif self.stage is stages.STREAMING:
            self.channel.abort()

    def timed_out(self) -> None:
        """No worker has answered in time, or the client does not read."""
        if self.stage is stages.WAITING:
            self.context.counts.unanswered += 1
            self._answer_busy()
        elif self.stage is stages.STREAMING:
            self.context.counts.connections_timed_out += 1
            self.channel.abort()
        elif self._session is not None:
            self._session.give_up()

    # To the client.

    def answer_plainly(
        self, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Give an answer of the server's own."""
        self._begin(plain_response(status, text, headers), None)

    def _answer_busy(self) -> None:
        """Answer that no worker is free, and when to come back."""
        after = b"%d" % self.context.limits.retry_after
        self.answer_plainly(503, "no worker can take this now", [(b"Retry-After", after)])

    def _begin(self, response: Response, delivery: Delivery | None) -> None:
        """Write the head of the response, with as much of its body as is there."""
        self.context.sign(response, self.request_id)
        answer = self._answer = Answer(
            self.context, self.channel, response, self.method, self.uri, self.clientproto
        )
        if response.more:
            self.stage = stages.STREAMING
            self.channel.streaming()
        answer.begin(response)
        if not response.more:
            if delivery is not None:
                delivery.settle()
            self._finish()
        elif delivery is not None:
            answer.settle(delivery)

    def _continue(self, content: bytes, more: bool, delivery: Delivery) -> None:
        """Write the next part of the response."""
        answer = self._answer
        assert answer is not None
        written = answer.add(content)
        if more and written:
            answer.settle(delivery)
            return
        delivery.settle()
        if not more and self.stage is stages.STREAMING and answer.end():
            self._finish()

    def transport_ready(self) -> None:
        """The client has read what was written: let more come."""
        if self._answer is not None:
            self._answer.transport_ready()

    # Its end.

    def _finish(self) -> None:
        """The response is written."""
        if self.stage is stages.DONE:
            return
        self._log_access()
        channel = self.channel
        self._end(Outcome.SETTLED)
        self.channel = None
        channel.requestDone(self)

    def _end(self, outcome: Outcome) -> None:
        """Leave the server; C{outcome} is that of the parts not yet settled."""
        self.stage = stages.DONE
        if self._reply_channel:
            self.context.recipients.pop(self._reply_channel, None)
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.abandon(tell=outcome is Outcome.LOST)
        session, self._session = self._session, None
        if session is not None:
            session.handshake_ended()
        if self._known:
            self._tell_disconnect()
        elif self._reply_channel:
            self.context.outlet.withdraw(self._reply_channel)
        if self._answer is not None:
            self._answer.leave(outcome)

    def _tell_disconnect(self) -> None:
        """Tell the site, once, that this request is over."""
        self._known = False
        name, path = self._reply_channel, self.path_text
        message = {"reply_channel": name, "path": path}
        if self.request_id:
            message["request_id"] = self.request_id.decode("ascii")
        self.context.outlet.forget(name)
        self.context.farewells.say(
            "http.disconnect",
            SealedMessage(message, 40 + len(name) + len(path) + len(self.request_id)),
            self._disconnect_sent,
        )

    def _disconnect_sent(self, error: ChannelLayerError | None) -> None:
        if error is not None:
            self.context.counts.disconnects_dropped += 1

    def _log_access(self, unanswered: int = CLIENT_LEFT) -> None:
        """Log the answer, or where there is none the status C{unanswered}."""
        log = self.context.access_log
        if log is None:
            return
        referer = agent = b"-"
        for name, value in self.fields:
            if name == b"user-agent":
                agent = value
            elif name == b"referer":
                referer = value
        client, answer = self.origin.client, self._answer
        log.add(
            client[0] if client else "-",
            b"%b %b %b" % (self.method, self.uri, self.clientproto),
            unanswered if answer is None else answer.status,
            None if answer is None else answer.sent,
            referer,
            agent,
            self.request_id,
        )

    # WebSocket.

    def _upgrade(self, head: Head, query: bytes) -> None:
        offer = read_offer(self.method, head)
        self.stage = stages.UPGRADING
        session = self._session = WebSocketSession(self.context, self, offer)
        self.channel.answering(NEVER)
        session.start(head, query)

    def refuse_upgrade(
        self, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer a handshake with an error, and close."""
        self._session = None
        if self.stage is stages.UPGRADING:
            self.channel.persistent = False
            self.answer_plainly(status, text, headers)

    def hand_over(self, session: WebSocketSession) -> tuple[Socket, bytes]:
        """Give the connection to a socket of C{session}; as L{Upgrade.hand_over}."""
        self._log_access(101)
        socket, leftover = self.channel.hand_over(session)
        self.stage = stages.DONE
        self.channel = self._session = None
        return socket, leftover
