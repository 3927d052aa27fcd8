"""HTTP/2 on a clock: connections as a whole, how they begin, what ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs

from chanserv.server import Limits
from chanserv.server.http2.frames import PREFACE
from tests.server.http2.client import Fields, HTTP2Client, fields
from tests.server.rig import HANDSHAKE, OK, Rig

SETTINGS = SettingsFrame(0).serialize()


def nothing(channel: str, message: dict[str, Any]) -> None:
    """The script of a site that never answers."""


def silent(**options: Any) -> Rig:
    return Rig(nothing, **options)


def reply_channels(rig: Rig) -> list[str]:
    return [message["reply_channel"] for message in rig.worker.named("http.request")]


# The begin.


def test_a_connection_may_begin_byte_by_byte() -> None:
    rig = Rig()
    plain = rig.connect()
    for byte in PREFACE + SETTINGS + request_frame(1):
        plain.send(bytes([byte]))
    assert len(rig.worker.named("http.request")) == 1
    assert rig.counts.http2_connections == 1
    assert rig.counts.connections_open == 1
    assert plain.take()[3] == 4, "the server's settings come first"


@pytest.mark.parametrize("head", [b"P", b"PR", b"PRI", b"PRI * HTTP/2.0\r\n\r\nS"])
def test_a_begin_that_may_be_either_is_waited_for(head: bytes) -> None:
    rig = Rig()
    plain = rig.connect()
    plain.send(head)
    assert plain.take() == b""
    rig.advance(rig.server._context.limits.header_timeout + 1)
    assert plain.gone


def test_a_method_that_begins_alike_is_http1() -> None:
    rig = Rig()
    plain = rig.connect()
    plain.send(b"P").send(b"R").send(b"OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert plain.status() == 200
    assert rig.worker.named("http.request")[0]["method"] == "PROPFIND"


def test_the_method_of_the_preface_alone_is_a_bad_request() -> None:
    plain = Rig().connect()
    plain.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert plain.status() == 400


def test_http2_does_not_begin_after_a_request() -> None:
    plain = Rig().connect().get()
    plain.take()
    plain.send(PREFACE + SETTINGS)
    assert plain.status() == 400


def test_http2_can_be_turned_off() -> None:
    rig = Rig(limits=Limits(http2_streams=0))
    plain = rig.connect()
    plain.send(PREFACE + SETTINGS)
    assert plain.status() == 400
    assert rig.server.factory.acceptableProtocols() == [b"http/1.1"]


def test_http2_is_offered_first() -> None:
    assert Rig().server.factory.acceptableProtocols() == [b"h2", b"http/1.1"]


def test_a_handshake_of_a_websocket_stays_http1() -> None:
    plain = Rig().connect().send(HANDSHAKE + b"\r\n")
    assert plain.status() == 101


def test_a_connection_too_many_is_refused() -> None:
    rig = Rig(limits=Limits(connections=1))
    HTTP2Client(rig)
    plain = rig.connect()
    plain.send(PREFACE + SETTINGS)
    assert plain.take().startswith(b"HTTP/1.1 503 ")


# Malformed requests cost their stream (RFC 9113, section 8.1.1).


def without(name: bytes) -> Fields:
    return [field for field in fields() if field[0] != name]


MALFORMED = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "an empty path": fields(b""),
    "a path that is none": fields(b"path"),
    "a path in absolute form": fields(b"http://a/"),
    "a star": fields(b"*"),
    "a space in the path": fields(b"/a b"),
    "a line's end in the path": fields(b"/a\r\nb: c"),
    "a method that is none": fields(b"/", b"G T"),
    "a field twice": [*fields()[:1], *fields()],
    "an unknown field": [*fields(), (b":protocol", b"websocket")],
    "a field of responses": [*fields(), (b":status", b"200")],
    "a field after headers": [*fields()[:3], (b"a", b"b"), fields()[3]],
    "a name in upper case": fields(b"/", b"GET", (b"Accept", b"a")),
    "an empty name": fields(b"/", b"GET", (b"", b"a")),
    "a colon in a name": fields(b"/", b"GET", (b"a:b", b"a")),
    "a line's end in a value": fields(b"/", b"GET", (b"a", b"b\r\nc: d")),
    "a NUL in a value": fields(b"/", b"GET", (b"a", b"b\0")),
    "a space before a value": fields(b"/", b"GET", (b"a", b" b")),
    "a tab after a value": fields(b"/", b"GET", (b"a", b"b\t")),
    "Connection": fields(b"/", b"GET", (b"connection", b"close")),
    "Keep-Alive": fields(b"/", b"GET", (b"keep-alive", b"1")),
    "Proxy-Connection": fields(b"/", b"GET", (b"proxy-connection", b"close")),
    "Transfer-Encoding": fields(b"/", b"GET", (b"transfer-encoding", b"chunked")),
    "Upgrade": fields(b"/", b"GET", (b"upgrade", b"websocket")),
    "a TE other than trailers": fields(b"/", b"GET", (b"te", b"gzip")),
    "two hosts": fields(b"/", b"GET", (b"host", b"other.org")),
    "a length and no body": fields(b"/", b"GET", (b"content-length", b"1")),
    "two lengths": fields(b"/", b"GET", (b"content-length", b"0"), (b"content-length", b"0")),
    "CONNECT with a path": fields(b"/", b"CONNECT"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_costs_its_stream(name: str) -> None:
    rig = silent()
    client = HTTP2Client(rig)
    other = client.begin(fields(b"/other"))
    answer = client.ask(MALFORMED[name])
    assert answer.reset == ErrorCodes.PROTOCOL_ERROR
    assert rig.counts.bad_requests == 1
    rig.reply(reply_channels(rig)[0], OK)
    client.turn()
    assert client.answers[other].status == 200
    assert len(rig.worker.named("http.request")) == 1


def test_malformed_trailers_cost_their_stream() -> None:
    rig = Rig()
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    client.h2.send_data(number, b"body")
    block = Encoder().encode([(b":path", b"/other")])
    client.raw(headers_frame(number, block, "END_HEADERS", "END_STREAM"))
    assert client.answers[number].reset == ErrorCodes.PROTOCOL_ERROR
    assert rig.worker.named("http.request") == []
    assert client.code is None


@pytest.mark.parametrize(("length", "body"), [(b"3", b""), (b"5", b"body"), (b"4", b"body")])
def test_a_body_of_another_length_than_it_says_costs_its_stream(length: bytes, body: bytes) -> None:
    rig = Rig()
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST", (b"content-length", length)), ended=False)
    client.h2.send_data(number, body)
    trailers = Encoder().encode([(b"x-checksum", b"1")])
    client.raw(headers_frame(number, trailers, "END_HEADERS", "END_STREAM"))
    answer = client.answers[number]
    right = int(length) == len(body)
    assert (answer.status, answer.reset) == (
        (200, None) if right else (0, ErrorCodes.PROTOCOL_ERROR)
    )
    assert len(rig.worker.named("http.request")) == right
    assert client.code is None


REFUSED = {
    "a host that is none": (400, [*without(b":authority"), (b"host", b"a b")]),
    "an authority with a user": (400, [(b":authority", b"me@a.org"), *without(b":authority")]),
    "no host": (400, without(b":authority")),
    "a path that is not UTF-8": (400, fields(b"/%ff")),
    "a tunnel": (501, [(b":method", b"CONNECT"), (b":authority", b"a.org:443")]),
    "too many headers": (431, fields(b"/", b"GET", *[(b"a", b"b")] * 200)),
    "headers that are too large": (431, fields(b"/", b"GET", (b"a", b"b" * 33_000))),
    "a target that is too long": (414, fields(b"/" + b"a" * 33_000)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_otherwise_is_answered(name: str) -> None:
    status, request = REFUSED[name]
    rig = Rig()
    client = HTTP2Client(rig)
    answer = client.ask(request)
    assert (answer.status, answer.ended, answer.reset) == (status, True, None)
    assert rig.worker.named("http.request") == []
    assert client.get().status == 200


def test_options_may_ask_of_the_server_as_a_whole() -> None:
    rig = Rig()
    assert HTTP2Client(rig).ask(fields(b"*", b"OPTIONS")).status == 200
    assert rig.worker.named("http.request")[0]["path"] == "*"


# What ends the connection, with the word of RFC 9113 on it.


def headers_frame(number: int, block: bytes, *flags: str) -> bytes:
    frame = HeadersFrame(number)
    frame.data = block
    for flag in flags:
        frame.flags.add(flag)
    return frame.serialize()


def request_frame(number: int, *flags: str) -> bytes:
    """Headers without a change to anyone's compression."""
    block = b"\x82\x86\x84" + b"\x01\x0bexample.org"
    return headers_frame(number, block, *(flags or ("END_HEADERS", "END_STREAM")))


