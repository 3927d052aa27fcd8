"""HTTP/2 on a clock: requests and answers on the streams of one connection."""

from __future__ import annotations

import gc
import io
import weakref
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Outcome
from chanserv.server import Limits
from tests.server.http2.client import HTTP2Client, fields
from tests.server.rig import OK, Rig

MEGABYTE = 1024 * 1024


def nothing(channel: str, message: dict[str, Any]) -> None:
    """The script of a site that never answers."""


def silent(**options: Any) -> Rig:
    return Rig(nothing, **options)


def site(**replies: list[dict[str, Any]]) -> Any:
    """The script of a site with an answer for each path."""

    def script(channel: str, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        return replies.get(message["path"].strip("/")) if channel == "http.request" else None

    return script


def reply_channels(rig: Rig) -> list[str]:
    return [message["reply_channel"] for message in rig.worker.named("http.request")]


# The request message.


def test_a_request_becomes_a_message_of_the_spec() -> None:
    rig = Rig(root_path="/mnt")
    client = HTTP2Client(rig)
    request = fields(
        b"/mnt/caf%C3%A9%20x?a=%20b&c",
        b"PUT",
        (b"x-one", b"1"),
        (b"accept", b"a"),
        (b"x-one", b"2"),
        (b"x_one", b"3"),
        (b"te", b"trailers"),
        (b"content-length", b"4"),
    )
    assert client.ask(request, b"body").status == 200
    [message] = rig.worker.named("http.request")
    assert message.pop("reply_channel").startswith(rig.server.mailbox)
    assert message == {
        "http_version": "2",
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
            [b"te", b"trailers"],
            [b"content-length", b"4"],
        ],
        "body": b"body",
        "client": ["192.0.2.7", 54321],
        "server": ["192.0.2.1", 80],
    }


def test_the_pieces_of_a_cookie_are_put_together() -> None:
    rig = Rig()
    HTTP2Client(rig).get(b"/", (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2; c=3"))
    [message] = rig.worker.named("http.request")
    assert message["headers"][1:] == [[b"cookie", b"a=1; b=2; c=3"], [b"x", b"y"]]


def test_a_host_header_may_stand_for_the_authority() -> None:
    rig = Rig()
    request = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b"host", b"a.org")]
    assert HTTP2Client(rig).ask(request).status == 200
    assert rig.worker.named("http.request")[0]["headers"] == [[b"host", b"a.org"]]


def test_both_at_once_are_one_host() -> None:
    rig = Rig()
    HTTP2Client(rig).get(b"/", (b"accept", b"a"), (b"host", b"Example.org"))
    [message] = rig.worker.named("http.request")
    assert message["headers"] == [[b"host", b"example.org"], [b"accept", b"a"]]


def test_a_body_of_no_announced_length_arrives_with_its_length() -> None:
    rig = Rig()
    HTTP2Client(rig).ask(fields(b"/", b"POST"), b"wikipedia")
    [message] = rig.worker.named("http.request")
    assert message["body"] == b"wikipedia"
    assert message["headers"][-1] == [b"content-length", b"9"]


def test_trailers_end_a_request_and_are_left_out() -> None:
    rig = Rig()
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    client.h2.send_data(number, b"body")
    client.h2.send_headers(number, [(b"x-checksum", b"1")], end_stream=True)
    client.turn()
    assert client.answers[number].status == 200
    assert rig.worker.named("http.request")[0]["body"] == b"body"


def test_a_client_that_waits_for_a_go_ahead_gets_it() -> None:
    client = HTTP2Client(Rig())
    request = fields(b"/", b"POST", (b"expect", b"100-continue"), (b"content-length", b"4"))
    number = client.begin(request, ended=False)
    client.turn()
    assert client.answers[number].informed == [100]
    client.h2.send_data(number, b"body", end_stream=True)
    client.turn()
    assert client.answers[number].status == 200


