"""
The body of a request: how it is kept while it comes in, and how the rest of a
large one goes to the worker that reads it.

A body is kept in memory up to a bound and in an unnamed file from there on.
It is sent when it has all arrived, so that no worker waits for a slow client.
The part that does not fit the request message follows over a channel that only
that request's worker reads, a window of parts at a time: the next part when
the receipt of one comes back, so that neither side ever holds a whole body in
memory.

Source: the ASGI 1 HTTP message format, "Request Body Chunk".
"""

from __future__ import annotations

from enum import Enum
from tempfile import TemporaryFile
from typing import IO

from twisted.internet.interfaces import IDelayedCall

from chanserv.errors import ChannelFull, ChannelLayerError
from chanserv.messages import Delivery, Outcome, SealedMessage
from chanserv.server.context import ServerContext
from chanserv.server.replies import Recipient
from chanserv.server.timeouts import Timed


class Spool:
    """
    A body as it comes in.

    @ivar length: bytes so far.
    """

    __slots__ = ("_file", "_held", "_memory", "length")

    def __init__(self, memory: int) -> None:
        """@param memory: bytes to keep in memory."""
        self._memory = memory
        # Not a list of pieces: a client may send them byte by byte.
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self.length = 0

    def write(self, data: bytes) -> None:
        """
        Add C{data}.

        @raise OSError: the disk is full.
        """
        self.length += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._held += data
        if self.length > self._memory:
            self._file = TemporaryFile(prefix="chanserv-body-")  # noqa: SIM115 - closed by close()
            self._file.write(self._held)
            self._held = bytearray()

    def whole(self) -> bytes | None:
        """The body, where memory was enough; else L{None}."""
        return None if self._file is not None else bytes(self._held)

    def detach(self) -> IO[bytes]:
        """Hand over the file, at its start.  The body must be in one."""
        file, self._file = self._file, None
        assert file is not None
        file.seek(0)
        return file

    def close(self) -> None:
        """Let go of everything."""
        self._held = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None


def extend_body_deadline(context: ServerContext, reader: Timed, received: int) -> None:
    """
    Grant C{reader} the time that C{received} bytes may take, but never more than
    C{body_timeout} from now: neither silence nor a trickle lasts longer.
    """
    limits = context.limits
    latest = context.clock.seconds() + limits.body_timeout
    context.timeouts.set(reader, min(latest, reader.deadline + received / limits.body_rate))


class Feed(Enum):
    """What a L{BodyFeed} does."""

    READY = "ready"
    """The next part can go as soon as the window has room for it."""
    SENDING = "sending"
    """A part is on its way to the layer.  The next one waits for the layer's
    word, so that no part overtakes one that has to be sent again."""
    WAITING = "waiting"
    """The channel was full: the same part goes out again shortly."""
    ENDED = "ended"


class BodyFeed(Recipient):
    """
    Sends the rest of one body.

    It is one of the server's recipients: receipts come to its own channel.
    """

    __slots__ = (
        "_channel",
        "_context",
        "_file",
        "_receipts",
        "_remaining",
        "_retry",
        "_unread",
        "state",
    )

    def __init__(
        self, context: ServerContext, file: IO[bytes], remaining: int, channel: str, receipts: str
    ) -> None:
        """
        @param file: stands where the rest begins; it is closed at the end.
        @param remaining: bytes of the rest.
        @param channel: the single-reader channel to send to.
        @param receipts: the channel for receipts.  Where the layer gives none,
            only the capacity of C{channel} holds parts back.
        """
        self._context = context
        self._file = file
        self._remaining = remaining
        self._channel = channel
        self._receipts = receipts
        self._unread = 0
        self._retry: IDelayedCall | None = None
        self.state = Feed.READY
        context.recipients[receipts] = self

    def start(self) -> None:
        """Begin to send."""
        self._proceed()

    def deliver(self, delivery: Delivery) -> None:
        """A receipt has come: its reader has read a part."""
        delivery.settle()
        if self.state is Feed.ENDED:
            return
        if delivery.message.get("receipt") != Outcome.SETTLED:
            # The worker is gone, or has never begun to read.
            self._end()
            return
        self._unread -= 1
        self._proceed()

    def abandon(self, *, tell: bool) -> None:
        """
        Send no more, since the request has ended.

        @param tell: whether its client left, so that the worker may be waiting
            for the next part, and is told that there is none.
        """
        if self.state is Feed.ENDED:
            return
        if tell and (self._remaining or self.state is not Feed.READY):
            self._context.outlet.send(
                self._channel, SealedMessage({"closed": True, "more_content": False}, 32)
            )
        self._end()

    def _proceed(self) -> None:
        if self.state is not Feed.READY:
            return
        if self._remaining:
            if self._unread < self._context.limits.body_window:
                self._send(self._next_part())
        elif self._unread <= 0:
            self._end()

    def _next_part(self) -> SealedMessage:
        content = self._file.read(min(self._remaining, self._context.limits.body_part))
        self._remaining -= len(content)
        return SealedMessage(
            {"content": content, "more_content": self._remaining > 0}, len(content) + 32
        )

    def _send(self, part: SealedMessage) -> None:
        self.state = Feed.SENDING

        def sent(error: ChannelLayerError | None) -> None:
            if self.state is Feed.ENDED:
                return
            if isinstance(error, ChannelFull):
                self._wait(part)
                return
            if error is not None:
                self._end()
                return
            self.state = Feed.READY
            if self._context.settles:
                self._unread += 1
            self._proceed()

        receipt = self._receipts if self._context.settles else None
        self._context.outlet.send(self._channel, part, receipt, sent)

    def _wait(self, part: SealedMessage) -> None:
        """Keep C{part} for a moment: the spec's "wait and try again"."""
        self.state = Feed.WAITING

        def again() -> None:
            self._retry = None
            self._send(part)

        self._retry = self._context.clock.callLater(self._context.limits.body_retry, again)

    def _end(self) -> None:
        self.state = Feed.ENDED
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._file.close()
        self._context.recipients.pop(self._receipts, None)

    def leave(self) -> int:
        """The server ends."""
        self.abandon(tell=True)
        return 0

    def fail(self) -> None:
        """A receipt could not be taken."""
        self.abandon(tell=True)


def split_body(
    context: ServerContext, message: SealedMessage, spool: Spool, reply_channel: str
) -> BodyFeed:
    """
    Put the first part of a body that is in a file into its request's message.

    @return: the feed of the rest, yet to be started.
    """
    file = spool.detach()
    first = file.read(context.limits.body_part)
    channel = context.new_body_channel()
    message["body"] = first
    message["body_channel"] = channel
    message.size += len(first) + len(channel)
    return BodyFeed(context, file, spool.length - len(first), channel, reply_channel + ".b")