def made(frame: Frame, **values: Any) -> bytes:
    for name, value in values.items():
        setattr(frame, name, value)
    return frame.serialize()


LONG = (16_385).to_bytes(3, "big")

BROKEN: dict[str, tuple[ErrorCodes, Callable[[HTTP2Client], bytes]]] = {
    "a frame that is too long, as soon as its length is known": (
        ErrorCodes.FRAME_SIZE_ERROR, lambda client: LONG + b"\0\0\0\0\0\1"),
    "a ping of the wrong size": (
        ErrorCodes.FRAME_SIZE_ERROR, lambda client: b"\0\0\1\6\0\0\0\0\0x"),
    "settings of half a setting": (
        ErrorCodes.FRAME_SIZE_ERROR, lambda client: b"\0\0\3\4\0\0\0\0\0xxx"),
    "settings of a stream": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: b"\0\0\0\4\0\0\0\0\1"),
    "a window that is impossible": (
        ErrorCodes.FLOW_CONTROL_ERROR,
        lambda client: made(SettingsFrame(0), settings={4: 2**31})),
    "a window opened by nothing": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: b"\0\0\4\x08\0\0\0\0\0\0\0\0\0"),
    "a window opened too far": (
        ErrorCodes.FLOW_CONTROL_ERROR,
        lambda client: made(WindowUpdateFrame(0), window_increment=2**31 - 1)),
    "data of the connection": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: b"\0\0\1\0\0\0\0\0\0x"),
    "data of a stream that has not begun": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: made(DataFrame(99), data=b"x")),
    "headers of a stream of the server's": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: request_frame(2)),
    "headers of an earlier stream": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: request_frame(9) + request_frame(7)),
    "headers cut into by another frame": (
        ErrorCodes.PROTOCOL_ERROR,
        lambda client: request_frame(1, "END_STREAM") + PingFrame(0).serialize()),
    "a continuation of nothing": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: ContinuationFrame(1).serialize()),
    "headers that are not compressed so": (
        ErrorCodes.PROTOCOL_ERROR,
        lambda client: headers_frame(1, b"\xff\xff\xff\xff", "END_HEADERS", "END_STREAM")),
    "a push of the client's": (
        ErrorCodes.PROTOCOL_ERROR,
        lambda client: made(PushPromiseFrame(1), promised_stream_id=2, data=b"")),
    "a stream that depends on itself": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: made(PriorityFrame(1), depends_on=1)),
    "padding longer than its frame": (
        ErrorCodes.PROTOCOL_ERROR,
        lambda client: request_frame(1, "END_HEADERS") + b"\0\0\2\0\x08\0\0\0\1\xffx"),
    "more than a window": (
        ErrorCodes.FLOW_CONTROL_ERROR,
        lambda client: request_frame(1, "END_HEADERS") + made(DataFrame(1), data=bytes(2000))),
    "a body longer than was said": (
        ErrorCodes.PROTOCOL_ERROR, lambda client: longer_than_said()),
    "headers that go on": (
        ErrorCodes.ENHANCE_YOUR_CALM,
        lambda client: request_frame(1, "END_STREAM") + 9 * made(ContinuationFrame(1))),
    "headers that grow": (
        ErrorCodes.ENHANCE_YOUR_CALM,
        lambda client: request_frame(1, "END_STREAM")
        + 5 * made(ContinuationFrame(1), data=bytes(16_384))),
    "headers that unfold": (
        ErrorCodes.ENHANCE_YOUR_CALM,
        lambda client: headers_frame(
            1, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 100, "END_HEADERS")),
}  # fmt: skip


