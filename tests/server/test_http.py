"""HTTP connections, on a clock."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import fail

from chanserv.server import Limits
from tests.server.rig import OK, Rig


def nothing(channel: str, message: dict[str, Any]) -> None:
    """The script of a site that never answers."""


def silent(**options: Any) -> Rig:
    return Rig(nothing, **options)


# The request message.


def test_a_request_becomes_a_message_of_the_spec() -> None:
    rig = Rig(root_path="/mnt/")
    client = rig.connect()
    client.send(
        b"PUT /mnt/caf%C3%A9%20x?a=%20b&c HTTP/1.1\r\nHost: example.org\r\n"
        b"X-One: 1\r\nACCEPT:  a\r\nx-one: 2\r\nx_one: 3\r\nContent-Length: 4\r\n\r\nbody"
    )
    [message] = rig.worker.named("http.request")
    reply_channel = message.pop("reply_channel")
    assert reply_channel.startswith(rig.server.mailbox)
    assert message == {
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/mnt/café x",
        "query_string": b"a=%20b&c",
        "root_path": "/mnt",
        "headers": [
            [b"host", b"example.org"],
            [b"x-one", b"1"],
            [b"accept", b"a"],
            [b"x-one", b"2"],
            [b"content-length", b"4"],
        ],
        "body": b"body",
        "client": ["192.0.2.7", 54321],
        "server": ["192.0.2.1", 80],
    }


def test_a_client_of_a_unix_socket_has_no_address() -> None:
    rig = Rig()
    rig.connect(UNIXAddress("")).get()
    assert rig.worker.named("http.request")[0]["client"] is None


def test_a_path_that_is_not_utf_8_is_a_bad_request() -> None:
    rig = Rig()
    client = rig.connect().get(b"/%ff")
    assert client.status() == 400
    assert client.gone
    assert rig.worker.events == []


def test_a_path_is_percent_decoded_once() -> None:
    rig = Rig()
    rig.connect().get(b"/a%2520b%2Fc")
    assert rig.worker.named("http.request")[0]["path"] == "/a%20b/c"


def test_a_chunked_body_arrives_with_its_length() -> None:
    rig = Rig()
    rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: t\r\n\r\n"
    )
    [message] = rig.worker.named("http.request")
    assert message["body"] == b"wikipedia"
    assert message["headers"] == [[b"host", b"a"], [b"content-length", b"9"]]


def test_an_empty_chunked_body_arrives_with_its_length_too() -> None:
    rig = Rig()
    rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    [message] = rig.worker.named("http.request")
    assert message["headers"] == [[b"host", b"a"], [b"content-length", b"0"]]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", 400),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://me@b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
    ],
)
def test_a_malformed_request_costs_its_own_connection(head: bytes, status: int) -> None:
    rig = Rig()
    other = rig.connect()
    client = rig.connect().send(head)
    assert client.status() == status
    assert client.gone
    assert rig.worker.events == []
    assert rig.counts.bad_requests == 1
    assert other.get().status() == 200


def test_what_a_refused_client_still_sends_is_thrown_away() -> None:
    rig = Rig()
    client = rig.connect().send(b"nonsense\r\n\r\n")
    client.take()
    client.get()
    assert client.take() == b""
    assert rig.worker.events == []


def test_an_absolute_target_is_served_like_a_path() -> None:
    rig = Rig()
    rig.connect().get(b"http://example.org/x?y")
    [message] = rig.worker.named("http.request")
    assert (message["path"], message["query_string"]) == ("/x", b"y")


def test_the_host_of_an_absolute_target_takes_the_place_of_the_header() -> None:
    rig = Rig()
    rig.connect().send(
        b"GET http://[::1]:8000/x HTTP/1.1\r\nAccept: */*\r\nHost: example.org\r\n\r\n"
    )
    [message] = rig.worker.named("http.request")
    assert message["headers"] == [[b"host", b"[::1]:8000"], [b"accept", b"*/*"]]


# The response.


def test_a_whole_response_gets_its_length_and_the_connection_stays() -> None:
    rig = Rig()
    client = rig.connect().get()
    status, headers, body = client.response()
    assert status == 200
    assert headers[b"content-length"] == b"4"
    assert headers[b"content-type"] == b"text/plain"
    assert headers[b"server"] == b"chanserv"
    assert headers[b"date"].endswith(b"GMT")
    assert b"connection" not in headers
    assert body == b"fine"
    assert client.get().status() == 200
    assert not client.gone


def test_a_site_may_set_its_own_date_and_server() -> None:
    headers = [[b"Server", b"mine"], [b"DATE", b"today"]]
    rig = Rig(lambda channel, message: [{"status": 200, "headers": headers}])
    data = rig.connect().get().take()
    assert data.count(b"Server: ") == 1
    assert b"Server: mine" in data
    assert data.lower().count(b"date: ") == 1


def test_cookies_are_sent_in_their_order() -> None:
    headers = [[b"Set-Cookie", b"a=1"], [b"X", b"y"], [b"Set-Cookie", b"b=2"]]
    rig = Rig(lambda channel, message: [{"status": 200, "headers": headers, "content": b""}])
    data = rig.connect().get().take()
    assert data.index(b"Set-Cookie: a=1") < data.index(b"X: y") < data.index(b"Set-Cookie: b=2")


def test_parts_go_in_chunks() -> None:
    rig = Rig(
        lambda channel, message: (
            [
                {"status": 200, "headers": [], "content": b"one", "more_content": True},
                {"content": b"", "more_content": True},
                {"content": b"three", "more_content": False},
            ]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().get()
    _, headers, body = client.response()
    assert headers[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in headers
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
    assert not client.gone


def test_parts_for_http_1_0_end_with_the_connection() -> None:
    rig = Rig(
        lambda channel, message: [
            {"status": 200, "headers": [], "content": b"one", "more_content": True},
            {"content": b"two"},
        ]
    )
    client = rig.connect().send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    _, headers, body = client.response()
    assert b"transfer-encoding" not in headers
    assert headers[b"connection"] == b"close"
    assert body == b"onetwo"
    assert client.gone


def test_an_http_1_0_connection_stays_open_when_asked() -> None:
    rig = Rig()
    client = rig.connect().send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    _, headers, _ = client.response()
    assert headers[b"connection"] == b"keep-alive"
    assert not client.gone
    assert rig.worker.named("http.request")[0]["http_version"] == "1.0"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n",
    ],
)
def test_a_connection_closes_when_the_client_wants_it(request_bytes: bytes) -> None:
    client = Rig().connect().send(request_bytes)
    _, headers, body = client.response()
    assert headers[b"connection"] == b"close"
    assert body == b"fine"
    assert client.gone


def test_parts_of_an_announced_length_are_sent_as_they_are() -> None:
    rig = Rig(
        lambda channel, message: (
            [
                {
                    "status": 206,
                    "headers": [[b"Content-Length", b"6"]],
                    "content": b"one",
                    "more_content": True,
                },
                {"content": b"two"},
            ]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().get()
    _, headers, body = client.response()
    assert headers[b"content-length"] == b"6"
    assert body == b"onetwo"
    assert not client.gone


def test_a_body_over_its_announced_length_is_cut() -> None:
    rig = Rig(
        lambda channel, message: (
            [
                {"status": 200, "headers": [[b"Content-Length", b"4"]], "more_content": True},
                {"content": b"onetwo"},
            ]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().get()
    assert client.response()[2] == b"onet"
    assert not client.gone


def test_a_body_short_of_its_announced_length_ends_the_connection() -> None:
    rig = Rig(
        lambda channel, message: (
            [
                {"status": 200, "headers": [[b"Content-Length", b"9"]], "more_content": True},
                {"content": b"one"},
            ]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().get()
    assert client.transport.lost == "aborted"
    assert len(rig.disconnects()) == 1


def test_a_wrong_length_of_a_whole_response_is_mended() -> None:
    reply = {"status": 200, "headers": [[b"Content-Length", b"99"]], "content": b"four"}
    rig = Rig(lambda channel, message: [reply])
    _, headers, body = rig.connect().get().response()
    assert (headers[b"content-length"], body) == (b"4", b"four")
    assert rig.counts.headers_refused == 1


@pytest.mark.parametrize("more", [False, True])
def test_head_gets_the_head_and_no_body(more: bool) -> None:
    rig = Rig(
        lambda channel, message: (
            [
                {"status": 200, "headers": [], "content": b"body", "more_content": more},
                *([{"content": b"rest"}] if more else []),
            ]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    _, headers, body = client.response()
    assert headers.get(b"content-length") == (None if more else b"4")
    assert b"transfer-encoding" not in headers
    assert body == b""
    assert not client.gone
    assert len(rig.disconnects()) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none(status: int) -> None:
    rig = Rig(lambda channel, message: [{"status": status, "headers": [], "content": b"oops"}])
    _, headers, body = rig.connect().get().response()
    assert body == b""
    assert b"content-length" not in headers
    assert b"transfer-encoding" not in headers


@pytest.mark.parametrize(
    "header",
    [
        [b"Connection", b"close"],
        [b"Transfer-Encoding", b"chunked"],
        [b"Keep-Alive", b"1"],
        [b"Upgrade", b"h2c"],
        [b"X-Evil", b"a\r\nSet-Cookie: x=y"],
        [b"X-Evil", b"a\nb"],
        [b"X-Evil", b"a\x00b"],
        [b"X Evil", b"a"],
        [b"X-Evil\r\nX", b"a"],
        [b"", b"a"],
        [b"Content-Length", b"abc"],
    ],
)
def test_a_header_that_a_site_must_not_set_is_left_out(header: list[bytes]) -> None:
    reply = {"status": 200, "headers": [[b"x-good", b"1"], header], "content": b"fine"}
    rig = Rig(lambda channel, message: [reply])
    client = rig.connect().get()
    data = client.take()
    assert data.startswith(b"HTTP/1.1 200 OK\r\nx-good: 1\r\nDate: ")
    assert b"Evil" not in data
    assert data.count(b"\r\n\r\n") == 1
    assert data.endswith(b"Content-Length: 4\r\n\r\nfine")
    assert rig.counts.headers_refused == 1


@pytest.mark.parametrize(
    "reply",
    [
        {"foo": 1},
        {"content": b"no status"},
        {"status": "200"},
        {"status": 99},
        {"status": 101},
        {"status": True},
        {"status": 200, "headers": "text"},
        {"status": 200, "headers": [[b"one"]]},
        {"status": 200, "headers": [["text", "text"]]},
        {"status": 200, "content": "text"},
        {"status": 200, "more_content": "yes"},
    ],
)
def test_a_reply_that_cannot_be_used_is_answered_500(reply: dict[str, Any]) -> None:
    rig = Rig(lambda channel, message: [reply])
    client = rig.connect().get()
    assert client.status() == 500
    assert not client.gone
    assert rig.counts.bad_replies == 1
    assert len(rig.disconnects()) == 1


@pytest.mark.parametrize("reply", [{"foo": 1}, {"status": 200}, {"content": "text"}])
def test_a_bad_part_of_a_begun_response_ends_the_connection(reply: dict[str, Any]) -> None:
    rig = Rig(
        lambda channel, message: (
            [{"status": 200, "content": b"a", "more_content": True}, reply]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect().get()
    assert client.transport.lost == "aborted"
    assert rig.counts.bad_replies == 1
    assert len(rig.disconnects()) == 1


def test_a_late_reply_never_answers_the_next_request() -> None:
    rig = silent()
    client = rig.connect().get(b"/one")
    first = rig.worker.named("http.request")[0]["reply_channel"]
    rig.reply(first, OK)
    client.take()
    client.get(b"/two")
    rig.reply(first, {"status": 200, "content": b"late"})
    assert client.take() == b""
    assert rig.counts.late == 1
    second = rig.worker.named("http.request")[1]["reply_channel"]
    rig.reply(second, OK)
    assert client.response()[2] == b"fine"


# Keep-alive and pipelining.


def test_pipelined_requests_are_answered_in_order() -> None:
    rig = Rig(
        lambda channel, message: (
            [{"status": 200, "content": message["path"].encode()}]
            if channel == "http.request"
            else None
        )
    )
    client = rig.connect()
    client.send(
        b"".join(b"GET /page%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5)),
        turn=False,
    )
    for _ in range(8):
        rig.turn()
    data = client.take()
    assert [data.index(b"/page%d" % number) for number in range(5)] == sorted(
        data.index(b"/page%d" % number) for number in range(5)
    )
    assert data.count(b"HTTP/1.1 200 OK") == 5
    assert [message["reply_channel"] for message in rig.disconnects()] == [
        message["reply_channel"] for message in rig.worker.named("http.request")
    ]


def test_requests_sent_ahead_are_held_in_bounded_measure() -> None:
    rig = silent()
    client = rig.connect().get()
    for _ in range(20):
        client.send(b"x" * 1000, turn=False)
    assert not client.transport.reading


def test_http_disconnect_follows_every_response_once() -> None:
    rig = Rig()
    client = rig.connect().get(b"/a").get(b"/b")
    client.leave()
    requests = rig.worker.named("http.request")
    assert rig.disconnects() == [
        {"reply_channel": request["reply_channel"], "path": request["path"]} for request in requests
    ]


def test_http_disconnect_follows_once_when_the_client_leaves() -> None:
    rig = silent()
    client = rig.connect().get().leave()
    assert len(rig.disconnects()) == 1
    [request] = rig.worker.named("http.request")
    rig.reply(request["reply_channel"], OK)
    assert client.take() == b""
    assert len(rig.disconnects()) == 1


def test_a_client_that_leaves_while_uploading_leaves_no_event() -> None:
    rig = Rig()
    rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").leave()
    assert rig.worker.events == []


# What becomes of the request.


def test_a_full_queue_is_answered_503_with_retry_after() -> None:
    rig = silent(layer_options={"capacity": 1}, limits=Limits(full_patience=2))
    rig.worker.channels = ()
    rig.connect().get()
    client = rig.connect().get()
    rig.advance(1.5)
    assert client.take() == b""
    rig.advance(1)
    status, headers, _ = client.response()
    assert status == 503
    assert int(headers[b"retry-after"]) > 0
    assert not client.gone
    assert rig.counts.full == 1


def test_without_patience_a_full_queue_is_answered_503_at_once() -> None:
    rig = silent(layer_options={"capacity": 1}, limits=Limits(full_patience=0))
    rig.worker.channels = ()
    rig.connect().get()
    assert rig.connect().get().status() == 503


def test_a_burst_over_the_capacity_is_served_in_its_order() -> None:
    rig = Rig(layer_options={"capacity": 10})
    clients = [rig.connect() for _ in range(300)]
    for number, client in enumerate(clients):
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number, turn=False)
    rig.advance(2)
    assert {client.status() for client in clients} == {200}
    paths = [message["path"] for message in rig.worker.named("http.request")]
    assert paths == [f"/{number}" for number in range(300)]
    assert rig.counts.full == 0


def test_requests_that_end_all_at_once_are_told_of_beyond_the_capacity() -> None:
    rig = silent(layer_options={"capacity": 10})
    clients = [rig.connect().get() for _ in range(100)]
    for message in rig.worker.named("http.request"):
        rig.layer.group_add("waiting", message["reply_channel"])
    rig.layer.send_group("waiting", OK)
    for _ in range(20):
        rig.advance(0.06)
    assert {client.status() for client in clients} == {200}
    assert len(rig.disconnects()) == 100
    assert rig.counts.disconnects_dropped == 0


def test_ends_of_requests_that_nobody_reads_leave_room_for_requests() -> None:
    rig = Rig(layer_options={"capacity": 10}, limits=Limits(parked_events=20))
    rig.worker.channels = ("http.request",)
    for _ in range(50):
        rig.connect().get()
    assert rig.counts.disconnects_dropped == 30
    clients = [rig.connect() for _ in range(20)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", turn=False)
    rig.turn()
    rig.advance(1)
    assert {client.status() for client in clients} == {200}


@pytest.mark.parametrize("limits", [Limits(parked_events=5), Limits(parked_bytes=3000)])
def test_what_waits_for_room_is_bounded(limits: Limits) -> None:
    rig = silent(layer_options={"capacity": 1}, limits=limits)
    rig.worker.channels = ()
    clients = [rig.connect().get(headers=b"X: " + b"y" * 300 + b"\r\n") for _ in range(20)]
    waiting = [client.take() == b"" for client in clients]
    assert 3 < sum(waiting) < 10
    assert waiting == sorted(waiting, reverse=True)


def test_a_client_that_leaves_while_its_request_waits_for_room_leaves_the_row() -> None:
    rig = silent(layer_options={"capacity": 1})
    rig.worker.channels = ()
    rig.connect().get(b"/one")
    rig.connect().get(b"/two").leave()
    rig.connect().get(b"/three")
    assert rig.counts.parked_now == 1
    rig.worker.channels = ("http.request", "http.disconnect")
    rig.advance(0.5)
    assert [(name, message["path"]) for name, message in rig.worker.events] == [
        ("http.request", "/one"),
        ("http.request", "/three"),
    ]


def test_a_client_that_leaves_before_its_request_found_room_leaves_no_event() -> None:
    rig = silent(layer_options={"capacity": 1})
    rig.worker.channels = ()
    rig.connect().get(b"/one")
    rig.connect().get(b"/two").leave()
    rig.advance(3)
    rig.worker.channels = ("http.request", "http.disconnect")
    rig.turn()
    assert [message["path"] for _, message in rig.worker.events] == ["/one"]


def test_a_request_that_nobody_answers_is_answered_503() -> None:
    rig = silent(http_timeout=20)
    client = rig.connect().get()
    rig.advance(19)
    assert client.take() == b""
    rig.advance(2)
    assert client.status() == 503
    assert rig.counts.unanswered == 1
    assert len(rig.disconnects()) == 1


def test_a_request_that_expires_unread_is_answered_503_at_once() -> None:
    rig = silent(layer_options={"expiry": 5})
    rig.worker.channels = ()
    client = rig.connect().get()
    rig.advance(7)
    status, headers, _ = client.response()
    assert status == 503
    assert b"retry-after" in headers
    assert rig.counts.expired == 1


def test_a_request_whose_worker_dies_is_answered_502() -> None:
    from chanserv.messages import Outcome

    rig = silent()
    rig.worker.settling = False
    client = rig.connect().get()
    rig.worker.open[0].settle(Outcome.LOST)
    rig.turn()
    assert client.status() == 502
    assert rig.counts.lost == 1


def test_a_settled_request_still_waits_for_its_answer() -> None:
    rig = silent()
    client = rig.connect().get()
    assert client.take() == b""
    rig.reply(rig.worker.named("http.request")[0]["reply_channel"], OK)
    assert client.status() == 200


def test_a_closed_layer_is_answered_503() -> None:
    rig = silent()
    rig.layer.close()
    client = rig.connect().get()
    assert client.status() == 503
    assert rig.counts.unavailable == 1


def test_a_request_over_the_size_that_the_layer_carries_is_answered_413() -> None:
    rig = Rig(layer_options={"max_message_size": 1000})
    client = rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
    )
    assert client.status() == 413
    assert rig.disconnects() == []


def test_a_layer_that_fails_in_a_way_it_should_not_is_answered_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    monkeypatch.setattr(rig.layer, "send_batch", lambda operations: fail(RuntimeError("oops")))
    assert rig.connect().get().status() == 503


# Limits.


def test_too_many_header_bytes_are_refused() -> None:
    rig = Rig(limits=Limits(header_bytes=1000))
    client = rig.connect().get(headers=b"".join(b"X-%d: yyyyyyyyyy\r\n" % n for n in range(100)))
    assert client.status() == 431
    assert client.gone


def test_one_endless_header_is_refused() -> None:
    rig = Rig(limits=Limits(header_bytes=1000))
    client = rig.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2000)
    assert client.status() == 431


def test_an_endless_request_line_is_refused() -> None:
    rig = Rig(limits=Limits(header_bytes=1000))
    assert rig.connect().send(b"GET /" + b"y" * 2000).status() == 414


def test_headers_up_to_the_limit_are_taken() -> None:
    rig = Rig(limits=Limits(header_bytes=40_000))
    assert rig.connect().get(headers=b"X: " + b"y" * 39_000 + b"\r\n").status() == 200


def test_too_many_headers_are_refused() -> None:
    rig = Rig(limits=Limits(header_count=10))
    assert rig.connect().get(headers=b"X: y\r\n" * 9).status() == 200
    assert rig.connect().get(headers=b"X: y\r\n" * 10).status() == 431


def test_an_announced_body_over_the_limit_is_refused_unread() -> None:
    rig = Rig(limits=Limits(body_bytes=1000))
    client = rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"
    )
    assert client.status() == 413
    assert client.gone


def test_a_chunked_body_over_the_limit_is_refused() -> None:
    rig = Rig(limits=Limits(body_bytes=1000))
    client = rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(4):
        client.send(b"12c\r\n" + b"x" * 300 + b"\r\n", turn=False)
    assert client.status() == 413
    rig.turn()
    assert rig.worker.events == []


def test_a_body_at_the_limit_is_taken() -> None:
    rig = Rig(limits=Limits(body_bytes=1000))
    client = rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    )
    assert client.status() == 200


def test_a_client_that_waits_for_a_go_ahead_gets_it() -> None:
    rig = Rig()
    client = rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n"
    )
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"body").status() == 200


def test_headers_that_trickle_in_have_one_deadline_in_all() -> None:
    rig = Rig(limits=Limits(header_timeout=10))
    client = rig.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for _ in range(12):
        rig.advance(1)
        client.send(b"X: y\r\n")
    assert client.status() == 408
    assert client.gone
    assert rig.counts.connections_timed_out == 1


def test_a_silent_new_connection_is_closed() -> None:
    rig = Rig(limits=Limits(header_timeout=10))
    client = rig.connect()
    rig.advance(9)
    assert not client.gone
    rig.advance(2)
    assert client.gone
    assert client.take() == b""


def test_an_idle_connection_is_closed() -> None:
    rig = Rig(limits=Limits(keep_alive_timeout=30))
    client = rig.connect().get()
    client.take()
    rig.advance(29)
    assert not client.gone
    rig.advance(2)
    assert client.transport.lost == "closed"


def test_a_body_that_stops_coming_is_refused() -> None:
    rig = Rig(limits=Limits(body_timeout=10))
    client = rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
    rig.advance(11)
    assert client.status() == 408
    assert client.gone


def test_a_body_that_trickles_is_refused() -> None:
    rig = Rig(limits=Limits(body_timeout=10, body_rate=100))
    client = rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
    for _ in range(12):
        rig.advance(1)
        client.send(b"x")
    assert client.status() == 408


def test_a_slow_but_steady_body_is_taken() -> None:
    rig = Rig(limits=Limits(body_timeout=10, body_rate=100))
    client = rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n")
    for _ in range(30):
        rig.advance(1)
        client.send(b"x" * 200)
    assert client.status() == 200


def test_connections_over_the_limit_are_answered_503_and_closed() -> None:
    rig = Rig(limits=Limits(connections=2))
    first, second, third = (rig.connect() for _ in range(3))
    status, headers, _ = third.response()
    assert status == 503
    assert b"retry-after" in headers
    assert third.gone
    assert rig.counts.connections_refused == 1
    first.leave()
    third.leave()
    assert rig.connect().get().status() == 200
    assert second.get().status() == 200


def test_a_flood_of_connections_over_the_limit_is_reset() -> None:
    rig = Rig(limits=Limits(connections=1))
    clients = [rig.connect() for _ in range(30)]
    rig.turn()
    assert clients[-1].transport.lost == "aborted"


def test_a_refused_client_that_stays_is_dropped() -> None:
    rig = Rig(limits=Limits(linger_timeout=2))
    client = rig.connect().send(b"nonsense\r\n\r\n")
    assert client.transport.half_closed
    rig.advance(3)
    assert client.transport.lost == "closed"
    assert rig.counts.connections_open == 0


def test_a_connection_that_does_not_close_is_dropped() -> None:
    rig = Rig(limits=Limits(linger_timeout=2, send_timeout=20))
    client = rig.connect().send(b"nonsense\r\n\r\n")
    client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
    rig.advance(21)
    assert client.transport.lost is None
    rig.advance(3)
    assert client.transport.lost == "aborted"


# Back-pressure.


def streaming_rig(**options: Any) -> tuple[Rig, Any, str]:
    rig = silent(**options)
    client = rig.connect().get()
    channel = rig.worker.named("http.request")[0]["reply_channel"]
    return rig, client, channel


def receipts(rig: Rig, name: str) -> list[Any]:
    """The receipts on C{name} so far."""
    receive = rig.layer.receive([name], limit=100)
    if not receive.called:
        receive.addErrback(lambda failure: None)
        receive.cancel()
        return []
    found: list[Any] = []
    receive.addCallback(found.extend)
    return [delivery.message["receipt"] for delivery in found]


def test_a_part_is_settled_once_the_transport_wants_more() -> None:
    rig, client, channel = streaming_rig()
    rig.reply(channel, {"status": 200, "more_content": True, "content": b"1"}, receipt="r?1")
    assert receipts(rig, "r?1") == ["settled"]
    client.transport.fill()
    rig.reply(channel, {"content": b"2", "more_content": True}, receipt="r?2")
    assert receipts(rig, "r?2") == []
    client.transport.drain()
    rig.turn()
    assert receipts(rig, "r?2") == ["settled"]


def test_an_empty_part_holds_nothing_up() -> None:
    rig, client, channel = streaming_rig()
    rig.reply(channel, {"status": 200, "more_content": True})
    client.transport.fill()
    rig.reply(channel, {"content": b"", "more_content": True}, receipt="r?1")
    assert receipts(rig, "r?1") == ["settled"]
    assert client.response()[2] == b""


def test_a_part_for_a_client_that_left_is_settled_as_lost() -> None:
    rig, client, channel = streaming_rig()
    rig.reply(channel, {"status": 200, "more_content": True})
    client.transport.fill()
    rig.reply(channel, {"content": b"2", "more_content": True}, receipt="r?2")
    client.leave()
    assert receipts(rig, "r?2") == ["lost"]
    rig.reply(channel, {"content": b"3", "more_content": True}, receipt="r?3")
    assert receipts(rig, "r?3") == ["lost"]


def test_a_client_that_does_not_read_costs_its_own_connection() -> None:
    rig, client, channel = streaming_rig(limits=Limits(unsent_bytes=1000))
    rig.reply(channel, {"status": 200, "more_content": True})
    client.transport.fill()
    for _ in range(12):
        rig.reply(channel, {"content": b"x" * 100, "more_content": True})
    assert client.transport.lost == "aborted"
    assert rig.counts.overflows == 1
    assert len(rig.disconnects()) == 1
    assert rig.connect().get().gone is False


def test_a_client_that_stops_reading_for_long_is_dropped() -> None:
    rig, client, channel = streaming_rig(limits=Limits(send_timeout=30))
    rig.reply(channel, {"status": 200, "more_content": True})
    client.transport.fill()
    rig.advance(29)
    assert not client.gone
    rig.advance(2)
    assert client.transport.lost == "aborted"


def test_a_begun_response_may_pause_for_longer_than_the_time_out() -> None:
    rig, client, channel = streaming_rig(http_timeout=10)
    rig.reply(channel, {"status": 200, "more_content": True})
    rig.advance(60)
    rig.reply(channel, {"content": b"late", "more_content": False})
    assert client.response()[2] == b"4\r\nlate\r\n0\r\n\r\n"


def test_a_slow_reader_of_a_finished_response_is_not_idle() -> None:
    rig = Rig(limits=Limits(keep_alive_timeout=10, send_timeout=100))
    client = rig.connect().get()
    client.transport.fill()
    rig.advance(50)
    assert not client.gone
    client.transport.drain()
    rig.advance(9)
    assert not client.gone
    rig.advance(2)
    assert client.gone


def test_a_worker_that_dies_in_the_middle_ends_the_connection() -> None:
    from chanserv.messages import Outcome

    rig = Rig(
        lambda channel, message: (
            [{"status": 200, "more_content": True, "content": b"a"}]
            if channel == "http.request"
            else None
        )
    )
    rig.worker.settling = False
    client = rig.connect().get()
    rig.worker.open[0].settle(Outcome.LOST)
    rig.turn()
    assert client.transport.lost == "aborted"
