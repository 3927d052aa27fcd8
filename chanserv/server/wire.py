"""
An open WebSocket on the wire, as the session that decides on it sees it.
"""

from __future__ import annotations

from typing import Protocol

from chanserv.server.replies import SharedReply


class Socket(Protocol):
    """
    What a session asks of the protocol on the wire.

    @ivar write_paused: whether the client does not read what it is sent.
    """

    write_paused: bool

    def take_over(self, handshake: bytes, leftover: bytes) -> None:
        """Begin on a transport that has been HTTP's."""

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Send a message."""

    def send_shared(self, shared: SharedReply) -> None:
        """Send the payload of C{shared}, which is encoded already."""

    def ping(self) -> None:
        """Send a ping."""

    def begin_close(self, code: int) -> None:
        """Send a close frame."""

    def drop(self) -> None:
        """End the connection now."""

    def pause_reads(self) -> None:
        """Leave what the client sends with it."""

    def resume_reads(self) -> None:
        """Read on."""
