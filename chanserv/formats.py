"""
The formats of the messages between interface servers and workers.

Source: the ASGI 1 message formats for HTTP and WebSocket.  C{request_id} is ours:
the value of C{x-request-id} in the request or handshake that an event belongs to.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypeAlias, TypedDict

Headers: TypeAlias = list[list[bytes]]
"""C{[name, value]} pairs, in order, with duplicates; names in lower case."""

Address: TypeAlias = list[Any]
"""C{[host, port]}: a C{str} and an C{int}."""


class HTTPRequest(TypedDict):
    """On C{http.request}: one request."""

    reply_channel: str
    http_version: str
    method: str
    scheme: str
    path: str
    query_string: bytes
    root_path: str
    headers: Headers
    body: bytes
    body_channel: NotRequired[str]
    client: Address | None
    server: Address | None


class HTTPRequestBody(TypedDict):
    """On C{http.request.body?…}: the next part of a large request body."""

    content: NotRequired[bytes]
    closed: NotRequired[bool]
    more_content: NotRequired[bool]


class HTTPResponse(TypedDict):
    """On the reply channel: the head of a response, and the start of its body."""

    status: int
    headers: Headers
    content: NotRequired[bytes]
    more_content: NotRequired[bool]


class HTTPResponseChunk(TypedDict):
    """On the reply channel: the next part of a response body."""

    content: bytes
    more_content: NotRequired[bool]


class HTTPDisconnect(TypedDict):
    """On C{http.disconnect}: a response has ended, or its client left."""

    reply_channel: str
    path: str
    request_id: NotRequired[str]


class WebSocketConnect(TypedDict):
    """On C{websocket.connect}: a handshake that waits to be accepted."""

    reply_channel: str
    scheme: str
    path: str
    query_string: bytes
    root_path: str
    headers: Headers
    subprotocols: list[str]
    client: Address | None
    server: Address | None
    order: int


class WebSocketReceive(TypedDict):
    """On C{websocket.receive}: one message of the client; one of text, bytes."""

    reply_channel: str
    path: str
    text: NotRequired[str]
    bytes: NotRequired[bytes]
    order: int
    request_id: NotRequired[str]


class WebSocketDisconnect(TypedDict):
    """On C{websocket.disconnect}: the socket has closed."""

    reply_channel: str
    path: str
    code: int | None
    order: int
    request_id: NotRequired[str]


class WebSocketReply(TypedDict, total=False):
    """
    On the reply channel of a WebSocket: accept, send, close, in any useful
    combination.  C{subprotocol} goes with the accepting one.
    """

    accept: bool
    subprotocol: str
    text: str | None
    bytes: bytes | None
    close: bool | int