def test_a_large_body_goes_over_its_channel_in_parts() -> None:
    rig = silent(limits=Limits(body_memory=100, body_part=100))
    client = HTTP2Client(rig)
    body = bytes(range(250))
    client.ask(fields(b"/", b"POST"), body)
    [message] = rig.worker.named("http.request")
    assert message["body"] == body[:100]
    rig.worker.channels = (message["body_channel"],)
    rig.worker.script = lambda channel, part: None
    parts: list[dict[str, Any]] = []
    for _ in range(3):
        receive = rig.layer.receive([message["body_channel"]], limit=10)
        receive.addCallback(
            lambda came: [(parts.append(dict(one.message)), one.settle()) for one in came]
        )
        receive.addErrback(lambda failure: None)
        receive.cancel()
        rig.clock.advance(0)
    assert b"".join(part["content"] for part in parts) == body[100:]
    assert [part["more_content"] for part in parts] == [True, False]
    client.plain.leave()


def test_an_upload_larger_than_all_windows_comes_in_whole() -> None:
    rig = Rig()
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    left = 3 * MEGABYTE
    while left:
        room = client.h2.local_flow_control_window(number)
        assert room > 0
        size = min(room, 16_384, left)
        left -= size
        client.h2.send_data(number, bytes(size), end_stream=not left)
        client.turn()
    assert client.answers[number].status == 200


def test_many_bodies_at_once_get_less_memory_each() -> None:
    rig = silent(limits=Limits(body_memory=1000, body_part=10))
    client = HTTP2Client(rig)
    numbers = [client.begin(fields(b"/", b"POST"), ended=False) for _ in range(17)]
    client.turn()
    for number in numbers:
        client.h2.send_data(number, bytes(100))
    client.turn()
    client.h2.end_stream(numbers[0])
    client.turn()
    [crowded] = rig.worker.named("http.request")
    assert len(crowded["body"]) == 10
    for number in numbers[1:10]:
        client.cancel(number)
    alone = client.begin(fields(b"/", b"POST"), ended=False)
    client.h2.send_data(alone, bytes(100), end_stream=True)
    client.turn()
    assert len(rig.worker.named("http.request")[-1]["body"]) == 100
    client.plain.leave()


# The response.


