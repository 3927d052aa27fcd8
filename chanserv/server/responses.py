"""
From the reply of a worker to the head of an HTTP response: pure code.

A site's reply is not trusted to be well made: what cannot be used raises
L{BadReply} with what was wrong, and a header that would break the framing of
the connection is left out and named.

Sources: RFC 9110, RFC 9112; the ASGI 1 HTTP message format, "Response".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.web.http import RESPONSES

from chanserv.errors import ChanservError
from chanserv.server.request_ids import HEADER as REQUEST_ID

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_FORBIDDEN: Final = re.compile(rb"[\x00\r\n]")

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers about the connection, which belongs to the server (RFC 9110, 7.6.1)."""

BODILESS: Final = frozenset({204, 304})
"""Statuses whose responses have no body."""

SERVER: Final = b"chanserv"
"""What the C{Server} header says where the site sets none."""

_SERVER_LINE: Final = b"Server: " + SERVER + b"\r\n"

_MAX_KNOWN_NAMES: Final = 1000
"""Header names that are remembered as checked; a site uses some dozens."""

_known_names: dict[bytes, bytes] = {}


class BadReply(ChanservError):
    """A reply of a worker that cannot be used; the message says why."""


@dataclass(slots=True)
class Response:
    """
    The head of a response, with the start of its body.

    @ivar status: 200 to 599.
    @ivar headers: what the site set and may set.
    @ivar length: the value of its C{Content-Length}, or L{None}.
    @ivar dated: whether it set C{Date}.
    @ivar named: whether it set C{Server}.
    @ivar content: the body, or its first part.
    @ivar more: whether more parts follow.
    @ivar refused: what was left out, and why.
    @ivar identified: whether it set C{X-Request-ID}.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    dated: bool
    named: bool
    content: bytes
    more: bool
    refused: list[str]
    identified: bool = False


def read_response(message: Mapping[str, Any]) -> Response:
    """
    Read the first reply to a request.

    @raise BadReply: it is none.
    """
    status = message.get("status")
    if type(status) is not int:
        if status is None:
            raise BadReply(f"the first reply to a request has no status, only {sorted(message)!r}")
        raise BadReply(f"the status must be an int, and is {status!r}")
    if not 200 <= status <= 599:
        raise BadReply(f"the status must be from 200 to 599, and is {status}")
    headers = message.get("headers", ())
    if not isinstance(headers, (list, tuple)):
        raise BadReply(f"the headers must be a list, and are of type {type(headers).__name__}")
    content, more = read_content(message)
    response = Response(status, [], None, False, False, content, more, [])
    for pair in headers:
        _read_header(pair, response)
    return response


def read_chunk(message: Mapping[str, Any]) -> tuple[bytes, bool]:
    """
    Read a later reply to a request.

    @return: the next part of the body, and whether there are more.
    @raise BadReply: it is no part of a body.
    """
    if "status" in message:
        raise BadReply("a second status came for a response that had begun")
    if "content" not in message and "more_content" not in message:
        raise BadReply(f"a part of a response has no content, only {sorted(message)!r}")
    return read_content(message)


def read_content(message: Mapping[str, Any]) -> tuple[bytes, bool]:
    """
    The C{content} and C{more_content} of a reply.

    @raise BadReply: one of them is of the wrong type.
    """
    content = message.get("content", b"")
    if not isinstance(content, bytes):
        raise BadReply(f"the content must be bytes, and is of type {type(content).__name__}")
    more = message.get("more_content", False)
    if not isinstance(more, (bool, int)):
        raise BadReply(f"more_content must be a bool, and is {more!r}")
    return content, bool(more)


def _read_header(pair: object, response: Response) -> None:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise BadReply(f"a header must be a [name, value] pair, and is {pair!r:.200}")
    name, value = pair
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise BadReply(f"the name and value of a header must be bytes, and are {pair!r:.200}")
    lowered = _known_names.get(name) or _checked_name(name)
    if lowered is None:
        response.refused.append(f"{name!r} is no header name")
    elif _FORBIDDEN.search(value):
        response.refused.append(f"the value of {name!r} holds CR, LF or NUL")
    elif lowered in HOP_BY_HOP:
        response.refused.append(f"{name!r} is the server's to set")
    elif lowered == b"content-length":
        _read_length(value, response)
    else:
        if lowered == b"date":
            response.dated = True
        elif lowered == b"server":
            response.named = True
        elif lowered == REQUEST_ID:
            response.identified = True
        response.headers.append((name, value))


def _checked_name(name: bytes) -> bytes | None:
    """The lower-case C{name}, or L{None} where it is no header's."""
    if not _TOKEN.match(name):
        return None
    lowered = name.lower()
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names[name] = lowered
    return lowered


