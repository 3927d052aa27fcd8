"""
Writing to a socket at once, where nothing stands in the way.

Twisted's C{write} keeps what it is given until the reactor has found the
socket writable, which it nearly always is: two calls to change what is waited
for, and one more round of the reactor, for each response.  Trying first costs
nothing that is not won back.

This is for what is written in one piece.  Many small pieces for one socket,
as of a chat, are better left to C{write}, which puts them together.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor


def write_promptly(transport: Any, data: bytes) -> None:
    """
    Write C{data} to C{transport}, at once as far as the socket takes it.

    Everything else is as with C{transport.write}: what the socket does not
    take now waits in the transport, whose producer is told to pause when that
    is much, and a connection that is lost is noticed in the next turn of the
    reactor.  Transports that are not plain sockets, as those of TLS, just get
    a C{write}.
    """
    if (
        isinstance(transport, FileDescriptor)
        and transport.connected
        and not transport.disconnecting
        and not transport._tempDataLen
        and not transport.dataBuffer
    ):
        taken = transport.writeSomeData(data)
        if isinstance(taken, int) and taken > 0:
            if taken == len(data):
                return
            data = data[taken:]
    transport.write(data)
