"""
An HTTP/2 connection, as its streams see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from h2.connection import H2Connection

from chanserv.formats import Address
from chanserv.server.context import ServerContext

if TYPE_CHECKING:
    from chanserv.server.http2.stream import Stream


class Trunk(Protocol):
    """
    The connection, as its streams see it.

    @ivar queued: bytes of all streams that wait to be sent.
    """

    context: ServerContext
    h2: H2Connection
    scheme: str
    client: Address | None
    server: Address | None
    queued: int

    def is_crowded(self) -> bool:
        """Whether so many bodies are coming in that each gets less memory."""

    def hold(self, stream: Stream) -> bool:
        """Whether the request of C{stream}, which is complete, must wait; its
        L{Stream.submit} is called again when it need not."""

    def schedule(self, stream: Stream) -> None:
        """C{stream} has something to send."""

    def pump(self) -> None:
        """Send what can be sent, and write what is to be written."""

    def left(self, stream: Stream) -> None:
        """C{stream} is over."""
