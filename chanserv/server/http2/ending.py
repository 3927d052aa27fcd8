"""
How HTTP/2 connections end.

Where the server leaves, its client is told twice: first that it should open no more
streams, and when it has heard that, which were the last that are answered.  Where
the client leaves, or breaks the protocol, once.  After its last word the server
closes its side and throws away what comes, until the client closes the other.
"""

# mypy: allow-untyped-calls
# (Twisted's transports have few types)

from __future__ import annotations

from typing import Final

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from twisted.logger import Logger

from chanserv.server.http2.sending import StreamSender
from chanserv.server.http2.standing import ENDING, Standing

LAST_POSSIBLE: Final = 2**31 - 1
"""The number of the last stream that a client could ever open."""

ROUND_TRIP: Final = b"chanserv"
"""What is in a ping that is sent with the word that the server leaves."""


class EndingConnection(StreamSender):
    """
    What a connection does about its end.
    """

    _log = Logger()

    lasting = False
    deadline: float
    slot: int
    _last_stream = 0

    def timed_out(self, now: float) -> None:
        """The deadline of what the connection waits for has passed."""
        raise NotImplementedError

    def _watch(self) -> None:
        """Set the deadline of what the connection waits for."""
        raise NotImplementedError

    def pumped(self) -> None:
        """All that could be sent has been."""
        if self.standing is Standing.LEAVING and not self.streams:
            self._close()

    def _break(self, code: ErrorCodes | int, reason: str) -> None:
        """Tell the client what is wrong, and end the connection."""
        if self.standing in ENDING:
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
        self.flush()
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
        self.h2.ping(ROUND_TRIP)
        self.flush()
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
        if self.standing in ENDING or not self.streams:
            self.abort()
            return
        for stream in list(self.streams.values()):
            stream.give_up()
        self.pump()
        self._drop_streams()
        self._close()

    def _close(self, code: ErrorCodes | int = ErrorCodes.NO_ERROR) -> None:
        """Close this side; throw away what comes, until the other closes too."""
        if self.standing in ENDING:
            return
        if code or self.standing is not Standing.LEAVING:
            self._say_goaway(self._last_stream, code)
        self.flush()
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