def longer_than_said() -> bytes:
    block = Encoder().encode(fields(b"/", b"POST", (b"content-length", b"1")))
    return headers_frame(1, block, "END_HEADERS") + made(DataFrame(1), data=b"xx")


@pytest.mark.parametrize("name", BROKEN)
def test_who_breaks_the_protocol_is_told_and_disconnected(name: str) -> None:
    code, data = BROKEN[name]
    rig = silent(limits=Limits(http2_window=1000))
    client = HTTP2Client(rig)
    client.raw(data(client))
    assert client.code == code
    client.transport.lose()
    rig.turn()
    assert rig.counts.connections_open == 0
    assert len(rig.disconnects()) == len(reply_channels(rig))


def test_what_the_log_says_of_it_is_words_and_not_many() -> None:
    with capturedLogs() as log:
        client = HTTP2Client(silent())
        client.raw(request_frame(9) + request_frame(7))
        client = HTTP2Client(silent())
        client.ask(fields(b"/", b"POST", (b"content-length", b"x" * 20_000)))
    assert client.code == ErrorCodes.PROTOCOL_ERROR
    reasons = [event["reason"] for event in log if "reason" in event]
    assert [reason.partition(":")[0] for reason in reasons] == [
        "StreamIDTooLowError",
        "ProtocolError",
    ]
    assert max(map(len, reasons)) < 300


