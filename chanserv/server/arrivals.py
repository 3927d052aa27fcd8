"""
What has arrived at this machine and has not been looked at yet.

Two queues of the operating system hold what clients take for delivered: connections
that nobody has accepted, and bytes that nobody has read.  A server that closes
its sockets without a look at these resets such clients, who have asked and
will hear nothing.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor

from chanserv.server.endpoints import read_description

MAX_WAITING: Final = 65_536
"""Connections that are taken from one queue: more than any system lets wait there,
so that a queue that does not end, as where newcomers cannot be kept away,
holds up no stop."""

_OWN_KINDS: Final = frozenset({"tcp", "tcp6", "ssl", "tls", "unix"})

DOORSTEP: Final = 0.1
"""Seconds for connections over TCP whose client has been answered, and whose answer
to that is on its way: it counts them as made, and may have asked already."""

_SO_ATTACH_FILTER: Final = 26
_NO_FIRST_PACKETS: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header,
        (0x54, 0, 0, 0x12),  # of these SYN and ACK;
        (0x15, 0, 1, 0x02),  # where it is SYN alone,
        (0x06, 0, 0, 0),  # keep nothing of the packet,
        (0x06, 0, 0, 0xFFFFFFFF),  # else all of it
    )
)
"""A packet filter (BPF) that drops what begins a connection, and nothing else."""


def is_own(description: str) -> bool:
    """
    Whether the listening socket of an endpoint is this process's alone.

    One that it was lent, as by systemd, goes on listening: who waits there will be
    accepted by the next process, and nobody must shut its door.
    """
    try:
        parts = read_description(description)
        return is_own(parts.rest) if parts.kind == "haproxy" else parts.kind in _OWN_KINDS
    except ValueError:
        return False


def keep_newcomers_away(port: Any) -> float:
    """
    Have the system make no further connections at C{port}, which is about to be
    closed, so that none comes between the last look and the end.

    Over TCP the first packet of a client is not answered: it tries again a second
    later, and hears that nobody listens.  At a Unix socket it hears that at once.
    On systems other than Linux the moment between the two remains.

    @param port: a listening port of the reactor.
    @return: the seconds after which all that were being made are.
    """
    listening = getattr(port, "socket", None)
    if not isinstance(listening, socket.socket):
        return 0.0
    with suppress(OSError):
        if listening.family == socket.AF_UNIX:
            listening.shutdown(socket.SHUT_RD)
            return 0.0
        program = ctypes.create_string_buffer(_NO_FIRST_PACKETS, len(_NO_FIRST_PACKETS))
        listening.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", len(_NO_FIRST_PACKETS) // 8, ctypes.addressof(program)),
        )
    return DOORSTEP


def accept_waiting(port: Any) -> int:
    """
    Accept all connections that wait at C{port}.

    @param port: a listening port of the reactor.
    @return: how many there were.
    """
    if not isinstance(getattr(port, "socket", None), socket.socket):
        return 0
    first: int = port.sessionno
    while port.sessionno - first < MAX_WAITING:
        before = port.sessionno
        port.doRead()
        if port.sessionno == before:
            break
    accepted: int = port.sessionno - first
    return accepted


def has_unread(transport: Any) -> bool:
    """
    Whether bytes have arrived on a connection that have not been read.

    @param transport: a transport, or what wraps one, as TLS does; then these are
        bytes of TLS, which need not be a request.
    """
    while transport is not None and not isinstance(transport, FileDescriptor):
        transport = getattr(transport, "transport", None)
    connection = getattr(transport, "socket", None)
    if connection is None:
        return False
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
