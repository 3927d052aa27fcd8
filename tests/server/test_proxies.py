"""What proxies say of clients, and who is believed."""

from __future__ import annotations

import io
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from chanserv.errors import ConfigurationError
from chanserv.server.proxies import (
    DEFAULT_TRUSTED,
    MAX_HOPS,
    MAX_LINE,
    ForwardedOrigin,
    ProxyHeaders,
    TrustedProxies,
    read_node,
    standard_hops,
    usual_hops,
)
from tests.server.rig import HANDSHAKE, Rig

SERVER = ["192.0.2.1", 80]
PROXY = ForwardedOrigin("http", ["10.0.0.1", 4000], SERVER)
STRANGER = ForwardedOrigin("http", ["203.0.113.9", 5000], SERVER)

Fields = list[tuple[bytes, bytes]]


def origin(
    headers: Fields | dict[bytes, bytes],
    peer: Any = PROXY,
    trusted: tuple[str, ...] = ("10.0.0.0/8",),
    **options: Any,
) -> Any:
    fields = list(headers.items()) if isinstance(headers, dict) else headers
    return ProxyHeaders(TrustedProxies(trusted), **options).origin(peer, fields)


def client(value: bytes, **options: Any) -> Any:
    return origin({b"x-forwarded-for": value}, **options).client


class TestTrust:
    @pytest.mark.parametrize(
        ("names", "host", "trusted"),
        [
            (("10.0.0.7",), "10.0.0.7", True),
            (("10.0.0.7",), "10.0.0.8", False),
            (("10.0.0.0/8",), "10.255.0.1", True),
            (("10.1.2.3/8",), "10.255.0.1", True),
            (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
            (("::ffff:10.0.0.1",), "::ffff:10.0.0.1", True),
            (("10.0.0.0/8",), "::1", False),
            (("2001:db8::/32",), "2001:db8:1::2", True),
            (("0.0.0.0/0", "::/0"), "2001:db8:1::2", True),
            (("10.0.0.0/8",), "no address", False),
            ((), "127.0.0.1", False),
            (DEFAULT_TRUSTED, "127.8.0.1", True),
            (DEFAULT_TRUSTED, "::1", True),
            (DEFAULT_TRUSTED, "192.168.0.1", False),
        ],
    )
    def test_it_goes_by_address_and_network(
        self, names: tuple[str, ...], host: str, trusted: bool
    ) -> None:
        proxies = TrustedProxies(names)
        assert proxies.trust([host, 1]) is trusted
        assert proxies.trust([host, 2]) is trusted

    def test_unix_sockets_are_trusted_by_their_name(self) -> None:
        assert TrustedProxies(["unix"]).trust(None)
        assert TrustedProxies().trust(None)
        assert not TrustedProxies(["127.0.0.1"]).trust(None)

    @pytest.mark.parametrize("name", ["", "localhost", "10.0.0.0/33", "*", "Unix"])
    def test_what_is_none_of_these_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match="is neither an IP address"):
            TrustedProxies([name])

    def test_it_remembers_a_bounded_number_of_addresses(self) -> None:
        proxies = TrustedProxies(["10.0.0.0/8"])
        for number in range(3000):
            assert proxies.trust([f"10.0.{number // 250}.{number % 250}", 1])
        assert len(proxies._known) <= 1000


