"""The service: its mailbox, its stop, its limits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.web import http

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Delivery, Outcome, Send
from chanserv.server import InterfaceServer, Limits
from chanserv.server.replies import Recipient
from tests.server.rig import HANDSHAKE, OK, Rig, frame, frames


def levels(events: list[Any], level: LogLevel) -> list[Any]:
    return [
        event
        for event in events
        if event["log_level"] is level and event["log_namespace"].startswith("chanserv")
    ]


def silent(channel: str, message: dict[str, Any]) -> None: ...


# The mailbox.


class Flaky(MemoryChannelLayer):
    """A layer that can be out of reach for a while."""

    away = False
    asked = 0

    def receive(self, channels: Any, limit: int = 1) -> Deferred[list[Delivery]]:
        self.asked += 1
        if self.away:
            return fail(LayerUnavailable("away"))
        return super().receive(channels, limit)


def test_a_layer_that_is_away_is_asked_again_and_named_once(said: list[Any]) -> None:
    clock = Clock()
    layer = Flaky(clock=clock)
    layer.away = True
    server = InterfaceServer(layer, clock)
    server.startService()
    for _ in range(600):
        clock.advance(0.1)
    assert 10 < layer.asked < 30
    [warning] = levels(said, LogLevel.warn)
    assert "away" in warning["error"]
    layer.away = False
    layer.send(f"{server.mailbox}x", {"a": 1})
    clock.advance(5)
    assert len(levels(said, LogLevel.info)) == 1
    assert server.counts.late == 1


def test_replies_are_handed_out_after_the_layer_came_back() -> None:
    rig = Rig(silent, layer=(layer := Flaky(clock=Clock())))
    client = rig.connect().get()
    layer.away = True
    channel = rig.worker.named("http.request")[0]["reply_channel"]
    rig.layer.send(channel, OK)
    layer.away = False
    rig.advance(6)
    assert client.status() == 200


def test_the_reactor_has_its_turn_between_two_receives() -> None:
    rig = Rig(limits=Limits(deliveries=10))
    happened: list[str] = []

    class Noting(Recipient):
        def deliver(self, delivery: Delivery) -> None:
            happened.append("delivery")
            rig.clock.callLater(0, happened.append, "turn")

    name = f"{rig.server.mailbox}x"
    rig.server._context.recipients[name] = Noting()
    rig.layer.send_batch([Send(name, {"a": number}) for number in range(30)])
    rig.turn()
    assert happened == (["delivery"] * 10 + ["turn"] * 10) * 3


def test_a_fault_in_one_connection_costs_only_that_one(said: list[Any]) -> None:
    class Broken(Recipient):
        failed = False

        def deliver(self, delivery: Delivery) -> None:
            raise RuntimeError("broken")

        def fail(self) -> None:
            self.failed = True

    rig = Rig(silent)
    client = rig.connect().get()
    broken = Broken()
    rig.server._context.recipients[f"{rig.server.mailbox}broken"] = broken
    rig.reply(f"{rig.server.mailbox}broken", OK)
    assert broken.failed
    assert len(levels(said, LogLevel.critical)) == 1
    rig.reply(rig.worker.named("http.request")[0]["reply_channel"], OK)
    assert client.status() == 200


def test_a_fault_while_reading_costs_only_that_connection(
    said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    client, other = rig.connect(), rig.connect()

    def broken(self: Any, line: bytes) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(http.HTTPChannel, "lineReceived", broken)
        client.get()
    assert client.transport.lost == "aborted"
    assert len(levels(said, LogLevel.critical)) == 1
    assert other.get().status() == 200


def group_of(rig: Rig, channel: str) -> None:
    """Put all who have asked by C{channel} in one group."""
    for message in rig.worker.named(channel):
        rig.layer.group_add("all", message["reply_channel"])


def test_a_bad_message_for_a_group_is_logged_once(said: list[Any]) -> None:
    rig = Rig()
    for _ in range(3):
        rig.connect().send(HANDSHAKE + b"\r\n")
    group_of(rig, "websocket.connect")
    rig.layer.send_group("all", {"text": 5})
    rig.turn()
    [warning] = levels(said, LogLevel.warn)
    assert "text" in warning["problem"]


def test_an_answer_for_a_group_of_requests_is_no_mistake(said: list[Any]) -> None:
    rig = Rig(silent)
    clients = [rig.connect().get() for _ in range(3)]
    group_of(rig, "http.request")
    rig.layer.send_group("all", {"status": 200, "content": b"at last"})
    rig.turn()
    assert [client.response()[::2] for client in clients] == [(200, b"at last")] * 3
    assert levels(said, LogLevel.warn) == []


def test_an_overload_is_told_to_the_operator_but_not_for_each_client(said: list[Any]) -> None:
    limits = Limits(full_patience=1, parked_events=5)
    rig = Rig(silent, layer_options={"capacity": 1}, limits=limits)
    rig.worker.channels = ()
    for _ in range(20):
        rig.connect().get()
    rig.advance(5)
    [warning] = levels(said, LogLevel.warn)
    assert "'http.request' is full" in warning["error"]
    rig.advance(10)
    rig.connect().get()
    rig.advance(2)
    assert [event["refused"] for event in levels(said, LogLevel.warn)] == [1, 19]


def test_what_comes_and_goes_in_any_way_leaves_nothing_behind() -> None:
    def script(channel: str, message: dict[str, Any]) -> Any:
        match channel, message["path"]:
            case "websocket.connect", "/refused":
                return [{"close": True}]
            case "websocket.connect", "/chat":
                rig.layer.group_add("all", message["reply_channel"])
                return [{"accept": True}]
            case "http.request", "/stream":
                return [{"status": 200, "content": b"x", "more_content": True}]
            case "http.request", "/":
                return [OK]
        return None

    rig = Rig(script, limits=Limits(body_memory=65_536, body_part=65_536))
    for number in range(100):
        rig.connect().get().leave()
        rig.connect().get(b"/stream").leave()
        rig.connect().get(b"/waits").leave()
        rig.connect().send(b"GET / HT").leave()
        rig.connect().send(b"nonsense\r\n\r\n").leave()
        rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
                           + bytes(100_000 + number)).leave()  # fmt: skip
        rig.connect().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
                           + bytes(100_000)).leave()  # fmt: skip
        for path in (b"/chat", b"/refused", b"/waits"):
            client = rig.connect().send(HANDSHAKE.replace(b"/chat", path) + b"\r\n")
            client.send(frame(b"hello")).leave()
    rig.advance(5)
    context = rig.server._context
    assert context.recipients == {}
    assert context.connections == set()
    assert len(context.timeouts) == 0
    assert rig.counts.connections == 1000
    assert rig.counts.connections_open == rig.counts.sockets_open == 0
    members: list[Any] = []
    rig.layer.group_channels("all").addCallback(members.extend)
    assert members == []
    # All clients that the site has heard of, it has heard the end of, once.
    for begin, end in (("http.request", "http.disconnect"),
                       ("websocket.connect", "websocket.disconnect")):  # fmt: skip
        begun = [message["reply_channel"] for message in rig.worker.named(begin)]
        ended = [message["reply_channel"] for message in rig.worker.named(end)]
        assert sorted(begun) == sorted(ended)
        assert len(begun) >= 300


def test_a_message_for_nobody_is_settled_as_lost() -> None:
    rig = Rig()
    found: list[Any] = []
    rig.layer.receive(["receipts?1"]).addCallback(found.extend)
    rig.reply(f"{rig.server.mailbox}nobody", OK, receipt="receipts?1")
    assert [delivery.message["receipt"] for delivery in found] == [Outcome.LOST]


def test_reply_channels_are_short_and_never_used_twice() -> None:
    context = Rig().server._context
    names = [context.new_reply_channel() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert max(map(len, names)) < 32


# The stop.


def stop(rig: Rig) -> list[None]:
    done: list[None] = []
    rig.server.stopService().addCallback(done.append)
    rig.turn()
    return done


def test_a_server_with_nothing_to_do_stops_at_once() -> None:
    rig = Rig()
    done = stop(rig)
    rig.advance(0.5)
    assert done == [None]
    assert rig.clock.getDelayedCalls() == []


def test_without_a_drain_idle_connections_are_closed_when_the_server_stops() -> None:
    rig = Rig(limits=Limits(drain=0))
    idle = [rig.connect(), rig.connect().get()]
    done = stop(rig)
    assert all(client.gone for client in idle)
    rig.advance(1)
    assert done == [None]


def test_open_requests_are_answered_before_the_server_stops() -> None:
    rig = Rig(silent)
    client = rig.connect().get()
    done = stop(rig)
    rig.advance(3)
    assert done == []
    rig.reply(rig.worker.named("http.request")[0]["reply_channel"], OK)
    status, headers, body = client.response()
    assert (status, headers[b"connection"], body) == (200, b"close", b"fine")
    client.leave()
    rig.advance(1)
    assert done == [None]


def test_requests_that_have_begun_are_answered_before_the_server_stops() -> None:
    rig = Rig()
    client = rig.connect().send(b"GET / HT")
    done = stop(rig)
    client.send(b"TP/1.1\r\nHost: a\r\n\r\n")
    status, headers, _ = client.response()
    assert (status, headers[b"connection"]) == (200, b"close")
    client.leave()
    rig.advance(1)
    assert done == [None]


@pytest.mark.parametrize("open_requests", [0, 1])
def test_no_new_connections_are_taken_when_the_server_has_drained(open_requests: int) -> None:
    rig = Rig(silent, limits=Limits(drain=3))
    for _ in range(open_requests):
        rig.connect().get()
    stop(rig)
    rig.advance(4 * open_requests)
    client = rig.connect()
    assert client.status() == 503
    assert client.gone


def test_websockets_are_closed_with_1012_and_their_disconnects_sent() -> None:
    rig = Rig()
    client = rig.connect().send(HANDSHAKE + b"\r\n")
    client.take()
    done = stop(rig)
    assert frames(client.take()) == [(8, b"\x03\xf4")]
    client.send(frame(b"\x03\xf4", 8))
    rig.advance(1)
    assert [m["code"] for m in rig.worker.named("websocket.disconnect")] == [1012]
    assert done == [None]


def test_a_websocket_that_is_accepted_while_the_server_stops_is_closed_at_once() -> None:
    rig = Rig(silent)
    client = rig.connect().send(HANDSHAKE + b"\r\n")
    stop(rig)
    rig.reply(rig.worker.named("websocket.connect")[0]["reply_channel"], {"accept": True})
    status, _, rest = client.response()
    assert status == 101
    assert frames(rest) == [(8, b"\x03\xf4")]


def test_a_slow_reader_may_take_the_rest_of_its_response_while_the_server_stops() -> None:
    rig = Rig(limits=Limits(drain=0))
    client = rig.connect().get()
    client.transport.fill()
    stop(rig)
    assert client.transport.lost == "closed"


def test_the_stop_does_not_wait_for_ever() -> None:
    rig = Rig(silent, limits=Limits(drain_timeout=5))
    client = rig.connect().get()
    done = stop(rig)
    rig.advance(4)
    assert done == []
    rig.advance(2)
    assert done == [None]
    assert client.status() == 503
    assert client.transport.lost == "closed"
    assert len(rig.disconnects()) == 1


def test_a_stopped_server_leaves_no_timer_behind() -> None:
    rig = Rig(silent, layer_options={"capacity": 1}, limits=Limits(drain_timeout=1))
    rig.worker.channels = ()
    for _ in range(3):
        rig.connect().get()
    done = stop(rig)
    rig.advance(3)
    assert done == [None]
    rig.layer.close()
    assert rig.clock.getDelayedCalls() == []


def test_a_stopped_server_receives_no_more() -> None:
    rig = Rig()
    stop(rig)
    rig.advance(1)
    rig.layer.send(f"{rig.server.mailbox}x", {"a": 1})
    rig.turn()
    assert rig.counts.late == 0


# Limits.


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_a_limit_is_not_below_zero(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: -1})


def test_a_limit_of_nothing_is_refused_where_it_would_serve_nobody() -> None:
    with pytest.raises(ConfigurationError, match="connections"):
        Limits(connections=0)
    assert Limits(ping_interval=0).ping_interval == 0


def test_the_first_part_of_a_body_fits_the_memory_for_it() -> None:
    with pytest.raises(ConfigurationError, match="body_part"):
        Limits(body_part=2000, body_memory=1000)


def test_the_http_time_out_may_be_given_by_itself() -> None:
    rig = Rig(silent, http_timeout=3.0)
    client = rig.connect().get()
    rig.advance(4)
    assert client.status() == 503
