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

_SO_ATTACH_FILTER: Final = 26
_NOTHING: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""A packet filter of one instruction (C{BPF_RET}): keep nothing of any packet."""


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


def accept_waiting(port: Any) -> int:
    """
    Accept all connections that wait at C{port}, which is about to be closed.

    Newcomers are kept away first, so that none comes between the last look and the
    end: over TCP their first packet is not answered (they try again a second
    later, and then hear that nobody listens), at a Unix socket they hear it at
    once.  Where the system cannot do that, as on others than Linux, that moment
    remains.

    @param port: a listening port of the reactor.
    @return: how many there were.
    """
    listening = getattr(port, "socket", None)
    if not isinstance(listening, socket.socket) or not hasattr(port, "sessionno"):
        return 0
    with suppress(OSError, AttributeError):
        _keep_newcomers_away(listening)
    first = port.sessionno
    while port.sessionno - first < MAX_WAITING:
        before = port.sessionno
        port.doRead()
        if port.sessionno == before:
            break
    accepted: int = port.sessionno - first
    return accepted


def _keep_newcomers_away(listening: socket.socket) -> None:
    if listening.family == socket.AF_UNIX:
        listening.shutdown(socket.SHUT_RD)
        return
    # Connections that wait already have been set up, and are not filtered.
    program = ctypes.create_string_buffer(_NOTHING, len(_NOTHING))
    listening.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HL", 1, ctypes.addressof(program)),
    )


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
