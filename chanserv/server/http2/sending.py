"""
The sending half of an HTTP/2 connection.

Sending goes by turns: each stream that has something to send, and a window to
send it, sends one frame, and goes to the end of the row.  It goes on while the
transport takes it; what it does not take stays with the streams, so that an
answer that is ready does not stand behind the megabytes of another.
"""

# mypy: allow-untyped-calls
# (Twisted's transports have few types)

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Final

from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from chanserv.formats import Address
from chanserv.server.context import ServerContext
from chanserv.server.http2.budget import SENT_A_TOKEN, Budget
from chanserv.server.http2.machine import make_machine
from chanserv.server.http2.standing import ENDING, Standing
from chanserv.server.http2.stream import Stream
from chanserv.sockets import write_promptly

FULL_BODIES: Final = 16
"""Bodies on one connection that come in at the same time with all the memory that
a body may take.  Those of further ones go to disk from one part on."""

HOLD_AT: Final = 4
"""The part of the bytes that may wait on a connection, one in so many, from which
on its further requests wait too."""

WRITE_AT: Final = 65_536
"""Bytes that are written together: as many as a transport takes before it is
full."""


class StreamSender(Protocol):
    """
    What streams ask of their connection, as L{Trunk} has it.

    @ivar h2: the state of the protocol.
    @ivar scheme: C{"http"} or C{"https"}.
    @ivar client: the client's C{[host, port]}, or L{None}.
    @ivar server: likewise for this end.
    @ivar streams: those that are not over, by their numbers.
    @ivar queued: bytes of all streams that wait to be sent.
    @ivar standing: see L{Standing}.
    @ivar control: what the client may send that brings nothing forward.
    """

    _log = Logger()

    transport: Any

    def __init__(
        self,
        context: ServerContext,
        *,
        scheme: str,
        client: Address | None,
        server: Address | None,
    ) -> None:
        limits = context.limits
        self.context = context
        self.scheme = scheme
        self.client = client
        self.server = server
        self.h2 = make_machine(limits)
        self.streams: dict[int, Stream] = {}
        self.queued = 0
        self.standing = Standing.OPEN
        self.control = Budget(limits.http2_control_frames, context.clock.seconds())
        self._row: deque[Stream] = deque()
        self._held: deque[Stream] = deque()
        self._write_paused = False
        self._pumping = False
        self._batch = -1

    def abort(self) -> None:
        """Drop the connection, with what has not been sent."""
        raise NotImplementedError

    def pumped(self) -> None:
        """All that could be sent has been."""
        raise NotImplementedError

    def schedule(self, stream: Stream) -> None:
        """C{stream} has something to send."""
        if not stream.scheduled:
            stream.scheduled = True
            self._row.append(stream)

    def widened(self, number: int) -> None:
        """There is more room for a stream, or with 0 for all."""
        if not number:
            for stream in self.streams.values():
                if stream.may_go_on():
                    self.schedule(stream)
        elif (one := self.streams.get(number)) and one.may_go_on():
            self.schedule(one)

    def pump(self) -> None:
        """Send what can be sent, and write what is to be written."""
        if self._pumping or self.standing in ENDING:
            return
        self._pumping = True
        try:
            self._take_turns()
            while self._held and self._release():
                self._take_turns()
            self.flush()
        except Exception:
            self._log.failure("A stream could not be written")
            self.abort()
        finally:
            self._pumping = False
        self.pumped()

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
                self.control.earn(unwritten / SENT_A_TOKEN)
                unwritten = 0
                self.flush()
        self.control.earn(unwritten / SENT_A_TOKEN)

    def flush(self) -> None:
        """Write all that the library has made."""
        data = self.h2.data_to_send()
        if not data or self.standing in ENDING:
            return
        # As with sockets: of what one batch brings, the first goes at once.
        batch = self.context.batch
        if self._batch == batch:
            self.transport.write(data)
        else:
            self._batch = batch
            write_promptly(self.transport, data)

    # For its streams.

    def left(self, stream: Stream) -> None:
        """
        C{stream} is over.

        It is struck out wherever it waits: while its client reads nothing no turn
        comes that would, and it may open others and take them back all the time.
        """
        self.streams.pop(stream.number, None)
        if stream.scheduled:
            stream.scheduled = False
            with suppress(ValueError):
                self._row.remove(stream)
        if self._held:
            with suppress(ValueError):
                self._held.remove(stream)

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
