"""
One stream of an HTTP/2 connection: a request, and the answer to it.

To its L{HTTPRequest} a stream is what a whole connection is with HTTP/1: it reads
the body, holds the deadlines, and takes the answer.

What a worker sends waits here, until the client has opened its window and the
other streams have had their turn.  While something waits, the worker's parts are
not settled, so that it sends no more than a few: a client that leaves one stream
unread costs the parts of that stream, and nobody else anything.
"""

# mypy: allow-untyped-calls
# (a request is twisted.web's, which has few types)

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hpack import HeaderTuple
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from chanserv.server import stages
from chanserv.server.body import extend_body_deadline
from chanserv.server.exchange import HTTPRequest
from chanserv.server.http2.frames import MAX_PAYLOAD
from chanserv.server.http2.heads import (
    VERSION,
    Fields,
    MalformedRequest,
    Opening,
    check_trailers,
    head_of,
    read_opening,
    response_fields,
)
from chanserv.server.http2.trunk import Trunk
from chanserv.server.requests import RequestRefused
from chanserv.server.responses import BodyFraming, Response
from chanserv.server.session import WebSocketSession
from chanserv.server.timeouts import NEVER
from chanserv.server.wire import Socket

HEAD_COST: Final = 64
"""Bytes that a head without a body counts for in the turns of the streams."""


class Turn(Enum):
    """Whose turn it is on a stream."""

    RECEIVING = "receiving"
    """The client's: its body has not come in whole."""
    HELD = "held"
    """The request waits, since its client leaves too much of the others unread."""
    ANSWERING = "answering"
    """A worker's, which has not said anything."""
    SENDING = "sending"
    """The response has begun; it is a worker's turn, or while something waits here
    the client's."""
    OVER = "over"


