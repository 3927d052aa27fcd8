"""
What comes back from workers, and who takes it.

A reply to one connection goes to its L{Recipient} as it is.  One to a group is
read and encoded once, as a L{SharedReply}, however many sockets get it.
"""

# mypy: allow-untyped-calls
# (Autobahn's classes have few types)

from __future__ import annotations

from autobahn.websocket.protocol import PreparedMessage

from chanserv.messages import Delivery, SealedMessage
from chanserv.server.handshake import SocketReply, read_socket_reply
from chanserv.server.responses import BadReply


def encode_frame(payload: bytes, binary: bool) -> bytes:
    """The one frame of a server's message (RFC 6455, section 5.2)."""
    frame: bytes = PreparedMessage(payload, binary, False, True).payloadHybi
    return frame


class SharedReply:
    """
    One message for many WebSockets, read and encoded once.

    @ivar message: the message.
    @ivar reply: what it says, or L{None}.
    @ivar error: why it cannot be used, or L{None}.
    @ivar frame: what an open socket without compression gets, where that is
        all there is to do for it; else L{None}.
    @ivar told: whether the log says that it cannot be used.
    """

    __slots__ = ("error", "frame", "message", "reply", "told")

    def __init__(self, message: SealedMessage) -> None:
        self.message = message
        self.reply: SocketReply | None = None
        self.error: BadReply | None = None
        self.frame: bytes | None = None
        self.told = False
        try:
            self.reply = read_socket_reply(message)
        except BadReply as error:
            self.error = error
        else:
            if self.reply.payload is not None and self.reply.close is None:
                self.frame = encode_frame(self.reply.payload, self.reply.binary)


class Recipient:
    """Something with a reply channel: a request, a WebSocket, a body."""

    __slots__ = ()

    def deliver(self, delivery: Delivery) -> None:
        """Take a message for this recipient alone, and settle it."""
        raise NotImplementedError

    def deliver_shared(self, shared: SharedReply) -> None:
        """
        Take a message for many recipients.

        WebSockets have a quicker way; others are rarely in groups.
        """
        self.deliver(Delivery(("",), shared.message))

    def leave(self) -> int:
        """
        The server ends now: say what others are still to hear of this.

        @return: how many events are dropped for it.
        """
        return 0

    def fail(self) -> None:
        """A message could not be taken, by a fault of the server."""
