"""WebSockets, on a clock."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from chanserv.messages import Outcome
from chanserv.server import Limits
from chanserv.server.replies import encode_frame
from tests.server.rig import HANDSHAKE, Client, Rig, frame, frames


def nothing(channel: str, message: dict[str, Any]) -> None:
    """The script of a site that never says anything."""


def accepting(channel: str, message: dict[str, Any]) -> Any:
    """The script of a site that accepts, and says nothing more."""
    return [{"accept": True}] if channel == "websocket.connect" else None


def handshake(rig: Rig, headers: bytes = b"") -> Client:
    return rig.connect().send(HANDSHAKE + headers + b"\r\n")


def opened(rig: Rig, headers: bytes = b"") -> Client:
    client = handshake(rig, headers)
    assert client.status() == 101
    return client


def channel_of(rig: Rig) -> str:
    channel: str = rig.worker.named("websocket.connect")[-1]["reply_channel"]
    return channel


def closed_with(client: Client) -> int:
    """The code of the close frame that the server has sent last."""
    opcode, payload = frames(client.take())[-1]
    assert opcode == 8
    return int.from_bytes(payload[:2], "big")


# The handshake.


def test_a_handshake_becomes_a_message_of_the_spec() -> None:
    rig = Rig(nothing, root_path="/x")
    handshake(rig, b"Sec-WebSocket-Protocol: chat, other\r\nx_y: 1\r\n")
    [message] = rig.worker.named("websocket.connect")
    assert message.pop("reply_channel").startswith(rig.server.mailbox)
    headers = message.pop("headers")
    assert [b"upgrade", b"websocket"] in headers
    assert [b"x_y", b"1"] not in headers
    assert message == {
        "scheme": "ws",
        "path": "/chat",
        "query_string": b"",
        "root_path": "/x",
        "subprotocols": ["chat", "other"],
        "client": ["192.0.2.7", 54321],
        "server": ["192.0.2.1", 80],
        "order": 0,
    }


def test_a_handshake_waits_for_the_consumer() -> None:
    rig = Rig(nothing)
    client = handshake(rig)
    assert client.take() == b""
    rig.reply(channel_of(rig), {"accept": True})
    status, headers, _ = client.response()
    assert status == 101
    assert headers[b"sec-websocket-accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert b"sec-websocket-protocol" not in headers
    assert rig.counts.sockets_open == 1
    assert rig.counts.connections_open == 1


def test_a_consumer_that_refuses_gives_403() -> None:
    rig = Rig(lambda channel, message: [{"accept": False, "text": "ignored"}])
    client = handshake(rig)
    assert client.status() == 403
    assert client.gone
    assert rig.counts.handshakes_refused == 1
    [message] = rig.worker.named("websocket.disconnect")
    assert (message["code"], message["order"]) == (1006, 1)


@pytest.mark.parametrize(
    ("reply", "status", "sent"),
    [
        ({"accept": True}, 101, []),
        ({"accept": True, "text": "hi"}, 101, [(1, b"hi")]),
        ({"accept": True, "close": 4000}, 101, [(8, b"\x0f\xa0")]),
        ({"accept": None, "text": "hi"}, 101, [(1, b"hi")]),
        ({"bytes": b"\x00"}, 101, [(2, b"\x00")]),
        ({"text": "hi", "close": True}, 101, [(1, b"hi"), (8, b"\x03\xe8")]),
        ({"close": True}, 403, []),
        ({"close": 4001}, 403, []),
        ({"accept": False}, 403, []),
        ({"accept": "yes"}, 500, []),
        ({"foo": 1}, 500, []),
    ],
)
def test_the_first_reply_decides_as_the_spec_says(
    reply: dict[str, Any], status: int, sent: list[tuple[int, bytes]]
) -> None:
    rig = Rig(lambda channel, message: [reply] if channel == "websocket.connect" else None)
    got, _, rest = handshake(rig).response()
    assert got == status
    if status == 101:
        assert frames(rest) == sent


@pytest.mark.parametrize("reply", [{"text": ""}, {"text": "a", "bytes": b"a"}, {"close": False}])
def test_a_reply_that_decides_nothing_leaves_the_handshake_waiting(reply: dict[str, Any]) -> None:
    rig = Rig(lambda channel, message: [reply] if channel == "websocket.connect" else None)
    client = handshake(rig)
    assert client.take() == b""
    rig.reply(channel_of(rig), {"accept": True})
    assert client.status() == 101


def test_the_consumer_chooses_among_the_offered_subprotocols() -> None:
    rig = Rig(lambda channel, message: [{"accept": True, "subprotocol": "b"}])
    _, headers, _ = handshake(rig, b"Sec-WebSocket-Protocol: a, b\r\n").response()
    assert headers[b"sec-websocket-protocol"] == b"b"


def test_a_subprotocol_that_was_not_offered_is_left_out() -> None:
    rig = Rig(lambda channel, message: [{"accept": True, "subprotocol": "z"}])
    status, headers, _ = handshake(rig, b"Sec-WebSocket-Protocol: a, b\r\n").response()
    assert status == 101
    assert b"sec-websocket-protocol" not in headers


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 8"), 426),
        ((b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"not base64!"), 400),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), 400),
        ((b"GET", b"POST"), 405),
        ((b"/chat", b"/%ff"), 400),
        ((b"Host: example.org\r\n", b""), 400),
        ((b"Host: example.org\r\n", b"Host: a\r\nSec-WebSocket-Protocol: a, a\r\n"), 400),
        ((b"Host: example.org\r\n", b"Host: a\r\nSec-WebSocket-Protocol: a b\r\n"), 400),
        ((b"Host: example.org\r\n", b"Host: a\r\nContent-Length: 4\r\n"), 400),
    ],
)
def test_an_invalid_handshake_is_refused(change: tuple[bytes, bytes], status: int) -> None:
    rig = Rig()
    client = rig.connect().send(HANDSHAKE.replace(*change) + b"\r\n")
    got, headers, _ = client.response()
    assert got == status
    assert client.gone
    assert rig.worker.events == []
    if status == 426:
        assert headers[b"sec-websocket-version"] == b"13"
        assert headers[b"upgrade"] == b"websocket"


def test_an_upgrade_to_something_else_is_an_ordinary_request() -> None:
    rig = Rig()
    client = rig.connect().get(headers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    assert client.status() == 200


def test_a_handshake_that_nobody_answers_gets_503() -> None:
    rig = Rig(nothing, limits=Limits(handshake_timeout=10))
    client = handshake(rig)
    rig.advance(9)
    assert client.take() == b""
    rig.advance(2)
    status, headers, _ = client.response()
    assert status == 503
    assert b"retry-after" in headers
    assert rig.counts.unanswered == 1
    assert len(rig.worker.named("websocket.disconnect")) == 1
    rig.reply(channel_of(rig), {"accept": True})
    assert client.take() == b""


def test_a_full_queue_refuses_the_handshake_with_503_and_sends_no_disconnect() -> None:
    rig = Rig(layer_options={"capacity": 1})
    rig.worker.channels = ()
    handshake(rig)
    client = handshake(rig)
    rig.advance(3)
    status, headers, _ = client.response()
    assert status == 503
    assert b"retry-after" in headers
    client.leave()
    rig.worker.channels = ("websocket.connect", "websocket.disconnect")
    rig.turn()
    assert rig.worker.named("websocket.disconnect") == []
    assert rig.counts.full == 1


def test_a_handshake_that_expires_unread_gets_503_at_once() -> None:
    rig = Rig(layer_options={"expiry": 3})
    rig.worker.channels = ()
    client = handshake(rig)
    rig.advance(5)
    assert client.status() == 503


def test_a_handshake_whose_worker_dies_gets_502() -> None:
    rig = Rig(nothing)
    rig.worker.settling = False
    client = handshake(rig)
    rig.worker.open[0].settle(Outcome.LOST)
    rig.turn()
    assert client.status() == 502


def test_a_client_that_leaves_in_the_handshake_is_told_of() -> None:
    rig = Rig(nothing)
    handshake(rig).leave()
    [message] = rig.worker.named("websocket.disconnect")
    assert (message["code"], message["order"]) == (1006, 1)
    rig.reply(channel_of(rig), {"accept": True})
    assert rig.counts.late == 1
    assert rig.counts.connections_open == 0


def test_what_a_client_sends_while_it_waits_is_kept() -> None:
    rig = Rig(nothing)
    client = rig.connect().send(HANDSHAKE + b"\r\n" + frame(b"one"))
    client.send(frame(b"two"))
    rig.reply(channel_of(rig), {"accept": True})
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["one", "two"]


def test_what_a_client_sends_while_it_waits_is_bounded() -> None:
    rig = Rig(nothing)
    client = handshake(rig)
    for _ in range(20):
        client.send(frame(b"x" * 1000), turn=False)
    assert not client.transport.reading
    rig.reply(channel_of(rig), {"accept": True})
    assert client.transport.reading
    assert len(rig.worker.named("websocket.receive")) == 20


# Messages both ways.


def test_text_and_bytes_reach_the_site_with_their_order() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    client.send(frame("grüße".encode()) + frame(b"\x00\xff", 2))
    base = {"reply_channel": channel_of(rig), "path": "/chat"}
    assert rig.worker.named("websocket.receive") == [
        {**base, "text": "grüße", "order": 1},
        {**base, "bytes": b"\x00\xff", "order": 2},
    ]
    assert rig.counts.frames_in == 2


def test_text_and_bytes_reach_the_client() -> None:
    rig = Rig()
    client = opened(rig)
    client.send(frame("grüße".encode()) + frame(b"\x00\xff", 2))
    assert frames(client.take()) == [(1, "grüße".encode()), (2, b"\x00\xff")]
    assert rig.counts.frames_out == 2


def test_empty_messages_are_messages() -> None:
    rig = Rig()
    client = opened(rig)
    client.send(frame(b"") + frame(b"", 2))
    assert [sorted(m) for m in rig.worker.named("websocket.receive")] == [
        ["order", "path", "reply_channel", "text"],
        ["bytes", "order", "path", "reply_channel"],
    ]
    assert frames(client.take()) == [(1, b""), (2, b"")]


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 200_000])
def test_messages_of_every_length_form_arrive_whole(size: int) -> None:
    rig = Rig()
    client = opened(rig)
    client.send(frame(b"x" * size))
    assert frames(client.take()) == [(1, b"x" * size)]


def test_a_message_in_fragments_arrives_whole() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    client.send(frame(b"on", 1, fin=False) + frame(b"", 9) + frame(b"e", 0))
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["one"]
    assert frames(client.take()) == [(10, b"")]


def test_a_message_in_very_many_pieces_costs_no_more_than_its_bytes() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    socket = client.transport.protocol
    client.send(frame(b"a", fin=False), turn=False)
    for _ in range(1000):
        client.send(frame(b"", 0, fin=False) + frame(b"b", 0, fin=False), turn=False)
    assert len(socket.message_data) == 1001
    assert not isinstance(socket.message_data, list)
    client.send(frame(b"c", 0))
    assert rig.worker.named("websocket.receive")[0]["text"] == "a" + "b" * 1000 + "c"


def test_a_reply_with_text_and_bytes_is_ignored() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), {"text": "a", "bytes": b"a", "close": True}, {"text": "b"})
    assert frames(client.take()) == [(1, b"b")]
    assert rig.counts.bad_replies == 1


@pytest.mark.parametrize(
    "reply",
    [
        {"text": b"a"},
        {"bytes": "a"},
        {"close": "now"},
        {"close": 999},
        {"close": 1005},
        {"close": 5000},
        {"close": -1},
        {"foo": 1},
        {},
    ],
)
def test_a_reply_that_cannot_be_used_closes_with_1011(reply: dict[str, Any]) -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), reply)
    assert closed_with(client) == 1011
    assert rig.counts.bad_replies == 1


def test_accept_on_an_open_socket_is_ignored() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), {"accept": True, "text": "a"}, {"accept": False})
    assert frames(client.take()) == [(1, b"a")]


# Closing.


def test_a_client_that_closes_is_told_of_with_its_code() -> None:
    rig = Rig(accepting)
    client = opened(rig).send(frame(b"\x0f\xa1bye", 8))
    assert frames(client.take()) == [(8, b"\x0f\xa1bye")]
    assert rig.worker.named("websocket.disconnect") == [
        {"reply_channel": channel_of(rig), "path": "/chat", "code": 4001, "order": 1}
    ]
    assert client.transport.lost == "closed"
    assert rig.counts.sockets_open == 0
    assert rig.counts.connections_open == 0


def test_a_close_without_a_code_has_none() -> None:
    rig = Rig(accepting)
    opened(rig).send(frame(b"", 8))
    assert rig.worker.named("websocket.disconnect")[0]["code"] is None


def test_a_drop_has_code_1006_and_the_next_order() -> None:
    rig = Rig(accepting)
    opened(rig).send(frame(b"a")).leave()
    [message] = rig.worker.named("websocket.disconnect")
    assert (message["code"], message["order"]) == (1006, 2)


@pytest.mark.parametrize(("close", "code"), [(True, 1000), (4321, 4321), (1013, 1013)])
def test_the_site_closes_with_its_code(close: Any, code: int) -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), {"text": "last", "close": close})
    assert frames(client.take()) == [(1, b"last"), (8, code.to_bytes(2, "big"))]
    client.send(frame(code.to_bytes(2, "big"), 8))
    assert client.transport.lost == "closed"
    assert rig.worker.named("websocket.disconnect")[0]["code"] == code


def test_a_client_that_does_not_answer_a_close_is_dropped() -> None:
    rig = Rig(accepting, limits=Limits(close_timeout=3))
    client = opened(rig)
    rig.reply(channel_of(rig), {"close": True})
    rig.advance(4)
    assert client.transport.lost == "aborted"
    assert rig.worker.named("websocket.disconnect")[0]["code"] == 1006


def test_replies_after_the_close_are_dropped() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), {"close": True})
    client.take()
    rig.reply(channel_of(rig), {"text": "too late"})
    assert client.take() == b""
    client.leave()
    rig.reply(channel_of(rig), {"text": "much too late"})
    assert rig.counts.late == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (b"\x81\x02hi", 1002),
        (frame(b"x", 3), 1002),
        (b"\xf1" + frame(b"x")[1:], 1002),
        (frame(b"x" * 126, 9), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"\x03", 8), 1002),
        (frame(b"x" * 3000), 1009),
        (frame(b"x" * 1500, fin=False) + frame(b"x" * 1500, 0), 1009),
    ],
)
def test_a_client_that_breaks_the_protocol_is_closed_with_the_right_code(
    data: bytes, code: int
) -> None:
    rig = Rig(accepting, limits=Limits(message_bytes=2500, frame_bytes=2000))
    other = opened(rig)
    client = opened(rig).send(data)
    assert closed_with(client) == code
    rig.advance(6)
    assert client.gone
    assert rig.worker.named("websocket.receive") == []
    assert len(rig.worker.named("websocket.disconnect")) == 1
    assert not other.gone


# Ordered events.


def test_the_next_event_waits_for_the_one_before() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a") + frame(b"b") + frame(b"c"))
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a"]
    rig.worker.open.pop().settle()
    rig.turn()
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a", "b"]
    client.leave()
    assert rig.worker.named("websocket.disconnect") == []
    for _ in range(3):
        rig.worker.open.pop().settle()
        rig.turn()
    assert [name for name, _ in rig.worker.events[1:]] == [
        "websocket.receive",
        "websocket.receive",
        "websocket.receive",
        "websocket.disconnect",
    ]
    assert [m["order"] for _, m in rig.worker.events] == [0, 1, 2, 3, 4]


def test_unordered_events_do_not_wait() -> None:
    rig = Rig(accepting, ordered=False)
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a") + frame(b"b") + frame(b"c"))
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a", "b", "c"]


def test_over_a_layer_that_does_not_settle_events_do_not_wait() -> None:
    from chanserv.layers.memory import MemoryChannelLayer

    class Plain(MemoryChannelLayer):
        settles = False

    from twisted.internet.task import Clock

    rig = Rig(accepting, layer=Plain(clock=Clock()))
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a") + frame(b"b"))
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a", "b"]


def test_a_socket_with_too_many_held_events_is_not_read() -> None:
    rig = Rig(accepting, limits=Limits(held_events=4))
    client = opened(rig)
    rig.worker.settling = False
    client.send(b"".join(frame(b"%d" % number) for number in range(4)))
    assert client.transport.reading
    client.send(frame(b"4"))
    assert not client.transport.reading
    rig.worker.settling = True
    rig.worker.open.pop().settle()
    rig.turn()
    assert client.transport.reading
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == list("01234")


def test_a_socket_with_too_many_held_bytes_is_not_read() -> None:
    rig = Rig(accepting, limits=Limits(held_bytes=1000))
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a" * 900) + frame(b"b" * 900))
    assert client.transport.reading
    client.send(frame(b"c" * 200))
    assert not client.transport.reading


def test_a_full_queue_closes_the_socket_with_1013() -> None:
    limits = Limits(park_seconds=10)
    rig = Rig(accepting, layer_options={"capacity": 1}, limits=limits)
    client, other = opened(rig), opened(rig)
    rig.worker.channels = ()
    other.send(frame(b"a"))
    client.send(frame(b"b"))
    rig.advance(9)
    assert client.take() == b""
    rig.advance(2)
    assert closed_with(client) == 1013
    assert rig.counts.full == 1
    client.leave()
    rig.worker.channels = ("websocket.receive", "websocket.disconnect")
    rig.turn()
    assert len(rig.worker.named("websocket.disconnect")) == 1


def test_a_message_over_the_size_that_the_layer_carries_closes_with_1009() -> None:
    rig = Rig(accepting, layer_options={"max_message_size": 1000})
    client = opened(rig).send(frame(b"x" * 2000))
    assert closed_with(client) == 1009


def test_a_layer_that_is_away_closes_the_socket_with_1013() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.layer.close()
    client.send(frame(b"x"))
    assert closed_with(client) == 1013
    assert rig.counts.unavailable == 1


def test_text_that_utf_8_cannot_hold_closes_with_1011() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.reply(channel_of(rig), {"text": "\ud800"})
    assert closed_with(client) == 1011


def test_a_fault_while_reading_a_frame_costs_only_that_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(accepting)
    client, other = opened(rig), opened(rig)

    def broken(data: bytes) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(client.transport.protocol, "_dataReceived", broken)
    client.send(frame(b"x"))
    assert client.transport.lost == "aborted"
    assert len(rig.worker.named("websocket.disconnect")) == 1
    other.send(frame(b"x"))
    assert len(rig.worker.named("websocket.receive")) == 1


def test_a_burst_over_the_capacity_reaches_the_site_in_order() -> None:
    rig = Rig(layer_options={"capacity": 3})
    clients = [opened(rig) for _ in range(20)]
    for client in clients:
        client.send(frame(b"a") + frame(b"b") + frame(b"c"), turn=False)
    rig.advance(2)
    for client in clients:
        assert frames(client.take()) == [(1, b"a"), (1, b"b"), (1, b"c")]


def test_a_client_that_leaves_before_its_handshake_found_room_leaves_no_event() -> None:
    rig = Rig(nothing, layer_options={"capacity": 1})
    rig.worker.channels = ()
    handshake(rig)
    handshake(rig).leave()
    rig.advance(3)
    rig.worker.channels = ("websocket.connect", "websocket.disconnect")
    rig.turn()
    assert [name for name, _ in rig.worker.events] == ["websocket.connect"]
    assert len(rig.server._context.recipients) == 1


def test_the_memberships_of_a_socket_end_with_it() -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 2)
    clients[0].leave()
    members: list[str] = []
    rig.layer.group_channels("all").addCallback(members.extend)
    assert members == [channel_of(rig)]


def test_an_event_that_expires_unread_closes_the_socket_with_1013() -> None:
    rig = Rig(accepting, layer_options={"expiry": 3})
    client = opened(rig)
    rig.worker.channels = ()
    client.send(frame(b"a"))
    rig.advance(4)
    assert closed_with(client) == 1013
    assert rig.counts.expired == 1


def test_an_event_whose_worker_dies_makes_room_for_the_next() -> None:
    rig = Rig(accepting)
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a") + frame(b"b"))
    rig.worker.open.pop().settle(Outcome.LOST)
    rig.turn()
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a", "b"]
    assert rig.counts.lost == 1
    assert not client.gone


def test_a_receipt_that_never_comes_does_not_hold_up_the_rest_for_ever() -> None:
    rig = Rig(accepting, limits=Limits(settle_timeout=100, ping_interval=0))
    client = opened(rig)
    rig.advance(150)
    rig.worker.settling = False
    client.send(frame(b"a") + frame(b"b"))
    rig.advance(99)
    assert len(rig.worker.named("websocket.receive")) == 1
    rig.advance(2)
    assert len(rig.worker.named("websocket.receive")) == 2
    assert rig.counts.overdue == 1


def test_a_missing_receipt_does_not_hold_up_the_disconnect_for_ever() -> None:
    rig = Rig(accepting, limits=Limits(settle_timeout=100))
    client = opened(rig)
    rig.worker.settling = False
    client.send(frame(b"a")).leave()
    rig.advance(99)
    assert rig.worker.named("websocket.disconnect") == []
    rig.advance(2)
    assert len(rig.worker.named("websocket.disconnect")) == 1


def test_a_disconnect_that_finds_its_channel_full_is_sent_again() -> None:
    rig = Rig(accepting, layer_options={"capacity": 1})
    one, two = opened(rig), opened(rig)
    rig.worker.channels = ()
    one.leave()
    two.leave()
    rig.worker.channels = ("websocket.disconnect",)
    rig.turn()
    assert len(rig.worker.named("websocket.disconnect")) == 1
    rig.advance(2)
    assert len(rig.worker.named("websocket.disconnect")) == 2


def test_a_disconnect_is_given_up_in_the_end() -> None:
    rig = Rig(accepting, layer_options={"capacity": 1}, limits=Limits(disconnect_retries=2))
    one, two = opened(rig), opened(rig)
    rig.worker.channels = ()
    one.leave()
    two.leave()
    rig.advance(10)
    assert rig.counts.disconnects_dropped == 1


# Groups.


def grouped(rig: Rig, count: int, headers: bytes = b"") -> list[Client]:
    clients = []
    for _ in range(count):
        clients.append(opened(rig, headers))
        rig.layer.group_add("all", channel_of(rig))
    return clients


def test_a_message_for_a_group_reaches_each_member() -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 3)
    outsider = opened(rig)
    rig.layer.send_group("all", {"text": "hello"})
    rig.turn()
    assert [frames(client.take()) for client in clients] == [[(1, b"hello")]] * 3
    assert outsider.take() == b""
    assert rig.counts.frames_out == 3


def test_a_message_for_a_group_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 5)
    encoded = []
    monkeypatch.setattr(
        "chanserv.server.replies.encode_frame",
        lambda payload, binary: encoded.append(payload) or encode_frame(payload, binary),
    )
    rig.layer.send_group("all", {"bytes": b"hello"})
    rig.turn()
    assert encoded == [b"hello"]
    assert [frames(client.take()) for client in clients] == [[(2, b"hello")]] * 5


def test_of_many_messages_at_a_time_the_first_goes_at_once_and_the_rest_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(accepting)
    [client] = grouped(rig, 1)
    prompt: list[bytes] = []

    def write_promptly(transport: Any, data: bytes) -> None:
        prompt.append(data)
        transport.write(data)

    monkeypatch.setattr("chanserv.server.websocket.write_promptly", write_promptly)
    for number in range(5):
        rig.layer.send_group("all", {"text": str(number)})
    rig.turn()
    first = [payload for data in prompt for _, payload in frames(data)]
    assert first == [b"0", b"1"]  # the receive that waited brought the first alone
    assert [payload for _, payload in frames(client.take())] == [b"0", b"1", b"2", b"3", b"4"]
    rig.layer.send_group("all", {"text": "later"})
    rig.turn()
    assert len(prompt) == 3


def test_a_message_for_a_group_may_close_its_members() -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 3)
    rig.layer.send_group("all", {"text": "bye", "close": 4000})
    rig.turn()
    assert [frames(client.take()) for client in clients] == [[(1, b"bye"), (8, b"\x0f\xa0")]] * 3


def test_a_bad_message_for_a_group_closes_its_members_and_no_others() -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 2)
    outsider = opened(rig)
    rig.layer.send_group("all", {"text": 5})
    rig.turn()
    assert [closed_with(client) for client in clients] == [1011, 1011]
    assert not outsider.gone


def test_a_message_for_a_group_accepts_a_member_in_its_handshake() -> None:
    rig = Rig(accepting)
    grouped(rig, 2)
    rig.worker.script = nothing
    waiting = handshake(rig)
    rig.layer.group_add("all", channel_of(rig))
    rig.layer.send_group("all", {"text": "hello"})
    rig.turn()
    status, _, rest = waiting.response()
    assert status == 101
    assert frames(rest) == [(1, b"hello")]


def test_a_member_that_left_does_not_keep_the_others_from_their_message() -> None:
    rig = Rig(accepting)
    clients = grouped(rig, 3)
    clients[0].leave()
    rig.layer.send_group("all", {"text": "hello"})
    rig.turn()
    assert [frames(client.take()) for client in clients[1:]] == [[(1, b"hello")]] * 2


def test_one_broken_member_does_not_keep_the_others_from_their_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from twisted.logger import globalLogPublisher

    rig = Rig(accepting)
    clients = grouped(rig, 3)

    def broken(data: bytes) -> None:
        raise RuntimeError("broken transport")

    clients[0].transport.write = broken  # type: ignore[method-assign]
    failures: list[Any] = []
    observer = lambda event: failures.append(event) if "log_failure" in event else None  # noqa: E731
    globalLogPublisher.addObserver(observer)
    try:
        rig.layer.send_group("all", {"text": "hello"})
        rig.turn()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [frames(client.take()) for client in clients[1:]] == [[(1, b"hello")]] * 2
    assert failures


# Time and back-pressure.


def test_a_silent_client_is_pinged_and_dropped_when_it_stays_silent() -> None:
    rig = Rig(accepting, limits=Limits(ping_interval=20, ping_timeout=10))
    client = opened(rig)
    rig.advance(19)
    assert client.take() == b""
    rig.advance(2)
    assert frames(client.take()) == [(9, b"")]
    rig.advance(9)
    assert not client.gone
    rig.advance(2)
    assert client.transport.lost == "aborted"
    assert rig.worker.named("websocket.disconnect")[0]["code"] == 1006
    assert rig.counts.connections_timed_out == 1


def test_a_client_that_answers_pings_stays() -> None:
    rig = Rig(accepting, limits=Limits(ping_interval=20, ping_timeout=10))
    client = opened(rig)
    pings = 0
    for _ in range(200):
        rig.advance(1)
        for opcode, _ in frames(client.take()):
            assert opcode == 9
            pings += 1
            client.send(frame(b"", 10))
    assert 7 <= pings <= 10
    assert not client.gone


def test_a_client_that_is_not_read_since_workers_are_slow_is_not_silent() -> None:
    limits = Limits(ping_interval=20, ping_timeout=10, held_events=2)
    rig = Rig(accepting, limits=limits)
    client = opened(rig)
    rig.worker.settling = False
    for _ in range(5):
        client.send(frame(b"hello"))
    assert not client.transport.reading
    rig.advance(200)
    assert not client.gone
    assert {opcode for opcode, _ in frames(client.take())} == {9}, "proxies are to see it live"
    rig.worker.settling = True
    for delivery in rig.worker.open:
        delivery.settle()
    rig.turn()
    assert client.transport.reading
    rig.advance(9)
    assert not client.gone
    rig.advance(22)
    assert client.transport.lost == "aborted"


def test_a_client_that_writes_and_does_not_read_is_silent() -> None:
    limits = Limits(ping_interval=20, ping_timeout=10, held_events=2)
    rig = Rig(accepting, limits=limits)
    client = opened(rig)
    client.transport.fill()
    rig.worker.settling = False
    for _ in range(5):
        client.send(frame(b"hello"))
    assert not client.transport.reading
    rig.advance(40)
    assert client.transport.lost == "aborted"


def test_a_client_that_talks_is_not_pinged() -> None:
    rig = Rig(accepting, limits=Limits(ping_interval=20))
    client = opened(rig)
    for _ in range(10):
        rig.advance(15)
        client.send(frame(b"still here"))
    assert client.take() == b""


def test_a_socket_ends_with_its_longest_life() -> None:
    rig = Rig(accepting, limits=Limits(socket_lifetime=100, ping_interval=0))
    client = opened(rig)
    rig.advance(99)
    assert not client.gone
    rig.advance(2)
    assert closed_with(client) == 1001


def test_the_longest_life_is_the_group_expiry_of_the_layer() -> None:
    rig = Rig(accepting, layer_options={"group_expiry": 60}, limits=Limits(ping_interval=0))
    client = opened(rig)
    rig.advance(59)
    assert not client.gone
    rig.advance(2)
    assert closed_with(client) == 1001


def test_a_socket_that_does_not_read_is_dropped_at_its_bound() -> None:
    rig = Rig(accepting, limits=Limits(unsent_bytes=1000))
    clients = grouped(rig, 2)
    clients[0].transport.fill()
    for _ in range(12):
        rig.layer.send_group("all", {"text": "x" * 100})
    rig.turn()
    assert clients[0].transport.lost == "aborted"
    assert not clients[1].gone
    assert rig.counts.overflows == 1


def test_the_events_of_a_client_that_does_not_read_wait() -> None:
    rig = Rig()
    client = opened(rig)
    client.transport.fill()
    client.send(frame(b"a") + frame(b"b"))
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a"]
    client.transport.drain()
    rig.turn()
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["a", "b"]


# Compression.

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def test_compression_is_off_by_default() -> None:
    _, headers, _ = handshake(Rig(), DEFLATE).response()
    assert b"sec-websocket-extensions" not in headers


def test_compression_can_be_turned_on() -> None:
    rig = Rig(accepting, compression=True)
    client = handshake(rig, DEFLATE)
    _, headers, _ = client.response()
    assert b"client_no_context_takeover" in headers[b"sec-websocket-extensions"]
    rig.layer.group_add("all", channel_of(rig))
    rig.layer.send_group("all", {"text": "hello " * 100})
    rig.reply(channel_of(rig), {"text": "hello " * 100})
    for opcode, payload in frames(client.take()):
        assert len(payload) < 100
        inflated = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        assert (opcode, inflated) == (1, b"hello " * 100)


def test_a_compressed_bomb_is_stopped_at_the_limit() -> None:
    rig = Rig(accepting, compression=True, limits=Limits(message_bytes=10_000))
    client = opened(rig, DEFLATE)
    squeezer = zlib.compressobj(wbits=-9)
    bomb = squeezer.compress(b"\x00" * 1_000_000) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    data = frame(bomb[:-4], 2)
    client.send(bytes([data[0] | 0x40]) + data[1:])
    assert closed_with(client) == 1009
    assert rig.worker.named("websocket.receive") == []


def test_a_bad_offer_of_compression_costs_its_own_connection() -> None:
    rig = Rig(accepting, compression=True)
    client = handshake(
        rig, b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n"
    )
    assert client.status() == 400
    assert len(rig.worker.named("websocket.disconnect")) == 1
    assert rig.counts.sockets_open == 0