@pytest.mark.parametrize(
    "begin", [b"", PingFrame(0).serialize(), made(SettingsFrame(0), flags={"ACK"})]
)
def test_settings_are_what_a_client_says_first(begin: bytes) -> None:
    plain = Rig().connect()
    plain.send(PREFACE + (begin or b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert plain.gone


def test_frames_that_nobody_knows_are_passed_over() -> None:
    client = HTTP2Client(Rig())
    client.raw(b"\0\0\4\xee\0\0\0\0\1what")
    assert client.get().status == 200


def test_other_streams_end_with_a_connection_that_is_broken() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    client.begin(fields())
    client.turn()
    client.raw(BROKEN["data of the connection"][1](client))
    assert len(rig.disconnects()) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 9),
                          st.binary(max_size=40)), max_size=12), st.data())  # fmt: skip
def test_no_frames_break_the_server(
    frames: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    rig = Rig()
    client = HTTP2Client(rig)
    raw = b"".join(
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload
        for kind, flags, number, payload in frames
    )
    raw = request_frame(1, "END_HEADERS") + raw
    with capturedLogs() as log:
        while raw:
            size = data.draw(st.integers(1, len(raw)))
            client.plain.send(raw[:size])
            raw = raw[size:]
        client.plain.leave()
    assert not [event for event in log if event["log_level"] > LogLevel.warn]
    assert rig.counts.connections_open == 0
    assert not rig.server._context.recipients
    assert HTTP2Client(rig).get().status == 200


# What a client asks of the server's memory.


def test_compression_remembers_no_more_than_it_likes() -> None:
    long = b"0123456789abcdef" * 60
    answers = iter(range(1000))

    def script(channel: str, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        if channel != "http.request":
            return None
        headers = [[b"x-%d" % number, long + b"%d" % next(answers)] for number in range(20)]
        return [{"status": 200, "headers": headers, "content": b""}]

    client = HTTP2Client(Rig(script))
    client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 1_000_000})
    client.turn()
    for number in (19, 39, 59):
        assert client.get().headers[b"x-19"] == long + b"%d" % number
    assert client.h2.decoder.header_table_size <= 4096


