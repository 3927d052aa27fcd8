"""
What trusted proxies say of the client in front of them: pure code.

Each proxy on the way adds the address that it was spoken to from at the end of
one header.  What the last of them added is believed if the peer of the
connection is trusted, what the one before added if that address is trusted
too, and so on: the client is the first, from the right, that is not.  All that
stands further left may be made up.

Sources: the usual meaning of C{X-Forwarded-For}, C{-Proto} and C{-Port}; RFC
7239, which says the same in one header, C{Forwarded}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from chanserv.errors import ConfigurationError
from chanserv.formats import Address

DEFAULT_TRUSTED: Final = ("127.0.0.0/8", "::1", "unix")
"""Who is trusted where nothing else is said: this machine."""

DEFAULT_ADDRESS_HEADER: Final = "X-Forwarded-For"
"""The header that nearly all proxies add the client's address to."""

STANDARD: Final = "Forwarded"
"""The header of RFC 7239.  It is read only where it is asked for: proxies that
know the other one pass this one on as clients make it up."""

MAX_HOPS: Final = 32
"""Addresses of one header that are looked at: more proxies than stand in any row,
and a bound on what a header of 32 KB may cost."""

MAX_LINE: Final = 4096
"""Bytes of one line of a C{Forwarded} header that is read: a row of C{MAX_HOPS}
with all that may stand there."""

_MAX_KNOWN: Final = 1000
"""Addresses whose trust is remembered; a site has some dozens of proxies."""

_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


class Origin(Protocol):
    """
    Where a request comes from: as its connection has it, or as proxies say.

    @ivar scheme: C{"http"} or C{"https"}.
    @ivar client: the client's C{[host, port]}, or L{None}; the port is 0 where it
        is not known.
    @ivar server: what the client connected to, likewise.
    """

    @property
    def scheme(self) -> str:
        """How the client speaks."""

    @property
    def client(self) -> Address | None:
        """Who it is."""

    @property
    def server(self) -> Address | None:
        """What it speaks to."""


@dataclass(frozen=True, slots=True)
class ForwardedOrigin:
    """An L{Origin} of which proxies have told."""

    scheme: str
    client: Address | None
    server: Address | None


