"""Workers that go and come back: what waits for them, in which order, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.errors import LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.server import Limits
from chanserv.server.attendance import LOOK_EVERY, LOOK_SOON, LOOK_TIMEOUT
from tests.server.rig import EVENTS, HANDSHAKE, OK, Rig, frame, frames, web


class Rolled(MemoryChannelLayer):
    """A layer whose roll the test keeps; it may be away, or silent."""

    away = False
    silent = False
    looks = 0

    def group_channels(self, group: str) -> Deferred[list[str]]:
        self.looks += 1
        if self.silent:
            return Deferred()
        if self.away:
            return fail(LayerUnavailable("away"))
        return super().group_channels(group)


class Workers:
    """A rig that has a roll, on which its worker stands or not."""

    def __init__(self, script: Any = web, *, present: bool = True, **options: Any) -> None:
        layer_options = options.pop("layer_options", {})
        self.layer = Rolled(clock=Clock(), **layer_options)
        self.rig = Rig(script, layer=self.layer, watch_workers=True, **options)
        if present:
            self.come()

    def come(self) -> None:
        self.layer.group_add(WORKERS_GROUP, "chanserv.worker!one")
        self.rig.worker.channels = EVENTS
        self.rig.advance(LOOK_EVERY)

    def go(self) -> None:
        self.layer.group_discard(WORKERS_GROUP, "chanserv.worker!one")
        self.rig.worker.channels = ()
        self.rig.advance(LOOK_EVERY)

    def waiting_on_layer(self) -> int:
        found: list[Any] = []
        self.layer.global_statistics().addCallback(found.append)
        waiting: int = found[0]["messages_pending"]
        return waiting


def lines(events: list[Any], level: LogLevel) -> list[Any]:
    return [
        event
        for event in events
        if event["log_level"] is level and event["log_namespace"].endswith("attendance.Attendance")
    ]


# What is known.


def test_whether_there_are_workers_is_known_once_one_was_seen() -> None:
    workers = Workers(present=False)
    server = workers.rig.server
    assert server.workers_present is None
    workers.come()
    assert server.workers_present is True
    workers.go()
    assert server.workers_present is False


def test_nobody_looks_where_nobody_was_told_to() -> None:
    layer = Rolled(clock=Clock())
    rig = Rig(layer=layer)
    rig.advance(10)
    assert layer.looks == 0
    assert rig.server.workers_present is None


def test_workers_that_never_stood_on_the_roll_are_served_as_ever() -> None:
    workers = Workers(present=False)
    workers.rig.advance(60)
    assert workers.rig.connect().get().status() == 200
    workers.rig.worker.channels = ()
    workers.rig.connect().get()
    assert workers.waiting_on_layer() == 1
    assert workers.rig.counts.parked == 0


def test_until_one_is_seen_what_finds_its_channel_full_waits_as_for_a_worker() -> None:
    workers = Workers(present=False, layer_options={"capacity": 1})
    rig = workers.rig
    rig.worker.channels = ()
    clients = [rig.connect().get() for _ in range(5)]
    rig.advance(20)
    assert [client.take() for client in clients] == [b""] * 5
    workers.come()
    rig.advance(1)
    assert {client.status() for client in clients} == {200}


def test_a_layer_that_is_away_says_nothing_about_workers() -> None:
    workers = Workers()
    workers.layer.away = True
    workers.rig.advance(5)
    assert workers.rig.server.workers_present is True
    workers.layer.away = False
    workers.go()
    workers.layer.away = True
    workers.rig.advance(5)
    assert workers.rig.server.workers_present is False


def test_a_look_that_has_no_answer_is_given_up() -> None:
    workers = Workers()
    workers.layer.silent = True
    workers.rig.advance(LOOK_EVERY)
    looks = workers.layer.looks
    workers.rig.advance(LOOK_TIMEOUT / 2)
    assert workers.layer.looks == looks
    workers.layer.silent = False
    workers.rig.advance(LOOK_TIMEOUT)
    assert workers.layer.looks > looks


def test_it_looks_more_often_while_there_is_none() -> None:
    workers = Workers()
    looks = workers.layer.looks
    workers.rig.advance(10)
    assert workers.layer.looks - looks <= 10 / LOOK_EVERY + 1
    workers.go()
    looks = workers.layer.looks
    for _ in range(50):
        workers.rig.advance(LOOK_SOON)
    assert workers.layer.looks - looks > 30


def test_the_log_says_when_the_last_worker_went_and_that_one_is_back(said: list[Any]) -> None:
    workers = Workers()
    assert len(lines(said, LogLevel.info)) == 1  # the first one
    workers.go()
    for _ in range(3):
        workers.rig.connect().get()
    workers.rig.advance(4)
    assert len(lines(said, LogLevel.warn)) == 1
    workers.come()
    _, news = lines(said, LogLevel.info)
    assert (news["waited"], news["refused"]) == (3, 0)
    assert 4 <= news["seconds"] <= 7


def test_a_stopped_server_looks_no_more() -> None:
    workers = Workers()
    workers.rig.server.stopService()
    workers.rig.advance(10)
    looks = workers.layer.looks
    workers.rig.advance(10)
    assert workers.layer.looks == looks
    assert workers.rig.clock.getDelayedCalls() == []


# What waits.


def test_requests_wait_at_the_server_and_are_answered_in_order() -> None:
    workers = Workers(layer_options={"capacity": 10})
    rig = workers.rig
    workers.go()
    clients = [rig.connect() for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number, turn=False)
    rig.advance(25)
    assert workers.waiting_on_layer() == 0
    assert rig.counts.parked == rig.counts.parked_now == 200
    rig.worker.events.clear()
    workers.come()
    rig.advance(5)
    assert {client.status() for client in clients} == {200}
    paths = [message["path"] for message in rig.worker.named("http.request")]
    assert paths == [f"/{number}" for number in range(200)]
    assert rig.counts.parked_now == 0


def test_a_request_that_waits_too_long_is_answered_503_with_retry_after() -> None:
    workers = Workers(limits=Limits(park_seconds=10))
    rig = workers.rig
    workers.go()
    client = rig.connect().get()
    rig.advance(9)
    assert client.take() == b""
    rig.advance(2)
    status, headers, _ = client.response()
    assert status == 503
    assert headers[b"retry-after"] == b"5"
    assert rig.counts.unattended == 1
    assert rig.counts.parked_now == 0


@pytest.mark.parametrize("limits", [Limits(parked_events=5), Limits(parked_bytes=2_200)])
def test_what_waits_for_a_worker_is_bounded(limits: Limits) -> None:
    workers = Workers(limits=limits)
    workers.go()
    clients = [workers.rig.connect().get(headers=b"X: " + b"y" * 300 + b"\r\n") for _ in range(20)]
    answers = [client.take() for client in clients]
    waiting = [answer == b"" for answer in answers]
    assert 3 < sum(waiting) < 8
    assert waiting == sorted(waiting, reverse=True)
    assert answers[-1].startswith(b"HTTP/1.1 503 ")
    assert workers.rig.counts.unattended == 20 - sum(waiting)


def test_without_parking_a_request_is_answered_503_at_once() -> None:
    workers = Workers(limits=Limits(park_seconds=0))
    workers.go()
    assert workers.rig.connect().get().status() == 503
    socket = workers.rig.connect().send(HANDSHAKE + b"\r\n")
    assert socket.status() == 503


def test_handshakes_wait_and_have_their_whole_time_when_a_worker_is_back() -> None:
    workers = Workers(limits=Limits(handshake_timeout=10, park_seconds=30))
    workers.go()
    client = workers.rig.connect().send(HANDSHAKE + b"\r\n")
    workers.rig.advance(25)
    assert client.take() == b""
    workers.come()
    assert client.status() == 101


def test_a_request_that_waited_has_its_whole_time_when_a_worker_is_back() -> None:
    workers = Workers(limits=Limits(http_timeout=10, park_seconds=30))
    workers.go()
    client = workers.rig.connect().get()
    workers.rig.advance(25)
    assert client.take() == b""
    workers.come()
    assert client.status() == 200


def test_a_handshake_that_waits_too_long_is_answered_503() -> None:
    workers = Workers()
    workers.go()
    client = workers.rig.connect().send(HANDSHAKE + b"\r\n")
    workers.rig.advance(31)
    status, headers, _ = client.response()
    assert (status, headers[b"retry-after"]) == (503, b"5")
    workers.come()
    assert workers.rig.worker.named("websocket.disconnect") == []


def test_frames_wait_and_are_answered_in_order() -> None:
    workers = Workers()
    rig = workers.rig
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    socket.take()
    workers.go()
    for number in range(30):
        socket.send(frame(b"%d" % number))
    # One waits for a worker, the others for that one.
    assert rig.counts.parked_now == 1
    rig.advance(20)
    assert socket.take() == b""
    workers.come()
    assert frames(socket.take()) == [(1, b"%d" % number) for number in range(30)]


@pytest.mark.parametrize("ordered", [True, False])
def test_frames_of_many_sockets_keep_their_order_while_workers_come_and_go(ordered: bool) -> None:
    workers = Workers(ordered=ordered, layer_options={"capacity": 7})
    rig = workers.rig
    sockets = [rig.connect().send(HANDSHAKE + b"\r\n") for _ in range(12)]
    received: list[list[bytes]] = [[] for _ in sockets]

    def listen() -> None:
        for texts, socket in zip(received, sockets, strict=True):
            texts.extend(text for opcode, text in frames(socket.take()) if opcode == 1)

    for socket in sockets:
        assert socket.take().startswith(b"HTTP/1.1 101 ")
    for number in range(40):
        if number % 8 == 2:
            workers.go()
        elif number % 8 == 6:
            workers.come()
        for socket in sockets:
            socket.send(frame(b"%d" % number), turn=False)
        rig.advance(0.3)
        listen()
    workers.come()
    rig.advance(5)
    listen()
    if not ordered:
        # Their order on the layer is theirs; which of two is handled first is not.
        received = [sorted(texts, key=int) for texts in received]
    assert received == [[b"%d" % number for number in range(40)]] * 12


def test_a_frame_that_waits_too_long_closes_its_socket_with_1013() -> None:
    workers = Workers()
    rig = workers.rig
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    socket.take()
    workers.go()
    for number in range(5):
        socket.send(frame(b"%d" % number))
    rig.advance(31)
    assert frames(socket.take()) == [(8, b"\x03\xf5")]
    assert rig.counts.unattended == 5
    socket.send(frame(b"\x03\xf5", 8))
    workers.come()
    # None of what came after it is handled without it, but the end is told.
    assert rig.worker.named("websocket.receive") == []
    assert [m["code"] for m in rig.worker.named("websocket.disconnect")] == [1013]


def test_what_a_worker_says_that_finishes_lets_nothing_out() -> None:
    def nothing(channel: str, message: dict[str, Any]) -> None: ...

    workers = Workers(nothing)
    rig = workers.rig
    first = rig.connect().get()
    workers.go()
    rig.connect().get()
    rig.reply(rig.worker.named("http.request")[0]["reply_channel"], OK)
    assert first.status() == 200
    assert workers.waiting_on_layer() == 0
    assert rig.counts.parked_now == 1


# Clients that leave.


def test_a_client_that_leaves_takes_its_request_along() -> None:
    workers = Workers(limits=Limits(parked_events=2))
    rig = workers.rig
    workers.go()
    rig.connect().get(b"/gone").leave()
    rig.connect().send(HANDSHAKE + b"\r\n").leave()
    assert rig.counts.parked_now == 0
    stays = [rig.connect().get(b"/%d" % number) for number in range(2)]
    workers.come()
    assert [client.status() for client in stays] == [200, 200]
    assert {message["path"] for _, message in rig.worker.events} == {"/0", "/1"}
    assert rig.server._context.recipients == {}


def test_ends_of_connections_are_never_refused() -> None:
    workers = Workers(limits=Limits(parked_events=1, disconnect_retries=1))
    rig = workers.rig
    sockets = [rig.connect().send(HANDSHAKE + b"\r\n") for _ in range(50)]
    workers.go()
    for socket in sockets:
        socket.leave()
    waiting = rig.connect().get()
    rig.advance(20)
    assert waiting.take() == b""
    rig.advance(3600)
    assert rig.counts.disconnects_dropped == 0
    workers.come()
    rig.advance(2)
    assert len(rig.worker.named("websocket.disconnect")) == 50


def test_the_end_of_a_socket_stands_behind_what_it_said() -> None:
    workers = Workers()
    rig = workers.rig
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    workers.go()
    for number in range(3):
        socket.send(frame(b"%d" % number))
    socket.leave()
    rig.worker.events.clear()
    workers.come()
    assert [(name, message["order"]) for name, message in rig.worker.events] == [
        ("websocket.receive", 1),
        ("websocket.receive", 2),
        ("websocket.receive", 3),
        ("websocket.disconnect", 4),
    ]


# Workers that come back.


def test_what_comes_while_the_others_catch_up_goes_behind_them() -> None:
    workers = Workers(layer_options={"capacity": 5})
    rig = workers.rig
    workers.go()
    for number in range(30):
        rig.connect().send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    workers.layer.group_add(WORKERS_GROUP, "chanserv.worker!one")
    rig.advance(1)
    assert rig.server.workers_present
    late = rig.connect().get(b"/late")
    # Slow ones: longer than a full channel is waited for otherwise.
    rig.advance(5)
    assert late.take() == b""
    rig.worker.channels = EVENTS
    rig.advance(5)
    assert late.status() == 200
    paths = [message["path"] for message in rig.worker.named("http.request")]
    assert paths == [*(f"/{number}" for number in range(30)), "/late"]


def test_as_long_as_some_catch_up_whoever_comes_waits_as_long_as_they_may() -> None:
    workers = Workers(layer_options={"capacity": 5})
    rig = workers.rig
    workers.go()
    early = [rig.connect().get() for _ in range(30)]
    workers.layer.group_add(WORKERS_GROUP, "chanserv.worker!one")
    rig.advance(20)  # it is there, and takes nothing
    late = rig.connect().get()
    rig.advance(15)
    assert [client.take()[:12] for client in early] == [b""] * 5 + [b"HTTP/1.1 503"] * 25
    assert late.take() == b""
    rig.advance(20)
    assert late.status() == 503


def test_beyond_the_bound_nothing_overtakes_those_who_wait() -> None:
    workers = Workers(layer_options={"capacity": 5}, limits=Limits(parked_events=20))
    rig = workers.rig
    workers.go()
    for _ in range(25):
        rig.connect().get()
    workers.layer.group_add(WORKERS_GROUP, "chanserv.worker!one")
    rig.advance(LOOK_SOON)
    for _ in range(5):
        rig.connect().get()  # in the place of those that are on the layer now
    workers.layer.receive(["http.request"])
    assert rig.connect().get().status() == 503
    assert workers.waiting_on_layer() == 4


def test_workers_that_go_again_leave_what_waits_its_place() -> None:
    workers = Workers(layer_options={"capacity": 2})
    rig = workers.rig
    workers.go()
    clients = [rig.connect().get(b"/%d" % number) for number in range(10)]
    rig.advance(20)
    for _ in range(3):
        workers.layer.group_add(WORKERS_GROUP, "chanserv.worker!one")
        rig.advance(1)
        workers.go()
        rig.advance(8)
    workers.come()
    rig.advance(3)
    assert {client.status() for client in clients} == {200}
    paths = [message["path"] for message in rig.worker.named("http.request")]
    assert paths == [f"/{number}" for number in range(10)]


def test_a_body_in_parts_follows_its_request_whether_workers_stand_on_the_roll_or_not() -> None:
    def nothing(channel: str, message: dict[str, Any]) -> None: ...

    workers = Workers(nothing, limits=Limits(body_memory=1000, body_part=1000))
    rig = workers.rig
    workers.go()
    client = rig.connect().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + bytes(5000)
    )
    rig.advance(5)
    assert workers.waiting_on_layer() == 0
    workers.come()
    [request] = rig.worker.named("http.request")
    # The one that has it takes nothing new any more, but it finishes.
    workers.go()
    size, more = len(request["body"]), True
    while more:
        found: list[Any] = []
        workers.layer.receive([request["body_channel"]]).addCallback(found.extend)
        rig.turn()
        [part] = found
        part.settle()
        rig.turn()
        size += len(part.message["content"])
        more = part.message["more_content"]
    assert size == 5000
    rig.reply(request["reply_channel"], OK)
    assert client.status() == 200


def test_a_layer_that_goes_away_as_workers_come_back_is_said_by_its_own_line(
    said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers()
    rig = workers.rig
    workers.go()
    client = rig.connect().get()
    monkeypatch.setattr(
        workers.layer, "send_batch", lambda *_: fail(LayerUnavailable("the store is away"))
    )
    workers.come()
    assert client.status() == 503
    assert rig.counts.unavailable >= 1
    assert rig.counts.unattended == 0
    assert any("takes no events" in event.get("log_format", "") for event in said)


# The end of the server meanwhile.


def test_a_server_that_ends_without_workers_leaves_them_the_ends_of_its_connections() -> None:
    workers = Workers()
    rig = workers.rig
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    workers.go()
    waiting = rig.connect().get()
    socket.send(frame(b"hello"))
    done: list[None] = []
    rig.server.stopService().addCallback(done.append)
    rig.advance(12)
    assert done == [None]
    assert waiting.status() == 503
    assert (8, b"\x03\xf4") in frames(socket.take().partition(b"\r\n\r\n")[2])
    rig.worker.events.clear()
    rig.worker.channels = EVENTS
    rig.worker.read()
    assert [name for name, _ in rig.worker.events] == ["websocket.disconnect"]


def test_a_server_that_ended_without_workers_may_be_started_again() -> None:
    workers = Workers()
    rig = workers.rig
    workers.go()
    rig.connect().get()
    rig.server.stopService()
    rig.advance(12)
    rig.server.startService()
    rig.worker.channels = EVENTS
    assert rig.server.workers_present is None
    assert rig.connect().get().status() == 200
    workers.come()
    assert rig.server.workers_present is True
    assert rig.connect().get().status() == 200


def test_what_waits_when_workers_are_back_before_the_end_is_answered() -> None:
    workers = Workers()
    rig = workers.rig
    socket = rig.connect().send(HANDSHAKE + b"\r\n")
    socket.take()
    workers.go()
    waiting = rig.connect().get()
    socket.send(frame(b"hello"))
    done: list[None] = []
    rig.server.stopService().addCallback(done.append)
    rig.advance(2)
    workers.come()
    assert waiting.status() == 200
    assert frames(socket.take()) == [(1, b"hello"), (8, b"\x03\xf4")]
    for client in (waiting, socket):
        client.leave()
    rig.advance(1)
    assert done == [None]