@settings(max_examples=50)
@given(sizes=st.lists(st.sampled_from([0, 50, 100, 4096, 5000, 100_000]), max_size=6))
def test_compression_follows_a_client_that_changes_its_mind(sizes: list[int]) -> None:
    client = HTTP2Client(Rig())
    before = client.get().headers
    for size in sizes:
        client.plain.send(made(SettingsFrame(0), settings={1: size}))
    client.h2.decoder.max_allowed_table_size = max([4096, *sizes])
    client.turn()
    assert client.get().headers == before == client.get().headers
    assert client.h2.decoder.header_table_size == min([4096, *sizes[-1:]])


# Floods.


def flood(client: HTTP2Client, frame: bytes, count: int) -> None:
    for _ in range(count):
        client.plain.send(frame, turn=False)
    client.turn()


EMPTY = made(DataFrame(1), data=b"")

FLOODS = {
    "pings": PingFrame(0).serialize(),
    "answers to pings": made(PingFrame(0), flags={"ACK"}),
    "settings": SETTINGS,
    "priorities": made(PriorityFrame(5), depends_on=0),
    "windows": made(WindowUpdateFrame(0), window_increment=1),
    "empty data": EMPTY,
    "unknown frames": b"\0\0\0\xee\0\0\0\0\0",
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(name: str) -> None:
    rig = silent(limits=Limits(http2_control_frames=50))
    client = HTTP2Client(rig)
    client.raw(request_frame(1, "END_HEADERS"))
    flood(client, FLOODS[name], 40)
    assert client.code is None
    flood(client, FLOODS[name], 20)
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert rig.counts.floods == 1


def test_what_comes_slowly_is_no_flood() -> None:
    rig = Rig(limits=Limits(http2_control_frames=60, keep_alive_timeout=1000))
    client = HTTP2Client(rig)
    for _ in range(100):
        client.raw(PingFrame(0).serialize())
        rig.advance(0.5)
    assert client.code is None
    assert client.get().status == 200


def test_many_settings_in_one_frame_count_as_many() -> None:
    rig = silent(limits=Limits(http2_control_frames=50))
    client = HTTP2Client(rig)
    client.raw((600).to_bytes(3, "big") + b"\4\0\0\0\0\0" + b"\0\x0f\0\0\0\0" * 100)
    assert client.code is None
    for _ in range(4):
        client.raw((600).to_bytes(3, "big") + b"\4\0\0\0\0\0" + b"\0\x0f\0\0\0\0" * 100)
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("step", [512, 8192, 65_536])
def test_who_reads_much_may_open_its_windows_often(step: int) -> None:
    body = bytes(min(1_000_000, 600 * step))
    rig = Rig(
        lambda channel, message: (
            [{"status": 200, "headers": [], "content": body}] if channel == "http.request" else None
        ),
        limits=Limits(http2_control_frames=20),
    )
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields())
    client.turn()
    while not client.answers[number].ended:
        client.h2.increment_flow_control_window(step, number)
        client.h2.increment_flow_control_window(step)
        client.turn()
        assert client.code is None
    assert client.answers[number].body == body


