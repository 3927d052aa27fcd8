"""How much waits to be sent on a connection, which Twisted does not tell."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor


def unsent_with(transport: Any, unsent: int, more: int, limit: int) -> int:
    """
    Count C{more} bytes to the C{unsent} written to a full transport so far.

    @return: the new count.  Where that is over C{limit}, it is what really
        waits in C{transport}, if that tells: its client may have read meanwhile.
    """
    unsent += more
    if unsent > limit:
        waiting = waiting_bytes(transport)
        if waiting is not None:
            return waiting + more
    return unsent


def waiting_bytes(transport: Any) -> int | None:
    """
    How many bytes C{transport} keeps that its socket has not taken yet.

    Its producer cannot know: it is resumed only when nothing waits at all, which
    with a client that reads steadily, but no faster than it is written to,
    may never be.

    @param transport: a transport, or what wraps one, as TLS does.
    @return: the bytes, or L{None} where the transport does not tell.
    """
    while transport is not None and not isinstance(transport, FileDescriptor):
        transport = getattr(transport, "transport", None)
    if transport is None:
        return None
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return waiting
