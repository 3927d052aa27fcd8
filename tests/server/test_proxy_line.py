"""The PROXY protocol, both versions, and the connections that begin with it."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs, formatEvent

from chanserv.server.proxy_line import (
    MAX_BLOCK,
    MAX_LINE,
    NoProxyLine,
    ProxiedFactory,
    ProxyLine,
    read_proxy_line,
)
from tests.server.rig import HANDSHAKE, Client, FakeTransport, Rig, frame, frames

V1 = b"PROXY TCP4 198.51.100.7 192.0.2.9 4711 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def block(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def addresses(source: str, destination: str, *ports: int) -> bytes:
    hosts = [ip_address(host).packed for host in (source, destination)]
    return b"".join(hosts) + struct.pack("!HH", *ports)


V2 = block(0x21, 0x11, addresses("198.51.100.7", "192.0.2.9", 4711, 443))


def read(data: bytes) -> ProxyLine:
    line = read_proxy_line(data)
    assert line is not None
    return line


class TestReading:
    @pytest.mark.parametrize("data", [V1, V2], ids=["1", "2"])
    def test_both_versions_name_both_ends(self, data: bytes) -> None:
        line = read(data + b"GET / HTTP/1.1")
        assert line.source == address.IPv4Address("TCP", "198.51.100.7", 4711)
        assert line.destination == address.IPv4Address("TCP", "192.0.2.9", 443)
        assert line.length == len(data)

    @given(st.ip_addresses(v=6), st.integers(0, 65535))
    def test_so_with_ipv6(self, host: Any, port: int) -> None:
        text = f"PROXY TCP6 {host} ::1 {port} 80\r\n".encode()
        for data in (text, block(0x21, 0x21, addresses(str(host), "::1", port, 80) + b"more")):
            assert read(data).source == address.IPv6Address("TCP", str(host), port)

    @pytest.mark.parametrize(
        "data",
        [
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n",
            block(0x20, 0x00, b""),
            block(0x20, 0x11, addresses("1.2.3.4", "1.2.3.4", 1, 2)),
            block(0x21, 0x00, b"anything"),
            block(0x21, 0x31, bytes(216)),
            block(0x21, 0x12, addresses("1.2.3.4", "1.2.3.4", 1, 2)),
        ],
    )
    def test_a_connection_of_the_proxys_own_names_nobody(self, data: bytes) -> None:
        assert read(data) == ProxyLine(None, None, len(data))

    @pytest.mark.parametrize("data", [V1, V2], ids=["1", "2"])
    def test_it_may_come_byte_by_byte(self, data: bytes) -> None:
        for end in range(len(data)):
            assert read_proxy_line(data[:end]) is None
        assert read_proxy_line(data) is not None

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n",
            b"PROXI",
            b"\r\n\r\n\x00\r\nQUIX",
            b"PROXY \r\n",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
            b"PROXY TCP6 fe80::1%\x1b[2J ::1 1 2\r\n",
            b"PROXY UNKNOWN " + b"x" * MAX_LINE,
            block(0x11, 0x11, b""),
            block(0x22, 0x11, b""),
            block(0x21, 0x11, bytes(11)),
            block(0x21, 0x21, bytes(35)),
            SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_BLOCK + 1),
        ],
    )
    def test_what_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(NoProxyLine):
            read_proxy_line(data)

    @given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary())
    def test_garbage_is_waited_for_or_refused(self, begin: bytes, rest: bytes) -> None:
        try:
            line = read_proxy_line(begin + rest)
        except NoProxyLine:
            return
        if line is None:
            assert len(begin + rest) < MAX_BLOCK + 16
        else:
            assert line.length <= len(begin + rest)


class Reached(Protocol):
    """Remembers what reaches it."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False
        self.peer: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.peer = self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class Begun:
    """A connection to a factory that expects the line of a proxy."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reached: list[Reached] = []
        factory = Factory.forProtocol(self._made)
        self.factory = ProxiedFactory(factory, self.clock, 5.0)
        self.transport = StringTransportWithDisconnection(
            peerAddress=address.IPv4Address("TCP", "10.0.0.1", 1)
        )
        self.protocol = self.factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def _made(self) -> Reached:
        self.reached.append(Reached())
        return self.reached[-1]

    def closed(self) -> bool:
        return not self.transport.connected


class TestConnections:
    @pytest.mark.parametrize("line", [V1, V2], ids=["1", "2"])
    def test_the_protocol_within_is_made_when_the_line_has_come(self, line: bytes) -> None:
        begun = Begun()
        for place in range(len(line)):
            assert begun.reached == []
            begun.protocol.dataReceived(line[place : place + 1])
        (reached,) = begun.reached
        assert reached.peer == address.IPv4Address("TCP", "198.51.100.7", 4711)
        begun.protocol.dataReceived(b"more")
        begun.clock.advance(60)
        assert reached.data == b"more"
        assert not begun.closed()

    def test_what_comes_with_the_line_is_not_lost(self) -> None:
        begun = Begun()
        begun.protocol.dataReceived(V1 + b"PROXY is a word")
        assert begun.reached[0].data == b"PROXY is a word"

    def test_the_proxys_own_connection_has_its_own_address(self) -> None:
        begun = Begun()
        begun.protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        assert begun.reached[0].peer.host == "10.0.0.1"

    def test_one_without_a_line_is_closed_and_told_of_once(self) -> None:
        begun = Begun()
        with capturedLogs() as events:
            begun.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
            begun.protocol.dataReceived(V1)
        assert begun.closed()
        assert begun.reached == []
        (line,) = map(formatEvent, events)
        assert "Closed a connection of 10.0.0.1" in line
        assert "send-proxy" in line

    def test_one_that_says_nothing_is_closed_in_time(self) -> None:
        begun = Begun()
        begun.protocol.dataReceived(V1[:10])
        begun.clock.advance(4.9)
        assert not begun.closed()
        begun.clock.advance(0.2)
        assert begun.closed()
        assert begun.reached == []

    def test_one_that_leaves_before_its_line_leaves_nothing_behind(self) -> None:
        begun = Begun()
        begun.transport.loseConnection()
        assert begun.clock.getDelayedCalls() == []
        assert begun.factory.protocols == {}

    def test_its_end_is_told_within(self) -> None:
        begun = Begun()
        begun.protocol.dataReceived(V1)
        begun.transport.loseConnection()
        assert begun.reached[0].lost


class TestServer:
    def connect(self, rig: Rig) -> Client:
        transport = FakeTransport(rig.clock, address.IPv4Address("TCP", "10.0.0.1", 1))
        factory = ProxiedFactory(rig.server.factory, rig.clock)  # type: ignore[arg-type]
        transport.protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return Client(rig, transport)

    def test_requests_come_from_the_client_that_the_line_names(self) -> None:
        rig = Rig()
        client = self.connect(rig).send(V1)
        client.get().get()
        clients = [message["client"] for message in rig.worker.named("http.request")]
        assert clients == [["198.51.100.7", 4711]] * 2
        assert rig.worker.named("http.request")[0]["server"] == ["192.0.2.9", 443]

    def test_so_do_sockets_which_live_on_behind_it(self) -> None:
        rig = Rig()
        client = self.connect(rig).send(V2 + HANDSHAKE + b"\r\n")
        assert client.status() == 101
        client.send(frame(b"hello"))
        assert frames(client.take()) == [(1, b"hello")]
        assert rig.worker.named("websocket.connect")[0]["client"] == ["198.51.100.7", 4711]
        client.leave()
        assert len(rig.worker.named("websocket.disconnect")) == 1

    def test_one_whose_line_comes_when_the_server_is_told_to_end_is_served(self) -> None:
        rig = Rig()
        client, _ = self.connect(rig), rig.connect()
        rig.server.stopService()
        client.send(V1).get()
        status, headers, _ = client.response()
        assert (status, headers[b"connection"]) == (200, b"close")

    def test_without_a_line_nothing_reaches_the_site(self) -> None:
        rig = Rig()
        client = self.connect(rig).get()
        assert client.gone
        assert rig.worker.events == []
        assert rig.counts.connections == 0
