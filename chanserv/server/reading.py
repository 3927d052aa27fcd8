"""
Reading HTTP/1 requests: C{twisted.web}'s parser, with the bounds it lacks.

Headers are counted and measured as they come, and so is the body; a request is
refused as soon as it is clear that it must be.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

from typing import Any

from twisted.web import http

from chanserv.server import phases
from chanserv.server.body import extend_body_deadline
from chanserv.server.context import ServerContext
from chanserv.server.handshake import wants_websocket
from chanserv.server.requests import RequestRefused, header_field, read_head


class RequestReader(http.HTTPChannel):
    """
    The reading half of a connection, in the phases up to the answer.

    @ivar phase: where the connection is.
    @ivar body_chunked: whether the body of the last request came in chunks.
    """

    deadline: float
    slot: int
    transport: Any
    body_chunked = False

    def __init__(self, context: ServerContext) -> None:
        super().__init__()
        self.context = context
        self.phase = phases.NEW
        self.maxHeaders = context.limits.header_count
        self.totalHeadersSize = self.MAX_LENGTH = context.limits.header_bytes
        self._optimisticEagerReadSize = context.limits.ahead_bytes
        context.timeouts.begin(self)

    @property
    def body_memory(self) -> int:
        """Bytes of a body to keep in memory."""
        return self.context.limits.body_memory

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that goes no further, and close."""
        raise NotImplementedError

    def timed_out(self, now: float) -> None:
        """The deadline of the present phase has passed."""
        raise NotImplementedError

    def enter_head(self) -> None:
        """The first bytes of a request are here."""
        self.phase = phases.HEAD
        self.context.timeouts.after(self, self.context.limits.header_timeout)

    def headerReceived(self, line: bytes) -> bool:
        """
        One header has come.

        @return: whether to go on.
        """
        try:
            field = header_field(line)
            self._note_framing(*field)
        except RequestRefused as refusal:
            self.refuse(refusal.status, refusal.reason)
            return False
        if self.phase is not phases.HEAD:
            return False
        fields = self.requests[-1].fields
        fields.append(field)
        if len(fields) > self.maxHeaders:
            self.refuse(431, "too many headers")
            return False
        return True

    def _note_framing(self, name: bytes, value: bytes) -> None:
        """Set up the reading of the body where this header is about it."""
        if name == b"content-length":
            if value.isdigit() and (len(value) > 18 or int(value) > self.context.limits.body_bytes):
                raise RequestRefused(413, "the body is too large")
            self._maybeChooseTransferDecoder(b"Content-Length", value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise RequestRefused(501, "only chunked transfer encoding is known here")
            self._maybeChooseTransferDecoder(b"Transfer-Encoding", value)

    def allHeadersReceived(self) -> None:
        """The head of a request is complete."""
        request = self.requests[-1]
        try:
            head = request.head = read_head(self._version, request.fields)
            if wants_websocket(head) and self.length != 0:
                raise RequestRefused(400, "a WebSocket handshake has no body")
        except RequestRefused as refusal:
            self.refuse(refusal.status, refusal.reason)
            return
        self.persistent = head.persistent
        self.body_chunked = self.length is None
        if self.length != 0:
            self.phase = phases.BODY
            limits = self.context.limits
            # Leave the deadline of the head behind.
            self.context.timeouts.after(self, limits.body_timeout)
            if head.expects_continue:
                self._send100Continue()

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body, or of requests sent ahead."""
        if self.phase is phases.BODY:
            extend_body_deadline(self.context, self, len(data))
        elif self.phase is not phases.ANSWERING:
            return
        super().rawDataReceived(data)
        if len(self._dataBuffer) > 1:
            # Twisted adds up the lengths of all pieces for each new one.
            self._dataBuffer = [b"".join(self._dataBuffer)]

    def allContentReceived(self) -> None:
        """The request is complete."""
        if self.phase is phases.HEAD or self.phase is phases.BODY:
            super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        """The request line or a header is longer than all may be."""
        if self.requests:
            self.refuse(431, "the headers are too large")
        else:
            self.refuse(414, "the request line is too long")

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's parser gives up."""
        if self._receivedHeaderSize > self.totalHeadersSize:
            self.refuse(431, "the headers are too large")
        else:
            self.refuse(400, "the request cannot be understood")
