"""
Endpoint strings: Twisted's, each read so that a web server is well served.

What is read here and not left to Twisted:

 - C{ssl:} takes the certificates of authorities from the file of the certificate,
   where they stand with most who issue them, and says at the start what is wrong
   with a file.
 - C{haproxy:} knows the client from the first, and stands outside of TLS, where
   proxies put their line.
 - C{unix:} and C{systemd:} treat the file of the socket as whose it is.
 - C{fd:} is a listening socket that the process was started with.

Whatever else there is, such as C{tls:}, or endpoints of plugins, is Twisted's.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    serverFromString,
    wrapServerTLS,
)
from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface import implementer

from chanserv.errors import ConfigurationError
from chanserv.server.proxy_line import LINE_TIMEOUT, ProxiedFactory
from chanserv.server.unix_socket import DEFAULT_MODE, LentUnixEndpoint, UnixEndpoint

LISTEN_BACKLOG: Final = 1024
"""Connections that may wait to be accepted, where the endpoint does not say: all
browsers of a site come back at once after a restart, and Twisted's 50 would
make most of them wait a second or more."""

_TLS_KINDS: Final = frozenset({"ssl", "tls", "txacme", "le"})


@dataclass(frozen=True, slots=True)
class Description:
    """
    An endpoint string in its parts.

    @ivar kind: what stands before the first colon.
    @ivar rest: what stands behind it.
    @ivar positional: its values without a name, unquoted.
    @ivar named: its values with one.
    """

    kind: str
    rest: str
    positional: tuple[str, ...]
    named: dict[str, str]

    @property
    def encrypted(self) -> bool:
        """Whether its clients speak TLS."""
        if self.kind == "haproxy":
            return read_description(self.rest).encrypted
        return self.kind in _TLS_KINDS


_PART: Final = re.compile(r"(?:[^\\:=]|\\.)*(=(?:[^\\:]|\\.)*)?", re.DOTALL)


def read_description(text: str) -> Description:
    r"""
    Take an endpoint string apart: C{:} between values, C{name=value}, and C{\}
    before what is neither.

    @raise ValueError: a name is given twice, or the string ends within a value.
    """
    parts: list[tuple[str, str | None]] = []
    place = 0
    while True:
        found = _PART.match(text, place)
        assert found is not None
        value = found[1]
        name = found[0] if value is None else found[0][: -len(value)]
        parts.append((_unquoted(name), None if value is None else _unquoted(value[1:])))
        place = found.end()
        if place == len(text):
            break
        if text[place] != ":":
            raise ValueError("it ends with a backslash")
        place += 1
    named: dict[str, str] = {}
    for name, value in parts[1:]:
        if value is None:
            continue
        if name in named:
            raise ValueError(f"{name}= is there twice; a ':' within a value is written \\:")
        named[name] = value
    positional = tuple(name for name, value in parts[1:] if value is None)
    return Description(parts[0][0], text.partition(":")[2], positional, named)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def endpoint_of(
    text: str, reactor: Any, line_timeout: float = LINE_TIMEOUT
) -> IStreamServerEndpoint:
    """
    Make what C{text} describes.

    @param line_timeout: seconds in which the line of a proxy must have come.
    @raise ConfigurationError: C{text} is an endpoint, and cannot be used; nor can
        it where an L{OSError} tells of a file.
    @raise Exception: C{text} is no endpoint; which one, Twisted does not say.
    """
    description = read_description(text)
    maker = _MAKERS.get(description.kind)
    if maker is not None:
        return maker(description, reactor)
    if description.kind == "haproxy":
        return _proxied(description, reactor, line_timeout)
    if description.kind in ("tcp", "tcp6") and "backlog" not in description.named:
        text = f"{text}:backlog={LISTEN_BACKLOG}"
    if description.kind == "tls":
        from chanserv.server.certificates import check_folder

        check_folder(description.named.get("path") or "".join(description.positional[:1]))
    endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    return endpoint


class Arguments:
    """
    The values of a description, as they are taken one by one.
    """

    def __init__(self, description: Description, *names: str) -> None:
        """
        @param names: all that it may have, those that need no name first.
        @raise ValueError: it has others.
        """
        if len(description.positional) > len(names):
            raise ValueError(
                f"{description.positional[len(names)]!r} is one value too many; a ':' within a "
                f"value is written \\:"
            )
        self._values = dict(zip(names, description.positional, strict=False))
        for name, value in description.named.items():
            if name not in names:
                raise ValueError(f"it takes no {name!r}, only {', '.join(names)}")
            if name in self._values:
                raise ValueError(f"{name}= is there twice; a ':' within a value is written \\:")
            self._values[name] = value

    def text(self, name: str, default: str | None = None) -> str:
        """
        A value.

        @raise ValueError: it is not there, and there is no default.
        """
        value = self._values.get(name, default)
        if not value and default is None:
            raise ValueError(f"it lacks {name!r}")
        return value or ""

    def number(self, name: str, default: int | None = None, base: int = 10) -> int:
        """
        A value that is a number.

        @raise ValueError: it is none.
        """
        text = self.text(name, None if default is None else "")
        if not text and default is not None:
            return default
        if not re.fullmatch("[0-7]{1,18}" if base == 8 else "[0-9]{1,18}", text):
            raise ValueError(f"{text!r} is not {'an octal' if base == 8 else 'a'} number")
        return int(text, base)


def _unix(description: Description, reactor: Any) -> IStreamServerEndpoint:
    take = Arguments(description, "address", "mode", "backlog", "lockfile")
    take.number("lockfile", 0)  # Twisted's word; see unix_socket on why there is none
    return UnixEndpoint(
        reactor,
        take.text("address"),
        take.number("mode", DEFAULT_MODE, base=8),
        take.number("backlog", LISTEN_BACKLOG),
    )


def _systemd(description: Description, reactor: Any) -> IStreamServerEndpoint:
    """A socket that systemd has made, by its place in the unit or its name."""
    text = f"systemd:{description.rest}"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except (IndexError, KeyError) as error:
        raise ConfigurationError(
            "systemd has not passed such a socket to this process: its .socket unit must be "
            "started, with a name that is the service's or with Service=, and name= here is its "
            "FileDescriptorName="
        ) from error
    assert isinstance(endpoint, AdoptedStreamServerEndpoint)
    if endpoint.addressFamily == socket.AF_UNIX:
        return LentUnixEndpoint(reactor, endpoint.fileno)
    return endpoint


def _no_place(description: Description, reactor: Any) -> IStreamServerEndpoint:
    raise ConfigurationError("it is one client, and no place where clients come")


def _inherited(description: Description, reactor: Any) -> IStreamServerEndpoint:
    """A socket that the process was started with, by its number."""
    descriptor = Arguments(description, "fileno").number("fileno")
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            family = copy.family
            listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigurationError(
            f"the descriptor {descriptor} is no socket that this process was started with: "
            f"{error.strerror}"
        ) from error
    if not listens:
        raise ConfigurationError(f"the socket {descriptor} does not listen")
    if family == socket.AF_UNIX:
        return LentUnixEndpoint(reactor, descriptor)
    return AdoptedStreamServerEndpoint(reactor, descriptor, family)


def _ssl(description: Description, reactor: Any) -> IStreamServerEndpoint:
    from chanserv.server.certificates import TLS_ARGUMENTS, tls_options

    take = Arguments(description, "port", *TLS_ARGUMENTS, "interface", "backlog")
    return wrapServerTLS(tls_options(take), _tcp_below(take, reactor))


def _tcp_below(take: Arguments, reactor: Any) -> IStreamServerEndpoint:
    return TCP4ServerEndpoint(
        reactor,
        take.number("port"),
        take.number("backlog", LISTEN_BACKLOG),
        take.text("interface", ""),
    )


def _proxied(description: Description, reactor: Any, line_timeout: float) -> IStreamServerEndpoint:
    """An endpoint whose connections begin with the line of a proxy."""
    within = read_description(description.rest)
    if within.kind == "ssl":
        from chanserv.server.certificates import TLS_ARGUMENTS, tls_options

        take = Arguments(within, "port", *TLS_ARGUMENTS, "interface", "backlog")
        below = ProxiedEndpoint(_tcp_below(take, reactor), reactor, line_timeout)
        return wrapServerTLS(tls_options(take), below)
    if within.encrypted:
        raise ConfigurationError(
            f"the line of the PROXY protocol comes before TLS, which {within.kind}: does not "
            f"leave room for; take haproxy:ssl:"
        )
    return ProxiedEndpoint(
        endpoint_of(description.rest, reactor, line_timeout), reactor, line_timeout
    )


@implementer(IStreamServerEndpoint)
class ProxiedEndpoint:
    """An endpoint to which only proxies connect that speak the PROXY protocol."""

    def __init__(self, within: IStreamServerEndpoint, reactor: Any, line_timeout: float) -> None:
        self._within = within
        self._reactor = reactor
        self._line_timeout = line_timeout

    def listen(self, protocolFactory: Any) -> Any:
        """Listen."""
        factory = ProxiedFactory(protocolFactory, self._reactor, self._line_timeout)
        return self._within.listen(factory)


_MAKERS: Final[dict[str, Callable[[Description, Any], IStreamServerEndpoint]]] = {
    "fd": _inherited,
    "ssl": _ssl,
    "stdio": _no_place,
    "systemd": _systemd,
    "unix": _unix,
}
