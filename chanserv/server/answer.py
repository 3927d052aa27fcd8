"""
The response to one request, as it goes out to the client.

How much of it may wait for a slow client is not decided by what its worker
sends: the worker goes on when parts are settled, and that is when the client
has read what was written before.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from chanserv.messages import Delivery, Outcome
from chanserv.server.context import ServerContext
from chanserv.server.responses import BodyFraming, Response, settle_length


class Sink(Protocol):
    """
    Where the answer to one request goes: with HTTP/1 the connection, with HTTP/2
    one of its streams.

    @ivar persistent: whether the connection stays open after this answer.
    @ivar write_paused: whether its client does not read what was written.
    """

    persistent: bool
    write_paused: bool

    def send_head(self, response: Response, framing: BodyFraming, version: bytes) -> None:
        """
        Write the head of C{response}, and as much of its body as is there.

        @param framing: how its body goes out.
        @param version: of the request: C{HTTP/1.0} and so on.
        """

    def send(self, data: bytes) -> None:
        """Write C{data}, or where too much is unread end the answer."""

    def abort(self) -> None:
        """End the answer now, and with it, where that cannot be told otherwise, the connection."""


class Answer:
    """
    One response.

    @ivar status: its status.
    """

    __slots__ = (
        "_context",
        "_framing",
        "_left",
        "_sink",
        "_unsettled",
        "_uri",
        "_version",
        "status",
    )

    _log = Logger()

    def __init__(
        self,
        context: ServerContext,
        sink: Sink,
        response: Response,
        method: bytes,
        uri: bytes,
        version: bytes,
    ) -> None:
        """
        Prepare C{response}.

        @param method: of the request, as the others.
        @param uri: its target.
        @param version: C{HTTP/1.0}, C{HTTP/1.1} or C{HTTP/2.0}.
        """
        self.status = response.status
        self._context = context
        self._sink = sink
        self._uri = uri
        self._version = version
        settle_length(response, method)
        framing = self._framing = BodyFraming(response, method, version)
        if framing.until_close:
            sink.persistent = False
        self._unsettled: list[Delivery] = []
        self._left = False

    @property
    def sent(self) -> int | None:
        """Bytes of the body that have been written; L{None} where there are none."""
        return self._framing.sent or None

    def begin(self, response: Response) -> None:
        """Write the head, with as much of the body as is there."""
        if response.refused:
            self._log_refused(response)
        self._context.counts.responses += 1
        self._sink.send_head(response, self._framing, self._version)

    def add(self, content: bytes) -> bool:
        """
        Write the next part of the body.

        @return: whether there was anything to write.
        """
        framing = self._framing
        data = framing.part(content)
        if data:
            self._sink.send(data)
        if framing.cut:
            framing.cut = False
            self._log.warn(
                "The response to {uri} is longer than its Content-Length, and was cut",
                uri=self._uri.decode("latin-1"),
            )
        return bool(data)

    def end(self) -> bool:
        """
        Write what ends the body.

        @return: whether it is whole.  If not, the connection is ended, which is
            all that tells the client.
        """
        framing = self._framing
        if framing.missing:
            self._log.warn(
                "The response to {uri} ended {missing} bytes short of its Content-Length",
                uri=self._uri.decode("latin-1"),
                missing=framing.missing,
            )
            self._sink.abort()
            return False
        end = framing.end()
        if end:
            self._sink.send(end)
        return True

    def settle(self, delivery: Delivery) -> None:
        """
        Let the next part come, or where the client does not read, do so when
        it has: the worker sends no more than a few unsettled parts.
        """
        if self._left:
            delivery.settle(Outcome.LOST)  # the client left, or read too little
        elif self._sink.write_paused:
            self._unsettled.append(delivery)
        else:
            delivery.settle()

    def transport_ready(self) -> None:
        """The client has read what was written: let more come."""
        self._settle_all(Outcome.SETTLED)

    def leave(self, outcome: Outcome) -> None:
        """Write no more; C{outcome} is that of the parts not yet settled."""
        self._left = True
        self._settle_all(outcome)

    def _settle_all(self, outcome: Outcome) -> None:
        if not self._unsettled:
            return
        unsettled, self._unsettled = self._unsettled, []
        for delivery in unsettled:
            delivery.settle(outcome)

    def _log_refused(self, response: Response) -> None:
        self._context.counts.headers_refused += len(response.refused)
        self._log.warn(
            "Headers of the response to {uri} were left out or mended: {refused}",
            uri=self._uri.decode("latin-1"),
            refused="; ".join(response.refused),
        )
