"""
The PROXY protocol: the line with which a proxy that only passes bytes on, such as
HAProxy in its C{tcp} mode, begins each connection, to say who its client is.

What it says takes the place of the connection's own addresses, before anything
else sees the connection.  Whoever can connect can say anything: let only the
proxy reach such an endpoint.

Source: "The PROXY protocol, versions 1 & 2", HAProxy's C{proxy-protocol.txt}.
"""

# mypy: allow-untyped-calls
# (the classes that these build on have few types)

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from chanserv.errors import ChanservError

LINE_TIMEOUT: Final = 10.0
"""Seconds that a new connection may take to send its line: a proxy sends it with
the first packet."""

MAX_LINE: Final = 107
"""Bytes of the line of version 1, with its end: the longest that the format has."""

MAX_BLOCK: Final = 4096
"""Bytes of the block of version 2: addresses take 216 at most, and the rest is
what proxies add besides, such as the name of a client's certificate."""

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) "
    rb"([0-9]{1,5}) ([0-9]{1,5}))\r\n\Z"
)
_LOCAL, _PROXY = 0x20, 0x21
_STREAMS: Final = {0x11: 4, 0x21: 16}
"""The families of version 2 whose addresses are read, and the bytes of an address."""

InternetAddress = IPv4Address | IPv6Address


class NoProxyLine(ChanservError):
    """What a connection begins with is no line of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class ProxyLine:
    """
    What a proxy says of a connection.

    @ivar source: the client's address; L{None} where the connection is the
        proxy's own, as for a health check, or of a kind that has none.
    @ivar destination: what the client connected to, likewise.
    @ivar length: bytes that the line has.
    """

    source: InternetAddress | None
    destination: InternetAddress | None
    length: int


def read_proxy_line(data: bytes) -> ProxyLine | None:
    """
    Read the line, of either version.

    @param data: what a connection begins with, as far as it has come.
    @return: L{None} where more must come.
    @raise NoProxyLine: it is none.
    """
    if data.startswith(_SIGNATURE):
        return _read_block(data)
    if data.startswith(b"PROXY "):
        return _read_line(data)
    if _SIGNATURE.startswith(data) or b"PROXY ".startswith(data):
        return None
    raise NoProxyLine("it does not begin with one")


def _read_line(data: bytes) -> ProxyLine | None:
    """Version 1: text."""
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise NoProxyLine("its line does not end")
        return None
    found = _LINE.match(data[: end + 2])
    if found is None:
        raise NoProxyLine("its line is not of the form 'PROXY TCP4 client server port port'")
    if found[1] is None:
        return ProxyLine(None, None, found.end())
    version = int(found[1])
    return ProxyLine(
        _address(version, found[2].decode("ascii"), int(found[4])),
        _address(version, found[3].decode("ascii"), int(found[5])),
        found.end(),
    )


def _read_block(data: bytes) -> ProxyLine | None:
    """Version 2: binary."""
    if len(data) < 16:
        return None
    command, family, size = data[12], data[13], int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise NoProxyLine(f"its block has the version and command {command:#04x}")
    if size > MAX_BLOCK:
        raise NoProxyLine(f"its block has {size} bytes, and {MAX_BLOCK} are read at most")
    if len(data) < 16 + size:
        return None
    width = _STREAMS.get(family)
    if command == _LOCAL or width is None:
        return ProxyLine(None, None, 16 + size)
    if size < 2 * width + 4:
        raise NoProxyLine("its block is too short for its addresses")
    version = 4 if width == 4 else 6
    source, destination, ports = 16, 16 + width, 16 + 2 * width
    return ProxyLine(
        _address(version, data[source:destination], int.from_bytes(data[ports : ports + 2])),
        _address(version, data[destination:ports], int.from_bytes(data[ports + 2 : ports + 4])),
        16 + size,
    )


def _address(version: int, host: str | bytes, port: int) -> InternetAddress:
    try:
        address = ip_address(host)
    except ValueError:
        raise NoProxyLine("one of its addresses is none") from None
    if address.version != version or port >= 2**16:
        raise NoProxyLine("one of its addresses is of another kind than it says")
    kind = IPv4Address if version == 4 else IPv6Address
    return kind("TCP", str(address), port)


class ProxiedConnection(ProtocolWrapper):
    """
    A connection that begins with the line of a proxy.

    The protocol within is made when that has come, and sees the addresses of
    the line as those of its transport.
    """

    _log = Logger()

    factory: ProxiedFactory
    transport: Any
    wrappedProtocol: Any
    _begun = b""
    _line: ProxyLine | None = None
    _deadline: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        """A proxy has connected."""
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._deadline = self.factory.clock.callLater(self.factory.timeout, self._too_late)

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
        elif self._deadline is not None:
            self._begin(self._begun + data)

    def _begin(self, data: bytes) -> None:
        try:
            line = read_proxy_line(data)
        except NoProxyLine as reason:
            self._refuse(str(reason))
            return
        self._begun = data
        if line is None:
            return
        self._stop_waiting()
        self._line, self._begun = line, b""
        protocol = self.wrappedProtocol = self.factory.wrappedFactory.buildProtocol(self.getPeer())
        if protocol is None:
            self.transport.abortConnection()
            return
        protocol.makeConnection(self)
        if len(data) > line.length and self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data[line.length :])

    def _too_late(self) -> None:
        self._deadline = None
        self._refuse("it has not come in time")

    def _refuse(self, reason: str) -> None:
        self._stop_waiting()
        self._begun = b""
        self._log.info(
            "Closed a connection of {peer}, which must begin with the line of the PROXY "
            "protocol: {reason}. Does the proxy send it (HAProxy: send-proxy; nginx: "
            "proxy_protocol on)?",
            peer=getattr(self.transport.getPeer(), "host", "a Unix socket"),
            reason=reason,
        )
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop_waiting()
        self.factory.unregisterProtocol(self)
        protocol, self.wrappedProtocol = self.wrappedProtocol, None
        if protocol is not None:
            protocol.connectionLost(reason)

    def getPeer(self) -> IAddress:
        """The client, as the proxy says."""
        if self._line is not None and self._line.source is not None:
            return self._line.source
        peer: IAddress = self.transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """What the client connected to, as the proxy says."""
        if self._line is not None and self._line.destination is not None:
            return self._line.destination
        host: IAddress = self.transport.getHost()
        return host


class ProxiedFactory(WrappingFactory[ProxiedConnection]):
    """
    Makes the protocol of each connection when its line has come.

    @ivar clock: what time-outs are measured on.
    @ivar timeout: seconds that a line may take.
    """

    noisy = False

    def __init__(self, wrapped: Any, clock: IReactorTime, timeout: float = LINE_TIMEOUT) -> None:
        super().__init__(wrapped)
        self.clock = clock
        self.timeout = timeout

    def buildProtocol(self, addr: IAddress | None) -> ProxiedConnection:
        """Make what waits for the line of one connection."""
        return ProxiedConnection(self, None)  # type: ignore[arg-type]