class TestUsualHeaders:
    def test_from_a_stranger_they_change_nothing(self) -> None:
        headers = {b"x-forwarded-for": b"1.2.3.4", b"x-forwarded-proto": b"https"}
        assert origin(headers, peer=STRANGER) is STRANGER

    def test_without_them_the_peer_is_the_client(self) -> None:
        assert origin({}) == PROXY

    @pytest.mark.parametrize(
        ("value", "host"),
        [
            (b"1.2.3.4", "1.2.3.4"),
            (b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
            (b"6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            (b"6.6.6.6,1.2.3.4,10.0.0.2 ,\t10.0.0.3", "1.2.3.4"),
            (b"10.0.0.4, 10.0.0.2", "10.0.0.4"),
            (b"unknown", "10.0.0.1"),
            (b"6.6.6.6, unknown", "10.0.0.1"),
            (b"6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            (b"", "10.0.0.1"),
            (b",,", "10.0.0.1"),
            (b"6.6.6.6, , 10.0.0.2", "10.0.0.2"),
            (b"2001:DB8::0:1", "2001:db8::1"),
            (b"6.6.6.6, [2001:db8::1]", "2001:db8::1"),
            (b"\xff\xfe, 1.2.3.4", "1.2.3.4"),
            (b"1.2.3.4, evil\x1b[2J", "10.0.0.1"),
        ],
    )
    def test_the_client_is_the_rightmost_that_is_not_trusted(self, value: bytes, host: str) -> None:
        assert client(value)[0] == host

    def test_several_lines_are_one_list(self) -> None:
        lines = [(b"x-forwarded-for", value) for value in (b"6.6.6.6, 1.2.3.4", b"10.0.0.2")]
        assert origin(lines).client == ["1.2.3.4", 0]

    @pytest.mark.parametrize(
        ("value", "port"),
        [
            (b"1.2.3.4", 0),
            (b"1.2.3.4:567", 567),
            (b"[2001:db8::1]:567", 567),
            (b"1.2.3.4:70000", 0),
        ],
    )
    def test_the_port_is_that_which_stands_with_it(self, value: bytes, port: int) -> None:
        assert client(value)[1] == port

    def test_no_more_hops_are_looked_at_than_there_are_proxies(self) -> None:
        value = b"6.6.6.6, " + b", ".join([b"10.0.0.2"] * (MAX_HOPS + 50))
        assert client(value)[0] == "10.0.0.2"
        assert client(b"6.6.6.6, " + b", ".join([b"10.0.0.2"] * (MAX_HOPS - 1)))[0] == "6.6.6.6"
        lines = [b"6.6.6.6", *[b"10.0.0.2"] * (MAX_HOPS + 50)]
        assert origin([(b"x-forwarded-for", line) for line in lines]).client[0] == "10.0.0.2"

    @pytest.mark.parametrize(
        ("value", "scheme"),
        [
            (b"https", "https"),
            (b"HTTPS", "https"),
            (b"wss", "https"),
            (b"ws", "http"),
            (b"gopher", "http"),
            (b"", "http"),
            (b"http, https", "https"),
            (b"https, http", "http"),
        ],
    )
    def test_the_scheme_is_what_the_last_proxy_says(self, value: bytes, scheme: str) -> None:
        assert origin({b"x-forwarded-proto": value}).scheme == scheme

    def test_with_many_proxies_it_is_what_the_one_before_the_client_says(self) -> None:
        headers = {b"x-forwarded-for": b"6.6.6.6, 1.2.3.4, 10.0.0.2"}
        said = {**headers, b"x-forwarded-proto": b"http, https, http"}
        assert origin(said).scheme == "https"
        assert origin({**headers, b"x-forwarded-proto": b"https"}).scheme == "https"

    def test_the_port_that_it_connected_to_is_the_servers(self) -> None:
        assert origin({b"x-forwarded-port": b"443"}).server == ["192.0.2.1", 443]
        for value in (b"", b"0", b"70000", b"x", b"-1", "٣".encode()):
            assert origin({b"x-forwarded-port": value}).server == SERVER
        local = ForwardedOrigin("http", None, None)
        told = origin({b"x-forwarded-port": b"443"}, peer=local, trusted=("unix",))
        assert told.server is None

    def test_headers_may_have_other_names(self) -> None:
        headers = {
            b"x-real-ip": b"1.2.3.4",
            b"x-real-port": b"99",
            b"x-forwarded-for": b"6.6.6.6",
        }
        told = origin(headers, address_header="X-Real-IP", port_header="X-Real-Port")
        assert told.client == ["1.2.3.4", 99]

    def test_a_port_of_its_own_is_no_other_clients(self) -> None:
        headers = {b"x-real-port": b"99"}
        assert origin(headers, port_header="X-Real-Port").client == ["10.0.0.1", 4000]
        assert client(b"1.2.3.4:5", port_header="X-Real-Port") == ["1.2.3.4", 5]


class TestStandardHeader:
    def client(self, *lines: bytes) -> Any:
        return self.told(*lines).client

    def told(self, *lines: bytes) -> Any:
        return origin([(b"forwarded", line) for line in lines], address_header="Forwarded")

    @pytest.mark.parametrize(
        ("line", "address"),
        [
            (b"for=1.2.3.4", ["1.2.3.4", 0]),
            (b'For="1.2.3.4:567"', ["1.2.3.4", 567]),
            (b'for="[2001:db8::1]:567";proto=https', ["2001:db8::1", 567]),
            (b'for="\\1.2.3.4"', ["1.2.3.4", 0]),
            (b"by=10.0.0.1;for=1.2.3.4;host=a", ["1.2.3.4", 0]),
            (b"for=6.6.6.6, for=1.2.3.4;proto=http,\tfor=10.0.0.2", ["1.2.3.4", 0]),
            (b"for=6.6.6.6, for=unknown, for=10.0.0.2", ["10.0.0.2", 0]),
            (b"for=6.6.6.6, for=_hidden", ["10.0.0.1", 4000]),
            (b"proto=https", ["10.0.0.1", 4000]),
        ],
    )
    def test_it_is_read_as_its_rfc_says(self, line: bytes, address: Any) -> None:
        assert self.client(line) == address

    @pytest.mark.parametrize(
        "line",
        [
            b'for="6.6.6.6, for=1.2.3.4',
            b'for=6.6.6.6;by=", for="1.2.3.4:80"',
            b"for=6.6.6.6,",
            b"for=6.6.6.6;",
            b"for=6.6.6.6;for=1.2.3.4",
            b"for 6.6.6.6",
            b"for=6.6.6.6 x",
            b"=6.6.6.6",
            b"for=6.6.6.6," * 400 + b"for=1.2.3.4",
        ],
    )
    def test_a_line_against_the_grammar_says_nothing(self, line: bytes) -> None:
        assert self.told(line) == PROXY
        assert len(line) > MAX_LINE or self.client(b"for=1.2.3.4", line) == PROXY.client

    def test_it_ends_the_row_of_the_lines_before_it(self) -> None:
        assert self.client(b"for=6.6.6.6", b'for="', b"for=10.0.0.2") == ["10.0.0.2", 0]

    def test_the_scheme_is_that_of_the_proxy_that_the_client_spoke_to(self) -> None:
        assert self.told(b"for=1.2.3.4;proto=https, for=10.0.0.2;proto=http").scheme == "https"
        assert self.told(b"for=1.2.3.4, for=10.0.0.2;proto=https").scheme == "http"
        assert self.told(b"for=unknown;proto=https").scheme == "https"

    def test_the_other_headers_say_nothing_then(self) -> None:
        headers = {b"x-forwarded-for": b"6.6.6.6", b"x-forwarded-proto": b"https"}
        assert origin(headers, address_header="forwarded") == PROXY


class TestForms:
    @given(st.ip_addresses(), st.integers(0, 65535))
    def test_every_way_to_write_an_address_is_read(self, address: Any, port: int) -> None:
        written = f"[{address}]" if address.version == 6 else str(address)
        assert read_node(str(address)) == [str(address), 0]
        assert read_node(f"{written}:{port}") == [str(address), port]

    @given(st.text())
    def test_what_is_read_is_an_address(self, text: str) -> None:
        node = read_node(text)
        if node is not None:
            assert str(ip_address(node[0])) == node[0]
            assert "%" not in node[0]
            assert 0 <= node[1] < 65536

    @given(st.lists(st.ip_addresses().map(str), max_size=20), st.lists(st.binary(), max_size=3))
    def test_no_forged_beginning_hides_who_spoke_to_the_first_trusted_proxy(
        self, hops: list[str], forged: list[bytes]
    ) -> None:
        lines = [(b"x-forwarded-for", line) for line in forged]
        own = ", ".join(["198.51.100.7", *hops]).encode()
        told = origin([*lines, (b"x-forwarded-for", own)], trusted=("10.0.0.1", *hops))
        expected = "198.51.100.7"
        assert told.client[0] == expected

    @given(st.lists(st.binary(max_size=200), max_size=4))
    def test_garbage_never_raises_and_hops_are_bounded(self, lines: list[bytes]) -> None:
        for hops in (usual_hops(lines), standard_hops(lines)):
            for hop in hops:
                assert hop.client is None or ip_address(hop.client[0])
        fields = [(b"x-forwarded-for", line) for line in lines]
        fields += [(b"x-forwarded-proto", line) for line in lines]
        fields += [(b"forwarded", line) for line in lines]
        for header in ("X-Forwarded-For", "Forwarded"):
            assert origin(fields, address_header=header).scheme in ("http", "https")


class TestServer:
    FORWARDED = b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
    PEER = IPv4Address("TCP", "10.0.0.1", 4000)

    def rig(self, **options: Any) -> Rig:
        return Rig(proxies=ProxyHeaders(TrustedProxies(["10.0.0.0/8", "unix"])), **options)

    def test_a_request_is_its_clients_in_message_and_log(self) -> None:
        out = io.StringIO()
        rig = self.rig(access_log=out)
        rig.connect(self.PEER).get(b"/", self.FORWARDED)
        rig.advance(1)
        (message,) = rig.worker.named("http.request")
        assert (message["client"], message["scheme"]) == (["1.2.3.4", 0], "https")
        assert out.getvalue().startswith("1.2.3.4 - - ")

    def test_so_is_a_socket(self) -> None:
        out = io.StringIO()
        rig = self.rig(access_log=out)
        client = rig.connect(self.PEER).send(HANDSHAKE + self.FORWARDED + b"\r\n")
        client.leave()
        rig.advance(1)
        (message,) = rig.worker.named("websocket.connect")
        assert (message["client"], message["scheme"]) == (["1.2.3.4", 0], "wss")
        assert [line.split()[0] for line in out.getvalue().splitlines()] == ["1.2.3.4"] * 2

    def test_so_is_a_request_that_the_server_refuses(self) -> None:
        out = io.StringIO()
        rig = self.rig(access_log=out, request_ids=True)
        handshake = HANDSHAKE.replace(b"Version: 13", b"Version: 12")
        client = rig.connect(self.PEER).send(handshake + self.FORWARDED + b"\r\n")
        rig.advance(1)
        status, headers, _ = client.response()
        assert status == 426
        assert out.getvalue().startswith("1.2.3.4 - - ")
        assert out.getvalue().endswith(f' "{headers[b"x-request-id"].decode()}"\n')

    @pytest.mark.parametrize("peer", [IPv6Address("TCP", "::ffff:10.0.0.1", 1), UNIXAddress("")])
    def test_proxies_come_by_other_ways_too(self, peer: object) -> None:
        rig = self.rig()
        rig.connect(peer).get(b"/", self.FORWARDED)
        assert rig.worker.named("http.request")[0]["client"] == ["1.2.3.4", 0]

    def test_from_a_stranger_the_headers_are_only_passed_on(self) -> None:
        rig = self.rig()
        rig.connect().get(b"/", self.FORWARDED)
        (message,) = rig.worker.named("http.request")
        assert (message["client"], message["scheme"]) == (["192.0.2.7", 54321], "http")
        assert [b"x-forwarded-for", b"1.2.3.4"] in message["headers"]

    def test_each_request_of_a_connection_has_its_own_client(self) -> None:
        rig = self.rig()
        client = rig.connect(self.PEER).get(b"/", self.FORWARDED)
        client.get().get(b"/", b"X-Forwarded-For: 5.6.7.8\r\n")
        clients = [message["client"] for message in rig.worker.named("http.request")]
        assert clients == [["1.2.3.4", 0], ["10.0.0.1", 4000], ["5.6.7.8", 0]]

    def test_nobody_is_believed_unless_that_is_asked_for(self) -> None:
        rig = Rig()
        rig.connect(IPv4Address("TCP", "127.0.0.1", 1)).get(b"/", self.FORWARDED)
        assert rig.worker.named("http.request")[0]["client"] == ["127.0.0.1", 1]