def test_who_opens_a_window_byte_by_byte_is_a_flood() -> None:
    answer = {**OK, "content": bytes(100_000)}
    rig = Rig(
        lambda channel, message: [answer] if channel == "http.request" else None,
        limits=Limits(http2_control_frames=20),
    )
    client = HTTP2Client(rig, window=1)
    client.reading = False
    number = client.begin(fields())
    for _ in range(30):
        client.h2.increment_flow_control_window(1, number)
        client.turn()
    assert 15 < len(client.answers[number].body) < 25
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_opening_streams_and_taking_them_back_is_a_flood() -> None:
    rig = silent(limits=Limits(http2_resets=30))
    client = HTTP2Client(rig)
    for _ in range(25):
        client.cancel(client.begin(fields()))
    client.turn()
    assert client.code is None
    for _ in range(10):
        client.cancel(client.begin(fields()))
    client.turn()
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert rig.counts.floods == 1
    assert len(rig.worker.named("http.request")) <= 31
    assert len(rig.disconnects()) == len(rig.worker.named("http.request"))


@pytest.mark.parametrize(
    "provoke",
    [
        lambda client: client.begin(fields(b"bad")),
        lambda client: client.raw(
            made(
                WindowUpdateFrame(client.begin(fields(b"/", b"POST"), ended=False)),
                window_increment=2**31 - 1,
            )
        ),
    ],
    ids=["malformed requests", "impossible windows"],
)
def test_making_the_server_reset_streams_is_a_flood(provoke: Callable[[HTTP2Client], Any]) -> None:
    rig = silent(limits=Limits(http2_resets=10))
    client = HTTP2Client(rig)
    for _ in range(12):
        if client.code is None:
            provoke(client)
            client.turn()
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_streams_too_many_again_and_again_are_a_flood() -> None:
    rig = silent(limits=Limits(http2_streams=1, http2_resets=10))
    client = HTTP2Client(rig)
    client.h2.remote_settings[3] = 100
    client.h2.remote_settings.acknowledge()
    for _ in range(13):
        client.begin(fields())
    client.turn()
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "frame",
    [made(DataFrame(1), data=b"x"), made(RstStreamFrame(1), error_code=8)],
    ids=["data", "resets"],
)
def test_frames_for_a_stream_that_is_over_are_a_flood(frame: bytes) -> None:
    rig = Rig(limits=Limits(http2_control_frames=50))
    client = HTTP2Client(rig)
    client.raw(request_frame(1, "END_HEADERS") + made(RstStreamFrame(1), error_code=8))
    flood(client, frame, 60)
    assert client.code == ErrorCodes.ENHANCE_YOUR_CALM


# Time.


def test_an_idle_connection_is_closed_with_a_word() -> None:
    rig = Rig(limits=Limits(keep_alive_timeout=20))
    client = HTTP2Client(rig)
    rig.advance(15)
    client.get()
    rig.advance(15)
    client.raw(PingFrame(0).serialize())
    assert client.code is None
    rig.advance(10)
    client.turn()
    assert client.goaways == [(1, ErrorCodes.NO_ERROR)]
    assert client.plain.gone


def test_a_connection_with_a_request_is_not_idle() -> None:
    rig = silent(limits=Limits(keep_alive_timeout=20))
    client = HTTP2Client(rig)
    number = client.begin(fields())
    client.turn()
    rig.advance(60)
    rig.reply(reply_channels(rig)[0], OK)
    client.turn()
    assert client.answers[number].status == 200


def test_headers_that_do_not_end_are_waited_for_so_long() -> None:
    rig = silent(limits=Limits(header_timeout=10))
    client = HTTP2Client(rig)
    client.begin(fields())
    client.turn()
    client.raw(request_frame(3, "END_STREAM"))
    rig.advance(9)
    assert client.code is None
    rig.advance(2)
    client.turn()
    assert client.code == ErrorCodes.PROTOCOL_ERROR
    assert rig.counts.connections_timed_out == 1


def test_headers_may_end_in_time() -> None:
    rig = Rig(limits=Limits(header_timeout=10))
    client = HTTP2Client(rig)
    client.raw(request_frame(1, "END_STREAM"))
    rig.advance(5)
    client.raw(made(ContinuationFrame(1), flags={"END_HEADERS"}))
    assert len(rig.worker.named("http.request")) == 1
    rig.advance(20)
    assert client.code is None