def _read_length(value: bytes, response: Response) -> None:
    if not value.isdigit() or len(value) > 18:
        response.refused.append(f"the Content-Length {value!r:.40} is no number")
    elif response.length is not None and response.length != int(value):
        response.refused.append("a second Content-Length")
    else:
        response.length = int(value)


def settle_length(response: Response, method: bytes) -> None:
    """
    Give a whole response the length that it has.

    Where the site's own C{Content-Length} is another, it is replaced: the
    client would take what follows for the rest of this body.  The response to
    HEAD tells the length that GET would have, so there the site's word stands.
    """
    if response.more or response.status in BODILESS:
        return
    actual = len(response.content)
    if method == b"HEAD":
        if response.length is None and actual:
            response.length = actual
        return
    if response.length is not None and response.length != actual:
        response.refused.append(f"the Content-Length {response.length} of a body of {actual} bytes")
    response.length = actual


class BodyFraming:
    """
    How the body of one response goes over the wire (RFC 9112, section 6).  With
    HTTP/2 it goes in frames, the last of which says so.

    @ivar bodiless: whether nothing of a body may be sent.
    @ivar chunked: whether it goes in chunks.
    @ivar until_close: whether only the end of the connection ends it.
    @ivar missing: bytes that the announced length still asks for, or L{None}.
    @ivar cut: whether the site sent more than it had announced.
    @ivar sent: bytes of the body so far.
    """

    __slots__ = ("bodiless", "chunked", "cut", "missing", "sent", "until_close")

    def __init__(self, response: Response, method: bytes, version: bytes) -> None:
        self.bodiless = method == b"HEAD" or response.status in BODILESS
        open_ended = response.more and response.length is None and not self.bodiless
        self.chunked = open_ended and version == b"HTTP/1.1"
        self.until_close = open_ended and version == b"HTTP/1.0"
        self.missing = None if self.bodiless else response.length
        self.cut = False
        self.sent = 0

    def part(self, content: bytes) -> bytes:
        """The next part of the body, as it goes out; nothing of it may be more
        than was announced."""
        if self.bodiless or not content:
            return b""
        if self.missing is not None:
            if len(content) > self.missing:
                self.cut = True
                content = content[: self.missing]
            self.missing -= len(content)
        self.sent += len(content)
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(content), content)
        return content

    def end(self) -> bytes:
        """What goes out after the last part."""
        return b"0\r\n\r\n" if self.chunked else b""


def head_bytes(
    response: Response, *, date: bytes, chunked: bool, connection: bytes | None
) -> bytes:
    """
    Write the head of a response.

    @param date: the line C{Date: …}, with its end, used where the site set none.
    @param chunked: whether the body goes in chunks.
    @param connection: the value of the C{Connection} header, if any.
    """
    lines = [_status_line(response.status)]
    for name, value in response.headers:
        lines.append(b"%b: %b\r\n" % (name, value))
    if not response.dated:
        lines.append(date)
    if not response.named:
        lines.append(_SERVER_LINE)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif response.length is not None and response.status != 204:
        lines.append(b"Content-Length: %d\r\n" % response.length)
    if connection is not None:
        lines.append(b"Connection: %b\r\n" % connection)
    lines.append(b"\r\n")
    return b"".join(lines)


_status_lines: dict[int, bytes] = {}


def _status_line(status: int) -> bytes:
    line = _status_lines.get(status)
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, RESPONSES.get(status, b"Unknown"))
        _status_lines[status] = line
    return line


def plain_response(status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    """A short response of the server's own, in plain text."""
    return Response(
        status,
        [(b"Content-Type", b"text/plain; charset=utf-8"), *headers],
        None,
        False,
        False,
        text.encode("utf-8") + b"\n",
        False,
        [],
    )