def test_a_response_is_written_as_http2_wants_it() -> None:
    headers = [[b"Content-Type", b"text/plain"], [b"X-Padded", b" a "], [b"Connection", b"close"]]
    rig = Rig(site(a=[{"status": 201, "headers": headers, "content": b"made"}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert (answer.status, answer.body, answer.ended) == (201, b"made", True)
    date = answer.headers.pop(b"date")
    assert date.endswith(b" GMT")
    assert answer.headers == {
        b"content-type": b"text/plain",
        b"x-padded": b"a",
        b"server": b"chanserv",
        b"content-length": b"4",
    }
    assert rig.counts.headers_refused == 1


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    rig = Rig(site(a=[{"status": status, "headers": [], "content": b"no"}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert (answer.status, answer.body, answer.ended) == (status, b"", True)


def test_a_head_request_gets_the_head_alone() -> None:
    answer = HTTP2Client(Rig()).ask(fields(b"/", b"HEAD"))
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert answer.headers[b"content-length"] == b"4"


def test_a_response_in_parts_ends_with_its_last() -> None:
    first = {"status": 200, "headers": [], "content": b"a", "more_content": True}
    rig = Rig(site(a=[first, {"content": b"b", "more_content": True}, {"content": b"c"}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert (answer.body, answer.ended) == (b"abc", True)
    assert b"content-length" not in answer.headers


def test_a_response_that_ends_with_nothing_ends() -> None:
    first = {"status": 200, "headers": [], "content": b"a", "more_content": True}
    rig = Rig(site(a=[first, {"content": b"", "more_content": False}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert (answer.body, answer.ended) == (b"a", True)


def test_a_response_short_of_its_length_is_reset() -> None:
    first = {
        "status": 200,
        "headers": [[b"content-length", b"10"]],
        "content": b"a",
        "more_content": True,
    }
    rig = Rig(site(a=[first, {"content": b"b"}]))
    client = HTTP2Client(rig)
    answer = client.get(b"/a")
    assert answer.reset == ErrorCodes.INTERNAL_ERROR
    assert client.get(b"/a").status == 200, "the connection goes on"


def test_a_response_in_many_frames_arrives_whole() -> None:
    body = bytes(range(256)) * 4096
    rig = Rig(site(a=[{"status": 200, "headers": [], "content": body}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert answer.ended
    assert answer.body == body


def test_the_access_log_names_the_version() -> None:
    out = io.StringIO()
    rig = Rig(access_log=out)
    HTTP2Client(rig).get(b"/a?b", (b"user-agent", b"me"), (b"referer", b"there"))
    rig.advance(1)
    assert '"GET /a?b HTTP/2.0" 200 4 "there" "me"' in out.getvalue()


def test_the_site_hears_once_that_a_request_is_over() -> None:
    rig = Rig()
    HTTP2Client(rig).get(b"/a")
    [heard] = rig.disconnects()
    assert (heard["reply_channel"], heard["path"]) == (reply_channels(rig)[0], "/a")


# Many streams.


def test_a_hundred_streams_are_answered_each_with_its_own() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    numbers = [client.begin(fields(b"/%d" % n)) for n in range(100)]
    client.turn()
    requests = rig.worker.named("http.request")
    assert [message["path"] for message in requests] == [f"/{n}" for n in range(100)]
    for message in reversed(requests):
        rig.reply(
            message["reply_channel"],
            {"status": 200, "headers": [], "content": message["path"].encode()},
        )
    client.turn()
    assert [client.answers[number].body for number in numbers] == [b"/%d" % n for n in range(100)]
    assert rig.counts.connections_open == 1


def test_a_stream_too_many_is_refused_and_the_others_go_on() -> None:
    rig = silent(limits=Limits(http2_streams=3))
    client = HTTP2Client(rig)
    assert client.settings[3] == 3
    client.h2.remote_settings[3] = 100  # a client that has not read that yet
    client.h2.remote_settings.acknowledge()
    numbers = [client.begin(fields()) for _ in range(5)]
    client.turn()
    assert [client.answers[number].reset for number in numbers] == [
        None, None, None, ErrorCodes.REFUSED_STREAM, ErrorCodes.REFUSED_STREAM,
    ]  # fmt: skip
    assert len(rig.worker.named("http.request")) == 3
    rig.reply(reply_channels(rig)[0], OK)
    client.turn()
    assert client.answers[numbers[0]].status == 200
    number = client.begin(fields())
    client.turn()
    assert client.answers[number].reset is None, "there is room again"


def in_parts(size: int, count: int) -> list[dict[str, Any]]:
    first = {"status": 200, "headers": [], "content": bytes(size), "more_content": True}
    return [first, *({"content": bytes(size), "more_content": True} for _ in range(count - 1))]


def test_a_stream_that_is_not_read_holds_its_worker_and_nobody_else() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    slow, quick = client.begin(fields(b"/slow")), client.begin(fields(b"/quick"))
    client.turn()
    slow_channel, quick_channel = reply_channels(rig)
    client.reading = False
    mailbox = "test.receipts!"
    for part in in_parts(MEGABYTE // 4, 4):
        rig.reply(slow_channel, part, receipt=mailbox + "1")
    client.turn()
    assert len(client.answers[slow].body) == 65_535, "the client's window is full"
    assert _receipts(rig, mailbox) == [], "so its worker gets no word to go on"
    # The window of the whole connection is one that a client need not leave shut.
    client.h2.increment_flow_control_window(MEGABYTE)
    rig.reply(quick_channel, {"status": 200, "headers": [], "content": bytes(60_000)})
    client.turn()
    assert client.answers[quick].ended
    assert len(client.answers[slow].body) == 65_535
    client.h2.increment_flow_control_window(2 * MEGABYTE, slow)
    client.h2.increment_flow_control_window(2 * MEGABYTE)
    client.turn()
    assert len(client.answers[slow].body) == MEGABYTE
    assert _receipts(rig, mailbox) == [Outcome.SETTLED] * 4


def _receipts(rig: Rig, mailbox: str) -> list[Any]:
    found: list[Any] = []
    receive = rig.layer.receive([mailbox], limit=100)
    receive.addCallbacks(
        lambda came: found.extend(one.message["receipt"] for one in came), lambda failure: None
    )
    receive.cancel()
    return found


@pytest.mark.parametrize("longest", [16_384, MEGABYTE])
def test_streams_take_turns_of_a_frame(longest: int) -> None:
    rig = silent()
    client = HTTP2Client(rig, window=MEGABYTE)
    client.h2.update_settings({SettingCodes.MAX_FRAME_SIZE: longest})
    client.h2.increment_flow_control_window(MEGABYTE)
    numbers = [client.begin(fields()) for _ in range(3)]
    client.turn()
    client.transport.fill()
    body = bytes(40_000)
    for channel in reply_channels(rig):
        rig.reply(channel, {"status": 200, "headers": [], "content": body})
    assert all(client.answers[number].status == 0 for number in numbers)
    client.events.clear()
    client.transport.drain()
    client.turn()
    order = [event.stream_id for event in client.events if type(event).__name__ == "DataReceived"]
    assert order == numbers * 3
    assert all(client.answers[number].body == body for number in numbers)


def test_an_answer_does_not_stand_behind_the_megabytes_of_another() -> None:
    rig = silent()
    client = HTTP2Client(rig, window=4 * MEGABYTE)
    client.h2.increment_flow_control_window(8 * MEGABYTE)
    large, small = client.begin(fields()), client.begin(fields())
    client.turn()
    client.transport.fill()
    first, second = reply_channels(rig)
    rig.reply(first, {"status": 200, "headers": [], "content": bytes(MEGABYTE)})
    rig.reply(second, {"status": 200, "headers": [], "content": b"small"})
    client.events.clear()
    client.transport.drain()
    client.turn()
    ends = [event.stream_id for event in client.events if type(event).__name__ == "StreamEnded"]
    assert ends == [small, large]


def test_requests_wait_while_their_client_leaves_too_much_unread() -> None:
    rig = silent(limits=Limits(http2_unsent_bytes=400_000))
    client = HTTP2Client(rig)
    client.reading = False
    first = client.begin(fields(b"/first"))
    client.turn()
    rig.reply(reply_channels(rig)[0], {"status": 200, "headers": [], "content": bytes(200_000)})
    waiting = [client.begin(fields(b"/%d" % n)) for n in range(3)]
    client.turn()
    assert len(reply_channels(rig)) == 1
    client.cancel(waiting[1])
    client.turn()
    client.h2.increment_flow_control_window(MEGABYTE, first)
    client.h2.increment_flow_control_window(MEGABYTE)
    client.turn()
    assert client.answers[first].ended
    paths = [message["path"] for message in rig.worker.named("http.request")]
    assert paths == ["/first", "/0", "/2"]


@pytest.mark.parametrize("waits", ["for others", "for its turn"])
def test_nothing_is_kept_of_a_stream_that_is_taken_back_while_it_waits(waits: str) -> None:
    rig = silent(limits=Limits(http2_unsent_bytes=400_000))
    client = HTTP2Client(rig)
    client.reading = False
    if waits == "for others":
        client.begin(fields())
        client.turn()
        rig.reply(reply_channels(rig)[0], {**OK, "content": bytes(200_000)})
    number = client.begin(fields())
    client.turn()
    if waits == "for its turn":
        client.transport.fill()
        rig.reply(reply_channels(rig)[0], OK)
    request = weakref.ref(client.transport.protocol.streams[number].request)
    client.cancel(number)
    client.turn()
    gc.collect()
    assert request() is None


def test_a_refused_request_that_has_waited_hears_of_it() -> None:
    rig = silent(limits=Limits(http2_unsent_bytes=400_000))
    client = HTTP2Client(rig)
    client.reading = False
    first = client.begin(fields())
    client.turn()
    rig.reply(reply_channels(rig)[0], {"status": 200, "headers": [], "content": bytes(200_000)})
    waiting = client.begin(fields(b"/%ff"))
    client.turn()
    assert client.answers[waiting].status == 0
    client.h2.increment_flow_control_window(MEGABYTE, first)
    client.h2.increment_flow_control_window(MEGABYTE)
    client.turn()
    assert client.answers[waiting].status == 400


def test_a_worker_that_does_not_stop_costs_its_stream_alone() -> None:
    rig = silent(limits=Limits(unsent_bytes=300_000))
    client = HTTP2Client(rig)
    client.reading = False
    flooded, other = client.begin(fields()), client.begin(fields())
    client.turn()
    rig.reply(reply_channels(rig)[0], *in_parts(100_000, 6))
    client.turn()
    assert client.answers[flooded].reset == ErrorCodes.INTERNAL_ERROR
    assert rig.counts.overflows == 1
    rig.reply(reply_channels(rig)[1], {"status": 204, "headers": []})
    client.turn()
    assert client.answers[other].status == 204


def test_all_streams_together_hold_no_more_than_their_connection_may() -> None:
    rig = silent(limits=Limits(http2_unsent_bytes=300_000))
    client = HTTP2Client(rig)
    client.reading = False
    numbers = [client.begin(fields()) for _ in range(4)]
    client.turn()
    for channel in reply_channels(rig):
        rig.reply(channel, *in_parts(50_000, 2))
    client.turn()
    resets = [client.answers[number].reset for number in numbers]
    assert resets == [None, None, None, ErrorCodes.INTERNAL_ERROR]


def test_a_window_that_shrinks_below_nothing_is_waited_for() -> None:
    rig = Rig(site(a=[{"status": 200, "headers": [], "content": bytes(100_000)}]))
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields(b"/a"))
    client.turn()
    client.h2.update_settings({4: 1000})
    client.turn()
    client.h2.increment_flow_control_window(200_000)
    client.turn()
    assert len(client.answers[number].body) == 65_535
    client.h2.update_settings({4: 200_000})
    client.turn()
    assert client.answers[number].ended
    assert len(client.answers[number].body) == 100_000


# Ends that are not the site's.


def test_a_request_that_its_client_takes_back_is_disconnected_once() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/a"))
    client.turn()
    client.cancel(number)
    client.turn()
    [heard] = rig.disconnects()
    assert heard["path"] == "/a"
    rig.reply(reply_channels(rig)[0], OK)
    assert rig.counts.late == 1
    assert rig.counts.streams_reset == 1
    client.transport.lose()
    rig.turn()
    assert len(rig.disconnects()) == 1
    assert rig.counts.connections_open == 0


def test_parts_for_a_stream_that_was_taken_back_are_settled_as_lost() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields())
    client.turn()
    for part in in_parts(100_000, 2):
        rig.reply(reply_channels(rig)[0], part, receipt="test.receipts!1")
    client.cancel(number)
    client.turn()
    assert _receipts(rig, "test.receipts!") == [Outcome.LOST] * 2


def test_a_connection_that_is_lost_takes_all_its_streams_along() -> None:
    rig = silent()
    client = HTTP2Client(rig)
    for _ in range(3):
        client.begin(fields())
    client.turn()
    client.transport.lose()
    rig.turn()
    assert len(rig.disconnects()) == 3
    assert rig.counts.connections_open == 0


def test_a_request_that_nobody_answers_gets_503_and_the_others_wait_on() -> None:
    rig = silent(limits=Limits(http_timeout=10))
    client = HTTP2Client(rig)
    first = client.begin(fields())
    client.turn()
    rig.advance(6)
    second = client.begin(fields())
    client.turn()
    rig.advance(6)
    client.turn()
    assert client.answers[first].status == 503
    assert client.answers[first].headers[b"retry-after"] == b"5"
    assert client.answers[second].status == 0
    rig.reply(reply_channels(rig)[1], OK)
    client.turn()
    assert client.answers[second].status == 200


def test_a_channel_that_is_full_is_answered_503() -> None:
    layer = MemoryChannelLayer(capacity=1)
    rig = silent(layer=layer, limits=Limits(full_patience=0))
    rig.worker.channels = ()
    client = HTTP2Client(rig)
    numbers = [client.begin(fields()) for _ in range(2)]
    client.turn()
    assert [client.answers[number].status for number in numbers] == [0, 503]


def test_a_worker_that_goes_away_is_answered_502() -> None:
    rig = silent()
    rig.worker.settling = False
    client = HTTP2Client(rig)
    number = client.begin(fields())
    client.turn()
    rig.worker.open[0].settle(Outcome.LOST)
    client.turn()
    assert client.answers[number].status == 502


def test_an_answer_that_cannot_be_used_is_500() -> None:
    rig = Rig(site(a=[{"status": "no"}]))
    assert HTTP2Client(rig).get(b"/a").status == 500


def test_an_answer_that_goes_wrong_in_the_middle_is_reset() -> None:
    rig = Rig(site(a=[*in_parts(10, 1), {"status": 200}]))
    answer = HTTP2Client(rig).get(b"/a")
    assert answer.status == 200
    assert answer.reset == ErrorCodes.INTERNAL_ERROR


def test_a_body_that_stays_away_is_answered_408() -> None:
    rig = silent(limits=Limits(body_timeout=10))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    client.h2.send_data(number, b"bo")
    client.turn()
    rig.advance(11)
    client.turn()
    answer = client.answers[number]
    assert (answer.status, answer.reset) == (408, ErrorCodes.NO_ERROR)
    assert client.code is None, "the connection goes on"


def test_a_body_of_which_nothing_comes_is_answered_408() -> None:
    rig = silent(limits=Limits(body_timeout=10))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    client.turn()
    rig.advance(11)
    client.turn()
    assert client.answers[number].status == 408


def test_a_body_may_take_long_while_it_comes() -> None:
    rig = Rig(limits=Limits(body_timeout=10, body_rate=100))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    for _ in range(30):
        client.h2.send_data(number, bytes(200))
        client.turn()
        rig.advance(1)
    client.h2.end_stream(number)
    client.turn()
    assert client.answers[number].status == 200


def test_a_body_that_trickles_is_answered_408() -> None:
    rig = silent(limits=Limits(body_timeout=10, body_rate=100))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    for _ in range(15):
        client.h2.send_data(number, b"1")
        client.turn()
        rig.advance(1)
        if client.answers[number].status:
            break
    client.turn()
    assert client.answers[number].status == 408


def test_a_body_that_is_announced_too_large_is_answered_413_at_once() -> None:
    rig = Rig(limits=Limits(body_bytes=1000, body_memory=500, body_part=500))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST", (b"content-length", b"1001")), ended=False)
    client.turn()
    answer = client.answers[number]
    assert (answer.status, answer.ended, answer.reset) == (413, True, ErrorCodes.NO_ERROR)
    assert client.get().status == 200


def test_a_body_that_becomes_too_large_is_answered_413() -> None:
    rig = Rig(limits=Limits(body_bytes=1000, body_memory=500, body_part=500))
    client = HTTP2Client(rig)
    number = client.begin(fields(b"/", b"POST"), ended=False)
    for _ in range(2):
        client.h2.send_data(number, bytes(600))
    client.turn()
    assert client.answers[number].status == 413
    assert rig.worker.named("http.request") == []
    assert client.get().status == 200


def test_a_client_that_reads_nothing_of_a_stream_has_it_reset() -> None:
    rig = Rig(
        site(a=[{"status": 200, "headers": [], "content": bytes(100_000)}]),
        limits=Limits(send_timeout=20),
    )
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields(b"/a"))
    client.turn()
    rig.advance(15)
    client.h2.increment_flow_control_window(10_000, number)
    client.h2.increment_flow_control_window(10_000)
    client.turn()
    rig.advance(15)
    client.turn()
    assert client.answers[number].reset is None, "it has read as fast as it must"
    rig.advance(10)
    client.turn()
    assert client.answers[number].reset == ErrorCodes.CANCEL
    assert rig.counts.connections_timed_out == 1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_clients_read_and_take_back_bodies_arrive_whole(data: st.DataObject) -> None:
    draw = data.draw
    rig = silent(limits=Limits(http2_unsent_bytes=500_000))
    client = HTTP2Client(rig, window=draw(st.sampled_from([1000, 16_384, 65_535, 300_000])))
    client.reading = False
    numbers = [client.begin(fields(b"/%d" % n)) for n in range(draw(st.integers(1, 5)))]
    client.turn()
    bodies: dict[int, bytes] = {}
    left: dict[int, list[bytes]] = {}
    for number in numbers:
        parts = draw(st.lists(st.integers(0, 40_000), min_size=1, max_size=4))
        left[number] = [bytes([number]) * size for size in parts]
        bodies[number] = b"".join(left[number])
    channels = dict(zip(numbers, reply_channels(rig), strict=True))
    taken_back: set[int] = set()
    begun: set[int] = set()
    while any(left.values()):
        number = draw(st.sampled_from([one for one, parts in left.items() if parts]))
        match draw(st.sampled_from(["part", "part", "window", "all", "full", "cancel"])):
            case "part":
                part = left[number].pop(0)
                message = {"content": part, "more_content": bool(left[number])}
                if number not in begun:
                    begun.add(number)
                    message |= {"status": 200, "headers": []}
                rig.reply(channels[number], message)
            case "window" if number not in taken_back:
                client.h2.increment_flow_control_window(draw(st.integers(1, 50_000)), number)
            case "all":
                client.h2.increment_flow_control_window(draw(st.integers(1, 100_000)))
            case "full":
                client.transport.fill()
                client.turn()
                client.transport.drain()
            case "cancel" if len(taken_back) < 2 and number not in taken_back:
                client.cancel(number)
                taken_back.add(number)
                left[number] = []
            case _:
                pass
        client.turn()
    for number in numbers:
        if number not in taken_back and not client.answers[number].ended:
            client.h2.increment_flow_control_window(1_000_000, number)
    client.h2.increment_flow_control_window(1_000_000)
    client.turn()
    for number in numbers:
        if number not in taken_back:
            assert client.answers[number].body == bodies[number]
            assert client.answers[number].ended
    [connection] = rig.server._context.connections
    assert (connection.queued, connection.streams) == (0, {})
    assert not rig.server._context.recipients
    assert len(rig.server._context.timeouts) == 1
    assert len(rig.disconnects()) == len(numbers)


def test_a_stream_whose_client_has_room_is_not_reset_for_the_transport() -> None:
    rig = Rig(
        site(a=[{"status": 200, "headers": [], "content": bytes(100_000)}]),
        limits=Limits(send_timeout=20),
    )
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields(b"/a"))
    client.turn()
    rig.advance(15)
    client.transport.fill()
    client.h2.increment_flow_control_window(100_000)
    client.h2.increment_flow_control_window(100_000, number)
    client.turn()
    rig.advance(10)
    client.transport.drain()
    client.turn()
    assert client.answers[number].ended


def test_a_response_that_has_begun_is_in_time() -> None:
    rig = silent(limits=Limits(http_timeout=10))
    client = HTTP2Client(rig)
    number = client.begin(fields())
    client.turn()
    client.transport.fill()
    rig.reply(reply_channels(rig)[0], OK)
    rig.advance(30)
    client.transport.drain()
    client.turn()
    assert client.answers[number].status == 200


def test_a_stream_is_reset_however_well_the_others_are_read() -> None:
    rig = silent(limits=Limits(send_timeout=20))
    client = HTTP2Client(rig)
    client.reading = False
    number = client.begin(fields())
    client.turn()
    rig.reply(reply_channels(rig)[0], {"status": 200, "headers": [], "content": bytes(100_000)})
    for _ in range(5):
        client.h2.increment_flow_control_window(100_000)
        client.turn()
        rig.advance(5)
    client.turn()
    assert client.answers[number].reset == ErrorCodes.CANCEL


def test_a_worker_may_take_any_time_between_two_parts() -> None:
    rig = silent(limits=Limits(send_timeout=20, keep_alive_timeout=30))
    client = HTTP2Client(rig)
    number = client.begin(fields())
    client.turn()
    rig.reply(reply_channels(rig)[0], *in_parts(10, 1))
    rig.advance(100)
    rig.reply(reply_channels(rig)[0], {"content": b"last"})
    client.turn()
    assert client.answers[number].body.endswith(b"last")
    assert client.answers[number].ended


@pytest.mark.parametrize(("step", "stays"), [(1, False), (2000, True)])
def test_a_stream_is_not_held_for_ever_by_a_byte_now_and_then(step: int, stays: bool) -> None:
    rig = silent(limits=Limits(send_timeout=20, body_rate=100))
    client = HTTP2Client(rig, window=1000)
    client.reading = False
    number = client.begin(fields())
    client.turn()
    rig.reply(reply_channels(rig)[0], {**OK, "content": bytes(50_000)})
    for _ in range(10):
        rig.advance(10)
        if client.answers[number].reset is None:
            client.h2.increment_flow_control_window(step, number)
        client.turn()
    assert (client.answers[number].reset is None) is stays
