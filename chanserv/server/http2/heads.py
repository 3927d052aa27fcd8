"""
From the fields of an HTTP/2 request to its head, and from a response to its
fields: pure code.

What makes a request I{malformed} costs it its stream (RFC 9113, section 8.1.1);
what is wrong with a well-formed one is answered as with HTTP/1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from chanserv.errors import ChanservError
from chanserv.server.requests import Head, RequestRefused, read_head
from chanserv.server.responses import SERVER, Response

VERSION: Final = b"HTTP/2.0"
"""As it stands in the access log, where other servers write it so too."""

FIELD_OVERHEAD: Final = 32
"""Bytes that each field counts for besides its own (section 6.5.2)."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE: Final = re.compile(rb"(?:[^\x00\r\n\t ](?:[^\x00\r\n]*[^\x00\r\n\t ])?)?\Z")
_TARGET: Final = re.compile(rb"[!-~]+\Z")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*\Z")

_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
"""The fields of a request that are no headers.  C{:protocol} is not among them:
that is for who has been told that it may be sent (RFC 8441)."""

_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""Headers that HTTP/2 has other means for (section 8.2.2)."""

_OFTEN_NEW: Final = frozenset({b"content-length", b"etag", b"set-cookie", b"x-request-id"})
"""Headers whose values hardly come twice.  Compression is told not to remember
them: they would drive out those that do.  Nor can anyone guess a cookie by what
compresses well."""

Fields = Sequence[tuple[bytes, bytes]]


class MalformedRequest(ChanservError):
    """A request that is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Opening:
    """
    What opens a stream.

    @ivar target: what HTTP/1 has between method and version.
    @ivar headers: all others, in their order, the host first.
    @ivar length: what C{content-length} says of the body, or L{None}.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None


def read_opening(fields: Fields, ended: bool) -> Opening:
    """
    Read the fields of a request.

    @param ended: whether there is no body.
    @raise MalformedRequest: they are none.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    cookie = -1
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if headers or name not in _PSEUDO or name in pseudo:
                raise MalformedRequest(f"the field {name!r:.100} is not known, or not in its place")
            pseudo[name] = value
            continue
        _check_header(name, value)
        if name == b"cookie" and cookie >= 0:
            # Cut into pieces for the compression's sake (section 8.2.3).
            headers[cookie] = (name, headers[cookie][1] + b"; " + value)
            continue
        if name == b"cookie":
            cookie = len(headers)
        headers.append((name, value))
    method, target = _method_and_target(pseudo)
    _put_host(pseudo.get(b":authority"), headers)
    return Opening(method, target, headers, _length(headers, ended))


def _check_header(name: bytes, value: bytes) -> None:
    if not _NAME.match(name):
        raise MalformedRequest(f"{name!r:.100} is no name of a header")
    if not _VALUE.match(value):
        raise MalformedRequest(f"the value of {name!r:.100} is none of a header")
    if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
        raise MalformedRequest(f"the header {name!r} has no place in HTTP/2")


def _method_and_target(pseudo: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not _METHOD.match(method):
        raise MalformedRequest("there is no method")
    if method == b"CONNECT":
        if path or b":scheme" in pseudo or not pseudo.get(b":authority"):
            raise MalformedRequest("CONNECT has an authority, and nothing else")
        return method, pseudo[b":authority"]
    if not _SCHEME.match(pseudo.get(b":scheme", b"")):
        raise MalformedRequest("there is no scheme")
    if not _TARGET.match(path) or not (path[:1] == b"/" or (path, method) == (b"*", b"OPTIONS")):
        raise MalformedRequest(f"{path!r:.100} is no path")
    return method, path


def _put_host(authority: bytes | None, headers: list[tuple[bytes, bytes]]) -> None:
    """Let C{:authority} be the C{Host} header, for which it stands (section 8.3.1)."""
    if authority is None:
        return
    hosts = [value for name, value in headers if name == b"host"]
    if any(host.lower() != authority.lower() for host in hosts):
        raise MalformedRequest("the Host header is another than :authority")
    headers[:] = [(b"host", authority), *(field for field in headers if field[0] != b"host")]


def _length(headers: Fields, ended: bool) -> int | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise MalformedRequest("there is not one Content-Length")
    # One digit more than any body has: Python reads no longer ones.
    length = int(lengths[0].lstrip(b"0")[:19] or b"0")
    if ended and length:
        raise MalformedRequest("a Content-Length is announced of no body")
    return length


def head_of(opening: Opening, *, max_count: int, max_bytes: int) -> Head:
    """
    What a server makes of a request that is well formed.

    @param max_count: how many headers it may have.
    @param max_bytes: how long they may be, with the target.
    @raise RequestRefused: it goes no further; with the answer's status.
    """
    if len(opening.headers) > max_count:
        raise RequestRefused(431, "too many headers")
    size = len(opening.method) + len(opening.target)
    if size > max_bytes:
        raise RequestRefused(414, "the request target is too long")
    for name, value in opening.headers:
        size += len(name) + len(value)
    if size > max_bytes:
        raise RequestRefused(431, "the headers are too large")
    return read_head(b"HTTP/2.0", opening.headers)


def check_trailers(fields: Fields) -> None:
    """
    Check what comes after a body, of which nothing is used.

    @raise MalformedRequest: it makes the request none.
    """
    for name, value in fields:
        _check_header(name, value)


def response_fields(response: Response, date: bytes) -> list[HeaderTuple]:
    """
    The fields that are the head of C{response}.

    @param date: used where the site set none.
    """
    fields = [HeaderTuple(b":status", b"%d" % response.status)]
    fields.extend(_compressible(response.headers))
    if not response.dated:
        fields.append(HeaderTuple(b"date", date))
    if not response.named:
        fields.append(HeaderTuple(b"server", SERVER))
    if response.length is not None and response.status != 204:
        fields.append(NeverIndexedHeaderTuple(b"content-length", b"%d" % response.length))
    return fields


def _compressible(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[HeaderTuple]:
    for name, value in headers:
        name = name.lower()
        make = NeverIndexedHeaderTuple if name in _OFTEN_NEW else HeaderTuple
        yield make(name, value.strip(b" \t"))
