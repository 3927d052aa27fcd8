"""From the head of a request to its message."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from chanserv.messages import seal
from chanserv.server.requests import (
    RequestRefused,
    address_pair,
    header_field,
    message_headers,
    read_head,
    request_message,
    split_target,
)
from tests.server.rig import outcome_of

TOKENS = st.text(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1
).map(str.encode)


@given(TOKENS, st.binary())
def test_a_header_line_gives_its_name_in_lower_case_and_its_value(
    name: bytes, value: bytes
) -> None:
    line = name + b": \t" + value + b" "
    if set(value) & set(b"\x00\r\n"):
        with pytest.raises(RequestRefused):
            header_field(line)
    else:
        assert header_field(line) == (name.lower(), value.strip(b" \t"))


@given(st.binary())
def test_any_line_is_a_header_or_refused_with_400(line: bytes) -> None:
    outcome = outcome_of(RequestRefused, header_field, line)
    if isinstance(outcome, RequestRefused):
        assert outcome.status == 400
        return
    name, value = outcome
    assert name
    assert name == name.lower()
    assert b":" not in name
    assert not set(value) & set(b"\x00\r\n")


@given(st.text())
def test_an_encoded_path_comes_back(path: str) -> None:
    encoded = b"/" + quote(path, safe="").encode()
    assert split_target(b"GET", encoded) == ("/" + path, b"")


@given(st.binary(), st.binary())
def test_the_query_is_left_as_it_is(path: bytes, query: bytes) -> None:
    target = b"/" + path.replace(b"?", b"") + b"?" + query
    outcome = outcome_of(RequestRefused, split_target, b"GET", target)
    if isinstance(outcome, RequestRefused):
        assert outcome.status == 400
    else:
        assert outcome[1] == query


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        (b"OPTIONS", b"*", "*"),
        (b"GET", b"http://a", "/"),
        (b"GET", b"HTTPS://a:1/b", "/b"),
        (b"GET", b"//a/b", "//a/b"),
    ],
)
def test_each_form_of_a_target_has_a_path(method: bytes, target: bytes, path: str) -> None:
    assert split_target(method, target)[0] == path


def test_an_absolute_target_without_a_path_keeps_its_query() -> None:
    assert split_target(b"GET", b"http://a?b=c") == ("/", b"b=c")


@pytest.mark.parametrize(
    ("version", "headers", "persistent"),
    [
        (b"HTTP/1.1", [], True),
        (b"HTTP/1.1", [(b"connection", b"close")], False),
        (b"HTTP/1.1", [(b"connection", b"x"), (b"connection", b"Close")], False),
        (b"HTTP/1.0", [], False),
        (b"HTTP/1.0", [(b"connection", b"Keep-Alive")], True),
        (b"HTTP/1.0", [(b"connection", b"keep-alive, close")], False),
    ],
)
def test_the_client_says_whether_the_connection_stays(
    version: bytes, headers: list[tuple[bytes, bytes]], persistent: bool
) -> None:
    assert read_head(version, [(b"host", b"a"), *headers]).persistent is persistent


def test_an_upgrade_counts_only_where_the_connection_header_names_it() -> None:
    upgrade = [(b"host", b"a"), (b"upgrade", b"WebSocket")]
    assert read_head(b"HTTP/1.1", upgrade).upgrade == frozenset()
    upgrade.append((b"connection", b"Upgrade"))
    assert read_head(b"HTTP/1.1", upgrade).upgrade == {b"websocket"}
    assert read_head(b"HTTP/1.0", upgrade).upgrade == frozenset()


def test_the_length_of_a_chunked_body_takes_the_place_of_its_coding() -> None:
    headers = [(b"transfer-encoding", b"chunked"), (b"a", b"b")]
    assert message_headers(headers, 3)[0] == [[b"a", b"b"], [b"content-length", b"3"]]
    assert message_headers(headers)[0] == [[b"transfer-encoding", b"chunked"], [b"a", b"b"]]


def test_addresses_are_pairs_or_nothing() -> None:
    assert address_pair(IPv4Address("TCP", "192.0.2.1", 80)) == ["192.0.2.1", 80]
    assert address_pair(IPv6Address("TCP", "2001:db8::1", 80)) == ["2001:db8::1", 80]
    assert address_pair(UNIXAddress(b"/run/x")) is None
    assert address_pair(None) is None


def test_the_message_holds_only_what_a_message_may() -> None:
    message = request_message(
        read_head(b"HTTP/1.1", [(b"host", b"a"), (b"x_y", b"b")]),
        reply_channel="r!1",
        method=b"GET",
        path="/",
        query=b"q",
        scheme="http",
        root_path="",
        body=b"body",
        chunked_length=None,
        client=["::1", 1],
        server=None,
    )
    assert seal(dict(message)) == message
    assert message.size >= len(b"body")