class Stream:
    """
    One stream; the C{channel} of its request.

    @ivar number: its number.
    @ivar turn: see L{Turn}.
    @ivar scheduled: belongs to the connection: whether its turn to send will come.
    @ivar write_paused: whether something waits to be sent.
    """

    __slots__ = (
        "_announced",
        "_complete",
        "_ended",
        "_head",
        "_parts",
        "_patience",
        "_queued",
        "_received",
        "_trunk",
        "body_chunked",
        "client",
        "context",
        "deadline",
        "number",
        "persistent",
        "request",
        "scheduled",
        "scheme",
        "server",
        "slot",
        "turn",
        "write_paused",
    )

    _log = Logger()

    deadline: float
    slot: int

    def __init__(self, trunk: Trunk, number: int) -> None:
        self._trunk = trunk
        self.number = number
        self.context = trunk.context
        self.scheme = trunk.scheme
        self.client = trunk.client
        self.server = trunk.server
        self.persistent = True
        self.body_chunked = False
        self.scheduled = False
        self.write_paused = False
        self.turn = Turn.RECEIVING
        self.request = HTTPRequest(self)
        self._ended = False  # whether the client has sent all
        self._announced: int | None = None  # bytes of the body, as the client says
        self._received = 0  # bytes of the body so far
        self._head: list[HeaderTuple] | None = None
        self._parts: deque[memoryview] = deque()
        self._queued = 0
        self._patience = self.context.limits.send_timeout  # for a client without room
        self._complete = False  # whether nothing more will be queued
        self.context.timeouts.begin(self)

    # From the client.

    def open(self, fields: Fields, ended: bool) -> None:
        """
        The head of the request is here.

        @param ended: whether it is all.
        """
        self._ended = ended
        try:
            opening = read_opening(fields, ended)
        except MalformedRequest as problem:
            self._malformed(problem)
            return
        request = self.request
        request.method, request.uri, request.clientproto = opening.method, opening.target, VERSION
        request.fields = opening.headers
        try:
            self._read_head(opening)
        except RequestRefused as refusal:
            self.refuse(refusal.status, refusal.reason)
            return
        if ended:
            self.submit()

    def _read_head(self, opening: Opening) -> None:
        limits, request = self.context.limits, self.request
        head = request.head = head_of(
            opening, max_count=limits.header_count, max_bytes=limits.header_bytes
        )
        if self._ended:
            return
        self._announced = opening.length
        self.body_chunked = opening.length is None
        if opening.length is not None and opening.length > limits.body_bytes:
            raise RequestRefused(413, "the body is too large")
        self.context.timeouts.after(self, limits.body_timeout)
        if head.expects_continue:
            self._trunk.h2.send_headers(self.number, [(b":status", b"100")])

    def receive(self, data: bytes) -> None:
        """A piece of the body is here."""
        if self.turn is Turn.RECEIVING and data:
            extend_body_deadline(self.context, self, len(data))
            self._received += len(data)
            self.request.handleContentChunk(data)

    def receive_trailers(self, fields: Fields) -> None:
        """What follows the body is here."""
        if self.turn is Turn.RECEIVING:
            try:
                check_trailers(fields)
            except MalformedRequest as problem:
                self._malformed(problem)

    def end(self) -> None:
        """The client has sent all of its request."""
        if self._ended:
            return
        self._ended = True
        if self.turn is Turn.RECEIVING and self._announced not in (None, self._received):
            # The library does not look where trailers are what ends the body.
            self._malformed(MalformedRequest("its body is of another length than it says"))
        else:
            self.submit()

    def submit(self) -> None:
        """Send the request to a worker, if it may go."""
        if self.turn is Turn.RECEIVING or self.turn is Turn.HELD:
            if self._trunk.hold(self):
                self.turn = Turn.HELD
            else:
                self.request.process()

    def _malformed(self, problem: MalformedRequest) -> None:
        self.context.counts.bad_requests += 1
        self._log.info(
            "Reset a request of {client}: {reason}", client=self.client, reason=str(problem)
        )
        self.reset(ErrorCodes.PROTOCOL_ERROR)

    # For its request.

    @property
    def body_memory(self) -> int:
        """Bytes of the body to keep in memory."""
        limits = self.context.limits
        return limits.body_part if self._trunk.is_crowded() else limits.body_memory

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that goes no further."""
        if self.turn is Turn.SENDING or self.turn is Turn.OVER:
            return
        self.context.counts.bad_requests += 1
        self._log.info(
            "Refused a request of {client}: {status}, {reason}",
            client=self.request.origin.client,
            status=status,
            reason=reason,
        )
        self.request.answer_plainly(status, reason)

    def answering(self, timeout: float) -> None:
        """The request is with a worker, for at most C{timeout} seconds."""
        self.turn = Turn.ANSWERING
        self.context.timeouts.set(self, self.context.clock.seconds() + timeout)

    def streaming(self) -> None:
        """A response begins, as L{send_head} is told next."""

    def hand_over(self, session: WebSocketSession) -> tuple[Socket, bytes]:
        """No request asks for this: there is no C{Upgrade} header in HTTP/2."""
        raise NotImplementedError

    def send_head(self, response: Response, framing: BodyFraming, version: bytes) -> None:
        """Write the head of a response, with as much of its body as is there."""
        self.turn = Turn.SENDING
        # A worker may take any time for the rest.
        self.context.timeouts.set(self, NEVER)
        # The line of HTTP/1 without its name and its end.
        self._head = response_fields(response, self.context.date_line()[6:-2])
        if data := framing.part(response.content):
            self._queue(data)
        self._trunk.schedule(self)
        self.write_paused = True
        if response.more:
            self._trunk.pump()
        # Else C{requestDone} follows, and with it all can go together.

    def send(self, data: bytes) -> None:
        """Queue C{data}, unless too much waits unread."""
        if self.turn is Turn.OVER:
            return
        limits, trunk = self.context.limits, self._trunk
        if self.write_paused and (
            self._queued + len(data) > limits.unsent_bytes
            or trunk.queued + len(data) > limits.http2_unsent_bytes
        ):
            self._overflow()
            return
        self._queue(data)
        if not self.write_paused:
            self.write_paused = True
            trunk.schedule(self)
            trunk.pump()

    def _queue(self, data: bytes) -> None:
        self._parts.append(memoryview(data))
        self._queued += len(data)
        self._trunk.queued += len(data)

    def _overflow(self) -> None:
        self.context.counts.overflows += 1
        self._log.info(
            "Reset the answer to {uri}, of which {client} left {unsent} bytes unread",
            uri=self.request.uri.decode("latin-1"),
            client=self.client,
            unsent=self._queued,
        )
        self.abort()

    def requestDone(self, request: HTTPRequest) -> None:
        """The response is all here."""
        if self.turn is Turn.OVER:
            return
        self._complete = self.write_paused = True
        self._trunk.schedule(self)
        self._trunk.pump()

    # For its connection.

    def may_go_on(self) -> bool:
        """Whether something waits to be sent, and the client has room for it."""
        if not self.write_paused:
            return False
        if self._parts and self._trunk.h2.local_flow_control_window(self.number) <= 0:
            return False
        if self.deadline != NEVER:
            self._patience = self.deadline - self.context.clock.seconds()
            self.context.timeouts.set(self, NEVER)
        return True

    def write_next(self) -> int:
        """
        Hand the next frame over, or the head and the next frame.

        @return: about how many bytes those are; 0 where the client has no room.
        """
        h2 = self._trunk.h2
        written = 0
        if self._head is not None:
            head, self._head = self._head, None
            last = self._complete and not self._parts
            h2.send_headers(self.number, head, end_stream=last)
            written = HEAD_COST
            if last:
                self._sent()
                return written
        if self._parts:
            # Clients may allow frames of 16 MB, which others would have to wait for.
            room = min(h2.local_flow_control_window(self.number), MAX_PAYLOAD)
            if room <= 0:
                self.context.timeouts.after(self, self._patience)
                return written
            written += self._write_part(h2, room)
        elif self._complete:
            h2.end_stream(self.number)
            written += HEAD_COST
        if not self._parts:
            self._sent()
        return written

    def _write_part(self, h2: H2Connection, room: int) -> int:
        part = self._parts.popleft()
        if len(part) > room:
            self._parts.appendleft(part[room:])
            part = part[:room]
        h2.send_data(self.number, part, end_stream=self._complete and not self._parts)
        self._queued -= len(part)
        self._trunk.queued -= len(part)
        # Else a byte now and then would hold all that waits for as long as one likes.
        limits = self.context.limits
        self._patience = min(limits.send_timeout, self._patience + len(part) / limits.body_rate)
        return len(part)

    def _sent(self) -> None:
        """Nothing waits any more."""
        self.write_paused = False
        self._patience = self.context.limits.send_timeout
        self.context.timeouts.set(self, NEVER)
        if not self._complete:
            self.request.transport_ready()
            return
        if not self._ended:
            # Nobody reads the rest of the request (section 8.1).
            self._trunk.h2.reset_stream(self.number, ErrorCodes.NO_ERROR)
        self._leave()

    def timed_out(self, now: float) -> None:
        """The deadline of the present turn has passed."""
        match self.turn:
            case Turn.RECEIVING:
                self.context.counts.connections_timed_out += 1
                self.refuse(408, "the request took too long")
            case Turn.ANSWERING:
                self.request.timed_out()
            case Turn.SENDING:
                self.context.counts.connections_timed_out += 1
                self.reset(ErrorCodes.CANCEL)
            case _:
                pass

    # Its end.

    def give_up(self) -> None:
        """The server ends: answer 503 where nothing has been answered yet."""
        if self.request.stage is stages.WAITING:
            self.request.timed_out()
        elif self.turn is not Turn.SENDING:
            self.reset(ErrorCodes.REFUSED_STREAM)
        elif not self._complete:
            self.abort()

    def abort(self) -> None:
        """End the answer where it is: the client sees that it is not whole."""
        self.reset(ErrorCodes.INTERNAL_ERROR)

    def reset(self, code: ErrorCodes) -> None:
        """End the stream now."""
        if self.turn is Turn.OVER:
            return
        self._trunk.h2.reset_stream(self.number, code)
        self.drop()
        self._trunk.pump()

    def drop(self) -> None:
        """The stream is no more: its client has reset it, or the connection is lost."""
        if self.turn is not Turn.OVER:
            self._leave()
            self.request.connectionLost(connectionDone)

    def _leave(self) -> None:
        self.turn = Turn.OVER
        self._parts.clear()
        self._head = None
        self._trunk.queued -= self._queued
        self._queued = 0
        self.write_paused = False
        self.context.timeouts.end(self)
        self._trunk.left(self)
