"""The ids of requests, from the edge to every event and answer."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanserv.server.request_ids import HEADER, RequestIds
from tests.server.rig import HANDSHAKE, OK, Client, Rig, frame, web

SANE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}\Z")


def ids_of(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [value for name, value in headers if name == HEADER]


@given(st.lists(st.tuples(st.sampled_from([b"host", HEADER, b"x-a"]), st.binary(max_size=140))))
def test_whatever_comes_there_is_one_sane_id_afterwards(
    headers: list[tuple[bytes, bytes]],
) -> None:
    before = list(headers)
    taken = RequestIds().identify(headers)
    assert ids_of(headers) == [taken]
    assert SANE.match(taken)
    others = [field for field in before if field[0] != HEADER]
    assert [field for field in headers if field[0] != HEADER] == others
    sane = [value for value in ids_of(before) if SANE.match(value)]
    assert taken == sane[0] if sane else taken not in ids_of(before)


def test_ids_that_are_made_are_never_the_same() -> None:
    ids, others = RequestIds(), RequestIds()
    made = [one.identify([]) for one in (ids, others) for _ in range(1000)]
    assert len(set(made)) == 2000


def identified(script: object = web, **options: object) -> Rig:
    return Rig(script, request_ids=True, **options)  # type: ignore[arg-type]


def header_of(message: dict[str, object]) -> str:
    (value,) = ids_of([tuple(pair) for pair in message["headers"]])  # type: ignore[union-attr, misc]
    return value.decode()


def ask(rig: Rig, headers: bytes = b"") -> Client:
    return rig.connect().get(b"/", headers)


class TestRequests:
    def test_one_without_an_id_gets_one_which_its_answer_tells(self) -> None:
        rig = identified()
        _, headers, _ = ask(rig).response()
        (message,) = rig.worker.named("http.request")
        assert header_of(message) == headers[b"x-request-id"].decode()
        (disconnect,) = rig.disconnects()
        assert disconnect["request_id"] == header_of(message)

    def test_a_clients_own_is_kept(self) -> None:
        rig = identified()
        _, headers, _ = ask(rig, b"X-Request-ID: its/own:1=\r\n").response()
        assert headers[b"x-request-id"] == b"its/own:1="
        assert header_of(rig.worker.named("http.request")[0]) == "its/own:1="

    @pytest.mark.parametrize("value", [b"", b"a b", b'a"b', b"x" * 129, b"\xc3\xa4"])
    def test_what_would_spoil_a_log_is_replaced(self, value: bytes) -> None:
        rig = identified()
        _, headers, _ = ask(rig, b"X-Request-ID: " + value + b"\r\n").response()
        made = header_of(rig.worker.named("http.request")[0])
        assert made.encode() != value
        assert headers[b"x-request-id"] == made.encode()

    def test_the_sites_own_answer_stands(self) -> None:
        rig = identified(lambda *_: [{**OK, "headers": [[b"x-REQUEST-id", b"site"]]}])
        answer = ask(rig).take().lower()
        assert b"x-request-id: site\r\n" in answer
        assert answer.count(b"x-request-id:") == 1

    def test_an_answer_of_the_servers_own_tells_it_too(self) -> None:
        rig = identified(lambda *_: None, http_timeout=1.0)
        client = ask(rig, b"X-Request-ID: one\r\n")
        rig.advance(3)
        status, headers, _ = client.response()
        assert (status, headers[b"x-request-id"]) == (503, b"one")

    def test_without_ids_nothing_is_added_or_taken_away(self) -> None:
        rig = Rig(request_ids=False)
        _, headers, _ = ask(rig, b"X-Request-ID: a b\r\n").response()
        (message,) = rig.worker.named("http.request")
        assert [b"x-request-id", b"a b"] in message["headers"]
        assert b"x-request-id" not in headers
        assert "request_id" not in rig.disconnects()[0]


class TestSockets:
    def test_the_handshake_tells_its_id_and_every_later_event_carries_it(self) -> None:
        rig = identified()
        client = rig.connect().send(HANDSHAKE + b"X-Request-ID: sock-1\r\n\r\n")
        status, headers, _ = client.response()
        assert (status, headers[b"x-request-id"]) == (101, b"sock-1")
        client.send(frame(b"hello")).send(frame(b"bytes", 2)).leave()
        (connect,) = rig.worker.named("websocket.connect")
        assert header_of(connect) == "sock-1"
        later = [*rig.worker.named("websocket.receive"), *rig.worker.named("websocket.disconnect")]
        assert [message["request_id"] for message in later] == ["sock-1"] * 3

    def test_a_refused_handshake_tells_it(self) -> None:
        rig = identified(lambda *_: [{"accept": False}])
        client = rig.connect().send(HANDSHAKE + b"X-Request-ID: sock-2\r\n\r\n")
        status, headers, _ = client.response()
        assert (status, headers[b"x-request-id"]) == (403, b"sock-2")

    def test_with_a_subprotocol_too(self) -> None:
        rig = identified(lambda *_: [{"accept": True, "subprotocol": "chat"}])
        client = rig.connect().send(HANDSHAKE + b"Sec-WebSocket-Protocol: a, chat\r\n\r\n")
        _, headers, _ = client.response()
        assert headers[b"sec-websocket-protocol"] == b"chat"
        assert headers[b"x-request-id"]

    def test_without_ids_events_are_bare(self) -> None:
        rig = Rig(request_ids=False)
        client = rig.connect().send(HANDSHAKE + b"\r\n")
        assert b"x-request-id" not in client.response()[1]
        client.send(frame(b"hello")).leave()
        for channel in ("websocket.receive", "websocket.disconnect"):
            (message,) = rig.worker.named(channel)
            assert "request_id" not in message


class TestAccessLog:
    def lines(self, **options: object) -> list[str]:
        out = io.StringIO()
        rig = Rig(access_log=out, **options)  # type: ignore[arg-type]
        rig.connect().get(b"/", b"User-Agent: me\r\nX-Request-ID: abc\r\n")
        rig.connect().send(HANDSHAKE + b"X-Request-ID: def\r\n\r\n").leave()
        rig.advance(1)
        return out.getvalue().splitlines()

    def test_lines_end_with_the_id(self) -> None:
        request, handshake, closed = self.lines(request_ids=True)
        assert request.endswith('"me" "abc"')
        assert handshake.endswith(' "def"')
        assert "WEBSOCKET" in closed
        assert closed.endswith(' "def"')

    def test_without_ids_lines_are_in_the_bare_format(self) -> None:
        assert self.lines(request_ids=False)[0].endswith('"-" "me"')


class TestServerName:
    def test_it_is_said_where_the_site_says_none(self) -> None:
        rig = Rig(server_name="mine")
        assert ask(rig).response()[1][b"server"] == b"mine"
        assert rig.connect().send(b"nonsense\r\n\r\n").response()[1][b"server"] == b"mine"

    def test_the_sites_own_stands(self) -> None:
        rig = Rig(lambda *_: [{**OK, "headers": [[b"Server", b"site"]]}], server_name="mine")
        assert ask(rig).take().count(b"Server: ") == 1

    def test_an_empty_one_is_not_sent(self) -> None:
        rig = Rig(server_name="")
        assert b"server" not in ask(rig).response()[1]

    def test_without_it_the_server_says_its_own(self) -> None:
        assert ask(Rig()).response()[1][b"server"] == b"chanserv"
