"""
The opening of a WebSocket, its messages, and the replies on it: pure code.

Sources: RFC 6455, section 4; the ASGI 1 WebSocket message format, "Connection",
"Receive", "Disconnection" and "Send/Close/Accept".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chanserv.formats import Address
from chanserv.messages import SealedMessage
from chanserv.server.requests import Head, RequestRefused, message_headers
from chanserv.server.responses import BadReply

VERSION: Final = b"13"
"""The version of the WebSocket protocol (RFC 6455)."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_FIXED_SIZE: Final = 200
"""About how many bytes a handshake's message takes besides what the client chose."""

_EVENT_SIZE: Final = 90
"""Likewise for what follows it."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
TOO_BIG: Final = 1009
SERVER_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
"""Close codes (RFC 6455, section 7.4.1)."""

DROPPED: Final = 1006
"""The code of a connection that ended without a close frame; never sent."""


@dataclass(frozen=True, slots=True)
class Offer:
    """
    A valid opening handshake.

    @ivar key: the value of C{Sec-WebSocket-Key}.
    @ivar subprotocols: what the client offers, in its order.
    @ivar extensions: the value of C{Sec-WebSocket-Extensions}, or empty.
    """

    key: bytes
    subprotocols: tuple[str, ...]
    extensions: bytes


def wants_websocket(head: Head) -> bool:
    """Whether the client asks to change to WebSocket."""
    return b"websocket" in head.upgrade


def read_offer(method: bytes, head: Head) -> Offer:
    """
    Check an opening handshake.

    @raise RequestRefused: with 426 for another version, else 400 or 405.
    """
    if method != b"GET":
        raise RequestRefused(405, "a WebSocket handshake is a GET request")
    values: dict[bytes, list[bytes]] = {}
    for name, value in head.headers:
        if name.startswith(b"sec-websocket-"):
            values.setdefault(name, []).append(value)
    if values.get(b"sec-websocket-version") != [VERSION]:
        raise RequestRefused(426, "the WebSocket version must be 13")
    keys = values.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise RequestRefused(400, "there must be one Sec-WebSocket-Key of 16 bytes in base64")
    return Offer(
        keys[0],
        _subprotocols(values.get(b"sec-websocket-protocol", [])),
        b", ".join(values.get(b"sec-websocket-extensions", [])),
    )


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _subprotocols(values: list[bytes]) -> tuple[str, ...]:
    offered: list[str] = []
    for value in values:
        for part in value.decode("latin-1").split(","):
            name = part.strip(" \t")
            if not _TOKEN.match(name) or name in offered:
                raise RequestRefused(400, "Sec-WebSocket-Protocol lists tokens, each once")
            offered.append(name)
    return tuple(offered)


def connect_message(
    head: Head,
    offer: Offer,
    *,
    reply_channel: str,
    path: str,
    query: bytes,
    scheme: str,
    root_path: str,
    client: Address | None,
    server: Address | None,
) -> SealedMessage:
    """Make the C{websocket.connect} message."""
    headers, size = message_headers(head.headers)
    message: dict[str, Any] = {
        "reply_channel": reply_channel,
        "scheme": scheme,
        "path": path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "subprotocols": list(offer.subprotocols),
        "client": client,
        "server": server,
        "order": 0,
    }
    return SealedMessage(message, _FIXED_SIZE + size + len(path) + len(query))


def receive_message(
    reply_channel: str, path: str, payload: bytes, binary: bool, order: int, request_id: str = ""
) -> SealedMessage:
    """
    Make the C{websocket.receive} message; text must be UTF-8.

    @param request_id: the id of the handshake; empty where it has none.
    """
    message: dict[str, Any] = {"reply_channel": reply_channel, "path": path, "order": order}
    if binary:
        message["bytes"] = payload
    else:
        message["text"] = payload.decode("utf-8")
    if request_id:
        message["request_id"] = request_id
    return SealedMessage(message, _EVENT_SIZE + len(path) + len(payload) + len(request_id))


def disconnect_message(
    reply_channel: str, path: str, code: int | None, order: int, request_id: str = ""
) -> SealedMessage:
    """Make the C{websocket.disconnect} message; the id as in L{receive_message}."""
    message = {"reply_channel": reply_channel, "code": code, "path": path, "order": order}
    if request_id:
        message["request_id"] = request_id
    return SealedMessage(message, _EVENT_SIZE + len(path) + len(request_id))


def handshake_bytes(offer: Offer, subprotocol: str | None) -> bytes:
    """
    The least request that opens the WebSocket of C{offer}.

    The protocol that takes the connection over reads this instead of what the
    client sent, which has been read already.
    """
    lines = [
        b"GET / HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: " + VERSION,
        b"Sec-WebSocket-Key: " + offer.key,
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii"))
    if offer.extensions:
        lines.append(b"Sec-WebSocket-Extensions: " + offer.extensions)
    return b"\r\n".join([*lines, b"", b""])


@dataclass(frozen=True, slots=True)
class SocketReply:
    """
    What a consumer says on a WebSocket.

    @ivar accept: L{True} to open it, L{False} to refuse it, L{None} where the
        reply does not say.
    @ivar payload: a message for the client, encoded, or L{None}.
    @ivar binary: whether that is bytes, and not text.
    @ivar close: the code to close with, or L{None}.
    @ivar subprotocol: what it chose, or L{None}.
    """

    accept: bool | None
    payload: bytes | None
    binary: bool
    close: int | None
    subprotocol: str | None

    def accepts(self) -> bool:
        """
        Whether it opens a socket that waits in its handshake: outright, or by
        having something to say on it.
        """
        return self.accept is True or (self.accept is None and bool(self.payload))

    def refuses(self) -> bool:
        """Whether it refuses a socket that waits in its handshake."""
        return self.accept is False or (
            self.accept is None and self.close is not None and not self.payload
        )


_KEYS: Final = frozenset({"accept", "text", "bytes", "close", "subprotocol"})


def read_socket_reply(message: Mapping[str, Any]) -> SocketReply:
    """
    Read a reply on a WebSocket.

    @raise BadReply: it has nothing that means anything, or something of the
        wrong type, or both text and bytes.
    """
    if _KEYS.isdisjoint(message):
        raise BadReply(f"a reply on a WebSocket has none of its keys, only {sorted(message)!r}")
    text, data = message.get("text"), message.get("bytes")
    if text is not None and data is not None:
        raise BothPayloads("a reply on a WebSocket has both text and bytes")
    payload: bytes | None = None
    if text is not None:
        if not isinstance(text, str):
            raise BadReply(f"the text must be a str, and is of type {type(text).__name__}")
        payload = _encoded(text)
    elif data is not None:
        if not isinstance(data, bytes):
            raise BadReply(f"the bytes must be bytes, and are of type {type(data).__name__}")
        payload = data
    accept = message.get("accept")
    if accept is not None and not isinstance(accept, bool):
        raise BadReply(f"accept must be a bool, and is {accept!r}")
    subprotocol = message.get("subprotocol")
    if subprotocol is not None and not isinstance(subprotocol, str):
        raise BadReply(f"the subprotocol must be a str, and is {subprotocol!r:.100}")
    return SocketReply(accept, payload, data is not None, _close_code(message), subprotocol)


class BothPayloads(BadReply):
    """A reply with both text and bytes, which the spec says to ignore."""


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadReply("the text holds half of a surrogate pair, which UTF-8 has not") from None


def _close_code(message: Mapping[str, Any]) -> int | None:
    close = message.get("close")
    if close is None or close is False or close == 0:
        return None
    if close is True:
        return NORMAL
    if not isinstance(close, int):
        raise BadReply(f"close must be a bool or an int, and is {close!r:.100}")
    if 3000 <= close <= 4999 or (1000 <= close <= 1014 and close not in (1004, 1005, 1006)):
        return close
    raise BadReply(f"{close} is no close code that may be sent")