def test_a_client_that_reads_nothing_at_all_is_dropped() -> None:
    rig = Rig(limits=Limits(send_timeout=20))
    client = HTTP2Client(rig)
    client.transport.fill()
    client.begin(fields())
    client.turn()
    assert len(rig.worker.named("http.request")) == 1
    rig.advance(21)
    assert client.transport.lost == "aborted"
    assert rig.counts.connections_timed_out == 1
    assert rig.counts.connections_open == 0


def test_a_client_that_does_not_close_its_side_is_dropped() -> None:
    rig = Rig(limits=Limits(keep_alive_timeout=20, linger_timeout=3, send_timeout=30))
    client = HTTP2Client(rig)
    rig.advance(21)
    assert client.transport.half_closed
    assert client.transport.lost is None
    rig.advance(4)
    assert client.transport.lost == "closed"


# The end.


def test_a_stop_finishes_what_has_been_asked() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    first = client.begin(fields())
    client.turn()
    stopped = rig.server.stopService()
    second = client.begin(fields())  # before it has heard
    client.turn()
    assert client.goaways[0] == (2**31 - 1, ErrorCodes.NO_ERROR)
    assert client.goaways[-1] == (second, ErrorCodes.NO_ERROR)
    assert not client.plain.gone
    for channel in reply_channels(rig):
        rig.reply(channel, OK)
    client.turn()
    assert [client.answers[number].status for number in (first, second)] == [200, 200]
    assert client.plain.gone
    client.transport.lose()
    rig.advance(5)
    assert stopped.called


def test_a_stop_does_not_wait_for_a_client_that_does_not_answer() -> None:
    rig = Rig(limits=Limits(linger_timeout=2))
    client = HTTP2Client(rig)
    stopped = rig.server.stopService()
    rig.advance(15)
    assert client.transport.lost is not None
    assert stopped.called


def test_a_request_after_the_last_word_may_go_elsewhere() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    client.begin(fields())
    client.turn()
    rig.server.stopService()
    client.turn()
    late = client.begin(fields())
    client.turn()
    assert client.answers[late].reset == ErrorCodes.REFUSED_STREAM
    assert len(rig.worker.named("http.request")) == 1


def test_who_breaks_the_protocol_in_the_end_is_told_too() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    client.begin(fields())
    client.turn()
    rig.server.stopService()
    client.turn()
    client.raw(BROKEN["data of the connection"][1](client))
    assert client.code == ErrorCodes.PROTOCOL_ERROR


def test_a_stop_that_takes_too_long_answers_503() -> None:
    rig = silent(limits=Limits(drain_timeout=5, drain=1))
    client = HTTP2Client(rig)
    waiting, begun = client.begin(fields()), client.begin(fields())
    uploading = client.begin(fields(b"/", b"POST"), ended=False)
    client.turn()
    rig.reply(
        reply_channels(rig)[1],
        {"status": 200, "headers": [], "content": b"a", "more_content": True},
    )
    stopped = rig.server.stopService()
    for _ in range(20):
        client.turn()
        rig.advance(0.5)
    client.turn()
    assert client.answers[waiting].status == 503
    assert client.answers[begun].reset == ErrorCodes.INTERNAL_ERROR
    assert client.answers[uploading].reset == ErrorCodes.REFUSED_STREAM
    assert client.transport.lost is not None
    assert stopped.called


def test_a_client_that_leaves_still_gets_its_answers() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    number = client.begin(fields())
    client.turn()
    client.raw(made(GoAwayFrame(0), last_stream_id=0, error_code=0))
    assert not client.plain.gone
    rig.reply(reply_channels(rig)[0], OK)
    client.turn()
    assert client.answers[number].status == 200
    assert client.plain.gone


def test_a_client_that_leaves_in_anger_is_let_go() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    client.begin(fields())
    client.turn()
    client.raw(made(GoAwayFrame(0), last_stream_id=0, error_code=2))
    assert client.plain.gone
    assert len(rig.disconnects()) == 1