class TrustedProxies:
    """
    The peers whose word on a client counts.
    """

    def __init__(self, names: Iterable[str] = DEFAULT_TRUSTED) -> None:
        """
        @param names: IP addresses, networks such as C{10.0.0.0/8}, and C{unix}
            for all that connect by a Unix socket.
        @raise ConfigurationError: one of them is none of these.
        """
        self._unix = False
        self._networks: list[IPv4Network | IPv6Network] = []
        self._known: dict[str, bool] = {}
        for name in names:
            if name == "unix":
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(name, strict=False))
            except ValueError:
                raise ConfigurationError(
                    f"--trusted-proxies={name} is neither an IP address (10.0.0.7), nor a network "
                    f"(10.0.0.0/8), nor 'unix' for Unix sockets"
                ) from None

    def trust(self, peer: Address | None) -> bool:
        """
        Whether the word of C{peer} counts.

        @param peer: its C{[host, port]}, or L{None} for that of a Unix socket.
        """
        if peer is None:
            return self._unix
        host = peer[0]
        known = self._known.get(host)
        if known is None:
            known = self._is_within(host)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[host] = known
        return known

    def _is_within(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        forms: list[IPv4Address | IPv6Address] = [address]
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            forms.append(address.ipv4_mapped)  # a socket for both kinds names IPv4 so
        return any(form in network for form in forms for network in self._networks)


@dataclass(frozen=True, slots=True)
class Hop:
    """
    What one proxy says of who spoke to it.

    @ivar client: its C{[host, port]}; L{None} where that cannot be told.
    @ivar scheme: how it spoke, as L{Origin} has it, or L{None}.
    """

    client: Address | None
    scheme: str | None = None


class ProxyHeaders:
    """
    Reads the headers of proxies.
    """

    def __init__(
        self,
        trusted: TrustedProxies,
        address_header: str = DEFAULT_ADDRESS_HEADER,
        port_header: str | None = None,
    ) -> None:
        """
        @param trusted: whose headers count.
        @param address_header: the header that has the client's address;
            C{Forwarded} is read as RFC 7239 says, and is then the only one.
        @param port_header: one that has the client's port, or L{None}.
        """
        self._trusted = trusted
        self._address = address_header.lower().encode("ascii")
        self._standard = self._address == STANDARD.lower().encode("ascii")
        self._client_port = b"" if port_header is None else port_header.lower().encode("ascii")

    def origin(self, peer: Origin, headers: Sequence[tuple[bytes, bytes]]) -> Origin:
        """
        Where a request comes from.

        @param peer: as the connection has it.
        @param headers: of the request, with lower-case names.
        @return: C{peer} itself where it is not trusted.
        """
        if not self._trusted.trust(peer.client):
            return peer
        lines = [value for name, value in headers if name == self._address]
        hops = standard_hops(lines) if self._standard else usual_hops(lines)
        client, scheme, depth = peer.client, None, 0
        for depth, hop in enumerate(hops):
            scheme = hop.scheme
            if hop.client is None:
                break
            client = hop.client
            if not self._trusted.trust(client) or depth + 1 >= MAX_HOPS:
                break
        if self._standard:
            return ForwardedOrigin(scheme or peer.scheme, client, peer.server)
        return self._completed(peer, client, depth, headers)

    def _completed(
        self,
        peer: Origin,
        client: Address | None,
        depth: int,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> Origin:
        """
        Add what headers of their own say, each proxy of the row in its place.

        @param depth: the place of the proxy that C{client} spoke to, from the right.
        """
        scheme = _SCHEMES.get(_item(headers, b"x-forwarded-proto", depth).lower(), peer.scheme)
        server = peer.server
        port = _port(_item(headers, b"x-forwarded-port", depth))
        if port and server is not None:
            server = [server[0], port]
        if self._client_port and client is not None and client is not peer.client and not client[1]:
            client = [client[0], _port(_item(headers, self._client_port, depth))]
        return ForwardedOrigin(scheme, client, server)


def _item(headers: Sequence[tuple[bytes, bytes]], wanted: bytes, depth: int) -> bytes:
    """
    The item of a list that the proxy at C{depth} from the right has added; where
    proxies set this header instead of adding to it, what there is.
    """
    lines = [value for name, value in headers if name == wanted]
    if not lines:
        return b""
    items = b",".join(lines).rsplit(b",", MAX_HOPS)
    return items[max(len(items) - 1 - depth, 0)].strip(b" \t")


def _port(value: bytes) -> int:
    """A port, or 0 where there is none."""
    if not value.isdigit() or len(value) > 5:
        return 0
    port = int(value)
    return port if port < 2**16 else 0


# The two headers, read from the right


def usual_hops(lines: Sequence[bytes]) -> Iterator[Hop]:
    """
    What the lines of an C{X-Forwarded-For} say, the nearest proxy first.
    """
    for line in reversed(lines):
        for item in reversed(line.rsplit(b",", MAX_HOPS)):
            yield Hop(read_node(item.strip(b" \t").decode("latin-1")))


_PAIR: Final = re.compile(
    r"""[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=
        (?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z]+))
        [ \t]*([;,]|\Z)""",
    re.VERBOSE,
)
"""One C{name=value} of a C{Forwarded}, with what separates it from the next."""


def standard_hops(lines: Sequence[bytes]) -> Iterator[Hop]:
    """
    What the lines of a C{Forwarded} say, the nearest proxy first.

    A line that does not follow the grammar ends the row: in it, what a client
    made up might pass for what a proxy has added.
    """
    for line in reversed(lines):
        elements = None if len(line) > MAX_LINE else _elements(line.decode("latin-1"))
        if elements is None:
            yield Hop(None)
            return
        for element in reversed(elements):
            scheme = _SCHEMES.get(element.get("proto", "").lower().encode("latin-1"))
            yield Hop(read_node(element.get("for", "")), scheme)


def _elements(line: str) -> list[dict[str, str]] | None:
    """The elements of one line; L{None} where it does not follow the grammar."""
    elements: list[dict[str, str]] = [{}]
    place = 0
    while place < len(line):
        pair = _PAIR.match(line, place)
        if pair is None or pair[1].lower() in elements[-1]:
            return None
        elements[-1][pair[1].lower()] = (
            pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
        )
        place = pair.end()
        if pair[4] == ",":
            elements.append({})
        if pair[4] and place == len(line):
            return None
    return elements


_NODE: Final = re.compile(
    r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::(?P<port6>[0-9]{1,5}))?\Z"
    r"|(?P<four>[0-9.]+)(?::(?P<port4>[0-9]{1,5}))?\Z"
    r"|(?P<bare>[0-9A-Fa-f:.]+)\Z"
)


def read_node(text: str) -> Address | None:
    """
    Read the address of a client: IPv4 or IPv6, the latter with or without
    brackets, and with brackets or IPv4 perhaps a port.

    @return: C{[host, port]}, the host as L{ipaddress} writes it; L{None} where it
        is none, such as C{unknown} or a made-up name.
    """
    found = _NODE.match(text)
    if found is None:
        return None
    try:
        host = ip_address(found["six"] or found["four"] or found["bare"])
    except ValueError:
        return None
    port = int(found["port6"] or found["port4"] or 0)
    return [str(host), port if port < 2**16 else 0]
