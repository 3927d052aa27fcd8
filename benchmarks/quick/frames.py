"""
WebSocket frames and HTTP answers, as little of them as the load needs.

Every message of the measurements is shorter than 126 bytes, and known before
it comes: the client compares bytes, and so sees each answer that is wrong at
hardly any cost of its own.
"""

from __future__ import annotations

import base64
import hashlib
import socket
from typing import Final

_MASK: Final = b"\x12\x34\x56\x78"
_KEY: Final = base64.b64encode(b"sixteen bytes ok")
_ACCEPT: Final = base64.b64encode(
    hashlib.sha1(_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
)


class WrongAnswer(Exception):
    """A server did not answer as it must: its figure is void."""


def client_frame(payload: bytes) -> bytes:
    """A whole text message from the client, masked (RFC 6455, section 5.2)."""
    assert len(payload) < 126
    masked = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))
    return bytes([0x81, 0x80 | len(payload)]) + _MASK + masked


def server_frame(payload: bytes) -> bytes:
    """The same message as a server sends it."""
    assert len(payload) < 126
    return bytes([0x81, len(payload)]) + payload


def open_websocket(port: int, path: str) -> socket.socket:
    """
    Connect and shake hands.

    @return: the socket, blocking, with nothing unread.
    @raise WrongAnswer: the handshake was refused.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
        % (path.encode("ascii"), port, _KEY)
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(4096)
        head += data
        if not data:
            break
    if not (head.startswith(b"HTTP/1.1 101 ") and _ACCEPT in head):
        connection.close()
        raise WrongAnswer(f"no handshake on {path}: {head[:200]!r}")
    return connection


def fetch(port: int, path: str = "/") -> bytes:
    """
    Ask for a page on a connection of its own.

    @return: the whole answer, head and body.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
            % (path.encode("ascii"), port)
        )
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer
