"""The end of the server: what is still answered, when sockets close, and who hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.memory import MemoryChannelLayer
from chanserv.messages import Outcome
from chanserv.server import Limits
from chanserv.server.draining import HEARING, LAST_WORD
from tests.server.rig import EVENTS, HANDSHAKE, OK, Client, Rig, frame, frames

RESTART = (8, b"\x03\xf4")
"""A close frame with 1012."""


def stop(rig: Rig) -> list[None]:
    done: list[None] = []
    rig.server.stopService().addCallback(done.append)
    rig.turn()
    return done


def silent(channel: str, message: dict[str, Any]) -> None: ...


def accepting(channel: str, message: dict[str, Any]) -> Any:
    """The script of a site that accepts sockets, and answers nothing."""
    return [{"accept": True}] if channel == "websocket.connect" else None


def opened(rig: Rig, count: int) -> list[Client]:
    sockets = [rig.connect().send(HANDSHAKE + b"\r\n") for _ in range(count)]
    for socket in sockets:
        assert socket.take().startswith(b"HTTP/1.1 101 ")
    return sockets


def answers(client: Client) -> list[tuple[bytes, bool]]:
    """The body of each answer, and whether it says that the connection closes."""
    found = []
    data = client.take()
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((rest[:length], b"connection: close" in head.lower()))
        data = rest[length:]
    return found


def path_as_body(channel: str, message: dict[str, Any]) -> Any:
    return [{**OK, "content": message["path"].encode()}] if channel == "http.request" else None


# Requests.


def test_a_request_on_an_open_connection_is_answered_while_the_server_drains() -> None:
    rig = Rig(path_as_body, limits=Limits(drain=5))
    client, other = rig.connect().get(b"/before"), rig.connect()
    assert answers(client) == [(b"/before", False)]
    done = stop(rig)
    rig.advance(3)
    assert not client.gone
    assert answers(client.get(b"/during")) == [(b"/during", True)]
    assert answers(other.get(b"/first")) == [(b"/first", True)]
    assert client.transport.half_closed
    client.leave()
    other.leave()
    rig.advance(0.5)
    assert done == [None]


def test_a_connection_without_a_request_is_closed_when_the_drain_is_over() -> None:
    rig = Rig(limits=Limits(drain=5))
    client, other = rig.connect().get(), rig.connect()
    done = stop(rig)
    rig.advance(4)
    assert not client.gone
    assert not other.gone
    rig.advance(2)
    assert client.transport.lost == other.transport.lost == "closed"
    assert done == [None]


def test_all_requests_of_a_pipeline_are_answered_and_the_last_answer_says_the_end() -> None:
    rig = Rig(silent)
    client = rig.connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(4)))
    stop(rig)
    for number in range(4):
        *_, request = rig.worker.named("http.request")
        assert request["path"] == f"/{number}"
        rig.reply(request["reply_channel"], {**OK, "content": b"%d" % number})
    assert answers(client) == [(b"0", False), (b"1", False), (b"2", False), (b"3", True)]


def test_an_answer_that_had_begun_ends_whole_and_its_connection_with_the_drain() -> None:
    rig = Rig(silent, limits=Limits(drain=2))
    clients = [rig.connect().get(), rig.connect().get()]
    first, second = rig.worker.named("http.request")
    for request in (first, second):
        rig.reply(request["reply_channel"], {**OK, "content": b"a", "more_content": True})
    stop(rig)
    end = {"content": b"b", "more_content": False}
    rig.advance(1)
    rig.reply(first["reply_channel"], end)
    assert not clients[0].gone
    rig.advance(2)
    assert clients[0].gone
    rig.reply(second["reply_channel"], end)
    assert clients[1].gone
    for client in clients:
        assert client.take().endswith(b"\r\n1\r\nb\r\n0\r\n\r\n")


def test_time_that_is_up_ends_even_a_pipeline() -> None:
    rig = Rig(silent, limits=Limits(drain_timeout=3))
    client = rig.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    done = stop(rig)
    rig.advance(5)
    assert client.status() == 503
    assert len(rig.worker.named("http.request")) == 1
    assert done == [None]


# WebSockets.


def test_sockets_are_closed_one_after_the_other() -> None:
    rig = Rig(limits=Limits(drain=5))
    sockets = opened(rig, 20)
    stop(rig)
    closed: list[int] = []
    for _ in range(60):
        closed.append(sum(frames(bytes(s.transport.written)) == [RESTART] for s in sockets))
        rig.clock.advance(0.1)
        rig.turn()
    assert closed[0] == 1
    assert closed[-1] == 20
    # One in each quarter of a second, give or take a tick.
    assert all(abs(count - min(20, 1 + index * 0.4)) <= 1.5 for index, count in enumerate(closed))


@pytest.mark.parametrize("limits", [Limits(drain=0), Limits(drain=60, drain_timeout=0.01)])
def test_without_a_drain_or_time_for_one_sockets_are_closed_at_once(limits: Limits) -> None:
    rig = Rig(limits=limits)
    sockets = opened(rig, 20)
    stop(rig)
    rig.clock.advance(0.05)
    assert [frames(socket.take()) for socket in sockets] == [[RESTART]] * 20


def test_a_socket_is_closed_when_what_its_client_sent_is_answered() -> None:
    rig = Rig(accepting)
    [socket] = opened(rig, 1)
    rig.worker.settling = False
    for text in (b"1", b"2"):
        socket.send(frame(text))
    stop(rig)
    socket.send(frame(b"too late"))
    for text in ("1", "2"):
        *_, event = rig.worker.named("websocket.receive")
        assert event["text"] == text
        assert socket.take() == b""
        rig.reply(event["reply_channel"], {"text": f"re {text}"})
        rig.worker.open.pop().settle()
        rig.turn()
        assert frames(socket.take())[0] == (1, f"re {text}".encode())
    assert len(rig.worker.named("websocket.receive")) == 2


def test_the_close_follows_the_answer_at_once() -> None:
    rig = Rig(accepting)
    [socket] = opened(rig, 1)
    rig.worker.settling = False
    socket.send(frame(b"hello"))
    stop(rig)
    rig.advance(1)
    assert socket.take() == b""
    [event] = rig.worker.named("websocket.receive")
    rig.reply(event["reply_channel"], {"text": "hello"})
    rig.worker.open.pop().settle()
    rig.turn()
    assert frames(socket.take()) == [(1, b"hello"), RESTART]


def test_a_socket_whose_consumer_takes_too_long_is_told_and_dropped() -> None:
    rig = Rig(accepting, limits=Limits(drain=1, drain_timeout=4))
    [socket] = opened(rig, 1)
    rig.worker.settling = False
    for text in (b"first", b"second"):
        socket.send(frame(text))
    done = stop(rig)
    rig.advance(3.5)
    assert socket.take() == b""
    rig.advance(0.6)
    assert frames(socket.take()) == [RESTART]
    assert socket.transport.lost is None
    rig.advance(LAST_WORD + 1)
    assert socket.transport.lost == "aborted"
    assert done == [None]
    # The site hears of the end, and of nothing that was to wait for its consumer.
    assert [m["text"] for m in rig.worker.named("websocket.receive")] == ["first"]
    assert len(rig.worker.named("websocket.disconnect")) == 1
    assert rig.counts.lost == 1


def test_a_handshake_without_an_answer_in_time_is_answered_503() -> None:
    rig = Rig(silent, limits=Limits(drain_timeout=3))
    client = rig.connect().send(HANDSHAKE + b"\r\n")
    done = stop(rig)
    rig.advance(5)
    assert client.status() == 503
    assert done == [None]
    assert len(rig.worker.named("websocket.disconnect")) == 1


def test_a_fault_in_one_connection_does_not_keep_the_server_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(limits=Limits(drain=1))
    opened(rig, 1)
    client = rig.connect()
    [socket] = [one for one in rig.server._context.connections if one.lasting]

    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(type(socket), "stop", lambda self: broken())
    done = stop(rig)
    rig.advance(4)
    assert client.transport.lost == "closed"
    assert done == [None]


# What workers hear.


def test_the_end_waits_until_workers_are_through_with_the_news() -> None:
    rig = Rig(limits=Limits(drain=0))
    sockets = opened(rig, 3)
    rig.worker.settling = False
    done = stop(rig)
    for socket in sockets:
        socket.send(frame(b"\x03\xf4", 8))
    rig.advance(HEARING / 2)
    assert len(rig.worker.named("websocket.disconnect")) == 3
    assert done == []
    for delivery in rig.worker.open:
        delivery.settle()
    rig.advance(0.2)
    assert done == [None]


def test_the_end_does_not_wait_for_ever_for_workers_that_do_not_read_the_news() -> None:
    rig = Rig(limits=Limits(drain=0))
    sockets = opened(rig, 3)
    rig.worker.channels = ()
    done = stop(rig)
    for socket in sockets:
        socket.leave()
    rig.advance(HEARING - 0.5)
    assert done == []
    rig.advance(1)
    assert done == [None]


def test_more_news_than_the_channel_holds_reaches_workers_before_the_end() -> None:
    rig = Rig(limits=Limits(drain=0), layer_options={"capacity": 5})
    sockets = opened(rig, 100)
    done = stop(rig)
    rig.worker.channels = ()
    for socket in sockets:
        socket.send(frame(b"\x03\xf4", 8), turn=False)
    rig.turn()
    rig.worker.channels = EVENTS
    rig.advance(2)
    assert len(rig.worker.named("websocket.disconnect")) == 100
    assert done == [None]


def test_news_that_was_to_be_tried_again_later_is_tried_before_the_end() -> None:
    rig = Rig(limits=Limits(drain=0, full_patience=0), layer_options={"capacity": 1})
    sockets = opened(rig, 2)
    rig.worker.channels = ()
    for socket in sockets:
        socket.leave()
    rig.advance(0.5)
    assert len(rig.server._context.farewells.postponed) == 1
    rig.worker.channels = EVENTS
    rig.worker.read()
    done = stop(rig)
    rig.advance(0.5)
    assert done == [None]
    assert len(rig.worker.named("websocket.disconnect")) == 2
    assert rig.counts.disconnects_dropped == 0


def test_a_layer_that_is_away_does_not_hold_up_the_end() -> None:
    class Away(MemoryChannelLayer):
        away = False

        def send_batch(self, operations: Any, settled: Any = ()) -> Deferred[Any]:
            if self.away:
                return fail(LayerUnavailable("away"))
            return super().send_batch(operations, settled)

    layer = Away(clock=Clock())
    rig = Rig(layer=layer, limits=Limits(drain=0))
    sockets = opened(rig, 3)
    layer.away = True
    done = stop(rig)
    for socket in sockets:
        socket.send(frame(b"\x03\xf4", 8))
    rig.advance(1)
    assert done == [None]
    assert rig.counts.disconnects_dropped == 3


def test_receipts_of_the_news_are_no_late_replies() -> None:
    rig = Rig(limits=Limits(drain=0))
    opened(rig, 1)[0].leave()
    done = stop(rig)
    rig.advance(1)
    assert done == [None]
    assert rig.counts.late == 0


def test_a_server_may_be_started_again() -> None:
    rig = Rig(path_as_body, limits=Limits(drain=0))
    stop(rig)
    rig.advance(1)
    rig.server.startService()
    assert answers(rig.connect().get(b"/again")) == [(b"/again", False)]


# Its options.


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (Limits(), 8.0),
        (Limits(drain=0), 8.0),
        (Limits(drain=20), 23.0),
        (Limits(drain=20, drain_timeout=4), 4.0),
    ],
)
def test_a_stop_has_time_for_its_drain_unless_it_is_told_otherwise(
    limits: Limits, seconds: float
) -> None:
    assert limits.stop_seconds == seconds


def test_a_drain_is_not_below_zero() -> None:
    with pytest.raises(ConfigurationError, match="drain"):
        Limits(drain=-1)


def test_an_event_that_a_worker_lost_does_not_keep_its_socket() -> None:
    rig = Rig(accepting)
    [socket] = opened(rig, 1)
    rig.worker.settling = False
    socket.send(frame(b"hello"))
    stop(rig)
    rig.worker.open.pop().settle(Outcome.LOST)
    rig.turn()
    assert frames(socket.take()) == [RESTART]
