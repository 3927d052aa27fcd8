"""
From the head of an HTTP request to the message that a worker gets: pure code.

Sources: RFC 9110 and RFC 9112; the ASGI 1 HTTP message format, "Request".

The path of the message is the whole path of the request, with the C{root_path}
in it: as in the ASGI 1 format, where the application takes the root path off
the front, and unlike WSGI's C{PATH_INFO}, where the server has done so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address

from chanserv.errors import ChanservError
from chanserv.formats import Address, Headers
from chanserv.messages import SealedMessage

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_FORBIDDEN: Final = re.compile(rb"[\x00\r\n]")
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)")
_HOST: Final = re.compile(rb"[0-9A-Za-z\-._~%!$&'()*+,;=:\[\]]*\Z")
_DECIDING: Final = frozenset(
    {b"host", b"connection", b"expect", b"upgrade", b"transfer-encoding", b"content-length"}
)

_VERSIONS: Final = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2.0": "2"}
"""As messages name them."""

_FIXED_SIZE: Final = 200
"""About how many bytes the fields of a request message take that are always
there: their names, the addresses, the reply channel."""


class RequestRefused(ChanservError):
    """
    A request that the server itself answers with an error.

    @ivar status: the status code of the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Head:
    """
    What the head of a request says about the connection and the body.

    @ivar version: C{"1.0"}, C{"1.1"} or C{"2"}.
    @ivar headers: all headers, in their order, with lower-case names.
    @ivar persistent: whether the client lets the connection stay open.
    @ivar expects_continue: whether the client waits for a go-ahead.
    @ivar upgrade: the lower-case protocols that it offers to change to.
    """

    version: str
    headers: list[tuple[bytes, bytes]]
    persistent: bool
    expects_continue: bool
    upgrade: frozenset[bytes]


def header_field(line: bytes) -> tuple[bytes, bytes]:
    """
    Split a header line.

    @return: its name, in lower case, and its value.
    @raise RequestRefused: it is none (RFC 9112, section 5; RFC 9110, section 5.5).
    """
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.match(name):
        raise RequestRefused(400, "malformed header")
    value = value.strip(b" \t")
    if _FORBIDDEN.search(value):
        raise RequestRefused(400, "CR, LF or NUL in a header")
    return name.lower(), value


def read_head(version: bytes, headers: list[tuple[bytes, bytes]]) -> Head:
    """
    Gather what decides how to go on.

    @param version: C{b"HTTP/1.0"}, C{b"HTTP/1.1"} or C{b"HTTP/2.0"}.
    @raise RequestRefused: there is not exactly one C{Host} where there must be,
        or it can be no host's (RFC 9112, section 3.2), or the body's framing is one that only
        request smugglers use (section 6.1).
    """
    modern = version != b"HTTP/1.0"
    hosts = 0
    tokens: frozenset[bytes] = frozenset()
    upgrade: frozenset[bytes] = frozenset()
    expects_continue = False
    framings = 0
    for name, value in headers:
        if name not in _DECIDING:
            continue
        if name == b"host":
            hosts += 1
            if not _HOST.match(value):
                raise RequestRefused(400, "the Host header names no host")
        elif name == b"connection":
            tokens |= _tokens(value)
        elif name == b"upgrade":
            upgrade |= _tokens(value)
        elif name == b"expect":
            expects_continue = modern and value.lower() == b"100-continue"
        else:
            framings += 1
            if name == b"transfer-encoding" and not modern:
                raise RequestRefused(400, "Transfer-Encoding in an HTTP/1.0 request")
    if hosts > 1 or (modern and hosts == 0):
        raise RequestRefused(400, "there must be one Host header")
    if framings > 1:
        raise RequestRefused(400, "more than one Content-Length or Transfer-Encoding")
    persistent = b"close" not in tokens and (modern or b"keep-alive" in tokens)
    if b"upgrade" not in tokens or not modern:
        upgrade = frozenset()
    return Head(_VERSIONS[version], headers, persistent, expects_continue, upgrade)


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t") for token in value.lower().split(b","))


def split_target(method: bytes, target: bytes) -> tuple[str, bytes]:
    """
    Split a request target in its path, percent-decoded once, and its query.

    @return: the path as text, and the bytes after the first C{?} as they are.
    @raise RequestRefused: it is no target that this server can serve, or its
        path is not UTF-8.
    """
    if not target.startswith(b"/"):
        target = _origin_form(method, target)
    path, _, query = target.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    try:
        return path.decode("utf-8"), query
    except UnicodeDecodeError:
        raise RequestRefused(400, "the path is not UTF-8") from None


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Reduce the other forms of a target (RFC 9112, section 3.2)."""
    if method == b"CONNECT":
        raise RequestRefused(501, "this server is no proxy")
    if target == b"*" and method == b"OPTIONS":
        return target
    authority = _ABSOLUTE.match(target)
    if authority is None:
        raise RequestRefused(400, "the request target is not a path")
    rest = target[authority.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def take_host_of_target(head: Head, target: bytes) -> None:
    """
    Let the host of a target in absolute form take the place of the C{Host}
    header, as it must (RFC 9112, section 3.2.2): what stands in front may have
    gone by either.

    @param target: a target that L{split_target} has taken.
    @raise RequestRefused: its host can be none.
    """
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return
    host = absolute[1]
    if not host or not _HOST.match(host):
        raise RequestRefused(400, "the request target names no host")
    head.headers = [(b"host", host)] + [field for field in head.headers if field[0] != b"host"]


def address_pair(address: object) -> Address | None:
    """
    The C{[host, port]} of an IP address; L{None} for others, as of a Unix
    socket.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        return [address.host, address.port]
    return None


def message_headers(
    headers: list[tuple[bytes, bytes]], body_length: int | None = None
) -> tuple[Headers, int]:
    """
    The headers as a message holds them.

    A name with an underscore is left out: in CGI-style variables it would pass
    for the same name with a dash, which a proxy in front may vouch for.

    @param body_length: the length of a body that came in chunks, in bytes.
        C{content-length} then takes the place of C{transfer-encoding}, which
        was only for the way.
    @return: the headers, and about how many bytes they are.
    """
    if body_length is None:
        kept = [[name, value] for name, value in headers if b"_" not in name]
    else:
        kept = [
            [name, value]
            for name, value in headers
            if b"_" not in name and name != b"transfer-encoding"
        ]
        kept.append([b"content-length", b"%d" % body_length])
    size = 0
    for name, value in kept:
        size += len(name) + len(value)
    return kept, size


def request_message(
    head: Head,
    *,
    reply_channel: str,
    method: bytes,
    path: str,
    query: bytes,
    scheme: str,
    root_path: str,
    body: bytes,
    chunked_length: int | None,
    client: Address | None,
    server: Address | None,
) -> SealedMessage:
    """
    Make the C{http.request} message.

    @param body: the body, or where there is more (the caller then adds
        C{body_channel}) its first part.
    @param chunked_length: as C{body_length} of L{message_headers}.
    """
    headers, size = message_headers(head.headers, chunked_length)
    message: dict[str, Any] = {
        "reply_channel": reply_channel,
        "http_version": head.version,
        "method": method.decode("ascii"),
        "scheme": scheme,
        "path": path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "body": body,
        "client": client,
        "server": server,
    }
    return SealedMessage(message, _FIXED_SIZE + size + len(path) + len(query) + len(body))
